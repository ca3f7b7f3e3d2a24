/* SPDX-License-Identifier: MIT
 *
 * cast.h: converts elements from one dtype to another in host memory, as NumPy's astype and ml_dtypes do.
 *
 * Rounding is to nearest even, once: float64 to float16, bfloat16 and float8 does not pass through a rounded float32.
 * What is too large becomes an infinity, and a NaN in float8_e4m3fn, which has none. Where C leaves a conversion from
 * floating point to an integer undefined, the result is the nearest integer that exists, and 0 for NaN.
 * Integers wrap. Complex to real drops the imaginary part. To bool is "is not zero"; a bool is any byte but 0.
 */
#ifndef AB__CAST_H
#define AB__CAST_H

#include <arraybridge/types.h>

#include "kernels/cast_table.h"
#include "kernels/copy.h"

/// Converts `source`, whose elements are `from`, to compact elements `to`, last axis fastest. Any alignment will do.
/// `threads`: at most so many work on it, the caller included; 0 and 1: the caller alone.
/// Returns: AB_OK; AB_UNSUPPORTED one of the dtypes is carried only (equal ones are copied); AB_INVALID_ARGUMENT
/// a dtype is none of ours, or is not of `source->itemsize`. Never fails for lack of memory. Threads: any-thread.
ab_status ab__cast_to_compact(const ab__strided *source, DLDataType from, DLDataType to, void *destination,
                              uint32_t threads);

enum { AB__CAST_STAGES = 3 };

/// One cast, made of the loops it takes.
typedef struct ab__cast {
  ab__cast_kernel stages[AB__CAST_STAGES];
  int length;
  uint32_t from_size, to_size;  ///< of one element, bytes
} ab__cast;

/// Makes the cast between two different dtypes, by their indices, neither of which is carried only.
ab__cast ab__cast_make(int from, int to);
/// Casts `count` compact elements; the two runs must not overlap.
void ab__cast_run(const ab__cast *cast, const char *from, char *to, int64_t count);

#endif /* AB__CAST_H */
