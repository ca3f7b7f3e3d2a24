/* SPDX-License-Identifier: MIT
 * A bridge with the simulated frameworks, on a simulated driver with two devices. */
#ifndef SIMULATED_WORLD_H
#define SIMULATED_WORLD_H

#include <arraybridge/conformance/framework.h>

#include "plugin_folder.h"

enum { FRAMEWORKS = 3, DEVICES = 2, KEYED = 0, CALLBACK = 1, ORDERED = 2 };

static const char *const names[FRAMEWORKS] = {"sim_keyed", "sim_callback", "sim_ordered"};

static ab_bridge *bridge;
static const sim_framework *frameworks[FRAMEWORKS];
static const ab_backend *backends[FRAMEWORKS];

/* A runtime without a lock, so that nobody but the test drains. */
static inline int32_t world_lock_held(void *self) {
  (void)self;
  return 1;
}

static inline void world_asks_nobody(void *self) { (void)self; }

static inline void open_world(void) {
  setenv("AB_FAKES", SIM_FRAMEWORKS, 1);
  sim_reset(1, DEVICES, 1 << 20);
  sim_peer(0, 1, 1);
  sim_peer(1, 0, 1);
  static const ab_runtime runtime = {.struct_size = sizeof runtime,
                                     .kind = AB_RUNTIME_PYTHON,
                                     .lock_held = world_lock_held,
                                     .request_drain = world_asks_nobody};
  bridge = bridge_of(&(ab_bridge_options){
      .struct_size = sizeof(ab_bridge_options), .flags = AB_BRIDGE_NO_ENVIRONMENT, .runtime = &runtime});
  for (int i = 0; i < FRAMEWORKS; i++) {
    char file[64];
    snprintf(file, sizeof file, "%s.so", names[i]);
    ck_assert_int_eq(ab_bridge_add_path(bridge, put(names[i], file), NULL), AB_OK);
  }
  discover(bridge);
  for (int i = 0; i < FRAMEWORKS; i++) {
    backends[i] = backend_of(bridge, names[i]);
    void *const module = dlopen(ab_backend_path(backends[i]), RTLD_NOW | RTLD_NOLOAD);
    frameworks[i] = dlsym(module, SIM_FRAMEWORK_SYMBOL);
    ck_assert_ptr_nonnull(frameworks[i]);
    frameworks[i]->begin();
  }
}

/* The first thing that the driver or a framework found wrong; NULL: nothing. */
static inline const char *what_is_wrong(void) {
  if (sim_fault() != NULL) return sim_fault();
  for (int i = 0; i < FRAMEWORKS; i++)
    if (frameworks[i]->wrong() != NULL) return frameworks[i]->wrong();
  return NULL;
}

/* Everything enqueued is done and everything dropped goes back: link by link along a chain of frameworks, in host
 * functions as well. */
static inline void settle_all(void) {
  uint64_t count = 1, bytes = 0;
  for (int round = 0; round < 32 && (count != 0 || !sim_idle()); round++) {
    sim_run_all();
    ab_bridge_settle(bridge);
    ab_bridge_pending(bridge, &count, &bytes);
  }
  ck_assert_msg(count == 0, "%llu releases wait for ever", (unsigned long long)count);
}

static inline ab_array convert_to(int target, const ab_array *from, const ab_convert_options *options) {
  ab_error error;
  ab_error_init(&error);
  ab_array made = {NULL, NULL};
  const ab_status status = ab_convert(bridge, from, backends[target], options, &made, &error);
  ck_assert_msg(status == AB_OK, "%s: %s", ab_status_name(status), error.text);
  return made;
}

#endif
