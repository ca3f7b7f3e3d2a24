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

#endif
