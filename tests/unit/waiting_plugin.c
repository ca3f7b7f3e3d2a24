/* SPDX-License-Identifier: MIT
 * A plugin whose create() lets go of the runtime's lock and waits, the first time: it writes a byte to the first file
 * of AB_WAITING_FILES ("5,6") and reads one from the second. Its slots own nothing. */
#include <arraybridge/plugin.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self, (void)object, (void)holds_for_type;
  return 0;
}

static ab_status describe(const ab_call *call, void *array, ab_array_info *info) {
  (void)array, (void)info;
  return ab_fail(call, AB_UNSUPPORTED, "no arrays");
}

static ab_status capabilities(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities) {
  (void)device, (void)slot, (void)capabilities;
  return ab_fail(call, AB_UNSUPPORTED, "no arrays");
}

static void keep(void *self, void *array) { (void)self, (void)array; }

static const ab_plugin_vtable slots = {.struct_size = sizeof slots,
                                       .recognizes = recognizes,
                                       .describe = describe,
                                       .capabilities = capabilities,
                                       .retain = keep,
                                       .release = keep};

static int wait_for_a_byte(void) {
  int said = -1, heard = -1;
  char byte = 'w';
  const char *const files = getenv("AB_WAITING_FILES");
  if (files == NULL || sscanf(files, "%d,%d", &said, &heard) != 2) return 0;
  return write(said, &byte, 1) == 1 && read(heard, &byte, 1) == 1;
}

static ab_status create(const ab_services *services, ab_plugin *plugin, ab_error *error) {
  static int asked; /* a forked child that finds it set does not wait */
  plugin->vtable = &slots;
  if (asked++ != 0) return AB_OK;
  void *const token = services->blocking_begin(services->core);
  const int heard = wait_for_a_byte();
  services->blocking_end(services->core, token);
  return heard ? AB_OK : ab_error_set(error, AB_UNAVAILABLE, "AB_WAITING_FILES does not name two open files");
}

AB_PLUGIN_DEFINE = {.struct_size = sizeof(ab_plugin_descriptor),
                    .abi_major = AB_ABI_MAJOR,
                    .abi_minor = AB_ABI_MINOR,
                    .name = "waiting",
                    .version = "1.0",
                    .licence = "MIT",
                    .runtime = AB_RUNTIME_NONE,
                    .lock = AB_LOCK_NONE,
                    .runtime_abi = "",
                    .create = create};
