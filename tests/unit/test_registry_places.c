/* SPDX-License-Identifier: MIT
 * Where plugins are looked for, again and again, and names that are not loaded. */
#include "places.h"
#include "plugin_folder.h"

/* ------------------------------------------------------------------ places */

static void assert_place(const ab__places *places, size_t index, const char *origin, const char *path) {
  ck_assert_uint_lt(index, places->count);
  ck_assert_str_eq(ab__origin_name(places->list[index].origin), origin);
  ck_assert_str_eq(places->list[index].path, path);
}

static const char *beside_program(const char *name) {
  static char path[PATH_MAX + 64];
  const ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
  ck_assert_int_gt(length, 0);
  path[length] = '\0';
  strcpy(strrchr(path, '/') + 1, name);
  return path;
}

START_TEST(places_come_in_the_order_of_discovery) {
  ab__places added = {0}, announced = {0}, places = {0};
  ck_assert_int_eq(ab__places_add(&added, AB__ORIGIN_API, "/api", 4), AB_OK);
  ck_assert_int_eq(ab__places_add(&announced, AB__ORIGIN_DISTRIBUTION, "/announced", 10), AB_OK);
  setenv("ARRAYBRIDGE_PLUGIN_PATH", ":/one::/two:", 1);
  setenv("XDG_DATA_HOME", "/data", 1);
  ck_assert_int_eq(ab__places_gather(&places, &added, &announced, 1), AB_OK);
  ck_assert_uint_eq(places.count, 7);
  assert_place(&places, 0, "api", "/api");
  assert_place(&places, 1, "environment", "/one");
  assert_place(&places, 2, "environment", "/two");
  assert_place(&places, 3, "distribution", "/announced");
  assert_place(&places, 4, "user", "/data/arraybridge/plugins");
  assert_place(&places, 5, "library", beside_program("arraybridge/plugins"));
  assert_place(&places, 6, "library", beside_program("plugins"));
  ab__places_free(&places);
  ab__places_free(&added);
  ab__places_free(&announced);
}
END_TEST

START_TEST(a_relative_data_folder_is_ignored) {
  const ab__places none = {0};
  ab__places places = {0};
  setenv("XDG_DATA_HOME", "data", 1);
  ck_assert_int_eq(ab__places_gather(&places, &none, &none, 1), AB_OK);
  assert_place(&places, 0, "user", at(".local/share/arraybridge/plugins"));
  ab__places_free(&places);
  setenv("HOME", "home", 1);
  ck_assert_int_eq(ab__places_gather(&places, &none, &none, 1), AB_OK);
  assert_place(&places, 0, "library", beside_program("arraybridge/plugins"));
  ab__places_free(&places);
}
END_TEST

START_TEST(each_place_is_looked_at) {
  make_folder("api"), make_folder("environment"), make_folder("announced"), make_folder("arraybridge");
  make_folder("arraybridge/plugins");
  put("fake_good", "api/x.so");
  put("fake_short_vtable", "environment/x.so");
  put("fake_longer_vtable", "announced/x.so");
  put("fake_bad_name", "arraybridge/plugins/x.so");
  setenv("ARRAYBRIDGE_PLUGIN_PATH", at("environment"), 1);
  setenv("XDG_DATA_HOME", home, 1);
  ab_bridge *const bridge = bridge_at(at("api"));
  ck_assert_int_eq(ab_bridge_add_announced(bridge, at("announced"), NULL), AB_OK);
  discover(bridge);
  ck_assert_str_eq(line_of(bridge, at("api/x.so"))->place, "api");
  ck_assert_str_eq(line_of(bridge, at("environment/x.so"))->place, "environment");
  ck_assert_str_eq(line_of(bridge, at("announced/x.so"))->place, "distribution");
  ck_assert_str_eq(line_of(bridge, at("arraybridge/plugins/x.so"))->place, "user");
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 3);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(without_environment_its_places_are_not_looked_at) {
  make_folder("arraybridge"), make_folder("arraybridge/plugins");
  put("fake_good", "arraybridge/plugins/good.so");
  setenv("XDG_DATA_HOME", home, 1);
  setenv("ARRAYBRIDGE_PLUGIN_PATH", at("arraybridge/plugins"), 1);
  ab_bridge *const bridge = bridge_with(AB_BRIDGE_NO_ENVIRONMENT);
  discover(bridge);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 0);
  ck_assert_uint_eq(trace_of(bridge)->count, 0);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_folder_is_read_in_the_order_of_names) {
  put_text("b.so"), put_text("a.so"), put_text("c.so");
  put_text(".hidden.so"), put_text("notes.txt"), put_text(".so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  const trace *const all = trace_of(bridge);
  ck_assert_uint_eq(all->count, 4);
  ck_assert_str_eq(all->lines[0].path, home);
  ck_assert_int_eq(all->lines[0].status, AB_OK);
  assert_says(all->lines[0].reason, "3 plugin files");
  ck_assert_str_eq(all->lines[1].path, at("a.so"));
  ck_assert_str_eq(all->lines[2].path, at("b.so"));
  ck_assert_str_eq(all->lines[3].path, at("c.so"));
  ab_bridge_free(bridge);
}
END_TEST

static int take_one(void *context, const ab_trace_entry *entry) {
  (void)entry;
  return ++*(int *)context;
}

START_TEST(a_visitor_may_stop) {
  put_text("a.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  int lines = 0;
  ab_bridge_trace(bridge, take_one, &lines);
  ck_assert_int_eq(lines, 1);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_missing_place_is_traced_if_somebody_named_it) {
  setenv("ARRAYBRIDGE_PLUGIN_PATH", at("no_environment"), 1);
  setenv("XDG_DATA_HOME", at("no_data"), 1);
  ab_bridge *const bridge = bridge_at(at("no_api"));
  ck_assert_int_eq(ab_bridge_add_announced(bridge, at("no_distribution"), NULL), AB_OK);
  discover(bridge);
  ck_assert_uint_eq(trace_of(bridge)->count, 3);
  const char *const paths[] = {at("no_api"), at("no_environment"), at("no_distribution")};
  for (int i = 0; i < 3; i++) {
    const line *const seen = line_of(bridge, paths[i]);
    ck_assert_int_eq(seen->status, AB_UNAVAILABLE);
    assert_says(seen->reason, "No such file");
  }
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(an_empty_path_is_no_place) {
  ab_bridge *const bridge = bridge_with(0);
  ck_assert_int_eq(ab_bridge_add_path(bridge, "", NULL), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_bridge_add_announced(bridge, NULL, NULL), AB_INVALID_ARGUMENT);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(the_same_file_is_looked_at_once) {
  make_folder("real");
  const char *const real = put_text("real/text.so");
  ck_assert_int_eq(symlink("real", at("alias")), 0);
  ck_assert_int_eq(symlink("text.so", at("real/z_link.so")), 0);
  ab_bridge *const bridge = bridge_at(at("real"));
  ck_assert_int_eq(ab_bridge_add_path(bridge, at("alias"), NULL), AB_OK);
  ck_assert_int_eq(ab_bridge_add_path(bridge, at("alias/text.so"), NULL), AB_OK);
  setenv("ARRAYBRIDGE_PLUGIN_PATH", real, 1);
  discover(bridge);
  ck_assert_uint_eq(trace_of(bridge)->count, 2);
  ck_assert_int_eq(line_of(bridge, real)->status, AB_INCOMPATIBLE);
  ck_assert_str_eq(line_of(bridge, real)->place, "api");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_link_that_leads_nowhere_is_traced) {
  ck_assert_int_eq(symlink("nowhere", at("link.so")), 0);
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  assert_says(line_of(bridge, at("link.so"))->reason, "No such file");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(the_first_backend_of_a_name_wins) {
  const char *const first = put("fake_good", "a.so");
  const char *const second = put("fake_good", "b.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ck_assert_str_eq(ab_backend_path(backend_of(bridge, "fake_good")), first);
  const line *const seen = line_of(bridge, second);
  ck_assert_int_eq(seen->status, AB_UNSUPPORTED);
  char expected[PATH_MAX + 64];
  snprintf(expected, sizeof expected, "already provided by %s", first);
  ck_assert_str_eq(seen->reason, expected);
  ck_assert_int_eq(create_calls(second), -1);
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ discovering again */

START_TEST(a_loaded_plugin_is_not_loaded_again) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  const ab_backend *const backend = backend_of(bridge, "fake_good");
  discover(bridge);
  ck_assert_ptr_eq(backend_of(bridge, "fake_good"), backend);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 1);
  ck_assert_int_eq(create_calls(path), 1);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_OK);
  ck_assert_uint_eq(trace_of(bridge)->count, 2);
  ab_bridge_free(bridge);
}
END_TEST

static const char *const repairable[] = {"fake_newer_major", "fake_lazy_binding", "fake_bad_name",
                                         "fake_no_descriptor"};

START_TEST(a_repaired_plugin_is_found) {
  const char *const path = put(repairable[_i], "plugin.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 0);
  put("fake_good", "plugin.so");
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_OK);
  ck_assert_str_eq(line_of(bridge, path)->reason, "");
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_new_file_is_found_by_the_next_discovery) {
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  assert_says(line_of(bridge, home)->reason, "0 plugin files");
  put("fake_good", "good.so");
  discover(bridge);
  ck_assert_str_eq(line_of(bridge, home)->reason, "a folder with 1 plugin file");
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ names that are not loaded */

START_TEST(an_unknown_name_is_answered_with_the_loaded_ones) {
  put("fake_good", "1.so"), put("fake_short_vtable", "2.so");
  ab_bridge *const bridge = bridge_at(home);
  ab_error error;
  ab_error_init(&error);
  const ab_backend *backend = NULL;
  ck_assert_int_eq(ab_bridge_backend(bridge, "nobody", &backend, &error), AB_NO_BACKEND);
  assert_says(error.text, "loaded: none");
  discover(bridge);
  ck_assert_int_eq(ab_bridge_backend(bridge, "nobody", &backend, &error), AB_NO_BACKEND);
  assert_says(error.text, "\"nobody\"");
  assert_says(error.text, "loaded: fake_good, fake_short_vtable");
  ck_assert_ptr_null(backend);
  ck_assert_int_eq(ab_bridge_backend(bridge, NULL, &backend, NULL), AB_INVALID_ARGUMENT);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_refused_name_is_answered_with_its_reason) {
  put("fake_create_fails", "1.so"), put_text("arraybridge_torch.so"), put("fake_good", "2.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ab_error error;
  ab_error_init(&error);
  const ab_backend *backend = NULL;
  ck_assert_int_eq(ab_bridge_backend(bridge, "fake_create_fails", &backend, &error), AB_NO_BACKEND);
  assert_says(error.text, at("1.so"));
  assert_says(error.text, "not at home");
  assert_says(error.text, "loaded: fake_good");
  ck_assert_str_eq(error.hint, "invite it");
  ck_assert_int_eq(ab_bridge_backend(bridge, "torch", &backend, &error), AB_NO_BACKEND);
  assert_says(error.text, "not a shared library");
  ab_bridge_free(bridge);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("registry: places");
  TCase *const tests = unit_case(suite, "registry: places", setup, teardown);
  tcase_add_test(tests, places_come_in_the_order_of_discovery);
  tcase_add_test(tests, a_relative_data_folder_is_ignored);
  tcase_add_test(tests, each_place_is_looked_at);
  tcase_add_test(tests, without_environment_its_places_are_not_looked_at);
  tcase_add_test(tests, a_folder_is_read_in_the_order_of_names);
  tcase_add_test(tests, a_visitor_may_stop);
  tcase_add_test(tests, a_missing_place_is_traced_if_somebody_named_it);
  tcase_add_test(tests, an_empty_path_is_no_place);
  tcase_add_test(tests, the_same_file_is_looked_at_once);
  tcase_add_test(tests, a_link_that_leads_nowhere_is_traced);
  tcase_add_test(tests, the_first_backend_of_a_name_wins);
  tcase_add_test(tests, a_loaded_plugin_is_not_loaded_again);
  tcase_add_loop_test(tests, a_repaired_plugin_is_found, 0, sizeof repairable / sizeof repairable[0]);
  tcase_add_test(tests, a_new_file_is_found_by_the_next_discovery);
  tcase_add_test(tests, an_unknown_name_is_answered_with_the_loaded_ones);
  tcase_add_test(tests, a_refused_name_is_answered_with_its_reason);
  return suite;
}
