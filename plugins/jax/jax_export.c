/* SPDX-License-Identifier: MIT
 * Arrays that leave JAX and keep their memory. */
#include "jax_plugin.h"

/* ------------------------------------------------------------------ through the buffer protocol */

/* Half the cost of jaxlib's own export. The buffer waits for the computation that fills the array, is refused for
 * arrays on several devices and for other layouts than C, and survives x.delete(); while it is held JAX does not reuse
 * the memory for a donation. */

static void drop_buffer(void *owner) {
  PyBuffer_Release(owner);
  PyMem_Free(owner);
}

static int describe_elements(const Py_buffer *view, const DLDataType *dtype, DLDataType *found) {
  if (view->ndim < 0 || view->ndim > AB_MAX_NDIM || view->itemsize < 1) return 0;
  if (view->ndim > 0 && (view->shape == NULL || view->strides == NULL)) return 0;
  if (dtype == NULL) return jax_dtype_of_format(view->format, view->itemsize, found);
  *found = *dtype;
  return dtype->bits == view->itemsize * 8;
}

static int make_tensor(Py_buffer *view, const DLDataType *dtype, DLManagedTensorVersioned **tensor) {
  DLDataType elements;
  if (!describe_elements(view, dtype, &elements)) return 0;
  DLManagedTensorVersioned *made = NULL;
  const ab_status status =
      jax_services->tensor_new(jax_services->core, view->ndim, AB_TENSOR_DROP_NEEDS_LOCK, view, drop_buffer, &made);
  if (status != AB_OK) return 0;
  made->dl_tensor.data = view->buf;
  made->dl_tensor.device = (DLDevice){kDLCPU, 0};
  made->dl_tensor.dtype = elements;
  for (int axis = 0; axis < view->ndim; axis++) {
    made->dl_tensor.shape[axis] = view->shape[axis];
    made->dl_tensor.strides[axis] = view->strides[axis] / view->itemsize;
  }
  *tensor = made;
  return 1;
}

int jax_buffer_tensor(PyObject *object, const DLDataType *dtype, DLManagedTensorVersioned **tensor) {
  // Python's small blocks: always taken and given back under the GIL.
  Py_buffer *view = PyMem_Malloc(sizeof *view);
  if (view == NULL) return 0;
  if (PyObject_GetBuffer(object, view, PyBUF_STRIDES | PyBUF_FORMAT) != 0) {
    abpy_clear();
    PyMem_Free(view);
    return 0;
  }
  if (make_tensor(view, dtype, tensor)) return 1;
  drop_buffer(view);
  return 0;
}

/// Where the process has several CPU devices, or where others compute with it, the buffer does not say enough.
static int place_tensor(PyObject *array, DLManagedTensorVersioned *tensor) {
  DLDevice device;
  int fully_addressable = 0;
  const char *why_not = NULL;
  if (jax_single_cpu()) return 1;
  if (jax_device_of_array(array, &device, &fully_addressable, &why_not) != AB_OK) {
    abpy_clear();  // the longer way asks again
    return 0;
  }
  if (device.device_type != kDLCPU) return 0;
  tensor->dl_tensor.device = device;
  return 1;
}

int jax_share_host(PyObject *array, DLManagedTensorVersioned **tensor) {
  DLManagedTensorVersioned *made = NULL;
  if (!jax_buffer_tensor(array, NULL, &made)) return 0;
  if (!place_tensor(array, made)) {
    made->deleter(made);
    return 0;
  }
  *tensor = made;
  return 1;
}

/* ------------------------------------------------------------------ through a capsule */

/// The consumer's stream as Python's DLPack protocol numbers it; None makes JAX wait on the host. New reference.
static PyObject *stream_number(const ab_call *call) {
  const ab_stream *stream = call->stream;
  if (stream != NULL && stream->kind == AB_STREAM_LEGACY) return PyLong_FromLong(1);
  if (stream != NULL && stream->kind == AB_STREAM_PER_THREAD) return PyLong_FromLong(2);
  if (stream != NULL && stream->kind == AB_STREAM_HANDLE) return PyLong_FromVoidPtr(stream->handle);
  return Py_BuildValue("");
}

/// The capsule of `shard`, which is not the user's own object. New reference, or NULL with an exception.
static PyObject *capsule_of(PyObject *shard, PyObject *stream) {
  const jax_framework *jax = jax_get();
  if (jax->export_buffer != NULL) return PyObject_CallFunctionObjArgs(jax->export_buffer, shard, stream, NULL);
  PyObject *method = PyObject_GetAttrString(shard, "__dlpack__");
  PyObject *keywords = Py_BuildValue("{s:O}", "stream", stream);
  PyObject *capsule = method != NULL && keywords != NULL ? PyObject_Call(method, jax->no_arguments, keywords) : NULL;
  Py_XDECREF(keywords);
  Py_XDECREF(method);
  return capsule;
}

/// Makes the capsule's tensor say where it is. JAX numbers every host device 0, and knows arrays of a GPU that lie in
/// the host's memory, which no description of ours has a word for.
static ab_status place_export(const ab_call *call, DLDevice device, DLManagedTensorVersioned **tensor) {
  if ((*tensor)->dl_tensor.device.device_type == device.device_type) {
    (*tensor)->dl_tensor.device = device;
    return AB_OK;
  }
  (*tensor)->deleter(*tensor);
  *tensor = NULL;
  return ab_fail(call, AB_UNSUPPORTED, "the array is not in its device's own memory");
}

ab_status jax_export_tensor(const ab_call *call, PyObject *array, DLDevice device, DLManagedTensorVersioned **tensor) {
  const int host = device.device_type == kDLCPU;
  // The array itself would be the capsule's owner, and x.delete() would then abort the process (jaxlib 0.10).
  PyObject *shard = PyObject_CallMethod(array, "addressable_data", "i", 0);
  PyObject *stream = host ? Py_BuildValue("") : stream_number(call);
  PyObject *capsule = shard != NULL && stream != NULL ? capsule_of(shard, stream) : NULL;
  DLManagedTensorVersioned *made = NULL;
  ab_status status = AB_OK;
  if (capsule == NULL) status = jax_error(call, AB_FRAMEWORK, "JAX's DLPack export");
  if (status == AB_OK) status = abpy_tensor_from_capsule(jax_services, call, capsule, &made);
  if (status == AB_OK) status = place_export(call, device, &made);
  if (status == AB_OK) *tensor = made;
  if (status == AB_OK && stream == Py_None && !host) call->report->flags |= AB_REPORT_BLOCKED_HOST;
  Py_XDECREF(capsule);
  Py_XDECREF(stream);
  Py_XDECREF(shard);
  return status;
}

/* ------------------------------------------------------------------ the slot */

static ab_status export_plain(const ab_call *call, PyObject *array, DLManagedTensorVersioned **tensor) {
  DLDevice device;
  int fully_addressable = 0;
  const char *why_not = NULL;
  const ab_status placed = jax_device_of_array(array, &device, &fully_addressable, &why_not);
  if (placed == AB_FRAMEWORK) return jax_error(call, AB_FRAMEWORK, "the array's place");
  if (placed != AB_OK) {
    return ab_fail(call, AB_UNSUPPORTED, "cannot share this JAX array: %s", why_not);
  }
  if (device.device_type == kDLExtDev) return ab_fail(call, AB_UNSUPPORTED, "JAX cannot export from this device");
  return jax_export_tensor(call, array, device, tensor);
}

ab_status jax_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flag of the call");
  if (Py_TYPE((PyObject *)array) != jax_get()->types->array_impl) {
    return ab_fail(call, AB_UNSUPPORTED, "not a JAX array with data");
  }
  ab_status status = AB_OK;
  if (!jax_share_host(array, tensor)) {
    if (jax_is_deleted(array)) return ab_fail(call, AB_UNSUPPORTED, JAX_DELETED);
    status = export_plain(call, array, tensor);
  }
  if (status == AB_OK) call->report->flags |= AB_REPORT_SHARED;
  return status;
}
