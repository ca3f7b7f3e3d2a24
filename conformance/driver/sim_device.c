/* SPDX-License-Identifier: MIT
 * The devices and what can be asked about them. */
#include <stdio.h>
#include <string.h>

#include "sim.h"

enum { DEFAULT_BYTES = 1 << 30 };

static sim_device devices[SIM_MAX_DEVICES] = {{.capacity = DEFAULT_BYTES}};
static int count = 1;
static int version = CUDA_VERSION;

sim_device *sim__device(int ordinal) { return ordinal < 0 || ordinal >= count ? NULL : &devices[ordinal]; }
int sim__device_count(void) { return count; }
int sim__version(void) { return version; }

void sim__device_reset(int wanted, uint64_t bytes) {
  memset(devices, 0, sizeof devices);
  count = wanted < 0 ? 0 : wanted > SIM_MAX_DEVICES ? SIM_MAX_DEVICES : wanted;
  for (int i = 0; i < count; ++i) devices[i].capacity = bytes;
  version = CUDA_VERSION;
}

/* ------------------------------------------------------------------ driver functions */

static CUresult initialize(unsigned flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (count == 0) return CUDA_ERROR_NO_DEVICE;
  sim__set_initialized();
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuInit(unsigned int Flags) { SIM_CALL(cuInit, SIM_ANYTIME, initialize(Flags)); }

static CUresult set_int(int *to, int value) {
  if (to == NULL) return CUDA_ERROR_INVALID_VALUE;
  *to = value;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDriverGetVersion(int *driverVersion) {
  SIM_CALL(cuDriverGetVersion, SIM_ANYTIME, set_int(driverVersion, version));
}

CUresult CUDAAPI cuDeviceGetCount(int *number) { SIM_CALL(cuDeviceGetCount, 0, set_int(number, count)); }

static CUresult get(CUdevice *device, int ordinal) {
  if (device == NULL) return CUDA_ERROR_INVALID_VALUE;
  if (sim__device(ordinal) == NULL) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGet(CUdevice *device, int ordinal) { SIM_CALL(cuDeviceGet, 0, get(device, ordinal)); }

static CUresult name_of(char *name, int size, CUdevice device) {
  if (name == NULL || size <= 0) return CUDA_ERROR_INVALID_VALUE;
  if (sim__device(device) == NULL) return CUDA_ERROR_INVALID_DEVICE;
  snprintf(name, (size_t)size, "Simulated GPU %d", device);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetName(char *name, int len, CUdevice dev) {
  SIM_CALL(cuDeviceGetName, 0, name_of(name, len, dev));
}

static CUresult total_memory(size_t *bytes, CUdevice device) {
  if (bytes == NULL) return CUDA_ERROR_INVALID_VALUE;
  if (sim__device(device) == NULL) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = devices[device].capacity;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceTotalMem(size_t *bytes, CUdevice dev) {
  SIM_CALL(cuDeviceTotalMem, 0, total_memory(bytes, dev));
}

static CUresult uuid_of(CUuuid *uuid, CUdevice device) {
  if (uuid == NULL) return CUDA_ERROR_INVALID_VALUE;
  if (sim__device(device) == NULL) return CUDA_ERROR_INVALID_DEVICE;
  memcpy(uuid->bytes, "simulated gpu #", sizeof uuid->bytes);
  uuid->bytes[sizeof uuid->bytes - 1] = (char)device;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetUuid(CUuuid *uuid, CUdevice dev) { SIM_CALL(cuDeviceGetUuid, 0, uuid_of(uuid, dev)); }

static CUresult bus_id(char *text, int size, CUdevice device) {
  if (text == NULL || size <= 0) return CUDA_ERROR_INVALID_VALUE;
  if (sim__device(device) == NULL) return CUDA_ERROR_INVALID_DEVICE;
  snprintf(text, (size_t)size, "0000:%02x:00.0", device + 1);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetPCIBusId(char *pciBusId, int len, CUdevice dev) {
  SIM_CALL(cuDeviceGetPCIBusId, 0, bus_id(pciBusId, len, dev));
}

static int attribute_value(CUdevice_attribute attribute, CUdevice device) {
  switch ((int)attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return 9;
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_HOST_REGISTER_SUPPORTED:
      return 1;
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
      return 2;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
      return device + 1;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      return 32;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      return 8;
    default:
      return 0;
  }
}

static CUresult attribute_of(int *value, CUdevice_attribute attribute, CUdevice device) {
  if (value == NULL || attribute <= 0 || attribute >= CU_DEVICE_ATTRIBUTE_MAX) return CUDA_ERROR_INVALID_VALUE;
  if (sim__device(device) == NULL) return CUDA_ERROR_INVALID_DEVICE;
  *value = attribute_value(attribute, device);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceGetAttribute(int *pi, CUdevice_attribute attrib, CUdevice dev) {
  SIM_CALL(cuDeviceGetAttribute, 0, attribute_of(pi, attrib, dev));
}

static CUresult can_access(int *can, CUdevice device, CUdevice peer) {
  if (can == NULL) return CUDA_ERROR_INVALID_VALUE;
  if (sim__device(device) == NULL || sim__device(peer) == NULL) return CUDA_ERROR_INVALID_DEVICE;
  *can = device != peer && devices[device].peers[peer];
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuDeviceCanAccessPeer(int *canAccessPeer, CUdevice dev, CUdevice peerDev) {
  SIM_CALL(cuDeviceCanAccessPeer, 0, can_access(canAccessPeer, dev, peerDev));
}

static CUresult memory_info(size_t *available, size_t *total) {
  if (available == NULL || total == NULL) return CUDA_ERROR_INVALID_VALUE;
  const sim_device *const device = &devices[sim__current_or_null()->device];
  *available = device->used > device->capacity ? 0 : device->capacity - device->used;
  *total = device->capacity;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemGetInfo(size_t *available, size_t *total) {
  SIM_CALL(cuMemGetInfo, SIM_CURRENT, memory_info(available, total));
}

/* ------------------------------------------------------------------ controls */

SIM_API void sim_driver_version(int number) {
  const int inside = sim__lock();
  version = number;
  sim__unlock(inside);
}

SIM_API void sim_capacity(int ordinal, uint64_t bytes) {
  const int inside = sim__lock();
  sim_device *const device = sim__device(ordinal);
  if (device != NULL) device->capacity = bytes;
  sim__unlock(inside);
}

SIM_API uint64_t sim_used(int ordinal) {
  const int inside = sim__lock();
  const sim_device *const device = sim__device(ordinal);
  const uint64_t used = device == NULL ? 0 : device->used;
  sim__unlock(inside);
  return used;
}

SIM_API void sim_peer(int ordinal, int peer, int can) {
  const int inside = sim__lock();
  sim_device *const device = sim__device(ordinal);
  if (device != NULL && sim__device(peer) != NULL) device->peers[peer] = (char)(can != 0);
  sim__unlock(inside);
}

SIM_API int sim_retained(int ordinal) {
  const int inside = sim__lock();
  const sim_device *const device = sim__device(ordinal);
  const int retained = device == NULL ? 0 : device->retained;
  sim__unlock(inside);
  return retained;
}
