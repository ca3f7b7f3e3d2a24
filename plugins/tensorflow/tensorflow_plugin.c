/* SPDX-License-Identifier: MIT
 * The TensorFlow plugin: descriptor and vtable. */
#include "tensorflow_plugin.h"

static const ab_plugin_vtable vtable = {
    .struct_size = (uint32_t)sizeof(ab_plugin_vtable),
    .to_dlpack = ab_tf_to_dlpack,
    .from_dlpack = ab_tf_from_dlpack,
    .to_host = ab_tf_to_host,
    .from_host = ab_tf_from_host,
    .is_oom = ab_tf_is_oom,
    .clear_cache = ab_tf_clear_cache,
    .recognizes = ab_tf_recognizes,
    .describe = ab_tf_describe,
    .capabilities = ab_tf_capabilities,
    .retain = abpy_retain,
    .release = abpy_release,
    .probe = ab_tf_probe,
    .start = ab_tf_start,
    .devices = ab_tf_devices,
    .finish = ab_tf_finish,
    .cast = ab_tf_cast,
    .memory_info = ab_tf_memory_info,
};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)error;
  abpy_init(services);
  ab_tf.services = services;
  *plugin = (ab_plugin){.struct_size = (uint32_t)sizeof(ab_plugin), .self = &ab_tf, .vtable = &vtable};
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = (uint32_t)sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "tensorflow",
    .version = "0.9.0",
    .licence = "MIT",
    .runtime = AB_RUNTIME_PYTHON,
    .lock = AB_LOCK_PYTHON,
    .runtime_abi = ABPY_RUNTIME_ABI,
    // RELEASES_BEFORE_DONE holds on GPUs only, see ab_tf_capabilities().
    .flags = AB_PLUGIN_UNVERSIONED_ONLY | AB_PLUGIN_DELETER_ANY_THREAD | AB_PLUGIN_RELEASES_BEFORE_DONE,
    .create = create,
};
