/* SPDX-License-Identifier: MIT
 * The JAX plugin: its descriptor and its table of slots. */
#include "jax_plugin.h"

const ab_services *jax_services;

static const ab_plugin_vtable vtable = {
    .struct_size = (uint32_t)sizeof(ab_plugin_vtable),
    .to_dlpack = jax_to_dlpack,
    .from_dlpack = jax_from_dlpack,
    .to_host = jax_to_host,
    .from_host = jax_from_host,
    .is_oom = jax_is_oom,
    .clear_cache = jax_clear_cache,
    .make_stream = jax_make_stream,
    .recognizes = jax_recognizes,
    .describe = jax_describe,
    .capabilities = jax_capabilities,
    .retain = abpy_retain,
    .release = abpy_release,
    .probe = jax_probe,
    .start = jax_start,
    .devices = jax_devices,
    .current_stream = jax_current_stream,
    .import_stream = jax_import_stream,
    .fence = jax_fence,
    .finish = jax_finish,
    .cast = jax_cast,
    .memory_info = jax_memory_info,
};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)error;
  abpy_init(services);
  jax_services = services;
  plugin->vtable = &vtable;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = (uint32_t)sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "jax",
    .version = "0.9.0",
    .licence = "MIT",
    .runtime = AB_RUNTIME_PYTHON,
    .lock = AB_LOCK_PYTHON,
    .runtime_abi = ABPY_RUNTIME_ABI,
    .flags = AB_PLUGIN_UNVERSIONED_ONLY | AB_PLUGIN_RELEASES_BEFORE_DONE | AB_PLUGIN_DELETER_ANY_THREAD,
    .create = create,
};
