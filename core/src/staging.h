/* SPDX-License-Identifier: MIT
 * Elements brought to a device and back by the core itself, where it is quicker at that than the frameworks: on which
 * stream, in which order with the framework's own work, and into which array. */
#ifndef AB__STAGING_H
#define AB__STAGING_H

#include "conversion.h"
#include "pivot.h"

typedef struct ab__staging {
  const ab_device_ops *ops;
  int told;             ///< `framework` is known
  ab_stream framework;  ///< what the framework's next work there would go on
  ab_stream stream;     ///< what the copies go on: that one, or one of ours where only its own thread may use it
} ab__staging;

/// Finds operations and streams for the arrays of `backend` on `device`. Returns: AB_OK; AB_UNSUPPORTED the framework
/// is to do it itself; AB_STREAM a graph is being captured; what the slot or the driver said.
ab_status ab__staging_begin(const ab__conversion *c, const ab_backend *backend, DLDevice device, ab__staging *staging);

/// 1 if the source's array may be worth ab__staging_fetch().
int ab__staging_fetches(const ab__conversion *c);
/// Gives a fresh host tensor with the values of `there`, which is ready on the stream. The host waits. Returns: AB_OK;
/// AB_UNSUPPORTED; AB_OOM; AB_CANCELLED; what the driver said.
ab_status ab__staging_fetch(ab__conversion *c, const ab__staging *staging, const DLTensor *there,
                            DLManagedTensorVersioned **tensor);

/// Gives a new array of the target's with the values of `view`, whose dtype it has: ready on `consumer` (NULL: for the
/// host) and on the framework's own stream. Returns: AB_OK; AB_UNSUPPORTED; AB_STREAM; AB_OOM; AB_CANCELLED; what the
/// target or the driver said.
ab_status ab__staging_fill(ab__conversion *c, const ab_stream *consumer, const ab__view *view, void **object);

#endif
