/* SPDX-License-Identifier: MIT
 * The OpenCL behind pyclesperanto: contexts of its buffers, and a few facts about its devices.
 *
 * The plugin links no OpenCL: it asks the very library that pyclesperanto is linked with. The three functions that are
 * needed have one and the same form, so no header is needed either. */
#include "pyclesperanto_plugin.h"

#include <dlfcn.h>

/// clGetMemObjectInfo, clGetContextInfo and clGetDeviceInfo alike; 0 is success.
typedef int32_t (*get_info)(void *object, uint32_t what, size_t size, void *value, size_t *size_needed);

enum {  // numbers of the OpenCL standard
  MEM_CONTEXT = 0x1106,
  CONTEXT_DEVICES = 0x1081,
  DEVICE_MAX_MEM_ALLOC_SIZE = 0x1010,
  DEVICE_GLOBAL_MEM_SIZE = 0x101F,
  DEVICE_HOST_UNIFIED_MEMORY = 0x1035
};

static struct { get_info of_memory, of_context, of_device; } functions;

/* ------------------------------------------------------------------ finding */

static get_info find(void *library, const char *name) {
  void *symbol = dlsym(library, name);  // in the library and in those it is linked with
  get_info function = NULL;
  memcpy(&function, &symbol, sizeof function);
  return function;
}

static void find_all(const char *path) {
  void *library = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);  // never closed
  if (library == NULL) return;
  get_info of_memory = find(library, "clGetMemObjectInfo");
  get_info of_context = find(library, "clGetContextInfo");
  get_info of_device = find(library, "clGetDeviceInfo");
  if (of_memory == NULL || of_context == NULL || of_device == NULL) return;  // a flavour without OpenCL
  functions.of_memory = of_memory;
  functions.of_context = of_context;
  functions.of_device = of_device;
}

void cle_native_find(PyObject *module) {
  if (functions.of_device != NULL) return;
  PyObject *file = abpy_attribute(module, "__file__");
  PyObject *path = file != NULL && PyUnicode_Check(file) ? PyUnicode_EncodeFSDefault(file) : NULL;
  if (path != NULL) find_all(PyBytes_AsString(path));
  abpy_clear();
  Py_XDECREF(path);
  Py_XDECREF(file);
}

/* ------------------------------------------------------------------ asking */

void *cle_native_context(void *buffer) {
  void *context = NULL;
  if (functions.of_memory == NULL || buffer == NULL) return NULL;
  if (functions.of_memory(buffer, MEM_CONTEXT, sizeof context, &context, NULL) != 0) return NULL;
  return context;
}

void *cle_native_device(void *context) {
  void *device = NULL;
  if (functions.of_context == NULL || context == NULL) return NULL;
  // Fails when there are several: which of them is meant could not be told.
  if (functions.of_context(context, CONTEXT_DEVICES, sizeof device, &device, NULL) != 0) return NULL;
  return device;
}

static uint64_t number(void *device, uint32_t what) {
  uint64_t value = 0;
  return functions.of_device(device, what, sizeof value, &value, NULL) == 0 ? value : 0;
}

cle_native_facts cle_native_look(void *device) {
  cle_native_facts facts = {.memory_bytes = 0};
  if (functions.of_device == NULL || device == NULL) return facts;
  facts.memory_bytes = number(device, DEVICE_GLOBAL_MEM_SIZE);
  facts.max_bytes = number(device, DEVICE_MAX_MEM_ALLOC_SIZE);
  uint32_t unified = 0;
  if (functions.of_device(device, DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL) == 0) {
    facts.unified = unified != 0;
  }
  return facts;
}
