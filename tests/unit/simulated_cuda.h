/* SPDX-License-Identifier: MIT
 * A framework that uses CUDA, on the simulated driver, and calls of the CUDA layer's operations. */
#ifndef SIMULATED_CUDA_H
#define SIMULATED_CUDA_H

#include <arraybridge/conformance/driver.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check_main.h"
#include "device/cuda.h"
#include "device/device.h"
#include "memory.h"

enum { DEVICES = 2, DEVICE_BYTES = 64 << 20, CHILD_SECONDS = 60, SEED = 5 };

#define OK(call) ck_assert_int_eq((int)(call), CUDA_SUCCESS)

static ab_error error;
static ab_report report;
static const ab_device_ops *cuda;

/* ------------------------------------------------------------------ the framework */

/* The framework uses `device` from here on: its primary context is active, and current on no thread. */
static inline CUcontext use(int device) {
  CUcontext context = NULL;
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxRetain(&context, device));
  return context;
}

static inline CUstream new_stream(CUcontext context, unsigned flags) {
  CUstream stream = NULL;
  OK(cuCtxPushCurrent(context));
  OK(cuStreamCreate(&stream, flags));
  OK(cuCtxPopCurrent(&context));
  return stream;
}

static inline void drop_stream(CUcontext context, CUstream stream) {
  OK(cuCtxPushCurrent(context));
  OK(cuStreamDestroy(stream));
  OK(cuCtxPopCurrent(&context));
}

static inline CUdeviceptr new_memory(CUcontext context, size_t bytes) {
  CUdeviceptr address = 0;
  OK(cuCtxPushCurrent(context));
  OK(cuMemAlloc(&address, bytes));
  OK(cuCtxPopCurrent(&context));
  return address;
}

/* ------------------------------------------------------------------ in the core's words */

static inline ab_stream stream_of(CUstream handle, int device) {
  return (ab_stream){.struct_size = (uint32_t)sizeof(ab_stream),
                     .kind = AB_STREAM_HANDLE,
                     .handle = handle,
                     .device = {kDLCUDA, device}};
}

static inline ab_stream default_stream(uint32_t kind, int device) {
  return (ab_stream){.struct_size = (uint32_t)sizeof(ab_stream),
                     .kind = kind,
                     .device = {kDLCUDA, device},
                     .thread = (uint64_t)syscall(SYS_gettid)};
}

static inline ab_memory memory_at(DLDeviceType type, int device, const void *address, uint64_t bytes) {
  return (ab_memory){.struct_size = (uint32_t)sizeof(ab_memory),
                     .device = {type, device},
                     .handle = (void *)(uintptr_t)address,
                     .bytes = bytes};
}

static inline ab_memory device_memory(int device, CUdeviceptr address, uint64_t bytes) {
  return memory_at(kDLCUDA, device, (const void *)(uintptr_t)address, bytes);
}

/* A call on `stream` with an empty error. */
static inline ab_call *on(const ab_stream *stream) {
  static ab_call call;
  ab_error_clear(&error);
  report = (ab_report){.struct_size = sizeof report};
  call = ab__device_call(cuda, stream, &report, &error);
  return &call;
}

static inline ab_error *fresh_error(void) {
  ab_error_clear(&error);
  return &error;
}

/* ------------------------------------------------------------------ around each test */

static inline void setup(void) {
  sim_reset(SEED, DEVICES, DEVICE_BYTES);
  ab_error_init(&error);
  cuda = ab__device_ops(kDLCUDA);
}

/* Whatever a test did: nothing wrong was seen, and this thread is as it was. */
static inline void teardown(void) {
  ck_assert_msg(sim_fault() == NULL, "%s", sim_fault());
  ck_assert_int_eq(sim_context_depth(), 0);
  sim_run_all();
  ck_assert_int_eq(sim_idle(), 1);
  ab_error_clear(&error);
}

/* The exit status of run() in a child; -1 if it died. */
static inline int in_child(int (*run)(void)) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(CHILD_SECONDS);
    _exit(run());
  }
  int status = -1;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#endif
