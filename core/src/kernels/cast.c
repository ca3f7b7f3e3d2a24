/* SPDX-License-Identifier: MIT
 *
 * One cast is a chain of a few loops of cast_table: narrow floats pass through float32, complex numbers
 * through their real half. A chain works in chunks that stay in the first-level cache; the blocks that a source is
 * gathered into, if it is not compact or byte-swapped, stay in the second.
 */
#include "kernels/cast.h"

#include "dtype.h"
#include "kernels/cast_table.h"
#include "kernels/walk.h"

enum { CHUNK = 1024, SCRATCH = 256 << 10, WIDEST_STEP = 8 };

/* ------------------------------------------------------------------ the chain */

static int is_complex(int dtype) { return dtype == AB__DTYPE_COMPLEX64 || dtype == AB__DTYPE_COMPLEX128; }

static int real_of(int dtype) {
  if (!is_complex(dtype)) return dtype;
  return dtype == AB__DTYPE_COMPLEX64 ? AB__DTYPE_FLOAT32 : AB__DTYPE_FLOAT64;
}

static void append(ab__cast *work, ab__cast_kernel stage) { work->stages[work->length++] = stage; }

static void append_real(ab__cast *work, int from, int to) {
  if (ab__cast_narrow(to) != NULL) {
    if (from != AB__DTYPE_FLOAT32) append(work, ab__cast_to_odd(from));
    append(work, ab__cast_narrow(to));
    return;
  }
  if (from != real_of(to)) append(work, ab__cast_native(from, real_of(to)));
  if (is_complex(to)) append(work, ab__cast_to_complex(to));
}

ab__cast ab__cast_make(int from, int to) {
  ab__cast work = {
      .length = 0, .from_size = ab_dtype_size(ab__dtype_at(from)), .to_size = ab_dtype_size(ab__dtype_at(to))};
  if (is_complex(from) && (is_complex(to) || to == AB__DTYPE_BOOL)) {
    append(&work, ab__cast_complex(from, to));
  } else if (is_complex(from)) {
    append(&work, ab__cast_complex(from, real_of(from)));
    if (to != real_of(from)) append_real(&work, real_of(from), to);
  } else if (ab__cast_widen(from) != NULL) {
    append(&work, ab__cast_widen(from));
    if (to != AB__DTYPE_FLOAT32) append_real(&work, AB__DTYPE_FLOAT32, to);
  } else {
    append_real(&work, from, to);
  }
  return work;
}

static void run_chunk(const ab__cast *work, const char *from, char *to, int64_t count) {
  _Alignas(64) char steps[AB__CAST_STAGES - 1][CHUNK * WIDEST_STEP];
  for (int i = 0; i < work->length; i++) {
    char *result = i + 1 == work->length ? to : steps[i];
    work->stages[i](from, result, count);
    from = result;
  }
}

void ab__cast_run(const ab__cast *work, const char *from, char *to, int64_t count) {
  if (work->length == 1) {
    work->stages[0](from, to, count);
    return;
  }
  for (int64_t done = 0; done < count; done += CHUNK) {
    const int64_t size = count - done < CHUNK ? count - done : CHUNK;
    run_chunk(work, from + done * work->from_size, to + done * work->to_size, size);
  }
}

/* ------------------------------------------------------------------ the call */

typedef struct job {
  ab__cast cast;
  char *to;
} job;

static int cast_run(void *context, int64_t part, const char *elements, int64_t first, int64_t count) {
  const job *work = context;
  (void)part;
  ab__cast_run(&work->cast, elements, work->to + first * work->cast.to_size, count);
  return 0;
}

ab_status ab__cast_to_compact(const ab__strided *source, DLDataType from, DLDataType to, void *destination,
                              uint32_t threads) {
  const int source_dtype = ab__dtype_index(from), target_dtype = ab__dtype_index(to);
  if (source_dtype < 0 || target_dtype < 0 || source->itemsize != ab_dtype_size(from)) return AB_INVALID_ARGUMENT;
  if (source_dtype == target_dtype) {
    ab__copy_to_compact(source, destination, threads);
    return AB_OK;
  }
  if (source_dtype >= AB__DTYPE_CARRIED_ONLY || target_dtype >= AB__DTYPE_CARRIED_ONLY) return AB_UNSUPPORTED;
  job work = {.cast = ab__cast_make(source_dtype, target_dtype), .to = destination};
  const ab__walk walk = {.source = source, .see = cast_run, .context = &work, .threads = threads, .scratch = SCRATCH};
  ab__walk_go(&walk, ab__walk_parts(&walk));
  return AB_OK;
}
