/* SPDX-License-Identifier: MIT
 * Events: a record of what must have run. */
#include <stdlib.h>

#include "sim.h"

enum { EVENTS = 1 << 16 };

static struct CUevent_st events[EVENTS];
static int freed[EVENTS];
static sim_slots slots = {freed, 0, 0, EVENTS};
static int live_events;

int sim__event_count(void) { return live_events; }

static CUresult check(CUevent event) {
  const int slot = sim__slot_of(events, sizeof *events, EVENTS, event);
  if (slot >= 0 && events[slot].live) return CUDA_SUCCESS;
  sim__fault("handle: %s was given an event that does not exist (destroyed?)", sim__caller());
  return CUDA_ERROR_INVALID_HANDLE;
}

static void forget_records(CUevent event) {
  for (int i = 0; i < event->record_count; ++i) sim__operation_drop(event->records[i]);
  free(event->records);
  event->records = NULL;
  event->record_count = 0;
  event->capture = 0;
}

static void add_record(CUevent event, sim_operation *operation) {
  sim_operation **const grown = realloc(event->records, (size_t)(event->record_count + 1) * sizeof *grown);
  if (grown == NULL) abort();
  event->records = grown;
  event->records[event->record_count++] = operation;
}

static void end_event(CUevent event) {
  forget_records(event);
  event->live = 0;
  --live_events;
  sim__slot_give(&slots, (int)(event - events));
}

void sim__event_reset(uint64_t context) {
  for (int i = 0; i < slots.fresh; ++i)
    if (events[i].live && (context == 0 || events[i].context == context)) end_event(&events[i]);
  if (context == 0) slots.freed_count = slots.fresh = 0;
}

static CUresult create(CUevent *event, unsigned flags) {
  const unsigned known = CU_EVENT_BLOCKING_SYNC | CU_EVENT_DISABLE_TIMING | CU_EVENT_INTERPROCESS;
  if (event == NULL || (flags & ~known) != 0) return CUDA_ERROR_INVALID_VALUE;
  const int slot = sim__slot_take(&slots);
  if (slot < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  const sim_context *const context = sim__current_or_null();
  events[slot] = (struct CUevent_st){.live = 1, .flags = flags, .context = context->id, .device = context->device};
  ++live_events;
  *event = &events[slot];
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventCreate(CUevent *phEvent, unsigned int Flags) {
  SIM_CALL(cuEventCreate, SIM_CURRENT, create(phEvent, Flags));
}

static CUresult destroy(CUevent event) {
  const CUresult result = check(event);
  if (result == CUDA_SUCCESS) end_event(event);
  return result;
}

CUresult CUDAAPI cuEventDestroy(CUevent hEvent) { SIM_CALL(cuEventDestroy, SIM_CURRENT, destroy(hEvent)); }

/* ------------------------------------------------------------------ recording */

static CUresult record(CUevent event, CUstream handle) {
  sim_stream *stream = NULL;
  CUresult result = check(event);
  if (result == CUDA_SUCCESS) result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (event->context != stream->context->id) {
    sim__fault("wrong context: %s of an event on a stream of another context", sim__caller());
    return CUDA_ERROR_INVALID_HANDLE;
  }
  sim_operation *operation = sim__operation_new("cuEventRecord", NULL);
  operation->rank = SIM_RANK_RECORD;
  result = sim__enqueue(stream, operation, &operation);
  if (result != CUDA_SUCCESS) return result;
  forget_records(event);
  if (operation != NULL) {
    add_record(event, operation);
  } else {
    event->capture = stream->capture->id;
    event->captured_stream = stream->id;
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuEventRecord(CUevent hEvent, CUstream hStream) {
  SIM_CALL(cuEventRecord, SIM_CURRENT, record(hEvent, hStream));
}

CUresult CUDAAPI cuEventRecordWithFlags(CUevent hEvent, CUstream hStream, unsigned int flags) {
  SIM_CALL(cuEventRecordWithFlags, SIM_CURRENT, flags > 1 ? CUDA_ERROR_INVALID_VALUE : record(hEvent, hStream));
}

/* A stream of the context that captures makes the call break that capture. */
static CUresult breaks_captures(const sim_context *context) {
  CUresult result = CUDA_SUCCESS;
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next) {
    if (stream->context != context || stream->capture == NULL) continue;
    sim__capture_invalidate(stream->capture, sim__caller());
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return result;
}

static CUresult context_of(CUcontext handle, CUevent event, sim_context **context) {
  if (sim__version() < 12050) return CUDA_ERROR_NOT_SUPPORTED;
  *context = handle == NULL ? sim__current_or_null() : sim__context(handle);
  if (*context == NULL) return CUDA_ERROR_INVALID_CONTEXT;
  const CUresult result = check(event);
  return result == CUDA_SUCCESS ? breaks_captures(*context) : result;
}

static CUresult record_context(CUcontext handle, CUevent event) {
  sim_context *context = NULL;
  const CUresult result = context_of(handle, event, &context);
  if (result != CUDA_SUCCESS) return result;
  if (event->context != context->id) return CUDA_ERROR_INVALID_HANDLE;
  forget_records(event);
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next)
    if (stream->context == context && stream->head != NULL) add_record(event, sim__operation_keep(stream->last));
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxRecordEvent(CUcontext hCtx, CUevent hEvent) {
  SIM_CALL(cuCtxRecordEvent, 0, record_context(hCtx, hEvent));
}

/* ------------------------------------------------------------------ waiting */

static void wait_for(sim_operation *operation, CUevent event) {
  for (int i = 0; i < event->record_count; ++i) {
    event->records[i]->awaited = 1;
    sim__operation_after(operation, event->records[i]);
  }
}

static void joined(uint64_t id) {
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next)
    if (stream->id == id) stream->captured_unjoined = 0;
}

/* Waiting for captured work draws the stream into the capture. */
static CUresult wait_captured(sim_stream *stream, CUevent event) {
  sim_capture *const capture = sim__capture_of(event->capture);
  if (capture == NULL) return CUDA_ERROR_CAPTURED_EVENT;
  if (!capture->valid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  if (stream->capture != NULL && stream->capture != capture) {
    sim__capture_invalidate(stream->capture, "it waits for another capture");
    return CUDA_ERROR_STREAM_CAPTURE_MERGE;
  }
  if (stream->kind == SIM_LEGACY) return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  stream->capture = capture;
  joined(event->captured_stream);
  if (stream != capture->origin) stream->captured_unjoined = 1;
  return CUDA_SUCCESS;
}

static int all_done(const struct CUevent_st *event) {
  for (int i = 0; i < event->record_count; ++i)
    if (!event->records[i]->done) return 0;
  return 1;
}

static CUresult stream_wait(CUstream handle, CUevent event) {
  sim_stream *stream = NULL;
  CUresult result = check(event);
  if (result == CUDA_SUCCESS) result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (event->capture != 0) return wait_captured(stream, event);
  if (stream->capture != NULL && event->record_count > 0) {
    sim__capture_invalidate(stream->capture, "its stream waits for work outside of it");
    return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
  }
  if (all_done(event)) return CUDA_SUCCESS;
  sim_operation *const operation = sim__operation_new("cuStreamWaitEvent", NULL);
  wait_for(operation, event);
  return sim__enqueue(stream, operation, NULL);
}

CUresult CUDAAPI cuStreamWaitEvent(CUstream hStream, CUevent hEvent, unsigned int Flags) {
  SIM_CALL(cuStreamWaitEvent, SIM_CURRENT, Flags > 1 ? CUDA_ERROR_INVALID_VALUE : stream_wait(hStream, hEvent));
}

/* Everything that comes later in the context waits: on each of its streams. */
static CUresult context_wait(CUcontext handle, CUevent event) {
  sim_context *context = NULL;
  const CUresult result = context_of(handle, event, &context);
  if (result != CUDA_SUCCESS) return result;
  if (event->capture != 0) return CUDA_ERROR_CAPTURED_EVENT;
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next) {
    if (stream->context != context) continue;
    sim_operation *const operation = sim__operation_new("cuCtxWaitEvent", NULL);
    wait_for(operation, event);
    sim__enqueue(stream, operation, NULL);
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxWaitEvent(CUcontext hCtx, CUevent hEvent) {
  SIM_CALL(cuCtxWaitEvent, 0, context_wait(hCtx, hEvent));
}

/* ------------------------------------------------------------------ asking */

static CUresult check_to_ask(CUevent event) {
  const CUresult result = check(event);
  if (result != CUDA_SUCCESS || event->capture == 0) return result;
  sim_capture *const capture = sim__capture_of(event->capture);
  if (capture != NULL) sim__capture_invalidate(capture, sim__caller());
  return CUDA_ERROR_CAPTURED_EVENT;
}

static sim_operation *first_pending(CUevent event) {
  for (int i = 0; i < event->record_count; ++i)
    if (!event->records[i]->done) return event->records[i];
  return NULL;
}

static CUresult query(CUevent event) {
  const CUresult result = check_to_ask(event);
  if (result != CUDA_SUCCESS || all_done(event)) return result;
  sim__step(first_pending(event), 1);
  return all_done(event) ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult CUDAAPI cuEventQuery(CUevent hEvent) { SIM_CALL(cuEventQuery, SIM_CURRENT | SIM_UNSAFE, query(hEvent)); }

static CUresult synchronize(CUevent event) {
  CUresult result = check_to_ask(event);
  for (sim_operation *operation; result == CUDA_SUCCESS && (operation = first_pending(event)) != NULL;)
    result = sim__wait(operation);
  return result;
}

CUresult CUDAAPI cuEventSynchronize(CUevent hEvent) {
  SIM_CALL(cuEventSynchronize, SIM_CURRENT | SIM_UNSAFE | SIM_WAITS, synchronize(hEvent));
}
