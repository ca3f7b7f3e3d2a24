/* SPDX-License-Identifier: MIT
 * float8 between TensorFlow and DLPack tensors. TensorFlow's own DLPack calls (2.21) refuse it in both directions, but
 * its tensors share memory with NumPy arrays of ml_dtypes' types: np.asarray(tensor) on the way out, the constructor of
 * EagerTensor on the way in. TensorFlow lets go of a NumPy array at its next call from Python, not at once, if its last
 * tensor dies elsewhere: float8 memory that was imported can live that much longer. */
#include "tensorflow_plugin.h"

/* ------------------------------------------------------------------ out */

/// The elements as a NumPy array of uint8, which has a buffer; float8 arrays have none. NULL with an exception pending.
static PyObject *byte_array(PyObject *tensor, int32_t ndim) {
  PyObject *numpy = PyImport_ImportModule("numpy");
  // Without dimensions np.asarray() fails: TensorFlow gives it a scalar where it wants an array.
  PyObject *source = ndim == 0 ? PyObject_CallMethod(tensor, "numpy", NULL) : Py_NewRef(tensor);
  PyObject *array = numpy != NULL && source != NULL ? PyObject_CallMethod(numpy, "asarray", "O", source) : NULL;
  PyObject *bytes = array != NULL ? PyObject_CallMethod(array, "view", "s", "uint8") : NULL;
  Py_XDECREF(array);
  Py_XDECREF(source);
  Py_XDECREF(numpy);
  return bytes;
}

static void *address_of(PyObject *bytes) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(bytes, &buffer, PyBUF_SIMPLE) != 0) return NULL;
  void *address = buffer.buf;
  PyBuffer_Release(&buffer);  // the array holds its memory until it is gone itself
  return address;
}

ab_status ab_tf_float8_export(const ab_call *call, PyObject *tensor, DLDataType dtype,
                              DLManagedTensorVersioned **shared) {
  int64_t shape[AB_MAX_NDIM];
  int32_t ndim = -1;
  ab_status status = ab_tf_eager_shape(call, tensor, shape, &ndim);
  if (status != AB_OK) return status;
  if (ndim < 0) return ab_fail(call, AB_UNSUPPORTED, "a tensor of more than %d dimensions", AB_MAX_NDIM);
  if (ndim == 0 && (call->flags & AB_CALL_NEVER_COPY) != 0) {
    return ab_fail(call, AB_WOULD_COPY, "TensorFlow copies float8 arrays without dimensions");
  }
  PyObject *bytes = byte_array(tensor, ndim);
  void *address = bytes != NULL ? address_of(bytes) : NULL;
  if (address == NULL) {
    Py_XDECREF(bytes);
    return abpy_error(call, AB_FRAMEWORK, "float8 elements through NumPy");
  }
  DLManagedTensorVersioned *made = NULL;
  const ab_services *services = ab_tf.services;
  status = services->tensor_new(services->core, ndim, AB_TENSOR_DROP_NEEDS_LOCK, bytes, abpy_drop, &made);
  if (status != AB_OK) {
    Py_DECREF(bytes);
    return ab_fail(call, status, "no memory for a tensor");
  }
  DLTensor *view = &made->dl_tensor;
  view->data = address;
  view->device = (DLDevice){kDLCPU, 0};
  view->dtype = dtype;
  int64_t stride = 1;
  for (int32_t axis = ndim - 1; axis >= 0; axis--) {
    view->shape[axis] = shape[axis];
    view->strides[axis] = stride;
    stride *= shape[axis] > 0 ? shape[axis] : 1;
  }
  call->report->flags |= ndim > 0 ? AB_REPORT_SHARED : AB_REPORT_COPIED;
  call->report->bytes_copied += ndim > 0 ? 0 : 1;
  *shared = made;
  return AB_OK;
}

/* ------------------------------------------------------------------ in: an owner of the memory, as Python sees it */

/// Keeps a tensor alive for the NumPy array that looks at its memory.
typedef struct keeper {
  PyObject_HEAD DLManagedTensorVersioned *tensor;
  int *gone;  ///< while the import is under way: set to 1 instead of deleting the tensor; then NULL
} keeper;

static void keeper_dealloc(PyObject *self) {
  keeper *kept = (keeper *)self;
  PyTypeObject *type = Py_TYPE(self);
  if (kept->gone != NULL) {
    *kept->gone = 1;
  } else if (kept->tensor != NULL && kept->tensor->deleter != NULL) {
    kept->tensor->deleter(kept->tensor);
  }
  PyObject_Free(self);
  Py_DECREF((PyObject *)type);
}

static int keeper_getbuffer(PyObject *self, Py_buffer *buffer, int flags) {
  static char nothing;  // a buffer may not be NULL
  const DLTensor *view = &((keeper *)self)->tensor->dl_tensor;
  const uint64_t bytes = ab_tf_bytes(view);
  return PyBuffer_FillInfo(buffer, self, bytes > 0 ? view->data : &nothing, (Py_ssize_t)bytes, 0, flags);
}

static PyTypeObject *keeper_type(void) {
  static PyTypeObject *type;
  if (type != NULL) return type;
  PyType_Slot slots[] = {
      {Py_tp_dealloc, __extension__(void *) keeper_dealloc},
      {Py_bf_getbuffer, __extension__(void *) keeper_getbuffer},
      {0, NULL},
  };
  PyType_Spec spec = {.name = "arraybridge_tensorflow.Keeper",
                      .basicsize = (int)sizeof(keeper),
                      .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                      .slots = slots};
  return type = (PyTypeObject *)PyType_FromSpec(&spec);
}

static PyObject *keeper_new(DLManagedTensorVersioned *tensor, int *gone) {
  PyTypeObject *type = keeper_type();
  if (type == NULL) return NULL;
  keeper *kept = (keeper *)PyType_GenericAlloc(type, 0);
  if (kept == NULL) return NULL;
  kept->tensor = tensor;
  kept->gone = gone;
  return (PyObject *)kept;
}

/* ------------------------------------------------------------------ in: NumPy array, EagerTensor */

static PyObject *shape_tuple(const DLTensor *view) {
  PyObject *shape = PyTuple_New(view->ndim);
  for (int32_t axis = 0; shape != NULL && axis < view->ndim; axis++) {
    PyObject *size = PyLong_FromLongLong(view->shape[axis]);
    if (size == NULL || PyTuple_SetItem(shape, axis, size) != 0) Py_CLEAR(shape);
  }
  return shape;
}

/// ml_dtypes' type for TensorFlow's dtype `number`.
static PyObject *numpy_type(long number) {
  PyObject *dtype = PyObject_CallMethod(ab_tf.tensorflow, "as_dtype", "l", number);
  PyObject *type = dtype != NULL ? PyObject_GetAttrString(dtype, "as_numpy_dtype") : NULL;
  Py_XDECREF(dtype);
  return type;
}

/// np.ndarray(shape, dtype, kept): a view of the kept memory.
static PyObject *array_over(PyObject *kept, const DLTensor *view, long number) {
  PyObject *numpy = PyImport_ImportModule("numpy");
  PyObject *shape = numpy != NULL ? shape_tuple(view) : NULL;
  PyObject *type = shape != NULL ? numpy_type(number) : NULL;
  PyObject *array = type != NULL ? PyObject_CallMethod(numpy, "ndarray", "OOO", shape, type, kept) : NULL;
  Py_XDECREF(type);
  Py_XDECREF(shape);
  Py_XDECREF(numpy);
  return array;
}

static PyObject *eager_over(PyObject *kept, const DLTensor *view, long number) {
  char host[sizeof ab_tf.address + 16];
  snprintf(host, sizeof host, "%s/device:CPU:0", ab_tf.address);
  PyObject *array = array_over(kept, view, number);
  PyObject *tensor =
      array != NULL ? PyObject_CallFunction((PyObject *)ab_tf.eager_type, "Osl", array, host, number) : NULL;
  Py_XDECREF(array);
  return tensor;
}

ab_status ab_tf_float8_import(const ab_call *call, DLManagedTensorVersioned *tensor, int32_t *consumed, void **array) {
  tf_way way = TF_WAY_NONE;
  const long number = ab_tf_dtype_number(tensor->dl_tensor.dtype, &way);
  const uint64_t bytes = ab_tf_bytes(&tensor->dl_tensor);
  if (number == 0 || bytes == UINT64_MAX) return ab_fail(call, AB_UNSUPPORTED, "no tensor that TensorFlow can hold");
  int gone = 0;
  PyObject *kept = keeper_new(tensor, &gone);
  if (kept == NULL) return abpy_error(call, AB_OOM, "no memory for a tensor");
  PyObject *result = eager_over(kept, &tensor->dl_tensor, number);
  const ab_status status = result != NULL ? AB_OK : abpy_error(call, AB_FRAMEWORK, "float8 elements through NumPy");
  // If our reference was the last one, TensorFlow does not look at the memory: it has failed, or has copied.
  Py_DECREF(kept);
  if (!gone) {
    ((keeper *)kept)->gone = NULL;
    *consumed = 1;
  }
  if (status != AB_OK) return status;
  if (gone && bytes > 0) {
    Py_DECREF(result);
    return ab_fail(call, AB_UNSUPPORTED, "this TensorFlow copies float8");
  }
  if (gone && tensor->deleter != NULL) tensor->deleter(tensor);
  call->report->flags |= AB_REPORT_SHARED;
  *array = result;
  return AB_OK;
}
