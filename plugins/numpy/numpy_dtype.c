/* SPDX-License-Identifier: MIT
 * NumPy's dtypes and DLPack's: one table for NumPy's own, one for those that ml_dtypes adds. */
#include "numpy_plugin.h"

/// By NumPy's type number. What is missing here (long double, strings, times, objects) has no counterpart.
static const DLDataType builtin_dtypes[NPY_NTYPES_LEGACY] = {
    [NPY_BOOL] = {kDLBool, 8, 1},
    [NPY_BYTE] = {kDLInt, 8, 1},
    [NPY_UBYTE] = {kDLUInt, 8, 1},
    [NPY_SHORT] = {kDLInt, 8 * sizeof(short), 1},
    [NPY_USHORT] = {kDLUInt, 8 * sizeof(short), 1},
    [NPY_INT] = {kDLInt, 8 * sizeof(int), 1},
    [NPY_UINT] = {kDLUInt, 8 * sizeof(int), 1},
    [NPY_LONG] = {kDLInt, 8 * sizeof(long), 1},
    [NPY_ULONG] = {kDLUInt, 8 * sizeof(long), 1},
    [NPY_LONGLONG] = {kDLInt, 8 * sizeof(long long), 1},
    [NPY_ULONGLONG] = {kDLUInt, 8 * sizeof(long long), 1},
    [NPY_HALF] = {kDLFloat, 16, 1},
    [NPY_FLOAT] = {kDLFloat, 32, 1},
    [NPY_DOUBLE] = {kDLFloat, 64, 1},
    [NPY_CFLOAT] = {kDLComplex, 64, 1},
    [NPY_CDOUBLE] = {kDLComplex, 128, 1},
};

/// The way back; NPY_LONG rather than NPY_LONGLONG where both have 64 bits, as NumPy itself chooses.
typedef struct builtin_row {
  DLDataType dtype;
  int type_number;
} builtin_row;

static const builtin_row builtin_rows[] = {
    {{kDLBool, 8, 1}, NPY_BOOL},          {{kDLInt, 8, 1}, NPY_INT8},
    {{kDLInt, 16, 1}, NPY_INT16},         {{kDLInt, 32, 1}, NPY_INT32},
    {{kDLInt, 64, 1}, NPY_INT64},         {{kDLUInt, 8, 1}, NPY_UINT8},
    {{kDLUInt, 16, 1}, NPY_UINT16},       {{kDLUInt, 32, 1}, NPY_UINT32},
    {{kDLUInt, 64, 1}, NPY_UINT64},       {{kDLFloat, 16, 1}, NPY_FLOAT16},
    {{kDLFloat, 32, 1}, NPY_FLOAT32},     {{kDLFloat, 64, 1}, NPY_FLOAT64},
    {{kDLComplex, 64, 1}, NPY_COMPLEX64}, {{kDLComplex, 128, 1}, NPY_COMPLEX128},
};

/// What ml_dtypes adds. `descr` is filled in at the first meeting, with a reference that is never given up.
/// Its 1 to 6 bit types are not here: it spends a byte on each element, DLPack packs them.
typedef struct added_row {
  const char *name;
  DLDataType dtype;
  PyArray_Descr *_Atomic descr;
} added_row;

static added_row added_rows[] = {
    {"bfloat16", {kDLBfloat, 16, 1}, NULL},
    {"float8_e4m3fn", {kDLFloat8_e4m3fn, 8, 1}, NULL},
    {"float8_e5m2", {kDLFloat8_e5m2, 8, 1}, NULL},
    {"float8_e3m4", {kDLFloat8_e3m4, 8, 1}, NULL},
    {"float8_e4m3", {kDLFloat8_e4m3, 8, 1}, NULL},
    {"float8_e4m3b11fnuz", {kDLFloat8_e4m3b11fnuz, 8, 1}, NULL},
    {"float8_e4m3fnuz", {kDLFloat8_e4m3fnuz, 8, 1}, NULL},
    {"float8_e5m2fnuz", {kDLFloat8_e5m2fnuz, 8, 1}, NULL},
    {"float8_e8m0fnu", {kDLFloat8_e8m0fnu, 8, 1}, NULL},
};

enum {
  BUILTIN_COUNT = sizeof builtin_rows / sizeof builtin_rows[0],
  ADDED_COUNT = sizeof added_rows / sizeof added_rows[0]
};

static int same_dtype(DLDataType a, DLDataType b) { return a.code == b.code && a.bits == b.bits && a.lanes == b.lanes; }

/* ------------------------------------------------------------------ from NumPy */

/// Meets an added type for the first time: known by the name and module of its scalar type. NULL if it is none of ours.
static added_row *meet_added(PyArray_Descr *descr) {
  PyObject *type = (PyObject *)descr->typeobj;
  for (added_row *row = added_rows; row < added_rows + ADDED_COUNT; row++) {
    PyTypeObject *known = row->descr == NULL ? abpy_type("ml_dtypes", row->name) : NULL;
    const int met = known != NULL && (PyObject *)known == type;
    Py_XDECREF((PyObject *)known);
    if (!met) continue;
    PyArray_Descr *native = PyArray_DescrFromType(descr->type_num);
    if (native == NULL) abpy_clear();
    row->descr = native;
    return native != NULL ? row : NULL;
  }
  return NULL;
}

static DLDataType added_dtype(PyArray_Descr *descr) {
  for (added_row *row = added_rows; row < added_rows + ADDED_COUNT; row++) {
    PyArray_Descr *known = row->descr;
    if (known != NULL && known->type_num == descr->type_num) return row->dtype;
  }
  const added_row *row = meet_added(descr);
  return row != NULL ? row->dtype : (DLDataType){0, 0, 0};
}

DLDataType numpy_dtype_of(PyArrayObject *array) {
  PyArray_Descr *descr = PyArray_DESCR(array);
  const int number = descr->type_num;
  if ((unsigned)number < NPY_NTYPES_LEGACY) return builtin_dtypes[number];
  return number >= NPY_USERDEF ? added_dtype(descr) : (DLDataType){0, 0, 0};
}

const char *numpy_dtype_why_not(PyArrayObject *array) {
  PyArray_Descr *descr = PyArray_DESCR(array);
  switch (descr->type_num) {
    case NPY_OBJECT:
      return "an object array holds Python references, which no other framework can hold; pass x.astype() of a dtype "
             "of numbers";
    case NPY_STRING:
    case NPY_UNICODE:
    case NPY_VSTRING:
      return "strings have no counterpart in other frameworks; if they are numbers, pass x.astype('float64')";
    case NPY_DATETIME:
      return "datetime64 has no counterpart in other frameworks; pass x.view('int64')";
    case NPY_TIMEDELTA:
      return "timedelta64 has no counterpart in other frameworks; pass x.view('int64')";
    case NPY_LONGDOUBLE:
      return "long double has no counterpart in other frameworks; pass x.astype('float64')";
    case NPY_CLONGDOUBLE:
      return "complex long double has no counterpart in other frameworks; pass x.astype('complex128')";
    case NPY_VOID:
      return PyDataType_HASFIELDS(descr) ? "a structured dtype; pass its fields one by one, as x['name']"
                                         : "raw bytes (void) have no dtype; pass a view of them, as x.view('uint8')";
    default:
      return "this dtype, which another package added to NumPy, has no counterpart elsewhere; cast it with x.astype()";
  }
}

/* ------------------------------------------------------------------ to NumPy */

static PyArray_Descr *import_added(const ab_call *call, const added_row *row) {
  PyObject *module = abpy_import(call, "ml_dtypes", "ml_dtypes");
  if (module == NULL) return NULL;
  PyArray_Descr *descr = NULL;
  PyObject *type = PyObject_GetAttrString(module, row->name);
  if (type != NULL) PyArray_DescrConverter(type, &descr);
  if (descr == NULL) {
    abpy_error(call, AB_UNSUPPORTED, "ml_dtypes is too old for this dtype");
    ab_error_hint(call->error, "pip install --upgrade ml_dtypes");
  }
  Py_XDECREF(type);
  Py_DECREF(module);
  return descr;
}

static ab_status added_descr(const ab_call *call, added_row *row, PyArray_Descr **descr) {
  PyArray_Descr *found = row->descr;
  if (found == NULL) row->descr = found = import_added(call, row);
  if (found == NULL) {
    if (call->error->status == AB_UNAVAILABLE) call->error->status = AB_UNSUPPORTED;
    return call->error->status;
  }
  Py_INCREF((PyObject *)found);
  *descr = found;
  return AB_OK;
}

ab_status numpy_dtype_descr(const ab_call *call, DLDataType dtype, PyArray_Descr **descr) {
  for (int i = 0; i < BUILTIN_COUNT; i++) {
    if (!same_dtype(builtin_rows[i].dtype, dtype)) continue;
    *descr = PyArray_DescrFromType(builtin_rows[i].type_number);
    return *descr != NULL ? AB_OK : abpy_error(call, AB_FRAMEWORK, "NumPy's dtype");
  }
  for (int i = 0; i < ADDED_COUNT; i++) {
    if (same_dtype(added_rows[i].dtype, dtype)) return added_descr(call, &added_rows[i], descr);
  }
  const char *name = numpy_services->dtype_name(numpy_services->core, dtype);
  return ab_fail(call, AB_UNSUPPORTED, "%s does not exist in NumPy", name != NULL ? name : "this dtype");
}

const DLDataType *numpy_dtype_list(uint32_t *count) {
  static DLDataType list[BUILTIN_COUNT + ADDED_COUNT];
  // Written anew with the same values each time: threads that meet here do not disturb each other.
  for (int i = 0; i < BUILTIN_COUNT; i++) list[i] = builtin_rows[i].dtype;
  for (int i = 0; i < ADDED_COUNT; i++) list[BUILTIN_COUNT + i] = added_rows[i].dtype;
  *count = BUILTIN_COUNT + ADDED_COUNT;
  return list;
}
