/* SPDX-License-Identifier: MIT */
#include "kernels/scale.h"

#include <math.h>

#include "dtype.h"
#include "kernels/parallel.h"
#include "kernels/scale_plan.h"
#include "kernels/walk.h"

enum { SCRATCH = 64 << 10, WIDEST = 16 };

typedef struct job {
  ab__scale_plan plan;
  char *to;
  ab__scale_outcome parts[AB__MAX_THREADS];
} job;

/* ------------------------------------------------------------------ the walk */

/* Some element of the chunk has no value: the first that has none on its own, too. */
static int64_t locate(const job *work, const char *from, int64_t count) {
  char thrown_away[WIDEST];
  ab__scale_outcome ignored = {.fault = -1};
  int64_t i = 0;
  while (i + 1 < count &&
         ab__scale_plan_run(&work->plan, from + i * work->plan.from_size, thrown_away, 1, &ignored) == 0)
    i++;
  return i;
}

static int see(void *context, int64_t part, const char *elements, int64_t first, int64_t count) {
  job *work = context;
  ab__scale_outcome *outcome = &work->parts[part];
  for (int64_t done = 0; done < count; done += AB__SCALE_CHUNK) {
    const int64_t rest = count - done, size = rest < AB__SCALE_CHUNK ? rest : AB__SCALE_CHUNK;
    const char *from = elements + done * work->plan.from_size;
    char *to = work->to + (first + done) * work->plan.to_size;
    if (ab__scale_plan_run(&work->plan, from, to, size, outcome) == 0) continue;
    outcome->fault = first + done + locate(work, from, size);
    return 1;
  }
  return 0;
}

static void scale(job *work, const ab__strided *source, uint32_t threads, ab__scale_outcome *outcome) {
  ab__walk walk = {.source = source, .see = see, .context = work, .threads = threads};
  const int64_t parts = ab__walk_parts(&walk);
  walk.scratch = SCRATCH / parts;
  for (int64_t i = 0; i < parts; i++) work->parts[i] = (ab__scale_outcome){.fault = -1};
  ab__walk_go(&walk, parts);
  *outcome = (ab__scale_outcome){.fault = -1};
  for (int64_t i = 0; i < parts; i++) {
    if (outcome->fault < 0) outcome->fault = work->parts[i].fault;
    outcome->saturated += work->parts[i].saturated;
    outcome->overflowed += work->parts[i].overflowed;
  }
}

/* The first of the two passes that MINMAX takes. */
static int64_t measure(ab__scale_plan *plan, const ab__strided *source, DLDataType from, uint32_t threads) {
  ab__range range;
  const uint32_t flags = plan->rule.nan_given ? 0 : AB__RANGE_FINITE_ONLY;
  if (ab__range_find(source, from, flags, threads, &range) != AB_OK) return 0; /* planned only where it works */
  ab__scale_plan_stretch(plan, &range);
  return plan->rule.nan_given ? -1 : range.first_odd;
}

ab_status ab__scale_to_compact(const ab__strided *source, DLDataType from, DLDataType to, const ab__scale_rule *rule,
                               void *destination, uint32_t threads, ab__scale_outcome *outcome) {
  const int source_dtype = ab__dtype_index(from), target_dtype = ab__dtype_index(to);
  if (source_dtype < 0 || target_dtype < 0 || source_dtype == target_dtype) return AB_INVALID_ARGUMENT;
  if (source->itemsize != ab_dtype_size(from)) return AB_INVALID_ARGUMENT;
  if (source_dtype >= AB__DTYPE_CARRIED_ONLY || target_dtype >= AB__DTYPE_CARRIED_ONLY) return AB_UNSUPPORTED;
  job work; /* its parts stay uninitialised but for those that are used */
  work.to = destination;
  ab__scale_plan_make(&work.plan, rule, source_dtype, target_dtype);
  *outcome = (ab__scale_outcome){.fault = -1};
  if (ab__scale_plan_wants_range(&work.plan)) outcome->fault = measure(&work.plan, source, from, threads);
  if (outcome->fault < 0) scale(&work, source, threads, outcome);
  return outcome->fault < 0 ? AB_OK : AB_WOULD_CAST;
}
