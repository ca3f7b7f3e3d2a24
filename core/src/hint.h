/* SPDX-License-Identifier: MIT
 * What a user can do about a conversion that is refused. */
#ifndef AB__HINT_H
#define AB__HINT_H

#include "route.h"

/// Says why the array cannot be converted. What stands behind the first "; " of `info->why_not` is the hint.
void ab__hint_not_convertible(const ab_array_info *info, ab_error *error);
/// Names the casting that makes `to` of `from`, and what it may do to values. `dtype`: to be passed as well, or NULL.
void ab__hint_cast(DLDataType from, DLDataType to, const char *dtype, ab_error *error);
/// What to do with an array of a shape that the target does not hold.
void ab__hint_shape(const ab__situation *at, const ab__ability *ability, ab_error *error);
/// Lists the devices that `backend` has. Must be started.
void ab__hint_devices(const ab_backend *backend, ab_error *error);

/// "cpu", "cuda", … of a DLDeviceType.
const char *ab__device_word(int type);

#endif /* AB__HINT_H */
