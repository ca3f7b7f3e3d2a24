/* SPDX-License-Identifier: MIT
 *
 * scale_table.h: the loops of which scalings are made. Each works on `count` contiguous elements; neither side need be
 * aligned; the two must not overlap. Parameters are indices of dtype.h, of native dtypes: integers, float32, float64.
 * NULL: there is no such loop.
 */
#ifndef AB__SCALE_TABLE_H
#define AB__SCALE_TABLE_H

#include <stdint.h>

/// At most so many elements a call: the loops count in 32 bits, and their results stay in the first-level cache.
enum { AB__SCALE_CHUNK = 1024 };

/// What minmax has to know: y = (x·shrink - least) / range · span + lowest.
typedef struct ab__stretch {
  double shrink;  ///< 1; 0.5 where the range of float64 values is larger than float64
  double least;   ///< of the image, shrunk
  double range;   ///< greatest - least, shrunk; not 0
} ab__stretch;

/// Converts. Returns how many elements it could not settle: NaN and values beyond the target's range, which are there
/// saturated (NaN as some integer). That is 0 for most chunks, and then all is done.
typedef int64_t (*ab__scale_kernel)(const char *restrict from, char *restrict to, int64_t count);
/// Looks at elements. Returns how many are what it looks for.
typedef int64_t (*ab__count_kernel)(const char *from, int64_t count);
/// Looks at two runs of elements of one dtype. Returns how many differ.
typedef int64_t (*ab__differ_kernel)(const char *a, const char *b, int64_t count);
/// Stretches elements that all lie between `least` and the greatest of the image.
typedef void (*ab__stretch_kernel)(const ab__stretch *stretch, const char *restrict from, char *restrict to,
                                   int64_t count);

/// Rounds to nearest even and saturates; integers just saturate. From float32, float64 and integers to integers.
ab__scale_kernel ab__scale_clip(int from, int to);
/// From float32 and float64 to integers of 8 to 32 bits. Unsettled, besides: what lies outside [0, 1] (unsigned) or
/// [-1, 1] (signed), and what lies so near to a tie that float64 cannot decide it; the results of these mean nothing.
ab__scale_kernel ab__scale_unit(int from, int to);
/// From float32 and float64 to integers.
ab__stretch_kernel ab__scale_stretch(int from, int to);
/// As ab__scale_stretch() from float32 to integers of 8 and 16 bits, computed in float32 as NumPy does.
ab__stretch_kernel ab__scale_stretch_float(int to);
/// Values of float32 or float64 that truncation does not bring into the range of the integer `to`, NaN included.
ab__count_kernel ab__scale_outside(int from, int to);
/// NaN among float32 and float64.
ab__count_kernel ab__scale_nans(int from);
/// NaN and infinities among elements of any floating-point dtype; of complex ones, both halves count.
ab__count_kernel ab__scale_not_finite(int from);
/// Elements that differ, for bool, integers, float32, float64 and complex (whose halves count); NaN is like NaN, and
/// zero like minus zero.
ab__differ_kernel ab__scale_differ(int dtype);

#endif /* AB__SCALE_TABLE_H */
