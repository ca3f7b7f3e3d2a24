/* SPDX-License-Identifier: MIT */
#include "native.h"

const ab_convert_options native_default_options = {
    .struct_size = (uint32_t)sizeof(ab_convert_options),
    .flags = AB_CONVERT_LOCK_HELD,
    .progress = native_listen,
};

int native_settings_changed;

/* What the process may set. */
enum { CORE_DEFAULT = 2, PINNED_DEFAULT = 64 << 20 };
enum {
  SETTABLE = AB_CONVERT_COPY_IMMUTABLE | AB_CONVERT_COPY_MUTABLE | AB_CONVERT_RELEASE_CONTEXT | AB_CONVERT_NO_RECOVERY
};

static uint32_t process_flags; /* of SETTABLE */
static uint32_t process_threads;
static uint64_t process_pinned;  /* 0: the core's default */
static uint32_t process_retries; /* 0: the core's default, or none with AB_CONVERT_NO_RECOVERY */
static int scopes;               /* contexts, anywhere, that have settings of their own */

static void note_change(void) {
  native_settings_changed =
      process_flags != 0 || process_threads != 0 || process_retries != 0 || process_pinned != 0 || scopes != 0;
}

static int unsigned_of(PyObject *value, uint32_t *result) {
  const unsigned long read = PyLong_AsUnsignedLong(value);
  if (read == (unsigned long)-1 && PyErr_Occurred()) return -1;
  *result = (uint32_t)read;
  return 0;
}

/* Bytes, in the core's words: 0 is its default, and too little for a chunk is none. */
static int pinned_of(PyObject *value, uint64_t *result) {
  const unsigned long long read = PyLong_AsUnsignedLongLong(value);
  if (read == (unsigned long long)-1 && PyErr_Occurred()) return -1;
  *result = read == PINNED_DEFAULT ? 0 : read == 0 ? 1 : (uint64_t)read;
  return 0;
}

/* As an unsigned number, unless it is None: the context leaves it as the process has it. */
static int number_of(PyObject *value, uint32_t *result) { return value == Py_None ? 0 : unsigned_of(value, result); }

/* (mask, flags, threads, max_retries, pinned_memory): the flags in `mask` are as `flags` says. */
static int apply_scope(PyObject *scope, ab_convert_options *options) {
  uint32_t mask = 0;
  uint32_t flags = 0;
  if (unsigned_of(PyTuple_GetItem(scope, 0), &mask) != 0 || unsigned_of(PyTuple_GetItem(scope, 1), &flags) != 0)
    return -1;
  options->flags = (options->flags & ~mask) | (flags & mask);
  if (number_of(PyTuple_GetItem(scope, 2), &options->threads) != 0) return -1;
  if (number_of(PyTuple_GetItem(scope, 3), &options->max_retries) != 0) return -1;
  PyObject *pinned = PyTuple_GetItem(scope, 4);
  return pinned == Py_None ? 0 : pinned_of(pinned, &options->pinned_limit);
}

int native_settings_apply(ab_convert_options *options) {
  options->flags |= process_flags;
  options->threads = process_threads;
  options->max_retries = process_retries;
  options->pinned_limit = process_pinned;
  if (scopes == 0) return 0;
  PyObject *scope = PyObject_CallNoArgs(native_hook.scope);
  if (scope == NULL) return -1;
  const int result = scope == Py_None ? 0 : apply_scope(scope, options);
  Py_DECREF(scope);
  return result;
}

NATIVE_CALL(native_set_settings) {
  (void)module;
  static const native_signature signature = {
      "set_settings", {"flags", "threads", "max_retries", "pinned_memory"}, 4, 4};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  uint32_t flags = 0;
  uint32_t threads = 0;
  uint32_t retries = 0;
  uint64_t pinned = 0;
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  if (unsigned_of(values[0], &flags) != 0 || unsigned_of(values[1], &threads) != 0) return NULL;
  if (unsigned_of(values[2], &retries) != 0 || pinned_of(values[3], &pinned) != 0) return NULL;
  process_flags = flags & SETTABLE;
  process_threads = threads;
  process_pinned = pinned;
  process_retries = retries == CORE_DEFAULT ? 0 : retries; /* so that the default stays the quick way */
  note_change();
  Py_RETURN_NONE;
}

NATIVE_CALL(native_scope_settings) {
  (void)module;
  static const native_signature signature = {"scope_settings", {"more"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const long more = PyLong_AsLong(values[0]);
  if (more == -1 && PyErr_Occurred()) return NULL;
  scopes += (int)more;
  note_change();
  Py_RETURN_NONE;
}
