/* SPDX-License-Identifier: MIT
 * Host functions: run on a thread of their own, which may not call the driver. */
#include <pthread.h>
#include <stdlib.h>

#include "sim.h"

/// A host function, or a callback that is told the stream.
typedef struct host_call {
  CUhostFn function;
  CUstreamCallback callback;
  CUstream stream;
  void *data;
} host_call;

static void *call(void *data) {
  const host_call *const what = data;
  sim__set_inside(SIM_IN_CALLBACK);
  if (what->function != NULL) what->function(what->data);
  else what->callback(what->stream, CUDA_SUCCESS, what->data);
  return NULL;
}

/* The thread that waits has the lock and stands still, so that the order of everything is the scheduler's. */
static void run_host_call(sim_operation *operation) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, call, operation->staging) != 0) abort();
  pthread_join(thread, NULL);
}

static CUresult enqueue_call(CUstream handle, const host_call *what) {
  if (what->function == NULL && what->callback == NULL) return CUDA_ERROR_INVALID_VALUE;
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  host_call *const copy = malloc(sizeof *copy);
  if (copy == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  *copy = *what;
  sim_operation *const operation = sim__operation_new(sim__caller(), run_host_call);
  operation->staging = copy;
  return sim__enqueue(stream, operation, NULL);
}

CUresult CUDAAPI cuLaunchHostFunc(CUstream hStream, CUhostFn fn, void *userData) {
  SIM_CALL(cuLaunchHostFunc, SIM_CURRENT, enqueue_call(hStream, &(host_call){.function = fn, .data = userData}));
}

CUresult CUDAAPI cuStreamAddCallback(CUstream hStream, CUstreamCallback callback, void *userData, unsigned int flags) {
  (void)flags;
  SIM_CALL(cuStreamAddCallback, SIM_CURRENT,
           enqueue_call(hStream, &(host_call){.callback = callback, .stream = hStream, .data = userData}));
}

SIM_API int sim_in_callback(void) { return sim__inside() == SIM_IN_CALLBACK; }
