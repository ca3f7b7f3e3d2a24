/* SPDX-License-Identifier: MIT
 * From pyclesperanto: to_dlpack, to_host, cast. */
#include "pyclesperanto_plugin.h"

ab_status cle_to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown call flags");
  // It finishes the array's queue: what was enqueued is seen by whoever maps the buffer from another queue.
  PyObject *capsule = PyObject_CallMethodObjArgs(array, cle.name_export, NULL);
  if (capsule == NULL) return abpy_error(call, AB_UNSUPPORTED, "pyclesperanto's __dlpack__");
  // Its deleter drops a C++ object: it needs no lock and may run on any thread.
  DLManagedTensorVersioned *given = NULL;
  const ab_status status = abpy_tensor_from_capsule(cle.services, call, capsule, &given);
  Py_DECREF(capsule);
  if (status != AB_OK) return status;
  if (given->dl_tensor.device.device_type != kDLOpenCL) {
    if (given->deleter != NULL) given->deleter(given);
    return ab_fail(call, AB_UNSUPPORTED, "arrays of pyclesperanto are shared on OpenCL only");
  }
  call->report->flags |= AB_REPORT_SHARED | AB_REPORT_BLOCKED_HOST;
  *tensor = given;
  return AB_OK;
}

/* ------------------------------------------------------------------ to_host */

static void drop_buffer(void *owner) {
  Py_buffer *view = owner;
  PyBuffer_Release(view);
  cle.services->deallocate(cle.services->core, view);
}

/// Gives a tensor over the memory of `value`, a NumPy array. 0 with or without an exception if that cannot be.
static int tensor_over(PyObject *value, DLDataType dtype, DLManagedTensorVersioned **tensor) {
  const ab_services *services = cle.services;
  Py_buffer *view = services->allocate(services->core, sizeof *view);
  if (view == NULL) return 0;
  if (PyObject_GetBuffer(value, view, PyBUF_ND) != 0) {  // PyBUF_ND: only if it is C-contiguous
    services->deallocate(services->core, view);
    return 0;
  }
  const int fits = view->itemsize * 8 == dtype.bits && view->ndim <= AB_MAX_NDIM;
  if (!fits ||
      services->tensor_new(services->core, view->ndim, AB_TENSOR_DROP_NEEDS_LOCK, view, drop_buffer, tensor) != AB_OK) {
    drop_buffer(view);
    return 0;
  }
  DLTensor *made = &(*tensor)->dl_tensor;
  made->data = view->buf;
  made->device = (DLDevice){kDLCPU, 0};
  made->dtype = dtype;
  int64_t stride = 1;
  for (int axis = view->ndim - 1; axis >= 0; axis--) {
    made->shape[axis] = view->shape[axis];
    made->strides[axis] = stride;
    stride *= view->shape[axis];
  }
  return 1;
}

static DLDataType dtype_of_value(PyObject *value) {
  PyObject *dtype = PyObject_GetAttr(value, cle.name_dtype);
  const DLDataType found = dtype != NULL ? cle_dtype_of(dtype) : (DLDataType){0, 0, 0};
  abpy_clear();
  Py_XDECREF(dtype);
  return found;
}

ab_status cle_to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown call flags");
  if (call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "the array is not in host memory");
  PyObject *value = PyObject_CallMethodObjArgs(array, cle.name_get, NULL);  // waits for the array's queue
  if (value == NULL) return cle_failed(call, "pyclesperanto's Array.get");
  const DLDataType dtype = dtype_of_value(value);
  const int made = dtype.bits != 0 && tensor_over(value, dtype, tensor);
  Py_DECREF(value);
  if (!made) return abpy_error(call, AB_UNSUPPORTED, "what pyclesperanto's Array.get gave cannot be used");
  call->report->flags |= AB_REPORT_COPIED | AB_REPORT_BLOCKED_HOST;
  call->report->bytes_copied += abpy_tensor_bytes(&(*tensor)->dl_tensor);
  return AB_OK;
}

/* ------------------------------------------------------------------ cast */

static int is_wide_integer(DLDataType dtype) { return dtype.bits == 32 && dtype.code != kDLFloat; }

/// pyclesperanto casts through float32 (0.25): 2**24 + 1 becomes 2**24 on the way from int32 to uint32. All other casts
/// are exact that way, or rounded once; what is out of range saturates.
static int casts_well(DLDataType from, DLDataType to) {
  return from.code == to.code || !is_wide_integer(from) || !is_wide_integer(to);
}

ab_status cle_cast(const ab_call *call, void *array, DLDataType dtype, void **result) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown call flags");
  PyObject *wanted = cle_dtype_object(dtype);
  if (wanted == NULL) return ab_fail(call, AB_UNSUPPORTED, "pyclesperanto has no such dtype");
  PyObject *dtype_object = PyObject_GetAttr(array, cle.name_dtype);
  if (dtype_object == NULL) return cle_failed(call, "pyclesperanto's Array.dtype");
  const DLDataType from = cle_dtype_of(dtype_object);
  Py_DECREF(dtype_object);
  if (!casts_well(from, dtype)) {
    return ab_fail(call, AB_UNSUPPORTED, "pyclesperanto casts 32-bit integers through float32, which changes them");
  }
  PyObject *made = PyObject_CallMethod((PyObject *)array, "astype", "O", wanted);
  if (made == NULL) return cle_failed(call, "pyclesperanto's Array.astype");
  call->report->flags |= AB_REPORT_CAST;
  *result = made;
  return AB_OK;
}
