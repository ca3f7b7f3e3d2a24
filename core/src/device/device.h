/* SPDX-License-Identifier: MIT
 * The device layers: one table of operations for each kind of device the core knows. */
#ifndef AB__DEVICE_H
#define AB__DEVICE_H

#include <arraybridge/plugin.h>

/// The operations for a kind of device; NULL if the core knows none.
const ab_device_ops *ab__device_ops(DLDeviceType type);
/// Prepares every driver (ab_bridge_prepare).
ab_status ab__device_prepare(ab_error *error);

extern const ab_device_ops ab__host_ops;

/// A call of one of the operations on `stream`. Borrows `report` and `error`, which are not NULL.
static inline ab_call ab__device_call(const ab_device_ops *ops, const ab_stream *stream, ab_report *report,
                                      ab_error *error) {
  return (ab_call){
      .struct_size = (uint32_t)sizeof(ab_call), .self = ops->self, .stream = stream, .report = report, .error = error};
}

#endif
