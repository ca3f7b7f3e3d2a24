/* SPDX-License-Identifier: MIT
 * CuPy's devices, and working on one of them without changing which is current. */
#include "cupy_plugin.h"

#include <dlfcn.h>

DLDeviceType cupy_accelerator(const cupy_framework *cupy) { return cupy->wears_hip ? kDLROCM : kDLCUDA; }

int cupy_has_device(const cupy_framework *cupy, DLDevice device) {
  return device.device_type == cupy_accelerator(cupy) && device.device_id >= 0 && device.device_id < cupy->device_count;
}

/* ------------------------------------------------------------------ the current device */

static long current_device(const cupy_framework *cupy) {
  PyObject *value = PyObject_CallObject(cupy->get_device, NULL);
  const long id = value != NULL ? PyLong_AsLong(value) : -1;
  Py_XDECREF(value);
  return id;
}

static int set_device(const cupy_framework *cupy, long id) {
  PyObject *number = PyLong_FromLong(id);
  PyObject *done = number != NULL ? PyObject_CallFunctionObjArgs(cupy->set_device, number, NULL) : NULL;
  Py_XDECREF(number);
  Py_XDECREF(done);
  return done != NULL ? 0 : -1;
}

ab_status cupy_scope_begin(cupy_framework *cupy, const ab_call *call, DLDevice device, cupy_scope *scope) {
  scope->cupy = cupy;
  scope->previous = -1;
  if (!cupy_has_device(cupy, device)) return ab_fail(call, AB_NO_DEVICE, "cupy has no such device");
  const long now = current_device(cupy);
  if (now < 0 && PyErr_Occurred()) return cupy_failed(call, "cupy.cuda.runtime.getDevice");
  if (now == device.device_id) return AB_OK;
  if (set_device(cupy, device.device_id) != 0) return cupy_failed(call, "cupy.cuda.runtime.setDevice");
  scope->previous = now;
  return AB_OK;
}

void cupy_scope_end(cupy_scope *scope) {
  if (scope->previous < 0) return;
  PyObject *type = NULL, *value = NULL, *traceback = NULL;
  PyErr_Fetch(&type, &value, &traceback);
  if (set_device(scope->cupy, scope->previous) != 0) abpy_clear();
  PyErr_Restore(type, value, traceback);
}

/* ------------------------------------------------------------------ properties */

/// cupy.cuda.runtime.getDeviceProperties(id), a dict. New reference, or NULL.
static PyObject *properties_of(const cupy_framework *cupy, int32_t device_id) {
  PyObject *number = PyLong_FromLong(device_id);
  PyObject *properties = number != NULL ? abpy_method(cupy->runtime, "getDeviceProperties", number) : NULL;
  Py_XDECREF(number);
  abpy_clear();
  return properties;
}

typedef struct uuid_bytes {
  char bytes[16];
} uuid_bytes;

/// Asks the driver, which CuPy has loaded.
static void driver_uuid(int32_t device_id, uint8_t uuid[16]) {
  void *driver = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_NOLOAD);
  if (driver == NULL) return;
  int (*get_uuid)(uuid_bytes *, int) = NULL;
  void *symbol = dlsym(driver, "cuDeviceGetUuid_v2");
  if (symbol == NULL) symbol = dlsym(driver, "cuDeviceGetUuid");
  memcpy(&get_uuid, &symbol, sizeof get_uuid);
  uuid_bytes found;
  // The ordinal of the runtime is the handle of the driver.
  if (get_uuid != NULL && get_uuid(&found, device_id) == 0) memcpy(uuid, found.bytes, 16);
  dlclose(driver);
}

static void read_uuid(const cupy_framework *cupy, int32_t device_id, uint8_t uuid[16]) {
  PyObject *properties = properties_of(cupy, device_id);
  PyObject *value = properties != NULL ? PyDict_GetItemString(properties, "uuid") : NULL;
  // CuPy reads the field as a C string: a UUID with a zero byte comes short.
  if (value != NULL && PyBytes_Check(value) && PyBytes_Size(value) == 16) memcpy(uuid, PyBytes_AsString(value), 16);
  else if (!cupy->wears_hip) driver_uuid(device_id, uuid);
  abpy_clear();
  Py_XDECREF(properties);
}

void cupy_device_uuid(const cupy_framework *cupy, int32_t device_id, uint8_t uuid[16]) {
  enum { KNOWN = 64 };
  static uint8_t known[KNOWN][16];
  static uint8_t have[KNOWN];
  if (device_id < 0 || device_id >= KNOWN) return;
  if (!have[device_id]) {
    read_uuid(cupy, device_id, known[device_id]);
    have[device_id] = 1;
  }
  memcpy(uuid, known[device_id], 16);
}

/* ------------------------------------------------------------------ devices */

static int show(const cupy_framework *cupy, ab_device_visitor visit, void *context, int32_t id, int is_default) {
  ab_device_info info = {.struct_size = (uint32_t)sizeof info, .name = "gpu"};
  info.device = (DLDevice){cupy_accelerator(cupy), id};
  info.flags = is_default ? AB_DEVICE_DEFAULT : 0;
  cupy_device_uuid(cupy, id, info.uuid);
  PyObject *properties = properties_of(cupy, id);
  PyObject *name = properties != NULL ? PyDict_GetItemString(properties, "name") : NULL;
  PyObject *memory = properties != NULL ? PyDict_GetItemString(properties, "totalGlobalMem") : NULL;
  if (name != NULL && PyBytes_Check(name)) info.name = PyBytes_AsString(name);
  if (memory != NULL) info.memory_bytes = PyLong_AsUnsignedLongLong(memory);
  abpy_clear();
  const int stop = visit(context, &info);
  Py_XDECREF(properties);
  return stop;
}

ab_status cupy_devices(const ab_call *call, ab_device_visitor visit, void *context) {
  cupy_framework *cupy = call->self;
  const long now = current_device(cupy);
  if (now < 0 && PyErr_Occurred()) return cupy_failed(call, "cupy.cuda.runtime.getDevice");
  if (show(cupy, visit, context, (int32_t)now, 1)) return AB_OK;
  for (int32_t id = 0; id < cupy->device_count; id++) {
    if (id != now && show(cupy, visit, context, id, 0)) return AB_OK;
  }
  return AB_OK;
}
