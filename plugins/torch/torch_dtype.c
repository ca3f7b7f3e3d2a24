/* SPDX-License-Identifier: MIT
 * The one table of torch's dtypes. */
#include "torch_plugin.h"

typedef struct named_dtype {
  const char *name;
  DLDataType dtype;
  PyObject *object; /* found by torch_dtype_bring_up(); NULL: this torch has none */
} named_dtype;

/* Not here: complex32 and the types below a byte, which nobody else has. */
/* Searched from the top: the most frequent first. */
static named_dtype dtypes[] = {
    {"float32", {kDLFloat, 32, 1}, NULL},
    {"bool", {kDLBool, 8, 1}, NULL},
    {"uint8", {kDLUInt, 8, 1}, NULL},
    {"uint16", {kDLUInt, 16, 1}, NULL},
    {"uint32", {kDLUInt, 32, 1}, NULL},
    {"uint64", {kDLUInt, 64, 1}, NULL},
    {"int8", {kDLInt, 8, 1}, NULL},
    {"int16", {kDLInt, 16, 1}, NULL},
    {"int32", {kDLInt, 32, 1}, NULL},
    {"int64", {kDLInt, 64, 1}, NULL},
    {"float16", {kDLFloat, 16, 1}, NULL},
    {"bfloat16", {kDLBfloat, 16, 1}, NULL},
    {"float8_e4m3fn", {kDLFloat8_e4m3fn, 8, 1}, NULL},
    {"float8_e4m3fnuz", {kDLFloat8_e4m3fnuz, 8, 1}, NULL},
    {"float8_e5m2", {kDLFloat8_e5m2, 8, 1}, NULL},
    {"float8_e5m2fnuz", {kDLFloat8_e5m2fnuz, 8, 1}, NULL},
    {"float8_e8m0fnu", {kDLFloat8_e8m0fnu, 8, 1}, NULL},
    {"float64", {kDLFloat, 64, 1}, NULL},
    {"complex64", {kDLComplex, 64, 1}, NULL},
    {"complex128", {kDLComplex, 128, 1}, NULL},
};
enum { DTYPE_COUNT = sizeof dtypes / sizeof dtypes[0] };

static DLDataType present[DTYPE_COUNT];
static uint32_t present_count;

void torch_dtype_bring_up(PyObject *module) {
  uint32_t count = 0;
  for (size_t i = 0; i < DTYPE_COUNT; i++) {
    dtypes[i].object = abpy_attribute(module, dtypes[i].name);
    if (dtypes[i].object != NULL) present[count++] = dtypes[i].dtype;
  }
  present_count = count;
}

PyObject *torch_dtype_object(DLDataType dtype) {
  for (size_t i = 0; i < DTYPE_COUNT; i++) {
    const DLDataType known = dtypes[i].dtype;
    if (known.code == dtype.code && known.bits == dtype.bits && dtype.lanes == 1) return dtypes[i].object;
  }
  return NULL;
}

DLDataType torch_dtype_of(PyObject *object) {
  for (size_t i = 0; i < DTYPE_COUNT; i++) {
    if (dtypes[i].object == object) return dtypes[i].dtype;
  }
  return (DLDataType){0, 0, 0};
}

const DLDataType *torch_dtype_list(uint32_t *count) {
  *count = present_count;
  return present;
}
