/* SPDX-License-Identifier: MIT
 * A Python plugin with a simulated accelerator: a tile is a bytearray of type tiles.Tile with 2 rows of 3 float32, on
 * the host or on `ext:0`, where nobody but its framework may touch it. Tiles are made by the Python function
 * tiles.make(bytes, device type), which a test lets fail. */
#include <abpy.h>

static const ab_services *services;
static const DLDataType float32 = {kDLFloat, 32, 1};
static const DLDevice places[] = {{kDLCPU, 0}, {kDLExtDev, 0}};

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  PyTypeObject *type = abpy_type("tiles", "Tile");
  *holds_for_type = type == Py_TYPE((PyObject *)object);
  Py_XDECREF((PyObject *)type);
  return *holds_for_type;
}

static DLDevice place_of(void *array) {
  PyObject *on = PyObject_GetAttrString(array, "on");
  const DLDevice place = places[on != NULL && PyLong_AsLong(on) == kDLExtDev];
  Py_XDECREF(on);
  abpy_clear();
  return place;
}

static ab_status describe(const ab_call *call, void *array, ab_array_info *info) {
  (void)call;
  info->device = place_of(array);
  info->flags = info->device.device_type == kDLCPU ? AB_INFO_HOST_ACCESSIBLE : 0;
  info->dtype = float32;
  info->ndim = 2;
  info->shape[0] = 2;
  info->shape[1] = 3;
  info->strides[0] = 12;
  info->strides[1] = 4;
  info->data = info->device.device_type == kDLCPU ? PyByteArray_AsString(array) : NULL;
  return AB_OK;
}

static ab_status to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  Py_INCREF((PyObject *)array);
  if (services->tensor_new(services->core, 2, AB_TENSOR_DROP_NEEDS_LOCK, array, abpy_drop, tensor) != AB_OK) {
    Py_DECREF((PyObject *)array);
    return ab_fail(call, AB_OOM, "no tensor");
  }
  DLTensor *t = &(*tensor)->dl_tensor;
  t->data = PyByteArray_AsString(array);
  t->dtype = float32;
  t->shape[0] = 2;
  t->shape[1] = t->strides[0] = 3;
  t->strides[1] = 1;
  return AB_OK;
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  (void)call;
  const int here = device.device_id == 0 && (device.device_type == kDLCPU || device.device_type == kDLExtDev);
  if (!here || slot != AB_SLOT_FROM_HOST) return AB_UNSUPPORTED;
  const ab_capabilities can = {.struct_size = sizeof can,
                               .dtypes = &float32,
                               .dtype_count = 1,
                               .layout = AB_LAYOUT_C,
                               .min_ndim = 2,
                               .max_ndim = 2};
  ab_struct_fill(capabilities, &can, sizeof can);
  return AB_OK;
}

static ab_status from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  if (tensor->shape[0] * tensor->shape[1] != 6) return ab_fail(call, AB_UNSUPPORTED, "a tile has 2 rows of 3");
  PyObject *module = abpy_import(call, "tiles", "tiles");
  if (module == NULL) return call->error->status;
  PyObject *bytes = PyBytes_FromStringAndSize(tensor->data, 24);
  *array = PyObject_CallMethod(module, "make", "Ni", bytes, (int)device.device_type);
  Py_DECREF(module);
  return *array != NULL ? AB_OK : abpy_error(call, AB_FRAMEWORK, "tiles.make");
}

static ab_status is_oom(void *self, const ab_failure *failure) {
  (void)self;
  PyObject *exception = strcmp(failure->domain, "python") == 0 ? failure->object : NULL;
  return exception != NULL && PyErr_GivenExceptionMatches(exception, PyExc_MemoryError) ? AB_OOM : AB_OK;
}

static ab_status devices(const ab_call *call, ab_device_visitor visit, void *context) {
  (void)call;
  for (int index = 0; index < 2; index++) {
    const ab_device_info info = {.struct_size = sizeof info,
                                 .flags = index == 0 ? AB_DEVICE_DEFAULT : 0,
                                 .device = places[index],
                                 .name = index == 0 ? "host" : "simulated"};
    if (visit(context, &info) != 0) break;
  }
  return AB_OK;
}

static ab_status probe(const ab_call *call, ab_framework_info *info) {
  return abpy_probe(call, info, "tiles", "tiles");
}

static ab_status start(const ab_call *call) {
  PyObject *module = abpy_import(call, "tiles", "tiles");
  Py_XDECREF(module);
  return module != NULL ? AB_OK : call->error->status;
}

static const ab_plugin_vtable slots = {.struct_size = sizeof slots,
                                       .recognizes = recognizes,
                                       .describe = describe,
                                       .capabilities = capabilities,
                                       .retain = abpy_retain,
                                       .release = abpy_release,
                                       .to_host = to_host,
                                       .from_host = from_host,
                                       .is_oom = is_oom,
                                       .devices = devices,
                                       .probe = probe,
                                       .start = start};

static ab_status create(const ab_services *given, ab_plugin *plugin, ab_error *error) {
  (void)error;
  services = given;
  abpy_init(given);
  plugin->vtable = &slots;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {.struct_size = sizeof arraybridge_plugin,
                    .abi_major = AB_ABI_MAJOR,
                    .abi_minor = AB_ABI_MINOR,
                    .name = "tiles",
                    .version = "1.2.3",
                    .licence = "MIT",
                    .runtime = AB_RUNTIME_PYTHON,
                    .lock = AB_LOCK_PYTHON,
                    .runtime_abi = ABPY_RUNTIME_ABI,
                    .create = create};
