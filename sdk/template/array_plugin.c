/* SPDX-License-Identifier: MIT
 * A whole plugin: Python's own array.array. It shares its memory with everyone, and is filled by a copy. */
/* clang-format off */
#include <abpy.h>

static const ab_services *services;

/* array.array's type codes, and what each is called in DLPack. */
static const char codes[] = "qQbBhHiIlLfd";
static const DLDataType dtypes[] = {{kDLInt, 64, 1}, {kDLUInt, 64, 1}, {kDLInt, 8, 1}, {kDLUInt, 8, 1},
                                    {kDLInt, 16, 1}, {kDLUInt, 16, 1}, {kDLInt, 32, 1}, {kDLUInt, 32, 1},
                                    {kDLInt, 8 * sizeof(long), 1}, {kDLUInt, 8 * sizeof(long), 1},
                                    {kDLFloat, 32, 1}, {kDLFloat, 64, 1}};

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  PyTypeObject *type = abpy_type("array", "array"); /* NULL: nobody has imported it, so there are none */
  const int ours = type == Py_TYPE((PyObject *)object);
  Py_XDECREF((PyObject *)type);
  return *holds_for_type = ours;
}

static ab_status describe(const ab_call *call, void *array, ab_array_info *info) {
  Py_buffer buffer;
  if (PyObject_GetBuffer(array, &buffer, PyBUF_FORMAT) != 0) return abpy_error(call, AB_FRAMEWORK, "array.array");
  const char *code = strchr(codes, buffer.format[0]);
  if (code != NULL) info->dtype = dtypes[code - codes];
  if (code == NULL) info->why_not = "characters have no counterpart in other frameworks";
  info->flags = AB_INFO_HOST_ACCESSIBLE | (code != NULL ? 0 : AB_INFO_NOT_SHAREABLE | AB_INFO_NOT_CONVERTIBLE);
  info->device = (DLDevice){kDLCPU, 0};
  info->ndim = 1;
  info->shape[0] = buffer.len / buffer.itemsize;
  info->strides[0] = buffer.itemsize;
  info->data = buffer.len != 0 ? buffer.buf : NULL;
  PyBuffer_Release(&buffer);
  return AB_OK;
}

static ab_status to_dlpack(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  int64_t length = 0, step = 0;
  ab_array_info info = {.struct_size = sizeof info, .shape = &length, .strides = &step};
  ab_status status = describe(call, array, &info);
  if (status != AB_OK) return status;
  if (info.why_not != NULL) return ab_fail(call, AB_UNSUPPORTED, "%s", info.why_not);
  PyObject *view = PyMemoryView_FromObject(array); /* while it lives, Python refuses to resize the array */
  if (view == NULL) return abpy_error(call, AB_FRAMEWORK, "array.array");
  status = services->tensor_new(services->core, 1, AB_TENSOR_DROP_NEEDS_LOCK, view, abpy_drop, tensor);
  if (status != AB_OK) {
    Py_DECREF(view);
    return status;
  }
  (*tensor)->dl_tensor.data = info.data;
  (*tensor)->dl_tensor.dtype = info.dtype;
  (*tensor)->dl_tensor.shape[0] = length;
  (*tensor)->dl_tensor.strides[0] = 1;
  call->report->flags |= AB_REPORT_SHARED;
  return AB_OK;
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  if (device.device_type != kDLCPU || slot != AB_SLOT_FROM_HOST) return ab_fail(call, AB_UNSUPPORTED, "only host copies");
  const ab_capabilities can = {.struct_size = sizeof can, .flags = AB_ACCEPTS_EMPTY, .dtypes = dtypes,
                               .dtype_count = sizeof dtypes / sizeof dtypes[0], .layout = AB_LAYOUT_C, .max_ndim = 1};
  ab_struct_fill(capabilities, &can, sizeof can);
  return AB_OK;
}

static ab_status from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  (void)device;
  size_t i = 0;
  while (codes[i] != '\0' && memcmp(&dtypes[i], &tensor->dtype, sizeof dtypes[i]) != 0) i++;
  if (codes[i] == '\0' || tensor->ndim != 1) return ab_fail(call, AB_UNSUPPORTED, "no such array.array");
  PyObject *module = abpy_import(call, "array", "python");
  if (module == NULL) return call->error->status;
  const Py_ssize_t bytes = (Py_ssize_t)(tensor->shape[0] * tensor->dtype.bits / 8);
  PyObject *made = PyObject_CallMethod(module, "array", "CN", codes[i], PyBytes_FromStringAndSize(tensor->data, bytes));
  Py_DECREF(module);
  if (made == NULL) return abpy_error(call, AB_FRAMEWORK, "array.array");
  *array = made;
  return AB_OK;
}

static const ab_plugin_vtable vtable = {.struct_size = sizeof vtable, .recognizes = recognizes, .describe = describe,
                                        .capabilities = capabilities, .retain = abpy_retain, .release = abpy_release,
                                        .to_dlpack = to_dlpack, .from_host = from_host};

static ab_status create(const ab_services *given, ab_plugin *plugin, ab_error *error) {
  (void)error;
  services = given;
  abpy_init(given);
  plugin->vtable = &vtable;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {.struct_size = sizeof arraybridge_plugin, .abi_major = AB_ABI_MAJOR, .abi_minor = AB_ABI_MINOR,
                    .name = "array", .version = "0.1.0", .licence = "MIT", .runtime = AB_RUNTIME_PYTHON,
                    .lock = AB_LOCK_PYTHON, .runtime_abi = ABPY_RUNTIME_ABI, .create = create};
