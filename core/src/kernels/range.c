/* SPDX-License-Identifier: MIT */
#include "kernels/range.h"

#include <math.h>

#include "dtype.h"
#include "kernels/cast.h"
#include "kernels/parallel.h"
#include "kernels/range_table.h"
#include "kernels/walk.h"

enum { SCRATCH = 64 << 10 };

static const ab__range nothing = {.first_nan = -1, .first_odd = -1};

typedef struct job {
  int dtype;  // of the loops: narrow floats are widened to float32
  uint32_t flags;
  ab__cast widen;  // length 0: nothing to widen
  ab__range parts[AB__MAX_THREADS];
} job;

/* ------------------------------------------------------------------ joining what was found */

static int is_less(ab_number a, ab_number b) {
  if (a.kind == kDLInt) return a.as.i < b.as.i;
  return a.kind == kDLFloat ? a.as.f < b.as.f : a.as.u < b.as.u;
}

static void add_ends(ab__range *range, ab_number least, ab_number greatest, int64_t numbers) {
  if (range->numbers == 0 || is_less(least, range->least)) range->least = least;
  if (range->numbers == 0 || is_less(range->greatest, greatest)) range->greatest = greatest;
  range->numbers += numbers;
}

// `later` has looked at what comes after, in C order.
static void join(ab__range *range, const ab__range *later) {
  if (later->numbers > 0) add_ends(range, later->least, later->greatest, later->numbers);
  if (range->first_nan < 0) range->first_nan = later->first_nan;
  if (range->first_odd < 0) range->first_odd = later->first_odd;
  range->seen += later->seen;
  range->nans += later->nans;
  range->infinities += later->infinities;
  range->fractional |= later->fractional;
  range->stopped |= later->stopped;
}

/* ------------------------------------------------------------------ one chunk */

static void note_odd(ab__range *range, double x, int64_t place) {
  if (range->first_odd < 0) range->first_odd = place;
  if (isinf(x)) {
    range->infinities++;
    return;
  }
  if (range->first_nan < 0) range->first_nan = place;
  range->nans++;
}

// The few chunks with NaN or infinities, one value after the other.
static void look_closely(const job *work, ab__range *range, const char *elements, int64_t first, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    const double x = ab__walk_real(work->dtype == AB__DTYPE_FLOAT64, elements, i);
    if (!isfinite(x)) {
      note_odd(range, x, first + i);
      continue;
    }
    const ab_number number = {.kind = kDLFloat, .as.f = x};
    add_ends(range, number, number, 1);
    range->fractional |= trunc(x) < x || trunc(x) > x;
  }
}

static int within_unit(ab_number number) {
  if (number.kind == kDLInt) return number.as.i >= -1 && number.as.i <= 1;
  return number.kind == kDLFloat ? number.as.f >= -1 && number.as.f <= 1 : number.as.u <= 1;
}

static int is_enough(const job *work, const ab__range *range) {
  if ((work->flags & AB__RANGE_FINITE_ONLY) && range->first_odd >= 0) return 1;
  if (!(work->flags & AB__RANGE_UNIT_ONLY)) return 0;
  return range->first_odd >= 0 || (range->numbers > 0 && !(within_unit(range->least) && within_unit(range->greatest)));
}

static void look_at(const job *work, ab__range *range, const char *elements, int64_t first, int64_t count) {
  _Alignas(64) char widened[AB__RANGE_CHUNK * sizeof(float)];
  if (work->widen.length != 0) {
    ab__cast_run(&work->widen, elements, widened, count);
    elements = widened;
  }
  ab_number least, greatest;
  range->seen += count;
  if (ab__range_ends(work->dtype)(elements, count, &least, &greatest) != 0) {
    look_closely(work, range, elements, first, count);
    return;
  }
  add_ends(range, least, greatest, count);
  const int asks = least.kind == kDLFloat && (work->flags & AB__RANGE_FRACTIONS) && !range->fractional;
  if (asks) range->fractional = ab__range_has_fraction(work->dtype, elements, count);
}

static int see(void *context, int64_t part, const char *elements, int64_t first, int64_t count) {
  job *work = context;
  ab__range *range = &work->parts[part];
  const int64_t size = ab_dtype_size(ab__dtype_at(work->dtype));
  const int64_t step = work->widen.length != 0 ? work->widen.from_size : size;
  for (int64_t done = 0; done < count; done += AB__RANGE_CHUNK) {
    const int64_t rest = count - done;
    look_at(work, range, elements + done * step, first + done, rest < AB__RANGE_CHUNK ? rest : AB__RANGE_CHUNK);
    range->stopped = is_enough(work, range);
    if (range->stopped) return 1;
  }
  return 0;
}

/* ------------------------------------------------------------------ the whole */

ab_status ab__range_find(const ab__strided *source, DLDataType dtype, uint32_t flags, uint32_t threads,
                         ab__range *range) {
  const int index = ab__dtype_index(dtype);
  if (index < 0 || source->itemsize != ab_dtype_size(dtype)) return AB_INVALID_ARGUMENT;
  if (index >= AB__DTYPE_CARRIED_ONLY || dtype.code == kDLComplex) return AB_UNSUPPORTED;
  job work;  // its parts stay uninitialised but for those that are used
  work.flags = flags;
  work.widen = (ab__cast){.length = 0};
  work.dtype = index;
  if (ab__cast_widen(index) != NULL) {
    work.widen = ab__cast_make(index, AB__DTYPE_FLOAT32);
    work.dtype = AB__DTYPE_FLOAT32;
  }
  ab__walk walk = {.source = source, .see = see, .context = &work, .threads = threads};
  const int64_t parts = ab__walk_parts(&walk);
  walk.scratch = SCRATCH / parts;
  for (int64_t i = 0; i < parts; i++) work.parts[i] = nothing;
  ab__walk_go(&walk, parts);
  *range = work.parts[0];
  for (int64_t i = 1; i < parts; i++) join(range, &work.parts[i]);
  return AB_OK;
}
