/* SPDX-License-Identifier: MIT
 * Built against a later minor: more slots, and a larger descriptor, than this core knows. */
#include "fake_plugin.h"

typedef struct later_vtable {
  ab_plugin_vtable known;
  void (*future[64])(void);
} later_vtable;

static void future_slot(void) {}

static const later_vtable slots = {.known = {.struct_size = sizeof slots, FAKE_REQUIRED_SLOTS},
                                   .future = {future_slot, future_slot}};

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)fake_create(services, plugin, error);
  plugin->vtable = &slots.known;
  return AB_OK;
}

AB_PLUGIN_DEFINE = {
    .struct_size = sizeof(ab_plugin_descriptor) + 32,
    .abi_major = AB_ABI_MAJOR,
    .abi_minor = AB_ABI_MINOR + 7,
    .name = "fake_longer_vtable",
    .version = "9.8.7",
    .licence = "MIT",
    .runtime_abi = "",
    .create = create,
};
