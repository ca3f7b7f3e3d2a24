/* SPDX-License-Identifier: MIT
 * The order between two frameworks' work on one device: by events, where somebody has them. */
#ifndef AB__ORDER_H
#define AB__ORDER_H

#include "conversion.h"

/// Operations with events for the device of the source's array: the core's own, else those of one of the two plugins;
/// NULL where there are none, and the frameworks order by themselves.
const ab_device_ops *ab__order_ops(const ab__conversion *c);

/// Makes `consumer` wait for all that the source's framework has enqueued on its current stream; the host does not
/// wait. `*ordered` is 0 if that is left to the framework: its stream is not told, or nobody has events.
/// Returns: AB_OK; AB_STREAM if one of the two is being captured; what the device operations failed with.
ab_status ab__order_before(const ab__conversion *c, const ab_device_ops *ops, const ab_stream *consumer, int *ordered);

#endif
