/* SPDX-License-Identifier: MIT
 * The NumPy plugin: descriptor, vtable, and what concerns NumPy as a whole. */
#define ARRAYBRIDGE_NUMPY_DEFINES_API
#include "numpy_plugin.h"

const ab_services *numpy_services;

static ab_status probe(const ab_call *call, ab_framework_info *info) {
  return abpy_probe(call, info, "numpy", "numpy");
}

static ab_status start(const ab_call *call) {
  PyObject *numpy = abpy_import(call, "numpy", "'numpy>=1.23'");
  if (numpy == NULL) return call->error->status;
  Py_DECREF(numpy);
  if (_import_array() == 0) return AB_OK;
  const ab_status status = abpy_error(call, AB_UNAVAILABLE, "NumPy's C interface cannot be used");
  if (status == AB_UNAVAILABLE) ab_error_hint(call->error, "pip install 'numpy>=1.23'");
  return status;
}

static ab_status is_oom(void *self, const ab_failure *failure) {
  (void)self;
  static const abpy_signature signatures[] = {
      {"numpy._core._exceptions", "_ArrayMemoryError", NULL, NULL, AB_OOM},
      {"numpy.core._exceptions", "_ArrayMemoryError", NULL, NULL, AB_OOM},  // before 2.0
      {"builtins", "MemoryError", NULL, NULL, AB_OOM},
  };
  return abpy_match_failure(failure, signatures, sizeof signatures / sizeof signatures[0]);
}

static ab_status clear_cache(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                             uint64_t *to_pool) {
  (void)call, (void)device, (void)flags;
  // NumPy keeps a few blocks of under 1 KiB and gives everything else back at once.
  *to_driver = *to_pool = 0;
  return AB_OK;
}

static ab_status memory_info(const ab_call *call, DLDevice device, ab_memory_info *info) {
  if (device.device_type != kDLCPU) return ab_fail(call, AB_NO_DEVICE, "NumPy arrays are on the host only");
  ab_memory_info found = {.struct_size = (uint32_t)sizeof found,
                          .in_use = UINT64_MAX,
                          .cached = UINT64_MAX,
                          .limit = UINT64_MAX,
                          .detail = "NumPy does not count its memory; Python's tracemalloc does"};
  ab_struct_fill(info, &found, (uint32_t)sizeof found);
  return AB_OK;
}

static const ab_plugin_vtable vtable = {
    .struct_size = (uint32_t)sizeof(ab_plugin_vtable),
    .to_dlpack = numpy_to_dlpack,
    .from_dlpack = numpy_from_dlpack,
    .to_host = numpy_to_host,
    .is_oom = is_oom,
    .clear_cache = clear_cache,
    .recognizes = numpy_recognizes,
    .describe = numpy_describe,
    .capabilities = numpy_capabilities,
    .retain = abpy_retain,
    .release = abpy_release,
    .probe = probe,
    .start = start,
    .devices = numpy_devices,
    .cast = numpy_cast,
    .empty = numpy_empty,
    .memory_info = memory_info,
};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)error;
  abpy_init(services);
  numpy_services = services;
  plugin->vtable = &vtable;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = (uint32_t)sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "numpy",
    .version = "0.9.0",
    .licence = "MIT",
    .runtime = AB_RUNTIME_PYTHON,
    .lock = AB_LOCK_PYTHON,
    .runtime_abi = ABPY_RUNTIME_ABI,
    .flags = AB_PLUGIN_MAIN_INTERPRETER_ONLY | AB_PLUGIN_DELETER_ANY_THREAD,
    .create = create,
};
