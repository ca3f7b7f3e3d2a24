/* SPDX-License-Identifier: MIT
 * What an array of TensorFlow is. */
#include "tensorflow_plugin.h"

/// Reads a tuple or list of sizes. The number of them; -1 if they are too many, or with an exception pending (of an
/// unknown size, which is None, too).
static int32_t read_shape(PyObject *sizes, int64_t *shape) {
  const Py_ssize_t count = sizes != NULL ? PySequence_Size(sizes) : -1;
  if (count < 0 || count > AB_MAX_NDIM) goto failed;
  for (Py_ssize_t axis = 0; axis < count; axis++) {
    PyObject *size = PySequence_GetItem(sizes, axis);
    shape[axis] = size != NULL ? PyLong_AsLongLong(size) : -1;
    Py_XDECREF(size);
    if (shape[axis] < 0) goto failed;
  }
  return (int32_t)count;
failed:
  return -1;
}

ab_status ab_tf_eager_shape(const ab_call *call, PyObject *tensor, int64_t *shape, int32_t *ndim) {
  PyObject *sizes = abpy_call_one(ab_tf.shape_tuple, tensor);
  *ndim = read_shape(sizes, shape);
  Py_XDECREF(sizes);
  return PyErr_Occurred() == NULL ? AB_OK : abpy_error(call, AB_FRAMEWORK, "the tensor's shape");
}

static void fill_strides(ab_array_info *info) {
  int64_t stride = info->dtype.bits / 8;
  for (int32_t axis = info->ndim - 1; axis >= 0; axis--) {
    info->strides[axis] = stride;
    stride *= info->shape[axis] > 0 ? info->shape[axis] : 1;
  }
}

static ab_status not_convertible(ab_array_info *info, const char *why_not) {
  info->flags |= AB_INFO_NOT_CONVERTIBLE | AB_INFO_NOT_SHAREABLE;
  info->why_not = why_not;
  return AB_OK;
}

static ab_status not_shareable(ab_array_info *info, const char *why_not) {
  info->flags |= AB_INFO_NOT_SHAREABLE;
  info->why_not = why_not;
  return AB_OK;
}

/// Shape, strides and place; 0 if there are too many dimensions.
static int fill_form(PyObject *array, int32_t ndim, ab_array_info *info) {
  if (ndim < 0) return 0;
  info->ndim = ndim;
  fill_strides(info);
  const tf_place place = ab_tf_place(array);
  info->device = place.device;
  if (place.kind == TF_PLACE_HOST) info->flags |= AB_INFO_HOST_ACCESSIBLE;
  return 1;
}

/* ------------------------------------------------------------------ eager tensors */

/// The fast way: exporting costs no more than asking for the shape does. 0 if it cannot be done.
static int give_tensor(const ab_call *call, PyObject *tensor, tf_dtype dtype, ab_array_info *info) {
  if (ab_tf.gpu_count > 0 && ab_tf_place(tensor).kind != TF_PLACE_HOST) return 0;
  DLManagedTensorVersioned *shared = NULL;
  if (ab_tf_share(call, tensor, dtype, &shared) != AB_OK) {
    ab_error_clear(call->error);
    return 0;
  }
  if (shared->dl_tensor.device.device_type != kDLCPU) {
    shared->deleter(shared);
    return 0;
  }
  info->flags |= AB_INFO_HOST_ACCESSIBLE;
  info->device = shared->dl_tensor.device;
  info->tensor = shared;
  return 1;
}

static ab_status describe_eager(const ab_call *call, PyObject *tensor, ab_array_info *info) {
  tf_dtype dtype;
  ab_status status = ab_tf_eager_dtype(call, tensor, &dtype);
  if (status != AB_OK) return status;
  info->dtype = dtype.dtype;
  info->mutability = AB_IMMUTABLE;
  if (dtype.way == TF_WAY_NONE) return not_convertible(info, dtype.why_not);
  const int wanted = (call->flags & AB_CALL_WANT_TENSOR) != 0 && dtype.way == TF_WAY_DLPACK;
  if (wanted && give_tensor(call, tensor, dtype, info)) return AB_OK;
  int32_t ndim = -1;
  status = ab_tf_eager_shape(call, tensor, info->shape, &ndim);
  if (status != AB_OK) return status;
  if (!fill_form(tensor, ndim, info)) return not_convertible(info, "a tensor of more than 64 dimensions");
  if (info->device.device_type == (DLDeviceType)0) {
    info->flags |= AB_INFO_NOT_PLAIN;
    return not_shareable(info, "the tensor is not on the CPU or a GPU of this process");
  }
  if (dtype.way == TF_WAY_NUMPY && (info->ndim == 0 || info->device.device_type != kDLCPU)) {
    return not_shareable(info, "TensorFlow shares float8 only on the CPU and from one dimension on");
  }
  return AB_OK;
}

/* ------------------------------------------------------------------ variables */

static long variable_number(PyObject *variable) {
  PyObject *number = abpy_attribute(variable, "dtype.as_datatype_enum");
  const long value = number != NULL ? PyLong_AsLong(number) : -1;
  if (value == -1) abpy_clear();
  Py_XDECREF(number);
  return value;
}

static int32_t variable_shape(PyObject *variable, int64_t *shape) {
  PyObject *tensor_shape = PyObject_GetAttrString(variable, "shape");
  PyObject *sizes = tensor_shape != NULL ? PyObject_CallMethod(tensor_shape, "as_list", NULL) : NULL;
  const int32_t ndim = read_shape(sizes, shape);
  abpy_clear();
  Py_XDECREF(sizes);
  Py_XDECREF(tensor_shape);
  return ndim;
}

static const char variables_change[] =
    "a variable can be assigned to, so its memory is not shared; convert x.read_value() to share the value of now";

static ab_status describe_variable(const ab_call *call, PyObject *variable, ab_array_info *info) {
  const tf_dtype dtype = ab_tf_dtype(variable_number(variable));
  const int32_t ndim = variable_shape(variable, info->shape);
  if (dtype.way != TF_WAY_NONE && ndim >= 0) {
    info->dtype = dtype.dtype;
    fill_form(variable, ndim, info);
  } else {  // tf.Variable(…, shape=tf.TensorShape(None)), a Keras variable: only the value tells
    PyObject *value = NULL;
    ab_call look = *call;
    look.flags &= ~(uint32_t)AB_CALL_WANT_TENSOR;
    ab_status status = ab_tf_variable_value(call, variable, &value);
    if (status == AB_CANCELLED || status == AB_OOM) return status;
    if (status != AB_OK) return not_convertible(info, "the variable has no value that can be read here");
    status = describe_eager(&look, value, info);
    Py_DECREF(value);
    if (status != AB_OK || (info->flags & AB_INFO_NOT_CONVERTIBLE) != 0) return status;
  }
  info->mutability = AB_MUTABLE;
  info->flags |= AB_INFO_NOT_PLAIN;
  return not_shareable(info, variables_change);
}

ab_status ab_tf_variable_value(const ab_call *call, PyObject *variable, PyObject **value) {
  PyObject *read = PyObject_CallMethod(ab_tf.tensorflow, "convert_to_tensor", "O", variable);
  return ab_tf_need_eager(call, read, "reading a variable", value);
}

ab_status ab_tf_describe(const ab_call *call, void *array, ab_array_info *info) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown call flags");
  const ab_status status = ab_tf_connect(call);
  if (status != AB_OK) return status;
  const tf_kind kind = ab_tf_kind(array);
  if (kind == TF_EAGER) return describe_eager(call, array, info);
  if (kind == TF_VARIABLE || kind == TF_KERAS_VARIABLE) return describe_variable(call, array, info);
  return not_convertible(info, ab_tf_kind_why_not(kind));
}
