/* SPDX-License-Identifier: MIT */
#include "pivot.h"

#include <sched.h>

#include "dtype.h"
#include "kernels/cast.h"
#include "kernels/copy.h"
#include "kernels/parallel.h"
#include "kernels/scale.h"
#include "memory.h"
#include "tensor.h"

static ab_status pivot_new(const ab__view *view, DLDataType dtype, DLManagedTensorVersioned **tensor, ab_error *error) {
  uint64_t bytes = 0;
  if (!ab__tensor_bytes(view->ndim, view->shape, ab_dtype_size(dtype), &bytes))
    return ab_error_set(error, AB_INVALID_TENSOR, "the shape overflows");
  void *memory = ab__allocate_aligned(bytes != 0 ? (size_t)bytes : 1);
  if (memory == NULL)
    return ab_error_set(error, AB_OOM, "no host memory for a copy of %llu bytes", (unsigned long long)bytes);
  DLManagedTensorVersioned *made = NULL;
  if (ab__tensor_new(NULL, view->ndim, 0, memory, ab__deallocate, &made) != AB_OK) {
    ab__deallocate(memory);
    return ab_error_set(error, AB_OOM, "no host memory for the description of a tensor");
  }
  made->flags = DLPACK_FLAG_BITMASK_IS_COPIED;
  made->dl_tensor.data = memory;
  made->dl_tensor.dtype = dtype;
  int64_t step = 1;
  for (int32_t axis = view->ndim - 1; axis >= 0; axis--) {
    made->dl_tensor.shape[axis] = view->shape[axis];
    made->dl_tensor.strides[axis] = step;
    if (view->shape[axis] > 1) step *= view->shape[axis];
  }
  *tensor = made;
  return AB_OK;
}

/* Up to four of the cores this thread may use: beyond that a copy waits for memory, not for cores. */
static uint32_t default_threads(int64_t elements) {
  if (elements < AB__PARALLEL_FROM / 16) return 1; /* not worth asking */
  cpu_set_t usable;
  if (sched_getaffinity(0, sizeof usable, &usable) != 0) return 1;
  const int count = CPU_COUNT(&usable);
  return count < 4 ? (uint32_t)count : 4;
}

/* pivot_new() has seen that it does not overflow. */
static int64_t elements(const ab__view *view) {
  int64_t count = 1;
  for (int32_t axis = 0; axis < view->ndim; axis++) count *= view->shape[axis];
  return count;
}

static int same_dtype(DLDataType a, DLDataType b) { return a.code == b.code && a.bits == b.bits; }

static uint32_t swap_unit(const ab__view *view, uint32_t itemsize) {
  if (!view->swapped || itemsize == 1) return 0;
  return view->dtype.code == kDLComplex ? itemsize / 2 : itemsize;
}

uint32_t ab__pivot_threads(uint32_t threads, int64_t elements) {
  return threads != 0 ? threads : default_threads(elements);
}

ab__strided ab__pivot_strided(const ab__view *view) {
  const uint32_t itemsize = ab_dtype_size(view->dtype);
  return (ab__strided){.data = view->data,
                       .ndim = view->ndim,
                       .shape = view->shape,
                       .strides = view->strides,
                       .itemsize = itemsize,
                       .swap_unit = swap_unit(view, itemsize)};
}

ab__pivot_policy ab__pivot_policy_of(const ab_convert_options *options) {
  return (ab__pivot_policy){.threads = options->threads,
                            .scaling = (ab_scaling)options->scaling,
                            .nan_given = (options->flags & AB_CONVERT_NAN_GIVEN) != 0,
                            .nan = options->nan,
                            .scaled = options->scaled};
}

static ab_status cast(const ab__strided *source, const ab__view *view, DLDataType dtype, void *to, uint32_t threads,
                      ab_error *error) {
  const ab_status status = ab__cast_to_compact(source, view->dtype, dtype, to, threads);
  if (status == AB_OK) return AB_OK;
  return ab_error_set(error, status, "no cast from %s to %s", ab_dtype_name(view->dtype), ab_dtype_name(dtype));
}

static ab_status scale(const ab__strided *source, const ab__view *view, DLDataType dtype,
                       const ab__pivot_policy *policy, void *to, uint32_t threads, ab_error *error) {
  const ab__scale_rule rule = {policy->scaling, policy->nan_given, policy->nan};
  ab__scale_outcome outcome;
  const ab_status status = ab__scale_to_compact(source, view->dtype, dtype, &rule, to, threads, &outcome);
  if (status == AB_WOULD_CAST) return ab__scale_explain(source, view->dtype, dtype, &rule, outcome.fault, error);
  if (status != AB_OK)
    return ab_error_set(error, status, "no scaling from %s to %s", ab_dtype_name(view->dtype), ab_dtype_name(dtype));
  if (policy->scaled != NULL) {
    policy->scaled->saturated += (uint64_t)outcome.saturated;
    policy->scaled->overflowed += (uint64_t)outcome.overflowed;
  }
  return AB_OK;
}

ab_status ab__pivot_copy(const ab__view *view, DLDataType dtype, const ab__pivot_policy *policy,
                         DLManagedTensorVersioned **tensor, ab_error *error) {
  DLManagedTensorVersioned *made = NULL;
  ab_status status = pivot_new(view, dtype, &made, error);
  if (status != AB_OK) return status;
  const uint32_t threads = ab__pivot_threads(policy->threads, elements(view));
  const ab__strided source = ab__pivot_strided(view);
  void *to = made->dl_tensor.data;
  if (same_dtype(view->dtype, dtype)) ab__copy_to_compact(&source, to, threads);
  else if (policy->scaling != AB_SCALING_NONE) status = scale(&source, view, dtype, policy, to, threads, error);
  else status = cast(&source, view, dtype, to, threads, error);
  if (status != AB_OK) {
    ab__tensor_delete(made);
    return status;
  }
  *tensor = made;
  return AB_OK;
}
