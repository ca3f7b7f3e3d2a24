/* SPDX-License-Identifier: MIT
 * Finding functions by name: cuGetProcAddress, and the names of older versions that look the same. */
#include <string.h>

#include "sim.h"
#include "sim_per_thread.h"

/// A function under its name without a version, with its default-stream twin if it has one.
typedef struct symbol_entry {
  const char *name;
  const char *exported;
  void *function;
} symbol_entry;

#define TEXT_OF(name) #name
#define EXPORTED_TEXT(name) TEXT_OF(name)
#define ADDRESS_OF(name) (void *)(uintptr_t)name
#define ENTRY(name) {#name, EXPORTED_TEXT(name), ADDRESS_OF(name)},
static const symbol_entry symbols[] = {SIM_FUNCTIONS(ENTRY)};

static const symbol_entry *find(const char *name) {
  for (size_t i = 0; i < sizeof symbols / sizeof *symbols; ++i)
    if (strcmp(name, symbols[i].name) == 0 || strcmp(name, symbols[i].exported) == 0) return &symbols[i];
  return NULL;
}

static int too_new(const char *name, int version) {
  return (strcmp(name, "cuCtxRecordEvent") == 0 || strcmp(name, "cuCtxWaitEvent") == 0) && version < 12050;
}

static CUdriverProcAddressQueryResult look_up(const char *name, void **function, int version, cuuint64_t flags) {
  *function = NULL;
  const symbol_entry *const entry = find(name);
  if (entry == NULL) {
    *function = sim__per_thread_symbol(name, 1);
    return *function != NULL ? CU_GET_PROC_ADDRESS_SUCCESS : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  }
  if (too_new(entry->name, sim__version())) return CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  if (too_new(entry->name, version)) return CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT;
  if (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) *function = sim__per_thread_symbol(entry->name, 0);
  if (*function == NULL) *function = entry->function;
  return CU_GET_PROC_ADDRESS_SUCCESS;
}

static CUresult get(const char *name, void **function, int version, cuuint64_t flags,
                    CUdriverProcAddressQueryResult *status) {
  if (name == NULL || function == NULL) return CUDA_ERROR_INVALID_VALUE;
  const CUdriverProcAddressQueryResult found = look_up(name, function, version, flags);
  if (status != NULL) *status = found;
  return found == CU_GET_PROC_ADDRESS_SUCCESS || status != NULL ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

CUresult CUDAAPI cuGetProcAddress(const char *symbol, void **pfn, int cudaVersion, cuuint64_t flags,
                                  CUdriverProcAddressQueryResult *symbolStatus) {
  SIM_CALL(cuGetProcAddress, SIM_ANYTIME, get(symbol, pfn, cudaVersion, flags, symbolStatus));
}

/* ------------------------------------------------------------------ older names with the same arguments */

#undef cuDeviceGetUuid
#undef cuEventDestroy
#undef cuStreamDestroy
#undef cuCtxDestroy
#undef cuCtxPushCurrent
#undef cuCtxPopCurrent
#undef cuDevicePrimaryCtxRelease
#undef cuStreamGetCaptureInfo

#define OLDER __attribute__((visibility("default"))) CUresult CUDAAPI

OLDER cuDeviceGetUuid(CUuuid *uuid, CUdevice dev);
OLDER cuEventDestroy(CUevent hEvent);
OLDER cuStreamDestroy(CUstream hStream);
OLDER cuCtxDestroy(CUcontext ctx);
OLDER cuCtxPushCurrent(CUcontext ctx);
OLDER cuCtxPopCurrent(CUcontext *pctx);
OLDER cuDevicePrimaryCtxRelease(CUdevice dev);
OLDER cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id);
OLDER cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *graph,
                                const CUgraphNode **dependencies, size_t *count);

CUresult CUDAAPI cuDeviceGetUuid(CUuuid *uuid, CUdevice dev) { return cuDeviceGetUuid_v2(uuid, dev); }
CUresult CUDAAPI cuEventDestroy(CUevent hEvent) { return cuEventDestroy_v2(hEvent); }
CUresult CUDAAPI cuStreamDestroy(CUstream hStream) { return cuStreamDestroy_v2(hStream); }
CUresult CUDAAPI cuCtxDestroy(CUcontext ctx) { return cuCtxDestroy_v2(ctx); }
CUresult CUDAAPI cuCtxPushCurrent(CUcontext ctx) { return cuCtxPushCurrent_v2(ctx); }
CUresult CUDAAPI cuCtxPopCurrent(CUcontext *pctx) { return cuCtxPopCurrent_v2(pctx); }
CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice dev) { return cuDevicePrimaryCtxRelease_v2(dev); }

CUresult CUDAAPI cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id) {
  return cuStreamGetCaptureInfo_v3(hStream, status, id, NULL, NULL, NULL, NULL);
}

CUresult CUDAAPI cuStreamGetCaptureInfo_v2(CUstream hStream, CUstreamCaptureStatus *status, cuuint64_t *id,
                                           CUgraph *in_graph, const CUgraphNode **dependencies, size_t *count) {
  return cuStreamGetCaptureInfo_v3(hStream, status, id, in_graph, dependencies, NULL, count);
}
