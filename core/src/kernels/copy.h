/* SPDX-License-Identifier: MIT
 *
 * copy.h: copies elements between layouts in host memory, swapping their bytes if asked to.
 */
#ifndef AB__COPY_H
#define AB__COPY_H

#include <stdint.h>

/// Elements to read: any strides, any alignment.
typedef struct ab__strided {
  const void *data;        ///< the element at index (0, …, 0)
  int32_t ndim;            ///< 0 … AB_MAX_NDIM
  const int64_t *shape;    ///< elements, not negative
  const int64_t *strides;  ///< BYTES, any sign; 0: the element repeats
  uint32_t itemsize;       ///< bytes
  uint32_t swap_unit;      ///< 0: as is; 2, 4, 8: reverse the bytes in units of this size, which divides itemsize
} ab__strided;

/// Copies `source` to compact memory, last axis fastest. Any alignment of `destination` will do.
/// `threads`: at most so many work on it, the caller included; 0 and 1: the caller alone. Threads: any-thread.
void ab__copy_to_compact(const ab__strided *source, void *destination, uint32_t threads);

/// As ab__copy_to_compact(), to elements `destination_strides` bytes apart (any sign), which must not overlap each
/// other nor the source.
void ab__copy_strided(const ab__strided *source, void *destination, const int64_t *destination_strides,
                      uint32_t threads);

#endif /* AB__COPY_H */
