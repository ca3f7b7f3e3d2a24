/* SPDX-License-Identifier: MIT
 * One turn at a time: discoveries of all bridges wait for each other, since a plugin is asked once in a process. A turn
 * is not a lock: plugins run during it, and who waits for it lets go of the runtime's lock, which the other may need to
 * finish. */
#ifndef AB__TURN_H
#define AB__TURN_H

#include "bridge.h"

/// Waits for the turn and takes it. Returns: AB_OK; AB_UNSUPPORTED if this thread has it already.
ab_status ab__turn_enter(const ab_bridge *bridge, ab_error *error);
/// Passes the turn on.
void ab__turn_leave(void);

#endif
