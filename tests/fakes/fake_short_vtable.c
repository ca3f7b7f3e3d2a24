/* SPDX-License-Identifier: MIT
 * Built as if the vtable ended after release(): what lies behind is not its own, and here it traps. */
#include "fake_plugin.h"

static const ab_plugin_vtable slots = {.struct_size = offsetof(ab_plugin_vtable, probe),
                                       FAKE_REQUIRED_SLOTS,
                                       .probe = (ab_status(*)(const ab_call *, ab_framework_info *))16,
                                       .start = (ab_status(*)(const ab_call *))16};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)fake_create(services, plugin, error);
  plugin->vtable = &slots;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {FAKE_DESCRIPTOR("fake_short_vtable"), .create = create};
