/* SPDX-License-Identifier: MIT
 * The primary context of a device: the one that everybody in the process shares. */
#include "sim.h"

static CUresult state(CUdevice ordinal, unsigned *flags, int *active) {
  const sim_device *const device = sim__device(ordinal);
  if (device == NULL) return CUDA_ERROR_INVALID_DEVICE;
  if (flags != NULL) *flags = device->flags;
  if (active != NULL) *active = device->primary != NULL;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxGetState(CUdevice dev, unsigned int *flags, int *active) {
  SIM_CALL(cuDevicePrimaryCtxGetState, 0, state(dev, flags, active));
}

static CUresult retain(CUcontext *handle, CUdevice ordinal) {
  sim_device *const device = sim__device(ordinal);
  if (device == NULL) return CUDA_ERROR_INVALID_DEVICE;
  if (handle == NULL) return CUDA_ERROR_INVALID_VALUE;
  if (device->error != CUDA_SUCCESS) return device->error;
  if (device->primary == NULL) {
    const CUresult result = sim__context_new(ordinal, 1, device->flags, &device->primary);
    if (result != CUDA_SUCCESS) return result;
  }
  ++device->retained;
  *handle = device->primary->handle;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxRetain(CUcontext *pctx, CUdevice dev) {
  SIM_CALL(cuDevicePrimaryCtxRetain, 0, retain(pctx, dev));
}

static CUresult end_primary(sim_device *device) {
  sim_context *const context = device->primary;
  device->primary = NULL;
  if (context != NULL) sim__context_end(context);
  return CUDA_SUCCESS;
}

static CUresult release(CUdevice ordinal) {
  sim_device *const device = sim__device(ordinal);
  if (device == NULL) return CUDA_ERROR_INVALID_DEVICE;
  if (device->retained == 0) {
    sim__fault("context: the primary context of device %d was released more often than retained", ordinal);
    return CUDA_ERROR_INVALID_CONTEXT;
  }
  return --device->retained > 0 ? CUDA_SUCCESS : end_primary(device);
}

CUresult CUDAAPI cuDevicePrimaryCtxRelease(CUdevice dev) { SIM_CALL(cuDevicePrimaryCtxRelease, 0, release(dev)); }

/* The retains stay, as with the real driver: the next one makes the context new. */
static CUresult reset(CUdevice ordinal) {
  sim_device *const device = sim__device(ordinal);
  if (device == NULL) return CUDA_ERROR_INVALID_DEVICE;
  device->error = CUDA_SUCCESS;
  return end_primary(device);
}

CUresult CUDAAPI cuDevicePrimaryCtxReset(CUdevice dev) { SIM_CALL(cuDevicePrimaryCtxReset, SIM_WAITS, reset(dev)); }

static CUresult set_flags(CUdevice ordinal, unsigned flags) {
  sim_device *const device = sim__device(ordinal);
  if (device == NULL) return CUDA_ERROR_INVALID_DEVICE;
  device->flags = flags;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDevicePrimaryCtxSetFlags(CUdevice dev, unsigned int flags) {
  SIM_CALL(cuDevicePrimaryCtxSetFlags, 0, set_flags(dev, flags));
}
