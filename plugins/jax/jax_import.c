/* SPDX-License-Identifier: MIT
 * Tensors that become JAX's arrays and keep their memory. */
#include "jax_plugin.h"

/* ------------------------------------------------------------------ jaxlib's own call */

/// The stream on which the tensor is ready, as jaxlib wants it: a number, or None. New reference.
static PyObject *ready_stream(const ab_call *call) {
  const ab_stream *stream = call->stream;
  if (stream == NULL || stream->kind != AB_STREAM_HANDLE) return Py_BuildValue("");
  return PyLong_FromVoidPtr(stream->handle);
}

static PyObject *import_private(const ab_call *call, PyObject *capsule, PyObject *device, DLDevice number) {
  PyObject *stream = ready_stream(call);
  PyObject *type = PyLong_FromLong(number.device_type);
  PyObject *array = NULL;
  if (stream != NULL && type != NULL) {
    // copy=False: never a silent copy of memory that is not aligned as XLA wants it.
    array = PyObject_CallFunctionObjArgs(jax_get()->import_buffer, capsule, device, stream, Py_False, type, NULL);
  }
  Py_XDECREF(type);
  Py_XDECREF(stream);
  return array;
}

/* ------------------------------------------------------------------ the public call */

/* It wants an object with two methods. They are built-in functions bound to what they give. */

static PyObject *give_capsule(PyObject *self, PyObject *arguments, PyObject *keywords) {
  (void)arguments;
  (void)keywords;
  return PyTuple_Size(self) == 2 ? PySequence_GetItem(self, 0) : NULL;
}

static PyObject *give_device(PyObject *self, PyObject *unused) {
  (void)unused;
  return PySequence_GetItem(self, 1);
}

static PyMethodDef capsule_method = {"__dlpack__", (PyCFunction)(void (*)(void))give_capsule,
                                     METH_VARARGS | METH_KEYWORDS, NULL};
static PyMethodDef device_method = {"__dlpack_device__", give_device, METH_NOARGS, NULL};

/// types.SimpleNamespace(__dlpack__=…, __dlpack_device__=…). New reference, or NULL with an exception.
static PyObject *make_producer(PyObject *capsule, DLDevice number) {
  PyObject *types = PyImport_ImportModule("types");
  PyObject *namespace_type = types != NULL ? PyObject_GetAttrString(types, "SimpleNamespace") : NULL;
  PyObject *given = Py_BuildValue("(O(ii))", capsule, (int)number.device_type, (int)number.device_id);
  PyObject *first = given != NULL ? PyCFunction_NewEx(&capsule_method, given, NULL) : NULL;
  PyObject *second = given != NULL ? PyCFunction_NewEx(&device_method, given, NULL) : NULL;
  PyObject *methods = NULL, *producer = NULL;
  if (first != NULL && second != NULL) {
    methods = Py_BuildValue("{s:O,s:O}", capsule_method.ml_name, first, device_method.ml_name, second);
  }
  if (namespace_type != NULL && methods != NULL) {
    producer = PyObject_Call(namespace_type, jax_get()->no_arguments, methods);
  }
  Py_XDECREF(methods);
  Py_XDECREF(second);
  Py_XDECREF(first);
  Py_XDECREF(given);
  Py_XDECREF(namespace_type);
  Py_XDECREF(types);
  return producer;
}

static PyObject *import_public(PyObject *capsule, DLDevice number) {
  PyObject *producer = make_producer(capsule, number);
  PyObject *scope = producer != NULL ? jax_x64_enter() : NULL;
  PyObject *array = NULL;
  if (scope != NULL) array = PyObject_CallFunctionObjArgs(jax_get()->from_dlpack, producer, NULL);
  if (scope != NULL) jax_x64_leave(scope);
  Py_XDECREF(producer);
  return array;
}

/* ------------------------------------------------------------------ the slot */

/// Where the elements lie; 0 if JAX does not say.
static uintptr_t address_of(PyObject *array) {
  PyObject *number = jax_call_method(array, "unsafe_buffer_pointer");
  void *address = number != NULL ? PyLong_AsVoidPtr(number) : NULL;
  abpy_clear();
  Py_XDECREF(number);
  return (uintptr_t)address;
}

/// What the public call did: it copies, without saying so, what JAX cannot share. `wanted` is the tensor's address.
static ab_status report_public(const ab_call *call, PyObject *array, uintptr_t wanted, uint64_t bytes) {
  const int copied = bytes > 0 && address_of(array) != wanted;
  if (copied && call->flags & AB_CALL_NEVER_COPY) return ab_fail(call, AB_WOULD_COPY, "JAX cannot share this memory");
  call->report->flags |= copied ? AB_REPORT_COPIED : AB_REPORT_SHARED;
  if (copied) call->report->bytes_copied = bytes;
  return AB_OK;
}

static ab_status lend(const ab_call *call, abpy_loan *loan, PyObject *device, DLDevice number, PyObject **array) {
  const DLTensor *tensor = &loan->tensor->dl_tensor;
  const uintptr_t address = (uintptr_t)tensor->data + tensor->byte_offset;
  const uint64_t bytes = abpy_tensor_bytes(tensor);
  const int private = jax_get()->import_buffer != NULL;
  // From here on `tensor` may be gone at any time.
  *array = private ? import_private(call, loan->capsule, device, number) : import_public(loan->capsule, number);
  if (*array == NULL) return jax_error(call, AB_UNSUPPORTED, "JAX's DLPack import");
  if (!private) return report_public(call, *array, address, bytes);
  call->report->flags |= AB_REPORT_SHARED;
  return AB_OK;
}

static int is_empty(const DLTensor *tensor) {
  for (int32_t axis = 0; axis < tensor->ndim; axis++)
    if (tensor->shape[axis] == 0) return 1;
  return 0;
}

ab_status jax_from_dlpack(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                          void **array) {
  if (!AB_CALL_UNDERSTOOD(call, AB_CALL_NEVER_COPY)) return ab_fail(call, AB_UNSUPPORTED, "unknown flag of the call");
  PyObject *target = jax_device_find(call, device);
  if (target == NULL) return call->error->status;
  // XLA asks for alignment even where there is nothing to align (jaxlib 0.10).
  if (is_empty(&tensor->dl_tensor)) tensor->dl_tensor.data = NULL;
  PyObject *imported = NULL;
  abpy_loan loan;
  ab_status status = abpy_loan_begin(jax_services, call, tensor, 0, &loan);
  if (status == AB_OK) {
    status = lend(call, &loan, target, device, &imported);
    abpy_loan_end(&loan, consumed);
  }
  Py_DECREF(target);
  if (status == AB_OK) *array = imported;
  else Py_XDECREF(imported);
  return status;
}
