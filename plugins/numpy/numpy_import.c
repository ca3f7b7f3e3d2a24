/* SPDX-License-Identifier: MIT
 * Tensors become arrays: an ndarray over foreign memory, kept alive by a capsule as its base. */
#include "numpy_plugin.h"

static const char tensor_capsule[] = "arraybridge.tensor";
static const char memory_capsule[] = "arraybridge.memory";

int32_t numpy_max_ndim(void) { return PyArray_RUNTIME_VERSION >= NPY_2_0_API_VERSION ? AB_MAX_NDIM : 32; }

/* ------------------------------------------------------------------ an array over foreign memory */

static void delete_tensor(PyObject *capsule) {
  DLManagedTensorVersioned *tensor = PyCapsule_GetPointer(capsule, tensor_capsule);
  if (tensor->deleter != NULL) tensor->deleter(tensor);
}

static void delete_memory(PyObject *capsule) {
  numpy_services->deallocate(numpy_services->core, PyCapsule_GetPointer(capsule, memory_capsule));
}

/// An ndarray over `data` without a base; NULL with an exception pending. Takes `descr`.
static PyObject *array_over(const DLTensor *tensor, PyArray_Descr *descr, void *data, int flags) {
  static char nothing[64] __attribute__((aligned(64)));
  npy_intp shape[AB_MAX_NDIM], strides[AB_MAX_NDIM];
  const int shift = numpy_dtype_shift(tensor->dtype);
  for (int axis = 0; axis < tensor->ndim; axis++) {
    shape[axis] = (npy_intp)tensor->shape[axis];
    if (tensor->strides != NULL) strides[axis] = (npy_intp)tensor->strides[axis] * ((npy_intp)1 << shift);
  }
  // NULL would make NumPy allocate; an empty array may stand anywhere.
  if (data == NULL) data = nothing;
  return PyArray_NewFromDescr(&PyArray_Type, descr, tensor->ndim, shape, tensor->strides != NULL ? strides : NULL, data,
                              flags, NULL);
}

static ab_status check_tensor(const ab_call *call, const DLTensor *tensor, DLDevice device) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY))
    return ab_fail(call, AB_UNSUPPORTED, "an unknown flag of the call");
  if (device.device_type != kDLCPU) return ab_fail(call, AB_NO_DEVICE, "NumPy arrays are on the host only");
  const DLDeviceType place = tensor->device.device_type;
  if (place != kDLCPU && place != kDLCUDAHost && place != kDLROCMHost) {
    return ab_fail(call, AB_UNSUPPORTED, "NumPy cannot read the memory of device type %d", (int)place);
  }
  if (tensor->ndim > numpy_max_ndim()) {
    return ab_fail(call, AB_UNSUPPORTED, "%d dimensions; this NumPy takes %d", (int)tensor->ndim,
                   (int)numpy_max_ndim());
  }
  return AB_OK;
}

/// Takes `base`; 0 if NumPy refuses it.
static int set_base(PyObject *array, PyObject *base) {
  return PyArray_SetBaseObject((PyArrayObject *)array, base) == 0;
}

ab_status numpy_from_dlpack(const ab_call *call, DLManagedTensorVersioned *managed, DLDevice device, int32_t *consumed,
                            void **result) {
  const DLTensor *tensor = &managed->dl_tensor;
  PyArray_Descr *descr = NULL;
  ab_status status = check_tensor(call, tensor, device);
  if (status == AB_OK) status = numpy_dtype_descr(call, tensor->dtype, &descr);
  if (status != AB_OK) return status;

  char *data = tensor->data != NULL ? (char *)tensor->data + tensor->byte_offset : NULL;
  const int read_only = (managed->flags & DLPACK_FLAG_BITMASK_READ_ONLY) != 0;
  PyObject *array = array_over(tensor, descr, data, read_only ? 0 : NPY_ARRAY_WRITEABLE);
  if (array == NULL) return abpy_error(call, AB_FRAMEWORK, "NumPy cannot make the array");
  PyObject *base = PyCapsule_New(managed, tensor_capsule, delete_tensor);
  if (base != NULL && set_base(array, base)) {
    call->report->flags |= AB_REPORT_SHARED;
    *result = array;
    return AB_OK;
  }
  *consumed = base != NULL;  // the refused capsule has deleted the tensor
  status = abpy_error(call, AB_FRAMEWORK, "NumPy cannot keep the tensor");
  Py_DECREF(array);
  return status;
}

/* ------------------------------------------------------------------ an array to be written */

/// Bytes of a compact tensor; 0 if the number is out of range or there are none.
static uint64_t compact_bytes(const DLTensor *like) {
  uint64_t bytes = like->dtype.bits / 8u;
  for (int axis = 0; axis < like->ndim; axis++) {
    if (__builtin_mul_overflow(bytes, (uint64_t)like->shape[axis], &bytes)) return 0;
  }
  return bytes;
}

/// An uninitialised C-contiguous array. Its memory comes from the core: aligned to 64 bytes, where NumPy's own is at
/// 16, it can later be shared with JAX and TensorFlow.
static PyObject *new_array(const DLTensor *like, PyArray_Descr *descr) {
  DLTensor compact = *like;
  compact.strides = NULL;
  const uint64_t bytes = compact_bytes(like);
  void *memory = bytes != 0 ? numpy_services->allocate(numpy_services->core, bytes) : NULL;
  if (bytes != 0 && memory == NULL) {
    Py_DECREF((PyObject *)descr);
    return PyErr_NoMemory();
  }
  PyObject *array = array_over(&compact, descr, memory, NPY_ARRAY_WRITEABLE);
  if (memory == NULL) return array;
  PyObject *base = array != NULL ? PyCapsule_New(memory, memory_capsule, delete_memory) : NULL;
  if (base == NULL) numpy_services->deallocate(numpy_services->core, memory);
  if (base != NULL && set_base(array, base)) return array;
  Py_XDECREF(array);
  return NULL;
}

ab_status numpy_empty(const ab_call *call, const DLTensor *like, DLDevice device, void **result,
                      DLManagedTensorVersioned **writable) {
  PyArray_Descr *descr = NULL;
  ab_status status = check_tensor(call, like, device);
  if (status == AB_OK) status = numpy_dtype_descr(call, like->dtype, &descr);
  if (status != AB_OK) return status;
  PyObject *array = new_array(like, descr);
  if (array == NULL) return abpy_error(call, AB_FRAMEWORK, "NumPy cannot make the array");
  status = numpy_share((PyArrayObject *)array, like->dtype, writable);
  if (status == AB_OK) {
    *result = array;
  } else {
    Py_DECREF(array);
  }
  return status;
}
