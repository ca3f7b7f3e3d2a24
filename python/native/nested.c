/* SPDX-License-Identifier: MIT */
#include "nested.h"

/* The containers around the one being looked at: one that contains itself is not entered twice. */
typedef struct trail {
  PyObject *container;
  const struct trail *outer;
} trail;

static int is_on(const trail *path, PyObject *container) {
  for (; path != NULL; path = path->outer)
    if (path->container == container) return 1;
  return 0;
}

/* The commonest arguments that neither are arrays nor hold any: not worth asking every backend. */
static int is_plain(PyObject *object) {
  return object == Py_None || PyLong_CheckExact(object) || PyFloat_CheckExact(object) || PyBool_Check(object) ||
         PyUnicode_CheckExact(object) || PyBytes_CheckExact(object) || PyComplex_CheckExact(object);
}

static int is_container(PyObject *object) {
  const unsigned long kinds = Py_TPFLAGS_TUPLE_SUBCLASS | Py_TPFLAGS_LIST_SUBCLASS | Py_TPFLAGS_DICT_SUBCLASS;
  return (PyType_GetFlags(Py_TYPE(object)) & kinds) != 0;
}

/* ------------------------------------------------------------------ looking */

static int look(native_search *search, PyObject *object, const trail *outer);

static int look_into(native_search *search, PyObject *object, const trail *outer) {
  if (is_on(outer, object)) return 0;
  if (Py_EnterRecursiveCall(" while looking for arrays in containers") != 0) return -1;
  const trail here = {object, outer};
  int result = 0;
  if (PyDict_Check(object)) {
    PyObject *key = NULL;
    PyObject *value = NULL;
    Py_ssize_t at = 0;
    while (result == 0 && PyDict_Next(object, &at, &key, &value)) {
      Py_INCREF(value); /* asking backends may run Python, which may change the dict */
      result = look(search, value, &here);
      Py_DECREF(value);
    }
  } else {
    const int tuple = PyTuple_Check(object);
    for (Py_ssize_t at = 0; result == 0 && at < (tuple ? PyTuple_Size(object) : PyList_Size(object)); at++) {
      PyObject *item = Py_NewRef(tuple ? PyTuple_GetItem(object, at) : PyList_GetItem(object, at));
      result = look(search, item, &here);
      Py_DECREF(item);
    }
  }
  Py_LeaveRecursiveCall();
  return result;
}

static int look(native_search *search, PyObject *object, const trail *outer) {
  const int known = search->home_type == (const void *)Py_TYPE(object);
  if (!known && is_plain(object)) return 0;
  if (!known && is_container(object)) return look_into(search, object, outer);
  const ab_backend *owner = known ? search->home : native_owner_of(object, NULL);
  if (owner == NULL) return PyErr_Occurred() ? -1 : 0;
  if (search->first == NULL) {
    search->first = object;
    search->owner = owner;
  }
  if (owner != search->home && search->counts) search->foreign = 1;
  return 0;
}

int native_nested_look(native_search *search, PyObject *object) { return look(search, object, NULL); }

/* ------------------------------------------------------------------ moving one array */

/* What cannot be described says so when it is converted: zeros here. */
static int place_and_dtype(PyObject *array, const ab_backend *owner, DLDevice *device, DLDataType *dtype) {
  int64_t shape[AB_MAX_NDIM];
  int64_t strides[AB_MAX_NDIM];
  ab_array_info info = {.struct_size = (uint32_t)sizeof info, .shape = shape, .strides = strides};
  const ab_array described = {owner, array};
  ab_error error;
  ab_error_init(&error);
  ab_status status = ab_backend_start(owner, &error);
  if (status == AB_OK) status = ab_array_describe(&described, shape, strides, &info, &error);
  *device = status == AB_OK ? info.device : (DLDevice){0, 0};
  *dtype = status == AB_OK ? info.dtype : (DLDataType){0, 0, 0};
  if (status == AB_CANCELLED) return native_raise(status, &error, ab_backend_name(owner), "", "describe"), -1;
  ab_error_clear(&error);
  return 0;
}

static int where_is(PyObject *array, const ab_backend *owner, DLDevice *device) {
  DLDataType dtype;
  return place_and_dtype(array, owner, device, &dtype);
}

int native_dtype_of(PyObject *array, const ab_backend *owner, DLDataType *dtype) {
  DLDevice device;
  return place_and_dtype(array, owner, &device, dtype);
}

void native_move_lead(native_move *move, PyObject *array) {
  if (move->leader == NULL && !move->all) move->leader = Py_NewRef(array);
}

void native_move_end(native_move *move) {
  Py_CLEAR(move->leader);
  Py_CLEAR(move->stand_in);
}

/* Where the leader lies, unless that is the host. */
static int find_place(native_move *move) {
  if (move->leader == NULL || move->led) return 0;
  if (where_is(move->leader, move->target, &move->place) != 0) return -1;
  if (move->place.device_type == kDLCPU && move->place.device_id == 0) move->place = (DLDevice){0, 0};
  move->led = 1;
  return 0;
}

static int is_said(PyObject *value) { return value != NULL && value != Py_None; }

/* Where this array goes: where it was said to, if it is on the host; else to the first one; else as its target likes.
 */
static int choose_place(native_move *move, PyObject *array, const ab_backend *owner, native_request *request) {
  PyObject *keywords[NATIVE_MAX_ARGUMENTS] = {NULL};
  int said = is_said(move->gpu_id) || is_said(move->device);
  if (said && !move->all) {
    DLDevice device;
    if (where_is(array, owner, &device) != 0) return -1;
    said = device.device_type == kDLCPU || device.device_type == 0;
  }
  if (said) {
    keywords[NATIVE_GPU_ID] = move->gpu_id;
    keywords[NATIVE_DEVICE] = move->device;
  }
  if (native_request_begin(request, move->target, keywords) != 0) return -1;
  request->options.flags |= AB_CONVERT_COPY_LATE_READS | (move->once ? AB_CONVERT_NO_RECOVERY : 0);
  if (said) return 0;
  if (find_place(move) != 0) return -1;
  if (move->place.device_type != 0) {
    request->options.flags |= AB_CONVERT_DEVICE_GIVEN;
    request->options.device = move->place;
  } else if (move->prefers && move->leader == NULL) {
    request->options.flags |= AB_CONVERT_ACCELERATOR; /* number 0; the host where there is none */
  }
  return 0;
}

/* 1 if the pending exception says that a change of dtype is not allowed: it is then gone. */
static int would_cast(void) {
  PyObject *type = NULL;
  PyObject *value = NULL;
  PyObject *trace = NULL;
  PyErr_Fetch(&type, &value, &trace);
  PyObject *status = value != NULL ? PyObject_GetAttrString(value, "status") : NULL;
  const int would =
      status != NULL && PyUnicode_Check(status) && PyUnicode_CompareWithASCIIString(status, "WOULD_CAST") == 0;
  Py_XDECREF(status);
  if (!would && native_no() == 0) { /* asked to stop while we looked: that goes on, not this */
    PyErr_Restore(type, value, trace);
    return 0;
  }
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
  return would;
}

static PyObject *tell_cast(PyObject *array, PyObject *result) {
  PyObject *told = result != NULL ? PyObject_CallFunctionObjArgs(native_hook.cast, array, result, NULL) : NULL;
  if (told == NULL) Py_CLEAR(result);
  Py_XDECREF(told);
  return result;
}

static PyObject *send(native_move *move, PyObject *array, const ab_backend *owner) {
  native_request request;
  PyObject *result = NULL;
  if (choose_place(move, array, owner, &request) == 0) {
    result = native_convert_with(array, NULL, move->target, &request.options);
    if (result == NULL && move->casting != AB_CASTING_NO && would_cast()) {
      if (array == move->watched) move->watched = NULL;
      request.options.casting = move->casting;
      result = tell_cast(array, native_convert_with(array, NULL, move->target, &request.options));
    }
  }
  native_request_end(&request);
  return result;
}

/* Text, objects, dates and records have no place in other frameworks: they are data beside the images, and stay. */
static int has_no_numbers(PyObject *array) {
  PyObject *numbers = PyObject_CallFunctionObjArgs(native_hook.numbers, array, NULL);
  if (numbers == NULL) return -1;
  const int none = numbers == Py_False;
  Py_DECREF(numbers);
  return none;
}

static PyObject *send_numbers(native_move *move, PyObject *array, const ab_backend *owner) {
  PyObject *result = send(move, array, owner);
  if (result != NULL || !PyErr_ExceptionMatches(PyExc_Exception)) return result;
  PyObject *type = NULL;
  PyObject *value = NULL;
  PyObject *trace = NULL;
  PyErr_Fetch(&type, &value, &trace);
  const int none = has_no_numbers(array);
  if (none == 0) {
    PyErr_Restore(type, value, trace);
    return NULL;
  }
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
  return none > 0 ? Py_NewRef(array) : NULL;
}

static PyObject *move_one(native_move *move, PyObject *array, const ab_backend *owner) {
  const int stays = owner == move->target && !move->all;
  PyObject *result = stays ? Py_NewRef(array) : send_numbers(move, array, owner);
  if (result != NULL && (stays || result != array)) native_move_lead(move, result);
  if (result != NULL && array == move->watched && move->stand_in == NULL) move->stand_in = Py_NewRef(result);
  return result;
}

/* ------------------------------------------------------------------ moving what is in containers */

static PyObject *move_any(native_move *move, PyObject *object, const trail *outer);

/* A container of the same type with other items: exact ones are made here, others by whoever knows how. */
static PyObject *remade(PyObject *object, PyObject *items) {
  if (PyTuple_CheckExact(object)) return PyList_AsTuple(items);
  if (PyList_CheckExact(object) || PyDict_CheckExact(object)) return Py_NewRef(items);
  return PyObject_CallFunctionObjArgs(native_hook.rebuild, object, items, NULL);
}

static PyObject *move_items(native_move *move, PyObject *object, const trail *here) {
  const int tuple = PyTuple_Check(object);
  PyObject *items = PyList_New(0);
  int changed = 0;
  for (Py_ssize_t at = 0; items != NULL && at < (tuple ? PyTuple_Size(object) : PyList_Size(object)); at++) {
    PyObject *item = Py_NewRef(tuple ? PyTuple_GetItem(object, at) : PyList_GetItem(object, at));
    PyObject *moved = move_any(move, item, here);
    changed |= moved != item;
    if (moved == NULL || PyList_Append(items, moved) != 0) Py_CLEAR(items);
    Py_XDECREF(moved);
    Py_DECREF(item);
  }
  PyObject *result = items == NULL ? NULL : changed ? remade(object, items) : Py_NewRef(object);
  Py_XDECREF(items);
  return result;
}

static PyObject *move_values(native_move *move, PyObject *object, const trail *here) {
  PyObject *items = PyDict_New();
  PyObject *copy = items != NULL ? PyDict_Copy(object) : NULL; /* conversions may run Python, which may change it */
  int changed = 0;
  PyObject *key = NULL;
  PyObject *value = NULL;
  Py_ssize_t at = 0;
  while (copy != NULL && items != NULL && PyDict_Next(copy, &at, &key, &value)) {
    PyObject *moved = move_any(move, value, here);
    changed |= moved != value;
    if (moved == NULL || PyDict_SetItem(items, key, moved) != 0) Py_CLEAR(items);
    Py_XDECREF(moved);
  }
  PyObject *result = items == NULL || copy == NULL ? NULL : changed ? remade(object, items) : Py_NewRef(object);
  Py_XDECREF(copy);
  Py_XDECREF(items);
  return result;
}

static PyObject *move_container(native_move *move, PyObject *object, const trail *outer) {
  if (is_on(outer, object)) return Py_NewRef(object);
  if (Py_EnterRecursiveCall(" while converting the arrays in containers") != 0) return NULL;
  const trail here = {object, outer};
  PyObject *result = PyDict_Check(object) ? move_values(move, object, &here) : move_items(move, object, &here);
  Py_LeaveRecursiveCall();
  return result;
}

static PyObject *move_any(native_move *move, PyObject *object, const trail *outer) {
  if (is_plain(object)) return Py_NewRef(object);
  if (is_container(object)) return move_container(move, object, outer);
  const ab_backend *owner = native_owner_of(object, NULL);
  if (owner != NULL) return move_one(move, object, owner);
  return PyErr_Occurred() ? NULL : Py_NewRef(object);
}

PyObject *native_nested_move(native_move *move, PyObject *object) { return move_any(move, object, NULL); }

/* move(value, target, casting): a result on its way out. */
NATIVE_CALL(native_move_out) {
  (void)module;
  static const native_signature signature = {"move", {"value", "target", "casting"}, 3, 3};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  native_move move = {.target = native_backend_of(values[1], "target")};
  if (move.target == NULL || native_casting_read(values[2], &move.casting) != 0) return NULL;
  PyObject *moved = native_nested_move(&move, values[0]);
  native_move_end(&move);
  return moved;
}
