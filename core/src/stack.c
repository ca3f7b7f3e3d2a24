/* SPDX-License-Identifier: MIT
 * Stacking: look at every slice, decide the dtype, copy all into one pivot, hand it over. */
#include "stack.h"

#include "dtype.h"
#include "memory.h"
#include "record.h"
#include "tensor.h"

/* ------------------------------------------------------------------ the whole */

static ab_status shape_of_stack(ab__stacking *s) {
  const int32_t leading = s->options->leading > 0 && s->options->extents != NULL ? s->options->leading : 1;
  const int32_t ndim = leading + s->ndim;
  if (ndim > AB_MAX_NDIM)
    return ab_error_set(s->error, AB_UNSUPPORTED, "%d dimensions; %d at most can be handled", (int)ndim, AB_MAX_NDIM);
  uint64_t product = 1;
  for (int32_t axis = 0; axis < leading; axis++) {
    s->extents[axis] = s->options->extents != NULL ? s->options->extents[axis] : (int64_t)s->count;
    if (s->extents[axis] < 0 || !ab__multiply_size(product, (uint64_t)s->extents[axis], &product)) product = 0;
  }
  if (product != s->count)
    return ab_error_set(s->error, AB_INVALID_ARGUMENT,
                        "%llu slices do not fill the leading axes asked for, which hold %llu",
                        (unsigned long long)s->count, (unsigned long long)product);
  memcpy(s->extents + leading, s->shape, (size_t)s->ndim * sizeof s->shape[0]);
  s->stack.view.ndim = ndim;
  s->stack.view.shape = s->extents;
  s->stack.view.strides = s->strides;
  return AB_OK;
}

static void compact_strides(ab__stacking *s) {
  int64_t step = 1;
  for (int32_t axis = s->stack.view.ndim - 1; axis >= 0; axis--) {
    s->strides[axis] = step;
    if (s->extents[axis] > 1) step *= s->extents[axis];
  }
}

/* The options of handing the stack over. It is fresh: nothing that is said of sharing concerns it. */
static ab_convert_options handing_over(const ab__stacking *s) {
  ab_convert_options options = *s->convert;
  options.flags = ab__stack_place_flags(s->convert);
  options.copy = AB_COPY_IF_NEEDED;
  if (s->convert->scaling != AB_SCALING_NONE) {
    options.flags |= s->convert->flags & AB_CONVERT_NAN_GIVEN;
  } else if (s->convert->dtype.bits != 0) {
    options.dtype = (DLDataType){0, 0, 0}; /* the pivot has it already */
    options.casting = AB_CASTING_NO;
  }
  const uint32_t placed = AB_CONVERT_DEVICE_GIVEN | AB_CONVERT_ACCELERATOR;
  if (!(options.flags & placed) && s->slices[0].backend == s->target && s->device.device_type != 0) {
    options.flags |= AB_CONVERT_DEVICE_GIVEN;
    options.device = s->device;
  }
  return options;
}

/* Before any element is touched: can the target hold it, and as which dtype? */
static ab_status ask_target(ab__stacking *s, const ab_convert_options *options) {
  ab_record plan = {.struct_size = (uint32_t)sizeof plan, .step_size = (uint32_t)sizeof(ab_step)};
  s->stack.view.dtype = s->dtype;
  s->stack.mutability = AB_MUTABLE;
  compact_strides(s);
  ab_convert_options asked = *options;
  asked.record = NULL;
  const ab_array array = {.backend = &s->host.backend, .object = &s->stack};
  const ab_status status = ab_plan(s->bridge, &array, s->target, &asked, &plan, s->error);
  if (status == AB_UNSUPPORTED) /* what it says of arrays that are there already is no help here */
    ab_error_hint(s->error, "stack into \"numpy\", which holds it, and convert parts of that");
  if (status != AB_OK) return status;
  if (options->scaling == AB_SCALING_NONE) s->dtype = plan.target_dtype;
  s->stack.view.dtype = s->dtype;
  return AB_OK;
}

static ab_status reserve(ab__stacking *s) {
  uint64_t bytes = 0;
  if (!ab__tensor_bytes(s->ndim, s->shape, ab_dtype_size(s->dtype), &s->slice_bytes) ||
      !ab__multiply_size(s->slice_bytes, s->count, &bytes))
    return ab_error_set(s->error, AB_INVALID_ARGUMENT, "the shape of the stack overflows");
  void *memory = ab__allocate_aligned(bytes != 0 ? (size_t)bytes : 1);
  DLManagedTensorVersioned *tensor = NULL;
  if (memory == NULL || ab__tensor_new(NULL, s->stack.view.ndim, 0, memory, ab__deallocate, &tensor) != AB_OK) {
    ab__deallocate(memory);
    return ab_error_set(s->error, AB_OOM, "no host memory for a stack of %llu bytes", (unsigned long long)bytes);
  }
  s->stack.tensor = tensor;
  s->stack.view.data = bytes != 0 ? memory : NULL;
  tensor->flags = DLPACK_FLAG_BITMASK_IS_COPIED;
  tensor->dl_tensor.data = memory;
  tensor->dl_tensor.dtype = s->dtype;
  memcpy(tensor->dl_tensor.shape, s->extents, (size_t)s->stack.view.ndim * sizeof(int64_t));
  memcpy(tensor->dl_tensor.strides, s->strides, (size_t)s->stack.view.ndim * sizeof(int64_t));
  return AB_OK;
}

/* ------------------------------------------------------------------ the call */

static int steps_refused(const ab_record *record) {
  uint32_t refused = 0;
  while (refused < record->step_count && record->steps[refused].refused) refused++;
  return (int)refused;
}

/* What the caller sees: one copy by the core, and then the way of the whole to its target. */
static void complete_record(const ab__stacking *s, ab_record *record) {
  const uint64_t bytes = s->slice_bytes * s->count;
  const int place = steps_refused(record);
  if (record->step_count < AB_MAX_STEPS) {
    memmove(&record->steps[place + 1], &record->steps[place], (record->step_count - (size_t)place) * sizeof(ab_step));
    record->steps[place] = (ab_step){.kind = AB_STEP_PIVOT, .bytes = bytes};
    record->step_count++;
  }
  record->bytes_copied += bytes;
  record->flags &= ~(uint32_t)(AB_REPORT_SHARED | AB_REPORT_ALIASES_MUTABLE);
  record->flags |= AB_REPORT_COPIED;
  const int casts = s->dtypes != UINT64_C(1) << ab__dtype_index(s->dtype);
  if (casts) record->flags |= AB_REPORT_CAST;
  record->source = s->slices[0].backend;
  record->source_device = s->device;
  record->source_dtype = s->first;
}

static ab_status hand_over(ab__stacking *s, const ab_convert_options *options, ab_array *result) {
  ab__host_array *made = NULL; /* the target may keep it: it cannot stay on this stack */
  if (ab__host_array_new(s->stack.tensor, AB_MUTABLE, &made) != AB_OK)
    return ab_error_set(s->error, AB_OOM, "no memory for an array");
  s->stack.tensor = NULL;
  const ab_array array = {.backend = &s->host.backend, .object = made};
  const ab_status status = ab_convert(s->bridge, &array, s->target, options, result, s->error);
  ab__host_array_release(made);
  return status;
}

static ab_status stack_all(ab__stacking *s, ab_array *result) {
  ab_status status = ab__stack_look(s);
  if (status == AB_OK) status = ab__stack_dtype(s);
  if (status == AB_OK) status = shape_of_stack(s);
  const ab_convert_options options = handing_over(s);
  if (status == AB_OK) status = ask_target(s, &options);
  if (status == AB_OK) status = reserve(s);
  if (status == AB_OK) status = ab__stack_fill(s);
  if (status == AB_OK) status = hand_over(s, &options, result);
  ab__tensor_delete(s->stack.tensor);
  if (status == AB_OK && options.record != NULL) complete_record(s, options.record);
  return status;
}

static ab_status check_slices(const ab_bridge *bridge, const ab_array *slices, uint64_t count, ab_error *error) {
  if (count == 0 || slices == NULL)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "cannot stack an empty list of slices");
  for (uint64_t index = 0; index < count; index++)
    if (slices[index].backend == NULL || slices[index].object == NULL || slices[index].backend->bridge != bridge)
      return ab_error_set(error, AB_INVALID_ARGUMENT, "slice %llu is no array of this bridge",
                          (unsigned long long)index);
  return AB_OK;
}

ab_status ab_stack(ab_bridge *bridge, const ab_array *slices, uint64_t count, const ab_backend *target,
                   const ab_stack_options *options, ab_array *result, ab_error *error) {
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error); /* of an earlier call */
  ab__stacking s = {
      .bridge = bridge, .slices = slices, .count = count, .target = target, .options = options, .error = error};
  ab_status status = ab__stack_arguments(bridge, target, options, &s.convert, error);
  if (status == AB_OK) status = check_slices(bridge, slices, count, error);
  if (status == AB_OK && result == NULL) status = ab_error_set(error, AB_INVALID_ARGUMENT, "no place for the result");
  if (status == AB_OK && s.convert->copy == AB_COPY_NEVER)
    status = ab_error_set(error, AB_WOULD_COPY, "a stack is a copy of its slices");
  if (status != AB_OK) {
    ab_error_clear(&local);
    return status;
  }
  const double start = s.convert->record != NULL ? ab__record_clock() : 0;
  ab__host_begin(&s.host, bridge);
  status = stack_all(&s, result);
  ab__host_end(&s.host);
  if (s.convert->record != NULL) s.convert->record->seconds = ab__record_clock() - start;
  ab_error_clear(&local);
  return status;
}
