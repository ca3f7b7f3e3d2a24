/* SPDX-License-Identifier: MIT */
#include "kernels/walk.h"

#include <string.h>

#include <arraybridge/types.h>

#include "kernels/parallel.h"
#include "memory.h"

enum { STACK_SCRATCH = 4 << 10 };

/// A block is `rows` neighbours along `axis` with all that lies below them: a run in C order.
typedef struct blocks {
  int axis;
  int64_t inner;     // elements below one row
  int64_t rows;      // in a block
  int64_t per_slab;  // blocks along the axis
  int64_t count;
} blocks;

typedef struct job {
  const ab__walk *walk;
  const ab__strided *source;
  int64_t count;          // elements
  blocks cut;             // of a source that is not compact
  char *scratch;          // one for each part; NULL: each has a small one on its stack
  int64_t scratch_bytes;  // of one part
} job;

int64_t ab__walk_elements(const ab__strided *source) {
  int64_t count = 1;
  for (int i = 0; i < source->ndim; i++) count *= source->shape[i];
  return count;
}

static int is_compact(const ab__strided *source) {
  int64_t compact = source->itemsize;
  for (int i = source->ndim - 1; i >= 0; i--) {
    if (source->shape[i] != 1 && source->strides[i] != compact) return 0;
    compact *= source->shape[i];
  }
  return source->swap_unit <= 1;
}

/* ------------------------------------------------------------------ compact sources */

static void walk_compact(void *context, int64_t index, int64_t parts) {
  const job *work = context;
  const int64_t share = work->count / parts, begin = index * share;
  const int64_t size = index + 1 == parts ? work->count - begin : share;
  const char *elements = (const char *)work->source->data + begin * work->source->itemsize;
  (void)work->walk->see(work->walk->context, index, elements, begin, size);
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

static int show_block(const job *work, int64_t part, int64_t number, char *scratch) {
  const blocks *cut = &work->cut;
  const ab__strided *source = work->source;
  const int64_t row = number % cut->per_slab * cut->rows, left = source->shape[cut->axis] - row;
  int64_t slab = number / cut->per_slab;
  const int64_t first = (slab * source->shape[cut->axis] + row) * cut->inner;
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
  return work->walk->see(work->walk->context, part, scratch, first, shape[0] * cut->inner);
}

static void walk_blocks(void *context, int64_t index, int64_t parts) {
  const job *work = context;
  _Alignas(AB__ALIGNMENT) char small[STACK_SCRATCH];
  char *scratch = work->scratch != NULL ? work->scratch + index * work->scratch_bytes : small;
  const int64_t share = work->cut.count / parts, begin = index * share;
  const int64_t end = index + 1 == parts ? work->cut.count : begin + share;
  for (int64_t i = begin; i < end; i++)
    if (show_block(work, index, i, scratch)) return;
}

static void walk_scattered(job *work, int64_t parts) {
  const int64_t bytes = work->count * work->source->itemsize, most = work->walk->scratch;
  work->scratch_bytes = bytes < most ? bytes : most;
  if (bytes > STACK_SCRATCH) work->scratch = ab__allocate((size_t)(parts * work->scratch_bytes));
  if (work->scratch == NULL) work->scratch_bytes = STACK_SCRATCH;
  work->cut = cut_blocks(work->source, work->scratch_bytes / work->source->itemsize);
  ab__parallel_run(walk_blocks, work, parts < work->cut.count ? parts : work->cut.count);
  ab__deallocate(work->scratch);
}

/* ------------------------------------------------------------------ the walk */

int64_t ab__walk_parts(const ab__walk *walk) {
  const int64_t count = ab__walk_elements(walk->source);
  return ab__parallel_parts((uint64_t)count * walk->source->itemsize, count, walk->threads);
}

void ab__walk_go(const ab__walk *walk, int64_t parts) {
  const int64_t one = 1, none = 0;
  const ab__strided single = {walk->source->data, 1, &one, &none, walk->source->itemsize, walk->source->swap_unit};
  const ab__strided *source = walk->source->ndim == 0 ? &single : walk->source;
  job work = {.walk = walk, .source = source, .count = ab__walk_elements(source)};
  if (work.count == 0) return;
  if (is_compact(source)) ab__parallel_run(walk_compact, &work, parts);
  else walk_scattered(&work, parts);
}
