/* SPDX-License-Identifier: MIT
 * Without flaw, but linked with -z lazy (CMakeLists.txt). */
#include "fake_plugin.h"

AB_PLUGIN_DEFINE = {FAKE_DESCRIPTOR("fake_lazy_binding"), .create = fake_create};
