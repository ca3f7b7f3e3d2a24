/* SPDX-License-Identifier: MIT
 * What a plugin's author is told about a plugin that does not load. */
#include "plugin_folder.h"

static const line *told_about(const char *fake, const ab_runtime *runtime) {
  char name[64];
  snprintf(name, sizeof name, "%s.so", fake);
  const char *const path = put(fake, name);
  ab_bridge *const bridge =
      bridge_of(&(ab_bridge_options){.struct_size = sizeof(ab_bridge_options), .runtime = runtime});
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  discover(bridge);
  const line *const seen = line_of(bridge, path);
  ck_assert_int_ne(seen->status, AB_OK);
  ab_bridge_free(bridge);
  return seen;
}

START_TEST(a_create_that_fails_silently_is_named) {
  const line *const seen = told_about("fake_silent_create", NULL);
  ck_assert_int_eq(seen->status, AB_INTERNAL);
  assert_says(seen->reason, "create() returned INTERNAL and said nothing; let it call ab_error_set(error, …)");
}
END_TEST

START_TEST(sizes_that_are_too_small_are_told_with_their_cure) {
  const line *seen = told_about("fake_tiny_vtable", NULL);
  ck_assert_int_eq(seen->status, AB_INCOMPATIBLE);
  assert_says(seen->reason, "its vtable has 3 bytes, that of interface 1.0 has ");
  assert_says(seen->reason, "set .struct_size = sizeof vtable");
  seen = told_about("fake_short_descriptor", NULL);
  assert_says(seen->reason, "; set .struct_size = sizeof arraybridge_plugin");
}
END_TEST

static void *enter(void *self) { return self; }
static void leave(void *self, void *token) { (void)self, (void)token; }

START_TEST(a_python_plugin_without_the_lock_is_refused) {
  int self = 0;
  const ab_runtime runtime = {.struct_size = sizeof runtime,
                              .kind = AB_RUNTIME_PYTHON,
                              .abi = "abi3-0.0",
                              .self = &self,
                              .lock_enter = enter,
                              .lock_leave = leave};
  const line *const seen = told_about("fake_no_lock", &runtime);
  ck_assert_int_eq(seen->status, AB_INCOMPATIBLE);
  ck_assert_str_eq(seen->reason, "a Python plugin needs .lock = AB_LOCK_PYTHON");
}
END_TEST

START_TEST(a_link_that_leads_nowhere_has_a_hint) {
  const char *const link = at("lost.so");
  ck_assert_int_eq(symlink(at("nowhere.so"), link), 0);
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, link)->status, AB_UNAVAILABLE);
  assert_says(line_of(bridge, link)->hint, "leads nowhere");
  ab_bridge_free(bridge);
}
END_TEST

Suite *unit_suite(void) {
  Suite *suite = suite_create("plugin_words");
  TCase *told = unit_case(suite, "told", setup, teardown);
  tcase_add_test(told, a_create_that_fails_silently_is_named);
  tcase_add_test(told, sizes_that_are_too_small_are_told_with_their_cure);
  tcase_add_test(told, a_python_plugin_without_the_lock_is_refused);
  tcase_add_test(told, a_link_that_leads_nowhere_has_a_hint);
  return suite;
}
