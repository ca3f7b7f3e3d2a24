/* SPDX-License-Identifier: MIT
 * Pivots: fresh, C-contiguous, 64-byte aligned host tensors that the core copies into. */
#ifndef AB__PIVOT_H
#define AB__PIVOT_H

#include <arraybridge/types.h>

/// Memory to be copied from: as described, on the host.
typedef struct ab__view {
  const void *data;
  int32_t ndim;
  const int64_t *shape;
  const int64_t *strides;  ///< bytes
  DLDataType dtype;
  int swapped;  ///< elements are in the other byte order
} ab__view;

/// Gives a fresh tensor with the view's values as `dtype`, copied by `threads` threads. The caller has checked the
/// casting rule. Returns: AB_OK; AB_OOM; AB_UNSUPPORTED no such cast.
ab_status ab__pivot_copy(const ab__view *view, DLDataType dtype, uint32_t threads, DLManagedTensorVersioned **tensor,
                         ab_error *error);

#endif
