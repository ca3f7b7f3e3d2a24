/* SPDX-License-Identifier: MIT
 * Where tensors lie, by TensorFlow's device names ("/job:localhost/replica:0/task:0/device:GPU:1"). */
#include "tensorflow_plugin.h"

#include <stdlib.h>

static tf_place place_of_name(const char *name) {
  static const char host[] = "/device:CPU:", gpu[] = "/device:GPU:";
  const tf_place elsewhere = {TF_PLACE_ELSEWHERE, {(DLDeviceType)0, 0}};
  const size_t length = strlen(ab_tf.address);
  if (strncmp(name, ab_tf.address, length) != 0) return elsewhere;  // another machine
  const char *device = name + length;
  if (strncmp(device, host, sizeof host - 1) == 0) return (tf_place){TF_PLACE_HOST, {kDLCPU, 0}};
  if (strncmp(device, gpu, sizeof gpu - 1) != 0) return elsewhere;  // a TPU, a DTensor mesh, a pluggable device
  return (tf_place){TF_PLACE_GPU, {kDLCUDA, (int32_t)atoi(device + sizeof gpu - 1)}};
}

static PyObject *device_name(PyObject *array) {
  // `backing_device` is where the memory is; `device` is where the tensor was computed. Variables have only the latter.
  PyObject *name = PyObject_GetAttr(array, ab_tf.backing_device);
  if (name != NULL) return name;
  abpy_clear();
  return PyObject_GetAttrString(array, "device");
}

tf_place ab_tf_place(PyObject *array) {
  tf_place place = {TF_PLACE_ELSEWHERE, {(DLDeviceType)0, 0}};
  PyObject *name = device_name(array);
  const char *text = name != NULL && PyUnicode_Check(name) ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
  if (text != NULL) place = place_of_name(text);
  if (text == NULL) abpy_clear();
  Py_XDECREF(name);
  return place;
}

ab_status ab_tf_copy_to(const ab_call *call, PyObject *tensor, DLDevice device, PyObject **copy) {
  char name[32];
  snprintf(name, sizeof name, "%s:%d", device.device_type == kDLCUDA ? "GPU" : "CPU", (int)device.device_id);
  PyObject *context = ab_tf.context_module != NULL ? PyObject_CallMethod(ab_tf.context_module, "context", NULL) : NULL;
  if (context == NULL) return abpy_error(call, AB_UNSUPPORTED, "this TensorFlow does not show its context");
  PyObject *result = PyObject_CallMethod(tensor, "_copy_nograd", "Os", context, name);
  Py_DECREF(context);
  return ab_tf_need_eager(call, result, "copy to another device", copy);
}

int ab_tf_has_device(DLDevice device) {
  if (device.device_type == kDLCPU) return device.device_id == 0;
  return device.device_type == kDLCUDA && device.device_id >= 0 && device.device_id < ab_tf.gpu_count;
}

ab_status ab_tf_devices(const ab_call *call, ab_device_visitor visit, void *context) {
  const ab_status status = ab_tf_connect(call);
  if (status != AB_OK) return status;
  char name[32];
  for (int32_t index = 0; index < ab_tf.gpu_count; index++) {
    snprintf(name, sizeof name, "GPU:%d", (int)index);
    const ab_device_info gpu = {.struct_size = (uint32_t)sizeof gpu,
                                .flags = index == 0 ? AB_DEVICE_DEFAULT : 0,
                                .device = {kDLCUDA, index},
                                .name = name};
    if (visit(context, &gpu) != 0) return AB_OK;
  }
  const ab_device_info host = {.struct_size = (uint32_t)sizeof host,
                               .flags = ab_tf.gpu_count == 0 ? AB_DEVICE_DEFAULT : 0,
                               .device = {kDLCPU, 0},
                               .name = "CPU"};
  visit(context, &host);
  return AB_OK;
}

/* ------------------------------------------------------------------ waiting */

ab_status ab_tf_wait(const ab_call *call, DLDevice device) {
  // On the CPU an operation is done when its call returns, unless the user has chosen asynchronous execution.
  PyObject *result;
  if (device.device_type == kDLCUDA) {
    PyObject *sync = abpy_attribute(ab_tf.tensorflow, "test.experimental.sync_devices");
    if (sync == NULL) return ab_fail(call, AB_UNSUPPORTED, "this TensorFlow has no tf.test.experimental.sync_devices");
    result = PyObject_CallNoArgs(sync);
    Py_DECREF(sync);
    call->report->flags |= AB_REPORT_BLOCKED_HOST;
  } else {
    if (ab_tf.context_module == NULL) return AB_OK;
    result = PyObject_CallMethod(ab_tf.context_module, "async_wait", NULL);
  }
  if (result == NULL) return abpy_error(call, AB_FRAMEWORK, "waiting for TensorFlow's work");
  Py_DECREF(result);
  return AB_OK;
}

ab_status ab_tf_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered) {
  ab_status status = ab_tf_connect(call);
  if (status != AB_OK) return status;
  if (!ab_tf_has_device(device)) return ab_fail(call, AB_NO_DEVICE, "TensorFlow has no such device");
  status = ab_tf_wait(call, device);
  if (status != AB_OK) return status;
  // TensorFlow knows its own streams, and no other stream of a GPU's context.
  *covered = scope & (AB_SCOPE_CURRENT | AB_SCOPE_COMPUTE_ORDER);
  if (device.device_type == kDLCPU) *covered = scope;
  return AB_OK;
}
