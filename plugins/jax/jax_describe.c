/* SPDX-License-Identifier: MIT
 * What an array is. */
#include "jax_plugin.h"

static ab_status not_convertible(ab_array_info *info, const char *why_not) {
  info->flags |= AB_INFO_NOT_CONVERTIBLE | AB_INFO_NOT_SHAREABLE;
  info->why_not = why_not;
  return AB_OK;
}

static ab_status describe_other(PyObject *object, ab_array_info *info) {
  if (PyType_IsSubtype(Py_TYPE(object), jax_get()->types->tracer)) {
    return not_convertible(info, "a traced value has no data: call arraybridge outside jit, grad and vmap");
  }
  if (abpy_has(object, "_base_array")) {
    return not_convertible(info, "random keys are no numbers: convert jax.random.key_data(x)");
  }
  return not_convertible(info, "a jax.Array of a kind that has no data of its own");
}

/* ------------------------------------------------------------------ dtype and shape */

static int read_extent(PyObject *shape, Py_ssize_t axis, int64_t *extent) {
  PyObject *number = PyTuple_GetItem(shape, axis);
  *extent = number != NULL ? PyLong_AsLongLong(number) : -1;
  return *extent >= 0;
}

/// Returns 0 if there is none we could carry, or with an exception pending.
static int read_shape(PyObject *array, ab_array_info *info) {
  PyObject *shape = PyObject_GetAttrString(array, "shape");
  const Py_ssize_t ndim = shape != NULL && PyTuple_Check(shape) ? PyTuple_Size(shape) : -1;
  int good = ndim >= 0 && ndim <= AB_MAX_NDIM;
  for (Py_ssize_t axis = 0; good && axis < ndim; axis++) good = read_extent(shape, axis, &info->shape[axis]);
  if (good) info->ndim = (int32_t)ndim;
  Py_XDECREF(shape);
  return good;
}

/* A device layout other than the default one is so rare that a description does not ask for it: the tensor itself has
 * the true strides. */
static void default_strides(ab_array_info *info) {
  int64_t stride = info->dtype.bits / 8;
  for (int32_t axis = info->ndim - 1; axis >= 0; axis--) {
    info->strides[axis] = stride;
    if (info->shape[axis] > 0) stride *= info->shape[axis];
  }
}

/// Names the dtype that DLPack, or everyone else, does not have.
static ab_status refuse_dtype(const ab_call *call, PyObject *dtype, ab_array_info *info) {
  PyObject *name = PyObject_Str(dtype);
  const char *text = name != NULL ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
  abpy_clear();
  ab_fail(call, AB_OK, "JAX's dtype %.60s cannot be carried: use x.astype(\"int8\") or x.astype(\"float32\") first",
          text != NULL ? text : "(unknown)");
  Py_XDECREF(name);
  return not_convertible(info, "its dtype cannot be carried: it is smaller than a byte, or no number");
}

static ab_status describe_plain(const ab_call *call, PyObject *array, ab_array_info *info) {
  PyObject *dtype = PyObject_GetAttrString(array, "dtype");
  if (dtype == NULL) return jax_error(call, AB_FRAMEWORK, "the array's dtype");
  const int known = jax_dtype_read(dtype, &info->dtype);
  const ab_status status = known ? AB_OK : refuse_dtype(call, dtype, info);
  Py_DECREF(dtype);
  if (!known) return status;
  const int readable = read_shape(array, info);
  if (PyErr_Occurred() != NULL) return jax_error(call, AB_FRAMEWORK, "the array's shape");
  if (!readable) return not_convertible(info, "it has more dimensions than can be handled");
  default_strides(info);
  return AB_OK;
}

/* ------------------------------------------------------------------ place */

/// 0 for arrays that JAX was asked to keep in another memory than the device's ("pinned_host").
static int in_device_memory(PyObject *array) {
  PyObject *kind = abpy_attribute(array, "sharding.memory_kind");
  const int other = kind != NULL && PyUnicode_Check(kind) && PyUnicode_CompareWithASCIIString(kind, "device") != 0;
  Py_XDECREF(kind);
  return !other;
}

static ab_status describe_place(const ab_call *call, PyObject *array, ab_array_info *info) {
  int fully_addressable = 0;
  const char *why_not = NULL;
  const ab_status placed = jax_device_of_array(array, &info->device, &fully_addressable, &why_not);
  if (placed == AB_FRAMEWORK) return jax_error(call, AB_FRAMEWORK, "the array's place");
  if (placed != AB_OK) {
    if (!fully_addressable) return not_convertible(info, why_not);
    info->device = (DLDevice){0};
    info->flags |= AB_INFO_NOT_PLAIN | AB_INFO_NOT_SHAREABLE;
    info->why_not = why_not;
    return AB_OK;
  }
  if (info->device.device_type == kDLCPU) info->flags |= AB_INFO_HOST_ACCESSIBLE;
  if (info->device.device_type == kDLExtDev) {
    info->flags |= AB_INFO_NOT_SHAREABLE;
    info->why_not = "JAX exports arrays on the CPU and on GPUs only";
  } else if (info->device.device_type != kDLCPU && !in_device_memory(array)) {
    info->flags |= AB_INFO_NOT_SHAREABLE;
    info->why_not = "it is not in its device's own memory";
  }
  return AB_OK;
}

/* ------------------------------------------------------------------ the tensor at once */

static int shareable_host(const ab_array_info *info) {
  const uint32_t refused = AB_INFO_NOT_CONVERTIBLE | AB_INFO_NOT_SHAREABLE;
  return (info->flags & refused) == 0 && info->device.device_type == kDLCPU;
}

/// For dtypes that buffers have no format for. What fails here will say why in to_dlpack().
static void export_at_once(const ab_call *call, PyObject *array, ab_array_info *info) {
  ab_error unread;
  ab_error_init(&unread);
  ab_call quiet = *call;
  quiet.flags |= AB_CALL_NO_TEXT;
  quiet.error = &unread;
  if (jax_export_tensor(&quiet, array, info->device, &info->tensor) != AB_OK) info->tensor = NULL;
  ab_error_clear(&unread);
}

/// Almost every array on the CPU. Nothing is pending on it afterwards.
static int describe_buffer(PyObject *array, ab_array_info *info) {
  if (!jax_share_host(array, &info->tensor)) return 0;
  info->device = info->tensor->dl_tensor.device;
  info->flags |= AB_INFO_HOST_ACCESSIBLE;
  return 1;
}

ab_status jax_describe(const ab_call *call, void *array, ab_array_info *info) {
  const int want_tensor = (call->flags & AB_CALL_WANT_TENSOR) != 0;
  info->mutability = AB_IMMUTABLE;
  if (Py_TYPE((PyObject *)array) != jax_get()->types->array_impl) return describe_other(array, info);
  if (want_tensor && describe_buffer(array, info)) return AB_OK;
  if (jax_is_deleted(array)) return not_convertible(info, JAX_DELETED);
  ab_status status = describe_plain(call, array, info);
  if (status != AB_OK || info->flags & AB_INFO_NOT_CONVERTIBLE) return status;
  status = describe_place(call, array, info);
  if (want_tensor && status == AB_OK && shareable_host(info)) export_at_once(call, array, info);
  return status;
}
