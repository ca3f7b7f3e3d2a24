/* SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "native.h"

/* ------------------------------------------------------------------ shared */

/* Shapes that do not fit are a ValueError, as in every release of the older packages. */
static PyObject *raise_stack(ab_status status, ab_error *error, const char *source, const ab_backend *target,
                             const char *method) {
  if (status != AB_INVALID_ARGUMENT) return native_raise(status, error, source, ab_backend_name(target), method);
  const char *hint = error->hint;
  PyObject *text = PyUnicode_FromFormat(hint[0] != '\0' ? "%s; %s" : "%s", error->text, hint);
  if (text != NULL) PyErr_SetObject(PyExc_ValueError, text);
  Py_XDECREF(text);
  ab_error_clear(error);
  return NULL;
}

static int read_axes(PyObject *value, const char *name, int32_t *axes) {
  const long number = PyLong_AsLong(value);
  if (number == -1 && PyErr_Occurred()) return -1;
  if (number < 0 || number > AB_MAX_NDIM) {
    PyErr_Format(PyExc_ValueError, "%s must be a number of axes from 0 to %d, not %ld", name, AB_MAX_NDIM, number);
    return -1;
  }
  *axes = (int32_t)number;
  return 0;
}

static int read_slice_ndim(PyObject *value, ab_stack_options *options) {
  if (value == NULL || value == Py_None) return 0;
  options->flags |= AB_STACK_NDIM_GIVEN;
  return read_axes(value, "slice_ndim", &options->slice_ndim);
}

/* Runs `work` with a record of it if somebody collects records. */
typedef PyObject *(*recorded_work)(void *context, ab_convert_options *options);

static PyObject *run_recorded(recorded_work work, void *context, ab_convert_options *options) {
  if (native_recorders == 0) return work(context, options);
  PyObject *sinks = native_record_sinks();
  if (sinks == NULL) return NULL;
  ab_record record = {.struct_size = (uint32_t)sizeof record, .step_size = (uint32_t)sizeof(ab_step)};
  if (sinks != Py_None) options->record = &record;
  PyObject *result = work(context, options);
  const int done = result != NULL && result != Py_None && record.target != NULL;
  if (sinks != Py_None && done && native_record_deliver(sinks, &record) != 0) Py_CLEAR(result);
  Py_DECREF(sinks);
  return result;
}

/* ------------------------------------------------------------------ stack */

enum { FEW = 64 };

typedef struct stack_work {
  PyObject *slices; /* a list or a tuple */
  Py_ssize_t count;
  const ab_backend *target;
  ab_stack_options options;
  int64_t extents[AB_MAX_NDIM];
} stack_work;

static PyObject *item(PyObject *slices, Py_ssize_t index) {
  return PyTuple_Check(slices) ? PyTuple_GetItem(slices, index) : PyList_GetItem(slices, index);
}

static int no_array(PyObject *object, Py_ssize_t index, ab_error *error) {
  if (native_not_owned(object, error)) {
    PyObject *reason = native_text(error->text);
    if (reason != NULL) PyErr_Format(PyExc_TypeError, "slice %zd is no array: %U", index, reason);
    Py_XDECREF(reason);
  }
  ab_error_clear(error);
  return -1;
}

/* References of their own: whoever else has the list may change it while the GIL is let go of. */
static int take_slices(const stack_work *w, ab_array *arrays, Py_ssize_t *taken) {
  ab_error error;
  ab_error_init(&error);
  for (Py_ssize_t index = 0; index < w->count; index++) {
    PyObject *object = item(w->slices, index); /* borrowed */
    if (object == NULL) return -1;
    Py_INCREF(object);
    arrays[index].object = object;
    (*taken)++;
    arrays[index].backend = native_owner_of(object, &error);
    if (arrays[index].backend == NULL) return no_array(object, index, &error);
  }
  return 0;
}

static PyObject *stack_taken(const stack_work *w, const ab_array *arrays) {
  ab_error error;
  ab_error_init(&error);
  ab_array result = {0};
  const ab_status status =
      ab_stack(native_bridge(), arrays, (uint64_t)w->count, w->target, &w->options, &result, &error);
  if (status == AB_OK) {
    ab_error_clear(&error);
    return result.object;
  }
  if (status == AB_REFUSED) {
    ab_error_clear(&error);
    Py_RETURN_NONE;
  }
  const char *source = w->count > 0 ? ab_backend_name(arrays[0].backend) : "";
  return raise_stack(status, &error, source, w->target, "stack");
}

static PyObject *stack_now(void *context, ab_convert_options *options) {
  stack_work *w = context;
  ab_array few[FEW];
  w->options.convert = options;
  ab_array *arrays = w->count <= FEW ? few : malloc((size_t)w->count * sizeof *arrays);
  if (arrays == NULL) return PyErr_NoMemory();
  Py_ssize_t taken = 0;
  PyObject *result = take_slices(w, arrays, &taken) == 0 ? stack_taken(w, arrays) : NULL;
  while (taken > 0) Py_DECREF((PyObject *)arrays[--taken].object);
  if (arrays != few) free(arrays);
  return result;
}

static int read_leading(PyObject *value, stack_work *w) {
  if (value == NULL || value == Py_None) return 0;
  const Py_ssize_t count = PyTuple_Check(value) ? PyTuple_Size(value) : -1;
  if (count < 1 || count > AB_MAX_NDIM) {
    PyErr_SetString(PyExc_TypeError, "leading must be a tuple of extents, one for each axis before those of a slice");
    return -1;
  }
  for (Py_ssize_t axis = 0; axis < count; axis++) {
    w->extents[axis] = PyLong_AsLongLong(PyTuple_GetItem(value, axis));
    if (w->extents[axis] == -1 && PyErr_Occurred()) return -1;
  }
  w->options.leading = (int32_t)count;
  w->options.extents = w->extents;
  return 0;
}

/* stack(slices, target, leading, slice_ndim, **keywords): None where the framework itself should stack. */
NATIVE_CALL(native_stack) {
  (void)module;
  static const native_signature signature = {
      "stack", {"slices", "target", "leading", "slice_ndim", NATIVE_KEYWORDS}, 4, 2};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  stack_work w = {.slices = values[0],
                  .options = {.struct_size = (uint32_t)sizeof w.options, .flags = AB_STACK_LEAVE_LIVE}};
  if (!PyList_Check(w.slices) && !PyTuple_Check(w.slices)) {
    PyErr_SetString(PyExc_TypeError, "slices must be a list or a tuple");
    return NULL;
  }
  w.count = PyTuple_Check(w.slices) ? PyTuple_Size(w.slices) : PyList_Size(w.slices);
  w.target = native_backend_of(values[1], "target");
  if (w.target == NULL || read_leading(values[2], &w) != 0 || read_slice_ndim(values[3], &w.options) != 0) return NULL;
  native_request request;
  PyObject *result = NULL;
  if (native_request_begin(&request, w.target, values + 4) == 0) result = run_recorded(stack_now, &w, &request.options);
  native_request_end(&request);
  return result;
}

/* ------------------------------------------------------------------ unstack */

typedef struct unstack_work {
  ab_array source;
  const ab_backend *target;
  ab_stack_options options;
} unstack_work;

/* At most what fits a list of slices. */
static int64_t multiplied(const int64_t *extents, int32_t axes) {
  const int64_t most = PY_SSIZE_T_MAX / (int64_t)sizeof(ab_array);
  int64_t count = 1;
  int fits = 1;
  for (int32_t axis = 0; axis < axes; axis++) {
    if (extents[axis] == 0) return 0; /* whatever the others are */
    fits = fits && extents[axis] <= most / count;
    if (fits) count *= extents[axis];
  }
  if (fits) return count;
  PyErr_SetString(PyExc_ValueError, "the array has more slices than a list can hold");
  return -1;
}

/* How many slices there are; -1: an exception is set. */
static int64_t count_slices(unstack_work *w, ab_error *error) {
  int64_t shape[AB_MAX_NDIM], strides[AB_MAX_NDIM];
  ab_array_info info = {.struct_size = (uint32_t)sizeof info};
  ab_status status = ab_backend_start(w->source.backend, error);
  if (status == AB_OK) status = ab_array_describe(&w->source, shape, strides, &info, error);
  if (status != AB_OK) {
    raise_stack(status, error, ab_backend_name(w->source.backend), w->target, "unstack");
    return -1;
  }
  ab_error_clear(error);
  if (info.flags & AB_INFO_NOT_CONVERTIBLE) return 0; /* the call itself says why */
  w->options.leading = info.ndim - w->options.slice_ndim;
  if (w->options.leading < 1) {
    PyErr_Format(PyExc_ValueError, "an array of %d axes has no %dD slices", (int)info.ndim, (int)w->options.slice_ndim);
    return -1;
  }
  return multiplied(shape, w->options.leading);
}

static PyObject *list_of(ab_array *slices, int64_t count) {
  PyObject *list = PyList_New((Py_ssize_t)count);
  for (int64_t index = 0; index < count; index++) {
    PyObject *object = slices[index].object;
    if (list == NULL) Py_DECREF(object);
    else if (PyList_SetItem(list, (Py_ssize_t)index, object) != 0) Py_CLEAR(list); /* takes it in each case */
  }
  return list;
}

static PyObject *unstack_counted(const unstack_work *w, int64_t count, ab_error *error) {
  ab_array *slices = calloc(count > 0 ? (size_t)count : 1, sizeof *slices);
  if (slices == NULL) return PyErr_NoMemory();
  const ab_status status =
      ab_unstack(native_bridge(), &w->source, w->target, &w->options, slices, (uint64_t)count, error);
  PyObject *list = NULL;
  if (status == AB_OK) list = list_of(slices, count);
  else if (status == AB_REFUSED) list = Py_NewRef(Py_None);
  else raise_stack(status, error, ab_backend_name(w->source.backend), w->target, "unstack");
  ab_error_clear(error);
  free(slices);
  return list;
}

static PyObject *unstack_now(void *context, ab_convert_options *options) {
  unstack_work *w = context;
  w->options.convert = options;
  ab_error error;
  ab_error_init(&error);
  const int64_t count = count_slices(w, &error);
  return count >= 0 ? unstack_counted(w, count, &error) : NULL;
}

/* unstack(x, target, slice_ndim, **keywords): a list, or None where the framework itself should take it apart. */
NATIVE_CALL(native_unstack) {
  (void)module;
  static const native_signature signature = {"unstack", {"x", "target", "slice_ndim", NATIVE_KEYWORDS}, 3, 3};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  unstack_work w = {.options = {.struct_size = (uint32_t)sizeof w.options, .flags = AB_STACK_LEAVE_LIVE}};
  w.target = native_backend_of(values[1], "target");
  if (w.target == NULL || read_slice_ndim(values[2], &w.options) != 0) return NULL;
  ab_error error;
  ab_error_init(&error);
  w.source = (ab_array){native_owner_of(values[0], &error), values[0]};
  if (w.source.backend == NULL) {
    if (native_not_owned(values[0], &error)) {
      char type[96];
      native_type_name(values[0], type, sizeof type);
      return native_raise(AB_NOT_RECOGNIZED, &error, type, ab_backend_name(w.target), "detect");
    }
    return NULL;
  }
  native_request request;
  PyObject *result = NULL;
  if (native_request_begin(&request, w.target, values + 3) == 0)
    result = run_recorded(unstack_now, &w, &request.options);
  native_request_end(&request);
  return result;
}
