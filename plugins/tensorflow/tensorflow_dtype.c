/* SPDX-License-Identifier: MIT
 * TensorFlow's dtypes by their numbers (tensorflow/core/framework/types.proto), and ours. */
#include "tensorflow_plugin.h"

static const char no_strings[] = "strings have no dtype in other frameworks; use x.numpy() to get Python objects";
static const char no_resources[] = "a resource handle is not an array; read the variable or table it stands for";
static const char no_variants[] = "a variant tensor holds objects, not numbers";
static const char no_quantised[] = "quantised dtypes do not exist in other frameworks; use tf.bitcast or tf.dequantize";
static const char no_narrow[] = "dtypes of less than one byte cannot be carried; use tf.cast(x, tf.int8) or float32";

// X(DT number, DLPack code, bits, way)
#define TF_DTYPE_MAP(X)                         \
  X(10, kDLBool, 8, TF_WAY_DLPACK)              \
  X(4, kDLUInt, 8, TF_WAY_DLPACK)               \
  X(17, kDLUInt, 16, TF_WAY_DLPACK)             \
  X(22, kDLUInt, 32, TF_WAY_DLPACK)             \
  X(23, kDLUInt, 64, TF_WAY_DLPACK)             \
  X(6, kDLInt, 8, TF_WAY_DLPACK)                \
  X(5, kDLInt, 16, TF_WAY_DLPACK)               \
  X(3, kDLInt, 32, TF_WAY_DLPACK)               \
  X(9, kDLInt, 64, TF_WAY_DLPACK)               \
  X(19, kDLFloat, 16, TF_WAY_DLPACK)            \
  X(14, kDLBfloat, 16, TF_WAY_DLPACK)           \
  X(1, kDLFloat, 32, TF_WAY_DLPACK)             \
  X(2, kDLFloat, 64, TF_WAY_DLPACK)             \
  X(8, kDLComplex, 64, TF_WAY_DLPACK)           \
  X(18, kDLComplex, 128, TF_WAY_DLPACK)         \
  X(24, kDLFloat8_e5m2, 8, TF_WAY_NUMPY)        \
  X(25, kDLFloat8_e4m3fn, 8, TF_WAY_NUMPY)      \
  X(26, kDLFloat8_e4m3fnuz, 8, TF_WAY_NUMPY)    \
  X(27, kDLFloat8_e4m3b11fnuz, 8, TF_WAY_NUMPY) \
  X(28, kDLFloat8_e5m2fnuz, 8, TF_WAY_NUMPY)

static const tf_dtype rows[] = {
#define TF_ROW(number, code, bits, way) [number] = {way, {code, bits, 1}, NULL},
    TF_DTYPE_MAP(TF_ROW)
#undef TF_ROW
        [7] = {TF_WAY_NONE, {0, 0, 0}, no_strings},
    [20] = {TF_WAY_NONE, {0, 0, 0}, no_resources},
    [21] = {TF_WAY_NONE, {0, 0, 0}, no_variants},
    [11] = {TF_WAY_NONE, {0, 0, 0}, no_quantised},
    [12] = {TF_WAY_NONE, {0, 0, 0}, no_quantised},
    [13] = {TF_WAY_NONE, {0, 0, 0}, no_quantised},
    [15] = {TF_WAY_NONE, {0, 0, 0}, no_quantised},
    [16] = {TF_WAY_NONE, {0, 0, 0}, no_quantised},
    [29] = {TF_WAY_NONE, {0, 0, 0}, no_narrow},
    [30] = {TF_WAY_NONE, {0, 0, 0}, no_narrow},
    [31] = {TF_WAY_NONE, {0, 0, 0}, no_narrow},
    [32] = {TF_WAY_NONE, {0, 0, 0}, no_narrow},
    [33] = {TF_WAY_NONE, {0, 0, 0}, no_narrow},
};
enum { ROW_COUNT = sizeof rows / sizeof rows[0] };

static const DLDataType carried[] = {
#define TF_CARRIED(number, code, bits, way) {code, bits, 1},
    TF_DTYPE_MAP(TF_CARRIED)
#undef TF_CARRIED
};

tf_dtype ab_tf_dtype(long number) {
  tf_dtype found = {TF_WAY_NONE, {0, 0, 0}, NULL};
  if (number >= 0 && number < (long)ROW_COUNT) found = rows[number];
  if (found.way == TF_WAY_NONE && found.why_not == NULL) found.why_not = "a dtype of TensorFlow that is not known here";
  return found;
}

long ab_tf_dtype_number(DLDataType dtype, tf_way *way) {
  if (dtype.lanes != 1) return 0;
  for (long number = 1; number < (long)ROW_COUNT; number++) {
    const tf_dtype *row = &rows[number];
    if (row->way == TF_WAY_NONE || row->dtype.code != dtype.code || row->dtype.bits != dtype.bits) continue;
    *way = row->way;
    return number;
  }
  return 0;
}

const DLDataType *ab_tf_dtypes(uint32_t *count) {
  *count = sizeof carried / sizeof carried[0];
  return carried;
}

ab_status ab_tf_eager_dtype(const ab_call *call, PyObject *tensor, tf_dtype *dtype) {
  PyObject *number = abpy_call_one(ab_tf.datatype_enum, tensor);
  const long value = number != NULL ? PyLong_AsLong(number) : -1;
  Py_XDECREF(number);
  if (value == -1 && PyErr_Occurred() != NULL) return abpy_error(call, AB_FRAMEWORK, "the tensor's dtype");
  *dtype = ab_tf_dtype(value);
  return AB_OK;
}
