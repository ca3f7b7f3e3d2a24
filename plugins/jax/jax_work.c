/* SPDX-License-Identifier: MIT
 * Streams, and work that is pending. JAX orders its work itself and shows none of its streams but one. */
#include "jax_plugin.h"

ab_status jax_make_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  (void)device;
  (void)stream;
  return ab_fail(call, AB_UNSUPPORTED, "JAX has no streams that one could make: it orders its work itself");
}

ab_status jax_current_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  (void)call;
  const int host = device.device_type == kDLCPU;
  *stream = (ab_stream){
      .struct_size = (uint32_t)sizeof *stream, .kind = host ? AB_STREAM_NONE : AB_STREAM_UNKNOWN, .device = device};
  return AB_OK;
}

/// The only stream that an import on a GPU accepts: XLA makes its compute streams wait for it.
ab_status jax_import_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  if (device.device_type != kDLCUDA) return ab_fail(call, AB_UNSUPPORTED, "imports on this device need no stream");
  PyObject *found = jax_device_find(call, device);
  if (found == NULL) return call->error->status;
  PyObject *number = jax_call_method(found, "get_stream_for_external_ready_events");
  void *handle = number != NULL ? PyLong_AsVoidPtr(number) : NULL;
  const int failed = PyErr_Occurred() != NULL;
  Py_XDECREF(number);
  Py_DECREF(found);
  if (failed) return abpy_error(call, AB_UNSUPPORTED, "device.get_stream_for_external_ready_events()");
  *stream = (ab_stream){.struct_size = (uint32_t)sizeof *stream,
                        .kind = AB_STREAM_HANDLE,
                        // XLA makes its streams so, and keeps them as long as its client.
                        .flags = AB_STREAM_NONBLOCKING | AB_STREAM_IMMORTAL,
                        .handle = handle,
                        .device = device};
  return AB_OK;
}

/* ------------------------------------------------------------------ waiting */

/// Waits for one array. A computation that fails, and an array that is deleted meanwhile, are done as well.
/// Returns 0 if the program is asked to stop, with that exception set.
static int wait_for(PyObject *array) {
  PyObject *done = jax_call_method(array, "block_until_ready");
  Py_XDECREF(done);
  if (done != NULL || PyErr_ExceptionMatches(PyExc_Exception)) PyErr_Clear();
  return PyErr_Occurred() == NULL;
}

/// A new array on `device`: a GPU runs what computes it after everything enqueued before. New reference.
static PyObject *make_marker(PyObject *device) {
  PyObject *jnp = abpy_attribute(jax_get()->module, "numpy");
  PyObject *ones = jnp != NULL ? PyObject_GetAttrString(jnp, "ones") : NULL;
  PyObject *keywords = Py_BuildValue("{s:(),s:O}", "shape", "device", device);
  PyObject *marker = ones != NULL && keywords != NULL ? PyObject_Call(ones, jax_get()->no_arguments, keywords) : NULL;
  Py_XDECREF(keywords);
  Py_XDECREF(ones);
  Py_XDECREF(jnp);
  return marker;
}

static int wait_for_marker(PyObject *device) {
  PyObject *marker = make_marker(device);
  const int waited = marker != NULL && wait_for(marker);
  Py_XDECREF(marker);
  return waited;
}

static int wait_for_all(PyObject *arrays) {
  for (Py_ssize_t i = 0; i < PySequence_Size(arrays); i++) {
    PyObject *array = PySequence_GetItem(arrays, i);
    const int waited = array != NULL && wait_for(array);
    Py_XDECREF(array);
    if (!waited) return 0;
  }
  return 1;
}

ab_status jax_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered) {
  PyObject *found = jax_device_find(call, device);
  if (found == NULL) return call->error->status;
  PyObject *platform = PyObject_GetAttrString(found, "platform");
  PyObject *arrays = platform != NULL ? PyObject_CallMethod(jax_get()->module, "live_arrays", "O", platform) : NULL;
  int waited = arrays != NULL && wait_for_all(arrays);
  if (waited && device.device_type != kDLCPU) waited = wait_for_marker(found);
  Py_XDECREF(arrays);
  Py_XDECREF(platform);
  Py_DECREF(found);
  if (!waited) return abpy_error(call, AB_FRAMEWORK, "waiting for JAX");
  // On the CPU a computation whose results were all dropped is known to nobody.
  const uint32_t reached = device.device_type == kDLCPU ? AB_SCOPE_CURRENT : AB_SCOPE_CURRENT | AB_SCOPE_COMPUTE_ORDER;
  *covered = scope & reached;
  return AB_OK;
}

/// The host does not wait: a marker on the compute order is exported for `stream`, which makes the stream wait for it.
ab_status jax_fence(const ab_call *call, DLDevice device, uint32_t scope, const ab_stream *stream, uint32_t *covered) {
  if (device.device_type != kDLCUDA || stream == NULL || stream->kind == AB_STREAM_NONE)
    return ab_fail(call, AB_UNSUPPORTED, "JAX makes streams of CUDA devices wait, and no others");
  PyObject *found = jax_device_find(call, device);
  if (found == NULL) return call->error->status;
  PyObject *marker = make_marker(found);
  Py_DECREF(found);
  if (marker == NULL) return abpy_error(call, AB_FRAMEWORK, "a marker on JAX's compute order");
  ab_call exporting = *call;
  exporting.stream = stream;
  DLManagedTensorVersioned *tensor = NULL;
  const ab_status status = jax_to_dlpack(&exporting, marker, &tensor);
  Py_DECREF(marker);
  if (status != AB_OK) return status;
  tensor->deleter(tensor);
  *covered = scope & (AB_SCOPE_CURRENT | AB_SCOPE_COMPUTE_ORDER);
  return AB_OK;
}
