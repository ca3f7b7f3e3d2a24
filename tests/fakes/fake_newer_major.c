/* SPDX-License-Identifier: MIT
 * Built for the next major interface: nothing behind the version fields can be trusted, and here it traps. */
#include "fake_plugin.h"

AB_PLUGIN_DEFINE = {
    .struct_size = sizeof(ab_plugin_descriptor),
    .abi_major = AB_ABI_MAJOR + 1,
    .abi_minor = 0,
    .name = (const char *)16,
    .create = fake_create,
};
