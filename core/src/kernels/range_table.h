/* SPDX-License-Identifier: MIT
 *
 * range_table.h: the loops that look for least and greatest values. Parameters are indices of dtype.h, of bool,
 * integers, float32 and float64. Elements need not be aligned; a call looks at AB__RANGE_CHUNK of them at most.
 */
#ifndef AB__RANGE_TABLE_H
#define AB__RANGE_TABLE_H

#include <arraybridge/arraybridge.h>

enum { AB__RANGE_CHUNK = 1024 };

/// Gives the ends of `count` elements, at least one. Returns 1 if some are NaN or infinite; then the ends mean nothing.
typedef int (*ab__range_kernel)(const char *from, int64_t count, ab_number *least, ab_number *greatest);

ab__range_kernel ab__range_ends(int dtype);
/// 1 if some of `count` elements, all finite, is not whole. float32 or float64.
int ab__range_has_fraction(int dtype, const char *from, int64_t count);

#endif /* AB__RANGE_TABLE_H */
