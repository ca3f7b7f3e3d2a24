/* SPDX-License-Identifier: MIT
 * Into pyclesperanto: capabilities, from_dlpack, from_host. */
#include "pyclesperanto_plugin.h"

enum { MOST_DIMENSIONS = 3 };

/* ------------------------------------------------------------------ what is taken */

static int imports_capsules(const cle_device *device) {
  if (device->context == NULL) return 0;
  PyObject *function = PyObject_GetAttr(device->sample, cle.name_import);
  abpy_clear();
  Py_XDECREF(function);
  return function != NULL;
}

ab_status cle_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  if (device.device_type == kDLCPU) return ab_fail(call, AB_UNSUPPORTED, "pyclesperanto has no arrays in host memory");
  if (slot != AB_SLOT_FROM_DLPACK && slot != AB_SLOT_FROM_HOST) return ab_fail(call, AB_UNSUPPORTED, "unknown slot");
  cle_device *found = cle_device_find(call, device);
  if (found == NULL) return call->error->status;
  ab_status status = cle_device_wake(call, found);
  if (status != AB_OK) return status;
  if (slot == AB_SLOT_FROM_DLPACK && !imports_capsules(found)) {
    status = abpy_stopped(call);
    if (status != AB_OK) return status;
    return ab_fail(call, AB_UNSUPPORTED, "this pyclesperanto shares no memory on %s", found->name);
  }
  ab_capabilities can = {
      .struct_size = (uint32_t)sizeof can,
      .flags = slot == AB_SLOT_FROM_DLPACK ? AB_READS_HOST_LATER : 0u,
      .layout = AB_LAYOUT_C,
      .max_ndim = MOST_DIMENSIONS,
      .alignment = 0,  // that of the dtype; what wraps host memory knows if the device asks for more
      .max_bytes = found->facts.max_bytes,
      .tensor_devices = UINT64_C(1) << (int)device.device_type,
      .plugin_flags = AB_PLUGIN_OWN_CONTEXT | AB_PLUGIN_DELETER_IN_CALLBACK | AB_PLUGIN_DELETER_ANY_THREAD,
  };
  can.dtypes = cle_dtypes(&can.dtype_count);
  ab_struct_fill(capabilities, &can, (uint32_t)sizeof can);
  return AB_OK;
}

/// What pyclesperanto must not see: it narrows 64 bits in silence, turns empty arrays into ones of one element, and
/// loses a tensor of 0 or 4 dimensions without deleting it (0.25).
static ab_status check_form(const ab_call *call, const DLTensor *tensor) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown call flags");
  if (cle_dtype_object(tensor->dtype) == NULL) return ab_fail(call, AB_UNSUPPORTED, "pyclesperanto has no such dtype");
  if (tensor->ndim < 1 || tensor->ndim > MOST_DIMENSIONS) {
    return ab_fail(call, AB_UNSUPPORTED, "pyclesperanto has arrays of 1 to %d dimensions", MOST_DIMENSIONS);
  }
  for (int32_t axis = 0; axis < tensor->ndim; axis++) {
    if (tensor->shape[axis] < 1) return ab_fail(call, AB_UNSUPPORTED, "pyclesperanto has no empty arrays");
  }
  return AB_OK;
}

/* ------------------------------------------------------------------ from_dlpack */

/// pyclesperanto dereferences strides without looking, and refuses odd ones on axes of one element (0.25).
static ab_status check_layout(const ab_call *call, const DLTensor *tensor) {
  if (tensor->strides == NULL) return ab_fail(call, AB_UNSUPPORTED, "the tensor has no strides");
  if (tensor->byte_offset != 0) return ab_fail(call, AB_UNSUPPORTED, "pyclesperanto takes no part of a buffer");
  int64_t stride = 1;
  for (int32_t axis = tensor->ndim - 1; axis >= 0; axis--) {
    if (tensor->strides[axis] != stride)
      return ab_fail(call, AB_UNSUPPORTED, "pyclesperanto takes C-contiguous arrays");
    stride *= tensor->shape[axis];
  }
  return AB_OK;
}

/// pyclesperanto takes a buffer of any context, and its kernels then fail or worse.
static ab_status check_context(const ab_call *call, const DLTensor *tensor, const cle_device *device) {
  if (tensor->device.device_type != kDLOpenCL || device->device.device_type != kDLOpenCL) {
    return ab_fail(call, AB_UNSUPPORTED, "pyclesperanto shares OpenCL buffers only");
  }
  if (device->context == NULL || cle_native_context(tensor->data) != device->context) {
    return ab_fail(call, AB_UNSUPPORTED, "the buffer belongs to another OpenCL context than pyclesperanto's");
  }
  return AB_OK;
}

ab_status cle_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                          void **array) {
  const DLTensor *view = &tensor->dl_tensor;
  ab_status status = check_form(call, view);
  if (status == AB_OK) status = check_layout(call, view);
  if (status != AB_OK) return status;
  cle_device *found = cle_device_find(call, device);
  if (found == NULL) return call->error->status;
  status = cle_device_wake(call, found);
  if (status == AB_OK) status = check_context(call, view, found);
  if (status != AB_OK) return status;
  abpy_loan loan;
  status = abpy_loan_begin(cle.services, call, tensor, 1, &loan);
  if (status != AB_OK) return status;
  PyObject *made = PyObject_CallMethodObjArgs(found->sample, cle.name_import, loan.capsule, found->object, NULL);
  abpy_loan_end(&loan, consumed);
  if (made == NULL) return cle_failed(call, "pyclesperanto's _from_dlpack");
  call->report->flags |= AB_REPORT_SHARED;
  *array = made;
  return AB_OK;
}

/* ------------------------------------------------------------------ from_host */

PyObject *cle_new_array(const cle_device *device, int32_t ndim, const int64_t *shape, DLDataType dtype) {
  PyObject *create = PyObject_GetAttrString(cle.module, "create");
  PyObject *extents = create != NULL ? abpy_shape_tuple(ndim, shape) : NULL;
  PyObject *array = NULL;
  if (extents != NULL) {
    array =
        PyObject_CallFunctionObjArgs(create, extents, cle_dtype_object(dtype), cle.word_buffer, device->object, NULL);
  }
  Py_XDECREF(extents);
  Py_XDECREF(create);
  return array;
}

/// A NumPy array over memory that it does not own. New reference, or NULL with an exception.
static PyObject *numpy_over(const DLTensor *tensor, uint64_t bytes) {
  char *data = (char *)tensor->data + tensor->byte_offset;
  PyObject *memory = PyMemoryView_FromMemory(data, (Py_ssize_t)bytes, PyBUF_READ);
  PyObject *extents = memory != NULL ? abpy_shape_tuple(tensor->ndim, tensor->shape) : NULL;
  PyObject *value = NULL;
  if (extents != NULL) {
    value = PyObject_CallMethod(cle.numpy, "ndarray", "OOO", extents, cle_dtype_object(tensor->dtype), memory);
  }
  Py_XDECREF(extents);
  Py_XDECREF(memory);
  return value;
}

/// array.set(value), complete: the memory below `value` is not read afterwards, also if one of the calls was
/// interrupted.
static ab_status write_array(const ab_call *call, cle_device *device, PyObject *array, PyObject *value) {
  PyObject *done = PyObject_CallMethod(array, "set", "O", value);
  ab_status status = done != NULL ? AB_OK : cle_failed(call, "pyclesperanto's Array.set");
  Py_XDECREF(done);
  if (status == AB_OK) status = cle_device_wait(call, device);
  if (status != AB_OK) cle_device_wait_on(device); /* whatever stopped it: the memory is read until the queue is done */
  return status;
}

ab_status cle_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  ab_status status = check_form(call, tensor);
  if (status != AB_OK) return status;
  if (call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "from_host copies");
  cle_device *found = cle_device_find(call, device);
  if (found == NULL) return call->error->status;
  const uint64_t bytes = abpy_tensor_bytes(tensor);
  PyObject *made = cle_new_array(found, tensor->ndim, tensor->shape, tensor->dtype);
  if (made == NULL) return cle_failed(call, "pyclesperanto's create");
  PyObject *value = numpy_over(tensor, bytes);
  status = value != NULL ? write_array(call, found, made, value) : abpy_error(call, AB_FRAMEWORK, "numpy.ndarray");
  Py_XDECREF(value);
  if (status != AB_OK) {
    Py_DECREF(made);
    return status;
  }
  call->report->flags |= AB_REPORT_COPIED | AB_REPORT_BLOCKED_HOST;
  call->report->bytes_copied += bytes;
  *array = made;
  return AB_OK;
}
