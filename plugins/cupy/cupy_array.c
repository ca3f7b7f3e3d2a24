/* SPDX-License-Identifier: MIT
 * CuPy's arrays: what they are, sharing them, and bringing them to the host. */
#include "cupy_plugin.h"

int32_t cupy_recognizes(void *self, void *object, int32_t *holds_for_type) {
  cupy_framework *cupy = self;
  if (!cupy_find_type(cupy)) return 0;
  PyTypeObject *type = Py_TYPE((PyObject *)object);
  if (type == cupy->ndarray) {
    *holds_for_type = 1;
    return 1;
  }
  return PyType_IsSubtype(type, cupy->ndarray);
}

/* ------------------------------------------------------------------ dtypes */

/// The first character of object.name; 0 if it cannot be told.
static char letter(PyObject *object, const char *name) {
  PyObject *value = abpy_attribute(object, name);
  const char *text = value != NULL ? PyUnicode_AsUTF8AndSize(value, NULL) : NULL;
  const char first = text != NULL ? text[0] : '\0';
  abpy_clear();
  Py_XDECREF(value);
  return first;
}

static int is_named(PyObject *dtype, const char *name) {
  PyObject *value = abpy_attribute(dtype, "name");
  const char *text = value != NULL ? PyUnicode_AsUTF8AndSize(value, NULL) : NULL;
  const int same = text != NULL && strcmp(text, name) == 0;
  abpy_clear();
  Py_XDECREF(value);
  return same;
}

/// The dtype of a numpy.dtype; bits 0 if it is none of ours.
static DLDataType dtype_of(PyObject *dtype) {
  static const char ours[] = "?bBhHiIlLqQefdFD";
  const DLDataType none = {0, 0, 0};
  const char character = letter(dtype, "char");
  // ml_dtypes chose kinds and letters that change between releases: only the name is sure.
  if (character == '\0' || strchr(ours, character) == NULL)
    return is_named(dtype, "bfloat16") ? (DLDataType){kDLBfloat, 16, 1} : none;
  const uint8_t bits = (uint8_t)(8 * cupy_number(dtype, "itemsize", 0));
  switch (letter(dtype, "kind")) {
    case 'b':
      return (DLDataType){kDLBool, bits, 1};
    case 'u':
      return (DLDataType){kDLUInt, bits, 1};
    case 'i':
      return (DLDataType){kDLInt, bits, 1};
    case 'f':
      return (DLDataType){kDLFloat, bits, 1};
    case 'c':
      return (DLDataType){kDLComplex, bits, 1};
    default:
      return none;
  }
}

static DLDataType array_dtype(PyObject *array) {
  PyObject *dtype = abpy_attribute(array, "dtype");
  const DLDataType found = dtype != NULL ? dtype_of(dtype) : (DLDataType){0, 0, 0};
  Py_XDECREF(dtype);
  return found;
}

/* ------------------------------------------------------------------ describe */

DLDevice cupy_device_of(const cupy_framework *cupy, PyObject *array) {
  return (DLDevice){cupy_accelerator(cupy), (int32_t)cupy_number(array, "data.device_id", 0)};
}

/// Copies a tuple of numbers; -1 with no exception if there are too many, or none.
static int32_t copy_tuple(PyObject *object, const char *name, int64_t *values) {
  PyObject *tuple = abpy_attribute(object, name);
  const Py_ssize_t size = tuple != NULL ? PyTuple_Size(tuple) : -1;
  for (Py_ssize_t i = 0; i < size && size <= AB_MAX_NDIM; i++) {
    PyObject *value = PyTuple_GetItem(tuple, i);
    values[i] = value != NULL ? PyLong_AsLongLong(value) : -1;
  }
  Py_XDECREF(tuple);
  const int failed = size > AB_MAX_NDIM || PyErr_Occurred() != NULL;
  abpy_clear();
  return failed ? -1 : (int32_t)size;
}

/// cupyx.distributed.array.DistributedArray is an ndarray whose own memory is a placeholder.
static int is_distributed(const cupy_framework *cupy, PyObject *array) {
  PyTypeObject *type = Py_TYPE(array);
  if (type == cupy->ndarray) return 0;
  PyObject *name = PyType_GetQualName(type);
  const char *text = name != NULL ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
  const int distributed = text != NULL && strcmp(text, "DistributedArray") == 0;
  abpy_clear();
  Py_XDECREF(name);
  return distributed;
}

ab_status cupy_describe(const ab_call *call, void *array, ab_array_info *info) {
  cupy_framework *cupy = call->self;
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flags");
  const DLDataType dtype = array_dtype(array);
  const int32_t ndim = copy_tuple(array, "shape", info->shape);
  info->mutability = AB_MUTABLE;
  if (dtype.bits == 0 || ndim < 0) {
    info->flags = AB_INFO_NOT_CONVERTIBLE | AB_INFO_NOT_SHAREABLE;
    info->why_not = dtype.bits == 0 ? "no other framework has this dtype of cupy" : "its shape cannot be read";
    return AB_OK;
  }
  info->dtype = dtype;
  info->ndim = ndim;
  if (is_distributed(cupy, array)) {
    info->flags = AB_INFO_NOT_SHAREABLE | AB_INFO_NOT_PLAIN;
    info->why_not = "the array is spread over several devices";
    int64_t stride = (dtype.bits + 7) / 8;
    for (int32_t axis = ndim - 1; axis >= 0; axis--) {
      info->strides[axis] = stride;
      stride *= info->shape[axis] > 0 ? info->shape[axis] : 1;
    }
    return AB_OK;
  }
  if (copy_tuple(array, "strides", info->strides) != ndim) return ab_fail(call, AB_FRAMEWORK, "cupy gave no strides");
  info->device = cupy_device_of(cupy, array);
  cupy_device_uuid(cupy, info->device.device_id, info->device_uuid);
  return AB_OK;
}

/* ------------------------------------------------------------------ sharing */

/// array.__dlpack__(stream=…) as a capsule. New reference, or NULL with the exception pending.
static PyObject *export_capsule(const cupy_framework *cupy, PyObject *array, int64_t stream) {
  PyObject *method = PyObject_GetAttrString(array, "__dlpack__");
  PyObject *none = method != NULL ? PyTuple_New(0) : NULL;
  PyObject *names = none == NULL      ? NULL
                    : cupy->versioned ? Py_BuildValue("{s:L,s:(ii)}", "stream", (long long)stream, "max_version",
                                                      DLPACK_MAJOR_VERSION, 0)
                                      : Py_BuildValue("{s:L}", "stream", (long long)stream);
  PyObject *capsule = names != NULL ? PyObject_Call(method, none, names) : NULL;
  Py_XDECREF(names);
  Py_XDECREF(none);
  Py_XDECREF(method);
  return capsule;
}

static ab_status share_ordered(cupy_framework *cupy, const ab_call *call, PyObject *array, int64_t stream,
                               DLManagedTensorVersioned **tensor) {
  PyObject *capsule = export_capsule(cupy, array, stream);
  if (capsule == NULL) return cupy_failed(call, "cupy.ndarray.__dlpack__");
  const ab_services *services = cupy->services;
  DLManagedTensorVersioned *inner = NULL, *outer = NULL;
  ab_status status = abpy_tensor_from_capsule(services, call, capsule, &inner);
  Py_DECREF(capsule);
  if (status != AB_OK) return status;
  // CuPy's deleter takes the GIL, wherever it runs.
  status = services->tensor_guard(services->core, inner, AB_TENSOR_DROP_NEEDS_LOCK, &outer);
  if (status != AB_OK) {
    inner->deleter(inner);
    return ab_fail(call, status, "no memory for a tensor");
  }
  // Managed memory is device memory to everyone we hand it to, and describe() calls it so.
  if (outer->dl_tensor.device.device_type == kDLCUDAManaged) outer->dl_tensor.device = cupy_device_of(cupy, array);
  call->report->flags |= AB_REPORT_SHARED;
  *tensor = outer;
  return AB_OK;
}

enum { NO_ORDER = -1 };

ab_status cupy_share(cupy_framework *cupy, const ab_call *call, PyObject *array, DLManagedTensorVersioned **tensor) {
  return share_ordered(cupy, call, array, NO_ORDER, tensor);
}

/// The number that __dlpack__ takes for the consumer's stream; NO_ORDER if the host must wait instead.
static int64_t stream_number(const cupy_framework *cupy, const ab_stream *stream) {
  if (stream == NULL || stream->device.device_type != cupy_accelerator(cupy)) return NO_ORDER;
  switch (stream->kind) {
    case AB_STREAM_LEGACY:
      return cupy->wears_hip ? 0 : 1;
    case AB_STREAM_PER_THREAD:
      return cupy->wears_hip ? NO_ORDER : 2;
    case AB_STREAM_HANDLE:
      return (int64_t)(intptr_t)stream->handle;
    default:
      return NO_ORDER;
  }
}

ab_status cupy_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  cupy_framework *cupy = call->self;
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flags");
  if (array_dtype(array).bits == 0) return ab_fail(call, AB_UNSUPPORTED, "no other framework has this dtype of cupy");
  if (is_distributed(cupy, array)) return ab_fail(call, AB_UNSUPPORTED, "the array is spread over several devices");
  cupy_scope scope;
  ab_status status = cupy_scope_begin(cupy, call, cupy_device_of(cupy, array), &scope);
  if (status != AB_OK) return status;
  const int ordered = (call->flags & AB_CALL_ORDERED) != 0;
  const int64_t stream = ordered ? NO_ORDER : stream_number(cupy, call->stream);
  DLManagedTensorVersioned *shared = NULL;
  status = share_ordered(cupy, call, array, stream, &shared);
  if (status == AB_OK && !ordered && stream == NO_ORDER) status = cupy_wait_here(cupy, call);
  cupy_scope_end(&scope);
  if (status == AB_OK) *tensor = shared;
  else if (shared != NULL) shared->deleter(shared);
  return status;
}

/* ------------------------------------------------------------------ to the host */

/// The address of a NumPy array's first element. Its buffer is not asked: that refuses bfloat16. Returns 0 if it cannot
/// be told; no exception is left.
static int host_address(PyObject *host, void **address) {
  PyObject *ctypes = abpy_attribute(host, "ctypes.data");
  const int known = ctypes != NULL && PyLong_Check(ctypes);
  if (known) *address = PyLong_AsVoidPtr(ctypes);
  abpy_clear();
  Py_XDECREF(ctypes);
  return known;
}

/// Gives a tensor over a NumPy array; takes `host`.
static ab_status wrap_host(cupy_framework *cupy, const ab_call *call, PyObject *host,
                           DLManagedTensorVersioned **tensor) {
  const ab_services *services = cupy->services;
  int64_t shape[AB_MAX_NDIM], strides[AB_MAX_NDIM];
  const DLDataType dtype = array_dtype(host);
  const int32_t ndim = copy_tuple(host, "shape", shape);
  const int64_t itemsize = (dtype.bits + 7) / 8;
  ab_status status = AB_UNSUPPORTED;
  DLManagedTensorVersioned *made = NULL;
  void *address = NULL;
  if (dtype.bits != 0 && ndim >= 0 && copy_tuple(host, "strides", strides) == ndim && host_address(host, &address))
    status = services->tensor_new(services->core, ndim, AB_TENSOR_DROP_NEEDS_LOCK, host, abpy_drop, &made);
  if (status != AB_OK) {
    Py_DECREF(host);
    return ab_fail(call, status, "what cupy brought to the host cannot be described");
  }
  made->dl_tensor.data = address;
  made->dl_tensor.dtype = dtype;
  for (int32_t axis = 0; axis < ndim; axis++) {
    made->dl_tensor.shape[axis] = shape[axis];
    made->dl_tensor.strides[axis] = strides[axis] / itemsize;
  }
  call->report->flags |= AB_REPORT_COPIED | AB_REPORT_BLOCKED_HOST;
  call->report->bytes_copied += abpy_tensor_bytes(&made->dl_tensor);
  *tensor = made;
  return AB_OK;
}

ab_status cupy_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  cupy_framework *cupy = call->self;
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flags");
  if (call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "the array is on a device");
  if (array_dtype(array).bits == 0) return ab_fail(call, AB_UNSUPPORTED, "no other framework has this dtype of cupy");
  cupy_scope scope = {.cupy = cupy, .previous = -1};
  if (!is_distributed(cupy, array)) {
    const ab_status status = cupy_scope_begin(cupy, call, cupy_device_of(cupy, array), &scope);
    if (status != AB_OK) return status;
  }
  PyObject *host = abpy_method((PyObject *)array, "get");
  cupy_scope_end(&scope);
  if (host == NULL) return cupy_failed(call, "cupy.ndarray.get");
  return wrap_host(cupy, call, host, tensor);
}
