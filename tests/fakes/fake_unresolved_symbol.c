/* SPDX-License-Identifier: MIT
 * Calls a function that no library defines. */
#include "fake_plugin.h"

extern int symbol_that_no_library_defines(void);

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  return symbol_that_no_library_defines() ? AB_INTERNAL : fake_create(services, plugin, error);
}

AB_PLUGIN_DEFINE = {FAKE_DESCRIPTOR("fake_unresolved_symbol"), .create = create};
