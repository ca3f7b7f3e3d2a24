/* SPDX-License-Identifier: MIT
 * Every function of the driver that is simulated, under its name without a version: what is exported, counted, made to
 * fail and found by cuGetProcAddress. */
#ifndef SIM_FUNCTIONS_H
#define SIM_FUNCTIONS_H

/* clang-format off */
#define SIM_FUNCTIONS(F) \
  F(cuInit) F(cuDriverGetVersion) F(cuGetErrorName) F(cuGetErrorString) F(cuGetProcAddress) \
  F(cuDeviceGetCount) F(cuDeviceGet) F(cuDeviceGetName) F(cuDeviceTotalMem) F(cuDeviceGetUuid) F(cuDeviceGetAttribute) \
  F(cuDeviceGetPCIBusId) F(cuDeviceCanAccessPeer) \
  F(cuDevicePrimaryCtxGetState) F(cuDevicePrimaryCtxRetain) F(cuDevicePrimaryCtxRelease) F(cuDevicePrimaryCtxReset) \
  F(cuDevicePrimaryCtxSetFlags) \
  F(cuCtxCreate) F(cuCtxDestroy) F(cuCtxPushCurrent) F(cuCtxPopCurrent) F(cuCtxSetCurrent) F(cuCtxGetCurrent) \
  F(cuCtxGetDevice) F(cuCtxGetFlags) F(cuCtxGetId) F(cuCtxGetStreamPriorityRange) F(cuCtxSynchronize) \
  F(cuCtxRecordEvent) F(cuCtxWaitEvent) F(cuCtxEnablePeerAccess) F(cuCtxDisablePeerAccess) \
  F(cuPointerGetAttribute) F(cuPointerGetAttributes) F(cuMemGetAddressRange) \
  F(cuEventCreate) F(cuEventRecord) F(cuEventRecordWithFlags) F(cuEventQuery) F(cuEventSynchronize) F(cuEventDestroy) \
  F(cuStreamCreate) F(cuStreamCreateWithPriority) F(cuStreamDestroy) F(cuStreamQuery) F(cuStreamSynchronize) \
  F(cuStreamWaitEvent) F(cuStreamGetFlags) F(cuStreamGetPriority) F(cuStreamGetId) F(cuStreamGetCtx) \
  F(cuStreamIsCapturing) F(cuStreamGetCaptureInfo) F(cuStreamBeginCapture) F(cuStreamEndCapture) \
  F(cuThreadExchangeStreamCaptureMode) F(cuGraphDestroy) \
  F(cuLaunchHostFunc) F(cuStreamAddCallback) \
  F(cuMemGetInfo) F(cuMemAlloc) F(cuMemFree) F(cuMemAllocManaged) F(cuMemAllocAsync) F(cuMemFreeAsync) \
  F(cuMemHostAlloc) F(cuMemAllocHost) F(cuMemFreeHost) F(cuMemHostRegister) F(cuMemHostUnregister) \
  F(cuMemHostGetDevicePointer) F(cuMemHostGetFlags) \
  F(cuMemcpy) F(cuMemcpyAsync) F(cuMemcpyHtoD) F(cuMemcpyDtoH) F(cuMemcpyDtoD) F(cuMemcpyHtoDAsync) \
  F(cuMemcpyDtoHAsync) F(cuMemcpyDtoDAsync) F(cuMemcpyPeer) F(cuMemcpyPeerAsync) \
  F(cuMemsetD8) F(cuMemsetD8Async) F(cuMemsetD16) F(cuMemsetD16Async) F(cuMemsetD32) F(cuMemsetD32Async)
/* clang-format on */

#endif
