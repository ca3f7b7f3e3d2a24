/* SPDX-License-Identifier: MIT
 * What the driver knows of an address: whether a tensor is where it says it is. */
#include "device/cuda_internal.h"

#ifdef AB__HAS_CUDA

/// Zero throughout: the driver does not know the address.
typedef struct pointer {
  CUcontext context;  // NULL also for memory of a pool or a mapped range: it belongs to a device, not to a context
  unsigned type;      // CUmemorytype
  unsigned managed;
  int ordinal;
  CUdeviceptr begin;
  size_t bytes;
} pointer;

static ab_status ask(const void *address, pointer *found, ab_error *error) {
  *found = (pointer){0};
  CUpointer_attribute attributes[] = {CU_POINTER_ATTRIBUTE_CONTEXT,          CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                      CU_POINTER_ATTRIBUTE_IS_MANAGED,       CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                      CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void *values[] = {&found->context, &found->type, &found->managed, &found->ordinal, &found->begin, &found->bytes};
  const unsigned count = sizeof attributes / sizeof *attributes;
  const CUresult code = ab__cu.cuPointerGetAttributes(count, attributes, values, (CUdeviceptr)(uintptr_t)address);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed(NULL, code, "cuPointerGetAttributes", error);
}

/* 1 unless the bytes reach out of the allocation. */
static int fits(const pointer *found, const void *address, uint64_t bytes) {
  const uint64_t offset = (uint64_t)(uintptr_t)address - found->begin;
  return found->begin <= (uintptr_t)address && offset <= found->bytes && bytes <= found->bytes - offset;
}

/* ------------------------------------------------------------------ comparing */

static const char *kind_of(const pointer *found) {
  if (found->managed) return "managed memory";
  if (found->type == CU_MEMORYTYPE_HOST) return "pinned host memory";
  return found->type == CU_MEMORYTYPE_DEVICE ? "memory of a CUDA device" : "no memory that CUDA knows";
}

static int is_kind(const pointer *found, DLDeviceType type) {
  if (type == kDLCUDAHost) return found->type == CU_MEMORYTYPE_HOST && !found->managed;
  if (type == kDLCUDAManaged) return found->managed != 0;
  return found->type == CU_MEMORYTYPE_DEVICE || found->managed;
}

static ab_status check_kind(const pointer *found, const void *address, DLDevice device, ab_error *error) {
  if (is_kind(found, device.device_type)) return AB_OK;
  return ab_error_set(error, AB_INVALID_TENSOR, "the tensor says that %p is %s, and the driver says that it is %s",
                      address,
                      device.device_type == kDLCUDAHost      ? "pinned host memory"
                      : device.device_type == kDLCUDAManaged ? "managed memory"
                                                             : "memory of a CUDA device",
                      kind_of(found));
}

static ab_status check_extent(const pointer *found, const void *address, uint64_t bytes, ab_error *error) {
  // A range that is mapped piece by piece (torch's expandable segments) has no context, and may go on behind a piece.
  if (found->context == NULL || found->bytes == 0 || fits(found, address, bytes)) return AB_OK;
  return ab_error_set(error, AB_INVALID_TENSOR, "%llu bytes at %p reach out of their allocation of %llu bytes at %p",
                      (unsigned long long)bytes, address, (unsigned long long)found->bytes,
                      (void *)(uintptr_t)found->begin);
}

static ab_status check_device(const pointer *found, const ab__cu_device *device, ab_error *error) {
  if (found->ordinal == device->ordinal) return AB_OK;
  return ab_error_set(error, AB_INVALID_TENSOR, "the tensor says cuda:%d, and its memory is on cuda:%d",
                      device->ordinal, found->ordinal);
}

static ab_status check_context(const pointer *found, ab__cu_device *device, ab_error *error) {
  if (found->context == NULL) return AB_OK;
  CUcontext primary = NULL;
  const ab_status status = ab__cu_primary(device, 0, &primary, error);
  if (status != AB_OK && status != AB_UNSUPPORTED) return status;
  if (status == AB_OK && primary == found->context) return AB_OK;
  return ab_error_set(error, AB_UNSUPPORTED, "the memory is in a CUDA context of its own, not in cuda:%d's primary one",
                      device->ordinal);
}

ab_status ab__cuda_check_pointer(const void *address, uint64_t bytes, DLDevice device, const uint8_t uuid[16],
                                 ab_error *error) {
  if (bytes == 0) return AB_OK;
  ab__cu_device *claimed = NULL;
  pointer found;
  ab_status status = ab__cu_device_find(device, uuid, &claimed, error);
  if (status == AB_OK) status = ask(address, &found, error);
  if (status == AB_OK) status = check_kind(&found, address, device, error);
  if (status == AB_OK) status = check_extent(&found, address, bytes, error);
  // Pinned memory is reached from every device and context: who allocated it does not matter.
  if (status != AB_OK || device.device_type == kDLCUDAHost) return status;
  status = check_device(&found, claimed, error);
  return status == AB_OK ? check_context(&found, claimed, error) : status;
}

ab_status ab__cuda_pinned(const void *address, uint64_t bytes, int *pinned, ab_error *error) {
  pointer found = {0};
  if (ab__cuda_loaded() && !ab__cu_gone()) {
    const ab_status status = ask(address, &found, error);
    if (status != AB_OK) return status;
  }
  *pinned = found.type == CU_MEMORYTYPE_HOST && !found.managed && fits(&found, address, bytes);
  return AB_OK;
}

#endif /* AB__HAS_CUDA */
