/* SPDX-License-Identifier: MIT
 * What torch's allocator holds, and making it give back. */
#include "torch_plugin.h"

/// torch.cuda.name(device_id) as bytes; UINT64_MAX if it cannot be told.
static uint64_t ask_bytes(const torch_framework *torch, const char *name, int32_t device_id) {
  PyObject *index = PyLong_FromLong(device_id);
  PyObject *value = index != NULL ? abpy_method(torch->cuda, name, index) : NULL;
  const uint64_t bytes = value != NULL ? PyLong_AsUnsignedLongLong(value) : UINT64_MAX;
  Py_XDECREF(value);
  Py_XDECREF(index);
  abpy_clear();
  return bytes;
}

static int32_t device_count(const torch_framework *torch) {
  PyObject *value = abpy_method(torch->cuda, "device_count");
  const long count = value != NULL ? PyLong_AsLong(value) : 0;
  Py_XDECREF(value);
  abpy_clear();
  return count > 0 ? (int32_t)count : 0;
}

/// What the allocator holds on `device`, or on all for device_type 0.
static uint64_t reserved(const torch_framework *torch, DLDevice device) {
  if (device.device_type != 0) return ask_bytes(torch, "memory_reserved", device.device_id);
  uint64_t sum = 0;
  const int32_t count = device_count(torch);
  for (int32_t id = 0; id < count; id++) {
    const uint64_t bytes = ask_bytes(torch, "memory_reserved", id);
    if (bytes == UINT64_MAX) return UINT64_MAX;
    sum += bytes;
  }
  return sum;
}

/// The call of a dotted function of torch, if there is one; what it raises is dropped.
static void call_quietly(const torch_framework *torch, const char *dotted) {
  PyObject *function = abpy_attribute(torch->module, dotted);
  PyObject *done = function != NULL ? PyObject_CallObject(function, NULL) : NULL;
  abpy_clear();
  Py_XDECREF(done);
  Py_XDECREF(function);
}

static void clear_plans(const torch_framework *torch, int32_t device_id) {
  PyObject *caches = abpy_attribute(torch->module, "backends.cuda.cufft_plan_cache");
  PyObject *index = PyLong_FromLong(device_id);
  PyObject *cache = caches != NULL && index != NULL ? PyObject_GetItem(caches, index) : NULL;
  PyObject *done = cache != NULL ? abpy_method(cache, "clear") : NULL;
  abpy_clear();
  Py_XDECREF(done);
  Py_XDECREF(cache);
  Py_XDECREF(index);
  Py_XDECREF(caches);
}

static void clear_all_plans(const torch_framework *torch, DLDevice device) {
  const int32_t count = device_count(torch);
  for (int32_t id = 0; id < count; id++) {
    if (device.device_type == 0 || device.device_id == id) clear_plans(torch, id);
  }
}

/// Pinned memory that is not in use; the name differs between releases.
static void clear_pinned(const torch_framework *torch) {
  call_quietly(torch, "_C._host_emptyCache");
  call_quietly(torch, "_C._accelerator_emptyHostCache");
}

ab_status torch_clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                            uint64_t *to_pool) {
  torch_framework *torch = call->self;
  const int cuda = device.device_type == 0 || device.device_type == torch_accelerator(torch);
  // torch keeps nothing of the host's memory, and nothing at all before CUDA was started.
  if (!cuda || !torch_cuda_awake(torch)) {
    *to_driver = 0;
    *to_pool = 0;
    return AB_OK;
  }
  const uint64_t before = reserved(torch, device);
  if (flags & AB_CLEAR_PLANS) clear_all_plans(torch, device);
  PyObject *done = abpy_method(torch->cuda, "empty_cache");
  if (done == NULL) return torch_failed(call, "torch.cuda.empty_cache");
  Py_DECREF(done);
  if (flags & AB_CLEAR_PINNED) clear_pinned(torch);
  const uint64_t after = reserved(torch, device);
  const int known = before != UINT64_MAX && after != UINT64_MAX;
  *to_driver = !known ? UINT64_MAX : before > after ? before - after : 0;
  *to_pool = 0;
  return AB_OK;
}

/// The fraction of the device's memory that torch may take, as bytes.
static uint64_t limit_of(const torch_framework *torch, int32_t device_id) {
  PyObject *index = PyLong_FromLong(device_id);
  PyObject *properties = index != NULL ? abpy_method(torch->cuda, "get_device_properties", index) : NULL;
  PyObject *total = properties != NULL ? abpy_attribute(properties, "total_memory") : NULL;
  abpy_clear();
  PyObject *fraction = total != NULL ? abpy_method(torch->cuda, "get_per_process_memory_fraction", index) : NULL;
  abpy_clear();
  uint64_t bytes = total != NULL ? PyLong_AsUnsignedLongLong(total) : UINT64_MAX;
  if (fraction != NULL && bytes != UINT64_MAX) bytes = (uint64_t)((double)bytes * PyFloat_AsDouble(fraction));
  abpy_clear();
  Py_XDECREF(fraction);
  Py_XDECREF(total);
  Py_XDECREF(properties);
  Py_XDECREF(index);
  return bytes;
}

ab_status torch_memory_info(const ab_call *call, DLDevice device, ab_memory_info *info) {
  torch_framework *torch = call->self;
  ab_memory_info found = {.struct_size = (uint32_t)sizeof found};
  if (device.device_type == kDLCPU) {
    found.in_use = found.limit = UINT64_MAX;
    snprintf(found.detail, sizeof found.detail, "torch takes host memory from the system and keeps no count of it");
  } else if (device.device_type != torch_accelerator(torch)) {
    return ab_fail(call, AB_NO_DEVICE, "torch has no such device");
  } else if (!torch_cuda_awake(torch)) {
    found.limit = UINT64_MAX;
    snprintf(found.detail, sizeof found.detail, "torch has not started CUDA in this process");
  } else {
    const uint64_t held = ask_bytes(torch, "memory_reserved", device.device_id);
    found.in_use = ask_bytes(torch, "memory_allocated", device.device_id);
    found.cached = held != UINT64_MAX && found.in_use <= held ? held - found.in_use : UINT64_MAX;
    found.limit = limit_of(torch, device.device_id);
  }
  ab_struct_fill(info, &found, (uint32_t)sizeof found);
  return AB_OK;
}
