/* SPDX-License-Identifier: MIT
 * Finding torch: its types without importing it, then what the slots need of it. And reading its errors. */
#include "torch_plugin.h"

#include <stdlib.h>

/* ------------------------------------------------------------------ types, without importing */

int torch_find_types(torch_framework *torch) {
  if (torch->tensor != NULL && torch->parameter != NULL) return 1;
  if (torch->tensor == NULL) torch->tensor = abpy_type("torch", "Tensor");
  if (torch->tensor != NULL) torch->parameter = abpy_type("torch", "nn.Parameter");
  return torch->tensor != NULL;
}

/* ------------------------------------------------------------------ the table */

/// The C exchange table, if this torch has one of a kind we know.
static const DLPackExchangeAPI *find_exchange(PyTypeObject *tensor) {
  // For tests: how the plugin behaves with a torch that has no table.
  const char *public_only = getenv("ARRAYBRIDGE_TORCH_PUBLIC");
  if (public_only != NULL && strcmp(public_only, "1") == 0) return NULL;
  PyObject *capsule = abpy_attribute((PyObject *)tensor, "__dlpack_c_exchange_api__");
  if (capsule == NULL) return NULL;
  const DLPackExchangeAPIHeader *header = NULL;
  if (PyCapsule_IsValid(capsule, "dlpack_exchange_api")) header = PyCapsule_GetPointer(capsule, "dlpack_exchange_api");
  Py_DECREF(capsule);
  while (header != NULL && header->version.major != DLPACK_MAJOR_VERSION) header = header->prev_api;
  const DLPackExchangeAPI *exchange = (const DLPackExchangeAPI *)header;
  if (exchange == NULL || exchange->dltensor_from_py_object_no_sync == NULL ||
      exchange->managed_tensor_to_py_object_no_sync == NULL)
    return NULL;
  return exchange;
}

static int is_hip(PyObject *module) {
  PyObject *version = abpy_attribute(module, "version.hip");
  const int hip = version != NULL && version != Py_None;
  Py_XDECREF(version);
  return hip;
}

static void fill_table(torch_framework *torch) {
  PyObject *module = torch->module;
  PyObject *tensor = (PyObject *)torch->tensor;
  torch->cuda = abpy_attribute(module, "cuda");
  torch->is_neg = abpy_attribute(tensor, "is_neg");
  torch->is_conj = abpy_attribute(tensor, "is_conj");
  torch->untyped_storage = abpy_attribute(tensor, "untyped_storage");
  torch->as_subclass = abpy_attribute(tensor, "as_subclass");
  torch->raw_functions = abpy_attribute(module, "_C.DisableTorchFunctionSubclass");
  torch->plain_dispatch = abpy_attribute(tensor, "__torch_dispatch__");
  torch->uninitialized = abpy_attribute(module, "nn.parameter.UninitializedTensorMixin");
  torch->is_functorch = abpy_attribute(module, "_C._functorch.is_functorch_wrapped_tensor");
  torch->name_dtype = PyUnicode_InternFromString("dtype");
  torch->name_requires_grad = PyUnicode_InternFromString("requires_grad");
  torch->wears_hip = is_hip(module);
  torch->exchange = find_exchange(torch->tensor);
  abpy_clear();
}

static int table_complete(const torch_framework *torch) {
  return torch->cuda != NULL && torch->is_neg != NULL && torch->is_conj != NULL && torch->untyped_storage != NULL &&
         torch->as_subclass != NULL && torch->plain_dispatch != NULL && torch->name_dtype != NULL &&
         torch->name_requires_grad != NULL;
}

ab_status torch_bring_up(torch_framework *torch, const ab_call *call) {
  PyObject *module = abpy_import(call, "torch", "torch");
  if (module == NULL) return call->error->status;
  // A second thread may have been quicker while the import gave up the GIL.
  if (torch->started) {
    Py_DECREF(module);
    return AB_OK;
  }
  torch->module = module;
  if (!torch_find_types(torch) || torch->parameter == NULL)
    return ab_fail(call, AB_UNAVAILABLE, "the module named torch has no Tensor and nn.Parameter");
  fill_table(torch);
  torch_dtype_bring_up(module);
  const ab_status status = abpy_stopped(call);
  if (status != AB_OK) return status;
  if (!table_complete(torch)) {
    ab_fail(call, AB_UNAVAILABLE, "this torch is too old: it lacks is_neg, as_subclass or untyped_storage");
    ab_error_hint(call->error, "pip install 'torch>=2.0'");
    return AB_UNAVAILABLE;
  }
  torch->started = 1;
  return AB_OK;
}

/* ------------------------------------------------------------------ errors */

static const abpy_signature out_of_memory[] = {
    {"torch", "OutOfMemoryError", NULL, NULL, AB_OOM},
    {"torch.cuda", "OutOfMemoryError", NULL, NULL, AB_OOM},  // its home before torch 2.5
    {"torch", "AcceleratorError", "CUDA error: out of memory", NULL, AB_OOM},
    {"torch", "AcceleratorError", "HIP error: out of memory", NULL, AB_OOM},
    {"builtins", "RuntimeError", "CUDA error: out of memory", NULL, AB_OOM},
    {"builtins", "RuntimeError", "HIP error: out of memory", NULL, AB_OOM},
    {"builtins", "RuntimeError", "CUDA out of memory. ", NULL, AB_OOM},
    {"builtins", "RuntimeError", "MPS backend out of memory", NULL, AB_OOM},
    {"builtins", "RuntimeError", "CUDA error: CUBLAS_STATUS_ALLOC_FAILED", NULL, AB_OOM},
    {"builtins", "RuntimeError", "cuDNN error: CUDNN_STATUS_ALLOC_FAILED", NULL, AB_OOM},
    {"builtins", "RuntimeError", "cuFFT error: CUFFT_ALLOC_FAILED", NULL, AB_OOM},
    {"builtins", "RuntimeError", "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED", NULL, AB_OOM},
    // "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to …"
    {"builtins", "RuntimeError", "[enforce fail at ", "DefaultCPUAllocator: can't allocate memory", AB_OOM},
    {"builtins", "RuntimeError", "[enforce fail at ", "DefaultCPUAllocator: not enough memory", AB_OOM},
};

ab_status torch_is_oom(void *self, const ab_failure *failure) {
  (void)self;
  return abpy_match_failure(failure, out_of_memory, sizeof out_of_memory / sizeof out_of_memory[0]);
}

ab_status torch_failed(const ab_call *call, const char *what) {
  return abpy_error_matched(call, AB_FRAMEWORK, what, out_of_memory, sizeof out_of_memory / sizeof out_of_memory[0]);
}
