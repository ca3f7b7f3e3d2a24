/* SPDX-License-Identifier: MIT
 * Running out of memory, and what JAX keeps. */
#include "jax_plugin.h"

#include <stdlib.h>

static const abpy_signature signatures[] = {
    {"jax.errors", "JaxRuntimeError", "RESOURCE_EXHAUSTED", NULL, AB_OOM},
    /* its name and place in older versions */
    {"jaxlib._jax", "XlaRuntimeError", "RESOURCE_EXHAUSTED", NULL, AB_OOM},
    {"jaxlib.xla_extension", "XlaRuntimeError", "RESOURCE_EXHAUSTED", NULL, AB_OOM},
};

ab_status jax_is_oom(void *self, const ab_failure *failure) {
  (void)self;
  return abpy_match_failure(failure, signatures, sizeof signatures / sizeof signatures[0]);
}

ab_status jax_error(const ab_call *call, ab_status status, const char *what) {
  return abpy_error_matched(call, status, what, signatures, sizeof signatures / sizeof signatures[0]);
}

/* ------------------------------------------------------------------ caches */

/// The platform allocator has no pool: what is dropped is free at once.
static int allocator_has_no_pool(void) {
  const char *allocator = getenv("XLA_PYTHON_CLIENT_ALLOCATOR");
  return allocator != NULL && strcmp(allocator, "platform") == 0;
}

/// 1 if the process has no device of JAX's but CPUs, whose memory is given back at once as well. -1 with the exception
/// pending.
static int only_host(void) {
  PyObject *platform = jax_call_method(jax_get()->module, "default_backend");
  if (platform == NULL) return -1;
  const int host = PyUnicode_Check(platform) && PyUnicode_CompareWithASCIIString(platform, "cpu") == 0;
  Py_DECREF(platform);
  return host;
}

ab_status jax_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                          uint64_t *to_pool) {
  (void)flags; /* jax.clear_caches() frees no memory of arrays and makes everything compile again */
  const int host = (int)device.device_type == 0 ? only_host() : device.device_type == kDLCPU;
  if (host < 0) return jax_error(call, AB_FRAMEWORK, "jax.default_backend()");
  if (!host && !allocator_has_no_pool()) {
    ab_fail(call, AB_UNSUPPORTED, "JAX's allocator keeps what is freed until the process ends");
    ab_error_hint(call->error, "set XLA_PYTHON_CLIENT_ALLOCATOR=platform before JAX is imported");
    return AB_UNSUPPORTED;
  }
  *to_driver = 0;
  *to_pool = 0;
  return AB_OK;
}

/* ------------------------------------------------------------------ figures */

static uint64_t figure(PyObject *stats, const char *name) {
  PyObject *number = PyDict_GetItemString(stats, name);
  const long long value = number != NULL && PyLong_Check(number) ? PyLong_AsLongLong(number) : -1;
  abpy_clear();
  return value >= 0 ? (uint64_t)value : UINT64_MAX;
}

ab_status jax_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info) {
  PyObject *found = jax_device_find(call, device);
  if (found == NULL) return call->error->status;
  PyObject *stats = jax_call_method(found, "memory_stats");
  Py_DECREF(found);
  if (stats == NULL) return abpy_error(call, AB_UNSUPPORTED, "JAX keeps no figures of this device's memory");
  if (!PyDict_Check(stats)) {
    Py_DECREF(stats);
    return ab_fail(call, AB_UNSUPPORTED, "JAX keeps no figures of this device's memory");
  }
  ab_memory_info known = {.struct_size = (uint32_t)sizeof known, .in_use = figure(stats, "bytes_in_use")};
  const uint64_t pool = figure(stats, "pool_bytes");
  known.limit = figure(stats, "bytes_limit");
  known.cached = pool == UINT64_MAX || known.in_use > pool ? UINT64_MAX : pool - known.in_use;
  Py_DECREF(stats);
  ab_struct_fill(info, &known, (uint32_t)sizeof known);
  return AB_OK;
}
