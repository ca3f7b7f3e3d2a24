/* SPDX-License-Identifier: MIT
 * Which objects are NumPy arrays. Works before NumPy's C interface is there. */
#include "numpy_plugin.h"

/// numpy.ndarray once it is known, with a reference that is never given up.
static PyTypeObject *_Atomic ndarray_type;

static PyTypeObject *ndarray(void) {
  PyTypeObject *type = ndarray_type;
  if (type == NULL) ndarray_type = type = abpy_type("numpy", "ndarray");
  return type;
}

int32_t numpy_recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  PyTypeObject *type = ndarray(), *own = Py_TYPE((PyObject *)object);
  // While NumPy is not imported nothing is an array of it, but that may change.
  if (type == NULL) return 0;
  const int32_t ours = own == type || PyType_IsSubtype(own, type);
  *holds_for_type = own == type || !ours;
  return ours;
}

int numpy_is_masked(PyObject *array) {
  if (PyArray_CheckExact(array)) return 0;
  PyTypeObject *masked = abpy_type("numpy.ma", "MaskedArray");
  if (masked == NULL) return 0;
  const int is_masked = PyObject_TypeCheck(array, masked);
  Py_DECREF((PyObject *)masked);
  return is_masked;
}
