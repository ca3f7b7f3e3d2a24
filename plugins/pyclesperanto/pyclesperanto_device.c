/* SPDX-License-Identifier: MIT
 * The devices of pyclesperanto.
 *
 * It has one object for each device, of which each has a context and a queue of its own (0.25). The records here are
 * found by that object. A device is only listed until somebody wants an array there: then it is woken, since its
 * context can be had through an array only. */
#include "pyclesperanto_plugin.h"

enum { MOST_DEVICES = 64 };

static cle_device records[MOST_DEVICES];  // appended under the lock, never taken away
static int record_count;
static uint32_t listed;  // bit N: pyclesperanto has been asked for all devices of DLDeviceType N

/* ------------------------------------------------------------------ the records */

static cle_device *known(const PyObject *object) {
  for (int index = 0; index < record_count; index++) {
    if (records[index].object == object) return &records[index];
  }
  return NULL;
}

static const struct {
  const char *name;
  int32_t type;
} kinds[] = {{"OpenCL", kDLOpenCL}, {"CUDA", kDLCUDA}, {"Metal", kDLMetal}};

static int32_t kind_of(PyObject *object) {
  PyObject *name = abpy_attribute(object, "type.name");
  int32_t type = 0;
  for (size_t index = 0; name != NULL && index < sizeof kinds / sizeof kinds[0]; index++) {
    if (PyUnicode_Check(name) && PyUnicode_CompareWithASCIIString(name, kinds[index].name) == 0) {
      type = kinds[index].type;
    }
  }
  abpy_clear();
  Py_XDECREF(name);
  return type;
}

static long number_of(PyObject *object) {
  PyObject *index = abpy_attribute(object, "index");
  const long number = index != NULL ? PyLong_AsLong(index) : -1;
  abpy_clear();
  Py_XDECREF(index);
  return number;
}

static void read_name(PyObject *object, char *name, size_t size) {
  PyObject *string = abpy_attribute(object, "name");
  const char *text = string != NULL && PyUnicode_Check(string) ? PyUnicode_AsUTF8AndSize(string, NULL) : NULL;
  if (text == NULL) abpy_clear();
  snprintf(name, size, "%s", text != NULL ? text : "device");
  Py_XDECREF(string);
}

cle_device *cle_device_of(const ab_call *call, PyObject *object) {
  cle_device *found = known(object);
  if (found != NULL) return found;
  cle_device fresh = {.object = object};
  const int32_t type = kind_of(object);
  const long number = number_of(object);
  read_name(object, fresh.name, sizeof fresh.name);
  fresh.device = (DLDevice){(DLDeviceType)type, (int32_t)number};
  found = known(object);  // another thread may have been here while names were read
  if (found != NULL) return found;
  if (abpy_stopped(call) != AB_OK) return NULL;
  if (type == 0 || number < 0 || number > INT32_MAX || record_count == MOST_DEVICES) {
    ab_error_set(call->error, AB_NO_DEVICE, "pyclesperanto has a device that is not understood: %s", fresh.name);
    return NULL;
  }
  Py_INCREF(object);
  records[record_count] = fresh;
  return &records[record_count++];
}

/* ------------------------------------------------------------------ waking */

static void *buffer_of(const ab_call *call, PyObject *array) {
  PyObject *capsule = PyObject_CallMethodObjArgs(array, cle.name_export, NULL);
  if (capsule == NULL) {
    abpy_clear();
    return NULL;
  }
  DLManagedTensorVersioned *tensor = NULL;
  const ab_status status = abpy_tensor_from_capsule(cle.services, call, capsule, &tensor);
  Py_DECREF(capsule);
  if (status != AB_OK) {
    ab_error_clear(call->error);
    return NULL;
  }
  void *buffer = tensor->dl_tensor.device.device_type == kDLOpenCL ? tensor->dl_tensor.data : NULL;
  if (tensor->deleter != NULL) tensor->deleter(tensor);
  return buffer;  // of the array, which lives on
}

ab_status cle_device_wake(const ab_call *call, cle_device *device) {
  if (device->awake) return AB_OK;
  const int64_t one = 1;
  PyObject *sample = cle_new_array(device, 1, &one, (DLDataType){kDLUInt, 8, 1});
  if (sample == NULL) return cle_failed(call, "pyclesperanto's create");
  void *context = device->device.device_type == kDLOpenCL ? cle_native_context(buffer_of(call, sample)) : NULL;
  if (device->awake) {  // by another thread, meanwhile
    Py_DECREF(sample);
    return AB_OK;
  }
  const ab_status status = abpy_stopped(call);
  if (status != AB_OK) {
    Py_DECREF(sample);
    return status;
  }
  device->sample = sample;
  device->context = context;
  device->native = cle_native_device(context);
  device->facts = cle_native_look(device->native);
  device->awake = 1;
  return AB_OK;
}

/* ------------------------------------------------------------------ waiting */

ab_status cle_device_wait(const ab_call *call, cle_device *device) {
  ab_status status = cle_device_wake(call, device);
  if (status != AB_OK) return status;
  // There is no call for it; an export finishes the queue of its device, whatever the array is.
  PyObject *capsule = PyObject_CallMethodObjArgs(device->sample, cle.name_export, NULL);
  if (capsule == NULL) return cle_failed(call, "pyclesperanto's __dlpack__");
  Py_DECREF(capsule);
  call->report->flags |= AB_REPORT_BLOCKED_HOST;
  return AB_OK;
}

void cle_device_wait_on(const cle_device *device) {
  PyObject *capsule = NULL;
  // Whoever presses Ctrl-C twice has been heard the first time.
  while (device->awake && (capsule = PyObject_CallMethodObjArgs(device->sample, cle.name_export, NULL)) == NULL &&
         !PyErr_ExceptionMatches(PyExc_Exception)) {
    PyErr_Clear();
  }
  PyErr_Clear();
  Py_XDECREF(capsule);
}

ab_status cle_finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered) {
  cle_device *found = cle_device_find(call, device);
  if (found == NULL) return call->error->status;
  const ab_status status = cle_device_wait(call, found);
  if (status != AB_OK) return status;
  *covered = scope & (AB_SCOPE_CURRENT | AB_SCOPE_COMPUTE_ORDER);  // its one queue, no other of the context
  return AB_OK;
}

/* ------------------------------------------------------------------ which there are */

/// Gives the user's current device; NULL on a machine without any.
static ab_status current_device(const ab_call *call, cle_device **current) {
  PyObject *object = PyObject_CallObject(cle.get_device, NULL);
  if (object == NULL && PyErr_ExceptionMatches(PyExc_Warning)) {  // "no device available", under python -W error
    PyErr_Clear();
    *current = NULL;
    return AB_OK;
  }
  if (object == NULL) return cle_failed(call, "pyclesperanto.get_device");
  *current = object != Py_None ? cle_device_of(call, object) : NULL;
  const int none = object == Py_None;
  Py_DECREF(object);
  return none || *current != NULL ? AB_OK : call->error->status;
}

/// Makes records of all devices of the flavour in use, once. Asks for a list only: nothing is selected.
static ab_status list_all(const ab_call *call, int32_t type) {
  if (listed >> type & 1) return AB_OK;
  PyObject *core = PyObject_GetAttrString(cle.module, "_core");
  PyObject *manager = core != NULL ? PyObject_GetAttrString(core, "_get_backend_manager") : NULL;
  PyObject *managing = manager != NULL ? PyObject_CallObject(manager, NULL) : NULL;
  PyObject *backend = managing != NULL ? PyObject_CallMethod(managing, "get_backend", NULL) : NULL;
  PyObject *list = backend != NULL ? PyObject_CallMethod(backend, "getDevices", "s", "all") : NULL;
  const Py_ssize_t count = list != NULL ? PyList_Size(list) : 0;
  for (Py_ssize_t index = 0; index < count; index++) {
    PyObject *object = PyList_GetItem(list, index);  // borrowed
    if (object != NULL) cle_device_of(call, object);
  }
  // In another version the current device is all that is known.
  if (PyErr_ExceptionMatches(PyExc_AttributeError) || PyErr_ExceptionMatches(PyExc_TypeError)) PyErr_Clear();
  ab_status status = AB_OK;
  if (PyErr_Occurred() != NULL) status = cle_failed(call, "pyclesperanto's list of devices");
  else status = abpy_stopped(call);
  if (status == AB_OK) {
    ab_error_clear(call->error);  // of a device that is not understood
    listed |= UINT32_C(1) << type;
  }
  Py_XDECREF(list);
  Py_XDECREF(backend);
  Py_XDECREF(managing);
  Py_XDECREF(manager);
  Py_XDECREF(core);
  return status;
}

cle_device *cle_device_find(const ab_call *call, DLDevice device) {
  cle_device *current = NULL;
  if (current_device(call, &current) != AB_OK) return NULL;
  if (current != NULL && current->device.device_type == device.device_type) {
    if (current->device.device_id == device.device_id) return current;
    if (list_all(call, (int32_t)device.device_type) != AB_OK) return NULL;
    for (int index = 0; index < record_count; index++) {
      const DLDevice here = records[index].device;
      if (here.device_type == device.device_type && here.device_id == device.device_id) return &records[index];
    }
  }
  if (abpy_stopped(call) == AB_OK) ab_error_set(call->error, AB_NO_DEVICE, "pyclesperanto has no such device");
  return NULL;
}

static int show(const cle_device *device, int is_default, ab_device_visitor visit, void *context) {
  const ab_device_info info = {
      .struct_size = (uint32_t)sizeof info,
      .flags = (is_default ? AB_DEVICE_DEFAULT : 0u) | (device->facts.unified ? AB_DEVICE_UNIFIED_MEMORY : 0u),
      .device = device->device,
      .name = device->name,
      .native_context = device->context,
      .native_device = device->native,
      .memory_bytes = device->facts.memory_bytes,
  };
  return visit(context, &info);
}

ab_status cle_devices(const ab_call *call, ab_device_visitor visit, void *context) {
  cle_device *current = NULL;
  ab_status status = current_device(call, &current);
  if (status == AB_OK) status = abpy_stopped(call);
  if (status != AB_OK || current == NULL) return status;  // without: a machine that has none
  const int32_t type = (int32_t)current->device.device_type;
  status = list_all(call, type);
  if (status == AB_OK) status = cle_device_wake(call, current);
  if (status != AB_OK) return status;
  if (show(current, 1, visit, context) != 0) return AB_OK;
  for (int index = 0; index < record_count; index++) {
    const cle_device *other = &records[index];
    if (other == current || (int32_t)other->device.device_type != type) continue;
    if (show(other, 0, visit, context) != 0) return AB_OK;
  }
  return AB_OK;
}
