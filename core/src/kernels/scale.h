/* SPDX-License-Identifier: MIT
 *
 * scale.h: converts elements from one dtype to another by one of the rules of ab_scaling. One pass, two for MINMAX; no
 * temporary above 64 KiB.
 */
#ifndef AB__SCALE_H
#define AB__SCALE_H

#include <arraybridge/arraybridge.h>

#include "kernels/copy.h"

typedef struct ab__scale_rule {
  ab_scaling scaling;
  int nan_given;
  double nan;  ///< stands in the result for NaN, and for infinities under UNIT, MINMAX and WRAP
} ab__scale_rule;

typedef struct ab__scale_outcome {
  int64_t saturated, overflowed;
  int64_t fault;  ///< place, in C order, of the first element that the rule has no value for; -1
} ab__scale_outcome;

/// 1 if the rule is meaningless between these dtypes, or its `nan` no value of `to`; `error` then says why.
int ab__scale_refused(const ab__scale_rule *rule, DLDataType from, DLDataType to, ab_error *error);

/// Converts `source`, whose elements are `from`, to compact elements `to`, another dtype, last axis fastest. Any
/// alignment will do. `threads` as for ab__copy_to_compact(). The caller has asked ab__scale_refused().
/// Returns: AB_OK; AB_WOULD_CAST some element has no value: outcome->fault; AB_UNSUPPORTED one of the dtypes is carried
/// only; AB_INVALID_ARGUMENT a dtype is none of ours, or is not of `source->itemsize`. Never fails for lack of memory.
ab_status ab__scale_to_compact(const ab__strided *source, DLDataType from, DLDataType to, const ab__scale_rule *rule,
                               void *destination, uint32_t threads, ab__scale_outcome *outcome);

/// Says in `error` which element it was, where, and what to do. Returns AB_WOULD_CAST.
ab_status ab__scale_explain(const ab__strided *source, DLDataType from, DLDataType to, const ab__scale_rule *rule,
                            int64_t fault, ab_error *error);

#endif /* AB__SCALE_H */
