/* SPDX-License-Identifier: MIT */
#include "native.h"

/* A ValueError, as in every release of the older packages; but a plugin's defect says nothing about the object. */
static PyObject *raise_unknown(PyObject *object, ab_error *error) {
  if (native_not_owned(object, error)) {
    if (error->status != AB_NOT_RECOGNIZED) return native_raise(error->status, error, "", "", "detect");
    char text[AB_ERROR_TEXT + AB_ERROR_HINT];
    snprintf(text, sizeof text, "%s%s%s", error->text, error->hint[0] != '\0' ? "; " : "", error->hint);
    PyObject *reason = native_text(text);
    if (reason != NULL) PyErr_SetObject(PyExc_ValueError, reason);
    Py_XDECREF(reason);
  }
  ab_error_clear(error);
  return NULL;
}

NATIVE_CALL(native_detect) {
  (void)module;
  static const native_signature signature = {"detect_memory_type", {"data"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  ab_error error;
  ab_error_init(&error);
  const ab_backend *backend = native_owner_of(values[0], &error);
  return backend != NULL ? native_backend_name(backend) : raise_unknown(values[0], &error);
}

/* ------------------------------------------------------------------ describe */

static PyObject *integers(const int64_t *values, int32_t count) {
  PyObject *tuple = PyTuple_New(count);
  for (int32_t index = 0; tuple != NULL && index < count; index++) {
    PyObject *value = PyLong_FromLongLong(values[index]);
    if (value == NULL || PyTuple_SetItem(tuple, index, value) != 0) Py_CLEAR(tuple); /* takes value */
  }
  return tuple;
}

static const char *mutability_name(uint32_t mutability) {
  return mutability == AB_MUTABLE ? "writable" : mutability == AB_IMMUTABLE ? "immutable" : "read-only";
}

static PyObject *flag(uint32_t flags, uint32_t which) { return flags & which ? Py_True : Py_False; }

static PyObject *info_values(const ab_backend *backend, const ab_array_info *info, const ab_error *error) {
  const char *why_not = error->text[0] != '\0' ? error->text : info->why_not != NULL ? info->why_not : "";
  const char *dtype = info->dtype.bits != 0 ? ab_dtype_name(info->dtype) : NULL;
  return Py_BuildValue(
      "{ss ss sN sN sN ss sO sO sO sO sO sN}", "backend", ab_backend_name(backend), "dtype", dtype != NULL ? dtype : "",
      "shape", integers(info->shape, info->ndim), "strides", integers(info->strides, info->ndim), "device",
      native_device_label(info->device), "mutability", mutability_name(info->mutability), "host_accessible",
      flag(info->flags, AB_INFO_HOST_ACCESSIBLE), "byte_swapped", flag(info->flags, AB_INFO_BYTE_SWAPPED), "gradient",
      flag(info->flags, AB_INFO_GRADIENT), "shareable",
      info->flags & (AB_INFO_NOT_SHAREABLE | AB_INFO_NOT_CONVERTIBLE) ? Py_False : Py_True, "convertible",
      info->flags & AB_INFO_NOT_CONVERTIBLE ? Py_False : Py_True, "why_not", native_text(why_not));
}

static PyObject *described(PyObject *object, const ab_backend *backend) {
  int64_t shape[AB_MAX_NDIM] = {0};
  int64_t strides[AB_MAX_NDIM] = {0};
  ab_array_info info = {.struct_size = (uint32_t)sizeof info, .shape = shape, .strides = strides};
  ab_error error;
  ab_error_init(&error);
  const ab_array array = {backend, object};
  ab_status status = ab_backend_start(backend, &error);
  if (status == AB_OK) status = ab_array_describe(&array, shape, strides, &info, &error);
  if (status != AB_OK) return native_raise(status, &error, ab_backend_name(backend), "", "describe");
  if (info.ndim < 0 || info.ndim > AB_MAX_NDIM) info.ndim = 0; /* more than anyone has room for: not written */
  PyObject *values = info_values(backend, &info, &error);
  ab_error_clear(&error);
  PyObject *result = values != NULL ? PyObject_CallFunctionObjArgs(native_hook.describe, values, NULL) : NULL;
  Py_XDECREF(values);
  return result;
}

NATIVE_CALL(native_describe) {
  (void)module;
  static const native_signature signature = {"describe", {"x"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  ab_error error;
  ab_error_init(&error);
  const ab_backend *backend = native_owner_of(values[0], &error);
  return backend != NULL ? described(values[0], backend) : raise_unknown(values[0], &error);
}
