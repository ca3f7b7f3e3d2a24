/* SPDX-License-Identifier: MIT
 * Out-of-memory: which failures are it. */
#ifndef AB__OOM_H
#define AB__OOM_H

#include "bridge.h"

/// What came of a call, by its status and its error together: AB_OOM, AB_TOO_LARGE, or AB_OK for anything else.
ab_status ab__oom_judge(const ab_bridge *bridge, ab_status status, const ab_error *error);

#endif
