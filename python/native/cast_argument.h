/* SPDX-License-Identifier: MIT
 * An array whose dtype the target lacks, on its way into or out of a decorated function. */
#ifndef ARRAYBRIDGE_NATIVE_CAST_ARGUMENT_H
#define ARRAYBRIDGE_NATIVE_CAST_ARGUMENT_H

#include "native.h"

/// 1 if the pending exception says that a change of dtype is not allowed: it is then gone.
int native_would_cast(void);
/// Converts with the nearest dtype that options->casting allows, and tells. Real numbers may become infinite, and that
/// is told; an integer that has no place there is an error, whatever the casting. New reference, or NULL with an
/// exception.
PyObject *native_cast(ab_array from, const ab_backend *target, ab_convert_options *options);

#endif
