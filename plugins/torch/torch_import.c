/* SPDX-License-Identifier: MIT
 * Into torch: tensors over memory of others, copies of host memory, and new arrays. */
#include "torch_plugin.h"

/* ------------------------------------------------------------------ what torch takes */

static void state_cpu(ab_capabilities *can) {
  can->layout = AB_LAYOUT_NON_NEGATIVE;
  can->flags = AB_ACCEPTS_BYTE_OFFSET | AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM;
  can->max_ndim = AB_MAX_NDIM;
  can->alignment = 0;
  can->plugin_flags = AB_PLUGIN_DELETER_ANY_THREAD;
}

ab_status torch_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  torch_framework *torch = call->self;
  if (slot != AB_SLOT_FROM_DLPACK && slot != AB_SLOT_FROM_HOST) return ab_fail(call, AB_UNSUPPORTED, "unknown slot");
  if (device.device_type == kDLCPU && device.device_id != 0) return ab_fail(call, AB_UNSUPPORTED, "torch has one host");
  ab_capabilities can = {.struct_size = (uint32_t)sizeof can};
  state_cpu(&can);
  if (device.device_type != kDLCPU) {
    const ab_status status = torch_cuda_wake(torch, call, device);
    if (status == AB_NO_DEVICE) return ab_fail(call, AB_UNSUPPORTED, "torch has no such device");
    if (status != AB_OK) return status;
    can.plugin_flags |= AB_PLUGIN_RELEASES_BEFORE_DONE | AB_PLUGIN_ALLOC_STREAM_KEYED;
  }
  can.dtypes = torch_dtype_list(&can.dtype_count);
  if (slot == AB_SLOT_FROM_HOST) can.layout = AB_LAYOUT_C;
  if (torch->exchange != NULL && slot == AB_SLOT_FROM_DLPACK) can.dlpack_max = torch->exchange->header.version;
  ab_struct_fill(capabilities, &can, (uint32_t)sizeof can);
  return AB_OK;
}

/* ------------------------------------------------------------------ what would kill the process */

static int is_empty(const DLTensor *tensor) {
  for (int32_t axis = 0; axis < tensor->ndim; axis++) {
    if (tensor->shape[axis] == 0) return 1;
  }
  return 0;
}

/// torch aborts the whole process on a negative stride (2.13).
static int has_negative_stride(const DLTensor *tensor) {
  if (tensor->strides == NULL || is_empty(tensor)) return 0;
  for (int32_t axis = 0; axis < tensor->ndim; axis++) {
    if (tensor->strides[axis] < 0 && tensor->shape[axis] > 1) return 1;
  }
  return 0;
}

/// torch's kernels load a complex128 as 16 aligned bytes: off by 8 they die (2.13), although C aligns it to 8.
static int is_misaligned(const DLTensor *tensor) {
  const uintptr_t address = (uintptr_t)tensor->data + tensor->byte_offset;
  return address % (uintptr_t)((tensor->dtype.bits + 7) / 8) != 0 && !is_empty(tensor);
}

static ab_status check_import(torch_framework *torch, const ab_call *call, const DLTensor *tensor, DLDevice device) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flags");
  if (tensor->device.device_type != device.device_type || tensor->device.device_id != device.device_id)
    return ab_fail(call, AB_UNSUPPORTED, "the tensor lies on another device");
  if (torch_dtype_object(tensor->dtype) == NULL) return ab_fail(call, AB_UNSUPPORTED, "torch has no such dtype");
  if (tensor->ndim < 0 || tensor->ndim > AB_MAX_NDIM) return ab_fail(call, AB_UNSUPPORTED, "too many dimensions");
  if (has_negative_stride(tensor)) return ab_fail(call, AB_UNSUPPORTED, "torch has no negative strides");
  if (device.device_type == kDLCPU) {
    if (is_misaligned(tensor)) return ab_fail(call, AB_UNSUPPORTED, "torch needs elements at multiples of their size");
    return AB_OK;
  }
  return torch_cuda_wake(torch, call, device);
}

/* ------------------------------------------------------------------ whether a failed import has taken the tensor */

/* A failing import deletes the tensor in some cases and leaves it in others (2.13: deleted when the shape overflows,
 * left when the dtype is unknown). So its deleter is watched while torch has the tensor. The record is looked up by
 * the thread and not through the tensor, so that an importer which copied the deleter's address calls a valid function.
 */
typedef struct watch {
  DLManagedTensorVersioned *tensor;
  void (*deleter)(DLManagedTensorVersioned *self);
  int ran;
  struct watch *outer;
} watch;

static _Thread_local watch *watched;

static void watching_deleter(DLManagedTensorVersioned *self) {
  watch *now = watched;
  if (now != NULL && now->tensor == self) {
    now->ran = 1;
    if (now->deleter != NULL) now->deleter(self);
  } else if (self->deleter != NULL && self->deleter != watching_deleter) {
    self->deleter(self);
  }
}

static void watch_begin(watch *now, DLManagedTensorVersioned *tensor) {
  *now = (watch){.tensor = tensor, .deleter = tensor->deleter, .outer = watched};
  tensor->deleter = watching_deleter;
  watched = now;
}

static void watch_end(watch *now) {
  watched = now->outer;
  if (!now->ran) now->tensor->deleter = now->deleter;
}

static PyObject *import_by_capsule(torch_framework *torch, const ab_call *call, const watch *now, int32_t *consumed) {
  abpy_loan loan;
  // Every torch takes capsules without a version, not every one the others.
  if (abpy_loan_begin(torch->services, call, now->tensor, 0, &loan) != AB_OK) return NULL;
  PyObject *result = abpy_method(torch->module, "from_dlpack", loan.capsule);
  // Where torch has deleted the tensor although it failed, the capsule still says that it has not.
  if (now->ran && PyCapsule_IsValid(loan.capsule, "dltensor")) PyCapsule_SetName(loan.capsule, "used_dltensor");
  abpy_loan_end(&loan, consumed);
  return result;
}

static ab_status import(torch_framework *torch, const ab_call *call, DLManagedTensorVersioned *tensor,
                        int32_t *consumed, void **array) {
  watch now;
  void *result = NULL;
  watch_begin(&now, tensor);
  if (torch->exchange == NULL) {
    result = import_by_capsule(torch, call, &now, consumed);
  } else if (torch->exchange->managed_tensor_to_py_object_no_sync(tensor, &result) != 0) {
    result = NULL;
  }
  watch_end(&now);
  if (now.ran) *consumed = 1;
  if (result == NULL) return torch_failed(call, "torch's DLPack import");
  *array = result;
  return AB_OK;
}

ab_status torch_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                            void **array) {
  torch_framework *torch = call->self;
  ab_status status = check_import(torch, call, &tensor->dl_tensor, device);
  if (status != AB_OK) return status;
  void *made = NULL;
  status = import(torch, call, tensor, consumed, &made);
  if (status != AB_OK) return status;
  call->report->flags |= AB_REPORT_SHARED;
  *array = made;
  return AB_OK;
}

/* ------------------------------------------------------------------ from the host */

static void nothing_to_drop(void *owner) { (void)owner; }

/// Gives a torch tensor over memory that is only borrowed; the caller lets it go before it returns.
static ab_status borrow(torch_framework *torch, const ab_call *call, const DLTensor *from, void **array) {
  const ab_services *services = torch->services;
  DLManagedTensorVersioned *tensor = NULL;
  ab_status status = services->tensor_new(services->core, from->ndim, 0, NULL, nothing_to_drop, &tensor);
  if (status != AB_OK) return ab_fail(call, status, "no memory for a tensor");
  DLTensor *to = &tensor->dl_tensor;
  to->data = (char *)from->data + from->byte_offset;
  to->device = (DLDevice){kDLCPU, 0};
  to->dtype = from->dtype;
  int64_t stride = 1;
  for (int32_t axis = from->ndim - 1; axis >= 0; axis--) {
    to->shape[axis] = from->shape[axis];
    to->strides[axis] = stride;
    stride *= from->shape[axis] > 1 ? from->shape[axis] : 1;
  }
  int32_t consumed = 0;
  status = import(torch, call, tensor, &consumed, array);
  if (status != AB_OK && !consumed) tensor->deleter(tensor);
  return status;
}

/// function(*arguments, **{name: value, …}); values are borrowed, NULL ends the list. New reference or NULL.
static PyObject *call_with(PyObject *function, PyObject *arguments, const char *name1, PyObject *value1,
                           const char *name2, PyObject *value2) {
  PyObject *names = PyDict_New();
  PyObject *result = NULL;
  if (names != NULL && PyDict_SetItemString(names, name1, value1) == 0 &&
      PyDict_SetItemString(names, name2, value2) == 0)
    result = PyObject_Call(function, arguments, names);
  Py_XDECREF(names);
  return result;
}

static PyObject *copy_to(const torch_framework *torch, PyObject *tensor, DLDevice device) {
  PyObject *method = PyObject_GetAttrString(tensor, "to");
  PyObject *where = method != NULL ? torch_device_object(torch, device) : NULL;
  PyObject *none = where != NULL ? PyTuple_New(0) : NULL;
  PyObject *result = none != NULL ? call_with(method, none, "device", where, "copy", Py_True) : NULL;
  Py_XDECREF(none);
  Py_XDECREF(where);
  Py_XDECREF(method);
  return result;
}

ab_status torch_from_host(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  torch_framework *torch = call->self;
  if (call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "from_host copies");
  const DLDevice host = {kDLCPU, 0};
  DLTensor here = *tensor;
  here.device = host;  // pinned memory is host memory to torch
  ab_status status = check_import(torch, call, &here, host);
  if (status == AB_OK && device.device_type != kDLCPU) status = torch_cuda_wake(torch, call, device);
  void *borrowed = NULL;
  if (status == AB_OK) status = borrow(torch, call, &here, &borrowed);
  if (status != AB_OK) return status;
  PyObject *result = copy_to(torch, borrowed, device);
  Py_DECREF((PyObject *)borrowed);
  if (result == NULL) return torch_failed(call, "torch.Tensor.to");
  call->report->flags |= AB_REPORT_COPIED;
  call->report->bytes_copied += abpy_tensor_bytes(tensor);
  *array = result;
  return AB_OK;
}

/* ------------------------------------------------------------------ new arrays */

ab_status torch_cast(const ab_call *call, void *array, DLDataType dtype, void **result) {
  PyObject *object = torch_dtype_object(dtype);
  if (object == NULL) return ab_fail(call, AB_UNSUPPORTED, "torch has no such dtype");
  PyObject *made = abpy_method((PyObject *)array, "to", object);
  if (made == NULL) return torch_failed(call, "torch.Tensor.to");
  call->report->flags |= AB_REPORT_CAST;
  *result = made;
  return AB_OK;
}

static PyObject *make_empty(const torch_framework *torch, const DLTensor *like, DLDevice device) {
  PyObject *function = PyObject_GetAttrString(torch->module, "empty");
  PyObject *shape = function != NULL ? abpy_shape_tuple(like->ndim, like->shape) : NULL;
  PyObject *arguments = shape != NULL ? PyTuple_Pack(1, shape) : NULL;
  PyObject *where = arguments != NULL ? torch_device_object(torch, device) : NULL;
  PyObject *result =
      where != NULL ? call_with(function, arguments, "dtype", torch_dtype_object(like->dtype), "device", where) : NULL;
  Py_XDECREF(where);
  Py_XDECREF(arguments);
  Py_XDECREF(shape);
  Py_XDECREF(function);
  return result;
}

ab_status torch_empty(const ab_call *call, const DLTensor *like, DLDevice device, void **array,
                      DLManagedTensorVersioned **writable) {
  torch_framework *torch = call->self;
  if (torch_dtype_object(like->dtype) == NULL) return ab_fail(call, AB_UNSUPPORTED, "torch has no such dtype");
  if (device.device_type != kDLCPU) {
    const ab_status status = torch_cuda_wake(torch, call, device);
    if (status != AB_OK) return status;
  }
  PyObject *made = make_empty(torch, like, device);
  if (made == NULL) return torch_failed(call, "torch.empty");
  torch_sight sight;
  ab_status status = torch_look(torch, call, made, TORCH_WITH_STORAGE, &sight);
  if (status == AB_OK) {
    // Under a FakeTensorMode torch.empty() gives an array without memory.
    status = sight.why_not == NULL ? torch_share(torch, call, &sight, writable)
                                   : ab_fail(call, AB_UNSUPPORTED, "%s", sight.why_not);
    torch_sight_end(&sight);
  }
  if (status == AB_OK) *array = made;
  else Py_DECREF(made);
  return status;
}
