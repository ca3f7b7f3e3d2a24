/* SPDX-License-Identifier: MIT
 * Arrays become tensors. */
#include "numpy_plugin.h"

ab_status numpy_share(PyArrayObject *array, DLDataType dtype, DLManagedTensorVersioned **tensor) {
  const int ndim = PyArray_NDIM(array), shift = numpy_dtype_shift(dtype);
  DLManagedTensorVersioned *made = NULL;
  const ab_status status =
      numpy_services->tensor_new(numpy_services->core, ndim, AB_TENSOR_DROP_NEEDS_LOCK, array, abpy_drop, &made);
  if (status != AB_OK) return status;
  Py_INCREF((PyObject *)array);
  made->dl_tensor.data = PyArray_DATA(array);
  made->dl_tensor.device = (DLDevice){kDLCPU, 0};
  made->dl_tensor.dtype = dtype;
  for (int axis = 0; axis < ndim; axis++) {
    made->dl_tensor.shape[axis] = PyArray_DIM(array, axis);
    // Exact, since strides are whole; a shift, since a division would cost more than all the rest.
    made->dl_tensor.strides[axis] = PyArray_STRIDE(array, axis) >> shift;
  }
  if (!PyArray_CHKFLAGS(array, NPY_ARRAY_WRITEABLE)) made->flags |= DLPACK_FLAG_BITMASK_READ_ONLY;
  *tensor = made;
  return AB_OK;
}

ab_status numpy_to_dlpack(const ab_call *call, void *object, DLManagedTensorVersioned **tensor) {
  PyArrayObject *array = object;
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY))
    return ab_fail(call, AB_UNSUPPORTED, "an unknown flag of the call");
  const DLDataType dtype = numpy_dtype_of(array);
  if (dtype.bits == 0) return ab_fail(call, AB_UNSUPPORTED, "%s", numpy_dtype_why_not(array));
  const char *why_not =
      numpy_is_masked(object) ? "a masked array's mask would be lost" : numpy_unshareable(array, dtype);
  if (why_not != NULL) return ab_fail(call, AB_UNSUPPORTED, "cannot be shared: %s", why_not);
  call->report->flags |= AB_REPORT_SHARED;
  return numpy_share(array, dtype, tensor);
}

static ab_status copy_to_host(const ab_call *call, PyArrayObject *array, DLDataType dtype,
                              DLManagedTensorVersioned **tensor) {
  PyArray_Descr *native = NULL;
  ab_status status = numpy_dtype_descr(call, dtype, &native);
  if (status != AB_OK) return status;
  PyObject *copy = numpy_copy_as(array, native);
  if (copy == NULL) return abpy_error(call, AB_FRAMEWORK, "NumPy cannot copy the array");
  status = numpy_share((PyArrayObject *)copy, dtype, tensor);
  if (status == AB_OK) {
    call->report->flags |= AB_REPORT_COPIED;
    call->report->bytes_copied = (uint64_t)PyArray_NBYTES((PyArrayObject *)copy);
  }
  Py_DECREF(copy);
  return status;
}

ab_status numpy_to_host(const ab_call *call, void *object, DLManagedTensorVersioned **tensor) {
  const ab_status status = numpy_to_dlpack(call, object, tensor);
  if (status != AB_UNSUPPORTED) return status;
  const DLDataType dtype = numpy_dtype_of(object);
  if (dtype.bits == 0 || numpy_is_masked(object)) return status;
  if (call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "%s", numpy_unshareable(object, dtype));
  return copy_to_host(call, object, dtype, tensor);
}
