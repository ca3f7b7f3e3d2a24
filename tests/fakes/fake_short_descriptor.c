/* SPDX-License-Identifier: MIT
 * Its descriptor ends before create(), and says so; what lies behind is not its own. */
#include "fake_plugin.h"

AB_PLUGIN_DEFINE = {
    .struct_size = offsetof(ab_plugin_descriptor, create),
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR,
    .name = "fake_short_descriptor",
    .version = "1.2.3",
    .licence = "MIT",
    .runtime_abi = "",
    .create = fake_create,
};
