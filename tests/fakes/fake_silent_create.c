/* SPDX-License-Identifier: MIT
 * Its create() fails and does not say why. */
#include "fake_plugin.h"

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)fake_create(services, plugin, error);
  return AB_INTERNAL;
}

AB_PLUGIN_DEFINE = {FAKE_DESCRIPTOR("fake_silent_create"), .create = create};
