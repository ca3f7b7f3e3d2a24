/* SPDX-License-Identifier: MIT
 * The CUDA devices of the process. Their UUID says which is which: frameworks and MIG instances number differently. */
#include "device/cuda_internal.h"

#ifdef AB__HAS_CUDA

#include <string.h>

#include "memory.h"

static ab_status ask_device(ab__cu_device *device, int ordinal, ab_error *error) {
  device->ordinal = ordinal;
  CUresult code = ab__cu.cuDeviceGet(&device->handle, ordinal);
  if (code != CUDA_SUCCESS) return ab__cu_failed(NULL, code, "cuDeviceGet", error);
  CUuuid uuid;
  code = ab__cu.cuDeviceGetUuid_v2(&uuid, device->handle);
  if (code != CUDA_SUCCESS) return ab__cu_failed(NULL, code, "cuDeviceGetUuid", error);
  memcpy(device->uuid, uuid.bytes, sizeof device->uuid);
  code = ab__cu.cuDeviceGetAttribute(&device->has_pool, CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, device->handle);
  if (code != CUDA_SUCCESS) return ab__cu_failed(NULL, code, "cuDeviceGetAttribute(MEMORY_POOLS_SUPPORTED)", error);
  return AB_OK;
}

ab_status ab__cu_devices_make(ab__cu_device **devices, int *count, ab_error *error) {
  int wanted = 0;
  const CUresult code = ab__cu.cuDeviceGetCount(&wanted);
  if (code != CUDA_SUCCESS) return ab__cu_failed(NULL, code, "cuDeviceGetCount", error);
  ab__cu_device *made = ab__allocate_zeroed((size_t)wanted * sizeof *made);
  if (made == NULL) return ab_error_set(error, AB_OOM, "no memory for the records of %d CUDA devices", wanted);
  for (int ordinal = 0; ordinal < wanted; ordinal++) {
    pthread_mutex_init(&made[ordinal].events_lock, NULL);
    const ab_status status = ask_device(&made[ordinal], ordinal, error);
    if (status == AB_OK) continue;
    ab__cu_devices_free(made, ordinal + 1);
    return status;
  }
  *devices = made;
  *count = wanted;
  return AB_OK;
}

void ab__cu_devices_free(ab__cu_device *devices, int count) {
  for (int ordinal = 0; ordinal < count; ordinal++) pthread_mutex_destroy(&devices[ordinal].events_lock);
  ab__deallocate(devices);
}

/* ------------------------------------------------------------------ finding one */

static int is_cuda(DLDeviceType type) { return type == kDLCUDA || type == kDLCUDAHost || type == kDLCUDAManaged; }

static int is_known(const uint8_t *uuid) {
  static const uint8_t unknown[16];
  return uuid != NULL && memcmp(uuid, unknown, sizeof unknown) != 0;
}

static ab__cu_device *find_uuid(const uint8_t *uuid) {
  int count = 0;
  ab__cu_device *devices = ab__cu_devices(&count);
  for (int ordinal = 0; ordinal < count; ordinal++)
    if (memcmp(devices[ordinal].uuid, uuid, sizeof devices[ordinal].uuid) == 0) return &devices[ordinal];
  return NULL;
}

static ab_status find(int ordinal, const uint8_t *uuid, ab__cu_device **found, ab_error *error) {
  int count = 0;
  ab__cu_device *devices = ab__cu_devices(&count);
  if (is_known(uuid)) {
    *found = find_uuid(uuid);
    if (*found != NULL) return AB_OK;
    return ab_error_set(error, AB_NO_DEVICE, "none of the driver's %d CUDA devices has the UUID that cuda:%d claims",
                        count, ordinal);
  }
  if (ordinal < 0 || ordinal >= count)
    return ab_error_set(error, AB_NO_DEVICE, "there is no cuda:%d: the driver has %d CUDA device%s", ordinal, count,
                        count == 1 ? "" : "s");
  *found = &devices[ordinal];
  return AB_OK;
}

ab_status ab__cu_device_find(DLDevice device, const uint8_t *uuid, ab__cu_device **found, ab_error *error) {
  if (!is_cuda(device.device_type)) return ab_error_set(error, AB_UNSUPPORTED, "not a CUDA device");
  ab_status status = ab__cu_open(error);
  ab__cu_device *candidate = NULL;
  if (status == AB_OK) status = find(device.device_id, uuid, &candidate, error);
  if (status == AB_OK) status = ab__cu_fault_check(candidate, error);
  if (status == AB_OK) *found = candidate;
  return status;
}

#endif /* AB__HAS_CUDA */
