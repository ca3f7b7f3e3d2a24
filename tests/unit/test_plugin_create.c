/* SPDX-License-Identifier: MIT
 * What holds while a plugin is asked for its backend: the lock of its language, and none of the core. */
#include <sched.h>

#include "plugin_folder.h"

/* ------------------------------------------------------------------ a language runtime */

static pthread_mutex_t runtime_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int runtime_held;
static atomic_int runtime_waiting, runtime_entered, runtime_left, runtime_is_ending;
static char outer_token, nested_token;

static void *enter(void *self) {
  (void)self;
  if (atomic_load(&runtime_is_ending)) return NULL;
  atomic_fetch_add(&runtime_entered, 1);
  if (runtime_held) return &nested_token;
  atomic_fetch_add(&runtime_waiting, 1);
  pthread_mutex_lock(&runtime_lock);
  atomic_fetch_sub(&runtime_waiting, 1);
  runtime_held = 1;
  return &outer_token;
}

static void leave(void *self, void *token) {
  (void)self;
  atomic_fetch_add(&runtime_left, 1);
  if (token == &nested_token) return;
  runtime_held = 0;
  pthread_mutex_unlock(&runtime_lock);
}

static void *let_go(void *self) {
  (void)self;
  ck_assert_int_eq(runtime_held, 1);
  runtime_held = 0;
  pthread_mutex_unlock(&runtime_lock);
  return &outer_token;
}

static void take_back(void *self, void *token) {
  (void)self, (void)token;
  pthread_mutex_lock(&runtime_lock);
  runtime_held = 1;
}

static int32_t is_held(void *self) {
  (void)self;
  return runtime_held;
}

static ab_runtime runtime_for(const char *abi) {
  return (ab_runtime){.struct_size = sizeof(ab_runtime),
                      .kind = AB_RUNTIME_PYTHON,
                      .abi = abi,
                      .lock_enter = enter,
                      .lock_leave = leave,
                      .blocking_begin = let_go,
                      .blocking_end = take_back,
                      .lock_held = is_held};
}

static int held_in_create;

static void note_lock(void *context, int level, const char *text) {
  (void)context, (void)level;
  if (strcmp(text, "fake_wrong_runtime_abi: create()") == 0) held_in_create = runtime_held;
}

static ab_bridge *bridge_with_runtime(const ab_runtime *runtime, const char *path) {
  ab_bridge *const bridge =
      bridge_of(&(ab_bridge_options){.struct_size = sizeof(ab_bridge_options), .runtime = runtime, .log = note_lock});
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  return bridge;
}

START_TEST(a_plugin_for_another_runtime_abi_is_refused) {
  const char *const path = put("fake_wrong_runtime_abi", "python.so");
  const ab_runtime runtime = runtime_for("abi3-3.11");
  ab_bridge *const bridge = bridge_with_runtime(&runtime, path);
  discover(bridge);
  const line *const seen = line_of(bridge, path);
  ck_assert_int_eq(seen->status, AB_INCOMPATIBLE);
  assert_says(seen->reason, "\"abi3-0.0\"");
  assert_says(seen->reason, "\"abi3-3.11\"");
  ck_assert_int_eq(atomic_load(&runtime_entered), 0);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(create_runs_under_the_lock_of_its_language) {
  const ab_runtime runtime = runtime_for("abi3-0.0");
  ab_bridge *const bridge = bridge_with_runtime(&runtime, put("fake_wrong_runtime_abi", "python.so"));
  discover(bridge);
  backend_of(bridge, "fake_wrong_runtime_abi");
  ck_assert_int_eq(held_in_create, 1);
  ck_assert_int_eq(runtime_held, 0);
  ck_assert_int_eq(atomic_load(&runtime_entered), atomic_load(&runtime_left));
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(create_is_not_called_while_the_runtime_ends) {
  const char *const path = put("fake_wrong_runtime_abi", "python.so");
  const ab_runtime runtime = runtime_for("abi3-0.0");
  ab_bridge *const bridge = bridge_with_runtime(&runtime, path);
  atomic_store(&runtime_is_ending, 1);
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_ENDING);
  atomic_store(&runtime_is_ending, 0);
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_OK);
  ck_assert_int_eq(create_calls(path), 1);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(who_waits_for_a_discovery_lets_go_of_the_runtime) {
  const ab_runtime runtime = runtime_for("abi3-0.0");
  ab_bridge *const bridge = bridge_with_runtime(&runtime, put("fake_wrong_runtime_abi", "python.so"));
  void *const token = enter(NULL);
  pthread_t other;
  ck_assert_int_eq(pthread_create(&other, NULL, discover_on_thread, bridge), 0);
  while (atomic_load(&runtime_waiting) == 0) sched_yield();  // the other is about to call create()
  discover(bridge);
  ck_assert_int_eq(runtime_held, 1);
  leave(NULL, token);
  pthread_join(other, NULL);
  backend_of(bridge, "fake_wrong_runtime_abi");
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ no lock is held across create() */

static struct {
  ab_bridge *bridge;
  int calls;
  ab_status nested;
} talk;

static void talk_back(void *context, int level, const char *text) {
  (void)context, (void)level, (void)text;
  talk.calls++;
  (void)trace_of(talk.bridge);
  ck_assert_int_eq(ab_bridge_add_path(talk.bridge, home, NULL), AB_OK);
  talk.nested = ab_bridge_discover(talk.bridge, NULL);
}

START_TEST(create_may_call_the_core) {
  talk.bridge = bridge_of(&(ab_bridge_options){.struct_size = sizeof(ab_bridge_options), .log = talk_back});
  ck_assert_int_eq(ab_bridge_add_path(talk.bridge, put("fake_good", "good.so"), NULL), AB_OK);
  discover(talk.bridge);
  ck_assert_int_eq(talk.calls, 1);
  ck_assert_int_eq(talk.nested, AB_UNSUPPORTED);  // the outer one goes on
  backend_of(talk.bridge, "fake_good");
  ab_bridge_free(talk.bridge);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("plugin create");
  TCase *const tests = unit_case(suite, "plugin create", setup, teardown);
  tcase_add_test(tests, a_plugin_for_another_runtime_abi_is_refused);
  tcase_add_test(tests, create_runs_under_the_lock_of_its_language);
  tcase_add_test(tests, create_is_not_called_while_the_runtime_ends);
  tcase_add_test(tests, who_waits_for_a_discovery_lets_go_of_the_runtime);
  tcase_add_test(tests, create_may_call_the_core);
  return suite;
}
