/* SPDX-License-Identifier: MIT
 * The way through tuples, lists and dicts: without recursion, however deep they are, and into each once. */
#ifndef ARRAYBRIDGE_NATIVE_CONTAINERS_H
#define ARRAYBRIDGE_NATIVE_CONTAINERS_H

#include "native.h"

int native_is_container(PyObject *object);

/* ------------------------------------------------------------------ a walk */

/// One container that is being gone through. All objects are references: meanwhile Python may run and change anything.
typedef struct native_level {
  PyObject *container;
  PyObject *source; /* what is gone through: the container, or a copy */
  PyObject *key;    /* of `item` in a dict, else NULL */
  PyObject *item;   /* where we are */
  PyObject *items;  /* for the caller: what is made of it */
  int changed;      /* for the caller */
  Py_ssize_t at;
} native_level;

enum { NATIVE_FEW_LEVELS = 8, NATIVE_FEW_SEEN = 8 };

typedef struct native_walk {
  native_level *levels; /* the last one is where we are */
  Py_ssize_t depth;
  Py_ssize_t room;
  native_level few[NATIVE_FEW_LEVELS]; /* `levels`, until they are too many */
} native_walk;

void native_walk_begin(native_walk *walk);
/// Goes into `container`. Returns its level, valid until the next enter; NULL with an exception.
native_level *native_walk_enter(native_walk *walk, PyObject *container);
native_level *native_walk_top(native_walk *walk);
/// Goes on to the next item. Returns 0 at the end.
int native_walk_next(native_level *level);
/// Goes back to the container around this one.
void native_walk_leave(native_walk *walk);
void native_walk_end(native_walk *walk);

/* ------------------------------------------------------------------ what was met already */

/// A set of objects by identity. It keeps them alive, and allocates nothing for the first few.
typedef struct native_seen {
  PyObject *few[NATIVE_FEW_SEEN];
  int count;
  PyObject *more; /* dict: address -> object */
} native_seen;

/// Returns 1 if `object` was not there yet, 0 if it was, -1 with an exception.
int native_seen_add(native_seen *seen, PyObject *object);
void native_seen_end(native_seen *seen);

#endif
