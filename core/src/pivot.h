/* SPDX-License-Identifier: MIT
 * Pivots: fresh, C-contiguous, 64-byte aligned host tensors that the core copies into. */
#ifndef AB__PIVOT_H
#define AB__PIVOT_H

#include <arraybridge/arraybridge.h>

#include "kernels/copy.h"

/// Memory to be copied from: as described, on the host.
typedef struct ab__view {
  const void *data;
  int32_t ndim;
  const int64_t *shape;
  const int64_t *strides;  ///< bytes
  DLDataType dtype;
  int swapped;  ///< elements are in the other byte order
} ab__view;

/// What of the options concerns values: the dtype is given apart.
typedef struct ab__pivot_policy {
  uint32_t threads;    ///< as in ab_convert_options
  ab_scaling scaling;  ///< NONE: a plain cast, and the rest does not count
  int nan_given;
  double nan;
  ab_scale_report *scaled;  ///< added to, if not NULL
} ab__pivot_policy;

/// What `options` say about it.
ab__pivot_policy ab__pivot_policy_of(const ab_convert_options *options);

/// Gives a fresh tensor with the view's values as `dtype`. The caller has checked the casting rule, or asked
/// ab__scale_refused(). Returns: AB_OK; AB_OOM; AB_WOULD_CAST the scaling has no value for an element; AB_UNSUPPORTED
/// no such cast.
ab_status ab__pivot_copy(const ab__view *view, DLDataType dtype, const ab__pivot_policy *policy,
                         DLManagedTensorVersioned **tensor, ab_error *error);

/// How many threads `threads` means for a host copy of so many elements.
uint32_t ab__pivot_threads(uint32_t threads, int64_t elements);
/// The view as kernels want it.
ab__strided ab__pivot_strided(const ab__view *view);

#endif
