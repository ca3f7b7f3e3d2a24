/* SPDX-License-Identifier: MIT
 * Unstacking: bring the whole to the host once, hand each part of it over. */
#include "dtype.h"
#include "memory.h"
#include "stack.h"

typedef struct unstacking {
  const ab_backend *target;
  const ab_convert_options *convert;
  ab_convert_options options; /* of each slice */
  ab_error *error;
  ab__host *host;
  ab__host_array *whole;
  int32_t leading;
  int64_t index[AB_MAX_NDIM]; /* of the next slice */
  ab_record *record;          /* sums up; NULL: nobody listens */
} unstacking;

/* Arrays without elements may have any extents beside the zero. Returns 0 on overflow. */
static int count_slices(const int64_t *shape, int32_t leading, uint64_t *count) {
  uint64_t product = 1;
  int fits = 1;
  for (int32_t axis = 0; axis < leading; axis++) {
    if (shape[axis] == 0) {
      *count = 0;
      return 1;
    }
    fits = fits && ab__multiply_size(product, (uint64_t)shape[axis], &product);
  }
  *count = product;
  return fits;
}

static ab_status check_shape(const ab_stack_options *options, int32_t leading, const ab__described *source,
                             uint64_t count, ab_error *error) {
  const int32_t ndim = source->info.ndim;
  if (leading > ndim || ((options->flags & AB_STACK_NDIM_GIVEN) && ndim - leading != options->slice_ndim))
    return ab_error_set(error, AB_INVALID_ARGUMENT, "an array of %d axes has no slices of that kind", (int)ndim);
  uint64_t product = 0;
  if (!count_slices(source->shape, leading, &product))
    return ab_error_set(error, AB_INVALID_ARGUMENT, "the array has more slices than can be counted");
  if (product == count) return AB_OK;
  return ab_error_set(error, AB_INVALID_ARGUMENT, "the array has %llu slices, there is room for %llu",
                      (unsigned long long)product, (unsigned long long)count);
}

static void *address_of(const unstacking *u) {
  const DLTensor *view = &u->whole->view;
  if (view->data == NULL) return NULL;
  const int64_t itemsize = ab_dtype_size(view->dtype);
  int64_t offset = 0;
  for (int32_t axis = 0; axis < u->leading; axis++) offset += u->index[axis] * view->strides[axis];
  return (char *)view->data + offset * itemsize;
}

static void advance(unstacking *u) {
  for (int32_t axis = u->leading - 1; axis >= 0; axis--) {
    if (++u->index[axis] < u->whole->view.shape[axis]) return;
    u->index[axis] = 0;
  }
}

static void add_record(ab_record *sum, const ab_record *one) {
  sum->flags |= one->flags;
  sum->bytes += one->bytes;
  sum->bytes_copied += one->bytes_copied;
}

/* The first slice's record stands for all; sizes and flags add up. */
static ab_status hand_over(unstacking *u, int is_first, ab_array *slice) {
  const DLTensor *view = &u->whole->view;
  ab__host_array part = {.mutability = u->whole->mutability, .view = *view, .whole = u->whole};
  part.view.data = address_of(u);
  part.view.ndim = view->ndim - u->leading;
  part.view.shape = view->shape + u->leading;
  part.view.strides = view->strides + u->leading;
  ab_record other = {.struct_size = (uint32_t)sizeof other, .step_size = (uint32_t)sizeof(ab_step)};
  u->options.record = u->record == NULL || is_first ? u->record : &other;
  const ab_array array = {.backend = &u->host->backend, .object = &part};
  const ab_status status = ab_convert(u->host->backend.bridge, &array, u->target, &u->options, slice, u->error);
  if (status == AB_OK && u->record != NULL && !is_first) add_record(u->record, &other);
  return status;
}

static ab_status hand_over_all(unstacking *u, ab_array *slices, uint64_t count) {
  uint64_t done = 0;
  ab_status status = AB_OK;
  while (status == AB_OK && done < count) {
    ab_array made = {0};
    status = hand_over(u, done == 0, &made);
    if (status == AB_OK) slices[done++] = made;
    advance(u);
  }
  if (status == AB_OK) return AB_OK;
  ab_error kept = *u->error; /* releasing arrays must not touch what is to be told */
  while (done > 0) ab_array_release(&slices[--done]);
  *u->error = kept;
  return status;
}

/* Slices of the target's own stay on its device, which the host's memory says nothing of. */
static ab_convert_options options_of_slices(const unstacking *u, const ab_array *source, DLDevice device) {
  ab_convert_options options = *u->convert;
  const uint32_t placed = AB_CONVERT_DEVICE_GIVEN | AB_CONVERT_ACCELERATOR;
  if ((options.flags & placed) || source->backend != u->target || device.device_type == 0) return options;
  options.flags |= AB_CONVERT_DEVICE_GIVEN;
  options.device = device;
  return options;
}

static ab_status unstack_described(unstacking *u, const ab_array *source, const ab__described *described,
                                   ab_array *slices, uint64_t count) {
  ab_status status = ab__host_read(u->host, source, u->convert, &u->whole, u->error);
  if (status != AB_OK) return status;
  u->options = options_of_slices(u, source, described->info.device);
  /* "Read-only" is all that a tensor can say of immutable memory; what may be done with that differs. */
  if (u->whole->mutability != AB_MUTABLE) u->whole->mutability = described->info.mutability;
  const DLTensor *view = &u->whole->view;
  const size_t shape_bytes = (size_t)described->info.ndim * sizeof described->shape[0];
  if (view->ndim != described->info.ndim || memcmp(view->shape, described->shape, shape_bytes) != 0)
    status = ab_error_set(u->error, AB_INVALID_TENSOR, "the array has changed while it was being looked at");
  if (status == AB_OK) status = hand_over_all(u, slices, count);
  ab__host_array_release(u->whole);
  if (status != AB_OK || u->record == NULL) return status;
  u->record->source = source->backend;
  u->record->source_device = described->info.device;
  return AB_OK;
}

static ab_status unstack_all(unstacking *u, const ab_array *source, const ab_stack_options *options, ab_array *slices,
                             uint64_t count) {
  ab__described described;
  ab_status status = ab__stack_describe(source, &described, u->error);
  if (status != AB_OK) return status;
  if ((options->flags & AB_STACK_LEAVE_LIVE) &&
      ab__stack_is_live(source, &described.info, u->target, u->convert, u->error))
    return ab_error_set(u->error, AB_REFUSED, "the array is for its own framework to take apart");
  u->leading = options->leading > 0 ? options->leading : 1;
  if (!(described.info.flags & AB_INFO_NOT_CONVERTIBLE))
    status = check_shape(options, u->leading, &described, count, u->error);
  return status == AB_OK ? unstack_described(u, source, &described, slices, count) : status;
}

ab_status ab_unstack(ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                     const ab_stack_options *options, ab_array *slices, uint64_t count, ab_error *error) {
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error); /* of an earlier call */
  unstacking u = {.target = target, .error = error};
  ab_status status = ab__stack_arguments(bridge, target, options, &u.convert, error);
  if (status == AB_OK && (source == NULL || source->backend == NULL || source->object == NULL ||
                          source->backend->bridge != bridge || (slices == NULL && count > 0)))
    status = ab_error_set(error, AB_INVALID_ARGUMENT, "a source of this bridge and room for its slices are needed");
  if (status == AB_OK) {
    ab__host host;
    ab__host_begin(&host, bridge);
    u.host = &host;
    u.record = u.convert->record;
    status = unstack_all(&u, source, options, slices, count);
    ab__host_end(&host);
  }
  ab_error_clear(&local);
  return status;
}
