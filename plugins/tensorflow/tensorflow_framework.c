/* SPDX-License-Identifier: MIT
 * TensorFlow itself: how it is imported, which of its functions are used, and its context.
 *
 * TFE_FromDlpackCapsule and TFE_ToDlpackCapsule (tensorflow.python.pywrap_tfe) are private, and take half the time of
 * the public calls in tf.experimental.dlpack. They are used if they are there and a first tensor crosses well. */
#include "tensorflow_plugin.h"

#include <stdlib.h>

tf_framework ab_tf;

/* ------------------------------------------------------------------ before and at the import */

/// Before the eager context is initialized no device is in use. Without a look at it: not idle.
static int is_idle(void) {
  PyObject *module = abpy_imported("tensorflow.python.eager.context");
  PyObject *context = module != NULL ? abpy_attribute(module, "_context") : NULL;
  PyObject *handle = context != NULL && context != Py_None ? abpy_attribute(context, "_context_handle") : NULL;
  const int idle = context == Py_None || handle == Py_None;
  Py_XDECREF(handle);
  Py_XDECREF(context);
  return idle;
}

ab_status ab_tf_probe(const ab_call *call, ab_framework_info *info) {
  const ab_status status =
      abpy_probe(call, info, "tensorflow", "tensorflow tensorflow-cpu tensorflow-intel tf-nightly");
  if (status == AB_OK && (info->flags & AB_FRAMEWORK_IMPORTED) && is_idle()) info->flags |= AB_FRAMEWORK_IDLE;
  return status;
}

static PyObject *import_tensorflow(const ab_call *call) {
  if (abpy_imported("tensorflow") == NULL) {
    abpy_default_environment("TF_FORCE_GPU_ALLOW_GROWTH", "true");
    // TensorFlow's copy of LLVM has global symbols, and an OpenCL vendor library that is opened after it is bound to
    // them and crashes (PoCL 3.1 with TensorFlow 2.21). So such libraries are opened first, with their own symbols.
    abpy_prepare_device(ab_tf.services, kDLOpenCL);
  }
  return abpy_import(call, "tensorflow", "tensorflow");
}

static PyObject *interned(const char *text) { return PyUnicode_InternFromString(text); }

/// What is found after the import, all or nothing: another thread may be doing the same.
static ab_status find_parts(const ab_call *call, PyObject *tensorflow, tf_framework *found) {
  found->tensorflow = tensorflow;
  found->eager_type = abpy_type("tensorflow.python.framework.ops", "EagerTensor");
  found->context_module = PyImport_ImportModule("tensorflow.python.eager.context");
  abpy_clear();
  found->backing_device = interned("backing_device");
  found->context_name = interned("_context");
  found->handle_name = interned("_context_handle");
  if (found->eager_type != NULL) {
    found->datatype_enum = abpy_attribute((PyObject *)found->eager_type, "_datatype_enum");
    found->shape_tuple = abpy_attribute((PyObject *)found->eager_type, "_shape_tuple");
  }
  found->give_capsule = abpy_attribute(tensorflow, "experimental.dlpack.to_dlpack");
  found->take_capsule = abpy_attribute(tensorflow, "experimental.dlpack.from_dlpack");
  abpy_clear();
  const ab_status status = abpy_stopped(call);
  if (status != AB_OK) return status;
  if (found->datatype_enum == NULL || found->shape_tuple == NULL || found->give_capsule == NULL ||
      found->take_capsule == NULL || found->backing_device == NULL || found->context_name == NULL ||
      found->handle_name == NULL) {
    return ab_fail(call, AB_UNAVAILABLE, "this TensorFlow has no eager tensors with DLPack; 2.12 and later have");
  }
  return AB_OK;
}

ab_status ab_tf_start(const ab_call *call) {
  if (ab_tf.started) return AB_OK;
  PyObject *tensorflow = import_tensorflow(call);
  if (tensorflow == NULL) return call->error->status != AB_OK ? call->error->status : AB_UNAVAILABLE;
  if (ab_tf.started) {  // by another thread, while the import had let go of the lock
    Py_DECREF(tensorflow);
    return AB_OK;
  }
  tf_framework found = ab_tf;
  const ab_status status = find_parts(call, tensorflow, &found);
  if (status != AB_OK) return status;  // what was found stays: modules and their functions live as long as the process
  const char *wish = getenv("ARRAYBRIDGE_TENSORFLOW_PUBLIC");
  found.public_only = (wish != NULL && strcmp(wish, "1") == 0) || found.context_module == NULL;
  found.started = 1;
  ab_tf = found;
  return AB_OK;
}

/* ------------------------------------------------------------------ capsules */

/// The handle of the eager context, borrowed; NULL with or without an exception. TensorFlow can make a new context (its
/// tests do), and the handle of one that is gone must not be used: so the context is compared, and both are held.
static PyObject *context_handle(void) {
  static PyObject *known_context, *known_handle;
  PyObject *context = PyObject_GetAttr(ab_tf.context_module, ab_tf.context_name);
  if (context == NULL) return NULL;
  if (context == known_context) {
    Py_DECREF(context);
    return known_handle;
  }
  PyObject *handle = PyObject_GetAttr(context, ab_tf.handle_name);
  if (handle == NULL || handle == Py_None) {  // not awake yet
    Py_XDECREF(handle);
    Py_DECREF(context);
    return NULL;
  }
  known_context = context;  // the old ones stay referenced: another thread may be using them
  known_handle = handle;
  return handle;
}

PyObject *ab_tf_give(PyObject *tensor) { return abpy_call_one(ab_tf.give_capsule, tensor); }

PyObject *ab_tf_take(PyObject *capsule) {
  if (!ab_tf.private_calls) return PyObject_CallFunctionObjArgs(ab_tf.take_capsule, capsule, NULL);
  PyObject *handle = context_handle();
  if (handle == NULL) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_RuntimeError, "TensorFlow's context is not initialized");
    return NULL;
  }
  return PyObject_CallFunctionObjArgs(ab_tf.take_capsule, capsule, handle, NULL);
}

/// One float32 there and back. Leaves no exception.
static int crosses_well(const ab_call *call) {
  static const float one = 1.0f;
  const DLTensor source = {.data = (void *)&one, .device = {kDLCPU, 0}, .ndim = 0, .dtype = {kDLFloat, 32, 1}};
  DLManagedTensorVersioned *tensor = NULL;
  if (ab_tf_host_copy(call, &source, &tensor) != AB_OK) return 0;
  void *array = NULL;
  PyObject *capsule = NULL;
  int32_t consumed = 0;
  const ab_status status = ab_tf_from_dlpack(call, tensor, source.device, &consumed, &array);
  if (status == AB_OK && ab_tf_is_eager(array)) capsule = ab_tf_give(array);
  const int well = capsule != NULL && PyCapsule_IsValid(capsule, "dltensor");
  abpy_clear();
  Py_XDECREF(capsule);
  Py_XDECREF((PyObject *)array);
  if (status != AB_OK && !consumed) tensor->deleter(tensor);
  return well;
}

/// Puts the private functions in place of the public ones if they work. Runs with the context awake.
static void try_private_calls(const ab_call *call) {
  const tf_framework before = ab_tf;
  PyObject *module = PyImport_ImportModule("tensorflow.python.pywrap_tfe");
  abpy_clear();
  PyObject *give = module != NULL ? abpy_attribute(module, "TFE_ToDlpackCapsule") : NULL;
  PyObject *take = module != NULL ? abpy_attribute(module, "TFE_FromDlpackCapsule") : NULL;
  Py_XDECREF(module);
  ab_error error;
  ab_error_init(&error);
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  ab_call trial = *call;
  trial.flags = AB_CALL_NO_TEXT;
  trial.stream = NULL;
  trial.report = &report;
  trial.error = &error;
  if (give != NULL && take != NULL) {
    ab_tf.give_capsule = give;
    ab_tf.take_capsule = take;
    ab_tf.private_calls = 1;
    if (crosses_well(&trial)) {  // the public ones stay referenced: another thread may be calling them
      ab_error_clear(&error);
      return;
    }
  }
  ab_tf.give_capsule = before.give_capsule;
  ab_tf.take_capsule = before.take_capsule;
  ab_tf.private_calls = 0;
  ab_error_clear(&error);
}

/* ------------------------------------------------------------------ the context */

static ab_status initialize_context(void) {
  if (ab_tf.context_module == NULL) return AB_OK;  // the public calls do it by themselves
  PyObject *context = PyObject_CallMethod(ab_tf.context_module, "context", NULL);
  PyObject *done = context != NULL ? PyObject_CallMethod(context, "ensure_initialized", NULL) : NULL;
  PyObject *address = done != NULL ? PyObject_CallMethod(context, "host_address_space", NULL) : NULL;
  const char *text = address != NULL ? PyUnicode_AsUTF8AndSize(address, NULL) : NULL;
  if (text != NULL) {
    // "/job:localhost/replica:0/task:0/device:CPU:0" and without the device, as versions differ
    const char *end = strstr(text, "/device:");
    const int length = end != NULL ? (int)(end - text) : (int)strlen(text);
    snprintf(ab_tf.address, sizeof ab_tf.address, "%.*s", length, text);
  }
  if (done != NULL) abpy_clear();
  Py_XDECREF(address);
  Py_XDECREF(done);
  Py_XDECREF(context);
  return done != NULL ? AB_OK : AB_FRAMEWORK;
}

static ab_status count_gpus(void) {
  PyObject *config = abpy_attribute(ab_tf.tensorflow, "config");
  PyObject *gpus = config != NULL ? PyObject_CallMethod(config, "list_logical_devices", "s", "GPU") : NULL;
  const Py_ssize_t count = gpus != NULL ? PyList_Size(gpus) : -1;
  Py_XDECREF(gpus);
  Py_XDECREF(config);
  if (count < 0) return AB_FRAMEWORK;
  ab_tf.gpu_count = (int32_t)count;
  return AB_OK;
}

ab_status ab_tf_connect(const ab_call *call) {
  if (ab_tf.connected) return AB_OK;
  snprintf(ab_tf.address, sizeof ab_tf.address, "/job:localhost/replica:0/task:0");
  if (initialize_context() != AB_OK || count_gpus() != AB_OK) {
    return abpy_error(call, AB_FRAMEWORK, "TensorFlow's devices cannot be initialized");
  }
  ab_status status = abpy_stopped(call);
  if (status != AB_OK) return status;
  if (ab_tf.connected) return AB_OK;  // by another thread, while the calls above had let go of the lock
  ab_tf.connected = 1;
  if (ab_tf.public_only) return AB_OK;
  try_private_calls(call);
  if (ab_tf.private_calls) return AB_OK;
  status = abpy_stopped(call);
  if (status != AB_OK) ab_tf.connected = 0;  // the next call tries them again
  return status;
}

ab_status ab_tf_need_eager(const ab_call *call, PyObject *result, const char *what, PyObject **tensor) {
  if (result == NULL) return abpy_error(call, AB_FRAMEWORK, what);
  if (ab_tf_is_eager(result)) {
    *tensor = result;
    return AB_OK;
  }
  Py_DECREF(result);
  ab_fail(call, AB_UNSUPPORTED, "%s: inside tf.function this gives a symbol without a value", what);
  ab_error_hint(call->error, "convert outside of the tf.function");
  return AB_UNSUPPORTED;
}
