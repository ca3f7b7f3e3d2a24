/* SPDX-License-Identifier: MIT
 *
 * scale_plan.h: what one pair of dtypes comes to under one rule: which loops run over a chunk, and what is done about
 * elements that they leave unsettled.
 */
#ifndef AB__SCALE_PLAN_H
#define AB__SCALE_PLAN_H

#include "kernels/cast.h"
#include "kernels/range.h"
#include "kernels/scale.h"
#include "kernels/scale_table.h"
#include "kernels/scale_value.h"

typedef struct ab__scale_plan ab__scale_plan;

/// Does `count` elements, AB__SCALE_CHUNK at most, from the working dtype to the target's. Returns how many have no
/// value under the rule; then nothing else counts.
typedef int64_t (*ab__scale_step)(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                                  ab__scale_outcome *outcome);

struct ab__scale_plan {
  ab__scale_rule rule;
  int from, working, to;  ///< indices of dtype.h; working: narrow floats as float32, complex as its real half
  uint32_t from_size, working_size, to_size;
  ab__cast to_working;    ///< length 0: nothing to do
  ab__cast from_working;  ///< complex sources under EXACT: what must come out again
  ab__cast cast;          ///< plain, from working; length 0: the same dtype
  ab__cast back;          ///< to working again
  ab__scale_step step;
  ab__scale_kernel convert;
  ab__stretch_kernel stretch;
  ab__stretch image;  ///< with `stretch`
  ab__integer type;   ///< of an integer target
  uint64_t nan_bits;  ///< what stands for NaN in an integer target
  int patches;        ///< MINMAX: there are NaN or infinities to put `nan_bits` in place of
};

/// Plans everything but MINMAX of floats, which is completed by ab__scale_plan_stretch().
void ab__scale_plan_make(ab__scale_plan *plan, const ab__scale_rule *rule, int from, int to);
/// 1 if the plan wants to know the range of the image first.
int ab__scale_plan_wants_range(const ab__scale_plan *plan);
void ab__scale_plan_stretch(ab__scale_plan *plan, const ab__range *range);
/// Runs the plan over a chunk. Returns as ab__scale_step does.
int64_t ab__scale_plan_run(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                           ab__scale_outcome *outcome);

#endif /* AB__SCALE_PLAN_H */
