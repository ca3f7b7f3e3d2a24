/* SPDX-License-Identifier: MIT */
#include "native.h"

static Py_ssize_t place_of(const native_signature *signature, PyObject *name) {
  for (Py_ssize_t index = 0; signature->names[index] != NULL; index++)
    if (PyUnicode_CompareWithASCIIString(name, signature->names[index]) == 0) return index;
  return -1;
}

static int take_by_name(const native_signature *signature, PyObject *name, PyObject *value, PyObject **values) {
  const Py_ssize_t place = place_of(signature, name);
  if (place < 0) {
    PyErr_Format(PyExc_TypeError, "%s() got an unexpected keyword argument '%U'", signature->function, name);
    return -1;
  }
  if (values[place] != NULL) {
    PyErr_Format(PyExc_TypeError, "%s() got multiple values for argument '%U'", signature->function, name);
    return -1;
  }
  values[place] = value;
  return 0;
}

int native_arguments(const native_signature *signature, PyObject *const *args, Py_ssize_t count, PyObject *names,
                     PyObject **values) {
  for (Py_ssize_t index = 0; index < NATIVE_MAX_ARGUMENTS; index++) values[index] = NULL;
  if (count > signature->positional) {
    PyErr_Format(PyExc_TypeError, "%s() takes %zd positional arguments but %zd were given", signature->function,
                 signature->positional, count);
    return -1;
  }
  for (Py_ssize_t index = 0; index < count; index++) values[index] = args[index];
  const Py_ssize_t named = names != NULL ? PyTuple_Size(names) : 0;
  for (Py_ssize_t index = 0; index < named; index++)
    if (take_by_name(signature, PyTuple_GetItem(names, index), args[count + index], values) != 0) return -1;
  for (Py_ssize_t index = 0; index < signature->required; index++) {
    if (values[index] != NULL) continue;
    PyErr_Format(PyExc_TypeError, "%s() missing required argument '%s'", signature->function, signature->names[index]);
    return -1;
  }
  return 0;
}
