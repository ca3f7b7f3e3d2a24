/* SPDX-License-Identifier: MIT
 * Which plugins may be trusted. */
#include "plugin_folder.h"
#include "trust.h"

static const struct judged {
  uid_t owner;
  gid_t group;
  mode_t mode;
  ab_status expected;
  const char *reason, *hint;
} all_judged[] = {
    {1000, 1000, 0644, AB_OK, "", ""},
    {0, 0, 0755, AB_OK, "", ""},
    {1000, 1000, 0664, AB_OK, "", ""},  // one's own group
    {0, 0, 0775, AB_OK, "", ""},        // root's group
    {1000, 50, 0644, AB_OK, "", ""},
    {1000, 50, 0664, AB_REFUSED, "a foreign group may write /p (mode 0664)", "chmod g-w /p; "},
    {1000, 1000, 0666, AB_REFUSED, "others may write /p (mode 0666)", "chmod o-w /p; "},
    {0, 0, 01777, AB_REFUSED, "others may write /p (mode 1777)", "ARRAYBRIDGE_TRUST_WRITABLE=1"},
    {1001, 1000, 0644, AB_REFUSED, "user 1001 owns /p", "AB_BRIDGE_TRUST_WRITABLE"},
};
enum { JUDGED_COUNT = sizeof all_judged / sizeof all_judged[0] };

START_TEST(only_the_user_and_root_may_write_a_plugin) {
  const struct judged *const judged = &all_judged[_i];
  const struct stat status = {.st_uid = judged->owner, .st_gid = judged->group, .st_mode = S_IFREG | judged->mode};
  ab_error error;
  ab_error_init(&error);
  ck_assert_int_eq(ab__trust_judge("/p", &status, 1000, 1000, &error), judged->expected);
  assert_says(error.text, judged->reason);
  assert_says(error.hint, judged->hint);
}
END_TEST

static void assert_refused(const char *place, const char *file, const char *writable) {
  ab_bridge *const bridge = bridge_at(place);
  discover(bridge);
  const line *const seen = line_of(bridge, file);
  ck_assert_int_eq(seen->status, AB_REFUSED);
  assert_says(seen->reason, writable);
  assert_says(seen->reason, "others may write");
  assert_says(seen->hint, "chmod o-w");
  ck_assert_int_eq(create_calls(file), -1);
  ab_bridge_free(bridge);
}

START_TEST(a_file_that_others_may_write_is_refused) {
  const char *const path = put("fake_good", "good.so");
  ck_assert_int_eq(chmod(path, 0646), 0);
  assert_refused(home, path, path);
}
END_TEST

START_TEST(a_folder_that_others_may_write_is_refused) {
  const char *const folder = make_folder("open");
  const char *const path = put("fake_good", "open/good.so");
  ck_assert_int_eq(chmod(folder, 01777), 0);
  assert_refused(folder, path, folder);
  ab_bridge *const bridge = bridge_at(folder);
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, folder)->status, AB_REFUSED);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_link_from_a_folder_that_others_may_write_is_refused) {
  const char *const folder = make_folder("open");
  const char *const path = put("fake_good", "good.so");
  ck_assert_int_eq(symlink("../good.so", at("open/link.so")), 0);
  ck_assert_int_eq(chmod(folder, 0707), 0);
  assert_refused(at("open/link.so"), path, folder);
}
END_TEST

START_TEST(a_writable_parent_of_the_folder_does_not_count) {
  make_folder("parent"), make_folder("parent/own");
  put("fake_good", "parent/own/good.so");
  ck_assert_int_eq(chmod(at("parent"), 01777), 0);
  ab_bridge *const bridge = bridge_at(at("parent/own"));
  discover(bridge);
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(writable_places_load_when_that_is_allowed) {
  const char *const path = put("fake_good", "good.so");
  ck_assert_int_eq(chmod(path, 0646), 0);
  const int by_flag = _i == 0;
  if (!by_flag) setenv("ARRAYBRIDGE_TRUST_WRITABLE", "1", 1);
  ab_bridge *const bridge = bridge_with(by_flag ? AB_BRIDGE_TRUST_WRITABLE : 0);
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  discover(bridge);
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(elevated_the_environment_is_not_believed) {
  setenv("ARRAYBRIDGE_TRUST_WRITABLE", "1", 1);
  ck_assert_int_eq(ab__trust_of(0, 0).environment, 1);
  ck_assert_int_eq(ab__trust_of(0, 0).writable, 1);
  ck_assert_int_eq(ab__trust_of(0, 1).environment, 0);
  ck_assert_int_eq(ab__trust_of(0, 1).writable, 0);
  ck_assert_int_eq(ab__trust_of(AB_BRIDGE_NO_ENVIRONMENT, 0).environment, 0);
  ck_assert_int_eq(ab__trust_of(AB_BRIDGE_NO_ENVIRONMENT, 0).writable, 0);
  ck_assert_int_eq(ab__trust_of(AB_BRIDGE_TRUST_WRITABLE, 1).writable, 1);  // the program said so, not its user
  setenv("ARRAYBRIDGE_TRUST_WRITABLE", "0", 1);
  ck_assert_int_eq(ab__trust_of(0, 0).writable, 0);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("registry: trust");
  TCase *const tests = unit_case(suite, "registry: trust", setup, teardown);
  tcase_add_loop_test(tests, only_the_user_and_root_may_write_a_plugin, 0, JUDGED_COUNT);
  tcase_add_test(tests, a_file_that_others_may_write_is_refused);
  tcase_add_test(tests, a_folder_that_others_may_write_is_refused);
  tcase_add_test(tests, a_link_from_a_folder_that_others_may_write_is_refused);
  tcase_add_test(tests, a_writable_parent_of_the_folder_does_not_count);
  tcase_add_loop_test(tests, writable_places_load_when_that_is_allowed, 0, 2);
  tcase_add_test(tests, elevated_the_environment_is_not_believed);
  return suite;
}
