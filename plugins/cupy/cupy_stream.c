/* SPDX-License-Identifier: MIT
 * CuPy's streams, and the order of its work against the streams of others. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE  // syscall()
#endif
#include "cupy_plugin.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

/* ------------------------------------------------------------------ keeping a stream of CuPy alive */

/* CuPy destroys a stream when its object goes. Whoever keeps an ab_stream counts here, without the GIL. */
typedef struct keeper {
  atomic_uint count;
  const ab_services *services;
  PyObject *stream;
} keeper;

static void keeper_drop(void *data) {
  keeper *self = data;
  const ab_services *services = self->services;
  Py_DECREF(self->stream);
  services->deallocate(services->core, self);
}

static void keeper_retain(ab_stream *stream) {
  keeper *self = stream->owner;
  atomic_fetch_add(&self->count, 1);
}

static void keeper_give_up(keeper *self) {
  if (atomic_fetch_sub(&self->count, 1) == 1)
    self->services->defer_release(self->services->core, keeper_drop, self, NULL, 0, 0);
}

static void keeper_release(ab_stream *stream) { keeper_give_up(stream->owner); }

/// A keeper with one count. Borrows `stream`. NULL: no memory.
static keeper *keeper_new(const cupy_framework *cupy, PyObject *stream) {
  keeper *self = cupy->services->allocate(cupy->services->core, sizeof *self);
  if (self == NULL) return NULL;
  atomic_init(&self->count, 1);
  self->services = cupy->services;
  self->stream = stream;
  Py_INCREF(stream);
  return self;
}

/* ------------------------------------------------------------------ describing a stream */

/// Is `stream` non-blocking? Said so where it cannot be told: then more is waited for, not less.
static uint32_t blocking_flag(PyObject *stream) {
  PyObject *value = abpy_attribute(stream, "is_non_blocking");
  const int blocking = value == Py_False;
  Py_XDECREF(value);
  return blocking ? 0 : AB_STREAM_NONBLOCKING;
}

/// Fills all but the owner. Returns 1 if the stream needs one.
static int fill_stream(const cupy_framework *cupy, PyObject *object, DLDevice device, ab_stream *stream) {
  const int64_t handle = cupy_number(object, "ptr", 0);
  memset(stream, 0, sizeof *stream);
  stream->struct_size = (uint32_t)sizeof *stream;
  stream->device = device;
  cupy_device_uuid(cupy, device.device_id, stream->device_uuid);
  stream->flags = AB_STREAM_IMMORTAL;
  if (handle == 0 || (handle == 1 && !cupy->wears_hip)) {
    stream->kind = AB_STREAM_LEGACY;
    return 0;
  }
  if (handle == 2 && !cupy->wears_hip) {
    stream->kind = AB_STREAM_PER_THREAD;
    stream->thread = (uint64_t)syscall(SYS_gettid);
    return 0;
  }
  stream->kind = AB_STREAM_HANDLE;
  stream->handle = (void *)(intptr_t)handle;
  stream->flags = blocking_flag(object);
  return 1;
}

static void own(ab_stream *stream, keeper *self) {
  stream->owner = self;
  stream->retain = keeper_retain;
  stream->release = keeper_release;
}

/* current_stream() gives no reference, so that somebody must hold the stream until the caller has retained it: each
 * thread holds the last one it was told of. */
static _Thread_local keeper *last_told;

static ab_status tell(cupy_framework *cupy, const ab_call *call, PyObject *object, ab_stream *stream) {
  if (last_told == NULL || last_told->stream != object) {
    keeper *next = keeper_new(cupy, object);
    if (next == NULL) return ab_fail(call, AB_OOM, "no memory for a stream");
    keeper *before = last_told;
    last_told = next;
    if (before != NULL) keeper_give_up(before);
  }
  own(stream, last_told);
  return AB_OK;
}

ab_status cupy_current_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  cupy_framework *cupy = call->self;
  cupy_scope scope;
  ab_status status = cupy_scope_begin(cupy, call, device, &scope);
  if (status != AB_OK) return status;
  PyObject *object = PyObject_CallObject(cupy->current_stream, NULL);
  cupy_scope_end(&scope);
  if (object == NULL) return cupy_failed(call, "cupy.cuda.get_current_stream");
  ab_stream found;
  if (fill_stream(cupy, object, device, &found)) status = tell(cupy, call, object, &found);
  Py_DECREF(object);
  if (status == AB_OK) *stream = found;
  return status;
}

/// cupy.cuda.Stream(non_blocking=True) on the current device. New reference, or NULL with the exception pending.
static PyObject *new_stream(const cupy_framework *cupy) {
  PyObject *none = PyTuple_New(0);
  PyObject *names = none != NULL ? Py_BuildValue("{s:O}", "non_blocking", Py_True) : NULL;
  PyObject *object = names != NULL ? PyObject_Call(cupy->stream_type, none, names) : NULL;
  Py_XDECREF(names);
  Py_XDECREF(none);
  return object;
}

ab_status cupy_make_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  cupy_framework *cupy = call->self;
  cupy_scope scope;
  const ab_status status = cupy_scope_begin(cupy, call, device, &scope);
  if (status != AB_OK) return status;
  PyObject *object = new_stream(cupy);
  cupy_scope_end(&scope);
  if (object == NULL) return cupy_failed(call, "cupy.cuda.Stream");
  keeper *owner = keeper_new(cupy, object);
  if (owner != NULL) {
    fill_stream(cupy, object, device, stream);
    own(stream, owner);
  }
  Py_DECREF(object);
  return owner != NULL ? AB_OK : ab_fail(call, AB_OOM, "no memory for a stream");
}

/* ------------------------------------------------------------------ streams of others */

/* What cupy.cuda.Stream.from_external() asks for: an object with __cuda_stream__(). CuPy's stream holds it, and it
 * holds the stream that it stands for. */
typedef struct foreign {
  PyObject ob_base;
  ab_stream source;
} foreign;

static PyObject *foreign_cuda_stream(PyObject *self, PyObject *unused) {
  (void)unused;
  return Py_BuildValue("(iN)", 0, PyLong_FromVoidPtr(((foreign *)self)->source.handle));
}

static void foreign_dealloc(PyObject *self) {
  PyTypeObject *type = Py_TYPE(self);
  ab_stream *source = &((foreign *)self)->source;
  if (source->release != NULL) source->release(source);
  PyObject_Free(self);
  Py_DECREF(type);
}

static PyMethodDef foreign_methods[] = {
    {"__cuda_stream__", foreign_cuda_stream, METH_NOARGS, "(0, handle) of the CUDA stream protocol."},
    {NULL, NULL, 0, NULL},
};

static PyObject *foreign_type(void) {
  static PyObject *type;
  // ISO C has no conversion of a function to void *; Python's slots ask for one.
  __extension__ static PyType_Slot type_slots[] = {
      {Py_tp_methods, foreign_methods}, {Py_tp_dealloc, (void *)foreign_dealloc}, {0, NULL}};
  static PyType_Spec spec = {.name = "arraybridge.ForeignStream",
                             .basicsize = (int)sizeof(foreign),
                             .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
                             .slots = type_slots};
  if (type == NULL) type = PyType_FromSpec(&spec);
  return type;
}

static PyObject *foreign_new(const ab_stream *stream) {
  PyTypeObject *type = (PyTypeObject *)foreign_type();
  if (type == NULL) return NULL;
  foreign *self = (foreign *)PyType_GenericAlloc(type, 0);
  if (self == NULL) return NULL;
  self->source = *stream;
  if (self->source.retain != NULL) self->source.retain(&self->source);
  return (PyObject *)self;
}

/// CuPy's object for a driver's stream. New reference, or NULL with the exception pending.
static PyObject *wrap_handle(const cupy_framework *cupy, const ab_stream *stream) {
  PyObject *from_external = abpy_attribute(cupy->stream_type, "from_external");
  if (from_external != NULL) {
    PyObject *other = foreign_new(stream);
    PyObject *object = other != NULL ? PyObject_CallFunctionObjArgs(from_external, other, NULL) : NULL;
    Py_XDECREF(other);
    Py_DECREF(from_external);
    return object;
  }
  // Before CuPy 14.
  PyObject *external = abpy_attribute(cupy->module, "cuda.ExternalStream");
  PyObject *object = external != NULL ? PyObject_CallFunction(external, "Ni", PyLong_FromVoidPtr(stream->handle),
                                                              (int)stream->device.device_id)
                                      : NULL;
  Py_XDECREF(external);
  return object;
}

/// CuPy's object for any stream, made on the current device. New reference; NULL: the status says why.
static PyObject *stream_object(const cupy_framework *cupy, const ab_call *call, const ab_stream *stream,
                               ab_status *status) {
  PyObject *object = NULL;
  switch (stream->kind) {
    case AB_STREAM_LEGACY:
      object = PyObject_GetAttrString(cupy->stream_type, "null");
      break;
    case AB_STREAM_PER_THREAD:
      object = PyObject_GetAttrString(cupy->stream_type, "ptds");
      break;
    case AB_STREAM_HANDLE:
      object = wrap_handle(cupy, stream);
      break;
    default:
      *status = ab_fail(call, AB_UNSUPPORTED, "cupy cannot use a stream of this kind");
      return NULL;
  }
  *status = object != NULL ? AB_OK : cupy_failed(call, "cupy.cuda.Stream");
  return object;
}

typedef struct adopted {
  PyObject *object;
  DLDevice device;
  ab_stream source;  ///< retained, for a CuPy whose stream does not hold the foreign one
} adopted;

ab_status cupy_adopt_stream(const ab_call *call, const ab_stream *stream, void **object) {
  cupy_framework *cupy = call->self;
  if (stream->flags & AB_STREAM_BORROWED) return ab_fail(call, AB_STREAM, "a borrowed stream cannot be kept");
  cupy_scope scope;
  ab_status status = cupy_scope_begin(cupy, call, stream->device, &scope);
  if (status != AB_OK) return status;
  PyObject *made = stream_object(cupy, call, stream, &status);
  cupy_scope_end(&scope);
  if (made == NULL) return status;
  adopted *keep = cupy->services->allocate(cupy->services->core, sizeof *keep);
  if (keep == NULL) {
    Py_DECREF(made);
    return ab_fail(call, AB_OOM, "no memory for a stream");
  }
  *keep = (adopted){.object = made, .device = stream->device, .source = *stream};
  if (keep->source.retain != NULL) keep->source.retain(&keep->source);
  *object = keep;
  return AB_OK;
}

void cupy_drop_stream(void *self, void *object) {
  cupy_framework *cupy = self;
  adopted *keep = object;
  if (keep == NULL) return;
  Py_DECREF(keep->object);
  if (keep->source.release != NULL) keep->source.release(&keep->source);
  cupy->services->deallocate(cupy->services->core, keep);
}

/* ------------------------------------------------------------------ the current stream of a thread */

typedef struct entered {
  PyObject *stream;  ///< entered
  cupy_scope scope;
} entered;

ab_status cupy_enter_stream(const ab_call *call, void *object, void **token) {
  cupy_framework *cupy = call->self;
  const adopted *keep = object;
  entered *in = cupy->services->allocate(cupy->services->core, sizeof *in);
  if (in == NULL) return ab_fail(call, AB_OOM, "no memory for a stream's scope");
  ab_status status = cupy_scope_begin(cupy, call, keep->device, &in->scope);
  if (status == AB_OK) {
    PyObject *done = abpy_method(keep->object, "__enter__");
    Py_XDECREF(done);
    if (done == NULL) {
      status = cupy_failed(call, "cupy.cuda.Stream.__enter__");
      cupy_scope_end(&in->scope);
    }
  }
  if (status != AB_OK) {
    cupy->services->deallocate(cupy->services->core, in);
    return status;
  }
  in->stream = keep->object;
  Py_INCREF(in->stream);
  *token = in;
  return AB_OK;
}

void cupy_exit_stream(void *self, void *token) {
  cupy_framework *cupy = self;
  entered *in = token;
  PyObject *done = abpy_method(in->stream, "__exit__", Py_None, Py_None, Py_None);
  if (done == NULL && PyErr_ExceptionMatches(PyExc_Exception)) PyErr_WriteUnraisable(in->stream);
  abpy_clear();
  Py_XDECREF(done);
  Py_DECREF(in->stream);
  cupy_scope_end(&in->scope);
  cupy->services->deallocate(cupy->services->core, in);
}

/* ------------------------------------------------------------------ order */

ab_status cupy_wait_here(cupy_framework *cupy, const ab_call *call) {
  PyObject *current = PyObject_CallObject(cupy->current_stream, NULL);
  PyObject *done = current != NULL ? abpy_method(current, "synchronize") : NULL;
  Py_XDECREF(current);
  if (done == NULL) return cupy_failed(call, "cupy.cuda.Stream.synchronize");
  Py_DECREF(done);
  call->report->flags |= AB_REPORT_BLOCKED_HOST;
  return AB_OK;
}

/// stream.wait_event(an event on the current stream of the current device).
static ab_status wait_there(cupy_framework *cupy, const ab_call *call, PyObject *stream) {
  PyObject *current = PyObject_CallObject(cupy->current_stream, NULL);
  PyObject *event = current != NULL ? abpy_method(current, "record") : NULL;
  PyObject *done = event != NULL ? abpy_method(stream, "wait_event", event) : NULL;
  Py_XDECREF(event);
  Py_XDECREF(current);
  if (done == NULL) return cupy_failed(call, "cupy.cuda.Stream.wait_event");
  Py_DECREF(done);
  return AB_OK;
}

ab_status cupy_fence(const ab_call *call, DLDevice device, uint32_t scope, const ab_stream *stream, uint32_t *covered) {
  (void)scope;
  cupy_framework *cupy = call->self;
  if (stream == NULL) return ab_fail(call, AB_UNSUPPORTED, "no stream to make wait");
  cupy_scope at;
  ab_status status = cupy_scope_begin(cupy, call, device, &at);
  if (status != AB_OK) return status;
  PyObject *object = stream_object(cupy, call, stream, &status);
  if (object != NULL) {
    status = wait_there(cupy, call, object);
    Py_DECREF(object);
  }
  cupy_scope_end(&at);
  if (status == AB_OK) *covered = AB_SCOPE_CURRENT;
  return status;
}

static ab_status wait_for_all(cupy_framework *cupy, const ab_call *call) {
  PyObject *done = abpy_method(cupy->runtime, "deviceSynchronize");
  if (done == NULL) return cupy_failed(call, "cupy.cuda.runtime.deviceSynchronize");
  Py_DECREF(done);
  call->report->flags |= AB_REPORT_BLOCKED_HOST;
  return AB_OK;
}

ab_status cupy_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered) {
  cupy_framework *cupy = call->self;
  cupy_scope at;
  ab_status status = cupy_scope_begin(cupy, call, device, &at);
  if (status != AB_OK) return status;
  const int one = scope == AB_SCOPE_CURRENT;
  status = one ? cupy_wait_here(cupy, call) : wait_for_all(cupy, call);
  cupy_scope_end(&at);
  const uint32_t all = AB_SCOPE_CURRENT | AB_SCOPE_COMPUTE_ORDER | AB_SCOPE_CONTEXT;
  if (status == AB_OK) *covered = one ? AB_SCOPE_CURRENT : all;
  return status;
}
