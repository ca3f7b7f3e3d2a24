/* SPDX-License-Identifier: MIT
 * What CuPy's pools hold, and making them give back. */
#include "cupy_plugin.h"

/// CuPy's pool of device memory. New reference, or NULL with the exception pending.
static PyObject *default_pool(const cupy_framework *cupy) {
  return abpy_method(cupy->module, "get_default_memory_pool");
}

/// pool.name() of the current device as bytes; UINT64_MAX if it cannot be told.
static uint64_t ask_bytes(PyObject *pool, const char *name) {
  PyObject *value = abpy_method(pool, name);
  const uint64_t bytes = value != NULL ? PyLong_AsUnsignedLongLong(value) : UINT64_MAX;
  Py_XDECREF(value);
  abpy_clear();
  return bytes;
}

/// The plans of this thread on the current device, each with its workspace.
static void clear_plans(void) {
  PyObject *config = abpy_imported("cupy.fft._cache");
  PyObject *cache = config != NULL ? abpy_method(config, "get_plan_cache") : NULL;
  PyObject *done = cache != NULL ? abpy_method(cache, "clear") : NULL;
  abpy_clear();
  Py_XDECREF(done);
  Py_XDECREF(cache);
}

static ab_status clear_device(cupy_framework *cupy, const ab_call *call, DLDevice device, uint32_t flags,
                              uint64_t *bytes) {
  cupy_scope scope;
  ab_status status = cupy_scope_begin(cupy, call, device, &scope);
  if (status != AB_OK) return status;
  if (flags & AB_CLEAR_PLANS) clear_plans();
  PyObject *pool = default_pool(cupy);
  const uint64_t before = pool != NULL ? ask_bytes(pool, "total_bytes") : UINT64_MAX;
  PyObject *done = pool != NULL ? abpy_method(pool, "free_all_blocks") : NULL;
  if (done == NULL) status = cupy_failed(call, "cupy.cuda.MemoryPool.free_all_blocks");
  const uint64_t after = done != NULL ? ask_bytes(pool, "total_bytes") : UINT64_MAX;
  cupy_scope_end(&scope);
  Py_XDECREF(done);
  Py_XDECREF(pool);
  const int known = before != UINT64_MAX && after != UINT64_MAX;
  *bytes = !known ? UINT64_MAX : before > after ? before - after : 0;
  return status;
}

static void clear_pinned(const cupy_framework *cupy) {
  PyObject *pool = abpy_method(cupy->module, "get_default_pinned_memory_pool");
  PyObject *done = pool != NULL ? abpy_method(pool, "free_all_blocks") : NULL;
  abpy_clear();
  Py_XDECREF(done);
  Py_XDECREF(pool);
}

ab_status cupy_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                           uint64_t *to_pool) {
  cupy_framework *cupy = call->self;
  const int everywhere = device.device_type == 0;
  const int32_t first = everywhere ? 0 : device.device_id;
  const int32_t end = everywhere ? cupy->device_count : first + 1;
  if (!everywhere && device.device_type == kDLCPU && (flags & AB_CLEAR_PINNED)) clear_pinned(cupy);
  uint64_t sum = 0;
  for (int32_t id = first; id < end && (everywhere || device.device_type == cupy_accelerator(cupy)); id++) {
    uint64_t bytes = 0;
    const DLDevice one = {cupy_accelerator(cupy), id};
    const ab_status status = clear_device(cupy, call, one, flags, &bytes);
    if (status != AB_OK) return status;
    sum = sum == UINT64_MAX || bytes == UINT64_MAX ? UINT64_MAX : sum + bytes;
  }
  if ((everywhere || device.device_type != kDLCPU) && (flags & AB_CLEAR_PINNED)) clear_pinned(cupy);
  *to_driver = sum;
  *to_pool = 0;
  return AB_OK;
}

ab_status cupy_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info) {
  cupy_framework *cupy = call->self;
  cupy_scope scope;
  const ab_status status = cupy_scope_begin(cupy, call, device, &scope);
  if (status != AB_OK) return status;
  ab_memory_info found = {.struct_size = (uint32_t)sizeof found};
  PyObject *pool = default_pool(cupy);
  abpy_clear();
  found.in_use = pool != NULL ? ask_bytes(pool, "used_bytes") : UINT64_MAX;
  found.cached = pool != NULL ? ask_bytes(pool, "free_bytes") : UINT64_MAX;
  const uint64_t limit = pool != NULL ? ask_bytes(pool, "get_limit") : 0;
  found.limit = limit != 0 ? limit : UINT64_MAX;
  snprintf(found.detail, sizeof found.detail, "of CuPy's default pool; other allocators are not counted");
  cupy_scope_end(&scope);
  Py_XDECREF(pool);
  ab_struct_fill(info, &found, (uint32_t)sizeof found);
  return AB_OK;
}
