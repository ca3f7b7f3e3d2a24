/* SPDX-License-Identifier: MIT
 * The one engine that goes on after out-of-memory: for conversions, and for whoever asks. */
#ifndef AB__RECOVERY_H
#define AB__RECOVERY_H

#include "bridge.h"

enum { AB__DEFAULT_RETRIES = 2 };

/// What ab_recover() would answer; changes nothing.
ab_recovery_action ab__recovery_next(const ab_recovery *recovery, ab_status verdict);
/// Makes room, then notes in `recovery` that `action` is on its way. Returns: AB_OK; AB_CANCELLED; AB_ENDING.
ab_status ab__recovery_go(ab_bridge *bridge, ab_recovery *recovery, ab_recovery_action action, ab_error *error);

#endif
