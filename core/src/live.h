/* SPDX-License-Identifier: MIT
 * Live backends: those whose framework is in the process already. */
#ifndef AB__LIVE_H
#define AB__LIVE_H

#include "bridge.h"

/// One live backend, ready for its slots and under its lock. `idle`: its framework has touched no device yet.
/// Returns: AB_OK; AB_CANCELLED ends the round, any other status only its own part of it.
typedef ab_status (*ab__live_visitor)(void *context, const ab_backend *backend, int idle);

/// Goes through the live backends in the order of their names. One that does not start is left out.
/// Returns: AB_OK; AB_CANCELLED; AB_ENDING.
ab_status ab__live_each(const ab_bridge *bridge, ab__live_visitor visit, void *context, ab_error *error);

#endif
