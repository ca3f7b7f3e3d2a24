/* SPDX-License-Identifier: MIT
 * Its create() fails, and counts how often it was asked. */
#include "fake_plugin.h"

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)fake_create(services, plugin, error);
  plugin->vtable = NULL;
  ab_error_set(error, AB_UNAVAILABLE, "the fake framework is not at home, call %d", fake_create_calls);
  ab_error_hint(error, "invite it");
  return AB_UNAVAILABLE;
}

AB_PLUGIN_DEFINE = {FAKE_DESCRIPTOR("fake_create_fails"), .create = create};
