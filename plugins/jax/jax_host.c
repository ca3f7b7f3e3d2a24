/* SPDX-License-Identifier: MIT
 * The ways that copy: values to the host and from it, and casts. */
#include "jax_plugin.h"

PyObject *jax_call_method(PyObject *object, const char *name) { return PyObject_CallMethod(object, name, NULL); }

int jax_is_deleted(PyObject *array) {
  PyObject *deleted = jax_call_method(array, "is_deleted");
  const int is = deleted == Py_True;
  abpy_clear();
  Py_XDECREF(deleted);
  return is;
}

/* ------------------------------------------------------------------ to the host */

/// An array of NumPy's whose buffer NumPy will show: it has no format for bfloat16 and float8. Takes `value`; new
/// reference, or NULL with an exception.
static PyObject *with_plain_dtype(PyObject *value, DLDataType dtype) {
  const int plain = dtype.code <= kDLFloat || dtype.code == kDLComplex || dtype.code == kDLBool;
  if (value == NULL || plain) return value;
  PyObject *viewed = PyObject_CallMethod(value, "view", "s", dtype.bits == 8 ? "uint8" : "uint16");
  Py_DECREF(value);
  return viewed;
}

/// numpy.asarray(x): JAX gathers what lies on several devices, and waits.
static ab_status gather(const ab_call *call, PyObject *array, DLDataType dtype, DLManagedTensorVersioned **tensor) {
  PyObject *value = with_plain_dtype(PyObject_CallMethod(jax_get()->numpy, "asarray", "O", array), dtype);
  if (value == NULL) return jax_error(call, AB_FRAMEWORK, "numpy.asarray(jax array)");
  const int made = jax_buffer_tensor(value, &dtype, tensor);
  Py_DECREF(value);
  if (!made) return ab_fail(call, AB_UNSUPPORTED, "NumPy shows no buffer of the array's value");
  call->report->flags |= AB_REPORT_COPIED | AB_REPORT_BLOCKED_HOST;
  call->report->bytes_copied = abpy_tensor_bytes(&(*tensor)->dl_tensor);
  return AB_OK;
}

static ab_status gather_known(const ab_call *call, PyObject *array, DLManagedTensorVersioned **tensor) {
  PyObject *dtype_object = PyObject_GetAttrString(array, "dtype");
  if (dtype_object == NULL) return jax_error(call, AB_FRAMEWORK, "the array's dtype");
  DLDataType dtype;
  const int known = jax_dtype_read(dtype_object, &dtype);
  Py_DECREF(dtype_object);
  if (!known) return ab_fail(call, AB_UNSUPPORTED, "the array's dtype cannot be carried");
  if (call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "its value must be copied to the host");
  return gather(call, array, dtype, tensor);
}

ab_status jax_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flag of the call");
  if (Py_TYPE((PyObject *)array) != jax_get()->types->array_impl) {
    return ab_fail(call, AB_UNSUPPORTED, "not a JAX array with data");
  }
  if (jax_is_deleted(array)) return ab_fail(call, AB_UNSUPPORTED, JAX_DELETED);
  DLDevice device;
  int fully_addressable = 0;
  const char *why_not = NULL;
  const ab_status placed = jax_device_of_array(array, &device, &fully_addressable, &why_not);
  if (placed == AB_FRAMEWORK) return jax_error(call, AB_FRAMEWORK, "the array's place");
  if (!fully_addressable) return ab_fail(call, AB_UNSUPPORTED, "cannot bring this JAX array to the host: %s", why_not);
  if (placed == AB_OK && device.device_type == kDLCPU) return jax_to_dlpack(call, array, tensor);
  return gather_known(call, array, tensor);
}

/* ------------------------------------------------------------------ from the host */

/// An array of NumPy's over memory that it does not own. New reference, or NULL with an exception.
static PyObject *numpy_over(const DLTensor *tensor, PyObject *dtype) {
  char *data = (char *)tensor->data + tensor->byte_offset;
  static char nothing[1];
  const uint64_t bytes = abpy_tensor_bytes(tensor);
  PyObject *memory = PyMemoryView_FromMemory(bytes > 0 ? data : nothing, (Py_ssize_t)bytes, PyBUF_READ);
  PyObject *shape = abpy_shape_tuple(tensor->ndim, tensor->shape);
  PyObject *value = NULL;
  if (memory != NULL && shape != NULL) {
    value = PyObject_CallMethod(jax_get()->numpy, "ndarray", "OOO", shape, dtype, memory);
  }
  Py_XDECREF(shape);
  Py_XDECREF(memory);
  return value;
}

/// array.block_until_ready(), also if that is interrupted. Returns 0 with the exception.
static int wait_until_read(PyObject *array) {
  PyObject *done = jax_call_method(array, "block_until_ready");
  Py_XDECREF(done);
  if (done != NULL || PyErr_ExceptionMatches(PyExc_Exception)) return done != NULL;
  PyObject *stop = abpy_take_exception();
  // Whoever presses Ctrl-C twice has been heard the first time.
  while ((done = jax_call_method(array, "block_until_ready")) == NULL && !PyErr_ExceptionMatches(PyExc_Exception)) {
    PyErr_Clear();
  }
  Py_XDECREF(done);
  PyErr_SetObject((PyObject *)Py_TYPE(stop), stop);
  Py_DECREF(stop);
  return 0;
}

/// jax.device_put(value, device), complete when it returns: the memory below `value` is not read afterwards. New
/// reference, or NULL with an exception.
static PyObject *put(PyObject *value, PyObject *device) {
  PyObject *scope = jax_x64_enter();
  if (scope == NULL) return NULL;
  PyObject *array = PyObject_CallMethod(jax_get()->module, "device_put", "OO", value, device);
  const int read = array != NULL && wait_until_read(array);
  jax_x64_leave(scope);
  if (!read) Py_CLEAR(array);
  return array;
}

ab_status jax_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flag of the call");
  if (call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "host memory must be copied to the device");
  if (device.device_type == kDLCPU) return ab_fail(call, AB_UNSUPPORTED, "jax.device_put shares host memory");
  PyObject *dtype = jax_dtype_object(tensor->dtype);
  if (dtype == NULL) return ab_fail(call, AB_UNSUPPORTED, "JAX has no such dtype");
  PyObject *target = jax_device_find(call, device);
  if (target == NULL) return call->error->status;
  PyObject *value = numpy_over(tensor, dtype);
  PyObject *made = value != NULL ? put(value, target) : NULL;
  Py_XDECREF(value);
  Py_DECREF(target);
  if (made == NULL) return jax_error(call, AB_FRAMEWORK, "jax.device_put");
  call->report->flags |= AB_REPORT_COPIED | AB_REPORT_BLOCKED_HOST;
  call->report->bytes_copied = abpy_tensor_bytes(tensor);
  *array = made;
  return AB_OK;
}

/* ------------------------------------------------------------------ casts */

ab_status jax_cast(const ab_call *call, void *array, DLDataType dtype, void **result) {
  if (Py_TYPE((PyObject *)array) != jax_get()->types->array_impl) {
    return ab_fail(call, AB_UNSUPPORTED, "not a JAX array with data");
  }
  PyObject *wanted = jax_dtype_object(dtype);
  if (wanted == NULL) return ab_fail(call, AB_UNSUPPORTED, "JAX has no such dtype");
  PyObject *scope = jax_x64_enter();
  PyObject *made = scope != NULL ? PyObject_CallMethod(array, "astype", "O", wanted) : NULL;
  if (scope != NULL) jax_x64_leave(scope);
  if (made == NULL) return jax_error(call, AB_FRAMEWORK, "x.astype()");
  *result = made;
  return AB_OK;
}
