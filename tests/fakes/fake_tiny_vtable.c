/* SPDX-License-Identifier: MIT
 * Its vtable says that it is as large as nothing could be. */
#include "fake_plugin.h"

static const ab_plugin_vtable slots = {.struct_size = 3, FAKE_REQUIRED_SLOTS};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)fake_create(services, plugin, error);
  plugin->vtable = &slots;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {FAKE_DESCRIPTOR("fake_tiny_vtable"), .create = create};
