/* SPDX-License-Identifier: MIT
 * A Python plugin whose arrays say that they are on CUDA devices, for the simulated driver: a slab is a bytearray of
 * type slabs.Slab with 6 float32 on `cuda:0` or `cuda:1`, or on the host (`on` is -1). slabs.handle_on() says
 * which stream is current: the last one entered, or 0, the legacy stream. It enqueues nothing. */
#include <abpy.h>

static const ab_services *services;
static const DLDataType float32 = {kDLFloat, 32, 1};

enum { DEVICES = 2, COUNT = 6 };

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  PyTypeObject *type = abpy_type("slabs", "Slab");
  *holds_for_type = type == Py_TYPE((PyObject *)object);
  Py_XDECREF((PyObject *)type);
  return *holds_for_type;
}

static DLDevice place_of(void *array) {
  PyObject *on = PyObject_GetAttrString(array, "on");
  const long number = on != NULL ? PyLong_AsLong(on) : -1;
  Py_XDECREF(on);
  abpy_clear();
  return number < 0 ? (DLDevice){kDLCPU, 0} : (DLDevice){kDLCUDA, (int32_t)number};
}

static ab_status describe(const ab_call *call, void *array, ab_array_info *info) {
  (void)call;
  info->device = place_of(array);
  info->flags = info->device.device_type == kDLCPU ? AB_INFO_HOST_ACCESSIBLE : 0;
  info->dtype = float32;
  info->ndim = 1;
  info->shape[0] = COUNT;
  info->strides[0] = 4;
  return AB_OK;
}

static ab_status to_host(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  Py_INCREF((PyObject *)array);
  if (services->tensor_new(services->core, 1, AB_TENSOR_DROP_NEEDS_LOCK, array, abpy_drop, tensor) != AB_OK) {
    Py_DECREF((PyObject *)array);
    return ab_fail(call, AB_OOM, "no tensor");
  }
  DLTensor *t = &(*tensor)->dl_tensor;
  t->data = PyByteArray_AsString(array);
  t->dtype = float32;
  t->shape[0] = COUNT;
  t->strides[0] = 1;
  return AB_OK;
}

static int is_here(DLDevice device) {
  if (device.device_type == kDLCPU) return device.device_id == 0;
  return device.device_type == kDLCUDA && device.device_id >= 0 && device.device_id < DEVICES;
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  (void)call;
  if (!is_here(device) || slot != AB_SLOT_FROM_HOST) return AB_UNSUPPORTED;
  const ab_capabilities can = {.struct_size = sizeof can,
                               .dtypes = &float32,
                               .dtype_count = 1,
                               .layout = AB_LAYOUT_C,
                               .min_ndim = 1,
                               .max_ndim = 1};
  ab_struct_fill(capabilities, &can, sizeof can);
  return AB_OK;
}

/// slabs.name(…), or NULL with the exception pending.
static PyObject *call_python(const ab_call *call, const char *name, const char *format, ...) {
  PyObject *module = abpy_import(call, "slabs", "slabs");
  PyObject *function = module != NULL ? PyObject_GetAttrString(module, name) : NULL;
  va_list values;
  va_start(values, format);
  PyObject *arguments = function != NULL ? Py_VaBuildValue(format, values) : NULL;
  va_end(values);
  PyObject *result = arguments != NULL ? PyObject_CallObject(function, arguments) : NULL;
  Py_XDECREF(arguments);
  Py_XDECREF(function);
  Py_XDECREF(module);
  return result;
}

static ab_status from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  const int on = device.device_type == kDLCPU ? -1 : device.device_id;
  *array = call_python(call, "make", "(y#i)", tensor->data, (Py_ssize_t)(COUNT * 4), on);
  return *array != NULL ? AB_OK : abpy_error(call, AB_FRAMEWORK, "slabs.make");
}

static ab_status devices(const ab_call *call, ab_device_visitor visit, void *context) {
  (void)call;
  for (int32_t id = -1; id < DEVICES; id++) {
    const ab_device_info info = {.struct_size = sizeof info,
                                 .flags = id < 0 ? AB_DEVICE_DEFAULT : 0,
                                 .device = id < 0 ? (DLDevice){kDLCPU, 0} : (DLDevice){kDLCUDA, id},
                                 .name = id < 0 ? "host" : "simulated"};
    if (visit(context, &info) != 0) break;
  }
  return AB_OK;
}

/* ------------------------------------------------------------------ streams */

static ab_status current_stream(const ab_call *call, DLDevice device, ab_stream *stream) {
  PyObject *handle = call_python(call, "handle_on", "(i)", (int)device.device_id);
  void *const given = handle != NULL ? PyLong_AsVoidPtr(handle) : NULL;
  Py_XDECREF(handle);
  if (PyErr_Occurred()) return abpy_error(call, AB_FRAMEWORK, "slabs.handle_on");
  *stream = (ab_stream){.struct_size = sizeof *stream,
                        .kind = given == NULL ? AB_STREAM_LEGACY : AB_STREAM_HANDLE,
                        .flags = AB_STREAM_IMMORTAL,
                        .handle = given,
                        .device = device};
  return AB_OK;
}

static ab_status adopt_stream(const ab_call *call, const ab_stream *stream, void **object) {
  *object = call_python(call, "adopt", "(Ni)", PyLong_FromVoidPtr(stream->handle), (int)stream->device.device_id);
  return *object != NULL ? AB_OK : abpy_error(call, AB_FRAMEWORK, "slabs.adopt");
}

static ab_status enter_stream(const ab_call *call, void *object, void **token) {
  *token = call_python(call, "enter", "(O)", (PyObject *)object);
  return *token != NULL ? AB_OK : abpy_error(call, AB_FRAMEWORK, "slabs.enter");
}

static void exit_stream(void *self, void *token) {
  (void)self;
  PyObject *done = PyObject_CallObject(token, NULL);
  if (done == NULL) PyErr_WriteUnraisable(token);
  Py_XDECREF(done);
  Py_DECREF((PyObject *)token);
}

static ab_status probe(const ab_call *call, ab_framework_info *info) {
  return abpy_probe(call, info, "slabs", "slabs");
}

static ab_status start(const ab_call *call) {
  PyObject *module = abpy_import(call, "slabs", "slabs");
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
                                       .devices = devices,
                                       .current_stream = current_stream,
                                       .adopt_stream = adopt_stream,
                                       .drop_stream = abpy_release,
                                       .enter_stream = enter_stream,
                                       .exit_stream = exit_stream,
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
                    .name = "slabs",
                    .version = "1.2.3",
                    .licence = "MIT",
                    .runtime = AB_RUNTIME_PYTHON,
                    .lock = AB_LOCK_PYTHON,
                    .runtime_abi = ABPY_RUNTIME_ABI,
                    .create = create};
