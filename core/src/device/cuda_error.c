/* SPDX-License-Identifier: MIT
 * What the driver's error codes mean, and which of them no context survives. */
#include "device/cuda_internal.h"

#ifdef AB__HAS_CUDA

/* Not every cuda.h names these. */
enum { ERROR_CONTAINED = 226, ERROR_TENSOR_MEMORY_LEAK = 721, ERROR_EXTERNAL_DEVICE = 911 };

/* Codes after which every call in the context fails: "the context cannot be used (and should be destroyed)". */
static int is_sticky(CUresult code) {
  switch ((int)code) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_NVLINK_UNCORRECTABLE:
    case ERROR_CONTAINED:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_CONTEXT_IS_DESTROYED:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
    case ERROR_TENSOR_MEMORY_LEAK:
    case CUDA_ERROR_MPS_CLIENT_TERMINATED:
    case ERROR_EXTERNAL_DEVICE:
      return 1;
    default:
      return 0;
  }
}

static ab_status code_status(CUresult code) {
  if (code >= CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED && code <= CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD) return AB_STREAM;
  switch (code) {
    case CUDA_ERROR_OUT_OF_MEMORY:
      return AB_OOM;
    case CUDA_ERROR_NO_DEVICE:
    case CUDA_ERROR_INVALID_DEVICE:
      return AB_NO_DEVICE;
    case CUDA_ERROR_DEINITIALIZED:
      return AB_ENDING;
    default:
      return AB_DRIVER;
  }
}

static const char *code_name(CUresult code) {
  const char *name = NULL;
  return ab__cu.cuGetErrorName(code, &name) == CUDA_SUCCESS && name != NULL ? name : "unknown CUDA error";
}

static const char *code_text(CUresult code) {
  const char *text = NULL;
  return ab__cu.cuGetErrorString(code, &text) == CUDA_SUCCESS && text != NULL ? text : "no text";
}

static void set_failure(ab_error *error, ab_status status, CUresult code, const char *name) {
  ab_error_clear(error);
  error->failure = (ab_failure){
      .struct_size = (uint32_t)sizeof(ab_failure),
      .status = status,
      .domain = "cuda",
      .code = code,
      .text = name,
  };
}

static void hint_restart(ab_error *error) {
  ab_error_hint(error, "the device is in an error state; restart the process");
}

static void remember(ab__cu_device *device, CUresult code, const char *call) {
  int none = 0;
  if (atomic_compare_exchange_strong(&device->fault, &none, (int)code)) atomic_store(&device->fault_call, call);
}

ab_status ab__cu_failed(ab__cu_device *device, CUresult code, const char *call, ab_error *error) {
  const ab_status status = code_status(code);
  const int sticky = is_sticky(code);
  if (status == AB_ENDING) ab__cuda_end();  // the driver has been unloaded: whoever comes next must not call it
  if (sticky && device != NULL) remember(device, code, call);
  if (error == NULL) return status;
  const char *name = code_name(code);
  set_failure(error, status, code, name);
  ab_error_set(error, status, "%s: %s (%s)", call, name, code_text(code));
  if (sticky) hint_restart(error);
  return status;
}

ab_status ab__cu_fault_check(ab__cu_device *device, ab_error *error) {
  const CUresult code = (CUresult)atomic_load(&device->fault);
  if (code == CUDA_SUCCESS) return AB_OK;
  if (error == NULL) return AB_DRIVER;
  const char *call = atomic_load(&device->fault_call);
  const char *name = code_name(code);
  set_failure(error, AB_DRIVER, code, name);
  ab_error_set(error, AB_DRIVER, "cuda:%d cannot be used any more since %s: %s", device->ordinal,
               call != NULL ? call : "a call", name);
  hint_restart(error);
  return AB_DRIVER;
}

#endif /* AB__HAS_CUDA */
