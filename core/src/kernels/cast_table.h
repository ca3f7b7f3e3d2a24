/* SPDX-License-Identifier: MIT
 *
 * cast_table.h: the loops of which casts are made. Each converts `count` contiguous elements; neither side need be
 * aligned; the two must not overlap. Parameters are indices of dtype.h. NULL: there is no such loop.
 */
#ifndef AB__CAST_TABLE_H
#define AB__CAST_TABLE_H

#include <stdint.h>

typedef void (*ab__cast_kernel)(const char *restrict from, char *restrict to, int64_t count);

/// Between bool, integers, float32 and float64.
ab__cast_kernel ab__cast_native(int from, int to);
/// From bool, integers, float32 and float64 to float32, rounded so that rounding again, to any of the narrow floats,
/// gives what rounding once would have given ("round to odd").
ab__cast_kernel ab__cast_to_odd(int from);
/// From a narrow float (float16, bfloat16, float8_e4m3fn, float8_e5m2) to float32, exactly.
ab__cast_kernel ab__cast_widen(int from);
/// From float32 to a narrow float.
ab__cast_kernel ab__cast_narrow(int to);
/// From complex to its real half, to bool, and to the other complex.
ab__cast_kernel ab__cast_complex(int from, int to);
/// From float32 to complex64, from float64 to complex128.
ab__cast_kernel ab__cast_to_complex(int to);

#endif /* AB__CAST_TABLE_H */
