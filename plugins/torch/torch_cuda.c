/* SPDX-License-Identifier: MIT
 * torch's devices: what there is, and bringing CUDA up no earlier than somebody asks for it. */
#include "torch_plugin.h"

DLDeviceType torch_accelerator(const torch_framework *torch) { return torch->wears_hip ? kDLROCM : kDLCUDA; }

/// torch.cuda.name() as a number; `otherwise` if it cannot be told.
static int64_t ask_number(const torch_framework *torch, const char *name, int64_t otherwise) {
  PyObject *value = abpy_method(torch->cuda, name);
  const int64_t number = value != NULL ? PyLong_AsLongLong(value) : -1;
  Py_XDECREF(value);
  if (!PyErr_Occurred()) return number;
  abpy_clear();
  return otherwise;
}

int torch_cuda_awake(const torch_framework *torch) { return ask_number(torch, "is_initialized", 0) == 1; }

ab_status torch_cuda_wake(torch_framework *torch, const ab_call *call, DLDevice device) {
  if (device.device_type != torch_accelerator(torch) || device.device_id < 0 ||
      device.device_id >= ask_number(torch, "device_count", 0)) {
    const ab_status status = abpy_stopped(call);
    if (status != AB_OK) return status;
    return ab_fail(call, AB_NO_DEVICE, "torch has no device %d:%d", (int)device.device_type, (int)device.device_id);
  }
  if (torch_cuda_awake(torch)) return AB_OK;
  PyObject *done = abpy_method(torch->cuda, "init");
  if (done == NULL) return torch_failed(call, "torch.cuda.init");
  Py_DECREF(done);
  return AB_OK;
}

PyObject *torch_device_object(const torch_framework *torch, DLDevice device) {
  PyObject *type = PyObject_GetAttrString(torch->module, "device");
  if (type == NULL) return NULL;
  PyObject *object = device.device_type == kDLCPU ? PyObject_CallFunction(type, "s", "cpu")
                                                  : PyObject_CallFunction(type, "si", "cuda", (int)device.device_id);
  Py_DECREF(type);
  return object;
}

/* ------------------------------------------------------------------ properties */

static PyObject *properties_of(const torch_framework *torch, int32_t device_id) {
  PyObject *index = PyLong_FromLong(device_id);
  PyObject *properties = index != NULL ? abpy_method(torch->cuda, "get_device_properties", index) : NULL;
  Py_XDECREF(index);
  abpy_clear();
  return properties;
}

static void copy_uuid(PyObject *properties, uint8_t uuid[16]) {
  PyObject *numbers = properties != NULL ? abpy_attribute(properties, "uuid.bytes") : NULL;
  PyObject *bytes = numbers != NULL ? PyBytes_FromObject(numbers) : NULL;
  if (bytes != NULL && PyBytes_Size(bytes) == 16) memcpy(uuid, PyBytes_AsString(bytes), 16);
  abpy_clear();
  Py_XDECREF(bytes);
  Py_XDECREF(numbers);
}

void torch_cuda_uuid(const torch_framework *torch, int32_t device_id, uint8_t uuid[16]) {
  // Reading the properties starts CUDA in this process.
  if (!torch_cuda_awake(torch)) return;
  enum { KNOWN = 64 };
  static uint8_t known[KNOWN][16];
  static uint8_t have[KNOWN];
  const int cached = device_id >= 0 && device_id < KNOWN;
  if (cached && have[device_id]) {
    memcpy(uuid, known[device_id], 16);
    return;
  }
  PyObject *properties = properties_of(torch, device_id);
  copy_uuid(properties, uuid);
  if (cached && properties != NULL) {
    memcpy(known[device_id], uuid, 16);
    have[device_id] = 1;
  }
  Py_XDECREF(properties);
}

/* ------------------------------------------------------------------ devices */

/// Where torch puts new arrays now: torch.get_default_device(), the host in releases without it.
static DLDevice default_device(const torch_framework *torch) {
  DLDevice device = {kDLCPU, 0};
  PyObject *object = abpy_method(torch->module, "get_default_device");
  PyObject *type = object != NULL ? abpy_attribute(object, "type") : NULL;
  PyObject *index = object != NULL ? abpy_attribute(object, "index") : NULL;
  const char *text = type != NULL ? PyUnicode_AsUTF8AndSize(type, NULL) : NULL;
  if (text != NULL && strcmp(text, "cuda") == 0) {
    device.device_type = torch_accelerator(torch);
    if (index != NULL && PyLong_Check(index)) device.device_id = (int32_t)PyLong_AsLong(index);
  }
  abpy_clear();
  Py_XDECREF(index);
  Py_XDECREF(type);
  Py_XDECREF(object);
  return device;
}

static int show_host(ab_device_visitor visit, void *context, int is_default) {
  ab_device_info info = {.struct_size = (uint32_t)sizeof info, .device = {kDLCPU, 0}, .name = "cpu"};
  info.flags = AB_DEVICE_UNIFIED_MEMORY | (is_default ? AB_DEVICE_DEFAULT : 0);
  return visit(context, &info);
}

static int show_cuda(const torch_framework *torch, ab_device_visitor visit, void *context, int32_t id, int is_default) {
  ab_device_info info = {.struct_size = (uint32_t)sizeof info, .name = "cuda"};
  info.device = (DLDevice){torch_accelerator(torch), id};
  info.flags = is_default ? AB_DEVICE_DEFAULT : 0;
  PyObject *properties = torch_cuda_awake(torch) ? properties_of(torch, id) : NULL;
  PyObject *name = properties != NULL ? abpy_attribute(properties, "name") : NULL;
  PyObject *memory = properties != NULL ? abpy_attribute(properties, "total_memory") : NULL;
  const char *text = name != NULL ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
  if (text != NULL) info.name = text;
  if (memory != NULL) info.memory_bytes = PyLong_AsUnsignedLongLong(memory);
  abpy_clear();
  torch_cuda_uuid(torch, id, info.uuid);
  const int stop = visit(context, &info);
  Py_XDECREF(memory);
  Py_XDECREF(name);
  Py_XDECREF(properties);
  return stop;
}

ab_status torch_devices(const ab_call *call, ab_device_visitor visit, void *context) {
  torch_framework *torch = call->self;
  const int32_t count = (int32_t)ask_number(torch, "device_count", 0);
  const DLDevice first = default_device(torch);
  const int host_first = first.device_type == kDLCPU || first.device_id >= count;
  if (host_first && show_host(visit, context, 1)) return AB_OK;
  if (!host_first && show_cuda(torch, visit, context, first.device_id, 1)) return AB_OK;
  if (!host_first && show_host(visit, context, 0)) return AB_OK;
  for (int32_t id = 0; id < count; id++) {
    if (!host_first && id == first.device_id) continue;
    if (show_cuda(torch, visit, context, id, 0)) return AB_OK;
  }
  return AB_OK;
}
