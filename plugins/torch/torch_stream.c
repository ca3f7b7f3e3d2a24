/* SPDX-License-Identifier: MIT
 * torch's streams, and the order of its work against the streams of others. */
#include "torch_plugin.h"

static int is_host(DLDevice device) { return device.device_type == kDLCPU; }

/// torch.cuda.name(device_id). New reference, or NULL with the exception pending.
static PyObject *of_device(const torch_framework *torch, const char *name, int32_t device_id) {
  PyObject *index = PyLong_FromLong(device_id);
  PyObject *result = index != NULL ? abpy_method(torch->cuda, name, index) : NULL;
  Py_XDECREF(index);
  return result;
}

/// The address behind an attribute of a stream object; -1 as a pointer with the exception pending.
static int read_number(PyObject *stream, const char *name, int64_t *number) {
  PyObject *value = PyObject_GetAttrString(stream, name);
  if (value == NULL) return -1;
  *number = PyLong_AsLongLong(value);
  Py_DECREF(value);
  return PyErr_Occurred() ? -1 : 0;
}

static int fill_stream(const torch_framework *torch, PyObject *object, DLDevice device, ab_stream *stream) {
  int64_t handle = 0, id = 0;
  if (read_number(object, "cuda_stream", &handle) != 0 || read_number(object, "stream_id", &id) != 0) return -1;
  memset(stream, 0, sizeof *stream);
  stream->struct_size = (uint32_t)sizeof *stream;
  stream->device = device;
  torch_cuda_uuid(torch, device.device_id, stream->device_uuid);
  if (handle == 0) {
    stream->kind = AB_STREAM_LEGACY;
    stream->flags = AB_STREAM_IMMORTAL;
    return 0;
  }
  stream->kind = AB_STREAM_HANDLE;
  stream->handle = (void *)(intptr_t)handle;
  // torch numbers a stream that somebody else made by its handle; its own come from a pool that is never destroyed.
  stream->flags = AB_STREAM_NONBLOCKING | (id == handle ? AB_STREAM_BORROWED : AB_STREAM_IMMORTAL);
  return 0;
}

static void no_stream(ab_stream *stream, DLDevice device) {
  memset(stream, 0, sizeof *stream);
  stream->struct_size = (uint32_t)sizeof *stream;
  stream->kind = AB_STREAM_NONE;
  stream->device = device;
}

ab_status torch_current_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  torch_framework *torch = call->self;
  if (is_host(device)) {
    no_stream(stream, device);
    return AB_OK;
  }
  const ab_status status = torch_cuda_wake(torch, call, device);
  if (status != AB_OK) return status;
  PyObject *object = of_device(torch, "current_stream", device.device_id);
  if (object == NULL) return torch_failed(call, "torch.cuda.current_stream");
  ab_stream found;
  const int failed = fill_stream(torch, object, device, &found);
  Py_DECREF(object);
  if (failed) return torch_failed(call, "torch.cuda.Stream.cuda_stream");
  *stream = found;
  return AB_OK;
}

ab_status torch_make_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  torch_framework *torch = call->self;
  if (is_host(device)) return ab_fail(call, AB_UNSUPPORTED, "torch has no streams on the host");
  const ab_status status = torch_cuda_wake(torch, call, device);
  if (status != AB_OK) return status;
  PyObject *object = of_device(torch, "Stream", device.device_id);
  if (object == NULL) return torch_failed(call, "torch.cuda.Stream");
  ab_stream made;
  const int failed = fill_stream(torch, object, device, &made);
  Py_DECREF(object);
  if (failed) return torch_failed(call, "torch.cuda.Stream.cuda_stream");
  *stream = made;
  return AB_OK;
}

/* ------------------------------------------------------------------ streams of others */

/// torch's object for a stream. New reference; NULL: the status says why.
static PyObject *stream_object(torch_framework *torch, const ab_call *call, const ab_stream *stream,
                               ab_status *status) {
  *status = torch_cuda_wake(torch, call, stream->device);
  if (*status != AB_OK) return NULL;
  PyObject *object = NULL;
  if (stream->kind == AB_STREAM_LEGACY) {
    object = of_device(torch, "default_stream", stream->device.device_id);
  } else if (stream->kind == AB_STREAM_HANDLE) {
    PyObject *handle = PyLong_FromVoidPtr(stream->handle);
    PyObject *index = PyLong_FromLong(stream->device.device_id);
    if (handle != NULL && index != NULL) object = abpy_method(torch->cuda, "ExternalStream", handle, index);
    Py_XDECREF(index);
    Py_XDECREF(handle);
  } else {
    *status = ab_fail(call, AB_UNSUPPORTED, "torch cannot use a stream of this kind");
    return NULL;
  }
  if (object == NULL) *status = torch_failed(call, "torch.cuda.ExternalStream");
  return object;
}

typedef struct adopted {
  PyObject *object;
  ab_stream source;
} adopted;

ab_status torch_adopt_stream(const ab_call *call, const ab_stream *stream, void **object) {
  torch_framework *torch = call->self;
  if (stream->flags & AB_STREAM_BORROWED) return ab_fail(call, AB_STREAM, "a borrowed stream cannot be kept");
  ab_status status = AB_OK;
  PyObject *made = stream_object(torch, call, stream, &status);
  if (made == NULL) return status;
  adopted *keep = torch->services->allocate(torch->services->core, sizeof *keep);
  if (keep == NULL) {
    Py_DECREF(made);
    return ab_fail(call, AB_OOM, "no memory for a stream");
  }
  keep->object = made;
  keep->source = *stream;
  if (keep->source.retain != NULL) keep->source.retain(&keep->source);
  *object = keep;
  return AB_OK;
}

void torch_drop_stream(void *self, void *object) {
  torch_framework *torch = self;
  adopted *keep = object;
  if (keep == NULL) return;
  Py_DECREF(keep->object);
  if (keep->source.release != NULL) keep->source.release(&keep->source);
  torch->services->deallocate(torch->services->core, keep);
}

/* ------------------------------------------------------------------ the current stream of a thread */

typedef struct entered {
  PyObject *context;  ///< torch.cuda.stream(…), entered
  PyObject *device;  ///< torch.cuda.device(…), entered: the stream's context keeps devices of other streams, not ours
} entered;

static void leave(PyObject *context) {
  PyObject *left = abpy_method(context, "__exit__", Py_None, Py_None, Py_None);
  if (left == NULL && PyErr_ExceptionMatches(PyExc_Exception)) PyErr_WriteUnraisable(context);
  abpy_clear();
  Py_XDECREF(left);
  Py_DECREF(context);
}

/// torch.cuda.name(argument), entered. New reference, or NULL with the exception pending.
static PyObject *enter(const torch_framework *torch, const char *name, PyObject *argument) {
  PyObject *context = abpy_method(torch->cuda, name, argument);
  PyObject *in = context != NULL ? abpy_method(context, "__enter__") : NULL;
  if (in == NULL) Py_CLEAR(context);
  Py_XDECREF(in);
  return context;
}

ab_status torch_enter_stream(const ab_call *call, void *object, void **token) {
  torch_framework *torch = call->self;
  const adopted *keep = object;
  entered *in = torch->services->allocate(torch->services->core, sizeof *in);
  if (in == NULL) return ab_fail(call, AB_OOM, "no memory for a stream's scope");
  PyObject *index = PyLong_FromLong(keep->source.device.device_id);
  in->device = index != NULL ? enter(torch, "device", index) : NULL;
  Py_XDECREF(index);
  in->context = in->device != NULL ? enter(torch, "stream", keep->object) : NULL;
  if (in->context != NULL) {
    *token = in;
    return AB_OK;
  }
  const ab_status status = torch_failed(call, "torch.cuda.stream");
  if (in->device != NULL) leave(in->device);
  torch->services->deallocate(torch->services->core, in);
  return status;
}

void torch_exit_stream(void *self, void *token) {
  torch_framework *torch = self;
  entered *in = token;
  leave(in->context);
  leave(in->device);
  torch->services->deallocate(torch->services->core, in);
}

/* ------------------------------------------------------------------ order */

static ab_status wait_here(torch_framework *torch, const ab_call *call, int32_t device_id) {
  PyObject *current = of_device(torch, "current_stream", device_id);
  PyObject *done = current != NULL ? abpy_method(current, "synchronize") : NULL;
  Py_XDECREF(current);
  if (done == NULL) return torch_failed(call, "torch.cuda.Stream.synchronize");
  Py_DECREF(done);
  call->report->flags |= AB_REPORT_BLOCKED_HOST;
  return AB_OK;
}

/// consumer.wait_stream(torch's current stream on its device): an event, no waiting of the host.
static ab_status wait_there(torch_framework *torch, const ab_call *call, int32_t device_id, PyObject *consumer) {
  PyObject *current = of_device(torch, "current_stream", device_id);
  PyObject *done = current != NULL ? abpy_method(consumer, "wait_stream", current) : NULL;
  Py_XDECREF(current);
  if (done == NULL) return torch_failed(call, "torch.cuda.Stream.wait_stream");
  Py_DECREF(done);
  return AB_OK;
}

/// 1 if `stream` is the one torch works on now, so that nothing need be ordered.
static int is_current(torch_framework *torch, DLDevice device, const ab_stream *stream) {
  PyObject *current = of_device(torch, "current_stream", device.device_id);
  int64_t handle = -1;
  const int failed = current == NULL || read_number(current, "cuda_stream", &handle) != 0;
  abpy_clear();
  Py_XDECREF(current);
  if (failed) return 0;
  if (handle == 0) return stream->kind == AB_STREAM_LEGACY;
  return stream->kind == AB_STREAM_HANDLE && stream->handle == (void *)(intptr_t)handle;
}

ab_status torch_order_before(torch_framework *torch, const ab_call *call, DLDevice device, const ab_stream *stream) {
  ab_status status = torch_cuda_wake(torch, call, device);
  if (status != AB_OK) return status;
  const int same_kind = stream != NULL && stream->device.device_type == device.device_type &&
                        (stream->kind == AB_STREAM_LEGACY || stream->kind == AB_STREAM_HANDLE);
  // The per-thread stream, which torch refuses, and queues of other drivers: the host waits, which orders any of them.
  if (!same_kind) return wait_here(torch, call, device.device_id);
  if (stream->device.device_id == device.device_id && is_current(torch, device, stream)) return AB_OK;
  PyObject *consumer = stream_object(torch, call, stream, &status);
  if (consumer == NULL) return status;
  status = wait_there(torch, call, device.device_id, consumer);
  Py_DECREF(consumer);
  return status;
}

ab_status torch_fence(const ab_call *call, DLDevice device, uint32_t scope, const ab_stream *stream,
                      uint32_t *covered) {
  (void)scope;
  if (!is_host(device)) {
    if (stream == NULL || (stream->kind != AB_STREAM_LEGACY && stream->kind != AB_STREAM_HANDLE))
      return ab_fail(call, AB_UNSUPPORTED, "torch cannot make a stream of this kind wait");
    const ab_status status = torch_order_before(call->self, call, device, stream);
    if (status != AB_OK) return status;
  }
  *covered = is_host(device) ? AB_SCOPE_CURRENT | AB_SCOPE_COMPUTE_ORDER | AB_SCOPE_CONTEXT : AB_SCOPE_CURRENT;
  return AB_OK;
}

ab_status torch_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered) {
  torch_framework *torch = call->self;
  const uint32_t all = AB_SCOPE_CURRENT | AB_SCOPE_COMPUTE_ORDER | AB_SCOPE_CONTEXT;
  // On the host every operation of torch is done when it returns; where CUDA was never started there is no work.
  if (is_host(device) || !torch_cuda_awake(torch)) {
    const ab_status status = is_host(device) ? AB_OK : abpy_stopped(call);
    if (status == AB_OK) *covered = all;
    return status;
  }
  if (scope == AB_SCOPE_CURRENT) {
    const ab_status status = wait_here(torch, call, device.device_id);
    if (status == AB_OK) *covered = AB_SCOPE_CURRENT;
    return status;
  }
  PyObject *done = of_device(torch, "synchronize", device.device_id);
  if (done == NULL) return torch_failed(call, "torch.cuda.synchronize");
  Py_DECREF(done);
  call->report->flags |= AB_REPORT_BLOCKED_HOST;
  *covered = all;
  return AB_OK;
}

ab_status torch_mark_use(const ab_call *call, void *array, const ab_stream *stream) {
  torch_framework *torch = call->self;
  if (stream->kind == AB_STREAM_NONE) return AB_OK;
  ab_status status = AB_OK;
  PyObject *object = stream_object(torch, call, stream, &status);
  if (object == NULL) return status;
  PyObject *done = abpy_method((PyObject *)array, "record_stream", object);
  Py_DECREF(object);
  if (done == NULL) return torch_failed(call, "torch.Tensor.record_stream");
  Py_DECREF(done);
  return AB_OK;
}
