/* SPDX-License-Identifier: MIT */
#include "native.h"

/* ------------------------------------------------------------------ one conversion */

/* The quickest way asks nobody what a slot has left behind. Asked once more, describe() leaves it again; if it does
 * not, it was the target. Takes `made`. Not inlined: its large frame would be every conversion's. */
static __attribute__((noinline)) PyObject *raise_stray(const ab_array *from, const ab_backend *target, PyObject *made) {
  ab_error error;
  ab_error_init(&error);
  const char *source_name = ab_backend_name(from->backend), *target_name = ab_backend_name(target);
  native_runtime.take_stray_error(native_runtime.self, &error);
  Py_DECREF(made);
  if (error.status == AB_CANCELLED) return native_raise(AB_CANCELLED, &error, source_name, target_name, "convert");
  int64_t shape[AB_MAX_NDIM], strides[AB_MAX_NDIM];
  ab_array_info info = {.struct_size = (uint32_t)sizeof info};
  ab_error described;
  ab_error_init(&described);
  const ab_status again = ab_array_describe(from, shape, strides, &info, &described);
  char text[AB_ERROR_TEXT];
  snprintf(text, sizeof text, "%s", error.text);
  ab_error_set(&error, AB_INTERNAL, "%s: from_dlpack() left an exception pending: %.400s", target_name, text);
  if (again == AB_INTERNAL) ab_error_set(&error, AB_INTERNAL, "%s", described.text);
  ab_error_hint(&error, "its plugin must take it with abpy_error() or abpy_clear()");
  ab_error_clear(&described);
  return native_raise(AB_INTERNAL, &error, source_name, target_name, "convert");
}

static PyObject *run(PyObject *object, const ab_backend *source, const ab_backend *target,
                     const ab_convert_options *options) {
  ab_error error;
  ab_error_init(&error);
  const ab_array from = {source, object};
  ab_array to = {NULL, NULL};
  const ab_status status = ab_convert(native_bridge(), &from, target, options, &to, &error);
  if (status != AB_OK) return native_raise(status, &error, ab_backend_name(source), ab_backend_name(target), "convert");
  if (error.failure.struct_size != 0) ab_error_clear(&error); /* of a way that was tried first */
  if (PyErr_Occurred() != NULL) return raise_stray(&from, target, to.object);
  return to.object;
}

static PyObject *run_recorded(PyObject *object, const ab_backend *source, const ab_backend *target,
                              const ab_convert_options *options) {
  PyObject *sinks = native_record_sinks();
  if (sinks == NULL) return NULL;
  PyObject *result = NULL;
  if (sinks == Py_None) {
    result = run(object, source, target, options);
  } else {
    ab_record record = {.struct_size = (uint32_t)sizeof record, .step_size = (uint32_t)sizeof(ab_step)};
    ab_convert_options recorded = *options;
    recorded.record = &record;
    result = run(object, source, target, &recorded);
    if (result != NULL && native_record_deliver(sinks, &record) != 0) Py_CLEAR(result);
  }
  Py_DECREF(sinks);
  return result;
}

/* `claimed`: the backend that the caller says it is; NULL: whatever it is. */
static const ab_backend *source_of(PyObject *object, const ab_backend *claimed, const ab_backend *target) {
  ab_error error;
  ab_error_init(&error);
  const ab_backend *source = native_owner_of(object, &error);
  if (source == NULL) {
    char type[96];
    native_type_name(object, type, sizeof type);
    if (native_not_owned(object, &error)) native_raise(error.status, &error, type, ab_backend_name(target), "detect");
    return NULL;
  }
  if (claimed == NULL || claimed == source) return source;
  ab_error_set(&error, AB_INVALID_ARGUMENT, "source_type is \"%s\", but the data is an array of %s",
               ab_backend_name(claimed), ab_backend_name(source));
  ab_error_hint(&error, "pass \"%s\", or use convert(), which looks for itself", ab_backend_name(source));
  native_raise(AB_INVALID_ARGUMENT, &error, ab_backend_name(claimed), ab_backend_name(target), "detect");
  return NULL;
}

PyObject *native_convert_with(PyObject *object, const ab_backend *claimed, const ab_backend *target,
                              const ab_convert_options *options) {
  const ab_backend *source = source_of(object, claimed, target);
  if (source == NULL) return NULL;
  if (native_recorders != 0) return run_recorded(object, source, target, options);
  return run(object, source, target, options);
}

static PyObject *convert_asked(PyObject *object, const ab_backend *claimed, const ab_backend *target,
                               PyObject *const *keywords) {
  native_request request;
  PyObject *result = NULL;
  if (native_request_begin(&request, target, keywords) == 0)
    result = native_convert_with(object, claimed, target, &request.options);
  native_request_end(&request);
  return result;
}

/* ------------------------------------------------------------------ the built-ins */

NATIVE_CALL(native_convert) {
  (void)module;
  static const native_signature signature = {"convert", {"x", "target", NATIVE_KEYWORDS}, 2, 2};
  if (names == NULL && count == 2) {
    const ab_backend *target = native_backend_of(args[1], "target");
    if (target == NULL) return NULL;
    if (!native_settings_changed) return native_convert_with(args[0], NULL, target, &native_default_options);
    return convert_asked(args[0], NULL, target, NULL);
  }
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const ab_backend *target = native_backend_of(values[1], "target");
  return target != NULL ? convert_asked(values[0], NULL, target, values + 2) : NULL;
}

/* The older API has one place for both: a number is a gpu_id, all else a device. */
static void sort_place(PyObject **keywords) {
  PyObject *place = keywords[NATIVE_GPU_ID];
  if (place == NULL || place == Py_None || PyIndex_Check(place) || keywords[NATIVE_DEVICE] != NULL) return;
  keywords[NATIVE_DEVICE] = place;
  keywords[NATIVE_GPU_ID] = NULL;
}

NATIVE_CALL(native_convert_memory) {
  (void)module;
  static const native_signature signature = {
      "convert_memory", {"data", "source_type", "target_type", NATIVE_KEYWORDS}, 5, 3};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const ab_backend *source = native_backend_of(values[1], "source_type");
  const ab_backend *target = source != NULL ? native_backend_of(values[2], "target_type") : NULL;
  if (target == NULL) return NULL;
  sort_place(values + 3);
  return convert_asked(values[0], source, target, values + 3);
}

/* ------------------------------------------------------------------ plan */

/* The values of the record, and what came of it. */
static PyObject *plan_values(const ab_record *record, ab_status status, const ab_error *error) {
  const char *reason = status == AB_OK || error->text[0] != '\0' ? error->text : ab_status_text(status);
  PyObject *values = native_record_values(record);
  PyObject *outcome = Py_BuildValue("{ss sN sN}", "status", ab_status_name(status), "reason",
                                    native_text(status == AB_OK ? "" : reason), "hint",
                                    native_text(status == AB_OK ? "" : error->hint));
  if (values == NULL || outcome == NULL || PyDict_Update(values, outcome) != 0) Py_CLEAR(values);
  Py_XDECREF(outcome);
  return values;
}

static PyObject *plan_with(PyObject *object, const ab_backend *target, const ab_convert_options *options) {
  const ab_backend *source = source_of(object, NULL, target);
  if (source == NULL) return NULL;
  ab_error error;
  ab_error_init(&error);
  ab_record record = {.struct_size = (uint32_t)sizeof record, .step_size = (uint32_t)sizeof(ab_step)};
  const ab_array from = {source, object};
  const ab_status status = ab_plan(native_bridge(), &from, target, options, &record, &error);
  if (status == AB_CANCELLED)
    return native_raise(status, &error, ab_backend_name(source), ab_backend_name(target), "plan");
  record.source = source;
  record.target = target;
  PyObject *values = plan_values(&record, status, &error);
  ab_error_clear(&error);
  PyObject *plan = values != NULL ? PyObject_CallFunctionObjArgs(native_hook.plan, values, NULL) : NULL;
  Py_XDECREF(values);
  return plan;
}

NATIVE_CALL(native_plan) {
  (void)module;
  static const native_signature signature = {"plan", {"x", "target", NATIVE_KEYWORDS}, 2, 2};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const ab_backend *target = native_backend_of(values[1], "target");
  if (target == NULL) return NULL;
  native_request request;
  PyObject *plan = NULL;
  if (native_request_begin(&request, target, values + 2) == 0) plan = plan_with(values[0], target, &request.options);
  native_request_end(&request);
  return plan;
}
