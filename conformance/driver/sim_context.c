/* SPDX-License-Identifier: MIT
 * Contexts: primary ones and others. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { CONTEXTS = 256 };

struct CUctx_st {
  sim_context *context;
};

static struct CUctx_st handles[CONTEXTS];
static int freed[CONTEXTS];
static sim_slots slots = {freed, 0, 0, CONTEXTS};
sim_context *sim__contexts;

sim_context *sim__context(CUcontext handle) {
  const int slot = sim__slot_of(handles, sizeof *handles, CONTEXTS, handle);
  return slot < 0 ? NULL : handles[slot].context;
}

CUresult sim__context_new(int device, int primary, unsigned flags, sim_context **context) {
  const int slot = sim__slot_take(&slots);
  if (slot < 0) return CUDA_ERROR_OUT_OF_MEMORY;
  sim_context *const made = calloc(1, sizeof *made);
  if (made == NULL) return sim__slot_give(&slots, slot), CUDA_ERROR_OUT_OF_MEMORY;
  *made = (sim_context){.next = sim__contexts,
                        .handle = &handles[slot],
                        .id = sim__new_id(),
                        .device = device,
                        .primary = primary,
                        .flags = flags};
  sim__contexts = made;
  handles[slot].context = made;
  made->legacy = sim__stream_new(made, SIM_LEGACY, CU_STREAM_DEFAULT, 0);
  *context = made;
  return CUDA_SUCCESS;
}

static void forget_peers(sim_context *context) {
  while (context->peers != NULL) {
    struct sim_peer *const peer = context->peers;
    context->peers = peer->next;
    free(peer);
  }
}

static void end_streams(const sim_context *context) {
  for (sim_stream *stream = sim__streams, *next; stream != NULL; stream = next) {
    next = stream->next;
    if (stream->context == context) sim__stream_end(stream);
  }
}

static void end_blocks(const sim_context *context) {
  for (sim_block *block = sim__blocks, *next; block != NULL; block = next) {
    next = block->next;
    if (block->context == context->id) sim__block_end(block, 0);
  }
}

void sim__context_end(sim_context *context) {
  sim__wait_context(context);
  sim__event_reset(context->id);
  end_blocks(context);
  end_streams(context);
  forget_peers(context);
  sim_context **at = &sim__contexts;
  while (*at != context) at = &(*at)->next;
  *at = context->next;
  context->handle->context = NULL;
  sim__slot_give(&slots, (int)(context->handle - handles));
  free(context);
}

static int has_peer(const sim_context *context, uint64_t id) {
  for (const struct sim_peer *peer = context->peers; peer != NULL; peer = peer->next)
    if (peer->context == id) return 1;
  return 0;
}

int sim__context_reaches(const sim_context *from, const sim_block *block) {
  if (block->kind != SIM_DEVICE) return 1; /* one address space: host memory is everybody's */
  return from->id == block->context || has_peer(from, block->context);
}

void sim__context_reset(void) {
  while (sim__contexts != NULL) {
    sim_context *const context = sim__contexts;
    sim__contexts = context->next;
    forget_peers(context);
    context->handle->context = NULL;
    free(context);
  }
  slots.freed_count = slots.fresh = 0;
}

/* ------------------------------------------------------------------ the stack of a thread */

CUresult sim__current(sim_context **context) {
  const sim_thread *const thread = sim__thread();
  if (thread->depth == 0 || thread->stack[thread->depth - 1].handle == NULL) return CUDA_ERROR_INVALID_CONTEXT;
  sim_context *const found = sim__context(thread->stack[thread->depth - 1].handle);
  if (found == NULL || found->id != thread->stack[thread->depth - 1].id) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
  *context = found;
  return CUDA_SUCCESS;
}

sim_context *sim__current_or_null(void) {
  sim_context *context = NULL;
  return sim__current(&context) == CUDA_SUCCESS ? context : NULL;
}

CUresult sim__context_push(sim_context *context, int pushed) {
  sim_thread *const thread = sim__thread();
  if (thread->depth == SIM_STACK) return CUDA_ERROR_OUT_OF_MEMORY;
  thread->stack[thread->depth].handle = context->handle;
  thread->stack[thread->depth].id = context->id;
  thread->stack[thread->depth++].pushed = pushed;
  sim__pushed += pushed;
  return CUDA_SUCCESS;
}

static CUresult push(CUcontext handle) {
  sim_context *const context = sim__context(handle);
  return context == NULL ? CUDA_ERROR_INVALID_CONTEXT : sim__context_push(context, 1);
}

CUresult CUDAAPI cuCtxPushCurrent(CUcontext ctx) { SIM_CALL(cuCtxPushCurrent, 0, push(ctx)); }

static CUresult pop(CUcontext *handle) {
  sim_thread *const thread = sim__thread();
  if (thread->depth == 0) return CUDA_ERROR_INVALID_CONTEXT;
  --thread->depth;
  sim__pushed -= thread->stack[thread->depth].pushed;
  if (handle != NULL) *handle = thread->stack[thread->depth].handle;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxPopCurrent(CUcontext *pctx) { SIM_CALL(cuCtxPopCurrent, 0, pop(pctx)); }

static CUresult set_current(CUcontext handle) {
  sim_thread *const thread = sim__thread();
  if (handle == NULL) return thread->depth == 0 ? CUDA_SUCCESS : pop(NULL);
  sim_context *const context = sim__context(handle);
  if (context == NULL) return CUDA_ERROR_INVALID_CONTEXT;
  if (thread->depth == 0) return sim__context_push(context, 0);
  thread->stack[thread->depth - 1].handle = handle;
  thread->stack[thread->depth - 1].id = context->id;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxSetCurrent(CUcontext ctx) { SIM_CALL(cuCtxSetCurrent, 0, set_current(ctx)); }

static CUresult get_current(CUcontext *handle) {
  if (handle == NULL) return CUDA_ERROR_INVALID_VALUE;
  const sim_thread *const thread = sim__thread();
  *handle = thread->depth == 0 ? NULL : thread->stack[thread->depth - 1].handle;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetCurrent(CUcontext *pctx) { SIM_CALL(cuCtxGetCurrent, 0, get_current(pctx)); }

SIM_API int sim_context_depth(void) {
  const int inside = sim__lock();
  const int depth = sim__thread()->depth;
  sim__unlock(inside);
  return depth;
}

SIM_API int sim_current_device(void) {
  const int inside = sim__lock();
  const sim_context *const context = sim__current_or_null();
  const int device = context == NULL ? -1 : context->device;
  sim__unlock(inside);
  return device;
}

/* ------------------------------------------------------------------ what a context is */

static CUresult device_of(CUdevice *device) {
  if (device == NULL) return CUDA_ERROR_INVALID_VALUE;
  sim_context *context = NULL;
  const CUresult result = sim__current(&context);
  if (result == CUDA_SUCCESS) *device = context->device;
  return result;
}

CUresult CUDAAPI cuCtxGetDevice(CUdevice *device) { SIM_CALL(cuCtxGetDevice, 0, device_of(device)); }

static CUresult flags_of(unsigned *flags) {
  if (flags == NULL) return CUDA_ERROR_INVALID_VALUE;
  *flags = sim__current_or_null()->flags;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetFlags(unsigned int *flags) { SIM_CALL(cuCtxGetFlags, SIM_CURRENT, flags_of(flags)); }

static CUresult id_of(CUcontext handle, unsigned long long *id) {
  const sim_context *const context = handle == NULL ? sim__current_or_null() : sim__context(handle);
  if (context == NULL) return CUDA_ERROR_INVALID_CONTEXT;
  if (id == NULL) return CUDA_ERROR_INVALID_VALUE;
  *id = context->id;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetId(CUcontext ctx, unsigned long long *ctxId) { SIM_CALL(cuCtxGetId, 0, id_of(ctx, ctxId)); }

static CUresult priorities(int *least, int *greatest) {
  if (least != NULL) *least = 0;
  if (greatest != NULL) *greatest = -5;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxGetStreamPriorityRange(int *leastPriority, int *greatestPriority) {
  SIM_CALL(cuCtxGetStreamPriorityRange, SIM_CURRENT, priorities(leastPriority, greatestPriority));
}

CUresult CUDAAPI cuCtxSynchronize(void) {
  SIM_CALL(cuCtxSynchronize, SIM_CURRENT | SIM_UNSAFE | SIM_WAITS, sim__wait_context(sim__current_or_null()));
}

/* ------------------------------------------------------------------ contexts of one's own */

static CUresult create(CUcontext *handle, unsigned flags, CUdevice device) {
  if (handle == NULL) return CUDA_ERROR_INVALID_VALUE;
  if (sim__device(device) == NULL) return CUDA_ERROR_INVALID_DEVICE;
  sim_context *context = NULL;
  CUresult result = sim__context_new(device, 0, flags, &context);
  if (result == CUDA_SUCCESS && (result = sim__context_push(context, 1)) != CUDA_SUCCESS) sim__context_end(context);
  if (result == CUDA_SUCCESS) *handle = context->handle;
  return result;
}

CUresult CUDAAPI cuCtxCreate(CUcontext *pctx, CUctxCreateParams *ctxCreateParams, unsigned int flags, CUdevice dev) {
  (void)ctxCreateParams;
  SIM_CALL(cuCtxCreate, 0, create(pctx, flags, dev));
}

static CUresult destroy(CUcontext handle) {
  sim_context *const context = sim__context(handle);
  if (context == NULL || context->primary) return CUDA_ERROR_INVALID_CONTEXT;
  const sim_thread *const thread = sim__thread();
  if (thread->depth > 0 && thread->stack[thread->depth - 1].id == context->id) pop(NULL);
  sim__context_end(context);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxDestroy(CUcontext ctx) { SIM_CALL(cuCtxDestroy, SIM_WAITS, destroy(ctx)); }

/* ------------------------------------------------------------------ peers */

static CUresult enable_peer(CUcontext handle, unsigned flags) {
  sim_context *const context = sim__current_or_null(), *const peer = sim__context(handle);
  if (peer == NULL || peer == context) return CUDA_ERROR_INVALID_CONTEXT;
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (peer->device != context->device && !sim__device(context->device)->peers[peer->device])
    return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
  if (has_peer(context, peer->id)) return CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
  struct sim_peer *const entry = malloc(sizeof *entry);
  if (entry == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  *entry = (struct sim_peer){peer->id, context->peers};
  context->peers = entry;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuCtxEnablePeerAccess(CUcontext peerContext, unsigned int Flags) {
  SIM_CALL(cuCtxEnablePeerAccess, SIM_CURRENT, enable_peer(peerContext, Flags));
}

static CUresult disable_peer(CUcontext handle) {
  const sim_context *const peer = sim__context(handle);
  if (peer == NULL) return CUDA_ERROR_INVALID_CONTEXT;
  for (struct sim_peer **at = &sim__current_or_null()->peers; *at != NULL; at = &(*at)->next) {
    if ((*at)->context != peer->id) continue;
    struct sim_peer *const entry = *at;
    *at = entry->next;
    free(entry);
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
}

CUresult CUDAAPI cuCtxDisablePeerAccess(CUcontext peerContext) {
  SIM_CALL(cuCtxDisablePeerAccess, SIM_CURRENT, disable_peer(peerContext));
}
