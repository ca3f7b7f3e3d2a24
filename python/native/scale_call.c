/* SPDX-License-Identifier: MIT
 * Values: scale() converts them to another dtype by a rule, survey() says what there is. For the Python side's
 * policies. */
#include "native.h"

/* ------------------------------------------------------------------ scale */

static int read_scale(PyObject *const *values, ab_convert_options *options) {
  if (native_settings_apply(options) != 0) return -1;
  if (native_dtype_read(values[2], options) != 0 || native_scaling_read(values[3], options) != 0) return -1;
  return values[4] == NULL || values[4] == Py_None ? 0 : native_nan_read(values[4], options);
}

/* scale(x, target, dtype, scaling, nan=None) -> (array, saturated, overflowed): `x`, of any framework, as an array of
 * `target` with that dtype; how many values lay beyond its range, and how many finite ones became infinite. */
NATIVE_CALL(native_scale) {
  (void)module;
  static const native_signature signature = {"scale", {"x", "target", "dtype", "scaling", "nan"}, 5, 4};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const ab_backend *target = native_backend_of(values[1], "target");
  ab_scale_report scaled = {.struct_size = (uint32_t)sizeof scaled};
  ab_convert_options options = native_default_options;
  if (target == NULL || read_scale(values, &options) != 0) return NULL;
  options.scaled = &scaled;
  PyObject *array = native_convert_with(values[0], NULL, target, &options);
  if (array == NULL) return NULL;
  return Py_BuildValue("(NKK)", array, (unsigned long long)scaled.saturated, (unsigned long long)scaled.overflowed);
}

/* ------------------------------------------------------------------ survey */

static PyObject *number(ab_number value) {
  switch (value.kind) {
    case kDLInt:
      return PyLong_FromLongLong(value.as.i);
    case kDLBool:
    case kDLUInt:
      return PyLong_FromUnsignedLongLong(value.as.u);
    default:
      return PyFloat_FromDouble(value.as.f);
  }
}

static PyObject *index_of(const ab_survey_report *report) {
  if (report->nan_count == 0) return Py_NewRef(Py_None);
  PyObject *index = PyTuple_New(report->ndim);
  for (int32_t axis = 0; index != NULL && axis < report->ndim; axis++) {
    PyObject *place = PyLong_FromLongLong(report->first_nan[axis]);
    if (place == NULL || PyTuple_SetItem(index, axis, place) != 0) Py_CLEAR(index); /* takes place */
  }
  return index;
}

static PyObject *survey_values(const ab_survey_report *report) {
  const int none = report->numbers == 0;
  return Py_BuildValue("{sN sN sK sN sK sO sO sK}", "minimum", none ? Py_NewRef(Py_None) : number(report->minimum),
                       "maximum", none ? Py_NewRef(Py_None) : number(report->maximum), "nan_count",
                       (unsigned long long)report->nan_count, "first_nan", index_of(report), "infinite_count",
                       (unsigned long long)report->infinite_count, "fractional",
                       report->fractional ? Py_True : Py_False, "stopped", report->stopped ? Py_True : Py_False,
                       "count", (unsigned long long)report->count);
}

/* survey(x, unit_only=False) -> dict: minimum, maximum (None if no value is finite), nan_count, first_nan (index or
 * None), infinite_count, fractional, count; stopped: with unit_only, a value outside [-1, 1] was met, NaN included, and
 * the rest was not looked at. */
NATIVE_CALL(native_survey) {
  (void)module;
  static const native_signature signature = {"survey", {"x", "unit_only"}, 2, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const int unit_only = values[1] != NULL ? PyObject_IsTrue(values[1]) : 0;
  ab_convert_options options = native_default_options;
  if (unit_only < 0 || native_settings_apply(&options) != 0) return NULL;
  ab_error error;
  ab_error_init(&error);
  const ab_backend *source = native_owner_of(values[0], &error);
  if (source == NULL) {
    char type[96];
    native_type_name(values[0], type, sizeof type);
    return native_not_owned(values[0], &error) ? native_raise(AB_NOT_RECOGNIZED, &error, type, "", "survey") : NULL;
  }
  const ab_array array = {source, values[0]};
  ab_survey_report report = {.struct_size = (uint32_t)sizeof report};
  const uint32_t flags = AB_SURVEY_LOCK_HELD | (unit_only ? AB_SURVEY_UNIT_ONLY : 0);
  const ab_status status = ab_survey(native_bridge(), &array, flags, options.threads, &report, &error);
  if (status != AB_OK) return native_raise(status, &error, ab_backend_name(source), "", "survey");
  return survey_values(&report);
}
