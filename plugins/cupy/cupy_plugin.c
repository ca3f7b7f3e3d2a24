/* SPDX-License-Identifier: MIT
 * The descriptor and the vtable. */
#include "cupy_plugin.h"

static cupy_framework the_cupy;

static const char distributions[] = "cupy-cuda13x cupy-cuda12x cupy-cuda11x cupy-rocm-7-0 cupy-rocm-5-0 cupy";

static ab_status probe(const ab_call *call, ab_framework_info *info) {
  const ab_status status = abpy_probe(call, info, "cupy", distributions);
  if (status != AB_OK || !(info->flags & AB_FRAMEWORK_INSTALLED) || cupy_driver_present()) return status;
  if (AB_HAS_FIELD(info, ab_framework_info, detail))
    snprintf(info->detail, sizeof info->detail, "installed, but this machine has no GPU driver (libcuda.so.1)");
  return AB_OK;
}

static ab_status start(const ab_call *call) {
  cupy_framework *cupy = call->self;
  return cupy->started ? AB_OK : cupy_bring_up(cupy, call);
}

static const ab_plugin_vtable slots = {
    .struct_size = (uint32_t)sizeof slots,
    .to_dlpack = cupy_to_dlpack,
    .from_dlpack = cupy_from_dlpack,
    .to_host = cupy_to_host,
    .from_host = cupy_from_host,
    .is_oom = cupy_is_oom,
    .clear_cache = cupy_clear_cache,
    .make_stream = cupy_make_stream,
    .recognizes = cupy_recognizes,
    .describe = cupy_describe,
    .capabilities = cupy_capabilities,
    .retain = abpy_retain,
    .release = abpy_release,
    .probe = probe,
    .start = start,
    .devices = cupy_devices,
    .current_stream = cupy_current_stream,
    .adopt_stream = cupy_adopt_stream,
    .drop_stream = cupy_drop_stream,
    .enter_stream = cupy_enter_stream,
    .exit_stream = cupy_exit_stream,
    .import_stream = cupy_current_stream,
    .fence = cupy_fence,
    .finish = cupy_finish,
    .cast = cupy_cast,
    .empty = cupy_empty,
    .memory_info = cupy_memory_info,
};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)error;
  abpy_init(services);
  the_cupy.services = services;
  plugin->self = &the_cupy;
  plugin->vtable = &slots;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = (uint32_t)sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "cupy",
    .version = "0.9.0",
    .licence = "MIT",
    .runtime = AB_RUNTIME_PYTHON,
    .lock = AB_LOCK_PYTHON,
    .runtime_abi = ABPY_RUNTIME_ABI,
    .flags = AB_PLUGIN_MAIN_INTERPRETER_ONLY | AB_PLUGIN_DELETER_ANY_THREAD | AB_PLUGIN_RELEASES_BEFORE_DONE |
             AB_PLUGIN_ALLOC_STREAM_KEYED,
    .create = create,
};
