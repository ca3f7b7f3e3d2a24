/* SPDX-License-Identifier: MIT
 * Arrays wherever they stand in tuples, lists and dicts: finding them, and bringing them to one backend. */
#ifndef ARRAYBRIDGE_NATIVE_NESTED_H
#define ARRAYBRIDGE_NATIVE_NESTED_H

#include "native.h"

/* ------------------------------------------------------------------ looking */

/// 1 for the commonest arguments that neither are arrays nor hold any: not worth asking every backend.
int native_is_plain(PyObject *object);

typedef struct native_search {
  const ab_backend *home;  /* where arrays are at home */
  const void *home_type;   /* a type whose objects all are arrays of `home`; NULL: none is known */
  int counts;              /* 1: arrays elsewhere matter; 0: they are only looked at for `first` */
  int foreign;             /* set: an array that matters is elsewhere */
  int wants_axes;          /* 1: `first` is an array of no dimensions only if there is no other */
  int others;              /* set: `first` is not the only array */
  int solid;               /* set: `first` is known to have dimensions; looked at only where there is another */
  PyObject *first;         /* set: the first array. A reference: looking may run Python, which drops what it stood in */
  const ab_backend *owner; /* of `first` */
  PyObject *stand_in;      /* for the caller: what `first` has become, if its dtype is the same. A reference */
} native_search;

/// Looks at `object`, and into it if it is a tuple, a list or a dict. Returns 0, or -1 with an exception.
int native_nested_look(native_search *search, PyObject *object);
/// Drops the references.
static inline void native_search_end(native_search *search) {
  Py_CLEAR(search->first);
  Py_CLEAR(search->stand_in);
}
/// 1 if `first` is an array with dimensions, 0 if it has none or is not found yet, -1 with an exception.
int native_search_is_solid(native_search *search);

/* ------------------------------------------------------------------ moving */

typedef struct native_move {
  const ab_backend *target;
  PyObject *gpu_id; /* where host arrays go; NULL or None: not said */
  PyObject *device;
  uint32_t casting;   /* ab_casting for a dtype that the target lacks; told once where it is used */
  int all;            /* 1: arrays at home and on devices go where `gpu_id` or `device` say, too */
  int once;           /* 1: out-of-memory is told at once: whoever asked for the move has a recovery */
  int prefers;        /* 1: a first array on the host goes to the target's accelerator, if there is one */
  PyObject *watched;  /* an array whose image at the target is wanted; borrowed, may be NULL */
  PyObject *stand_in; /* set: that image, if it has the same dtype. A reference */
  PyObject *memo;     /* what has become of containers, so that one met twice is moved once. A reference */
  PyObject *leader;   /* the first array at the target: the others follow it. A reference */
  int led;            /* `place` is known; it is asked for only if there are others */
  DLDevice place;     /* device_type 0: the host, or unknown */
} native_move;

/// `object` with each array in it brought to the target; itself where nothing changes. Containers keep their type, and
/// one that is met twice in the same move is the same one afterwards. New reference.
PyObject *native_nested_move(native_move *move, PyObject *object);
/// Makes `array`, which is at the target, the one that the others follow, unless there is one already.
void native_move_lead(native_move *move, PyObject *array);
void native_move_end(native_move *move);
/// The dtype of an array, bits 0 where it cannot be told. Returns 0, or -1 with an exception.
int native_dtype_of(PyObject *array, const ab_backend *owner, DLDataType *dtype);

#endif
