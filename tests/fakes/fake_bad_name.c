/* SPDX-License-Identifier: MIT
 * Its name has letters that a name must not have. */
#include "fake_plugin.h"

AB_PLUGIN_DEFINE = {FAKE_DESCRIPTOR("Fake Bad-Name"), .create = fake_create};
