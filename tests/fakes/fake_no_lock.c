/* SPDX-License-Identifier: MIT
 * A plugin of a Python framework that would be called without Python's lock. */
#include "fake_plugin.h"

AB_PLUGIN_DEFINE = {
    .struct_size = sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "fake_no_lock",
    .version = "1.2.3",
    .licence = "MIT",
    .runtime = AB_RUNTIME_PYTHON,
    .lock = AB_LOCK_NONE,
    .runtime_abi = "abi3-0.0",
    .create = fake_create,
};
