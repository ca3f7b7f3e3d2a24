/* SPDX-License-Identifier: MIT
 * What the tests of the simulated driver share: a device or two, streams, and kernels that write, copy and note. */
#ifndef SIMULATED_H
#define SIMULATED_H

#include <arraybridge/conformance/driver.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_main.h"

#define OK(call) ck_assert_int_eq((call), CUDA_SUCCESS)
#define FAILS(call, with) ck_assert_int_eq((call), (with))

enum { BYTES = 1000, MEMORY = 1 << 20 };

/// Fails unless the first fault begins with `kind`.
static inline void assert_fault(const char *kind) {
  const char *const text = sim_fault();
  ck_assert_msg(text != NULL, "no fault was found, %s was expected", kind);
  ck_assert_msg(strncmp(text, kind, strlen(kind)) == 0, "%s", text);
}

static inline void assert_no_fault(void) { ck_assert_msg(sim_fault() == NULL, "%s", sim_fault()); }

/// Makes the primary context of `device` current on this thread.
static inline CUcontext use_device(int device) {
  CUcontext context = NULL;
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&context, device));
  OK(cuCtxPushCurrent(context));
  return context;
}

static inline void two_devices(void) {
  sim_reset(1, 2, MEMORY);
  use_device(0);
}

static inline CUstream new_stream(unsigned flags) {
  CUstream stream = NULL;
  OK(cuStreamCreate(&stream, flags));
  return stream;
}

static inline CUstream side_stream(void) { return new_stream(CU_STREAM_NON_BLOCKING); }

static inline CUevent new_event(void) {
  CUevent event = NULL;
  OK(cuEventCreate(&event, CU_EVENT_DISABLE_TIMING));
  return event;
}

static inline CUdeviceptr new_memory(size_t bytes) {
  CUdeviceptr memory = 0;
  OK(cuMemAlloc(&memory, bytes));
  return memory;
}

/// A kernel: sets the first byte of `to` to `value`, or to that of `from`.
typedef struct byte_kernel {
  CUdeviceptr to, from;
  unsigned char value;
} byte_kernel;

static inline void run_byte_kernel(void *context) {
  const byte_kernel *const kernel = context;
  unsigned char *const to = (unsigned char *)(uintptr_t)kernel->to;
  *to = kernel->from == 0 ? kernel->value : *(const unsigned char *)(uintptr_t)kernel->from;
}

static inline CUresult launch_byte(byte_kernel *kernel, CUstream stream) {
  const CUdeviceptr touched[] = {kernel->to, kernel->from};
  return sim_launch(stream, run_byte_kernel, kernel, touched, kernel->from == 0 ? 1 : 2);
}

/// The first byte at `memory`, as it is now.
static inline int byte_at(CUdeviceptr memory) {
  unsigned char value = 0;
  ck_assert(sim_read(memory, &value, 1));
  return value;
}

/// A list of letters that kernels append to, in the order in which they run.
typedef struct letter_kernel {
  char *list;
  char letter;
} letter_kernel;

static inline void run_letter_kernel(void *context) {
  const letter_kernel *const kernel = context;
  const size_t used = strlen(kernel->list);
  kernel->list[used] = kernel->letter;
  kernel->list[used + 1] = '\0';
}

static inline void launch_letter(letter_kernel *kernel, CUstream stream) {
  OK(sim_launch(stream, run_letter_kernel, kernel, NULL, 0));
}

#endif
