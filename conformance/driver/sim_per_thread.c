/* SPDX-License-Identifier: MIT
 * The functions again for programs built with CUDA_API_PER_THREAD_DEFAULT_STREAM (cu…_ptsz, cu…_ptds): stream 0 is the
 * calling thread's. */
#define CUDA_API_PER_THREAD_DEFAULT_STREAM
#include "sim_per_thread.h"

#include <string.h>

#include "sim.h"

static CUstream here(CUstream stream) { return stream == NULL ? CU_STREAM_PER_THREAD : stream; }

/* TWIN(function without version, the legacy one's exported name, parameters, arguments with stream 0 replaced) */
#define TWIN(name, legacy, parameters, arguments)                  \
  extern CUresult CUDAAPI base_##name parameters __asm__(#legacy); \
  CUresult CUDAAPI name parameters { return base_##name arguments; }

/* clang-format off */
TWIN(cuStreamQuery, cuStreamQuery, (CUstream s), (here(s)))
TWIN(cuStreamSynchronize, cuStreamSynchronize, (CUstream s), (here(s)))
TWIN(cuStreamWaitEvent, cuStreamWaitEvent, (CUstream s, CUevent e, unsigned f), (here(s), e, f))
TWIN(cuStreamGetFlags, cuStreamGetFlags, (CUstream s, unsigned *f), (here(s), f))
TWIN(cuStreamGetPriority, cuStreamGetPriority, (CUstream s, int *p), (here(s), p))
TWIN(cuStreamGetId, cuStreamGetId, (CUstream s, unsigned long long *i), (here(s), i))
TWIN(cuStreamGetCtx, cuStreamGetCtx, (CUstream s, CUcontext *c), (here(s), c))
TWIN(cuStreamIsCapturing, cuStreamIsCapturing, (CUstream s, CUstreamCaptureStatus *c), (here(s), c))
TWIN(cuStreamBeginCapture, cuStreamBeginCapture_v2, (CUstream s, CUstreamCaptureMode m), (here(s), m))
TWIN(cuStreamEndCapture, cuStreamEndCapture, (CUstream s, CUgraph *g), (here(s), g))
TWIN(cuEventRecord, cuEventRecord, (CUevent e, CUstream s), (e, here(s)))
TWIN(cuLaunchHostFunc, cuLaunchHostFunc, (CUstream s, CUhostFn f, void *d), (here(s), f, d))
TWIN(cuMemAllocAsync, cuMemAllocAsync, (CUdeviceptr *p, size_t n, CUstream s), (p, n, here(s)))
TWIN(cuMemFreeAsync, cuMemFreeAsync, (CUdeviceptr p, CUstream s), (p, here(s)))
TWIN(cuMemcpyAsync, cuMemcpyAsync, (CUdeviceptr d, CUdeviceptr f, size_t n, CUstream s), (d, f, n, here(s)))
TWIN(cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2, (CUdeviceptr d, const void *f, size_t n, CUstream s), (d, f, n, here(s)))
TWIN(cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2, (void *d, CUdeviceptr f, size_t n, CUstream s), (d, f, n, here(s)))
TWIN(cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2, (CUdeviceptr d, CUdeviceptr f, size_t n, CUstream s), (d, f, n, here(s)))
TWIN(cuMemsetD8Async, cuMemsetD8Async, (CUdeviceptr d, unsigned char v, size_t n, CUstream s), (d, v, n, here(s)))
TWIN(cuMemsetD32Async, cuMemsetD32Async, (CUdeviceptr d, unsigned v, size_t n, CUstream s), (d, v, n, here(s)))

#define TWINS(T) \
  T(cuStreamQuery) T(cuStreamSynchronize) T(cuStreamWaitEvent) T(cuStreamGetFlags) T(cuStreamGetPriority) \
  T(cuStreamGetId) T(cuStreamGetCtx) T(cuStreamIsCapturing) T(cuStreamBeginCapture) T(cuStreamEndCapture) \
  T(cuEventRecord) T(cuLaunchHostFunc) T(cuMemAllocAsync) T(cuMemFreeAsync) T(cuMemcpyAsync) T(cuMemcpyHtoDAsync) \
  T(cuMemcpyDtoHAsync) T(cuMemcpyDtoDAsync) T(cuMemsetD8Async) T(cuMemsetD32Async)
/* clang-format on */

#define TEXT_OF(name) #name
#define EXPORTED_TEXT(name) TEXT_OF(name)
#define ENTRY(function) {#function, EXPORTED_TEXT(function), (void *)(uintptr_t)function},
static const struct {
  const char *name, *exported;
  void *function;
} twins[] = {TWINS(ENTRY)};

void *sim__per_thread_symbol(const char *name, int exported) {
  for (size_t i = 0; i < sizeof twins / sizeof *twins; ++i)
    if (strcmp(name, exported ? twins[i].exported : twins[i].name) == 0) return twins[i].function;
  return NULL;
}
