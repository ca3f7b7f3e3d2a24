/* SPDX-License-Identifier: MIT
 * Exceptions that ask the program to stop. A signal handler may raise one inside any call that runs Python code, a mere
 * look at an attribute included; whoever drops the failure of such a call must not drop the request with it. */
#include "abpy.h"

int abpy_asks_to_stop(PyObject *exception) { return !PyErr_GivenExceptionMatches(exception, PyExc_Exception); }

/* ------------------------------------------------------------------ raised again, later */

static int raise_again(void *exception) {
  PyErr_SetObject((PyObject *)Py_TYPE((PyObject *)exception), exception);
  Py_DECREF((PyObject *)exception);
  return -1;
}

/// Where it cannot be told it is taken to be the main one, the only thread on which signal handlers run. That this runs
/// Python code itself does no harm: a second request that comes here is the same wish once more.
static int on_main_thread(void) {
  PyObject *threading = abpy_imported("threading");
  PyObject *thread = threading != NULL ? PyObject_CallMethod(threading, "main_thread", NULL) : NULL;
  PyObject *ident = thread != NULL ? PyObject_GetAttrString(thread, "ident") : NULL;
  const unsigned long number = ident != NULL && PyLong_Check(ident) ? PyLong_AsUnsignedLong(ident) : 0;
  const int known = ident != NULL && !PyErr_Occurred();
  PyErr_Clear();
  Py_XDECREF(ident);
  Py_XDECREF(thread);
  return !known || number == PyThread_get_thread_ident();
}

/* Not PyErr_SetInterrupt(): it would call the signal handler a second time for one signal, and a SystemExit has no
 * signal. A pending call raises the very exception, with its traceback and its exit status, but runs on the main thread
 * only; other threads, to which only another thread can have sent it, get a new one of its type. */
static void keep(PyObject *exception) {
  if (on_main_thread() && Py_AddPendingCall(raise_again, exception) == 0) return;
  PyThreadState_SetAsyncExc(PyThread_get_thread_ident(), (PyObject *)Py_TYPE(exception));
  Py_DECREF(exception);
}

void abpy_drop_exception(void *exception) {
  if (exception == NULL) return;
  if (abpy_asks_to_stop(exception)) keep(exception);
  else Py_DECREF((PyObject *)exception);
}

void abpy_clear(void) {
  if (PyErr_Occurred() == NULL) return;
  if (PyErr_ExceptionMatches(PyExc_Exception)) PyErr_Clear();
  else abpy_drop_exception(abpy_take_exception());
}

/* ------------------------------------------------------------------ raised now */

ab_status abpy_stopped(const ab_call *call) {
  if (call->error->status == AB_CANCELLED) return AB_CANCELLED;
  return Py_MakePendingCalls() == 0 ? AB_OK : abpy_error(call, AB_FRAMEWORK, "interrupted");
}
