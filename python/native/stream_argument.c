/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "native.h"

/* ------------------------------------------------------------------ what keeps a stream object alive */

/* The core may keep a stream beyond the call and let go of it on any thread, without the GIL: the last release puts the
 * owner on a list, and the next drain, under the GIL, gives up the object. */
typedef struct stream_owner {
  struct stream_owner *next;
  atomic_int references;
  PyObject *object;
} stream_owner;

static _Atomic(stream_owner *) abandoned;

static void owner_retain(ab_stream *stream) {
  stream_owner *owner = stream->owner;
  atomic_fetch_add_explicit(&owner->references, 1, memory_order_relaxed);
}

static void owner_release(ab_stream *stream) {
  stream_owner *owner = stream->owner;
  if (atomic_fetch_sub_explicit(&owner->references, 1, memory_order_acq_rel) != 1) return;
  owner->next = atomic_load_explicit(&abandoned, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&abandoned, &owner->next, owner, memory_order_release,
                                                memory_order_relaxed)) {
  }
  native_request_drain();
}

void native_stream_drain(void) {
  if (atomic_load_explicit(&abandoned, memory_order_relaxed) == NULL) return;
  stream_owner *owner = atomic_exchange_explicit(&abandoned, NULL, memory_order_acquire);
  while (owner != NULL) {
    stream_owner *next = owner->next;
    Py_DECREF(owner->object);
    free(owner);
    owner = next;
  }
}

static int own(ab_stream *stream, PyObject *object) {
  stream_owner *owner = malloc(sizeof *owner);
  if (owner == NULL) return PyErr_NoMemory(), -1;
  atomic_init(&owner->references, 1);
  owner->object = Py_NewRef(object);
  stream->owner = owner;
  stream->retain = owner_retain;
  stream->release = owner_release;
  return 0;
}

void native_stream_end(ab_stream *stream) {
  if (stream->release != NULL) stream->release(stream);
  memset(stream, 0, sizeof *stream);
}

/* ------------------------------------------------------------------ reading */

/* CUDA and HIP alike: 0 and 1 are the legacy default stream, 2 is the calling thread's. */
static void set_handle(ab_stream *stream, uintptr_t handle) {
  stream->kind = handle <= 1 ? AB_STREAM_LEGACY : handle == 2 ? AB_STREAM_PER_THREAD : AB_STREAM_HANDLE;
  if (stream->kind == AB_STREAM_HANDLE) stream->handle = (void *)handle;
  if (stream->kind == AB_STREAM_PER_THREAD) stream->thread = (uint64_t)syscall(SYS_gettid);
  if (stream->kind != AB_STREAM_HANDLE) stream->flags |= AB_STREAM_IMMORTAL;
}

static int handle_of(PyObject *value, uintptr_t *handle) {
  PyObject *number = PyNumber_Index(value);
  if (number == NULL) return -1;
  const unsigned long long read = PyLong_AsUnsignedLongLong(number);
  Py_DECREF(number);
  if (read == (unsigned long long)-1 && PyErr_Occurred()) {
    PyErr_Clear();
    PyErr_SetString(PyExc_ValueError, "stream must be a CUDA stream handle: 0 or more");
    return -1;
  }
  *handle = (uintptr_t)read;
  return 0;
}

/* The protocol: __cuda_stream__() gives (version, handle). Takes `method`. */
static PyObject *by_protocol(PyObject *method) {
  PyObject *pair = PyObject_CallNoArgs(method);
  Py_DECREF(method);
  PyObject *handle = pair != NULL ? PySequence_GetItem(pair, 1) : NULL;
  Py_XDECREF(pair);
  return handle;
}

static PyObject *handle_object(PyObject *object) {
  static const char *const names[] = {"__cuda_stream__", "cuda_stream", "ptr"}; /* the protocol, torch, CuPy */
  for (size_t index = 0; index < sizeof names / sizeof names[0]; index++) {
    PyObject *found = PyObject_GetAttrString(object, names[index]);
    if (found != NULL) return index == 0 ? by_protocol(found) : found;
    if (native_no() != 0) return NULL;
  }
  PyErr_Format(PyExc_TypeError,
               "stream must be None, a CUDA stream handle, or an object with __cuda_stream__, cuda_stream or ptr, "
               "not %R",
               object);
  return NULL;
}

/* The device an object names: CuPy's device_id, torch's device.index. Where it names none `device` stays. */
static int device_of(PyObject *object, DLDevice *device) {
  PyObject *index = PyObject_GetAttrString(object, "device_id");
  if (index == NULL) {
    if (native_no() != 0) return -1;
    PyObject *place = PyObject_GetAttrString(object, "device");
    index = place != NULL ? PyObject_GetAttrString(place, "index") : NULL;
    Py_XDECREF(place);
  }
  const long number = index != NULL ? PyLong_AsLong(index) : -1;
  Py_XDECREF(index);
  if (number >= 0 && number <= INT32_MAX) device->device_id = (int32_t)number;
  return native_no();
}

static int read_object(PyObject *object, ab_stream *stream) {
  uintptr_t handle = 0;
  PyObject *number = handle_object(object);
  const int result = number != NULL ? handle_of(number, &handle) : -1;
  Py_XDECREF(number);
  if (result != 0 || device_of(object, &stream->device) != 0) return -1;
  set_handle(stream, handle);
  return stream->kind == AB_STREAM_HANDLE ? own(stream, object) : 0;
}

int native_stream_read(PyObject *value, DLDevice device, ab_stream *stream) {
  uintptr_t handle = 0;
  *stream = (ab_stream){.struct_size = (uint32_t)sizeof *stream, .device = device};
  if (!PyLong_Check(value)) return read_object(value, stream);
  if (handle_of(value, &handle) != 0) return -1;
  set_handle(stream, handle);
  if (stream->kind == AB_STREAM_HANDLE) stream->flags |= AB_STREAM_BORROWED;
  return 0;
}
