/* SPDX-License-Identifier: MIT
 *
 * One cast is a chain of at most three loops of cast_table: narrow floats pass through float32, complex numbers
 * through their real half. A chain works in chunks that stay in the first-level cache. A source that is not
 * compact, or byte-swapped, is first gathered block by block into scratch memory that stays in the second.
 */
#include "kernels/cast.h"

#include "dtype.h"
#include "kernels/cast_table.h"
#include "kernels/parallel.h"
#include "memory.h"

enum { MAX_STAGES = 3, CHUNK = 1024, SCRATCH = 256 << 10, STACK_SCRATCH = 4 << 10, WIDEST_STEP = 8 };

/* ------------------------------------------------------------------ the chain */

typedef struct chain {
  ab__cast_kernel stages[MAX_STAGES];
  int length;
  uint32_t from_size, to_size;
} chain;

static int is_complex(int dtype) { return dtype == AB__DTYPE_COMPLEX64 || dtype == AB__DTYPE_COMPLEX128; }

static int real_of(int dtype) {
  if (!is_complex(dtype)) return dtype;
  return dtype == AB__DTYPE_COMPLEX64 ? AB__DTYPE_FLOAT32 : AB__DTYPE_FLOAT64;
}

static void append(chain *work, ab__cast_kernel stage) { work->stages[work->length++] = stage; }

static void append_real(chain *work, int from, int to) {
  if (ab__cast_narrow(to) != NULL) {
    if (from != AB__DTYPE_FLOAT32) append(work, ab__cast_to_odd(from));
    append(work, ab__cast_narrow(to));
    return;
  }
  if (from != real_of(to)) append(work, ab__cast_native(from, real_of(to)));
  if (is_complex(to)) append(work, ab__cast_to_complex(to));
}

static chain make_chain(int from, int to) {
  chain work = {
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

static void run_chunk(const chain *work, const char *from, char *to, int64_t count) {
  _Alignas(64) char steps[MAX_STAGES - 1][CHUNK * WIDEST_STEP];
  for (int i = 0; i < work->length; i++) {
    char *result = i + 1 == work->length ? to : steps[i];
    work->stages[i](from, result, count);
    from = result;
  }
}

static void run_chain(const chain *work, const char *from, char *to, int64_t count) {
  if (work->length == 1) {
    work->stages[0](from, to, count);
    return;
  }
  for (int64_t done = 0; done < count; done += CHUNK) {
    const int64_t size = count - done < CHUNK ? count - done : CHUNK;
    run_chunk(work, from + done * work->from_size, to + done * work->to_size, size);
  }
}

/* ------------------------------------------------------------------ one call */

/// A block is `rows` neighbours along `axis` with all that lies below them: compact in the destination.
typedef struct blocks {
  int axis;
  int64_t inner;     // elements below one row
  int64_t rows;      // in a block
  int64_t per_slab;  // blocks along the axis
  int64_t count;
} blocks;

typedef struct job {
  chain chain;
  const ab__strided *source;
  char *to;
  int64_t count;          // elements
  blocks cut;             // of a source that is not compact
  char *scratch;          // one for each part; NULL: each has a small one on its stack
  int64_t scratch_bytes;  // of one part
} job;

/* ------------------------------------------------------------------ compact sources */

static void cast_compact(void *context, int64_t index, int64_t parts) {
  const job *work = context;
  const int64_t share = work->count / parts, begin = index * share;
  const int64_t size = index + 1 == parts ? work->count - begin : share;
  const char *from = work->source->data;
  run_chain(&work->chain, from + begin * work->chain.from_size, work->to + begin * work->chain.to_size, size);
}

/* ------------------------------------------------------------------ other sources, block by block */

static blocks cut_blocks(const ab__strided *source, int64_t capacity) {
  blocks cut = {.axis = source->ndim - 1, .inner = 1, .count = 1};
  while (cut.axis > 0 && cut.inner * source->shape[cut.axis] <= capacity) cut.inner *= source->shape[cut.axis--];
  cut.rows = capacity / cut.inner;
  cut.per_slab = (source->shape[cut.axis] + cut.rows - 1) / cut.rows;
  for (int i = 0; i < cut.axis; i++) cut.count *= source->shape[i];
  cut.count *= cut.per_slab;
  return cut;
}

static void cast_block(const job *work, int64_t number, char *scratch) {
  const blocks *cut = &work->cut;
  const ab__strided *source = work->source;
  const int64_t row = number % cut->per_slab * cut->rows, left = source->shape[cut->axis] - row;
  int64_t slab = number / cut->per_slab;
  const int64_t position = (slab * source->shape[cut->axis] + row) * cut->inner;
  const char *from = (const char *)source->data + row * source->strides[cut->axis];
  for (int i = cut->axis - 1; i >= 0; i--) {
    from += slab % source->shape[i] * source->strides[i];
    slab /= source->shape[i];
  }
  int64_t shape[AB_MAX_NDIM];
  const int ndim = source->ndim - cut->axis;
  memcpy(shape, source->shape + cut->axis, (size_t)ndim * sizeof shape[0]);
  shape[0] = left < cut->rows ? left : cut->rows;
  const ab__strided block = {from, ndim, shape, source->strides + cut->axis, source->itemsize, source->swap_unit};
  ab__copy_to_compact(&block, scratch, 1);
  run_chain(&work->chain, scratch, work->to + position * work->chain.to_size, shape[0] * cut->inner);
}

static void cast_blocks(void *context, int64_t index, int64_t parts) {
  const job *work = context;
  char small[STACK_SCRATCH];
  char *scratch = work->scratch != NULL ? work->scratch + index * work->scratch_bytes : small;
  const int64_t share = work->cut.count / parts, begin = index * share;
  const int64_t end = index + 1 == parts ? work->cut.count : begin + share;
  for (int64_t i = begin; i < end; i++) cast_block(work, i, scratch);
}

static void cast_scattered(job *work, uint32_t threads) {
  const int64_t bytes = work->count * work->chain.from_size;
  const int64_t parts = ab__parallel_parts((uint64_t)bytes, bytes / SCRATCH, threads);
  work->scratch_bytes = bytes < SCRATCH ? bytes : SCRATCH;
  if (bytes > STACK_SCRATCH) work->scratch = ab__allocate((size_t)(parts * work->scratch_bytes));
  if (work->scratch == NULL) work->scratch_bytes = STACK_SCRATCH;  // slower if it was refused, but it works
  work->cut = cut_blocks(work->source, work->scratch_bytes / work->chain.from_size);
  ab__parallel_run(cast_blocks, work, parts < work->cut.count ? parts : work->cut.count);
  ab__deallocate(work->scratch);
}

/* ------------------------------------------------------------------ the call */

static int is_compact(const ab__strided *source) {
  int64_t compact = source->itemsize;
  for (int i = source->ndim - 1; i >= 0; i--) {
    if (source->shape[i] != 1 && source->strides[i] != compact) return 0;
    compact *= source->shape[i];
  }
  return source->swap_unit <= 1;
}

static int64_t count_elements(const ab__strided *source) {
  int64_t count = 1;
  for (int i = 0; i < source->ndim; i++) count *= source->shape[i];
  return count;
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
  const int64_t one = 1, none = 0;
  const ab__strided single = {source->data, 1, &one, &none, source->itemsize, source->swap_unit};
  if (source->ndim == 0) source = &single;
  job work = {.chain = make_chain(source_dtype, target_dtype), .source = source, .to = destination};
  work.count = count_elements(source);
  if (work.count == 0) return AB_OK;
  const uint64_t bytes = (uint64_t)work.count * source->itemsize;
  if (is_compact(source)) ab__parallel_run(cast_compact, &work, ab__parallel_parts(bytes, work.count, threads));
  else cast_scattered(&work, threads);
  return AB_OK;
}
