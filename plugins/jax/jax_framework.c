/* SPDX-License-Identifier: MIT
 * JAX itself: bringing it to life, and the entry points we use. */
#include "jax_plugin.h"

#include <stdatomic.h>
#include <stdlib.h>

/* jaxlib's own import and export cost a sixth of the public calls and keep 64-bit dtypes. Their signatures are those
 * since this number; anything older goes the public way. */
enum { FIRST_KNOWN_EXTENSION_VERSION = 467 };

static _Atomic(const jax_framework *) alive;

const jax_framework *jax_get(void) { return atomic_load_explicit(&alive, memory_order_acquire); }

int jax_is_idle(void) {
  PyObject *bridge = abpy_imported("jax._src.xla_bridge");
  PyObject *backends = bridge != NULL ? abpy_attribute(bridge, "_backends") : NULL;
  const int idle = backends != NULL && PyDict_Check(backends) && PyDict_Size(backends) == 0;
  Py_XDECREF(backends);
  return idle;
}

ab_status jax_probe(const ab_call *call, ab_framework_info *info) {
  const ab_status status = abpy_probe(call, info, "jax", "jax");
  if (status == AB_OK && (info->flags & AB_FRAMEWORK_IMPORTED) && jax_is_idle()) info->flags |= AB_FRAMEWORK_IDLE;
  return status;
}

/* ------------------------------------------------------------------ entry points */

static int use_public_calls(void) {
  const char *wish = getenv("ARRAYBRIDGE_JAX_PUBLIC"); /* for tests */
  return wish != NULL && *wish != '\0' && *wish != '0';
}

static long extension_version(PyObject *jax) {
  PyObject *number = abpy_attribute(jax, "_src.lib.jaxlib_extension_version");
  const long version = number != NULL ? PyLong_AsLong(number) : 0;
  abpy_clear();
  Py_XDECREF(number);
  return version;
}

static void find_private_calls(jax_framework *jax) {
  if (use_public_calls() || extension_version(jax->module) < FIRST_KNOWN_EXTENSION_VERSION) return;
  jax->import_buffer = abpy_attribute(jax->module, "_src.lib._jax.dlpack_managed_tensor_to_buffer");
  jax->export_buffer = abpy_attribute(jax->module, "_src.lib._jax.buffer_to_dlpack_managed_tensor");
}

static PyObject *find_enable_x64(PyObject *jax) {
  PyObject *found = abpy_attribute(jax, "enable_x64");
  if (found != NULL) return found;
  PyObject *experimental = PyImport_ImportModule("jax.experimental"); /* where it was before JAX 0.8 */
  found = experimental != NULL ? abpy_attribute(experimental, "enable_x64") : NULL;
  abpy_clear();
  Py_XDECREF(experimental);
  return found;
}

/// "" if everything was found, else the name of what was not.
static const char *find_calls(jax_framework *jax) {
  jax->types = jax_types_find();
  if (jax->types == NULL) return "jax.Array";
  PyObject *dlpack = PyImport_ImportModule("jax.dlpack");
  if (dlpack != NULL) jax->from_dlpack = abpy_attribute(dlpack, "from_dlpack");
  Py_XDECREF(dlpack);
  if (jax->from_dlpack == NULL) return "jax.dlpack.from_dlpack";
  jax->local_devices = abpy_attribute(jax->module, "local_devices");
  if (jax->local_devices == NULL) return "jax.local_devices";
  jax->enable_x64 = find_enable_x64(jax->module);
  if (jax->enable_x64 == NULL) return "jax.enable_x64";
  jax->bridge = abpy_attribute(jax->module, "_src.xla_bridge");
  find_private_calls(jax);
  return "";
}

static int make_constants(jax_framework *jax) {
  jax->no_arguments = PyTuple_New(0);
  jax->cpu_keyword = Py_BuildValue("{s:s}", "backend", "cpu");
  jax->default_backend = PyUnicode_InternFromString("_default_backend");
  return jax->no_arguments != NULL && jax->cpu_keyword != NULL && jax->default_backend != NULL;
}

static void framework_free(jax_framework *jax) {
  PyObject *const owned[] = {jax->module,        jax->bridge,       jax->numpy,          jax->import_buffer,
                             jax->export_buffer, jax->from_dlpack,  jax->local_devices,  jax->enable_x64,
                             jax->cpu_keyword,   jax->no_arguments, jax->default_backend};
  for (size_t i = 0; i < sizeof owned / sizeof owned[0]; i++) Py_XDECREF(owned[i]);
  for (int i = 0; i < JAX_DTYPE_COUNT; i++) Py_XDECREF(jax->dtypes[i]);
  jax_services->deallocate(jax_services->core, jax);
}

/* ------------------------------------------------------------------ start */

static ab_status fill(const ab_call *call, jax_framework *jax) {
  // Read by JAX when its GPU backend starts: without it the first array takes three quarters of the GPU's memory.
  if (abpy_imported("jax") == NULL) abpy_default_environment("XLA_PYTHON_CLIENT_PREALLOCATE", "false");
  jax->module = abpy_import(call, "jax", "jax");
  if (jax->module == NULL) return call->error->status;
  jax->numpy = abpy_import(call, "numpy", "numpy");
  if (jax->numpy == NULL) return call->error->status;
  const char *missing = find_calls(jax);
  abpy_clear();
  if (!make_constants(jax)) return abpy_error(call, AB_OOM, "starting JAX");
  jax_dtype_objects(jax->numpy, jax->dtypes);
  const ab_status status = abpy_stopped(call);
  if (status != AB_OK) return status;
  return *missing == '\0' ? AB_OK : ab_fail(call, AB_UNAVAILABLE, "this JAX has no %s", missing);
}

ab_status jax_start(const ab_call *call) {
  if (jax_get() != NULL) return AB_OK;
  jax_framework *jax = jax_services->allocate(jax_services->core, sizeof *jax);
  if (jax == NULL) return ab_fail(call, AB_OOM, "starting JAX");
  memset(jax, 0, sizeof *jax);
  const ab_status status = fill(call, jax);
  const jax_framework *none = NULL;
  // Another thread may have started it while this one imported.
  if (status != AB_OK || !atomic_compare_exchange_strong(&alive, &none, jax)) framework_free(jax);
  return status;
}

/* ------------------------------------------------------------------ 64-bit dtypes */

PyObject *jax_x64_enter(void) {
  PyObject *scope = PyObject_CallFunctionObjArgs(jax_get()->enable_x64, Py_True, NULL);
  PyObject *entered = scope != NULL ? PyObject_CallMethod(scope, "__enter__", NULL) : NULL;
  if (entered == NULL) Py_CLEAR(scope);
  Py_XDECREF(entered);
  return scope;
}

void jax_x64_leave(PyObject *scope) {
  PyObject *type = NULL, *value = NULL, *traceback = NULL;
  PyErr_Fetch(&type, &value, &traceback);
  PyObject *left = PyObject_CallMethod(scope, "__exit__", "OOO", Py_None, Py_None, Py_None);
  if (left == NULL) abpy_clear();
  Py_XDECREF(left);
  Py_DECREF(scope);
  PyErr_Restore(type, value, traceback);
}
