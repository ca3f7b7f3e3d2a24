/* SPDX-License-Identifier: MIT
 * A plugin of a Python framework, for an interface that no Python has; a test's own runtime may claim to have it. */
#include "fake_plugin.h"

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  services->log(services->core, AB_LOG_INFO, "fake_wrong_runtime_abi: create()");
  return fake_create(services, plugin, error);
}

AB_PLUGIN_DEFINE = {
    .struct_size = sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "fake_wrong_runtime_abi",
    .version = "1.2.3",
    .licence = "MIT",
    .runtime = AB_RUNTIME_PYTHON,
    .lock = AB_LOCK_PYTHON,
    .runtime_abi = "abi3-0.0",
    .create = create,
};
