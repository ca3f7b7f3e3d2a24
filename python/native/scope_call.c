/* SPDX-License-Identifier: MIT
 * enter_scope() and exit_scope(): the two halves of `with arraybridge.stream(...)`. */
#include "native.h"

/* ------------------------------------------------------------------ which device */

typedef struct wanted {
  int32_t id; /* -1: any */
  int found;
  DLDevice device;
} wanted;

static int look(void *context, const ab_device_info *info) {
  wanted *to = context;
  if (info->device.device_type != kDLCUDA || (to->id >= 0 && info->device.device_id != to->id)) return 0;
  to->device = info->device;
  to->found = 1;
  return 1;
}

ab_status native_cuda_device(const ab_backend *backend, int32_t id, DLDevice *device, ab_error *error) {
  wanted to = {.id = id};
  const ab_status status = ab_backend_devices(backend, look, &to, error);
  if (status != AB_OK) return status;
  *device = to.device;
  if (to.found) return AB_OK;
  if (id < 0) return ab_error_set(error, AB_NO_DEVICE, "%s has no CUDA device here", ab_backend_name(backend));
  return ab_error_set(error, AB_NO_DEVICE, "%s has no device cuda:%d here", ab_backend_name(backend), (int)id);
}

static PyObject *raise(ab_status status, ab_error *error, const ab_backend *backend) {
  return native_raise(status, error, "", ab_backend_name(backend), "stream");
}

/* The number of a CUDA device, -1 where none is said. */
static int read_number(PyObject *value, const ab_backend *backend, int32_t *id) {
  *id = -1;
  if (value == NULL || value == Py_None) return 0;
  ab_convert_options options = {.struct_size = (uint32_t)sizeof options};
  if (native_device_read(value, backend, &options) != 0) return -1;
  if (options.device.device_type != kDLCUDA) {
    PyErr_Format(PyExc_ValueError, "streams are for CUDA devices, such as \"cuda:0\", not %R", value);
    return -1;
  }
  if (!(options.flags & AB_CONVERT_DEVICE_KIND)) *id = options.device.device_id;
  return 0;
}

/* ------------------------------------------------------------------ entering, leaving */

static const char capsule_name[] = "arraybridge.stream_scope";

static PyObject *enter(const ab_backend *backend, DLDevice device, const ab_stream *stream) {
  ab_error error;
  ab_error_init(&error);
  ab_stream_scope *scope = NULL;
  const ab_status status = ab_stream_scope_enter(native_bridge(), backend, device, stream, NULL, 0, &scope, &error);
  if (status != AB_OK) return raise(status, &error, backend);
  ab_error_clear(&error);
  if (scope == NULL) Py_RETURN_NONE;
  PyObject *capsule = PyCapsule_New(scope, capsule_name, NULL);
  if (capsule == NULL) (void)ab_stream_scope_exit(scope, NULL);
  return capsule;
}

/* enter_scope(target, device, stream) -> what exit_scope() takes; None where the framework is left to itself. */
NATIVE_CALL(native_enter_scope) {
  (void)module;
  static const native_signature signature = {"enter_scope", {"target", "device", "stream"}, 3, 3};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const ab_backend *backend = native_backend_of(values[0], "target");
  int32_t id = -1;
  if (backend == NULL || read_number(values[1], backend, &id) != 0) return NULL;
  ab_error error;
  ab_error_init(&error);
  DLDevice device;
  const ab_status status = native_cuda_device(backend, id, &device, &error);
  if (status != AB_OK) return raise(status, &error, backend);
  if (values[2] == Py_None) return enter(backend, device, NULL);
  ab_stream stream;
  if (native_stream_read(values[2], device, &stream) != 0) return NULL;
  PyObject *scope = enter(backend, id < 0 ? stream.device : device, &stream);
  native_stream_end(&stream);
  return scope;
}

static ab_stream_scope *scope_of(PyObject *capsule) { return PyCapsule_GetPointer(capsule, capsule_name); }

NATIVE_CALL(native_exit_scope) {
  (void)module;
  static const native_signature signature = {"exit_scope", {"scope"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  ab_stream_scope *scope = scope_of(values[0]);
  if (scope == NULL) return NULL;
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_stream_scope_exit(scope, &error);
  if (status == AB_INVALID_ARGUMENT) {
    PyErr_SetString(PyExc_RuntimeError, error.text);
    ab_error_clear(&error);
    return NULL;
  }
  if (status != AB_OK) return native_raise(status, &error, "", "", "stream");
  ab_error_clear(&error);
  Py_RETURN_NONE;
}

/* scope_stream(scope) -> (handle, device number) of its stream: the handles 1 and 2 are default streams. */
NATIVE_CALL(native_scope_stream) {
  (void)module;
  static const native_signature signature = {"scope_stream", {"scope"}, 1, 1};
  PyObject *values[NATIVE_MAX_ARGUMENTS];
  if (native_arguments(&signature, args, count, names, values) != 0) return NULL;
  const ab_stream_scope *scope = scope_of(values[0]);
  if (scope == NULL) return NULL;
  const ab_stream *stream = ab_stream_scope_stream(scope);
  const uintptr_t handle = stream->kind == AB_STREAM_HANDLE ? (uintptr_t)stream->handle : stream->kind;
  return Py_BuildValue("(Ki)", (unsigned long long)handle, (int)stream->device.device_id);
}
