/* SPDX-License-Identifier: MIT
 * A Python plugin: a strip is a bytearray of type strips.Strip, taken for 2 rows of 3 float32. The environment variable
 * FAKE_FLAW names what it does wrong: a slot that leaves an exception pending, or another flaw below. */
#include <stdlib.h>

#include <abpy.h>

static const ab_services *services;
static const DLDataType float32 = {kDLFloat, 32, 1};
static const char *flaw = "";

static int has_flaw(const char *name) { return strcmp(flaw, name) == 0; }

static void leave_behind(const char *slot) {
  if (has_flaw(slot)) PyErr_Format(PyExc_RuntimeError, "left by %s", slot);
}

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self, (void)holds_for_type;
  PyTypeObject *type = abpy_type("strips", "Strip");
  const int ours = type == Py_TYPE((PyObject *)object);
  Py_XDECREF((PyObject *)type);
  leave_behind("recognizes");
  return ours;
}

static ab_status share(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  Py_INCREF((PyObject *)array);
  if (services->tensor_new(services->core, 2, AB_TENSOR_DROP_NEEDS_LOCK, array, abpy_drop, tensor) != AB_OK) {
    Py_DECREF((PyObject *)array);
    return ab_fail(call, AB_OOM, "no tensor");
  }
  DLTensor *t = &(*tensor)->dl_tensor;
  t->data = PyByteArray_AsString(array);
  t->dtype = float32;
  t->shape[0] = has_flaw("extent") ? 500000 : 2;
  t->shape[1] = 3;
  t->strides[0] = has_flaw("to_dlpack in bytes") ? 12 : 3;
  t->strides[1] = has_flaw("to_dlpack in bytes") ? 4 : 1;
  return AB_OK;
}

static ab_status describe(const ab_call *call, void *array, ab_array_info *info) {
  leave_behind("describe");
  info->flags = AB_INFO_HOST_ACCESSIBLE;
  info->device = (DLDevice){kDLCPU, 0};
  info->range_begin = has_flaw("extent") ? PyByteArray_AsString(array) : NULL;
  info->range_bytes = has_flaw("extent") ? (uint64_t)PyByteArray_Size(array) : 0;
  if (getenv("FAKE_TENSOR") != NULL && (call->flags & AB_CALL_WANT_TENSOR)) return share(call, array, &info->tensor);
  info->dtype = float32;
  info->ndim = 2;
  info->shape[0] = has_flaw("extent") ? 500000 : 2;
  info->shape[1] = 3;
  info->strides[0] = has_flaw("describe in elements") ? 3 : 12;
  info->strides[1] = has_flaw("describe in elements") ? 1 : 4;
  info->data = PyByteArray_AsString(array);
  return AB_OK;
}

static ab_status to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  const ab_status status = share(call, array, tensor);
  leave_behind("to_dlpack");
  return status;
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  leave_behind("capabilities");
  if (device.device_type != kDLCPU || slot != AB_SLOT_FROM_HOST) return AB_UNSUPPORTED;
  const ab_capabilities can = {.struct_size = sizeof can,
                               .dtypes = &float32,
                               .dtype_count = 1,
                               .layout = AB_LAYOUT_C,
                               .min_ndim = 2,
                               .max_ndim = 2};
  ab_struct_fill(capabilities, &can, sizeof can);
  (void)call;
  return AB_OK;
}

static ab_status from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  (void)device;
  if (has_flaw("silence")) return AB_FRAMEWORK;
  if (tensor->shape[0] * tensor->shape[1] != 6) return ab_fail(call, AB_UNSUPPORTED, "a strip has 2 rows of 3");
  PyObject *module = abpy_import(call, "strips", "strips");
  if (module == NULL) return call->error->status;
  PyObject *bytes = PyBytes_FromStringAndSize(tensor->data, 24);
  *array = PyObject_CallMethod(module, "Strip", "N", bytes);
  Py_DECREF(module);
  if (*array == NULL) return abpy_error(call, AB_FRAMEWORK, "strips.Strip");
  if (has_flaw("wrong values")) PyByteArray_AsString(*array)[5] ^= 64;
  leave_behind("from_host");
  return AB_OK;
}

static ab_status probe(const ab_call *call, ab_framework_info *info) {
  const ab_status status = abpy_probe(call, info, "strips", "strips");
  leave_behind("probe");
  return status;
}

static ab_status start(const ab_call *call) {
  PyObject *module = abpy_import(call, "strips", "strips");
  if (module == NULL) return call->error->status;
  Py_DECREF(module);
  leave_behind("start");
  return AB_OK;
}

static ab_status is_oom(void *self, const ab_failure *failure) {
  (void)self;
  if (failure->object == NULL) return AB_OK; /* asked without the lock */
  leave_behind("is_oom");
  if (has_flaw("is_oom is interrupted")) PyErr_SetString(PyExc_KeyboardInterrupt, "in is_oom");
  return AB_OK;
}

static ab_plugin_vtable slots = {.struct_size = sizeof slots,
                                 .recognizes = recognizes,
                                 .describe = describe,
                                 .capabilities = capabilities,
                                 .retain = abpy_retain,
                                 .release = abpy_release,
                                 .to_dlpack = to_dlpack,
                                 .from_host = from_host,
                                 .is_oom = is_oom,
                                 .probe = probe,
                                 .start = start};

static ab_status create(const ab_services *given, ab_plugin *plugin, ab_error *error) {
  (void)error;
  services = given;
  abpy_init(given);
  if (getenv("FAKE_FLAW") != NULL) flaw = getenv("FAKE_FLAW");
  if (has_flaw("no probe")) slots.probe = NULL;
  plugin->vtable = &slots;
  leave_behind("create");
  return AB_OK;
}

AB_PLUGIN_DEFINE = {.struct_size = sizeof arraybridge_plugin,
                    .abi_major = AB_ABI_MAJOR,
                    .abi_minor = AB_ABI_MINOR,
                    .name = "strips",
                    .version = "1.2.3",
                    .licence = "MIT",
                    .runtime = AB_RUNTIME_PYTHON,
                    .lock = AB_LOCK_PYTHON,
                    .runtime_abi = ABPY_RUNTIME_ABI,
                    .create = create};
