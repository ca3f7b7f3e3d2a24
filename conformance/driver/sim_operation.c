/* SPDX-License-Identifier: MIT
 * Operations: what lies in a stream until the scheduler runs it. */
#include <stdlib.h>

#include "sim.h"

static uint64_t numbers;
static int running_device;

int sim__running_device(void) { return running_device; }

sim_operation *sim__operation_new(const char *name, void (*execute)(sim_operation *operation)) {
  sim_operation *const operation = calloc(1, sizeof *operation);
  if (operation == NULL) abort(); /* test equipment: no memory for it ends the test */
  operation->references = 1;
  operation->name = name;
  operation->rank = SIM_RANK_WORK;
  operation->execute = execute;
  return operation;
}

sim_operation *sim__operation_keep(sim_operation *operation) {
  ++operation->references;
  return operation;
}

static void let_go_of_blocks(sim_operation *operation) {
  for (int i = 0; i < operation->touched_count; ++i) {
    --operation->touched[i]->pending;
    sim__block_drop(operation->touched[i]);
  }
  if (operation->subject != NULL) sim__block_drop(operation->subject);
  operation->subject = NULL;
  free(operation->touched);
  operation->touched = NULL;
  operation->touched_count = 0;
}

static void let_go_of_others(sim_operation *operation) {
  for (int i = 0; i < operation->after_count; ++i) sim__operation_drop(operation->after[i]);
  free(operation->after);
  operation->after = NULL;
  operation->after_count = 0;
}

void sim__operation_drop(sim_operation *operation) {
  if (--operation->references > 0) return;
  let_go_of_blocks(operation);
  let_go_of_others(operation);
  free(operation->staging);
  free(operation);
}

static void *room_for_one_more(void *list, int count) {
  void *const grown = realloc(list, (size_t)(count + 1) * sizeof(void *));
  if (grown == NULL) abort();
  return grown;
}

void sim__operation_after(sim_operation *operation, sim_operation *before) {
  if (before == NULL || before->done) return;
  operation->after = room_for_one_more(operation->after, operation->after_count);
  operation->after[operation->after_count++] = sim__operation_keep(before);
}

void sim__operation_touch(sim_operation *operation, sim_block *block) {
  for (int i = 0; i < operation->touched_count; ++i)
    if (operation->touched[i] == block) return;
  operation->touched = room_for_one_more(operation->touched, operation->touched_count);
  operation->touched[operation->touched_count++] = sim__block_keep(block);
  ++block->pending;
}

/* The legacy stream waits for all blocking streams of its context, and they for it; others know nothing of it. */
static void couple(sim_stream *stream, sim_operation *operation) {
  if (sim__stream_blocking(stream)) sim__operation_after(operation, stream->context->legacy->last);
  if (stream->kind != SIM_LEGACY) return;
  for (sim_stream *other = sim__streams; other != NULL; other = other->next)
    if (other->context == stream->context && sim__stream_blocking(other)) sim__operation_after(operation, other->last);
}

static void append(sim_stream *stream, sim_operation *operation) {
  operation->stream = stream;
  operation->number = ++numbers;
  stream->enqueued = operation->number;
  if (stream->head == NULL) stream->head = operation;
  else stream->tail->next = operation;
  stream->tail = operation;
  if (stream->last != NULL) sim__operation_drop(stream->last);
  stream->last = sim__operation_keep(operation);
}

CUresult sim__enqueue(sim_stream *stream, sim_operation *operation, sim_operation **kept) {
  int captured = 0;
  const CUresult result = sim__capture_enqueue(stream, &captured);
  if (kept != NULL) *kept = NULL;
  if (result != CUDA_SUCCESS || captured) {
    sim__operation_drop(operation);
    return result;
  }
  couple(stream, operation);
  append(stream, operation);
  if (kept != NULL) *kept = sim__operation_keep(operation);
  return CUDA_SUCCESS;
}

static int may_touch(const sim_operation *operation) {
  int right = 1;
  for (int i = 0; i < operation->touched_count; ++i) right &= sim__block_check(operation->touched[i], operation);
  return right;
}

void sim__execute(sim_operation *operation) {
  sim_stream *const stream = operation->stream;
  running_device = stream->context->device;
  if (operation->execute != NULL && may_touch(operation)) {
    for (int i = 0; i < operation->touched_count; ++i) sim__block_open(operation->touched[i]);
    operation->execute(operation);
    for (int i = 0; i < operation->touched_count; ++i) sim__block_close(operation->touched[i]);
  }
  operation->done = 1;
  stream->head = operation->next;
  if (stream->head == NULL) stream->tail = NULL;
  let_go_of_blocks(operation);
  let_go_of_others(operation);
  sim__operation_drop(operation);
  sim__stream_collect(stream);
}

/* ------------------------------------------------------------------ kernels and gates */

static void run_kernel(sim_operation *operation) {
  const int inside = sim__set_inside(SIM_IN_KERNEL);
  operation->kernel(operation->data);
  sim__set_inside(inside);
}

static CUresult touch_all(sim_operation *operation, const CUdeviceptr *touched, int count) {
  for (int i = 0; i < count; ++i) {
    sim_block *const block = sim__block_at(touched[i]);
    if (block == NULL) {
      sim__fault("unknown memory: a kernel is to touch %#llx, which is in no block (freed?)", touched[i]);
      return CUDA_ERROR_INVALID_VALUE;
    }
    sim__operation_touch(operation, block);
  }
  return CUDA_SUCCESS;
}

static CUresult refused(void) {
  if (sim__inside() != SIM_IN_CALLBACK && sim__inside() != SIM_IN_KERNEL) return CUDA_SUCCESS;
  sim__fault("callback: a kernel was launched inside a %s",
             sim__inside() == SIM_IN_KERNEL ? "kernel" : "host function");
  return CUDA_ERROR_NOT_PERMITTED;
}

static CUresult launch(CUstream handle, void (*run)(void *), void *context, const CUdeviceptr *touched, int count) {
  sim_context *current = NULL;
  CUresult result = refused();
  if (result == CUDA_SUCCESS) result = sim__current(&current);
  if (result == CUDA_SUCCESS) result = sim__device(current->device)->error;
  sim_stream *stream = NULL;
  if (result == CUDA_SUCCESS) result = sim__stream_here(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  sim_operation *const operation = sim__operation_new("a kernel", run_kernel);
  operation->kernel = run;
  operation->data = context;
  result = touch_all(operation, touched, count);
  if (result == CUDA_SUCCESS) return sim__enqueue(stream, operation, NULL);
  sim__operation_drop(operation);
  return result;
}

SIM_API CUresult sim_launch(CUstream stream, void (*run)(void *context), void *context, const CUdeviceptr *touched,
                            int count) {
  const int inside = sim__lock();
  const CUresult result = launch(stream, run, context, touched, count);
  sim__unlock(inside);
  return result;
}

static CUresult hold(CUstream handle) {
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  sim_operation *const operation = sim__operation_new("a gate", NULL);
  operation->gate = 1;
  return sim__enqueue(stream, operation, NULL);
}

SIM_API CUresult sim_hold(CUstream stream) {
  const int inside = sim__lock();
  const CUresult result = hold(stream);
  sim__unlock(inside);
  return result;
}

static CUresult let_go(CUstream handle) {
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  int opened = 0;
  for (sim_operation *operation = stream->head; operation != NULL; operation = operation->next) {
    opened += operation->gate;
    operation->gate = 0;
  }
  return opened > 0 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

SIM_API CUresult sim_let_go(CUstream stream) {
  const int inside = sim__lock();
  const CUresult result = let_go(stream);
  sim__unlock(inside);
  return result;
}
