/* SPDX-License-Identifier: MIT */
#include "containers.h"

#include <string.h>

int native_is_container(PyObject *object) {
  const unsigned long kinds = Py_TPFLAGS_TUPLE_SUBCLASS | Py_TPFLAGS_LIST_SUBCLASS | Py_TPFLAGS_DICT_SUBCLASS;
  return (PyType_GetFlags(Py_TYPE(object)) & kinds) != 0;
}

/* ------------------------------------------------------------------ a walk */

void native_walk_begin(native_walk *walk) {
  walk->levels = walk->few;
  walk->depth = 0;
  walk->room = NATIVE_FEW_LEVELS;
}

static int make_room(native_walk *walk) {
  if (walk->depth < walk->room) return 0;
  native_level *few = walk->levels == walk->few ? walk->levels : NULL;
  native_level *more = PyMem_Realloc(few != NULL ? NULL : walk->levels, 2 * (size_t)walk->room * sizeof *more);
  if (more == NULL) {
    PyErr_NoMemory();
    return -1;
  }
  if (few != NULL) memcpy(more, few, sizeof walk->few);
  walk->levels = more;
  walk->room *= 2;
  return 0;
}

native_level *native_walk_enter(native_walk *walk, PyObject *container) {
  if (make_room(walk) != 0) return NULL;
  native_level *level = &walk->levels[walk->depth++];
  *level = (native_level){.container = Py_NewRef(container), .source = Py_NewRef(container)};
  return level;
}

native_level *native_walk_top(native_walk *walk) { return &walk->levels[walk->depth - 1]; }

static void drop_item(native_level *level) {
  Py_CLEAR(level->key);
  Py_CLEAR(level->item);
}

int native_walk_next(native_level *level) {
  PyObject *source = level->source;
  PyObject *key = NULL;
  PyObject *item = NULL; /* borrowed, both */
  drop_item(level);      /* may run Python: only now is the next one looked up */
  if (PyDict_Check(source)) {
    if (!PyDict_Next(source, &level->at, &key, &item)) return 0;
  } else if (PyTuple_Check(source)) {
    if (level->at >= PyTuple_Size(source)) return 0;
    item = PyTuple_GetItem(source, level->at++);
  } else {
    if (level->at >= PyList_Size(source)) return 0;
    item = PyList_GetItem(source, level->at++);
  }
  level->key = Py_XNewRef(key);
  level->item = Py_NewRef(item);
  return 1;
}

void native_walk_leave(native_walk *walk) {
  native_level gone = walk->levels[--walk->depth];
  drop_item(&gone);
  Py_XDECREF(gone.items);
  Py_DECREF(gone.source);
  Py_DECREF(gone.container);
}

void native_walk_end(native_walk *walk) {
  while (walk->depth > 0) native_walk_leave(walk);
  if (walk->levels != walk->few) PyMem_Free(walk->levels);
}

/* ------------------------------------------------------------------ what was met already */

static int add_to_more(native_seen *seen, PyObject *object) {
  if (seen->more == NULL) seen->more = PyDict_New();
  PyObject *key = seen->more != NULL ? PyLong_FromVoidPtr(object) : NULL;
  const int met = key != NULL ? PyDict_Contains(seen->more, key) : -1;
  const int failed = met < 0 || (met == 0 && PyDict_SetItem(seen->more, key, object) != 0);
  Py_XDECREF(key);
  return failed ? -1 : !met;
}

int native_seen_add(native_seen *seen, PyObject *object) {
  for (int place = 0; place < seen->count; place++)
    if (seen->few[place] == object) return 0;
  if (seen->count == NATIVE_FEW_SEEN) return add_to_more(seen, object);
  seen->few[seen->count++] = Py_NewRef(object);
  return 1;
}

void native_seen_end(native_seen *seen) {
  while (seen->count > 0) Py_DECREF(seen->few[--seen->count]);
  Py_CLEAR(seen->more);
}
