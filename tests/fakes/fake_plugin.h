/* SPDX-License-Identifier: MIT
 * The least a plugin must have, for fakes that break one thing: slots that own nothing, and a descriptor without flaw.
 */
#ifndef FAKE_PLUGIN_H
#define FAKE_PLUGIN_H

#include <arraybridge/plugin.h>

static int32_t fake_recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self, (void)object, (void)holds_for_type;
  return 0;
}

static ab_status fake_describe(const ab_call *call, void *array, ab_array_info *info) {
  (void)array, (void)info;
  return ab_fail(call, AB_UNSUPPORTED, "this fake has no arrays");
}

static ab_status fake_capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  (void)device, (void)slot, (void)capabilities;
  return ab_fail(call, AB_UNSUPPORTED, "this fake has no arrays");
}

static void fake_retain(void *self, void *array) { (void)self, (void)array; }

static void fake_release(void *self, void *array) { (void)self, (void)array; }

#define FAKE_REQUIRED_SLOTS                                                                                           \
  .recognizes = fake_recognizes, .describe = fake_describe, .capabilities = fake_capabilities, .retain = fake_retain, \
  .release = fake_release

/// How often create() was called: a test looks it up in the open file.
extern AB_EXPORT int fake_create_calls;
int fake_create_calls;

static const ab_plugin_vtable fake_slots = {.struct_size = sizeof fake_slots, FAKE_REQUIRED_SLOTS};

static inline ab_status fake_create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  (void)services, (void)error;
  fake_create_calls++;
  plugin->vtable = &fake_slots;
  return AB_OK;
}

#define FAKE_DESCRIPTOR(backend_name)                                                                             \
  .struct_size = sizeof(ab_plugin_descriptor), .abi_major = AB_ABI_MAJOR, .abi_minor = AB_ABI_MINOR,              \
  .name = (backend_name), .version = "1.2.3", .licence = "MIT", .runtime = AB_RUNTIME_NONE, .lock = AB_LOCK_NONE, \
  .runtime_abi = ""

#endif
