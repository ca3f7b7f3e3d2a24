/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

#include <abpy.h>

#include "native.h"

#if defined(Py_GIL_DISABLED)
#define STRING2(x) #x
#define STRING(x) STRING2(x)
#define RUNTIME_ABI "cp" STRING(PY_MAJOR_VERSION) STRING(PY_MINOR_VERSION) "t"
#else
#define RUNTIME_ABI "abi3-3.11"
#endif

static atomic_int ended;
static atomic_int drain_asked; /* one pending call at a time: the interpreter's queue has 32 places */
static PyThreadState *(*current_thread_state)(void);
static PyObject *gc_collect;

/* ------------------------------------------------------------------ the lock */

static void *lock_enter(void *self) {
  (void)self;
  if (atomic_load_explicit(&ended, memory_order_acquire)) return NULL;
  return (void *)((uintptr_t)PyGILState_Ensure() + 1);
}

static void lock_leave(void *self, void *token) {
  (void)self;
  PyGILState_Release((PyGILState_STATE)((uintptr_t)token - 1));
}

static void *blocking_begin(void *self) {
  (void)self;
  return PyEval_SaveThread();
}

static void blocking_end(void *self, void *token) {
  (void)self;
  PyEval_RestoreThread(token);
}

/* Not PyGILState_Check(): it says 1 to every thread once a subinterpreter has existed. The state that is current is
 * this thread's own only while this thread has the GIL. */
static int32_t lock_held(void *self) {
  (void)self;
  if (current_thread_state == NULL || atomic_load_explicit(&ended, memory_order_acquire)) return 0;
  PyThreadState *current = current_thread_state();
  return current != NULL && current == PyGILState_GetThisThreadState();
}

/* ------------------------------------------------------------------ objects */

static void *type_key(void *self, void *object) {
  (void)self;
  return Py_TYPE((PyObject *)object);
}

static void retain(void *self, void *object) {
  (void)self;
  Py_INCREF((PyObject *)object);
}

static void release(void *self, void *object) {
  (void)self;
  Py_DECREF((PyObject *)object);
}

static void collect_garbage(void *self) {
  (void)self;
  PyObject *collected = PyObject_CallNoArgs(gc_collect);
  if (collected == NULL) (void)native_no(); /* a wish to stop stays: the next slot's result is about it */
  Py_XDECREF(collected);
}

/* ------------------------------------------------------------------ exceptions that a slot has left behind */

static PyObject *take_exception(void) {
  PyObject *type = NULL, *value = NULL, *traceback = NULL;
  PyErr_Fetch(&type, &value, &traceback);
  PyErr_NormalizeException(&type, &value, &traceback);
  if (traceback != NULL && value != NULL) PyException_SetTraceback(value, traceback);
  Py_XDECREF(traceback);
  Py_XDECREF(type);
  return value;
}

static void write_exception(PyObject *exception, ab_error *error) {
  char type[96];
  native_type_name(exception, type, sizeof type);
  PyObject *string = PyObject_Str(exception);
  PyObject *bytes = string != NULL ? PyUnicode_AsEncodedString(string, "utf-8", "backslashreplace") : NULL;
  const char *text = bytes != NULL ? PyBytes_AsString(bytes) : NULL;
  if (text == NULL) (void)native_no(); /* a wish to stop stays, for who asked */
  snprintf(error->text, sizeof error->text, "%s%s%.400s", type, text != NULL && text[0] != '\0' ? ": " : "",
           text != NULL ? text : "");
  Py_XDECREF(bytes);
  Py_XDECREF(string);
}

static void failure_release(ab_failure *self) {
  PyObject *exception = self->object;
  self->object = NULL;
  if (exception == NULL || atomic_load_explicit(&ended, memory_order_acquire)) return; /* then a leak on purpose */
  const PyGILState_STATE state = PyGILState_Ensure();
  abpy_drop_exception(exception); /* who raises it takes it first: a wish to stop is still unheard */
  PyGILState_Release(state);
}

static int32_t take_stray_error(void *self, ab_error *error) {
  (void)self;
  if (PyErr_Occurred() == NULL) return 0;
  int stops = !PyErr_ExceptionMatches(PyExc_Exception);
  PyObject *exception = take_exception();
  if (exception == NULL) return 0;
  write_exception(exception, error);
  if (PyErr_Occurred() != NULL) { /* its text asked Python, and was interrupted */
    Py_DECREF(exception);
    exception = take_exception();
    stops = 1;
  }
  error->status = stops ? AB_CANCELLED : AB_INTERNAL;
  ab_failure failure = {.struct_size = (uint32_t)sizeof failure,
                        .status = AB_FRAMEWORK,
                        .domain = "python",
                        .object = exception,
                        .release = failure_release};
  ab_error_set_failure(error, &failure);
  return 1;
}

/* ------------------------------------------------------------------ deferred work */

void native_drain(void) {
  native_stream_drain();
  if (native_bridge() != NULL) ab_bridge_drain(native_bridge());
}

static int drain_pending(void *argument) {
  (void)argument;
  atomic_store_explicit(&drain_asked, 0, memory_order_release); /* first: what comes in meanwhile asks again */
  if (!atomic_load_explicit(&ended, memory_order_acquire)) native_drain();
  return 0;
}

void native_request_drain(void) {
  if (atomic_load_explicit(&ended, memory_order_acquire)) return;
  if (atomic_exchange_explicit(&drain_asked, 1, memory_order_acq_rel)) return;
  if (Py_AddPendingCall(drain_pending, NULL) != 0) atomic_store_explicit(&drain_asked, 0, memory_order_release);
}

static void request_drain(void *self) {
  (void)self;
  native_request_drain();
}

static int32_t ending(void *self) {
  (void)self;
  return atomic_load_explicit(&ended, memory_order_acquire);
}

void native_runtime_end(void) {
  if (atomic_exchange_explicit(&ended, 1, memory_order_acq_rel)) return;
  if (native_bridge() != NULL) ab_bridge_end(native_bridge());
}

/* A call that the parent had asked for may have been lost in the child. */
static void forget_request(void) { atomic_store_explicit(&drain_asked, 0, memory_order_relaxed); }

int native_runtime_init(void) {
  /* Public from Python 3.13 on, there before under its older name; without either the answer is "cannot be told". */
  *(void **)&current_thread_state = dlsym(RTLD_DEFAULT, "PyThreadState_GetUnchecked");
  if (current_thread_state == NULL)
    *(void **)&current_thread_state = dlsym(RTLD_DEFAULT, "_PyThreadState_UncheckedGet");
  pthread_atfork(NULL, NULL, forget_request);
  PyObject *gc = PyImport_ImportModule("gc");
  if (gc == NULL) return -1;
  gc_collect = PyObject_GetAttrString(gc, "collect");
  Py_DECREF(gc);
  return gc_collect != NULL ? 0 : -1;
}

const ab_runtime native_runtime = {
    .struct_size = (uint32_t)sizeof(ab_runtime),
    .kind = 1, /* AB_RUNTIME_PYTHON */
    .abi = RUNTIME_ABI,
    .lock_enter = lock_enter,
    .lock_leave = lock_leave,
    .blocking_begin = blocking_begin,
    .blocking_end = blocking_end,
    .type_key = type_key,
    .retain = retain,
    .release = release,
    .collect_garbage = collect_garbage,
    .request_drain = request_drain,
    .lock_held = lock_held,
    .ending = ending,
    .take_stray_error = take_stray_error,
};
