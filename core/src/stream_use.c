/* SPDX-License-Identifier: MIT
 * Telling which streams work on an array, so that its memory is not given back too early. */
#include "backend.h"
#include "lease.h"
#include "route.h"
#include "tensor.h"

/* The address of the elements, without waiting for work on them. */
static ab_status address_of(const ab_array *array, const void **address, ab_error *error) {
  const ab_plugin_vtable *slots = array->backend->vtable;
  if (slots->to_dlpack == NULL) return AB_UNSUPPORTED;
  ab__invocation run;
  ab__invocation_init(&run, array->backend, AB_CALL_NEVER_COPY | AB_CALL_ORDERED, NULL, error);
  DLManagedTensorVersioned *tensor = NULL;
  ab_status status = slots->to_dlpack(&run.call, array->object, &tensor);
  status = ab__slot_result(array->backend, "to_dlpack", status, error);
  if (status != AB_OK || tensor == NULL) return status != AB_OK ? status : AB_UNSUPPORTED;
  *address = (const char *)tensor->dl_tensor.data + tensor->dl_tensor.byte_offset;
  ab__tensor_delete(tensor);
  return AB_OK;
}

static ab_status device_of(const ab_array *array, DLDevice *device, ab_error *error) {
  int64_t shape[AB_MAX_NDIM], strides[AB_MAX_NDIM];
  ab_array_info info = {.struct_size = (uint32_t)sizeof info, .shape = shape, .strides = strides};
  ab__invocation run;
  ab__invocation_init(&run, array->backend, 0, NULL, error);
  const ab_status status = array->backend->vtable->describe(&run.call, array->object, &info);
  if (status == AB_OK) *device = info.device;
  return ab__slot_result(array->backend, "describe", status, error);
}

/* Its framework's own allocator is told as well: what is no loan is its to keep. */
static ab_status tell_framework(const ab_array *array, const ab_stream *stream, ab_error *error) {
  const ab_plugin_vtable *slots = array->backend->vtable;
  if (slots->mark_use == NULL) return AB_UNSUPPORTED;
  ab__invocation run;
  ab__invocation_init(&run, array->backend, 0, NULL, error);
  return ab__slot_result(array->backend, "mark_use", slots->mark_use(&run.call, array->object, stream), error);
}

static ab_status record(const ab_array *array, const ab_stream *stream, ab_error *error) {
  DLDevice device = {kDLCPU, 0};
  ab_status status = ab__backend_start(array->backend, error);
  if (status == AB_OK) status = device_of(array, &device, error);
  if (status != AB_OK) return status;
  if (ab__is_host(device))
    return ab_error_set(error, AB_INVALID_ARGUMENT, "the array is in host memory, where no stream works on it");
  const void *address = NULL;
  uint32_t leases = 0;
  status = address_of(array, &address, error);
  if (status == AB_OK) status = ab__lease_declare(address, stream, &leases);
  if (status != AB_OK && status != AB_UNSUPPORTED) return status;
  ab_error_clear(error);
  status = tell_framework(array, stream, error);
  if (leases != 0 && status != AB_CANCELLED) {
    ab_error_clear(error);
    return AB_OK;
  }
  if (status == AB_UNSUPPORTED)
    ab_error_set(error, AB_UNSUPPORTED, "%s cannot be told which streams use its memory, and the array is no loan",
                 ab_backend_name(array->backend));
  return status;
}

ab_status ab_array_record_stream(const ab_array *array, const ab_stream *stream, ab_error *error) {
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error);
  if (array == NULL || array->backend == NULL || array->object == NULL || stream == NULL)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "an array and a stream are needed");
  if (stream->kind == AB_STREAM_NONE || stream->kind >= AB_STREAM_UNKNOWN)
    return ab_error_set(error, AB_STREAM, "a stream of kind %u cannot be recorded", stream->kind);
  void *token = NULL;
  ab_status status = ab__backend_enter(array->backend, ab__bridge_lock_held(array->backend->bridge), &token, error);
  if (status != AB_OK) return status;
  status = record(array, stream, error);
  ab__backend_leave(array->backend, token);
  ab_error_clear(&local);
  return status;
}
