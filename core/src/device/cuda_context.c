/* SPDX-License-Identifier: MIT
 *
 * Primary contexts, and a thread's way into a context and back. Our reference to a primary context is kept for ever:
 * its handle is the key of all that is remembered, and the frameworks keep theirs as long.
 */
#include "device/cuda_internal.h"
#include "mutant.h"

#ifdef AB__HAS_CUDA

static ab_status check_active(ab__cu_device *device, ab_error *error) {
  unsigned flags = 0;
  int active = 0;
  const CUresult code = ab__cu.cuDevicePrimaryCtxGetState(device->handle, &flags, &active);
  if (code != CUDA_SUCCESS) return ab__cu_failed(device, code, "cuDevicePrimaryCtxGetState", error);
  if (active) return AB_OK;
  return ab_error_set(error, AB_UNSUPPORTED, "nobody uses cuda:%d in this process: its primary context is not active",
                      device->ordinal);
}

/* Another thread may have been faster: one reference is enough. */
static void keep(ab__cu_device *device, CUcontext context) {
  CUcontext none = NULL;
  if (atomic_compare_exchange_strong(&device->primary, &none, context)) return;
  const CUresult code = ab__cu.cuDevicePrimaryCtxRelease_v2(device->handle);
  if (code != CUDA_SUCCESS) (void)ab__cu_failed(device, code, "cuDevicePrimaryCtxRelease", NULL);
}

ab_status ab__cu_primary(ab__cu_device *device, int wake, CUcontext *context, ab_error *error) {
  CUcontext held = atomic_load_explicit(&device->primary, memory_order_acquire);
  if (held == NULL) {
    const ab_status status = wake ? AB_OK : check_active(device, error);
    if (status != AB_OK) return status;
    const CUresult code = ab__cu.cuDevicePrimaryCtxRetain(&held, device->handle);
    if (code != CUDA_SUCCESS) return ab__cu_failed(device, code, "cuDevicePrimaryCtxRetain", error);
    keep(device, held);
  }
  *context = held;
  return AB_OK;
}

/* ------------------------------------------------------------------ there and back */

ab_status ab__cu_failed_at(const ab__cu_place *place, CUresult code, const char *call, ab_error *error) {
  return ab__cu_failed(place->foreign ? NULL : place->device, code, call, error);
}

ab_status ab__cu_enter(ab__cu_place *place, ab_error *error) {
  CUresult code = ab__cu.cuCtxGetCurrent(&place->before);
  if (code != CUDA_SUCCESS) return ab__cu_failed_at(place, code, "cuCtxGetCurrent", error);
  if (place->before == place->context) return AB_OK;
  code = ab__cu.cuCtxPushCurrent_v2(place->context);
  if (code != CUDA_SUCCESS) return ab__cu_failed_at(place, code, "cuCtxPushCurrent", error);
  place->pushed = 1;
  return AB_OK;
}

ab_status ab__cu_relax(ab__cu_place *place, ab_error *error) {
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  if (ab__mutated(QUERY_IN_CAPTURE)) mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  const CUresult code = ab__cu.cuThreadExchangeStreamCaptureMode(&mode);
  if (code != CUDA_SUCCESS) return ab__cu_failed_at(place, code, "cuThreadExchangeStreamCaptureMode", error);
  place->relaxed = 1;
  place->strict = mode;
  return AB_OK;
}

/* The thread's settings are the caller's: a second attempt rather than leave them changed. */
static void tighten(const ab__cu_place *place) {
  CUstreamCaptureMode mode = place->strict;
  CUresult code = ab__cu.cuThreadExchangeStreamCaptureMode(&mode);
  if (code == CUDA_SUCCESS) return;
  mode = place->strict;
  code = ab__cu.cuThreadExchangeStreamCaptureMode(&mode);
  if (code != CUDA_SUCCESS) (void)ab__cu_failed_at(place, code, "cuThreadExchangeStreamCaptureMode", NULL);
}

static void pop(const ab__cu_place *place) {
  CUcontext popped = NULL;
  CUresult code = ab__cu.cuCtxPopCurrent_v2(&popped);
  if (code == CUDA_SUCCESS) return;
  code = ab__cu.cuCtxPopCurrent_v2(&popped);
  if (code == CUDA_SUCCESS) return;
  code = ab__cu.cuCtxSetCurrent(place->before);  // in place of ours: right for the caller, if one deeper than before
  if (code != CUDA_SUCCESS) (void)ab__cu_failed_at(place, code, "cuCtxSetCurrent", NULL);
}

void ab__cu_leave(ab__cu_place *place) {
  if (place->relaxed) tighten(place);
  if (place->pushed) pop(place);
  place->relaxed = place->pushed = 0;
}

#endif /* AB__HAS_CUDA */
