/* SPDX-License-Identifier: MIT
 * Into CuPy: arrays over device memory of others, copies of host memory, and new arrays. */
#include "cupy_plugin.h"

/* ------------------------------------------------------------------ what CuPy takes */

/// CuPy's kernels index with at most this many dimensions.
enum { CUPY_MAX_NDIM = 25 };

typedef struct named_dtype {
  DLDataType dtype;
  const char *name;
} named_dtype;

/* bfloat16 is last: only a CuPy of 14 and later with ml_dtypes has it. */
static const named_dtype names[] = {
    {{kDLFloat, 32, 1}, "float32"},     {{kDLUInt, 8, 1}, "uint8"},           {{kDLUInt, 16, 1}, "uint16"},
    {{kDLBool, 8, 1}, "bool"},          {{kDLUInt, 32, 1}, "uint32"},         {{kDLUInt, 64, 1}, "uint64"},
    {{kDLInt, 8, 1}, "int8"},           {{kDLInt, 16, 1}, "int16"},           {{kDLInt, 32, 1}, "int32"},
    {{kDLInt, 64, 1}, "int64"},         {{kDLFloat, 16, 1}, "float16"},       {{kDLFloat, 64, 1}, "float64"},
    {{kDLComplex, 64, 1}, "complex64"}, {{kDLComplex, 128, 1}, "complex128"}, {{kDLBfloat, 16, 1}, "bfloat16"},
};
enum { NAME_COUNT = sizeof names / sizeof names[0] };

static uint32_t dtype_count(const cupy_framework *cupy) { return NAME_COUNT - (cupy->bfloat16 ? 0 : 1); }

static const char *dtype_name(const cupy_framework *cupy, DLDataType dtype) {
  for (uint32_t i = 0; i < dtype_count(cupy); i++) {
    if (names[i].dtype.code == dtype.code && names[i].dtype.bits == dtype.bits && dtype.lanes == 1)
      return names[i].name;
  }
  return NULL;
}

static const DLDataType *dtype_list(void) {
  static DLDataType list[NAME_COUNT];
  for (size_t i = 0; i < NAME_COUNT; i++) list[i] = names[i].dtype;
  return list;
}

ab_status cupy_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  cupy_framework *cupy = call->self;
  if (slot != AB_SLOT_FROM_DLPACK && slot != AB_SLOT_FROM_HOST) return ab_fail(call, AB_UNSUPPORTED, "unknown slot");
  if (!cupy_has_device(cupy, device)) return ab_fail(call, AB_UNSUPPORTED, "cupy has no arrays there");
  ab_capabilities can = {.struct_size = (uint32_t)sizeof can};
  can.flags = AB_ACCEPTS_BYTE_OFFSET | AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM;
  can.layout = slot == AB_SLOT_FROM_HOST ? AB_LAYOUT_C : AB_LAYOUT_ANY;
  can.max_ndim = CUPY_MAX_NDIM;
  can.dtypes = dtype_list();
  can.dtype_count = dtype_count(cupy);
  can.tensor_devices = UINT64_C(1) << cupy_accelerator(cupy);
  if (!cupy->wears_hip) can.tensor_devices |= UINT64_C(1) << kDLCUDAManaged;
  can.plugin_flags = AB_PLUGIN_DELETER_ANY_THREAD | AB_PLUGIN_RELEASES_BEFORE_DONE | AB_PLUGIN_ALLOC_STREAM_KEYED;
  if (cupy->versioned && slot == AB_SLOT_FROM_DLPACK) can.dlpack_max = (DLPackVersion){1, 0};
  ab_struct_fill(capabilities, &can, (uint32_t)sizeof can);
  return AB_OK;
}

/* ------------------------------------------------------------------ sharing */

static int is_empty(const DLTensor *tensor) {
  for (int32_t axis = 0; axis < tensor->ndim; axis++) {
    if (tensor->shape[axis] == 0) return 1;
  }
  return 0;
}

static ab_status check_import(const cupy_framework *cupy, const ab_call *call, const DLTensor *tensor,
                              DLDevice device) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flags");
  if (!cupy_has_device(cupy, device)) return ab_fail(call, AB_NO_DEVICE, "cupy has no such device");
  const DLDeviceType type = tensor->device.device_type;
  const int managed = type == kDLCUDAManaged && !cupy->wears_hip;
  if (!managed && (type != device.device_type || tensor->device.device_id != device.device_id))
    return ab_fail(call, AB_UNSUPPORTED, "the tensor lies on another device");
  if (dtype_name(cupy, tensor->dtype) == NULL) return ab_fail(call, AB_UNSUPPORTED, "cupy has no such dtype");
  if (tensor->ndim < 0 || tensor->ndim > CUPY_MAX_NDIM) return ab_fail(call, AB_UNSUPPORTED, "too many dimensions");
  // A kernel that loads a misaligned element fails, and takes the whole CUDA context with it.
  const uintptr_t address = (uintptr_t)tensor->data + tensor->byte_offset;
  if (address % (uintptr_t)((tensor->dtype.bits + 7) / 8) != 0 && !is_empty(tensor))
    return ab_fail(call, AB_UNSUPPORTED, "cupy needs elements at multiples of their size");
  return AB_OK;
}

ab_status cupy_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                           void **array) {
  cupy_framework *cupy = call->self;
  ab_status status = check_import(cupy, call, &tensor->dl_tensor, device);
  if (status != AB_OK) return status;
  cupy_scope scope;
  status = cupy_scope_begin(cupy, call, device, &scope);
  if (status != AB_OK) return status;
  abpy_loan loan;
  status = abpy_loan_begin(cupy->services, call, tensor, cupy->versioned, &loan);
  PyObject *result = NULL;
  if (status == AB_OK) {
    // Of a bare capsule cupy.from_dlpack() orders nothing; the core has.
    result = abpy_method(cupy->module, "from_dlpack", loan.capsule);
    abpy_loan_end(&loan, consumed);
    if (result == NULL) status = cupy_failed(call, "cupy.from_dlpack");
  }
  cupy_scope_end(&scope);
  if (status != AB_OK) return status;
  call->report->flags |= AB_REPORT_SHARED;
  *array = result;
  return AB_OK;
}

/* ------------------------------------------------------------------ new arrays, on the current device */

static PyObject *make_empty(const cupy_framework *cupy, const DLTensor *like) {
  PyObject *shape = abpy_shape_tuple(like->ndim, like->shape);
  PyObject *dtype = shape != NULL ? PyUnicode_FromString(dtype_name(cupy, like->dtype)) : NULL;
  PyObject *result = dtype != NULL ? abpy_method(cupy->module, "empty", shape, dtype) : NULL;
  Py_XDECREF(dtype);
  Py_XDECREF(shape);
  return result;
}

/// Copies host memory into a new array, on the stream that its memory was allocated for. Returns 0, or -1.
static int fill(PyObject *array, const DLTensor *from) {
  PyObject *memory = PyObject_GetAttrString(array, "data");
  PyObject *address = memory != NULL ? PyLong_FromVoidPtr((char *)from->data + from->byte_offset) : NULL;
  PyObject *bytes = address != NULL ? PyLong_FromUnsignedLongLong(abpy_tensor_bytes(from)) : NULL;
  PyObject *done = bytes != NULL ? abpy_method(memory, "copy_from_host_async", address, bytes) : NULL;
  Py_XDECREF(bytes);
  Py_XDECREF(address);
  Py_XDECREF(memory);
  if (done == NULL) return -1;
  Py_DECREF(done);
  return 0;
}

static ab_status copy_in(cupy_framework *cupy, const ab_call *call, const DLTensor *tensor, PyObject **array) {
  PyObject *made = make_empty(cupy, tensor);
  if (made == NULL) return cupy_failed(call, "cupy.empty");
  ab_status status = AB_OK;
  if (!is_empty(tensor)) {
    if (fill(made, tensor) != 0) status = cupy_failed(call, "cupy.cuda.MemoryPointer.copy_from_host_async");
    // The host memory is only borrowed: it must have been read when we return, also after a failure.
    const ab_status waited = cupy_wait_here(cupy, call);
    if (status == AB_OK) status = waited;
  }
  if (status == AB_OK) *array = made;
  else Py_DECREF(made);
  return status;
}

ab_status cupy_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  cupy_framework *cupy = call->self;
  if (call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "from_host copies");
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flags");
  if (!cupy_has_device(cupy, device)) return ab_fail(call, AB_NO_DEVICE, "cupy has no such device");
  if (dtype_name(cupy, tensor->dtype) == NULL) return ab_fail(call, AB_UNSUPPORTED, "cupy has no such dtype");
  if (tensor->ndim > CUPY_MAX_NDIM) return ab_fail(call, AB_UNSUPPORTED, "too many dimensions");
  cupy_scope scope;
  ab_status status = cupy_scope_begin(cupy, call, device, &scope);
  if (status != AB_OK) return status;
  PyObject *made = NULL;
  status = copy_in(cupy, call, tensor, &made);
  cupy_scope_end(&scope);
  if (status != AB_OK) return status;
  call->report->flags |= AB_REPORT_COPIED;
  call->report->bytes_copied += abpy_tensor_bytes(tensor);
  *array = made;
  return AB_OK;
}

ab_status cupy_cast(const ab_call *call, void *array, DLDataType dtype, void **result) {
  cupy_framework *cupy = call->self;
  const char *name = dtype_name(cupy, dtype);
  if (name == NULL) return ab_fail(call, AB_UNSUPPORTED, "cupy has no such dtype");
  cupy_scope scope;
  const ab_status status = cupy_scope_begin(cupy, call, cupy_device_of(cupy, array), &scope);
  if (status != AB_OK) return status;
  PyObject *text = PyUnicode_FromString(name);
  PyObject *made = text != NULL ? abpy_method((PyObject *)array, "astype", text) : NULL;
  Py_XDECREF(text);
  cupy_scope_end(&scope);
  if (made == NULL) return cupy_failed(call, "cupy.ndarray.astype");
  call->report->flags |= AB_REPORT_CAST;
  *result = made;
  return AB_OK;
}

ab_status cupy_empty(const ab_call *call, const DLTensor *like, DLDevice device, void **array,
                     DLManagedTensorVersioned **writable) {
  cupy_framework *cupy = call->self;
  if (dtype_name(cupy, like->dtype) == NULL) return ab_fail(call, AB_UNSUPPORTED, "cupy has no such dtype");
  cupy_scope scope;
  ab_status status = cupy_scope_begin(cupy, call, device, &scope);
  if (status != AB_OK) return status;
  PyObject *made = make_empty(cupy, like);
  status = made != NULL ? cupy_share(cupy, call, made, writable) : cupy_failed(call, "cupy.empty");
  cupy_scope_end(&scope);
  if (status == AB_OK) *array = made;
  else Py_XDECREF(made);
  return status;
}
