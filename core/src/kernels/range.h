/* SPDX-License-Identifier: MIT
 *
 * range.h: what values there are in host memory: their ends, NaN and infinities, fractions. One pass, no temporary
 * above 64 KiB.
 */
#ifndef AB__RANGE_H
#define AB__RANGE_H

#include <arraybridge/arraybridge.h>

#include "kernels/copy.h"

enum {
  AB__RANGE_FRACTIONS = 1u << 0,   ///< look for values that are not whole
  AB__RANGE_UNIT_ONLY = 1u << 1,   ///< stop soon after a value outside [-1, 1], NaN included
  AB__RANGE_FINITE_ONLY = 1u << 2  ///< stop soon after a NaN or an infinity; `first_odd` is the first one
};

typedef struct ab__range {
  ab_number least, greatest;  ///< of the numbers that are neither NaN nor infinite
  int64_t seen;               ///< elements looked at
  int64_t numbers;            ///< finite ones
  int64_t nans, infinities;
  int64_t first_nan;  ///< its place in C order; -1
  int64_t first_odd;  ///< of NaN and infinities; -1
  int fractional;
  int stopped;
} ab__range;

/// Looks at `source`, whose elements are `dtype`; `threads` as for ab__copy_to_compact().
/// Returns: AB_OK; AB_UNSUPPORTED complex, or carried only; AB_INVALID_ARGUMENT not of `source->itemsize`, or none of
/// ours.
ab_status ab__range_find(const ab__strided *source, DLDataType dtype, uint32_t flags, uint32_t threads,
                         ab__range *range);

#endif /* AB__RANGE_H */
