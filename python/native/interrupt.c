/* SPDX-License-Identifier: MIT
 * Ctrl-C during a transfer that takes long: the core asks now and then whether to go on. */
#include <time.h>

#include "native.h"

enum { LOOK_EVERY_MS = 50 }; /* taking the GIL has its price, and others may hold it for a while */

/* What a signal's handler has raised; handlers run on the main thread, and so does all that touches this. */
static PyObject *raised[3];

static int64_t milliseconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int native_listen(void *context, uint64_t done, uint64_t total) {
  (void)context;
  static _Thread_local int64_t last;
  const int64_t now = milliseconds();
  if (done == total || now - last < LOOK_EVERY_MS) return 0;
  last = now;
  void *token = native_runtime.lock_enter(native_runtime.self);
  if (token == NULL) return 0;
  const int stops = PyErr_Occurred() == NULL && PyErr_CheckSignals() != 0;
  if (stops) PyErr_Fetch(&raised[0], &raised[1], &raised[2]);
  native_runtime.lock_leave(native_runtime.self, token);
  return stops;
}

int native_listen_raise(void) {
  if (raised[0] == NULL) return 0;
  PyErr_Restore(raised[0], raised[1], raised[2]);
  raised[0] = raised[1] = raised[2] = NULL;
  return 1;
}
