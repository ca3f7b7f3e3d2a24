/* SPDX-License-Identifier: MIT
 * Streams: created ones, the legacy one of each context, the per-thread ones. */
#include <stdio.h>
#include <stdlib.h>

#include "sim.h"

enum { STREAMS = 4096 };

struct CUstream_st {
  sim_stream *stream;
};

static struct CUstream_st handles[STREAMS];
static int freed[STREAMS];
static sim_slots slots = {freed, 0, 0, STREAMS};
static uint64_t ids = 2; /* the special handles are 0, 1 and 2 */
sim_stream *sim__streams;

uint64_t sim__new_id(void) { return ++ids; }

sim_stream *sim__stream_new(sim_context *context, int kind, unsigned flags, int priority) {
  sim_stream *const stream = calloc(1, sizeof *stream);
  if (stream == NULL) return NULL;
  stream->next = sim__streams;
  stream->id = sim__new_id();
  stream->kind = kind;
  stream->context = context;
  stream->flags = flags;
  stream->priority = priority;
  sim__streams = stream;
  return stream;
}

static sim_stream *per_thread_stream(sim_context *context) {
  const uint64_t thread = sim__thread()->number;
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next)
    if (stream->kind == SIM_PER_THREAD && stream->thread == thread && stream->context == context) return stream;
  sim_stream *const stream = sim__stream_new(context, SIM_PER_THREAD, CU_STREAM_DEFAULT, 0);
  if (stream != NULL) stream->thread = thread;
  return stream;
}

CUresult sim__stream(CUstream handle, sim_stream **stream) {
  if (handle == NULL || handle == CU_STREAM_LEGACY || handle == CU_STREAM_PER_THREAD) {
    sim_context *context = NULL;
    const CUresult result = sim__current(&context);
    if (result != CUDA_SUCCESS) return result;
    *stream = handle == CU_STREAM_PER_THREAD ? per_thread_stream(context) : context->legacy;
    return *stream == NULL ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
  }
  const int slot = sim__slot_of(handles, sizeof *handles, STREAMS, handle);
  if (slot < 0 || handles[slot].stream == NULL) {
    sim__fault("handle: %s was given a stream that does not exist (destroyed?)", sim__caller());
    return CUDA_ERROR_INVALID_HANDLE;
  }
  *stream = handles[slot].stream;
  return CUDA_SUCCESS;
}

CUresult sim__stream_here(CUstream handle, sim_stream **stream) {
  const CUresult result = sim__stream(handle, stream);
  if (result != CUDA_SUCCESS) return result;
  if ((*stream)->context == sim__current_or_null()) return CUDA_SUCCESS;
  char name[48];
  sim__fault("wrong context: %s on %s, whose context is not the current one", sim__caller(),
             sim__stream_name(*stream, name));
  return CUDA_ERROR_INVALID_HANDLE;
}

int sim__stream_blocking(const sim_stream *stream) {
  return stream->kind != SIM_LEGACY && !(stream->flags & CU_STREAM_NON_BLOCKING);
}

const char *sim__stream_name(const sim_stream *stream, char text[48]) {
  if (stream->kind == SIM_LEGACY) snprintf(text, 48, "the legacy stream of device %d", stream->context->device);
  else
    snprintf(text, 48, "%sstream %llu", stream->kind == SIM_PER_THREAD ? "per-thread " : "",
             (unsigned long long)stream->id);
  return text;
}

static void free_handle(sim_stream *stream) {
  if (stream->handle == NULL) return;
  stream->handle->stream = NULL;
  sim__slot_give(&slots, (int)(stream->handle - handles));
  stream->handle = NULL;
}

void sim__stream_end(sim_stream *stream) {
  free_handle(stream);
  sim__capture_forget(stream);
  while (stream->head != NULL) {
    sim_operation *const operation = stream->head;
    stream->head = operation->next;
    operation->done = 1; /* nobody may wait for what will not run */
    sim__operation_drop(operation);
  }
  if (stream->last != NULL) sim__operation_drop(stream->last);
  sim_stream **at = &sim__streams;
  while (*at != stream) at = &(*at)->next;
  *at = stream->next;
  free(stream);
}

void sim__stream_collect(sim_stream *stream) {
  const int wanted = stream->kind == SIM_LEGACY || stream->handle != NULL || stream->thread != 0;
  if (!wanted && stream->head == NULL) sim__stream_end(stream);
}

void sim__stream_forget_thread(uint64_t thread) {
  for (sim_stream *stream = sim__streams, *next; stream != NULL; stream = next) {
    next = stream->next;
    if (stream->kind != SIM_PER_THREAD || stream->thread != thread) continue;
    stream->thread = 0;
    sim__stream_collect(stream);
  }
}

void sim__stream_reset(void) {
  while (sim__streams != NULL) sim__stream_end(sim__streams);
  slots.freed_count = slots.fresh = 0;
}

/* ------------------------------------------------------------------ driver functions */

static CUresult create(CUstream *handle, unsigned flags, int priority) {
  if (handle == NULL || (flags & ~(unsigned)CU_STREAM_NON_BLOCKING) != 0) return CUDA_ERROR_INVALID_VALUE;
  const int slot = sim__slot_take(&slots);
  if (slot < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  sim_stream *const stream = sim__stream_new(sim__current_or_null(), SIM_CREATED, flags, priority);
  if (stream == NULL) return sim__slot_give(&slots, slot), CUDA_ERROR_OUT_OF_MEMORY;
  stream->handle = &handles[slot];
  handles[slot].stream = stream;
  *handle = stream->handle;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamCreate(CUstream *phStream, unsigned int Flags) {
  SIM_CALL(cuStreamCreate, SIM_CURRENT, create(phStream, Flags, 0));
}

CUresult CUDAAPI cuStreamCreateWithPriority(CUstream *phStream, unsigned int flags, int priority) {
  SIM_CALL(cuStreamCreateWithPriority, SIM_CURRENT, create(phStream, flags, priority));
}

static CUresult destroy(CUstream handle) {
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (stream->kind != SIM_CREATED) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture != NULL) sim__capture_invalidate(stream->capture, "its stream was destroyed");
  sim__capture_forget(stream);
  free_handle(stream);
  sim__stream_collect(stream);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamDestroy(CUstream hStream) { SIM_CALL(cuStreamDestroy, SIM_CURRENT, destroy(hStream)); }

/* Even the relaxed mode allows no question about a stream that captures. */
static CUresult stream_to_ask(CUstream handle, sim_stream **stream) {
  const CUresult result = sim__stream(handle, stream);
  if (result != CUDA_SUCCESS || (*stream)->capture == NULL) return result;
  sim__capture_invalidate((*stream)->capture, sim__caller());
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

static CUresult query(CUstream handle) {
  sim_stream *stream = NULL;
  const CUresult result = stream_to_ask(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (stream->head == NULL) return CUDA_SUCCESS;
  sim__step(stream->last, 1);
  return stream->head == NULL ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult CUDAAPI cuStreamQuery(CUstream hStream) { SIM_CALL(cuStreamQuery, SIM_CURRENT | SIM_UNSAFE, query(hStream)); }

static CUresult synchronize(CUstream handle) {
  sim_stream *stream = NULL;
  const CUresult result = stream_to_ask(handle, &stream);
  return result == CUDA_SUCCESS ? sim__wait_stream(stream) : result;
}

CUresult CUDAAPI cuStreamSynchronize(CUstream hStream) {
  SIM_CALL(cuStreamSynchronize, SIM_CURRENT | SIM_UNSAFE | SIM_WAITS, synchronize(hStream));
}

static CUresult get_flags(CUstream handle, unsigned *flags) {
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (flags == NULL) return CUDA_ERROR_INVALID_VALUE;
  *flags = stream->flags;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamGetFlags(CUstream hStream, unsigned int *flags) {
  SIM_CALL(cuStreamGetFlags, SIM_CURRENT, get_flags(hStream, flags));
}

static CUresult get_priority(CUstream handle, int *priority) {
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (priority == NULL) return CUDA_ERROR_INVALID_VALUE;
  *priority = stream->priority;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamGetPriority(CUstream hStream, int *priority) {
  SIM_CALL(cuStreamGetPriority, SIM_CURRENT, get_priority(hStream, priority));
}

static CUresult get_id(CUstream handle, unsigned long long *id) {
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (id == NULL) return CUDA_ERROR_INVALID_VALUE;
  *id = stream->id;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamGetId(CUstream hStream, unsigned long long *streamId) {
  SIM_CALL(cuStreamGetId, SIM_CURRENT, get_id(hStream, streamId));
}

static CUresult get_context(CUstream handle, CUcontext *context) {
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (context == NULL) return CUDA_ERROR_INVALID_VALUE;
  *context = stream->context->handle;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamGetCtx(CUstream hStream, CUcontext *pctx) {
  SIM_CALL(cuStreamGetCtx, 0, get_context(hStream, pctx));
}

SIM_API CUresult sim_weight(CUstream handle, int weight) {
  const int inside = sim__lock();
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result == CUDA_SUCCESS) stream->weight = weight;
  sim__unlock(inside);
  return result;
}
