/* SPDX-License-Identifier: MIT
 * A declaration: what a decorator knows of its function, in the form in which each call needs it. */
#ifndef ARRAYBRIDGE_NATIVE_DECLARATION_H
#define ARRAYBRIDGE_NATIVE_DECLARATION_H

#include <stdatomic.h>

#include "nested.h"

/// Flags of a declaration. python/arraybridge/declaration.py has the same.
enum {
  NATIVE_DECLARE_BOUND = 1 << 0,             ///< the first argument is `self` or `cls`: never looked at
  NATIVE_DECLARE_PRESERVES = 1 << 1,         ///< the image keeps the first array's dtype: another one is for settle()
  NATIVE_DECLARE_SETTLES = 1 << 2,           ///< every result is for settle()
  NATIVE_DECLARE_RARE = 1 << 3,              ///< every call is for rare()
  NATIVE_DECLARE_RECOVERS = 1 << 4,          ///< recover() may call again: conversions need no recovery of their own
  NATIVE_DECLARE_NARROWED = 1 << 5,          ///< only the arguments of `places` and `names` are converted
  NATIVE_DECLARE_MOVES_ALL = 1 << 6,         ///< arrays at home move to the device, too
  NATIVE_DECLARE_FOLLOWS = 1 << 7,           ///< the options decide what the decorator has left open
  NATIVE_DECLARE_SLICE_BY_SLICE = 1 << 8,    ///< a call may say slice_by_slice=
  NATIVE_DECLARE_DTYPE_CONVERSION = 1 << 9,  ///< a call may say dtype_conversion=
  NATIVE_DECLARE_DTYPE_CONFIG = 1 << 10,     ///< a call may say dtype_config=
  NATIVE_DECLARE_METHOD = 1 << 11            ///< made in a class: the first argument may be `self` by another name
};

typedef struct native_declaration {
  PyObject_HEAD PyObject *function;  ///< what is called
  PyObject *rare;                    ///< (args, kwargs) -> result: a call with anything out of the ordinary
  PyObject *settle;                  ///< (result, reference) -> result: one that is not yet as it shall be
  PyObject
      *recover;  ///< (exception, args, kwargs, converted args, converted kwargs) -> None, (result,) or an exception
  PyObject *contract;  ///< NULL: none
  PyObject *order;     ///< the function's parameters, a tuple of str
  PyObject *names;     ///< with NARROWED: a set of str
  PyObject *gpu_id;
  PyObject *device;
  PyObject *stream;  ///< NULL: one of ours
  const ab_backend *input;
  const ab_backend *output;  ///< NULL: the first array's
  uint64_t places;           ///< with NARROWED: one bit for each place; the highest is for all from the 64th on
  uint32_t flags;
  uint32_t casting;
  /// A type whose objects all are arrays of `input`, once one was met; the core keeps it alive.
  _Atomic(const void *) home_type;
  atomic_int scopes;  ///< native_scopes
} native_declaration;

/// Whether calls may run on a stream of their own.
enum native_scopes {
  NATIVE_SCOPES_UNKNOWN,  ///< nobody has looked yet
  NATIVE_SCOPES_NEVER,    ///< `input` has no CUDA device, or cannot be given a stream, or must not be
  NATIVE_SCOPES_PERHAPS   ///< it depends on where the arrays are
};

/* ------------------------------------------------------------------ declaration_scope.c */

/// Enters the stream that a call runs on. `search`: what was found in the arguments; NULL: nobody has looked. `*scope`:
/// NULL where there is none. Returns 0, or -1 with an exception.
int native_scope_begin(native_declaration *d, PyObject *positional, PyObject *named, const native_search *search,
                       ab_stream_scope **scope);
/// Leaves it. Takes `result`, NULL if an exception is pending, and gives what the call gives.
PyObject *native_scope_end(const native_declaration *d, ab_stream_scope *scope, PyObject *result);

/* ------------------------------------------------------------------ declaration_call.c */

/// Whether the options send host arrays to an accelerator. Returns 0, or -1 with an exception.
int native_prefers_accelerator(int *prefers);

/// call(args, kwargs): the whole call of a plain function.
PyObject *native_declaration_call(PyObject *self, PyObject *const *args, Py_ssize_t count);
/// begin(args, kwargs) -> (args, kwargs, reference): the arguments converted, and the first array as it came, or None.
PyObject *native_declaration_begin(PyObject *self, PyObject *const *args, Py_ssize_t count);
/// finish(result, reference) -> the result as it shall be.
PyObject *native_declaration_finish(PyObject *self, PyObject *const *args, Py_ssize_t count);
/// take(value[, chosen]) -> the value with its arrays converted in. Unless `chosen` says so, a value that no parameter
/// names is left as it is where only some arguments are converted.
PyObject *native_declaration_take(PyObject *self, PyObject *const *args, Py_ssize_t count);

#endif
