/* SPDX-License-Identifier: MIT
 * What an array of pyclesperanto is. */
#include "pyclesperanto_plugin.h"

/// Reads the shape, (z, y, x) or less. -1 if it is not understood, with or without an exception.
static int32_t read_shape(PyObject *array, int64_t *shape) {
  PyObject *sizes = PyObject_GetAttr(array, cle.name_shape);
  const Py_ssize_t count = sizes != NULL && PyTuple_Check(sizes) ? PyTuple_Size(sizes) : -1;
  int32_t ndim = count >= 0 && count <= AB_MAX_NDIM ? (int32_t)count : -1;
  for (int32_t axis = 0; axis < ndim; axis++) {
    shape[axis] = PyLong_AsLongLong(PyTuple_GetItem(sizes, axis));
    if (shape[axis] < 0) ndim = -1;
  }
  Py_XDECREF(sizes);
  return ndim;
}

/// Arrays are always dense, last axis fastest.
static void fill_strides(ab_array_info *info) {
  int64_t stride = info->dtype.bits / 8;
  for (int32_t axis = info->ndim - 1; axis >= 0; axis--) {
    info->strides[axis] = stride;
    stride *= info->shape[axis];
  }
}

static ab_status describe_device(const ab_call *call, PyObject *array, ab_array_info *info) {
  PyObject *object = PyObject_GetAttr(array, cle.name_device);
  if (object == NULL) return cle_failed(call, "pyclesperanto's Array.device");
  const cle_device *device = cle_device_of(call, object);
  Py_DECREF(object);
  if (device == NULL) return call->error->status;
  info->device = device->device;
  if (AB_HAS_FIELD(info, ab_array_info, native_context)) info->native_context = device->context;
  return AB_OK;
}

/// 1 if the elements lie in a buffer, not in an OpenCL image.
static int is_buffer(PyObject *array) {
  PyObject *kind = PyObject_GetAttr(array, cle.name_mtype);
  const int same = kind != NULL && PyObject_RichCompareBool(kind, cle.word_buffer, Py_EQ) == 1;
  abpy_clear();
  Py_XDECREF(kind);
  return same;
}

static void describe_sharing(PyObject *array, ab_array_info *info) {
  if (info->device.device_type != kDLOpenCL) {
    info->flags |= AB_INFO_NOT_SHAREABLE;
    info->why_not = "arrays of pyclesperanto are shared on OpenCL only";
  } else if (!is_buffer(array)) {
    info->flags |= AB_INFO_NOT_SHAREABLE;
    info->why_not = "the array is an OpenCL image (mtype \"image\"), not a buffer";
  }
}

ab_status cle_describe(const ab_call *call, void *array, ab_array_info *info) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown call flags");
  const ab_status status = describe_device(call, array, info);
  if (status != AB_OK) return status;
  PyObject *dtype = PyObject_GetAttr(array, cle.name_dtype);
  if (dtype == NULL) return cle_failed(call, "pyclesperanto's Array.dtype");
  info->dtype = cle_dtype_of(dtype);
  Py_DECREF(dtype);
  const int32_t ndim = read_shape(array, info->shape);
  if (ndim < 0) return cle_failed(call, "pyclesperanto's Array.shape");
  info->ndim = ndim;
  if (info->dtype.bits == 0) {
    info->flags |= AB_INFO_NOT_CONVERTIBLE | AB_INFO_NOT_SHAREABLE;
    info->why_not = "the array's dtype cannot be carried";
    return AB_OK;
  }
  fill_strides(info);
  info->mutability = AB_MUTABLE;
  describe_sharing(array, info);
  return AB_OK;
}
