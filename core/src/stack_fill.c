/* SPDX-License-Identifier: MIT
 * Copying slices into the pivot. */
#include <sched.h>

#include "dtype.h"
#include "kernels/cast.h"
#include "kernels/parallel.h"
#include "stack.h"

/* Slices are brought to the host and copied a group at a time, so that what had to be brought there for it does not
 * pile up beside the stack. */
enum { GROUP = 64, GROUP_BYTES = 32 << 20, BLOCKING_BYTES = 1 << 18 };

/* Smaller stacks lie in memory that is there already (memory.c) and are copied as fast by one thread, which does not
 * have to wait for another one on a busy machine: measured 0.88 of np.stack against 1.15 at 16 MiB. */
enum { THREADS_FROM = 32 << 20 };

typedef struct group {
  const ab__stacking *whole;
  uint64_t first;
  int64_t count;
  uint32_t threads; /* within one slice */
  ab_status status[GROUP];
  ab__host_array *arrays[GROUP];
} group;

static ab_status copy_slice(const ab__stacking *s, const ab__host_array *array, uint64_t index, uint32_t threads) {
  const DLTensor *view = &array->view;
  const uint32_t itemsize = ab_dtype_size(view->dtype);
  int64_t strides[AB_MAX_NDIM];
  for (int32_t axis = 0; axis < view->ndim; axis++) strides[axis] = view->strides[axis] * (int64_t)itemsize;
  const ab__strided source = {
      .data = view->data, .ndim = view->ndim, .shape = view->shape, .strides = strides, .itemsize = itemsize};
  char *to = (char *)s->stack.tensor->dl_tensor.data + index * s->slice_bytes;
  return ab__cast_to_compact(&source, view->dtype, s->dtype, to, threads);
}

static void copy_share(void *context, int64_t part, int64_t parts) {
  group *g = context;
  const int64_t begin = g->count * part / parts, end = g->count * (part + 1) / parts;
  for (int64_t i = begin; i < end; i++)
    g->status[i] = copy_slice(g->whole, g->arrays[i], g->first + (uint64_t)i, g->threads);
}

/* Up to four of the cores this thread may use: beyond that a copy waits for memory, not for cores. */
static uint32_t usable_threads(const ab__stacking *s) {
  if (s->convert->threads != 0) return s->convert->threads;
  if (s->slice_bytes * s->count < THREADS_FROM) return 1;
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof usable, &usable) != 0) return 1;
  const int count = CPU_COUNT(&usable);
  return count < 4 ? (uint32_t)count : 4;
}

static ab_status same_as_described(const ab__stacking *s, const ab__host_array *array, uint64_t index) {
  const DLTensor *view = &array->view;
  if (view->ndim == s->ndim && memcmp(view->shape, s->shape, (size_t)s->ndim * sizeof s->shape[0]) == 0) return AB_OK;
  return ab_error_set(s->error, AB_INVALID_TENSOR, "slice %llu has changed while the others were being looked at",
                      (unsigned long long)index);
}

static ab_status read_group(ab__stacking *s, group *g) {
  ab_status status = AB_OK;
  const int64_t wanted = g->count;
  for (g->count = 0; status == AB_OK && g->count < wanted;) {
    const uint64_t index = g->first + (uint64_t)g->count;
    status = ab__host_read(&s->host, &s->slices[index], s->convert, &g->arrays[g->count], s->error);
    if (status != AB_OK) return ab__stack_blame(s->error, status, index);
    status = same_as_described(s, g->arrays[g->count++], index);
  }
  return status;
}

static void copy_group(ab__stacking *s, group *g, uint32_t threads) {
  const ab_runtime *runtime = &s->bridge->runtime;
  const uint64_t bytes = s->slice_bytes * (uint64_t)g->count;
  const int lets_go = bytes >= BLOCKING_BYTES && runtime->blocking_begin != NULL && runtime->kind != 0 &&
                      ((s->convert->flags & AB_CONVERT_LOCK_HELD) || ab__bridge_lock_held(s->bridge));
  void *token = lets_go ? runtime->blocking_begin(runtime->self) : NULL;
  const int64_t parts = ab__parallel_parts(bytes, g->count, threads);
  g->threads = parts > 1 ? 1 : threads;
  ab__parallel_run(copy_share, g, parts);
  if (token != NULL) runtime->blocking_end(runtime->self, token);
}

static ab_status uncastable(const ab__stacking *s, const group *g, int64_t at) {
  ab_error_set(s->error, AB_UNSUPPORTED, "no cast from %s to %s", ab_dtype_name(g->arrays[at]->view.dtype),
               ab_dtype_name(s->dtype));
  return ab__stack_blame(s->error, AB_UNSUPPORTED, g->first + (uint64_t)at);
}

ab_status ab__stack_fill(ab__stacking *s) {
  const uint64_t fitting = s->slice_bytes != 0 ? GROUP_BYTES / s->slice_bytes : GROUP;
  const uint64_t at_once = fitting < 1 ? 1 : fitting < GROUP ? fitting : GROUP;
  const uint32_t threads = usable_threads(s);
  ab_status status = AB_OK;
  group g = {.whole = s};
  for (; status == AB_OK && g.first < s->count; g.first += at_once) {
    const uint64_t left = s->count - g.first;
    g.count = (int64_t)(left < at_once ? left : at_once);
    status = read_group(s, &g);
    if (status == AB_OK) copy_group(s, &g, threads);
    for (int64_t i = 0; status == AB_OK && i < g.count; i++)
      if (g.status[i] != AB_OK) status = uncastable(s, &g, i);
    for (int64_t i = 0; i < g.count; i++) ab__host_array_release(g.arrays[i]);
  }
  return status;
}
