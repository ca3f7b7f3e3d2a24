/* SPDX-License-Identifier: MIT
 * Discoveries on several threads, and without memory. */
#include <sched.h>

#include "memory.h"
#include "plugin_folder.h"

/* ------------------------------------------------------------------ threads */

static atomic_int readers_stop, readers_rounds;

static int count_line(void *context, const ab_trace_entry *entry) {
  *(size_t *)context += strlen(entry->path) + strlen(entry->reason);
  return 0;
}

static void *read_backends(void *context) {
  const ab_bridge *const bridge = context;
  while (!atomic_load(&readers_stop)) {
    size_t letters = 0;
    ab_bridge_trace(bridge, count_line, &letters);
    const uint32_t count = ab_bridge_backend_count(bridge);
    for (uint32_t i = 0; i < count; i++) ck_assert_ptr_nonnull(ab_backend_name(ab_bridge_backend_at(bridge, i)));
    const ab_backend *backend;
    (void)ab_bridge_backend(bridge, "fake_good", &backend, NULL);
    atomic_fetch_add(&readers_rounds, 1);
  }
  return NULL;
}

START_TEST(readers_run_while_discovery_publishes) {
  ab_bridge *const bridge = bridge_at(home);
  pthread_t readers[2];
  for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_create(&readers[i], NULL, read_backends, bridge), 0);
  put("fake_good", "1.so"), put("fake_short_vtable", "2.so"), put("fake_longer_vtable", "3.so"), put_text("4.so");
  for (int round = 0; round < 20; round++) {
    discover(bridge);
    const int before = atomic_load(&readers_rounds);
    while (atomic_load(&readers_rounds) == before) sched_yield();
  }
  atomic_store(&readers_stop, 1);
  for (int i = 0; i < 2; i++) pthread_join(readers[i], NULL);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 3);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(discoveries_at_the_same_time_create_once) {
  const char *const path = put("fake_good", "good.so");
  const char *const failing = put("fake_create_fails", "fails.so");
  ab_bridge *const bridges[] = {bridge_at(home), bridge_at(home)};
  pthread_t threads[8];
  for (int i = 0; i < 8; i++)
    ck_assert_int_eq(pthread_create(&threads[i], NULL, discover_on_thread, bridges[i % 2]), 0);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  ck_assert_int_eq(create_calls(path), 1);
  ck_assert_int_eq(create_calls(failing), 1);
  for (int i = 0; i < 2; i++) {
    ck_assert_uint_eq(ab_bridge_backend_count(bridges[i]), 1);
    ab_bridge_free(bridges[i]);
  }
}
END_TEST

/* ------------------------------------------------------------------ out of memory */

/* Discovers in new bridges, each time with a later allocation failing, until one succeeds. Returns that one. */
static ab_bridge *discover_short_of_memory(const char *place) {
  const int64_t before = ab__allocation_count();
  for (int64_t nth = 1;; nth++) {
    ck_assert_int_lt(nth, 1000);
    ab_bridge *const bridge = bridge_at(place);
    ab__allocation_fail_at(nth);
    const ab_status status = ab_bridge_discover(bridge, NULL);
    ab__allocation_fail_at(-1);
    if (status == AB_OK) {
      ck_assert_int_gt(nth, 5);
      return bridge;
    }
    ck_assert_int_eq(status, AB_OOM);
    ck_assert_uint_eq(ab_bridge_backend_count(bridge), 0);
    ab_bridge_free(bridge);
    ck_assert_int_eq(ab__allocation_count(), before);
  }
}

START_TEST(no_memory_for_a_discovery_leaks_nothing) {
  put_text("a.so"), put("fake_newer_major", "b.so"), put("fake_lazy_binding", "c.so");
  setenv("ARRAYBRIDGE_PLUGIN_PATH", at("missing"), 1);
  const int64_t before = ab__allocation_count();
  ab_bridge_free(discover_short_of_memory(home));
  ck_assert_int_eq(ab__allocation_count(), before);
}
END_TEST

START_TEST(no_memory_for_a_plugin_leaks_nothing_and_asks_it_later) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const bridge = discover_short_of_memory(path);
  backend_of(bridge, "fake_good");
  ck_assert_int_eq(create_calls(path), 1);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_discovery_goes_on_where_memory_ran_out) {
  const char *const path = put("fake_good", "a.so");
  put_text("b.so"), put("fake_short_vtable", "c.so");
  ab_bridge *const bridge = bridge_at(home);
  ab_status status = AB_OOM;
  for (int64_t nth = 1; status == AB_OOM && nth < 1000; nth++) {
    ab__allocation_fail_at(nth);
    status = ab_bridge_discover(bridge, NULL);
    ab__allocation_fail_at(-1);
  }
  ck_assert_int_eq(status, AB_OK);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 2);
  ck_assert_int_eq(create_calls(path), 1);
  ck_assert_uint_eq(trace_of(bridge)->count, 4);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(no_memory_for_a_place_is_said) {
  ab_bridge *const bridge = bridge_with(0);
  for (int64_t nth = 1; nth <= 2; nth++) {
    ab__allocation_fail_at(nth);
    ck_assert_int_eq(ab_bridge_add_path(bridge, home, NULL), AB_OOM);
    ab__allocation_fail_at(-1);
  }
  ck_assert_int_eq(ab_bridge_add_path(bridge, home, NULL), AB_OK);
  ab_bridge_free(bridge);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("registry: threads and memory");
  TCase *const tests = unit_case(suite, "registry: threads and memory", setup, teardown);
  tcase_add_test(tests, readers_run_while_discovery_publishes);
  tcase_add_test(tests, discoveries_at_the_same_time_create_once);
  tcase_add_test(tests, no_memory_for_a_discovery_leaks_nothing);
  tcase_add_test(tests, no_memory_for_a_plugin_leaks_nothing_and_asks_it_later);
  tcase_add_test(tests, a_discovery_goes_on_where_memory_ran_out);
  tcase_add_test(tests, no_memory_for_a_place_is_said);
  return suite;
}
