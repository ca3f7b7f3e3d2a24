/* SPDX-License-Identifier: MIT */
#include "cast_argument.h"

/* An exception that is not pending; each of the three may be NULL. */
typedef struct trouble {
  PyObject *type, *value, *trace;
} trouble;

static trouble fetched(void) {
  trouble problem = {NULL, NULL, NULL};
  PyErr_Fetch(&problem.type, &problem.value, &problem.trace);
  return problem;
}

static void drop(trouble *problem) {
  Py_CLEAR(problem->type);
  Py_CLEAR(problem->value);
  Py_CLEAR(problem->trace);
}

/* Takes `problem`. */
static void restore(trouble *problem) { PyErr_Restore(problem->type, problem->value, problem->trace); }

/* 1, 0; -1 if the question itself was stopped: that is pending then. */
static int is_about_casting(const trouble *problem) {
  PyObject *status = problem->value != NULL ? PyObject_GetAttrString(problem->value, "status") : NULL;
  if (status == NULL) return native_no() != 0 ? -1 : 0;
  const int is = PyUnicode_Check(status) && PyUnicode_CompareWithASCIIString(status, "WOULD_CAST") == 0;
  Py_DECREF(status);
  return is;
}

int native_would_cast(void) {
  trouble problem = fetched();
  const int would = is_about_casting(&problem);
  if (would == 0) restore(&problem);
  else drop(&problem);
  return would > 0;
}

/* ------------------------------------------------------------------ the two dtypes */

static int is_whole(DLDataType dtype) { return dtype.code == kDLInt || dtype.code == kDLUInt; }
static int is_real(DLDataType dtype) { return dtype.code == kDLFloat || dtype.code == kDLBfloat; }

/* What the array has, and what it will have; bits 0 where there is no way: the conversion will say so. */
static void find_dtypes(const ab_array *from, const ab_backend *target, const ab_convert_options *options,
                        DLDataType *have, DLDataType *get) {
  ab_record record = {.struct_size = (uint32_t)sizeof record, .step_size = (uint32_t)sizeof(ab_step)};
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_plan(native_bridge(), from, target, options, &record, &error);
  ab_error_clear(&error);
  *have = record.source_dtype;
  *get = status == AB_OK ? record.target_dtype : (DLDataType){0, 0, 0};
}

/* ------------------------------------------------------------------ integers that do not fit */

/* How many do not, by doing it once more; 0 if that fails. */
static unsigned long long count_unfit(const ab_array *from, const ab_backend *target, ab_convert_options *options) {
  ab_scale_report scaled = {.struct_size = (uint32_t)sizeof scaled};
  options->scaling = AB_SCALING_CLIP;
  options->scaled = &scaled;
  ab_array made = {NULL, NULL};
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_convert(native_bridge(), from, target, options, &made, &error);
  ab_error_clear(&error);
  ab_array_release(&made);
  return status == AB_OK ? scaled.saturated : 0;
}

/* The error of the exact conversion, which names a rule that nobody has asked for, in other words. */
static void refuse_unfit(const ab_array *from, const ab_backend *target, ab_convert_options *options) {
  trouble problem = fetched();
  const int about = is_about_casting(&problem);
  if (about <= 0) {
    if (about == 0) restore(&problem);
    else drop(&problem);
    return;
  }
  const unsigned long long count = count_unfit(from, target, options);
  PyObject *told = PyObject_CallFunction(native_hook.unfit, "OOsK", problem.value, from->object,
                                         ab_dtype_name(options->dtype), count);
  if (told != NULL) PyErr_SetObject((PyObject *)Py_TYPE(told), told);
  Py_XDECREF(told);
  drop(&problem);
}

/* ------------------------------------------------------------------ the cast */

static PyObject *tell(PyObject *array, PyObject *result, unsigned long long overflowed) {
  PyObject *told = PyObject_CallFunction(native_hook.cast, "OOK", array, result, overflowed);
  if (told == NULL) Py_CLEAR(result);
  Py_XDECREF(told);
  return result;
}

PyObject *native_cast(ab_array from, const ab_backend *target, ab_convert_options *options) {
  DLDataType have;
  DLDataType get;
  find_dtypes(&from, target, options, &have, &get);
  const int whole = is_whole(have) && is_whole(get);
  ab_scale_report scaled = {.struct_size = (uint32_t)sizeof scaled};
  if (whole || (is_real(have) && is_real(get))) { /* with a rule for what does not fit, where a cast has none */
    options->dtype = get;
    options->scaling = whole ? AB_SCALING_EXACT : AB_SCALING_CLIP;
    options->scaled = &scaled;
  }
  PyObject *result = native_convert_with(from.object, NULL, target, options);
  if (result != NULL) return tell(from.object, result, scaled.overflowed);
  if (whole) refuse_unfit(&from, target, options);
  return NULL;
}
