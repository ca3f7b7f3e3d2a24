/* SPDX-License-Identifier: MIT
 * Its vtable lacks a slot that is required. */
#include "fake_plugin.h"

static const ab_plugin_vtable slots = {.struct_size = sizeof slots,
                                       .recognizes = fake_recognizes,
                                       .describe = fake_describe,
                                       .retain = fake_retain,
                                       .release = fake_release};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)fake_create(services, plugin, error);
  plugin->vtable = &slots;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {FAKE_DESCRIPTOR("fake_missing_slot"), .create = create};
