/* SPDX-License-Identifier: MIT
 * dtypes: DLPack's numbers, NumPy's objects, and the formats of buffers. */
#include "jax_plugin.h"

#define NAME(name, code, bits) name,
static const char *const names[JAX_DTYPE_COUNT] = {JAX_DTYPE_MAP(NAME)};
#undef NAME

#define VALUE(name, code, bits) {(uint8_t)(code), (bits), 1},
const DLDataType jax_dtypes[JAX_DTYPE_COUNT] = {JAX_DTYPE_MAP(VALUE)};
#undef VALUE

void jax_dtype_objects(PyObject *numpy, PyObject *objects[JAX_DTYPE_COUNT]) {
  for (int i = 0; i < JAX_DTYPE_COUNT; i++) {
    // ml_dtypes, which JAX imports, has taught NumPy its names.
    objects[i] = PyObject_CallMethod(numpy, "dtype", "s", names[i]);
    if (objects[i] == NULL) abpy_clear();
  }
}

int jax_dtype_read(PyObject *object, DLDataType *dtype) {
  PyObject *const *objects = jax_get()->dtypes;
  for (int i = 0; i < JAX_DTYPE_COUNT; i++) {
    if (objects[i] != object) continue;
    *dtype = jax_dtypes[i];
    return 1;
  }
  // An equal dtype need not be the same object.
  for (int i = 0; i < JAX_DTYPE_COUNT; i++) {
    const int equal = objects[i] != NULL ? PyObject_RichCompareBool(objects[i], object, Py_EQ) : 0;
    if (equal < 0) abpy_clear();
    if (equal <= 0) continue;
    *dtype = jax_dtypes[i];
    return 1;
  }
  return 0;
}

PyObject *jax_dtype_object(DLDataType dtype) {
  for (int i = 0; i < JAX_DTYPE_COUNT; i++) {
    if (memcmp(&jax_dtypes[i], &dtype, sizeof dtype) == 0) return jax_get()->dtypes[i];
  }
  return NULL;
}

static int code_of_format(char letter) {
  switch (letter) {
    case 'e':
    case 'f':
    case 'd':
      return kDLFloat;
    case 'b':
    case 'h':
    case 'i':
    case 'l':
    case 'q':
      return kDLInt;
    case 'B':
    case 'H':
    case 'I':
    case 'L':
    case 'Q':
      return kDLUInt;
    case '?':
      return kDLBool;
    default:
      return -1;
  }
}

int jax_dtype_of_format(const char *format, Py_ssize_t itemsize, DLDataType *dtype) {
  if (format == NULL || itemsize < 1 || itemsize > 16) return 0;
  if (*format == '=' || *format == '@') format++;
  const int complex_number = *format == 'Z';
  if (complex_number) format++;
  const int code = code_of_format(*format);
  if (code < 0 || format[1] != '\0' || (complex_number && code != kDLFloat)) return 0;
  *dtype = (DLDataType){(uint8_t)(complex_number ? kDLComplex : code), (uint8_t)(itemsize * 8), 1};
  return 1;
}
