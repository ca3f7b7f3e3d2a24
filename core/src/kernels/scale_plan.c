/* SPDX-License-Identifier: MIT */
#include "kernels/scale_plan.h"

#include <math.h>

#include "dtype.h"
#include "kernels/walk.h"

enum { WIDEST = 16 };

/* ------------------------------------------------------------------ elements one by one */

static double real_at(const ab__scale_plan *plan, const char *from, int64_t i) {
  return ab__walk_real(plan->working == AB__DTYPE_FLOAT64, from, i);
}

static void put(const ab__scale_plan *plan, char *to, int64_t i, uint64_t bits) {
  const uint8_t one = (uint8_t)bits;
  const uint16_t two = (uint16_t)bits;
  const uint32_t four = (uint32_t)bits;
  char *place = to + i * plan->to_size;
  if (plan->to_size == 1) memcpy(place, &one, sizeof one);
  else if (plan->to_size == 2) memcpy(place, &two, sizeof two);
  else if (plan->to_size == 4) memcpy(place, &four, sizeof four);
  else memcpy(place, &bits, sizeof bits);
}

/* `nan` stands for NaN, and for infinities where the rule has no value for them. An infinity that EXACT changes has a
 * value, which is another one. */
static int nan_stands_for(const ab__scale_rule *rule, double x) {
  if (!rule->nan_given) return 0;
  return isnan(x) || (isinf(x) && rule->scaling != AB_SCALING_EXACT);
}

static int64_t settle(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                      ab__scale_outcome *outcome) {
  int64_t faults = 0;
  for (int64_t i = 0; i < count; i++) {
    const double x = real_at(plan, from, i);
    uint64_t bits = 0;
    const ab__verdict verdict = ab__scale_value(plan->rule.scaling, x, &plan->type, &bits);
    if (verdict == AB__VERDICT_SATURATED) outcome->saturated++;
    if (verdict == AB__VERDICT_NONE && nan_stands_for(&plan->rule, x)) bits = plan->nan_bits;
    else if (verdict == AB__VERDICT_NONE) faults++;
    put(plan, to, i, bits);
  }
  return faults;
}

static void patch(const ab__scale_plan *plan, const char *from, char *to, int64_t count) {
  for (int64_t i = 0; i < count; i++)
    if (!isfinite(real_at(plan, from, i))) put(plan, to, i, plan->nan_bits);
}

/* ------------------------------------------------------------------ floating point to integer */

static int64_t step_clip(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                         ab__scale_outcome *outcome) {
  const int64_t outside = plan->convert(from, to, count);
  if (outside == 0) return 0;
  const int64_t nans = ab__scale_nans(plan->working)(from, count);
  if (nans != 0) return plan->rule.nan_given ? settle(plan, from, to, count, outcome) : nans;
  outcome->saturated += outside;
  return 0;
}

static int64_t step_unit(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                         ab__scale_outcome *outcome) {
  const int settled = plan->convert != NULL && plan->convert(from, to, count) == 0;
  return settled ? 0 : settle(plan, from, to, count, outcome);
}

static int64_t step_wrap(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                         ab__scale_outcome *outcome) {
  if (ab__scale_outside(plan->working, plan->to)(from, count) != 0) return settle(plan, from, to, count, outcome);
  ab__cast_run(&plan->cast, from, to, count);
  return 0;
}

static int64_t step_exact_integer(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                                  ab__scale_outcome *outcome) {
  _Alignas(64) char again[AB__SCALE_CHUNK * sizeof(double)];
  if (plan->convert(from, to, count) == 0) {
    ab__cast_run(&plan->back, to, again, count);
    if (ab__scale_differ(plan->working)(from, again, count) == 0) return 0;
  }
  return settle(plan, from, to, count, outcome);
}

/* The loops want numbers within the image, so the least one goes in where there is none. */
static void stretch_around(const ab__scale_plan *plan, const char *from, char *to, int64_t count) {
  _Alignas(64) char numbers[AB__SCALE_CHUNK * sizeof(double)];
  const double wide = plan->image.least / plan->image.shrink;
  const float narrow = (float)wide;
  memcpy(numbers, from, (size_t)count * plan->working_size);
  for (int64_t i = 0; i < count; i++) {
    if (isfinite(real_at(plan, from, i))) continue;
    if (plan->working == AB__DTYPE_FLOAT64) memcpy(numbers + i * (int64_t)sizeof wide, &wide, sizeof wide);
    else memcpy(numbers + i * (int64_t)sizeof narrow, &narrow, sizeof narrow);
  }
  plan->stretch(&plan->image, numbers, to, count);
  patch(plan, from, to, count);
}

static int64_t step_stretch(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                            ab__scale_outcome *outcome) {
  (void)outcome;
  if (plan->patches) stretch_around(plan, from, to, count);
  else plan->stretch(&plan->image, from, to, count);
  return 0;
}

/* MINMAX of an image of one value, or of none: there is nothing to stretch. */
static int64_t step_constant(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                             ab__scale_outcome *outcome) {
  outcome->saturated += ab__scale_outside(plan->working, plan->to)(from, count);
  ab__cast_run(&plan->cast, from, to, count);
  if (!plan->patches) return 0;
  outcome->saturated -= ab__scale_not_finite(plan->working)(from, count);
  patch(plan, from, to, count);
  return 0;
}

/* ------------------------------------------------------------------ integers */

static int64_t step_saturate(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                             ab__scale_outcome *outcome) {
  outcome->saturated += plan->convert(from, to, count);
  return 0;
}

static int64_t step_saturate_never(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                                   ab__scale_outcome *outcome) {
  (void)outcome;
  return plan->convert(from, to, count);
}

static uint64_t magnitude_at(const ab__scale_plan *plan, const char *wide, int64_t i) {
  uint64_t bits;
  memcpy(&bits, wide + i * (int64_t)sizeof bits, sizeof bits);
  return ab__dtype_at(plan->working).code == kDLInt && bits >> 63 ? 0 - bits : bits;
}

typedef struct real {
  int dtype;
  uint32_t mantissa;
  uint64_t largest;
} real;

/* Integers to floating point: what goes back would have been rounded to the same one at the ends of the range. */
static int64_t step_exact_real(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                               ab__scale_outcome *outcome) {
  static const real reals[] = {{AB__DTYPE_FLOAT16, 11, 65504},      {AB__DTYPE_BFLOAT16, 8, UINT64_MAX},
                               {AB__DTYPE_FLOAT32, 24, UINT64_MAX}, {AB__DTYPE_COMPLEX64, 24, UINT64_MAX},
                               {AB__DTYPE_FLOAT8_E4M3FN, 4, 448},   {AB__DTYPE_FLOAT8_E5M2, 3, 57344},
                               {AB__DTYPE_FLOAT64, 53, UINT64_MAX}, {AB__DTYPE_COMPLEX128, 53, UINT64_MAX}};
  (void)outcome;
  int which = 0;
  while (reals[which].dtype != plan->to) which++;
  const int wide_dtype = ab__dtype_at(plan->working).code == kDLInt ? AB__DTYPE_INT64 : AB__DTYPE_UINT64;
  _Alignas(64) char widened[AB__SCALE_CHUNK * sizeof(uint64_t)];
  if (plan->working != wide_dtype) {
    const ab__cast widen = ab__cast_make(plan->working, wide_dtype);
    ab__cast_run(&widen, from, widened, count);
  }
  const char *wide = plan->working != wide_dtype ? widened : from;
  int64_t faults = 0;
  for (int64_t i = 0; i < count; i++)
    faults += !ab__mantissa_holds(magnitude_at(plan, wide, i), reals[which].mantissa, reals[which].largest);
  ab__cast_run(&plan->cast, from, to, count);
  return faults;
}

/* ------------------------------------------------------------------ the rest */

static int64_t step_same(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                         ab__scale_outcome *outcome) {
  (void)outcome;
  memcpy(to, from, (size_t)count * plan->to_size);
  return 0;
}

static int64_t step_cast(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                         ab__scale_outcome *outcome) {
  (void)outcome;
  ab__cast_run(&plan->cast, from, to, count);
  return 0;
}

static int64_t step_overflow(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                             ab__scale_outcome *outcome) {
  ab__cast_run(&plan->cast, from, to, count);
  const int64_t infinite = ab__scale_not_finite(plan->to)(to, count);
  if (infinite == 0) return 0;
  const ab__count_kernel before = ab__scale_not_finite(plan->working); /* integers are all finite */
  outcome->overflowed += infinite - (before != NULL ? before(from, count) : 0);
  return 0;
}

/* Floating point to bool: "is not zero", of which NaN says nothing. Returns NaN that nothing stands for. */
static int64_t truth_of_nan(const ab__scale_plan *plan, const char *from, char *to, int64_t count) {
  const int64_t nans = ab__scale_nans(plan->working)(from, count);
  if (nans == 0 || !plan->rule.nan_given) return nans;
  for (int64_t i = 0; i < count; i++)
    if (isnan(real_at(plan, from, i))) to[i] = plan->rule.nan > 0;
  return 0;
}

static int64_t step_truth(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                          ab__scale_outcome *outcome) {
  (void)outcome;
  ab__cast_run(&plan->cast, from, to, count);
  return truth_of_nan(plan, from, to, count);
}

static int64_t step_exact_back(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                               ab__scale_outcome *outcome) {
  _Alignas(64) char again[AB__SCALE_CHUNK * WIDEST];
  (void)outcome;
  ab__cast_run(&plan->cast, from, to, count);
  ab__cast_run(&plan->back, to, again, count);
  return ab__scale_differ(plan->working)(from, again, count);
}

static int64_t step_exact_truth(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                                ab__scale_outcome *outcome) {
  const int64_t changed = step_exact_back(plan, from, to, count, outcome);
  if (changed == 0) return 0;
  const int64_t nans = ab__scale_nans(plan->working)(from, count);
  return changed - nans + truth_of_nan(plan, from, to, count);
}

/* ------------------------------------------------------------------ planning */

typedef enum kind { KIND_BOOL, KIND_INTEGER, KIND_REAL, KIND_COMPLEX } kind;

static kind kind_of(int dtype) {
  switch (ab__dtype_at(dtype).code) {
    case kDLBool:
      return KIND_BOOL;
    case kDLInt:
    case kDLUInt:
      return KIND_INTEGER;
    case kDLComplex:
      return KIND_COMPLEX;
    default:
      return KIND_REAL;
  }
}

static int working_dtype(int from, int to) {
  if (ab__cast_widen(from) != NULL) return AB__DTYPE_FLOAT32;
  if (kind_of(from) != KIND_COMPLEX || kind_of(to) == KIND_COMPLEX) return from;
  return from == AB__DTYPE_COMPLEX64 ? AB__DTYPE_FLOAT32 : AB__DTYPE_FLOAT64;
}

static ab__cast cast_between(int from, int to) {
  return from != to ? ab__cast_make(from, to) : (ab__cast){.length = 0};
}

static ab__scale_step step_of_reals(const ab__scale_plan *plan) {
  switch (plan->rule.scaling) {
    case AB_SCALING_UNIT:
      return step_unit;
    case AB_SCALING_EXACT:
      return step_exact_integer;
    case AB_SCALING_MINMAX:
      return step_stretch;
    case AB_SCALING_WRAP:
      return step_wrap;
    default:
      return step_clip;
  }
}

static ab__scale_step step_of(const ab__scale_plan *plan) {
  const kind from = kind_of(plan->working), to = kind_of(plan->to);
  const int exact = plan->rule.scaling == AB_SCALING_EXACT;
  if (plan->working == plan->to) return step_same;
  if (from == KIND_BOOL) return step_cast;
  if (to == KIND_BOOL && exact) return from == KIND_REAL ? step_exact_truth : step_exact_back;
  if (to == KIND_BOOL) return from == KIND_REAL ? step_truth : step_cast;
  if (to == KIND_INTEGER && from == KIND_REAL) return step_of_reals(plan);
  if (to == KIND_INTEGER && plan->rule.scaling == AB_SCALING_WRAP) return step_cast;
  if (to == KIND_INTEGER) return exact ? step_saturate_never : step_saturate;
  if (exact) return from == KIND_INTEGER ? step_exact_real : step_exact_back;
  return step_overflow;
}

void ab__scale_plan_make(ab__scale_plan *plan, const ab__scale_rule *rule, int from, int to) {
  *plan = (ab__scale_plan){.rule = *rule, .from = from, .working = working_dtype(from, to), .to = to};
  plan->from_size = ab_dtype_size(ab__dtype_at(from));
  plan->working_size = ab_dtype_size(ab__dtype_at(plan->working));
  plan->to_size = ab_dtype_size(ab__dtype_at(to));
  plan->to_working = cast_between(from, plan->working);
  plan->cast = cast_between(plan->working, to);
  plan->back = cast_between(to, plan->working);
  if (kind_of(from) == KIND_COMPLEX) plan->from_working = cast_between(plan->working, from);
  plan->step = step_of(plan);
  if (kind_of(to) != KIND_INTEGER) return;
  plan->type = ab__integer_of(ab__dtype_at(to));
  if (rule->nan_given) plan->nan_bits = ab__integer_bits(&plan->type, rule->nan);
  plan->convert = rule->scaling == AB_SCALING_UNIT && kind_of(plan->working) == KIND_REAL
                      ? ab__scale_unit(plan->working, to)
                      : ab__scale_clip(plan->working, to);
}

/* ------------------------------------------------------------------ minmax */

int ab__scale_plan_wants_range(const ab__scale_plan *plan) { return plan->step == step_stretch; }

void ab__scale_plan_stretch(ab__scale_plan *plan, const ab__range *range) {
  plan->patches = range->first_odd >= 0;
  if (range->numbers == 0 || !(range->least.as.f < range->greatest.as.f)) {
    plan->step = step_constant;
    return;
  }
  const double least = range->least.as.f, greatest = range->greatest.as.f;
  /* As rounded as the differences it divides, or the greatest would not reach the top. */
  const float narrow = (float)greatest - (float)least;
  const int in_float = plan->working == AB__DTYPE_FLOAT32 && isfinite(narrow) && plan->type.bits <= 16;
  const double shrink = isfinite(greatest - least) ? 1 : 0.5;
  plan->image = (ab__stretch){shrink, least * shrink, in_float ? (double)narrow : greatest * shrink - least * shrink};
  plan->stretch = in_float ? ab__scale_stretch_float(plan->to) : ab__scale_stretch(plan->working, plan->to);
}

/* ------------------------------------------------------------------ running */

/* What the real half alone cannot give back is lost. */
static int64_t lost(const ab__scale_plan *plan, const char *from, const char *working, int64_t count) {
  _Alignas(64) char again[AB__SCALE_CHUNK * WIDEST];
  ab__cast_run(&plan->from_working, working, again, count);
  return ab__scale_differ(plan->from)(from, again, count);
}

int64_t ab__scale_plan_run(const ab__scale_plan *plan, const char *from, char *to, int64_t count,
                           ab__scale_outcome *outcome) {
  _Alignas(64) char working[AB__SCALE_CHUNK * sizeof(double)];
  if (plan->to_working.length == 0) return plan->step(plan, from, to, count, outcome);
  ab__cast_run(&plan->to_working, from, working, count);
  const int64_t faults = plan->from_working.length != 0 ? lost(plan, from, working, count) : 0;
  return faults != 0 ? faults : plan->step(plan, working, to, count, outcome);
}
