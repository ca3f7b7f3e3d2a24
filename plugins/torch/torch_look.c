/* SPDX-License-Identifier: MIT
 * Looking at a tensor: is it one, is it plain, where do its elements lie, are its bytes its values. */
#include "torch_plugin.h"

int32_t torch_recognizes(void *self, void *object, int32_t *holds_for_type) {
  torch_framework *torch = self;
  if (!torch_find_types(torch)) return 0;
  PyTypeObject *type = Py_TYPE((PyObject *)object);
  if (type == torch->tensor || type == torch->parameter) {
    *holds_for_type = 1;
    return 1;
  }
  return PyType_IsSubtype(type, torch->tensor);
}

/* ------------------------------------------------------------------ subclasses */

/// `array` as an exact torch.Tensor over the same memory, without its class's __torch_function__. New reference.
static PyObject *strip_subclass(const torch_framework *torch, PyObject *array) {
  PyObject *guard = NULL;
  if (torch->raw_functions != NULL) {
    guard = PyObject_CallObject(torch->raw_functions, NULL);
    PyObject *entered = guard != NULL ? abpy_method(guard, "__enter__") : NULL;
    Py_XDECREF(entered);
    if (entered == NULL) {
      Py_XDECREF(guard);
      return NULL;
    }
  }
  PyObject *plain = PyObject_CallFunctionObjArgs(torch->as_subclass, array, (PyObject *)torch->tensor, NULL);
  if (guard != NULL) {
    PyObject *type = NULL, *value = NULL, *traceback = NULL;
    PyErr_Fetch(&type, &value, &traceback);
    PyObject *left = abpy_method(guard, "__exit__", Py_None, Py_None, Py_None);
    if (left == NULL) abpy_clear();
    Py_XDECREF(left);
    Py_DECREF(guard);
    PyErr_Restore(type, value, traceback);
  }
  return plain;
}

/// 1 if the class computes by itself: its values may lie anywhere, or nowhere.
static int has_own_dispatch(const torch_framework *torch, PyTypeObject *type) {
  PyObject *dispatch = abpy_attribute((PyObject *)type, "__torch_dispatch__");
  const int own = dispatch != torch->plain_dispatch;
  Py_XDECREF(dispatch);
  return own;
}

static void name_subclass(const ab_call *call, PyTypeObject *type) {
  PyObject *name = PyType_GetQualName(type);
  const char *text = name != NULL ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
  if (text == NULL) abpy_clear();
  ab_fail(call, AB_OK, "%.100s is a tensor subclass with its own __torch_dispatch__: its values may lie elsewhere",
          text != NULL ? text : "this");
  Py_XDECREF(name);
}

static ab_status look_at_subclass(const torch_framework *torch, const ab_call *call, PyObject *array,
                                  torch_sight *sight) {
  if (torch->uninitialized != NULL && PyObject_IsInstance(array, torch->uninitialized) == 1) {
    sight->why_not = "an uninitialised parameter has no shape yet";
    return AB_OK;
  }
  abpy_clear();
  if (has_own_dispatch(torch, Py_TYPE(array))) {
    sight->why_not = "a tensor subclass with its own __torch_dispatch__: its values may lie elsewhere";
    name_subclass(call, Py_TYPE(array));
    return AB_OK;
  }
  sight->plain = strip_subclass(torch, array);
  return sight->plain != NULL ? AB_OK : torch_failed(call, "torch.Tensor.as_subclass");
}

/* ------------------------------------------------------------------ why not */

/// The truth of object.name, called if it is a method; 0 if it cannot be told.
static int is_true(PyObject *object, const char *name) {
  PyObject *value = abpy_attribute(object, name);
  if (value != NULL && PyCallable_Check(value)) {
    PyObject *result = PyObject_CallObject(value, NULL);
    Py_DECREF(value);
    value = result;
  }
  const int truth = value != NULL && PyObject_IsTrue(value) == 1;
  abpy_clear();
  Py_XDECREF(value);
  return truth;
}

static int is_wrapped(const torch_framework *torch, PyObject *tensor) {
  if (torch->is_functorch == NULL) return 0;
  PyObject *answer = PyObject_CallFunctionObjArgs(torch->is_functorch, tensor, NULL);
  const int wrapped = answer != NULL && PyObject_IsTrue(answer) == 1;
  abpy_clear();
  Py_XDECREF(answer);
  return wrapped;
}

static int has_foreign_dtype(const torch_framework *torch, PyObject *tensor) {
  PyObject *dtype = PyObject_GetAttr(tensor, torch->name_dtype);
  abpy_clear();
  Py_XDECREF(dtype);
  return torch_dtype_of(dtype).bits == 0;
}

/// Finds a reason for a tensor whose elements cannot be reached. Slow; asked only after the quick way has failed.
static const char *explain(const torch_framework *torch, PyObject *tensor) {
  if (is_wrapped(torch, tensor))
    return "inside torch.vmap, torch.func.grad or jvp a tensor stands for values not yet known";
  if (is_true(tensor, "is_nested"))
    return "a nested (ragged) tensor has no single shape: call .unbind() or .to_padded_tensor(0) first";
  if (is_true(tensor, "is_quantized")) return "a quantised tensor: call .dequantize() or .int_repr() first";
  if (is_true(tensor, "is_mkldnn")) return "the elements are in oneDNN's own layout: call .to_dense() first";
  if (is_true(tensor, "is_sparse") || is_true(tensor, "is_sparse_csr"))
    return "a sparse tensor: call .to_dense() first";
  PyObject *layout = abpy_attribute(tensor, "layout");
  PyObject *strided = abpy_attribute(torch->module, "strided");
  const int sparse = layout != NULL && strided != NULL && layout != strided;
  Py_XDECREF(layout);
  Py_XDECREF(strided);
  if (sparse) return "a sparse tensor: call .to_dense() first";
  if (has_foreign_dtype(torch, tensor))
    return "no other framework has this dtype of torch; cast it first, as x.to(torch.float32)";
  if (is_true(tensor, "is_meta"))
    return "a meta tensor has a shape but no data; load or compute it on a real device first";
  if (is_true(tensor, "_is_zerotensor"))
    return "a zero tensor of forward-mode autograd has no memory: call .clone() first";
  return "the tensor has no memory of its own (fake, functional, or its storage was freed)";
}

/* ------------------------------------------------------------------ the elements, by public attributes */

static int fill_extents(PyObject *tensor, const char *name, int called, int64_t *values, int32_t *count) {
  PyObject *tuple = called ? abpy_method(tensor, name) : PyObject_GetAttrString(tensor, name);
  if (tuple == NULL) return -1;
  const Py_ssize_t size = PyTuple_Size(tuple);
  *count = (int32_t)size;
  for (Py_ssize_t i = 0; i < size && i < AB_MAX_NDIM; i++) {
    PyObject *value = PyTuple_GetItem(tuple, i);
    values[i] = value != NULL ? PyLong_AsLongLong(value) : -1;
  }
  Py_DECREF(tuple);
  return PyErr_Occurred() ? -1 : 0;
}

static int fill_device(const torch_framework *torch, PyObject *tensor, DLDevice *device) {
  PyObject *object = PyObject_GetAttrString(tensor, "device");
  PyObject *type = object != NULL ? PyObject_GetAttrString(object, "type") : NULL;
  PyObject *index = type != NULL ? PyObject_GetAttrString(object, "index") : NULL;
  const char *text = type != NULL ? PyUnicode_AsUTF8AndSize(type, NULL) : NULL;
  const int host = text != NULL && strcmp(text, "cpu") == 0;
  const int cuda = text != NULL && strcmp(text, "cuda") == 0;
  const int nowhere = text == NULL || strcmp(text, "meta") == 0;
  device->device_type = host ? kDLCPU : cuda ? torch_accelerator(torch) : kDLExtDev;
  device->device_id = index != NULL && PyLong_Check(index) ? (int32_t)PyLong_AsLong(index) : 0;
  Py_XDECREF(index);
  Py_XDECREF(type);
  Py_XDECREF(object);
  return nowhere || PyErr_Occurred() ? -1 : 0;
}

static int look_public(const torch_framework *torch, PyObject *tensor, torch_sight *sight) {
  DLTensor *to = &sight->tensor;
  to->shape = sight->extents;
  to->strides = sight->extents + AB_MAX_NDIM;
  int32_t strides = 0;
  if (fill_extents(tensor, "shape", 0, to->shape, &to->ndim) != 0) return -1;
  if (fill_extents(tensor, "stride", 1, to->strides, &strides) != 0) return -1;
  if (fill_device(torch, tensor, &to->device) != 0) return -1;
  PyObject *address = abpy_method(tensor, "data_ptr");
  to->data = address != NULL ? PyLong_AsVoidPtr(address) : NULL;
  Py_XDECREF(address);
  PyObject *dtype = address != NULL ? PyObject_GetAttr(tensor, torch->name_dtype) : NULL;
  to->dtype = torch_dtype_of(dtype);
  Py_XDECREF(dtype);
  return PyErr_Occurred() ? -1 : 0;
}

/* ------------------------------------------------------------------ the elements */

/// The answer of an unbound method without arguments: 1, 0, or -1 with the exception pending.
static int ask(PyObject *method, PyObject *tensor) {
  PyObject *answer = abpy_call_one(method, tensor);
  if (answer == NULL) return -1;
  const int yes = answer == Py_True || (answer != Py_False && PyObject_IsTrue(answer) == 1);
  Py_DECREF(answer);
  return yes;
}

static int ask_gradient(const torch_framework *torch, PyObject *tensor) {
  PyObject *value = PyObject_GetAttr(tensor, torch->name_requires_grad);
  if (value == NULL) return -1;
  Py_DECREF(value);
  return value == Py_True;
}

/// What gives up the GIL comes first: shape and strides are torch's own and stay valid only while it is held.
static int ask_flags(torch_framework *torch, uint32_t wanted, torch_sight *sight) {
  const int negated = ask(torch->is_neg, sight->plain);
  if (negated < 0) return -1;
  if (negated) sight->info |= AB_INFO_NEGATED;
  if (wanted & TORCH_WITH_GRADIENT) {
    const int gradient = ask_gradient(torch, sight->plain);
    if (gradient < 0) return -1;
    if (gradient) sight->info |= AB_INFO_GRADIENT;
  }
  if (!(wanted & TORCH_WITH_STORAGE)) return 0;
  sight->storage = abpy_call_one(torch->untyped_storage, sight->plain);
  return sight->storage != NULL ? 0 : -1;
}

static int look_once(torch_framework *torch, torch_sight *sight) {
  if (torch->exchange == NULL) return look_public(torch, sight->plain, sight);
  return torch->exchange->dltensor_from_py_object_no_sync(sight->plain, &sight->tensor);
}

static int has_elements(const DLTensor *tensor) {
  for (int32_t axis = 0; axis < tensor->ndim; axis++) {
    if (tensor->shape[axis] == 0) return 0;
  }
  return 1;
}

/// torch writes uint1 … uint7 and int1 … int7 into DLPack as whole bytes (2.13); asking the object costs only these
/// two. -1 with the exception pending.
static int is_truly_byte(const torch_framework *torch, const torch_sight *sight) {
  const DLDataType dtype = sight->tensor.dtype;
  if (dtype.bits != 8 || dtype.code > kDLUInt) return 1;
  PyObject *object = PyObject_GetAttr(sight->plain, torch->name_dtype);
  if (object == NULL) return -1;
  Py_DECREF(object);
  return object == torch_dtype_object(dtype);
}

static int look_at_elements(torch_framework *torch, uint32_t wanted, torch_sight *sight) {
  if (ask_flags(torch, wanted, sight) != 0 || look_once(torch, sight) != 0) return -1;
  if (sight->tensor.dtype.code == kDLComplex) {
    const int conjugated = ask(torch->is_conj, sight->plain);
    if (conjugated < 0 || look_once(torch, sight) != 0) return -1;
    if (conjugated) sight->info |= AB_INFO_CONJUGATED;
  }
  const int truly_byte = is_truly_byte(torch, sight);
  if (truly_byte < 0) return -1;
  if (sight->tensor.ndim > AB_MAX_NDIM) sight->why_not = "more than 64 dimensions";
  else if (sight->tensor.data == NULL && has_elements(&sight->tensor)) sight->why_not = explain(torch, sight->plain);
  else if (torch_dtype_object(sight->tensor.dtype) == NULL || !truly_byte)
    sight->why_not = explain(torch, sight->plain);
  return 0;
}

void torch_sight_end(torch_sight *sight) {
  Py_XDECREF(sight->storage);
  Py_XDECREF(sight->plain);
}

static void sight_begin(torch_sight *sight) {
  sight->plain = NULL;
  sight->storage = NULL;
  sight->info = 0;
  sight->why_not = NULL;
  memset(&sight->tensor, 0, sizeof sight->tensor);
}

ab_status torch_look(torch_framework *torch, const ab_call *call, PyObject *array, uint32_t wanted,
                     torch_sight *sight) {
  sight_begin(sight);
  PyTypeObject *type = Py_TYPE(array);
  if (type == torch->tensor || type == torch->parameter) {
    Py_INCREF(array);
    sight->plain = array;
  } else {
    const ab_status status = look_at_subclass(torch, call, array, sight);
    if (status != AB_OK || sight->why_not != NULL) return status;
  }
  if (look_at_elements(torch, wanted, sight) == 0) return AB_OK;
  // Sparse, nested, meta and traced tensors raise here, each with another text: say it in our words, of which torch's
  // exception is the cause.
  const ab_status status = torch_failed(call, "looking at the tensor");
  if (status == AB_CANCELLED || status == AB_OOM) {
    torch_sight_end(sight);
    return status;
  }
  ab_error_set(call->error, AB_OK, "%s", "");
  sight->why_not = explain(torch, sight->plain);
  return AB_OK;
}

const char *torch_unshareable(const torch_framework *torch, const torch_sight *sight) {
  if (sight->why_not != NULL) return sight->why_not;
  if (sight->info & AB_INFO_CONJUGATED) return "a lazily conjugated view: its bytes are not its values";
  if (sight->info & AB_INFO_NEGATED) return "a lazily negated view: its bytes are not its values";
  const DLDeviceType type = sight->tensor.device.device_type;
  if (type == kDLCPU || type == torch_accelerator(torch)) return NULL;
  return "memory of this kind of device is not shared; it goes through the host";
}

/* ------------------------------------------------------------------ describe */

static void describe_extents(const torch_sight *sight, ab_array_info *info) {
  const DLTensor *from = &sight->tensor;
  const int64_t itemsize = (from->dtype.bits + 7) / 8;
  info->ndim = from->ndim;
  for (int32_t axis = 0; axis < from->ndim; axis++) {
    info->shape[axis] = from->shape[axis];
    info->strides[axis] = from->strides[axis] * itemsize;
  }
}

static void describe_sight(const torch_framework *torch, const torch_sight *sight, ab_array_info *info) {
  const DLTensor *from = &sight->tensor;
  const int on_host = from->device.device_type == kDLCPU;
  info->flags = sight->info | (on_host ? AB_INFO_HOST_ACCESSIBLE : 0);
  info->dtype = from->dtype;
  info->device = from->device;
  info->mutability = AB_MUTABLE;
  describe_extents(sight, info);
  info->why_not = torch_unshareable(torch, sight);
  if (info->why_not != NULL) info->flags |= AB_INFO_NOT_SHAREABLE;
  // Work may be pending on the memory of a device: its address is for to_dlpack() to give.
  if (on_host && info->why_not == NULL && has_elements(from)) info->data = (char *)from->data + from->byte_offset;
  if (!on_host && from->device.device_type == torch_accelerator(torch))
    torch_cuda_uuid(torch, from->device.device_id, info->device_uuid);
}

static void describe_refusal(const torch_sight *sight, ab_array_info *info) {
  info->flags = AB_INFO_NOT_CONVERTIBLE | AB_INFO_NOT_SHAREABLE;
  info->why_not = sight->why_not;
  info->ndim = 0;
}

ab_status torch_describe(const ab_call *call, void *array, ab_array_info *info) {
  torch_framework *torch = call->self;
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flags");
  const int with_tensor = (call->flags & AB_CALL_WANT_TENSOR) != 0;
  const uint32_t wanted =
      (with_tensor ? TORCH_WITH_STORAGE : 0) | (call->flags & AB_CALL_WANT_REPORT ? TORCH_WITH_GRADIENT : 0);
  torch_sight sight;
  ab_status status = torch_look(torch, call, array, wanted, &sight);
  if (status != AB_OK) return status;
  if (sight.why_not != NULL) {
    describe_refusal(&sight, info);
  } else {
    describe_sight(torch, &sight, info);
    if (with_tensor && info->why_not == NULL && sight.tensor.device.device_type == kDLCPU)
      status = torch_share(torch, call, &sight, &info->tensor);
  }
  torch_sight_end(&sight);
  return status;
}
