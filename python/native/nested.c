/* SPDX-License-Identifier: MIT */
#include "nested.h"

#include "cast_argument.h"
#include "containers.h"

int native_is_plain(PyObject *object) {
  return object == Py_None || PyLong_CheckExact(object) || PyFloat_CheckExact(object) || PyBool_Check(object) ||
         PyUnicode_CheckExact(object) || PyBytes_CheckExact(object) || PyComplex_CheckExact(object);
}

/* ------------------------------------------------------------------ what an array is */

typedef struct outline {
  DLDevice device;
  DLDataType dtype;
  int32_t ndim;
} outline;

/* What cannot be described says so when it is converted: zeros here, and -1 dimensions. */
static int outline_of(PyObject *array, const ab_backend *owner, outline *found) {
  int64_t shape[AB_MAX_NDIM];
  int64_t strides[AB_MAX_NDIM];
  ab_array_info info = {.struct_size = (uint32_t)sizeof info, .shape = shape, .strides = strides};
  const ab_array described = {owner, array};
  ab_error error;
  ab_error_init(&error);
  ab_status status = ab_backend_start(owner, &error);
  if (status == AB_OK) status = ab_array_describe(&described, shape, strides, &info, &error);
  *found = status == AB_OK ? (outline){info.device, info.dtype, info.ndim} : (outline){{0, 0}, {0, 0, 0}, -1};
  if (status == AB_CANCELLED) return native_raise(status, &error, ab_backend_name(owner), "", "describe"), -1;
  ab_error_clear(&error);
  return 0;
}

/* 0 for an array of no dimensions, a number in a box; 1; -1 with an exception. Frameworks answer faster than we do. */
static int has_axes(PyObject *array, const ab_backend *owner) {
  static PyObject *name;
  if (name == NULL) name = PyUnicode_InternFromString("ndim");
  PyObject *ndim = name != NULL ? PyObject_GetAttr(array, name) : NULL;
  const int known = ndim != NULL && PyLong_Check(ndim);
  const long axes = known ? PyLong_AsLong(ndim) : 1;
  Py_XDECREF(ndim);
  if (known && (axes != -1 || !PyErr_Occurred())) return axes != 0;
  if (PyErr_Occurred() && native_no() != 0) return -1;
  outline found;
  return outline_of(array, owner, &found) != 0 ? -1 : found.ndim != 0;
}

int native_search_is_solid(native_search *search) {
  if (search->solid || search->first == NULL) return search->solid;
  search->solid = has_axes(search->first, search->owner);
  if (search->solid >= 0) return search->solid;
  search->solid = 0;
  return -1;
}

static void take_first(native_search *search, PyObject *object, const ab_backend *owner) {
  PyObject *before = search->first;
  search->first = Py_NewRef(object);
  search->owner = owner;
  Py_XDECREF(before);
}

/* There is one already: the other takes its place if that is a number in a box, and it itself is none. */
static int look_at_another(native_search *search, PyObject *object, const ab_backend *owner) {
  const int solid = native_search_is_solid(search);
  if (solid != 0) return solid < 0 ? -1 : 0;
  const int axes = has_axes(object, owner);
  if (axes <= 0) return axes;
  take_first(search, object, owner);
  search->solid = 1;
  return 0;
}

/* ------------------------------------------------------------------ looking */

static int is_known(const native_search *search, PyObject *object) {
  return search->home_type == (const void *)Py_TYPE(object);
}

/* At what holds no others. */
static int look_at_one(native_search *search, PyObject *object) {
  const ab_backend *owner = is_known(search, object) ? search->home : native_owner_of(object, NULL);
  if (owner == NULL) return PyErr_Occurred() ? -1 : 0;
  if (search->first == NULL) {
    take_first(search, object, owner);
  } else if (object != search->first) {
    search->others = 1;
    if (search->wants_axes && !search->solid && look_at_another(search, object, owner) != 0) return -1;
  }
  if (owner != search->home && search->counts) search->foreign = 1;
  return 0;
}

static int enter_once(native_walk *walk, native_seen *seen, PyObject *container) {
  const int is_new = native_seen_add(seen, container);
  if (is_new <= 0) return is_new;
  return native_walk_enter(walk, container) != NULL ? 0 : -1;
}

/* Not inlined: its memory on the stack would burden every argument. */
__attribute__((noinline)) static int look_into(native_search *search, PyObject *object) {
  native_seen seen = {.count = 0};
  native_walk walk;
  native_walk_begin(&walk);
  int result = enter_once(&walk, &seen, object);
  while (result == 0 && walk.depth > 0) {
    native_level *level = native_walk_top(&walk);
    if (!native_walk_next(level)) native_walk_leave(&walk);
    else if (is_known(search, level->item)) result = look_at_one(search, level->item);
    else if (native_is_plain(level->item)) continue;
    else if (native_is_container(level->item)) result = enter_once(&walk, &seen, level->item);
    else result = look_at_one(search, level->item);
  }
  native_walk_end(&walk);
  native_seen_end(&seen);
  return result;
}

int native_nested_look(native_search *search, PyObject *object) {
  if (is_known(search, object)) return look_at_one(search, object);
  if (native_is_plain(object)) return 0;
  return native_is_container(object) ? look_into(search, object) : look_at_one(search, object);
}

/* ------------------------------------------------------------------ moving one array */

static int where_is(PyObject *array, const ab_backend *owner, DLDevice *device) {
  outline found;
  if (outline_of(array, owner, &found) != 0) return -1;
  *device = found.device;
  return 0;
}

int native_dtype_of(PyObject *array, const ab_backend *owner, DLDataType *dtype) {
  outline found;
  if (outline_of(array, owner, &found) != 0) return -1;
  *dtype = found.dtype;
  return 0;
}

void native_move_lead(native_move *move, PyObject *array) {
  if (move->leader == NULL && !move->all) move->leader = Py_NewRef(array);
}

void native_move_end(native_move *move) {
  Py_CLEAR(move->leader);
  Py_CLEAR(move->memo);
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

static PyObject *send(native_move *move, PyObject *array, const ab_backend *owner) {
  native_request request;
  PyObject *result = NULL;
  if (choose_place(move, array, owner, &request) == 0) {
    result = native_convert_with(array, NULL, move->target, &request.options);
    if (result == NULL && move->casting != AB_CASTING_NO && native_would_cast()) {
      if (array == move->watched) move->watched = NULL;
      request.options.casting = move->casting;
      result = native_cast((ab_array){owner, array}, move->target, &request.options);
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

/* A container of the same type with other items: exact ones are made here, others by whoever knows how. */
static PyObject *remade(PyObject *object, PyObject *items) {
  if (PyTuple_CheckExact(object)) return PyList_AsTuple(items);
  if (PyList_CheckExact(object) || PyDict_CheckExact(object)) return Py_NewRef(items);
  return PyObject_CallFunctionObjArgs(native_hook.rebuild, object, items, NULL);
}

/* What has become of each container, by its address: {address: (container, moved)}, which keeps both alive. */
static int remember(native_move *move, PyObject *container, PyObject *moved) {
  if (move->memo == NULL) move->memo = PyDict_New();
  PyObject *key = move->memo != NULL ? PyLong_FromVoidPtr(container) : NULL;
  PyObject *both = key != NULL ? PyTuple_Pack(2, container, moved) : NULL;
  const int result = both != NULL ? PyDict_SetItem(move->memo, key, both) : -1;
  Py_XDECREF(both);
  Py_XDECREF(key);
  return result;
}

/* A new reference; NULL without an exception: it was not met yet. */
static PyObject *remembered(const native_move *move, PyObject *container) {
  if (move->memo == NULL) return NULL;
  PyObject *key = PyLong_FromVoidPtr(container);
  PyObject *both = key != NULL ? PyDict_GetItemWithError(move->memo, key) : NULL;
  Py_XDECREF(key);
  return both != NULL ? Py_NewRef(PyTuple_GetItem(both, 1)) : NULL;
}

/* Until it is done, a container stands for itself: one that contains itself still does so in what it becomes. */
static int enter_to_move(native_move *move, native_walk *walk, PyObject *container) {
  if (remember(move, container, container) != 0) return -1;
  native_level *level = native_walk_enter(walk, container);
  if (level == NULL) return -1;
  const int dict = PyDict_Check(container);
  level->items = dict ? PyDict_New() : PyList_New(0);
  if (dict) {
    PyObject *copy = PyDict_Copy(container); /* conversions may run Python, which may change it */
    if (copy == NULL) return -1;
    Py_DECREF(level->source);
    level->source = copy;
  }
  return level->items != NULL ? 0 : -1;
}

/* Takes `moved`. */
static int put(native_level *level, PyObject *moved) {
  if (moved == NULL) return -1;
  level->changed |= moved != level->item;
  const int result =
      level->key != NULL ? PyDict_SetItem(level->items, level->key, moved) : PyList_Append(level->items, moved);
  Py_DECREF(moved);
  return result;
}

/* What the container has become. New reference. */
static PyObject *finished(native_move *move, const native_level *level) {
  if (!level->changed) return Py_NewRef(level->container);
  PyObject *made = remade(level->container, level->items);
  if (made != NULL && remember(move, level->container, made) != 0) Py_CLEAR(made);
  return made;
}

static PyObject *move_leaf(native_move *move, PyObject *object) {
  if (native_is_plain(object)) return Py_NewRef(object);
  const ab_backend *owner = native_owner_of(object, NULL);
  if (owner != NULL) return move_one(move, object, owner);
  return PyErr_Occurred() ? NULL : Py_NewRef(object);
}

/* One step of a walk. Returns 0, or -1 with an exception; `*whole`: what the outermost container has become. */
static int move_next(native_move *move, native_walk *walk, PyObject **whole) {
  native_level *level = native_walk_top(walk);
  PyObject *moved = NULL;
  if (!native_walk_next(level)) {
    moved = finished(move, level);
    native_walk_leave(walk);
    if (walk->depth == 0) {
      *whole = moved;
      return moved != NULL ? 0 : -1;
    }
    level = native_walk_top(walk);
  } else if (native_is_container(level->item)) {
    moved = remembered(move, level->item);
    if (moved == NULL) return PyErr_Occurred() ? -1 : enter_to_move(move, walk, level->item);
  } else {
    moved = move_leaf(move, level->item);
  }
  return put(level, moved);
}

static PyObject *move_container(native_move *move, PyObject *object) {
  PyObject *whole = remembered(move, object);
  if (whole != NULL || PyErr_Occurred()) return whole;
  native_walk walk;
  native_walk_begin(&walk);
  int result = enter_to_move(move, &walk, object);
  while (result == 0 && walk.depth > 0) result = move_next(move, &walk, &whole);
  native_walk_end(&walk);
  return whole;
}

PyObject *native_nested_move(native_move *move, PyObject *object) {
  return native_is_container(object) ? move_container(move, object) : move_leaf(move, object);
}

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
