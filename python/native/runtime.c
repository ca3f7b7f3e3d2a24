/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>

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
  if (collected == NULL) PyErr_Clear();
  Py_XDECREF(collected);
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
};
