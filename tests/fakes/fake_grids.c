/* SPDX-License-Identifier: MIT
 * A Python plugin: a grids.Grid has a `shape`, a `dtype` (float32, uint8, uint16, int64), and C-ordered elements in
 * `data`, a bytearray. A Grid has no x[i]. One whose `secret` is true cannot be converted, and clear_cache() raises
 * what grids.trim() raises. It imports nothing, and its capabilities() say why. */
#include <abpy.h>

enum { DTYPES = 4 };

static const DLDataType dtypes[DTYPES] = {{kDLFloat, 32, 1}, {kDLUInt, 8, 1}, {kDLUInt, 16, 1}, {kDLInt, 64, 1}};
static const char *const dtype_names[DTYPES] = {"float32", "uint8", "uint16", "int64"};
static const abpy_signature signatures[] = {{"grids", "OutOfGrids", "out of grids", NULL, AB_OOM}};

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  PyTypeObject *type = abpy_type("grids", "Grid");
  *holds_for_type = type != NULL && type == Py_TYPE((PyObject *)object);
  Py_XDECREF((PyObject *)type);
  return *holds_for_type;
}

static int is_secret(PyObject *grid) {
  PyObject *secret = PyObject_GetAttrString(grid, "secret");
  const int answer = secret == Py_True;
  Py_XDECREF(secret);
  return answer;
}

static int dtype_of(PyObject *grid) {
  PyObject *name = PyObject_GetAttrString(grid, "dtype");
  int found = -1;
  for (int index = 0; index < DTYPES && name != NULL; index++)
    if (PyUnicode_CompareWithASCIIString(name, dtype_names[index]) == 0) found = index;
  Py_XDECREF(name);
  return found;
}

static ab_status describe(const ab_call *call, void *array, ab_array_info *info) {
  if (is_secret(array)) {
    info->flags = AB_INFO_NOT_CONVERTIBLE;
    info->why_not = "a secret grid shows nothing; pass grid.reveal()";
    return AB_OK;
  }
  const int dtype = dtype_of(array);
  PyObject *shape = dtype >= 0 ? PyObject_GetAttrString(array, "shape") : NULL;
  PyObject *data = shape != NULL ? PyObject_GetAttrString(array, "data") : NULL;
  if (data == NULL) {
    Py_XDECREF(shape);
    return abpy_error(call, AB_FRAMEWORK, "grids.Grid");
  }
  info->flags = AB_INFO_HOST_ACCESSIBLE | AB_INFO_NOT_SHAREABLE;
  info->why_not = "grids are not shared";
  info->device = (DLDevice){kDLCPU, 0};
  info->dtype = dtypes[dtype];
  info->ndim = (int32_t)PyTuple_Size(shape);
  int64_t step = dtypes[dtype].bits / 8;
  for (int32_t axis = info->ndim - 1; axis >= 0; axis--) {
    info->shape[axis] = PyLong_AsLongLong(PyTuple_GetItem(shape, axis));
    info->strides[axis] = step;
    step *= info->shape[axis];
  }
  info->data = PyByteArray_AsString(data);
  Py_DECREF(data);
  Py_DECREF(shape);
  return AB_OK;
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  if (device.device_type != kDLCPU || slot != AB_SLOT_FROM_HOST)
    return ab_fail(call, AB_UNSUPPORTED, "grids only copy from the host");
  const ab_capabilities can = {.struct_size = sizeof can,
                               .flags = AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM,
                               .dtypes = dtypes,
                               .dtype_count = DTYPES,
                               .layout = AB_LAYOUT_C,
                               .max_ndim = AB_MAX_NDIM};
  ab_struct_fill(capabilities, &can, sizeof can);
  return AB_OK;
}

static ab_status from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  (void)device;
  int dtype = 0;
  while (dtype < DTYPES - 1 && (dtypes[dtype].code != tensor->dtype.code || dtypes[dtype].bits != tensor->dtype.bits))
    dtype++;
  PyObject *module = abpy_import(call, "grids", "grids");
  if (module == NULL) return call->error->status;
  const char *data = (const char *)tensor->data + tensor->byte_offset;
  PyObject *bytes = PyByteArray_FromStringAndSize(data, (Py_ssize_t)abpy_tensor_bytes(tensor));
  *array = PyObject_CallMethod(module, "Grid", "NsN", abpy_shape_tuple(tensor->ndim, tensor->shape), dtype_names[dtype],
                               bytes);
  Py_DECREF(module);
  return *array != NULL ? AB_OK : abpy_error_matched(call, AB_FRAMEWORK, "grids.Grid", signatures, 1);
}

static ab_status from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                             void **array) {
  (void)tensor, (void)device, (void)consumed, (void)array;
  return ab_fail(call, AB_INTERNAL, "called though capabilities() says no");
}

static ab_status probe(const ab_call *call, ab_framework_info *info) {
  return abpy_probe(call, info, "grids", "grids");
}

static ab_status is_oom(void *self, const ab_failure *failure) {
  (void)self;
  return abpy_match_failure(failure, signatures, 1);
}

static ab_status clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                             uint64_t *to_pool) {
  (void)device, (void)flags;
  *to_driver = *to_pool = 0;
  PyObject *module = abpy_import(call, "grids", "grids");
  PyObject *done = module != NULL ? PyObject_CallMethod(module, "trim", NULL) : NULL;
  Py_XDECREF(module);
  if (done == NULL) return abpy_error(call, AB_FRAMEWORK, "grids.trim");
  Py_DECREF(done);
  return AB_OK;
}

static const ab_plugin_vtable slots = {.struct_size = sizeof slots,
                                       .recognizes = recognizes,
                                       .describe = describe,
                                       .capabilities = capabilities,
                                       .retain = abpy_retain,
                                       .release = abpy_release,
                                       .from_host = from_host,
                                       .from_dlpack = from_dlpack,
                                       .is_oom = is_oom,
                                       .clear_cache = clear_cache,
                                       .probe = probe};

static ab_status create(const ab_services *given, ab_plugin *plugin, ab_error *error) {
  (void)error;

  abpy_init(given);
  plugin->vtable = &slots;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {.struct_size = sizeof arraybridge_plugin,
                    .abi_major = AB_ABI_MAJOR,
                    .abi_minor = AB_ABI_MINOR,
                    .name = "grids",
                    .version = "1.2.3",
                    .licence = "MIT",
                    .runtime = AB_RUNTIME_PYTHON,
                    .lock = AB_LOCK_PYTHON,
                    .runtime_abi = ABPY_RUNTIME_ABI,
                    .create = create};
