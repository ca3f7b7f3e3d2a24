/* SPDX-License-Identifier: MIT
 * Memory of CUDA devices, and pinned memory of the host. */
#include "device/cuda_internal.h"

#ifdef AB__HAS_CUDA

/* In ab_memory.reserved[0]: how it was made, and so how it goes. */
enum { FROM_DEVICE = 0, FROM_POOL = 1 };

/* The primary context of the device that `memory` names, entered. Wakes the device: it was asked for. */
static ab_status enter(const ab_memory *memory, ab__cu_place *place, ab_error *error) {
  *place = (ab__cu_place){0};
  ab_status status = ab__cu_device_find(memory->device, memory->device_uuid, &place->device, error);
  if (status == AB_OK) status = ab__cu_primary(place->device, 1, &place->context, error);
  if (status == AB_OK && memory->native_context != NULL && memory->native_context != place->context)
    status = ab_error_set(error, AB_UNSUPPORTED, "memory comes from the primary CUDA context only");
  return status == AB_OK ? ab__cu_enter(place, error) : status;
}

static ab_status made(const ab__cu_place *place, CUresult code, const char *call, uint64_t bytes, ab_error *error) {
  if (code == CUDA_SUCCESS) return AB_OK;
  const ab_status status = ab__cu_failed_at(place, code, call, error);
  if (status == AB_OOM)
    ab_error_set(error, AB_OOM, "no memory for %llu bytes on cuda:%d (%s)", (unsigned long long)bytes,
                 place->device->ordinal, call);
  return status;
}

/* ------------------------------------------------------------------ allocating */

/* Memory of the device. Allocating may wait, which would break a capture on another stream of this thread. */
static ab_status allocate_now(const ab_call *call, ab__cu_place *place, ab_memory *memory) {
  ab_status status = ab__cu_relax(place, call->error);
  if (status != AB_OK) return status;
  CUdeviceptr address = 0;
  const CUresult code = ab__cu.cuMemAlloc_v2(&address, (size_t)memory->bytes);
  status = made(place, code, "cuMemAlloc", memory->bytes, call->error);
  if (status != AB_OK) return status;
  memory->handle = (void *)(uintptr_t)address;
  memory->reserved[0] = FROM_DEVICE;
  return AB_OK;
}

static ab_status allocate_pinned(const ab_call *call, ab__cu_place *place, ab_memory *memory) {
  ab_status status = ab__cu_relax(place, call->error);
  if (status != AB_OK) return status;
  void *address = NULL;
  const CUresult code = ab__cu.cuMemHostAlloc(&address, (size_t)memory->bytes, CU_MEMHOSTALLOC_PORTABLE);
  status = made(place, code, "cuMemHostAlloc", memory->bytes, call->error);
  if (status == AB_OK) memory->handle = address;
  return status;
}

/* Memory in the order of a stream: neither this nor giving it back makes anybody wait. */
static ab_status allocate_ordered(const ab_call *call, const ab_stream *stream, ab_memory *memory) {
  ab__cu_place place;
  CUstream handle = NULL;
  ab_status status = ab__cu_stream_enter_uncaptured(stream, &place, &handle, call->error);
  if (status != AB_OK) return status;
  CUdeviceptr address = 0;
  const CUresult code = ab__cu.cuMemAllocAsync(&address, (size_t)memory->bytes, handle);
  status = made(&place, code, "cuMemAllocAsync", memory->bytes, call->error);
  ab__cu_leave(&place);
  if (status != AB_OK) return status;
  memory->handle = (void *)(uintptr_t)address;
  memory->reserved[0] = FROM_POOL;
  return AB_OK;
}

/* The stream in whose order memory of `device` is made and goes; NULL: none is given, or the device has no pool. */
static ab_status pool_stream(const ab_call *call, const ab__cu_device *device, const ab_stream **stream) {
  *stream = ab__cu_call_stream(call);
  if (*stream == NULL) return AB_OK;
  ab__cu_device *owner = NULL;
  const ab_status status = ab__cu_device_find((*stream)->device, (*stream)->device_uuid, &owner, call->error);
  if (status != AB_OK) return status;
  if (owner != device)
    return ab_fail(call, AB_STREAM, "a stream of cuda:%d cannot order memory of cuda:%d", owner->ordinal,
                   device->ordinal);
  if (!device->has_pool) *stream = NULL;
  return AB_OK;
}

ab_status ab__cu_allocate(const ab_call *call, ab_memory *memory) {
  const int pinned = memory->device.device_type == kDLCUDAHost;
  if (!pinned && (memory->device.device_type != kDLCUDA || (memory->flags & AB_MEMORY_MANAGED)))
    return ab_fail(call, AB_UNSUPPORTED, "neither memory of a CUDA device nor pinned memory");
  ab__cu_place place;
  const ab_stream *stream = NULL;
  ab_status status = enter(memory, &place, call->error);
  if (status != AB_OK) return status;
  if (!pinned) status = pool_stream(call, place.device, &stream);
  if (status != AB_OK) goto done;
  if (memory->bytes == 0) memory->handle = NULL;  // the driver refuses to allocate nothing
  else if (pinned) status = allocate_pinned(call, &place, memory);
  else if (stream != NULL) status = allocate_ordered(call, stream, memory);
  else status = allocate_now(call, &place, memory);
  if (status == AB_OK) memory->offset = 0;

done:
  ab__cu_leave(&place);
  return status;
}

/* ------------------------------------------------------------------ giving back */

static ab_status deallocate_ordered(const ab_call *call, const ab_stream *stream, CUdeviceptr address) {
  ab__cu_place place;
  CUstream handle = NULL;
  const ab_status status = ab__cu_stream_enter_uncaptured(stream, &place, &handle, call->error);
  if (status != AB_OK) return status;
  const CUresult code = ab__cu.cuMemFreeAsync(address, handle);
  ab__cu_leave(&place);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(&place, code, "cuMemFreeAsync", call->error);
}

static ab_status deallocate_now(const ab_call *call, const ab_memory *memory) {
  ab__cu_place place;
  ab_status status = enter(memory, &place, call->error);
  if (status != AB_OK) return status;
  status = ab__cu_relax(&place, call->error);
  if (status != AB_OK) goto done;
  const int pinned = memory->device.device_type == kDLCUDAHost;
  const CUresult code =
      pinned ? ab__cu.cuMemFreeHost(memory->handle) : ab__cu.cuMemFree_v2((CUdeviceptr)(uintptr_t)memory->handle);
  if (code != CUDA_SUCCESS)
    status = ab__cu_failed_at(&place, code, pinned ? "cuMemFreeHost" : "cuMemFree", call->error);

done:
  ab__cu_leave(&place);
  return status;
}

/* cuMemFree "may perform implicit synchronization": nobody promises that it waits, so the host does. */
ab_status ab__cu_deallocate(const ab_call *call, const ab_memory *memory) {
  const DLDeviceType type = memory->device.device_type;
  if (type != kDLCUDA && type != kDLCUDAHost) return ab_fail(call, AB_UNSUPPORTED, "not memory of ours");
  if (memory->handle == NULL) return AB_OK;
  const ab_stream *stream = ab__cu_call_stream(call);
  if (stream != NULL && type == kDLCUDA && memory->reserved[0] == FROM_POOL)
    return deallocate_ordered(call, stream, (CUdeviceptr)(uintptr_t)memory->handle);
  const ab_status status = stream != NULL ? ab__cu_stream_finish(call) : AB_OK;
  return status == AB_OK ? deallocate_now(call, memory) : status;
}

/* ------------------------------------------------------------------ registering host memory */

static int is_host(DLDeviceType type) { return type == kDLCPU || type == kDLCUDAHost; }

static void *address_of(const ab_memory *memory) { return (char *)memory->handle + memory->offset; }

static ab_status registered(const ab__cu_place *place, CUresult code, ab_error *error) {
  if (code == CUDA_SUCCESS) return AB_OK;
  const ab_status status = ab__cu_failed_at(place, code, "cuMemHostRegister", error);
  if (code != CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED && code != CUDA_ERROR_NOT_SUPPORTED) return status;
  return ab_error_set(error, AB_UNSUPPORTED, "%s",
                      code == CUDA_ERROR_NOT_SUPPORTED ? "this memory cannot be registered with the CUDA driver"
                                                       : "somebody else has registered this memory");
}

ab_status ab__cu_wrap(const ab_call *call, const ab_memory *host, ab_memory *device) {
  if (host->device.device_type != kDLCPU || host->bytes == 0)
    return ab_fail(call, AB_UNSUPPORTED, "only pageable host memory is registered");
  ab__cu_place place;
  ab_status status = enter(device, &place, call->error);
  if (status != AB_OK) return status;
  status = ab__cu_relax(&place, call->error);
  if (status == AB_OK) {
    const CUresult code =
        ab__cu.cuMemHostRegister_v2(address_of(host), (size_t)host->bytes, CU_MEMHOSTREGISTER_PORTABLE);
    status = registered(&place, code, call->error);
  }
  ab__cu_leave(&place);
  if (status != AB_OK) return status;
  device->flags = AB_MEMORY_PINNED;
  device->device.device_type = kDLCUDAHost;
  device->handle = address_of(host);
  device->offset = 0;
  device->bytes = host->bytes;
  return AB_OK;
}

ab_status ab__cu_unwrap(const ab_call *call, const ab_memory *device) {
  if (!is_host(device->device.device_type) || !(device->flags & AB_MEMORY_PINNED))
    return ab_fail(call, AB_UNSUPPORTED, "not registered host memory");
  const ab_status finished = ab__cu_call_stream(call) != NULL ? ab__cu_stream_finish(call) : AB_OK;
  if (finished != AB_OK) return finished;
  ab__cu_place place;
  ab_status status = enter(device, &place, call->error);
  if (status != AB_OK) return status;
  status = ab__cu_relax(&place, call->error);
  if (status == AB_OK) {
    const CUresult code = ab__cu.cuMemHostUnregister(address_of(device));
    if (code != CUDA_SUCCESS) status = ab__cu_failed_at(&place, code, "cuMemHostUnregister", call->error);
  }
  ab__cu_leave(&place);
  return status;
}

/* ------------------------------------------------------------------ how much there is */

ab_status ab__cuda_memory_info(DLDevice device, uint64_t *free_bytes, uint64_t *total_bytes, ab_error *error) {
  ab__cu_place place = {0};
  ab_status status = ab__cu_device_find(device, NULL, &place.device, error);
  if (status == AB_OK) status = ab__cu_primary(place.device, 0, &place.context, error);
  if (status == AB_OK) status = ab__cu_enter(&place, error);
  if (status != AB_OK) return status;
  size_t left = 0, total = 0;
  const CUresult code = ab__cu.cuMemGetInfo_v2(&left, &total);
  ab__cu_leave(&place);
  if (code != CUDA_SUCCESS) return ab__cu_failed_at(&place, code, "cuMemGetInfo", error);
  *free_bytes = left;
  *total_bytes = total;
  return AB_OK;
}

#endif /* AB__HAS_CUDA */
