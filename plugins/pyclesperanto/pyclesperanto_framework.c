/* SPDX-License-Identifier: MIT
 * pyclesperanto itself: its array types without importing it, how it is imported, and its errors. */
#include "pyclesperanto_plugin.h"

cle_framework cle;

/* ------------------------------------------------------------------ types, without importing */

static const char *const flavours[] = {
    "pyclesperanto_opencl._pyclesperanto",
    "pyclesperanto_cuda._pyclesperanto",
    "pyclesperanto_metal._pyclesperanto",
};
enum { FLAVOURS = sizeof flavours / sizeof flavours[0] };

int32_t cle_recognizes(void *self, void *object, int32_t *holds_for_type) {
  static PyTypeObject *types[FLAVOURS];  // once found they stay: extension modules are never unloaded
  (void)self;
  const PyTypeObject *type = Py_TYPE((PyObject *)object);
  for (int index = 0; index < FLAVOURS; index++) {
    if (types[index] == NULL) types[index] = abpy_type(flavours[index], "_Array");
    if (types[index] != type) continue;
    *holds_for_type = 1;
    return 1;
  }
  return 0;  // there are no subclasses: the type has no constructor
}

ab_status cle_probe(const ab_call *call, ab_framework_info *info) {
  return abpy_probe(call, info, "pyclesperanto", "pyclesperanto");
}

/* ------------------------------------------------------------------ the import */

static PyObject *import_pyclesperanto(const ab_call *call) {
  // TensorFlow's LLVM symbols are global, and an OpenCL vendor library that binds to them crashes (PoCL 3.1 with
  // TensorFlow 2.21). Importing pyclesperanto opens those libraries, so they are opened before, with their own symbols.
  if (abpy_imported("pyclesperanto") == NULL) abpy_prepare_device(cle.services, kDLOpenCL);
  return abpy_import(call, "pyclesperanto", "pyclesperanto");
}

static int find_names(cle_framework *found) {
  const struct {
    PyObject **name;
    const char *text;
  } names[] = {
      {&found->name_shape, "shape"},         {&found->name_dtype, "dtype"},   {&found->name_device, "device"},
      {&found->name_mtype, "mtype"},         {&found->name_get, "get"},       {&found->name_export, "__dlpack__"},
      {&found->name_import, "_from_dlpack"}, {&found->word_buffer, "buffer"},
  };
  for (size_t index = 0; index < sizeof names / sizeof names[0]; index++) {
    *names[index].name = PyUnicode_InternFromString(names[index].text);
    if (*names[index].name == NULL) return 0;
  }
  return 1;
}

/// All or nothing: another thread may be doing the same.
static ab_status find_parts(const ab_call *call, PyObject *module, cle_framework *found) {
  found->module = module;
  found->get_device = abpy_attribute(module, "get_device");
  const ab_status status = abpy_stopped(call);
  if (status != AB_OK) return status;
  if (found->get_device == NULL) {  // the package imports well without any of its flavours
    ab_fail(call, AB_UNAVAILABLE, "pyclesperanto has no backend that works here");
    ab_error_hint(call->error, "pip install 'pyclesperanto[opencl]', and an OpenCL driver (for CPUs pocl-opencl-icd)");
    return AB_UNAVAILABLE;
  }
  found->numpy = PyImport_ImportModule("numpy");
  if (found->numpy == NULL || !find_names(found) || !cle_dtypes_find(found->numpy)) {
    return abpy_error(call, AB_UNAVAILABLE, "pyclesperanto cannot be used");
  }
  for (int index = 0; index < FLAVOURS; index++) {
    PyObject *flavour = abpy_imported(flavours[index]);
    if (flavour != NULL) cle_native_find(flavour);
  }
  return abpy_stopped(call);
}

ab_status cle_start(const ab_call *call) {
  if (cle.started) return AB_OK;
  PyObject *module = import_pyclesperanto(call);
  if (module == NULL) return call->error->status != AB_OK ? call->error->status : AB_UNAVAILABLE;
  if (cle.started) {  // by another thread, while the import had let go of the lock
    Py_DECREF(module);
    return AB_OK;
  }
  cle_framework found = cle;
  const ab_status status = find_parts(call, module, &found);
  if (status != AB_OK) return status;  // what was found stays: modules live as long as the process
  found.started = 1;
  cle = found;
  return AB_OK;
}

/* ------------------------------------------------------------------ errors */

/// pyclesperanto raises a RuntimeError for everything: "Error: Failed to … . OpenCL error: NAME (code)".
static const char failed[] = "Error: Failed to ";
static const abpy_signature signatures[] = {
    {"builtins", "RuntimeError", failed, "OpenCL error: CL_MEM_OBJECT_ALLOCATION_FAILURE (-4)", AB_OOM},
    {"builtins", "RuntimeError", failed, "OpenCL error: CL_OUT_OF_HOST_MEMORY (-6)", AB_OOM},
    {"builtins", "RuntimeError", failed, "OpenCL error: CL_INVALID_BUFFER_SIZE (-61)", AB_TOO_LARGE},
    // Of a launch or of finish() the same code means too many registers, or a kernel that has read past its buffers.
    {"builtins", "RuntimeError", "Error: Failed to allocate ", "OpenCL error: CL_OUT_OF_RESOURCES (-5)", AB_OOM},
    {"builtins", "RuntimeError", "Error: Failed to write ", "OpenCL error: CL_OUT_OF_RESOURCES (-5)", AB_OOM},
    {"builtins", "RuntimeError", "Error: Failed to copy ", "OpenCL error: CL_OUT_OF_RESOURCES (-5)", AB_OOM},
    {"builtins", "RuntimeError", "Error: Failed to fill ", "OpenCL error: CL_OUT_OF_RESOURCES (-5)", AB_OOM},
};

ab_status cle_is_oom(void *self, const ab_failure *failure) {
  (void)self;
  return abpy_match_failure(failure, signatures, sizeof signatures / sizeof signatures[0]);
}

ab_status cle_failed(const ab_call *call, const char *what) {
  return abpy_error_matched(call, AB_FRAMEWORK, what, signatures, sizeof signatures / sizeof signatures[0]);
}
