/* SPDX-License-Identifier: MIT
 * Looking at the values of an array: where they can be read, and what kernels/range found there. */
#include "backend.h"
#include "dtype.h"
#include "kernels/range.h"
#include "pivot.h"
#include "route.h"
#include "tensor.h"

/* Looking at fewer bytes is quicker than letting go of the runtime's lock and taking it again. */
enum { BLOCKING_BYTES = 1 << 18 };

typedef struct reading {
  const ab_array *source;
  ab_error *error;
  ab_array_info info;
  DLManagedTensorVersioned *tensor; /* keeps what is read, if the description alone does not */
  int64_t shape[AB_MAX_NDIM];
  int64_t strides[AB_MAX_NDIM]; /* bytes */
} reading;

/* ------------------------------------------------------------------ reaching the elements */

static ab_status not_readable(reading *read) {
  const char *why = read->info.why_not != NULL ? read->info.why_not : "the array has no elements that could be read";
  if (read->error->text[0] == '\0') ab_error_set(read->error, AB_UNSUPPORTED, "%s", why);
  return AB_UNSUPPORTED;
}

static ab_status describe(reading *read) {
  const ab_backend *backend = read->source->backend;
  ab__invocation run;
  ab__invocation_init(&run, backend, AB_CALL_WANT_TENSOR, NULL, read->error);
  read->info =
      (ab_array_info){.struct_size = (uint32_t)sizeof read->info, .shape = read->shape, .strides = read->strides};
  ab_status status = backend->vtable->describe(&run.call, read->source->object, &read->info);
  status = ab__slot_result(backend, "describe", status, read->error);
  read->tensor = read->info.tensor;
  if (status != AB_OK) return status;
  if (read->info.flags & AB_INFO_NOT_CONVERTIBLE) return not_readable(read);
  return read->tensor != NULL ? ab__tensor_adopt(&read->tensor, read->error) : AB_OK;
}

/* Bytes that are not the values, or that mean something we do not know, are not read. */
static int bytes_are_values(const ab_array_info *info) {
  const uint32_t known =
      AB_INFO_HOST_ACCESSIBLE | AB_INFO_BYTE_SWAPPED | AB_INFO_GRADIENT | AB_INFO_NOT_SHAREABLE | AB_INFO_NOT_PLAIN;
  return (info->flags & 0xffff & ~known) == 0;
}

static ab_status fetch(reading *read, const char *name,
                       ab_status (*slot)(const ab_call *, void *, DLManagedTensorVersioned **)) {
  if (slot == NULL) return AB_UNSUPPORTED;
  ab__invocation run;
  ab__invocation_init(&run, read->source->backend, 0, NULL, read->error);
  ab_status status = slot(&run.call, read->source->object, &read->tensor);
  status = ab__slot_result(read->source->backend, name, status, read->error);
  return status == AB_OK ? ab__tensor_adopt(&read->tensor, read->error) : status;
}

/* What was described, if that is memory of the host; else what the framework shares; else what it brings. */
static ab_status reach(reading *read) {
  const ab_plugin_vtable *slots = read->source->backend->vtable;
  const ab_array_info *info = &read->info;
  const int readable = ab__is_host(info->device) && bytes_are_values(info);
  if (read->tensor != NULL || (readable && info->data != NULL)) return AB_OK;
  if (readable && !(info->flags & AB_INFO_NOT_SHAREABLE)) {
    const ab_status status = fetch(read, "to_dlpack", slots->to_dlpack);
    if (status == AB_OK && ab__is_host(read->tensor->dl_tensor.device)) return AB_OK;
    if (status != AB_OK && status != AB_UNSUPPORTED) return status;
    ab__tensor_delete(read->tensor);
    read->tensor = NULL;
    ab_error_clear(read->error);
  }
  const ab_status status = fetch(read, "to_host", slots->to_host);
  if (status != AB_OK) return status;
  if (ab__is_host(read->tensor->dl_tensor.device)) return AB_OK;
  return ab_error_set(read->error, AB_INVALID_TENSOR, "%s brought a tensor to the host that is not there",
                      ab_backend_name(read->source->backend));
}

/* A tensor that is there stands for the description. */
static ab__view view_of(reading *read) {
  if (read->tensor == NULL)
    return (ab__view){.data = read->info.data,
                      .ndim = read->info.ndim,
                      .shape = read->shape,
                      .strides = read->strides,
                      .dtype = read->info.dtype,
                      .swapped = (read->info.flags & AB_INFO_BYTE_SWAPPED) != 0};
  const DLTensor *t = &read->tensor->dl_tensor;
  for (int32_t axis = 0; axis < t->ndim; axis++)
    read->strides[axis] = t->strides[axis] * (int64_t)ab_dtype_size(t->dtype);
  return (ab__view){.data = t->data, .ndim = t->ndim, .shape = t->shape, .strides = read->strides, .dtype = t->dtype};
}

/* ------------------------------------------------------------------ looking */

static void write_report(const ab__view *view, const ab__range *range, ab_survey_report *report) {
  *report = (ab_survey_report){.struct_size = report->struct_size,
                               .ndim = view->ndim,
                               .count = (uint64_t)range->seen,
                               .numbers = (uint64_t)range->numbers,
                               .minimum = range->least,
                               .maximum = range->greatest,
                               .nan_count = (uint64_t)range->nans,
                               .infinite_count = (uint64_t)range->infinities,
                               .fractional = range->fractional,
                               .stopped = range->stopped};
  int64_t place = range->first_nan;
  for (int32_t axis = view->ndim - 1; axis >= 0 && place >= 0; axis--) {
    report->first_nan[axis] = place % view->shape[axis];
    place /= view->shape[axis];
  }
}

static ab_status look(const ab_bridge *bridge, reading *read, uint32_t flags, uint32_t threads, int locked,
                      ab_survey_report *report) {
  const ab__view view = view_of(read);
  uint64_t bytes = 0;
  if (view.ndim < 0 || view.ndim > AB_MAX_NDIM || ab_dtype_size(view.dtype) == 0 ||
      !ab__tensor_bytes(view.ndim, view.shape, ab_dtype_size(view.dtype), &bytes))
    return ab_error_set(read->error, AB_INVALID_TENSOR, "the array has no dtype of ours, or its shape overflows");
  const ab_runtime *runtime = &bridge->runtime;
  const int worth_it = locked && bytes >= BLOCKING_BYTES && runtime->blocking_begin != NULL;
  void *token = worth_it ? runtime->blocking_begin(runtime->self) : NULL;
  const ab__strided source = ab__pivot_strided(&view);
  const uint32_t wanted = AB__RANGE_FRACTIONS | (flags & AB_SURVEY_UNIT_ONLY ? AB__RANGE_UNIT_ONLY : 0);
  const uint32_t most = ab__pivot_threads(threads, (int64_t)(bytes / source.itemsize));
  ab__range range;
  const ab_status status = ab__range_find(&source, view.dtype, wanted, most, &range);
  if (token != NULL) runtime->blocking_end(runtime->self, token);
  if (status != AB_OK)
    return ab_error_set(read->error, status, "%s has no least and greatest value", ab_dtype_name(view.dtype));
  write_report(&view, &range, report);
  return AB_OK;
}

static ab_status survey(ab_bridge *bridge, const ab_array *source, uint32_t flags, uint32_t threads, int locked,
                        ab_survey_report *report, ab_error *error) {
  reading read = {.source = source, .error = error};
  ab_status status = ab__backend_start(source->backend, error);
  if (status == AB_OK) status = describe(&read);
  if (status == AB_OK) status = reach(&read);
  if (status == AB_OK) status = look(bridge, &read, flags, threads, locked, report);
  ab__tensor_delete(read.tensor);
  if (status != AB_OK && error->text[0] == '\0') ab_error_set(error, status, "%s", ab_status_text(status));
  return status;
}

ab_status ab_survey(ab_bridge *bridge, const ab_array *source, uint32_t flags, uint32_t threads,
                    ab_survey_report *report, ab_error *error) {
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error); /* of an earlier call */
  if (bridge == NULL || source == NULL || source->backend == NULL || source->object == NULL || report == NULL)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "a bridge, an array and room for a report are needed");
  if (source->backend->bridge != bridge)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "the array is of another bridge");
  if (report->struct_size < sizeof(ab_survey_report))
    return ab_error_set(error, AB_INVALID_ARGUMENT, "ab_survey_report.struct_size is too small");
  void *token = NULL;
  const int held = (flags & AB_SURVEY_LOCK_HELD) != 0;
  ab_status status = ab__backend_enter(source->backend, held, &token, error);
  if (status != AB_OK) return status;
  const int locked = held || source->backend->descriptor->lock != AB_LOCK_NONE;
  status = survey(bridge, source, flags, threads, locked, report, error);
  ab__backend_leave(source->backend, token);
  ab_error_clear(&local);
  return status;
}
