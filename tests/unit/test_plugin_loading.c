/* SPDX-License-Identifier: MIT
 * Which plugins load, and what is said about the others. */
#include <ltdl.h>

#include "plugin_folder.h"

START_TEST(a_good_plugin_is_loaded_and_traced) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const bridge = bridge_at(path);
  discover(bridge);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 1);
  const ab_backend *const backend = backend_of(bridge, "fake_good");
  ck_assert_ptr_eq(ab_bridge_backend_at(bridge, 0), backend);
  ck_assert_ptr_null(ab_bridge_backend_at(bridge, 1));
  ck_assert_str_eq(ab_backend_path(backend), path);
  ck_assert_ptr_eq(backend->bridge, bridge);
  ck_assert(backend->vtable->to_dlpack != NULL);
  ck_assert(backend->vtable->start == NULL);

  const line *const seen = line_of(bridge, path);
  ck_assert_int_eq(seen->status, AB_OK);
  ck_assert_str_eq(seen->place, "api");
  ck_assert_str_eq(seen->name, "fake_good");
  ck_assert_str_eq(seen->version, "1.2.3");
  ck_assert_str_eq(seen->reason, "");
  ck_assert_str_eq(seen->hint, "");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(backends_come_sorted_by_name) {
  put("fake_short_vtable", "1.so");
  put("fake_good", "2.so");
  put("fake_longer_vtable", "3.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 3);
  ck_assert_str_eq(ab_backend_name(ab_bridge_backend_at(bridge, 0)), "fake_good");
  ck_assert_str_eq(ab_backend_name(ab_bridge_backend_at(bridge, 1)), "fake_longer_vtable");
  ck_assert_str_eq(ab_backend_name(ab_bridge_backend_at(bridge, 2)), "fake_short_vtable");
  ab_bridge_free(bridge);
}
END_TEST

static const struct broken {
  const char *fake, *name;
  ab_status status;
  const char *reason, *hint;
} all_broken[] = {
    {"fake_newer_major", "", AB_INCOMPATIBLE, "built for interface 2.0, this core speaks 1.0: update arraybridge", ""},
    {"fake_unresolved_symbol", "", AB_UNAVAILABLE, "undefined symbol: symbol_that_no_library_defines", "ldd -r"},
    {"fake_create_fails", "fake_create_fails", AB_UNAVAILABLE, "the fake framework is not at home, call 1",
     "invite it"},
    {"fake_missing_slot", "fake_missing_slot", AB_INCOMPATIBLE, "capabilities()", ""},
    {"fake_lazy_binding", "", AB_REFUSED, "-z now", "-Wl,-z,now or arraybridge_add_plugin()"},
    {"fake_wrong_runtime_abi", "fake_wrong_runtime_abi", AB_INCOMPATIBLE, "needs Python", "Python package"},
    {"fake_bad_name", "", AB_INCOMPATIBLE, "\"Fake Bad-Name\"", ""},
    {"fake_no_descriptor", "", AB_INCOMPATIBLE, "does not export arraybridge_plugin", "AB_PLUGIN_DEFINE"},
    {"fake_short_descriptor", "", AB_INCOMPATIBLE, "its descriptor has", ""},
};
enum { BROKEN_COUNT = sizeof all_broken / sizeof all_broken[0] };

START_TEST(a_broken_plugin_is_skipped_alone_with_its_reason) {
  const struct broken *const expected = &all_broken[_i];
  const char *const path = put(expected->fake, "a_broken.so");
  put("fake_good", "b_good.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  const line *const seen = line_of(bridge, path);
  ck_assert_int_eq(seen->status, expected->status);
  ck_assert_str_eq(seen->name, expected->name);
  assert_says(seen->reason, expected->reason);
  assert_says(seen->hint, expected->hint);
  ck_assert_msg(strstr(seen->reason, path) == NULL, "the line names the path already: %s", seen->reason);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 1);
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_vtable_of_an_older_minor_ends_in_empty_slots) {
  ab_bridge *const bridge = bridge_at(put("fake_short_vtable", "short.so"));
  discover(bridge);
  const ab_plugin_vtable *const slots = backend_of(bridge, "fake_short_vtable")->vtable;
  ck_assert_uint_eq(slots->struct_size, sizeof *slots);
  ck_assert(slots->release != NULL);
  ck_assert(slots->probe == NULL);
  ck_assert(slots->start == NULL);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_vtable_of_a_later_minor_is_taken_as_far_as_known) {
  ab_bridge *const bridge = bridge_at(put("fake_longer_vtable", "longer.so"));
  discover(bridge);
  const ab_backend *const backend = backend_of(bridge, "fake_longer_vtable");
  ck_assert_uint_eq(backend->vtable->struct_size, sizeof(ab_plugin_vtable));
  ck_assert(backend->vtable->release != NULL);
  ck_assert_str_eq(ab_backend_version(backend), "9.8.7");
  ck_assert_int_eq(atomic_load(&backend->started), 0);  // what lies behind the slots was not overwritten
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(what_is_no_shared_library_is_called_so) {
  const char *const text = put_text("text.so");
  const char *const pipe = at("pipe.so");
  ck_assert_int_eq(mkfifo(pipe, 0600), 0);
  const char *const folder = make_folder("folder.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  const char *const paths[] = {text, pipe, folder};
  for (int i = 0; i < 3; i++) {
    const line *const seen = line_of(bridge, paths[i]);
    ck_assert_int_eq(seen->status, AB_INCOMPATIBLE);
    assert_says(seen->reason,
                i == 0 ? "not a shared library: no ELF file" : "not a shared library: not a regular file");
  }
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_file_that_is_cut_off_is_not_opened) {
  size_t size;
  char *const bytes = read_fake("fake_good", &size);
  const char *const path = at("half.so");
  write_file(path, bytes, 4096);  // the tables are there, what they point to is not
  ab_bridge *const bridge = bridge_at(path);
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_INCOMPATIBLE);
  assert_says(line_of(bridge, path)->reason, "cut off");
  free(bytes);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_file_for_another_machine_is_called_so) {
  size_t size;
  char *const bytes = read_fake("fake_good", &size);
  bytes[18] = 0x7f;  // e_machine
  bytes[19] = 0x7f;
  const char *const path = at("other.so");
  write_file(path, bytes, size);
  ab_bridge *const bridge = bridge_at(path);
  discover(bridge);
  assert_says(line_of(bridge, path)->reason, "another machine");
  free(bytes);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_refused_plugin_is_closed_and_a_loaded_one_stays) {
  const char *const refused = put("fake_newer_major", "refused.so");
  const char *const loaded = put("fake_good", "loaded.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ck_assert_int_eq(create_calls(refused), -1);
  ck_assert_int_eq(create_calls(loaded), 1);
  ab_bridge_free(bridge);
  ck_assert_int_eq(create_calls(loaded), 1);
}
END_TEST

START_TEST(a_loaded_plugin_is_resident_and_keeps_its_symbols_to_itself) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const bridge = bridge_at(path);
  discover(bridge);
  const lt_dlinterface_id interface = lt_dlinterface_register("test_registry", NULL);
  const lt_dlhandle handle = lt_dlhandle_iterate(interface, NULL);
  ck_assert_ptr_nonnull(handle);
  ck_assert_str_eq(lt_dlgetinfo(handle)->filename, path);
  ck_assert_int_eq(lt_dlgetinfo(handle)->is_resident, 1);
  ck_assert_int_eq(lt_dlgetinfo(handle)->is_symlocal, 1);
  ck_assert_ptr_null(dlsym(RTLD_DEFAULT, AB_PLUGIN_SYMBOL));
  lt_dlinterface_free(interface);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_failed_create_is_never_called_again) {
  const char *const path = put("fake_create_fails", "fails.so");
  const char *const twin = at("twin.so");  // the same file under another path
  ck_assert_int_eq(link(path, twin), 0);
  ab_bridge *const first = bridge_at(home);
  discover(first);
  discover(first);
  ab_bridge *const second = bridge_at(home);
  discover(second);
  ck_assert_int_eq(create_calls(path), 1);
  assert_says(line_of(first, path)->reason, "call 1");
  assert_says(line_of(first, twin)->reason, "call 1");
  assert_says(line_of(second, path)->reason, "call 1");
  assert_says(line_of(second, path)->hint, "once in a process");
  ab_bridge_free(first);
  ab_bridge_free(second);
}
END_TEST

START_TEST(a_second_bridge_gets_the_plugin_without_a_second_create) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const first = bridge_at(path);
  ab_bridge *const second = bridge_at(path);
  discover(first);
  discover(second);
  ck_assert_int_eq(create_calls(path), 1);
  const ab_backend *const backend = backend_of(second, "fake_good");
  ck_assert_ptr_ne(backend, backend_of(first, "fake_good"));
  ck_assert_ptr_eq(backend->bridge, second);
  ck_assert(backend->vtable->retain == backend_of(first, "fake_good")->vtable->retain);
  ab_bridge_free(first);
  ab_bridge_free(second);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("plugin loading");
  TCase *const tests = unit_case(suite, "plugin loading", setup, teardown);
  tcase_add_test(tests, a_good_plugin_is_loaded_and_traced);
  tcase_add_test(tests, backends_come_sorted_by_name);
  tcase_add_loop_test(tests, a_broken_plugin_is_skipped_alone_with_its_reason, 0, BROKEN_COUNT);
  tcase_add_test(tests, a_vtable_of_an_older_minor_ends_in_empty_slots);
  tcase_add_test(tests, a_vtable_of_a_later_minor_is_taken_as_far_as_known);
  tcase_add_test(tests, what_is_no_shared_library_is_called_so);
  tcase_add_test(tests, a_file_that_is_cut_off_is_not_opened);
  tcase_add_test(tests, a_file_for_another_machine_is_called_so);
  tcase_add_test(tests, a_refused_plugin_is_closed_and_a_loaded_one_stays);
  tcase_add_test(tests, a_loaded_plugin_is_resident_and_keeps_its_symbols_to_itself);
  tcase_add_test(tests, a_failed_create_is_never_called_again);
  tcase_add_test(tests, a_second_bridge_gets_the_plugin_without_a_second_create);
  return suite;
}
