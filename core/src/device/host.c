/* SPDX-License-Identifier: MIT
 * The host as a device: its work is complete when a call returns, so events have always come to pass. */
#include "device/device.h"

#include "memory.h"

static ab_status host_allocate(const ab_call *call, ab_memory *memory) {
  if (memory->device.device_type != kDLCPU) return AB_UNSUPPORTED;
  void *made = ab__allocate_aligned((size_t)memory->bytes);
  if (made == NULL) return ab_fail(call, AB_OOM, "no host memory for %llu bytes", (unsigned long long)memory->bytes);
  memory->handle = made;
  memory->offset = 0;
  return AB_OK;
}

static ab_status host_deallocate(const ab_call *call, const ab_memory *memory) {
  (void)call;
  if (memory->device.device_type != kDLCPU) return AB_UNSUPPORTED;
  ab__deallocate(memory->handle);
  return AB_OK;
}

static ab_status host_copy(const ab_call *call, const ab_memory *to, const ab_memory *from) {
  (void)call;
  if (to->device.device_type != kDLCPU || from->device.device_type != kDLCPU) return AB_UNSUPPORTED;
  memcpy((char *)to->handle + to->offset, (const char *)from->handle + from->offset, (size_t)from->bytes);
  return AB_OK;
}

const ab_device_ops ab__host_ops = {
    .struct_size = (uint32_t)sizeof(ab_device_ops),
    .name = "host",
    .allocate = host_allocate,
    .deallocate = host_deallocate,
    .copy = host_copy,
};
