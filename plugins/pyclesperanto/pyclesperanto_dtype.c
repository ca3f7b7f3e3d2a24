/* SPDX-License-Identifier: MIT
 * The dtypes of pyclesperanto. It makes arrays of others, too (bool, 64 bits), by narrowing them in silence. */
#include "pyclesperanto_plugin.h"

enum { DTYPES = 7 };

static const DLDataType dtypes[DTYPES] = {
    {kDLFloat, 32, 1}, {kDLUInt, 8, 1}, {kDLUInt, 16, 1}, {kDLUInt, 32, 1},
    {kDLInt, 8, 1},    {kDLInt, 16, 1}, {kDLInt, 32, 1},
};
static const char *const names[DTYPES] = {"float32", "uint8", "uint16", "uint32", "int8", "int16", "int32"};
static PyObject *objects[DTYPES];

const DLDataType *cle_dtypes(uint32_t *count) {
  *count = DTYPES;
  return dtypes;
}

int cle_dtypes_find(PyObject *numpy) {
  for (int index = 0; index < DTYPES; index++) {
    if (objects[index] == NULL) objects[index] = PyObject_CallMethod(numpy, "dtype", "s", names[index]);
    if (objects[index] == NULL) return 0;
  }
  return 1;
}

DLDataType cle_dtype_of(PyObject *object) {
  for (int index = 0; index < DTYPES; index++) {
    if (objects[index] == object) return dtypes[index];  // NumPy has one object for each
  }
  for (int index = 0; index < DTYPES; index++) {
    if (PyObject_RichCompareBool(object, objects[index], Py_EQ) == 1) return dtypes[index];
  }
  abpy_clear();
  return (DLDataType){0, 0, 0};
}

PyObject *cle_dtype_object(DLDataType dtype) {
  for (int index = 0; index < DTYPES; index++) {
    const DLDataType known = dtypes[index];
    if (known.code == dtype.code && known.bits == dtype.bits && known.lanes == dtype.lanes) return objects[index];
  }
  return NULL;
}
