/* SPDX-License-Identifier: MIT
 * What pyclesperanto keeps of its devices' memory: nothing. */
#include "pyclesperanto_plugin.h"

ab_status cle_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                          uint64_t *to_pool) {
  (void)call, (void)device, (void)flags;
  // Every array is an allocation of the driver, and goes back to it when the array is dropped.
  *to_driver = *to_pool = 0;
  return AB_OK;
}

ab_status cle_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info) {
  cle_device *found = cle_device_find(call, device);
  if (found == NULL) return call->error->status;
  const ab_status status = cle_device_wake(call, found);
  if (status != AB_OK) return status;
  const uint64_t size = found->facts.memory_bytes;
  const ab_memory_info known = {
      .struct_size = (uint32_t)sizeof known,
      .in_use = UINT64_MAX,
      .limit = size != 0 ? size : UINT64_MAX,
      .detail = "pyclesperanto does not count its memory, and OpenCL does not say what is free"};
  ab_struct_fill(info, &known, (uint32_t)sizeof known);
  return AB_OK;
}
