/* SPDX-License-Identifier: MIT
 * Finding CuPy: its type without importing it, then what the slots need of it. And reading its errors. */
#include "cupy_plugin.h"

#include <dlfcn.h>
#include <stdlib.h>

int cupy_find_type(cupy_framework *cupy) {
  if (cupy->ndarray == NULL) cupy->ndarray = abpy_type("cupy", "ndarray");
  return cupy->ndarray != NULL;
}

/* ------------------------------------------------------------------ is there any use in importing it */

int cupy_driver_present(void) {
  static const char *const drivers[] = {"libcuda.so.1", "libamdhip64.so", "libamdhip64.so.7", "libamdhip64.so.6"};
  for (size_t i = 0; i < sizeof drivers / sizeof drivers[0]; i++) {
    void *handle = dlopen(drivers[i], RTLD_LAZY | RTLD_LOCAL);
    if (handle == NULL) continue;
    dlclose(handle);
    return 1;
  }
  return 0;
}

/// Asks the driver, through CuPy, how many devices it has. Returns: AB_OK with one or more; AB_UNAVAILABLE.
static ab_status count_devices(const ab_call *call, PyObject *runtime, int32_t *count) {
  PyObject *value = abpy_method(runtime, "getDeviceCount");
  const long number = value != NULL ? PyLong_AsLong(value) : -1;
  Py_XDECREF(value);
  if (PyErr_Occurred()) {
    const ab_status status = abpy_error(call, AB_UNAVAILABLE, "cupy finds no GPU it can use");
    ab_error_hint(call->error, "install the GPU's driver, or a CuPy that fits the one installed");
    return status;
  }
  if (number <= 0) return ab_fail(call, AB_UNAVAILABLE, "cupy finds no GPU");
  *count = (int32_t)number;
  return AB_OK;
}

/* ------------------------------------------------------------------ the table */

static int is_true(PyObject *module, const char *dotted) {
  PyObject *value = abpy_attribute(module, dotted);
  const int truth = value != NULL && PyObject_IsTrue(value) == 1;
  abpy_clear();
  Py_XDECREF(value);
  return truth;
}

static int major_version(PyObject *module) {
  PyObject *version = abpy_attribute(module, "__version__");
  const char *text = version != NULL ? PyUnicode_AsUTF8AndSize(version, NULL) : NULL;
  const int major = text != NULL ? atoi(text) : 0;
  abpy_clear();
  Py_XDECREF(version);
  return major;
}

static void fill_table(cupy_framework *cupy, PyObject *runtime) {
  PyObject *module = cupy->module;
  cupy->runtime = runtime;
  cupy->get_device = abpy_attribute(runtime, "getDevice");
  cupy->set_device = abpy_attribute(runtime, "setDevice");
  cupy->current_stream = abpy_attribute(module, "cuda.get_current_stream");
  cupy->stream_type = abpy_attribute(module, "cuda.Stream");
  cupy->wears_hip = is_true(runtime, "is_hip");
  cupy->versioned = major_version(module) >= 14;
  cupy->bfloat16 = is_true(module, "_core.dlpack.bfloat16");
}

static int table_complete(const cupy_framework *cupy) {
  return cupy->get_device != NULL && cupy->set_device != NULL && cupy->current_stream != NULL &&
         cupy->stream_type != NULL;
}

ab_status cupy_bring_up(cupy_framework *cupy, const ab_call *call) {
  // CuPy takes a second to import, which is wasted where no driver is.
  if (abpy_imported("cupy") == NULL && !cupy_driver_present()) {
    ab_fail(call, AB_UNAVAILABLE, "cupy needs a GPU, and this machine has no GPU driver (libcuda.so.1)");
    ab_error_hint(call->error, "install the NVIDIA driver, or use another backend");
    return AB_UNAVAILABLE;
  }
  PyObject *module = abpy_import(call, "cupy", "cupy-cuda13x");
  if (module == NULL) return call->error->status;
  PyObject *runtime = abpy_attribute(module, "cuda.runtime");
  int32_t count = 0;
  ab_status status = abpy_stopped(call);
  if (status == AB_OK && runtime == NULL)
    status = ab_fail(call, AB_UNAVAILABLE, "the module named cupy has no cuda.runtime");
  if (status == AB_OK) status = count_devices(call, runtime, &count);
  // A second thread may have been quicker while the import gave up the GIL.
  if (status == AB_OK && !cupy->started) {
    cupy->module = module;
    fill_table(cupy, runtime);
    status = abpy_stopped(call);
    if (status != AB_OK) return status;
    if (!cupy_find_type(cupy) || !table_complete(cupy))
      return ab_fail(call, AB_UNAVAILABLE, "this cupy lacks ndarray, Stream or getDevice");
    cupy->device_count = count;
    cupy->started = 1;
    return AB_OK;
  }
  Py_XDECREF(runtime);
  Py_DECREF(module);
  return status;
}

int64_t cupy_number(PyObject *object, const char *name, int64_t otherwise) {
  PyObject *value = abpy_attribute(object, name);
  const int64_t number = value != NULL ? PyLong_AsLongLong(value) : otherwise;
  Py_XDECREF(value);
  if (!PyErr_Occurred()) return number;
  abpy_clear();
  return otherwise;
}

/* ------------------------------------------------------------------ errors */

static const abpy_signature out_of_memory[] = {
    {"cupy.cuda.memory", "OutOfMemoryError", NULL, NULL, AB_OOM},
    {"cupy_backends.cuda.api.runtime", "CUDARuntimeError", "cudaErrorMemoryAllocation", NULL, AB_OOM},
    {"cupy_backends.cuda.api.runtime", "CUDARuntimeError", "hipErrorOutOfMemory", NULL, AB_OOM},
    {"cupy_backends.cuda.api.driver", "CUDADriverError", "CUDA_ERROR_OUT_OF_MEMORY", NULL, AB_OOM},
    {"cupy_backends.cuda.libs.cublas", "CUBLASError", "CUBLAS_STATUS_ALLOC_FAILED", NULL, AB_OOM},
    {"cupy_backends.cuda.libs.cusolver", "CUSOLVERError", "CUSOLVER_STATUS_ALLOC_FAILED", NULL, AB_OOM},
    {"cupy_backends.cuda.libs.cusparse", "CuSparseError", "CUSPARSE_STATUS_ALLOC_FAILED", NULL, AB_OOM},
    {"cupy_backends.cuda.libs.curand", "CURANDError", "CURAND_STATUS_ALLOCATION_FAILED", NULL, AB_OOM},
    {"cupy.cuda.cufft", "CuFFTError", "CUFFT_ALLOC_FAILED", NULL, AB_OOM},
};

ab_status cupy_is_oom(void *self, const ab_failure *failure) {
  (void)self;
  return abpy_match_failure(failure, out_of_memory, sizeof out_of_memory / sizeof out_of_memory[0]);
}

ab_status cupy_failed(const ab_call *call, const char *what) {
  return abpy_error_matched(call, AB_FRAMEWORK, what, out_of_memory, sizeof out_of_memory / sizeof out_of_memory[0]);
}
