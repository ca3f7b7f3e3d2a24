/* SPDX-License-Identifier: MIT
 * What the cuda_*.c files share. Nobody else includes it. */
#ifndef AB__CUDA_INTERNAL_H
#define AB__CUDA_INTERNAL_H

#if defined(__has_include) && !defined(_WIN32)
#if __has_include(<cuda.h>)
#include <cuda.h>
#if CUDA_VERSION >= 12000  // older headers lack names that are used below
#define AB__HAS_CUDA 1
#endif
#endif
#endif

#include "device/cuda.h"

#ifdef AB__HAS_CUDA

#include <pthread.h>
#include <stdatomic.h>

/// Every function of libcuda that is used, under the name it is exported by. Drivers from 11.4 on have them all.
#define AB__CU_FUNCTIONS(X)       \
  X(cuCtxEnablePeerAccess)        \
  X(cuCtxGetCurrent)              \
  X(cuCtxPopCurrent_v2)           \
  X(cuCtxPushCurrent_v2)          \
  X(cuCtxSetCurrent)              \
  X(cuDeviceCanAccessPeer)        \
  X(cuDeviceGet)                  \
  X(cuDeviceGetAttribute)         \
  X(cuDeviceGetCount)             \
  X(cuDeviceGetUuid_v2)           \
  X(cuDevicePrimaryCtxGetState)   \
  X(cuDevicePrimaryCtxRelease_v2) \
  X(cuDevicePrimaryCtxRetain)     \
  X(cuEventCreate)                \
  X(cuEventDestroy_v2)            \
  X(cuEventQuery)                 \
  X(cuEventRecord)                \
  X(cuEventSynchronize)           \
  X(cuGetErrorName)               \
  X(cuGetErrorString)             \
  X(cuInit)                       \
  X(cuMemAllocAsync)              \
  X(cuMemAlloc_v2)                \
  X(cuMemFreeAsync)               \
  X(cuMemFreeHost)                \
  X(cuMemFree_v2)                 \
  X(cuMemGetInfo_v2)              \
  X(cuMemHostAlloc)               \
  X(cuMemHostRegister_v2)         \
  X(cuMemHostUnregister)          \
  X(cuMemcpyDtoDAsync_v2)         \
  X(cuCtxSynchronize)             \
  X(cuMemcpyDtoHAsync_v2)         \
  X(cuMemcpyHtoDAsync_v2)         \
  X(cuMemcpyPeerAsync)            \
  X(cuPointerGetAttributes)       \
  X(cuStreamCreate)               \
  X(cuStreamDestroy_v2)           \
  X(cuStreamGetCtx)               \
  X(cuStreamGetFlags)             \
  X(cuStreamIsCapturing)          \
  X(cuStreamSynchronize)          \
  X(cuStreamWaitEvent)            \
  X(cuThreadExchangeStreamCaptureMode)

/// Those that may be missing (NULL), with their parameters: not every cuda.h declares them.
#define AB__CU_OPTIONAL_FUNCTIONS(X)                                                                              \
  X(cuCtxRecordEvent, (CUcontext, CUevent))          /* 12.5 */                                                   \
  X(cuStreamGetId, (CUstream, unsigned long long *)) /* 12.0 */                                                   \
  X(cuStreamGetCaptureInfo_v2, (CUstream, CUstreamCaptureStatus *, cuuint64_t *, CUgraph *, const CUgraphNode **, \
                                size_t *)) /* cuda.h 13 hides it, drivers keep it */

typedef struct ab__cu_table {
#define AB__CU_MEMBER(name) __typeof__(&name) name;
  AB__CU_FUNCTIONS(AB__CU_MEMBER)
#undef AB__CU_MEMBER
#define AB__CU_MEMBER(name, parameters) CUresult(CUDAAPI *name) parameters;
  AB__CU_OPTIONAL_FUNCTIONS(AB__CU_MEMBER)
#undef AB__CU_MEMBER
} ab__cu_table;

typedef struct ab__cu_event ab__cu_event;

/// One device. Made when the driver is opened, kept for ever.
typedef struct ab__cu_device {
  CUdevice handle;
  int ordinal;  ///< as the driver numbers it
  uint8_t uuid[16];
  int has_pool;                      ///< memory can be allocated in the order of a stream
  _Atomic(CUcontext) primary;        ///< we hold a reference for ever; NULL: not yet
  _Atomic(CUstream) stream;          ///< ours, non-blocking, for copies the host waits for; NULL: not yet
  atomic_uint_least64_t peers;       ///< bit N: access to device N was asked for
  atomic_int fault;                  ///< the CUresult that the primary context did not survive; 0: none
  _Atomic(const char *) fault_call;  ///< … and who returned it; NULL for a moment, while it is being written
  pthread_mutex_t events_lock;       ///< the next two
  ab__cu_event *events;              ///< those that nobody uses
  int event_count;                   ///< all there are
} ab__cu_device;

/* ------------------------------------------------------------------ cuda_driver.c */

/// Filled before the first call of the driver, constant afterwards.
extern ab__cu_table ab__cu;

/// Opens the driver if that has not been done; afterwards the devices are known.
/// Returns: AB_OK; AB_UNAVAILABLE; AB_DRIVER, in a forked child as well; AB_ENDING.
ab_status ab__cu_open(ab_error *error);
/// 1 when what is released must leak: the process ends, or this is a forked child.
int ab__cu_gone(void);

/* ------------------------------------------------------------------ cuda_error.c */

/// Translates the code that `call` (static storage) returned. `device`: where the failed work belongs, if that is its
/// primary context; NULL otherwise. A code that no context survives is remembered there.
ab_status ab__cu_failed(ab__cu_device *device, CUresult code, const char *call, ab_error *error);
/// AB_DRIVER if `device` has had an error that its context did not survive.
ab_status ab__cu_fault_check(ab__cu_device *device, ab_error *error);

/* ------------------------------------------------------------------ cuda_device.c */

/// Asks the driver for all devices. Gives `*devices`.
ab_status ab__cu_devices_make(ab__cu_device **devices, int *count, ab_error *error);
/// Takes what ab__cu_devices_make() gave, unused.
void ab__cu_devices_free(ab__cu_device *devices, int count);
/// Shows the devices of the opened driver.
ab__cu_device *ab__cu_devices(int *count);
/// Opens the driver and finds a device: by `uuid` unless that is NULL or zero, else by number. The device works.
/// Returns: AB_OK; AB_UNSUPPORTED not CUDA; AB_NO_DEVICE; as ab__cu_open() and ab__cu_fault_check().
ab_status ab__cu_device_find(DLDevice device, const uint8_t *uuid, ab__cu_device **found, ab_error *error);

/* ------------------------------------------------------------------ cuda_context.c */

/// Where a thread works: between ab__cu_enter() and ab__cu_leave().
typedef struct ab__cu_place {
  ab__cu_device *device;
  CUcontext context;
  int foreign;                 ///< not the primary context
  int pushed;                  ///< `context` was not current
  CUcontext before;            ///< … but this one
  int relaxed;                 ///< the capture mode was changed
  CUstreamCaptureMode strict;  ///< … from this one
} ab__cu_place;

/// Gives the primary context. `wake`: activates it if nobody uses it; else that is AB_UNSUPPORTED.
ab_status ab__cu_primary(ab__cu_device *device, int wake, CUcontext *context, ab_error *error);
/// Makes place->context current. `place` comes with device, context and foreign set, all else zero.
ab_status ab__cu_enter(ab__cu_place *place, ab_error *error);
/// Lets this thread do, until ab__cu_leave(), what would break a capture elsewhere: queries, waits, allocations.
ab_status ab__cu_relax(ab__cu_place *place, ab_error *error);
/// Makes current again what was before. Fails silently only where the driver itself is gone.
void ab__cu_leave(ab__cu_place *place);
/// As ab__cu_failed(), for work at `place`.
ab_status ab__cu_failed_at(const ab__cu_place *place, CUresult code, const char *call, ab_error *error);

/* ------------------------------------------------------------------ cuda_stream.c */

/// The stream of a call; NULL: the host.
const ab_stream *ab__cu_call_stream(const ab_call *call);
/// Enters the context of `stream` and gives the driver's handle. Leave it on AB_OK only.
/// Returns: AB_OK; AB_UNSUPPORTED not CUDA; AB_STREAM.
ab_status ab__cu_stream_enter(const ab_stream *stream, ab__cu_place *place, CUstream *handle, ab_error *error);
/// As ab__cu_stream_enter(); AB_STREAM if `stream` captures.
ab_status ab__cu_stream_enter_uncaptured(const ab_stream *stream, ab__cu_place *place, CUstream *handle,
                                         ab_error *error);
/// Says whether `handle` captures; `*id` is 0 if that is unknown.
ab_status ab__cu_stream_capture(const ab__cu_place *place, CUstream handle, int *captures, uint64_t *id,
                                ab_error *error);
/// Gives our own stream in the primary context, which is entered.
ab_status ab__cu_stream_own(const ab__cu_place *place, CUstream *handle, ab_error *error);
/// Blocks until the work on `handle` is done.
ab_status ab__cu_stream_await(const ab_call *call, ab__cu_place *place, CUstream handle);

ab_status ab__cu_stream_finish(const ab_call *call);
ab_status ab__cu_stream_state(const ab_call *call, ab_stream *stream);

/* ------------------------------------------------------------------ cuda_event.c, cuda_memory.c, cuda_copy.c */

ab_status ab__cu_event_record(const ab_call *call, void **event);
ab_status ab__cu_event_wait(const ab_call *call, void *event);
ab_status ab__cu_event_query(const ab_call *call, void *event, int32_t *done);
void ab__cu_event_release(const ab_call *call, void *event);

ab_status ab__cu_allocate(const ab_call *call, ab_memory *memory);
ab_status ab__cu_deallocate(const ab_call *call, const ab_memory *memory);
ab_status ab__cu_wrap(const ab_call *call, const ab_memory *host, ab_memory *device);
ab_status ab__cu_unwrap(const ab_call *call, const ab_memory *device);

ab_status ab__cu_copy(const ab_call *call, const ab_memory *to, const ab_memory *from);

#endif /* AB__HAS_CUDA */
#endif /* AB__CUDA_INTERNAL_H */
