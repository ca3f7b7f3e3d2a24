/* SPDX-License-Identifier: MIT
 * Shapes, as Python and as DLPack has them. */
#include "abpy.h"

PyObject *abpy_shape_tuple(int32_t ndim, const int64_t *shape) {
  PyObject *tuple = PyTuple_New(ndim);
  for (int32_t axis = 0; tuple != NULL && axis < ndim; axis++) {
    PyObject *extent = PyLong_FromLongLong(shape[axis]);
    if (extent == NULL || PyTuple_SetItem(tuple, axis, extent) != 0) Py_CLEAR(tuple);
  }
  return tuple;
}

uint64_t abpy_tensor_bytes(const DLTensor *tensor) {
  uint64_t bytes = ((uint64_t)tensor->dtype.bits * tensor->dtype.lanes + 7) / 8;
  for (int32_t axis = 0; axis < tensor->ndim; axis++) bytes *= (uint64_t)tensor->shape[axis];
  return bytes;
}
