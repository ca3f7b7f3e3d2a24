/* SPDX-License-Identifier: MIT
 * The pyclesperanto plugin: descriptor and vtable. */
#include "pyclesperanto_plugin.h"

static const ab_plugin_vtable vtable = {
    .struct_size = (uint32_t)sizeof(ab_plugin_vtable),
    .to_dlpack = cle_to_dlpack,
    .from_dlpack = cle_from_dlpack,
    .to_host = cle_to_host,
    .from_host = cle_from_host,
    .is_oom = cle_is_oom,
    .clear_cache = cle_clear_cache,
    .recognizes = cle_recognizes,
    .describe = cle_describe,
    .capabilities = cle_capabilities,
    .retain = abpy_retain,
    .release = abpy_release,
    .probe = cle_probe,
    .start = cle_start,
    .devices = cle_devices,
    .finish = cle_finish,
    .cast = cle_cast,
    .memory_info = cle_memory_info,
};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)error;
  abpy_init(services);
  cle.services = services;
  *plugin = (ab_plugin){.struct_size = (uint32_t)sizeof(ab_plugin), .self = &cle, .vtable = &vtable};
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = (uint32_t)sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "pyclesperanto",
    .version = "0.9.0",
    .licence = "MIT",
    .runtime = AB_RUNTIME_PYTHON,
    .lock = AB_LOCK_PYTHON,
    .runtime_abi = ABPY_RUNTIME_ABI,
    // The deleter of an exported tensor drops a C++ object and takes no lock.
    .flags = AB_PLUGIN_OWN_CONTEXT | AB_PLUGIN_DELETER_IN_CALLBACK | AB_PLUGIN_DELETER_ANY_THREAD,
    .create = create,
};
