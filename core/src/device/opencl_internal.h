/* SPDX-License-Identifier: MIT
 * What the opencl_*.c files share. Nobody else includes it. */
#ifndef AB__OPENCL_INTERNAL_H
#define AB__OPENCL_INTERNAL_H

#if defined(__has_include) && !defined(_WIN32)
#if __has_include(<CL/cl.h>)
#define AB__HAS_OPENCL 1
#endif
#endif

#include "device/opencl.h"

#ifdef AB__HAS_OPENCL

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>
#include <stdatomic.h>

/// Every function of libOpenCL that is used. One list yields the table and how it is filled.
#define AB__CL_FUNCTIONS(X)    \
  X(clBuildProgram)            \
  X(clCreateBuffer)            \
  X(clCreateCommandQueue)      \
  X(clCreateKernel)            \
  X(clCreateProgramWithSource) \
  X(clEnqueueMapBuffer)        \
  X(clEnqueueNDRangeKernel)    \
  X(clEnqueueReadBuffer)       \
  X(clEnqueueUnmapMemObject)   \
  X(clFinish)                  \
  X(clFlush)                   \
  X(clGetContextInfo)          \
  X(clGetDeviceInfo)           \
  X(clGetMemObjectInfo)        \
  X(clReleaseCommandQueue)     \
  X(clReleaseKernel)           \
  X(clReleaseMemObject)        \
  X(clReleaseProgram)          \
  X(clRetainContext)           \
  X(clRetainMemObject)         \
  X(clSetKernelArg)            \
  X(clSetMemObjectDestructorCallback)

typedef struct ab__cl_table {
#define AB__CL_MEMBER(name) __typeof__(&name) name;
  AB__CL_FUNCTIONS(AB__CL_MEMBER)
#undef AB__CL_MEMBER
} ab__cl_table;

/* ------------------------------------------------------------------ opencl_loader.c */

/// Filled by the first ab__cl_open() that succeeds, constant afterwards.
extern ab__cl_table ab__cl;

/// Opens libOpenCL if that has not been done. Returns: AB_OK; AB_UNAVAILABLE; AB_DRIVER in a forked child.
ab_status ab__cl_open(ab_error *error);
/// AB_DRIVER in a child forked after OpenCL was used.
ab_status ab__cl_fork_check(ab_error *error);
/// 1 when deleters must leak: the process ends, or this is a forked child.
int ab__cl_gone(void);
/// Translates the code that `call` returned.
ab_status ab__cl_failed(ab_error *error, cl_int code, const char *call);

/* ------------------------------------------------------------------ opencl_context.c */

typedef enum ab__cl_verdict { AB__CL_UNPROBED = 0, AB__CL_COHERENT = 1, AB__CL_INCOHERENT = 2 } ab__cl_verdict;

/// Our record of one device in one framework's context. Made once, kept for ever, context retained.
typedef struct ab__cl_context {
  struct ab__cl_context *next;
  cl_context context;
  cl_device_id device;
  cl_command_queue queue;  ///< ours, in order
  int first_device;        ///< `device` is the context's first one
  int only_device;         ///< … and there is no other
  int unified;             ///< host and device use the same memory
  uint64_t max_bytes;
  atomic_int verdict;  ///< ab__cl_verdict; written once, after the two below
  uint64_t alignment;  ///< valid if the verdict is AB__CL_COHERENT; as in ab__opencl_limits
  uint64_t granularity;
} ab__cl_context;

/// Finds or makes the record. `device` NULL: the context's first one. Gives a pointer that stays valid.
ab_status ab__cl_context_get(cl_context context, cl_device_id device, ab__cl_context **record, ab_error *error);
/// The record for the context a buffer lives in.
ab_status ab__cl_context_of(cl_mem buffer, ab__cl_context **record, ab_error *error);
/// AB_OK if host and device see each other's writes; runs the probe if nobody has. AB_UNSUPPORTED with the reason.
ab_status ab__cl_context_coherent(ab__cl_context *record, ab_error *error);

/* ------------------------------------------------------------------ opencl_probe.c */

/// Runs the probe. AB_OK: the outputs are written. AB_UNSUPPORTED: not coherent. Anything else: no verdict.
ab_status ab__cl_probe(const ab__cl_context *record, uint64_t *alignment, uint64_t *granularity, ab_error *error);

/* ------------------------------------------------------------------ opencl_range.c */

/// Claims host memory for one live buffer. AB_UNSUPPORTED: part of it is claimed already; AB_OOM.
ab_status ab__cl_range_claim(const void *begin, uint64_t bytes);
/// 1 if some of the range is claimed.
int ab__cl_range_taken(const void *begin, uint64_t bytes);
/// Gives up what was claimed with this `begin`.
void ab__cl_range_drop(const void *begin);

/* ------------------------------------------------------------------ opencl_map.c */

/// Between these two a thread is inside a callback of the driver: deleters of mapped tensors are put off.
void ab__cl_callback_enter(void);
void ab__cl_callback_leave(void);
/// Runs what was put off, if this thread may.
void ab__cl_pay(void);

#endif /* AB__HAS_OPENCL */
#endif /* AB__OPENCL_INTERNAL_H */
