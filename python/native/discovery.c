/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdatomic.h>

#include "native.h"

static ab_bridge *bridge;
static atomic_int discovered;
static atomic_int announced;
static pthread_mutex_t lock;    /* recursive; taken only while the GIL is let go, so holding it never blocks the GIL */
static _Thread_local int depth; /* how often this thread holds it */
static int running; /* a plugin that asks for a conversion while it is being made sees what is there already */

ab_bridge *native_bridge(void) { return bridge; }

static void lock_init(void) {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_init(&lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

/* Not taken before a fork: its owner may need the GIL, which the forking thread holds. So the child gets a new one,
 * and a discovery whose thread it does not have is begun again; one that itself forks goes on. */
static void lock_in_child(void) {
  lock_init();
  for (int held = 0; held < depth; held++) pthread_mutex_lock(&lock);
  if (depth == 0) running = 0;
}

int native_bridge_init(void) {
  if (bridge != NULL) return 0;
  static int watched;
  if (!watched) lock_init();
  if (!watched && (pthread_atfork(NULL, NULL, lock_in_child) != 0 || native_names_init() != 0))
    return PyErr_NoMemory(), -1;
  watched = 1;
  const ab_bridge_options options = {.struct_size = (uint32_t)sizeof options, .runtime = &native_runtime};
  ab_error error;
  ab_error_init(&error);
  if (ab_bridge_new(&options, &bridge, &error) == AB_OK) return 0;
  PyErr_Format(PyExc_ImportError, "arraybridge cannot start: %s", error.text);
  ab_error_clear(&error);
  return -1;
}

static void lock_take(void) {
  PyThreadState *state = PyEval_SaveThread();
  pthread_mutex_lock(&lock);
  depth++;
  PyEval_RestoreThread(state);
}

static void lock_give_back(void) {
  depth--;
  pthread_mutex_unlock(&lock);
}

static int look(void) {
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_bridge_discover(bridge, &error);
  if (status == AB_OK) return 0;
  native_raise(status, &error, "", "", "discover");
  return -1;
}

static int discover_first(void) {
  int result = 0;
  lock_take();
  if (!running && !atomic_load_explicit(&discovered, memory_order_acquire)) {
    running = 1;
    result = look();
    running = 0;
    if (result == 0) atomic_store_explicit(&discovered, 1, memory_order_release);
  }
  lock_give_back();
  return result;
}

int native_discover(void) { return atomic_load_explicit(&discovered, memory_order_acquire) ? 0 : discover_first(); }

static int add_announced(PyObject *paths) {
  const Py_ssize_t count = PyList_Size(paths);
  for (Py_ssize_t index = 0; index < count; index++) {
    const char *path = PyUnicode_AsUTF8AndSize(PyList_GetItem(paths, index), NULL);
    if (path == NULL) return -1;
    if (ab_bridge_add_announced(bridge, path, NULL) != AB_OK) return PyErr_NoMemory(), -1;
  }
  return count == 0 ? 0 : look();
}

int native_discover_announced(void) {
  if (native_discover() != 0) return -1;
  if (atomic_load_explicit(&announced, memory_order_acquire)) return 0;
  PyObject *paths = PyObject_CallNoArgs(native_hook.announced);
  if (paths == NULL) return -1;
  lock_take();
  int result = 0;
  if (!atomic_load_explicit(&announced, memory_order_acquire)) {
    result = add_announced(paths);
    if (result == 0) atomic_store_explicit(&announced, 1, memory_order_release);
  }
  lock_give_back();
  Py_DECREF(paths);
  return result == 0 ? 1 : -1;
}
