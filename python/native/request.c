/* SPDX-License-Identifier: MIT */
#include "native.h"

/* Where each keyword stands in NATIVE_KEYWORDS. */
enum { GPU_ID, DEVICE, COPY, CASTING, DTYPE, STREAM, IMMUTABLE, MUTABLE, SCALING, NAN_VALUE };

/* ------------------------------------------------------------------ words */

typedef struct word {
  const char *text;
  uint32_t value;
} word;

/* Looks `value` up in `words`, which end with NULL: 0, or -1 with a ValueError that names `choices`. */
static int read_word(PyObject *value, const word *words, const char *keyword, const char *choices, uint32_t *result) {
  for (; PyUnicode_Check(value) && words->text != NULL; words++) {
    if (PyUnicode_CompareWithASCIIString(value, words->text) != 0) continue;
    *result = words->value;
    return 0;
  }
  PyErr_Format(PyExc_ValueError, "%s must be %s, not %R", keyword, choices, value);
  return -1;
}

static int read_casting(PyObject *value, ab_convert_options *options) {
  static const word words[] = {
      {"no", AB_CASTING_NO},
      {"equiv", AB_CASTING_NO}, /* NumPy's word for a change of byte order alone, which is no change here */
      {"safe", AB_CASTING_SAFE},
      {"same_kind", AB_CASTING_SAME_KIND},
      {"unsafe", AB_CASTING_UNSAFE},
      {NULL, 0},
  };
  return read_word(value, words, "casting", "\"no\", \"equiv\", \"safe\", \"same_kind\" or \"unsafe\"",
                   &options->casting);
}

int native_casting_read(PyObject *value, uint32_t *casting) {
  ab_convert_options options = {.casting = AB_CASTING_NO};
  if (read_casting(value, &options) != 0) return -1;
  *casting = options.casting;
  return 0;
}

/* "share" takes the flag away, "copy" sets it. */
static int read_sharing(PyObject *value, const char *keyword, uint32_t flag, ab_convert_options *options) {
  static const word words[] = {{"share", 0}, {"copy", 1}, {NULL, 0}};
  uint32_t copy = 0;
  if (read_word(value, words, keyword, "\"share\" or \"copy\"", &copy) != 0) return -1;
  options->flags = copy ? options->flags | flag : options->flags & ~flag;
  return 0;
}

static int read_copy(PyObject *value, ab_convert_options *options) {
  if (value != Py_None && value != Py_True && value != Py_False) {
    PyErr_Format(PyExc_ValueError, "copy must be None, True or False, not %R", value);
    return -1;
  }
  options->copy = value == Py_None ? AB_COPY_IF_NEEDED : value == Py_True ? AB_COPY_ALWAYS : AB_COPY_NEVER;
  return 0;
}

int native_scaling_read(PyObject *value, ab_convert_options *options) {
  static const word words[] = {
      {"clip", AB_SCALING_CLIP},     {"unit", AB_SCALING_UNIT}, {"exact", AB_SCALING_EXACT},
      {"minmax", AB_SCALING_MINMAX}, {"wrap", AB_SCALING_WRAP}, {NULL, 0},
  };
  return read_word(value, words, "scaling", "\"clip\", \"unit\", \"exact\", \"minmax\" or \"wrap\"", &options->scaling);
}

/* 1 if `read` is all of `value`: Python's integers have more digits than float64. -1: an exception is set. */
static int is_whole_value(PyObject *value, double read) {
  PyObject *whole = PyIndex_Check(value) ? PyNumber_Index(value) : NULL;
  if (whole == NULL) return PyErr_Occurred() == NULL || native_no() == 0 ? 1 : -1; /* a real number */
  PyObject *again = PyLong_FromDouble(read);
  const int same = again != NULL ? PyObject_RichCompareBool(again, whole, Py_EQ) : -1;
  Py_XDECREF(again);
  Py_DECREF(whole);
  return same;
}

int native_nan_read(PyObject *value, ab_convert_options *options) {
  const double read = PyFloat_AsDouble(value);
  const int unread = read == -1 && PyErr_Occurred();
  if (unread && !PyErr_ExceptionMatches(PyExc_OverflowError)) return -1;
  if (unread) PyErr_Clear();
  const int whole = unread ? 0 : is_whole_value(value, read);
  if (whole < 0) return -1;
  if (!whole) {
    PyErr_Format(PyExc_ValueError, "nan must be a number that float64 has, as it travels as one; %R is none", value);
    return -1;
  }
  options->nan = read;
  options->flags |= AB_CONVERT_NAN_GIVEN;
  return 0;
}

/* ------------------------------------------------------------------ dtype */

/* The name of a dtype of any library, importing none: a str, .name (NumPy, JAX, TensorFlow), __name__ (scalar types),
 * else what it prints (torch). New reference. */
static PyObject *dtype_name(PyObject *value) {
  if (PyUnicode_Check(value)) return Py_NewRef(value);
  static const char *const attributes[] = {"name", "__name__"};
  for (size_t index = 0; index < sizeof attributes / sizeof attributes[0]; index++) {
    PyObject *name = PyObject_GetAttrString(value, attributes[index]);
    if (name != NULL && PyUnicode_Check(name)) return name;
    Py_XDECREF(name);
    if (native_no() != 0) return NULL;
  }
  return PyObject_Str(value);
}

/* Python's own types mean what they mean in NumPy, and so do NumPy's short codes. A byte order says nothing here: the
 * values are what is kept. */
static const char *spelt_out(const char *name) {
  static const char *const short_forms[][2] = {
      {"float", "float64"}, {"int", "int64"},      {"complex", "complex128"}, {"uint", "uint64"},
      {"half", "float16"},  {"single", "float32"}, {"double", "float64"},     {"b1", "bool"},
      {"?", "bool"},        {"i1", "int8"},        {"i2", "int16"},           {"i4", "int32"},
      {"i8", "int64"},      {"u1", "uint8"},       {"u2", "uint16"},          {"u4", "uint32"},
      {"u8", "uint64"},     {"f2", "float16"},     {"f4", "float32"},         {"f8", "float64"},
      {"c8", "complex64"},  {"c16", "complex128"},
  };
  if (name[0] != '\0' && strchr("<>=|", name[0]) != NULL) name++;
  for (size_t index = 0; index < sizeof short_forms / sizeof short_forms[0]; index++)
    if (strcmp(name, short_forms[index][0]) == 0) return short_forms[index][1];
  return name;
}

/* `text` of the error, what may have been meant by `name`, and the names there are. */
static void raise_no_dtype(PyObject *value, const char *name, const ab_error *error) {
  PyObject *meant = native_meant("dtype", name);
  if (meant == NULL) return;
  PyErr_Format(PyExc_ValueError, "dtype %R: %s%U; %s", value, error->text, meant, error->hint);
  Py_DECREF(meant);
}

int native_dtype_read(PyObject *value, ab_convert_options *options) {
  PyObject *object = dtype_name(value);
  const char *name = object != NULL ? native_utf8(object) : NULL;
  int result = name != NULL ? 0 : -1;
  if (name != NULL) {
    const char *dot = strrchr(name, '.'); /* "torch.float32" */
    ab_error error;
    ab_error_init(&error);
    if (ab_dtype_parse(spelt_out(dot != NULL ? dot + 1 : name), &options->dtype, &error) != AB_OK) {
      raise_no_dtype(value, dot != NULL ? dot + 1 : name, &error);
      result = -1;
    }
    ab_error_clear(&error);
  }
  Py_XDECREF(object);
  return result;
}

/* ------------------------------------------------------------------ device */

static int read_gpu_id(PyObject *value, ab_convert_options *options) {
  PyObject *number = PyNumber_Index(value);
  if (number == NULL) return -1;
  int overflow = 0;
  const long read = PyLong_AsLongAndOverflow(number, &overflow);
  Py_DECREF(number);
  if (overflow != 0 || read < 0 || read > INT32_MAX) {
    PyErr_Format(PyExc_ValueError, "gpu_id must be the number of an accelerator, 0 or more, not %R", value);
    return -1;
  }
  options->accelerator = (int32_t)read;
  options->flags |= AB_CONVERT_ACCELERATOR;
  return 0;
}

static int is_given(PyObject *value) { return value != NULL && value != Py_None; }

static int read_place(PyObject *const *keywords, const ab_backend *target, ab_convert_options *options) {
  const int device = is_given(keywords[DEVICE]);
  const int gpu_id = is_given(keywords[GPU_ID]);
  if (device && gpu_id) {
    PyErr_SetString(PyExc_TypeError, "device and gpu_id both say where: give one");
    return -1;
  }
  if (device) return native_device_read(keywords[DEVICE], target, options);
  return gpu_id ? read_gpu_id(keywords[GPU_ID], options) : 0;
}

/* ------------------------------------------------------------------ the whole */

/* Both concern values that get another dtype, so one must be given. */
static int read_scaling(PyObject *scaling, PyObject *nan, ab_convert_options *options) {
  if (is_given(scaling) && native_scaling_read(scaling, options) != 0) return -1;
  if (is_given(nan) && native_nan_read(nan, options) != 0) return -1;
  if (is_given(scaling) && options->dtype.bits == 0) {
    PyErr_SetString(PyExc_ValueError, "scaling needs a dtype to scale to: pass dtype=");
    return -1;
  }
  if (!is_given(nan) || is_given(scaling)) return 0;
  PyErr_SetString(PyExc_ValueError, "nan needs a scaling that it is part of: pass scaling=");
  return -1;
}

static int read_policies(PyObject *const *keywords, ab_convert_options *options) {
  if (keywords[COPY] != NULL && read_copy(keywords[COPY], options) != 0) return -1;
  if (keywords[CASTING] != NULL && read_casting(keywords[CASTING], options) != 0) return -1;
  if (is_given(keywords[DTYPE]) && native_dtype_read(keywords[DTYPE], options) != 0) return -1;
  if (read_scaling(keywords[SCALING], keywords[NAN_VALUE], options) != 0) return -1;
  if (is_given(keywords[IMMUTABLE]) &&
      read_sharing(keywords[IMMUTABLE], "immutable", AB_CONVERT_COPY_IMMUTABLE, options) != 0)
    return -1;
  if (!is_given(keywords[MUTABLE])) return 0;
  return read_sharing(keywords[MUTABLE], "mutable", AB_CONVERT_COPY_MUTABLE, options);
}

static int read_stream(PyObject *value, native_request *request) {
  const ab_convert_options *options = &request->options;
  const DLDevice given =
      options->flags & AB_CONVERT_DEVICE_GIVEN ? options->device : (DLDevice){kDLCUDA, options->accelerator};
  if (native_stream_read(value, given, &request->stream) != 0) return -1;
  request->options.stream = &request->stream;
  return 0;
}

int native_request_begin(native_request *request, const ab_backend *target, PyObject *const *keywords) {
  request->options = native_default_options;
  request->stream = (ab_stream){0};
  if (native_settings_apply(&request->options) != 0) return -1;
  if (keywords == NULL) return 0;
  if (read_policies(keywords, &request->options) != 0) return -1;
  if (read_place(keywords, target, &request->options) != 0) return -1;
  return is_given(keywords[STREAM]) ? read_stream(keywords[STREAM], request) : 0;
}

void native_request_end(native_request *request) { native_stream_end(&request->stream); }
