/* SPDX-License-Identifier: MIT
 * Asking a backend once, and the public questions. */
#include "backend.h"
#include "toy_language.h"

/* ------------------------------------------------------------------ abilities */

START_TEST(each_device_and_slot_is_asked_once) {
  enum { DEVICES = 40 };
  const ab__ability *known[DEVICES][2];
  right.places = TOY_EXT;
  right.accelerators = DEVICES;
  right.can[0].max_ndim = 3;
  right.can[1].max_ndim = 4;
  void *token = lock_enter(&the_self);
  for (int round = 0; round < 2; round++)
    for (int id = 0; id < DEVICES; id++)
      for (uint32_t slot = 0; slot < 2; slot++) {
        const ab__ability *found = NULL;
        ck_assert_int_eq(ab__backend_ability(&right.backend, (DLDevice){kDLExtDev, id}, slot, &found, &error), AB_OK);
        if (round == 0) known[id][slot] = found;
        ck_assert_ptr_eq(found, known[id][slot]);
      }
  for (int id = 0; id < DEVICES; id++) /* no later answer took the place of an earlier one */
    for (uint32_t slot = 0; slot < 2; slot++) {
      ck_assert_int_eq(known[id][slot]->device.device_id, id);
      ck_assert_uint_eq(known[id][slot]->slot, slot);
      ck_assert_int_eq(known[id][slot]->stated.max_ndim, slot == 0 ? 3 : 4);
    }
  ck_assert_int_eq(atomic_load(&right.capabilities.calls), 2 * DEVICES);
  lock_leave(&the_self, token);
  expect_nothing_left();
}
END_TEST

static const ab__ability *ability(void) {
  const ab__ability *found = NULL;
  toy_forget(&right);
  void *token = lock_enter(&the_self);
  ck_assert_int_eq(ab__backend_ability(&right.backend, (DLDevice){kDLCPU, 0}, AB_SLOT_FROM_DLPACK, &found, &error),
                   AB_OK);
  lock_leave(&the_self, token);
  return found;
}

START_TEST(what_a_newer_plugin_says_is_read_carefully) {
  ck_assert_int_eq(ability()->supported, 1);
  right.can[0].layout = 9;
  right.can[0].max_ndim = 1000;
  right.can[0].flags |= 1u << 20; /* may be ignored */
  ck_assert_uint_eq(ability()->stated.layout, AB_LAYOUT_C);
  ck_assert_int_eq(ability()->stated.max_ndim, AB_MAX_NDIM);
  ck_assert_int_eq(ability()->supported, 1);
  right.can[0].alignment = 1u << 30; /* never less than was asked for */
  ck_assert_uint_eq(ability()->stated.alignment, 1u << 30);
  right.can[0].alignment = 48; /* no power of two */
  ck_assert_int_eq(ability()->supported, 0);
  right.can[0].alignment = 0;
  right.can[0].flags |= 1u << 10; /* must be understood */
  ck_assert_int_eq(ability()->supported, 0);
  right.can[0].flags = 0;
  right.can[0].dtypes = NULL;
  ck_assert_uint_eq(ability()->dtypes, 0);
}
END_TEST

START_TEST(nothing_there_is_an_answer_that_leaves_no_error) {
  right.places = 0;
  ab_error_set(&error, AB_OK, "a remark of describe()");
  ck_assert_int_eq(ability()->supported, 0);
  ck_assert_str_eq(error.text, "a remark of describe()");
  const ab__ability *found = NULL;
  toy_forget(&right);
  right.capabilities.failures = 1;
  right.capabilities.status = AB_DRIVER;
  right.capabilities.text = "the driver is gone";
  right.sets_failure = 1;
  void *token = lock_enter(&the_self);
  ck_assert_int_eq(ab__backend_ability(&right.backend, (DLDevice){kDLCPU, 0}, 0, &found, &error), AB_DRIVER);
  lock_leave(&the_self, token);
  ck_assert_str_eq(error.text, "the driver is gone");
  ck_assert_str_eq(error.failure.domain, "toy");
  ck_assert_ptr_null(found);
  ab_error_clear(&error);
  ck_assert_int_eq(atomic_load(&right.failures_alive), 0);
  expect_nothing_left();
}
END_TEST

static void *ask_for_all(void *seen) {
  const ab__ability **found = seen;
  for (int id = 0; id < 32; id++)
    ab__backend_ability(&right.backend, (DLDevice){kDLExtDev, id}, AB_SLOT_FROM_HOST, &found[id], NULL);
  return NULL;
}

START_TEST(threads_that_ask_at_once_agree) {
  static const ab__ability *found[THREADS][32];
  pthread_t threads[THREADS];
  right.places = TOY_EXT;
  right.accelerators = 32;
  right.has_lock = NULL; /* several attached threads, as on a free-threaded interpreter */
  for (int index = 0; index < THREADS; index++) pthread_create(&threads[index], NULL, ask_for_all, found[index]);
  for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
  for (int index = 1; index < THREADS; index++) ck_assert_mem_eq(found[index], found[0], sizeof found[0]);
  expect_nothing_left();
}
END_TEST

/* ------------------------------------------------------------------ the public questions */

START_TEST(a_backend_starts_once_it_can) {
  right.start.failures = 1;
  right.start.status = AB_UNAVAILABLE;
  right.start.text = "not installed";
  ab_error_set(&error, AB_OOM, "of an earlier call");
  ck_assert_int_eq(ab_backend_start(&right.backend, &error), AB_UNAVAILABLE);
  ck_assert_str_eq(error.text, "not installed");
  ck_assert_int_eq(ab_backend_start(&right.backend, NULL), AB_OK);
  ck_assert_int_eq(ab_backend_start(&right.backend, &error), AB_OK);
  ck_assert_str_eq(error.text, "");
  ck_assert_int_eq(atomic_load(&right.start.calls), 2);
}
END_TEST

static int count_device(void *context, const ab_device_info *device) {
  (void)device;
  return ++*(int *)context == 2;
}

START_TEST(a_backend_answers_questions) {
  int seen = 0;
  right.accelerators = 3;
  right.places |= TOY_EXT;
  ck_assert_int_eq(ab_backend_devices(&right.backend, count_device, &seen, NULL), AB_OK);
  ck_assert_int_eq(seen, 2); /* the visitor has stopped it */
  ab_capabilities small = {.struct_size = offsetof(ab_capabilities, dtypes), .dtype_count = 99};
  const DLDevice ext2 = {kDLExtDev, 2}, ext3 = {kDLExtDev, 3};
  ck_assert_int_eq(ab_backend_capabilities(&right.backend, ext2, AB_SLOT_FROM_HOST, &small, NULL), AB_OK);
  ck_assert_uint_eq(small.flags, right.can[1].flags);
  ck_assert_uint_eq(small.dtype_count, 99); /* not the caller's to have */
  ck_assert_int_eq(ab_backend_capabilities(&right.backend, ext3, AB_SLOT_FROM_HOST, &small, &error), AB_UNSUPPORTED);
  ck_assert_str_ne(error.text, "");
  ab_framework_info info = {.struct_size = sizeof info};
  ck_assert_int_eq(ab_backend_probe(&right.backend, &info, NULL), AB_UNSUPPORTED);
  right.backend.slots.devices = NULL;
  seen = 0;
  ck_assert_int_eq(ab_backend_devices(&right.backend, count_device, &seen, NULL), AB_OK);
  ck_assert_int_eq(seen, 1); /* the host */
  ck_assert_str_eq(ab_backend_name(&right.backend), "right");
}
END_TEST

START_TEST(a_runtime_that_ends_stops_everything) {
  toy_array *source = toy_array_new(&left, f32, 0, NULL);
  const ab_array array = {.backend = &left.backend, .object = source};
  ab_array result = {0};
  thing object = {NULL};
  const ab_backend *found = NULL;
  atomic_store(&is_ending, 1);
  ck_assert_int_eq(ab_backend_start(&left.backend, &error), AB_ENDING);
  ck_assert_int_eq(ab_convert(bridge, &array, &right.backend, NULL, &result, &error), AB_ENDING);
  ck_assert_int_eq(ab_detect(bridge, &object, &found, &error), AB_ENDING);
  atomic_store(&is_ending, 0);
  ab_bridge_end(bridge);
  ck_assert_int_eq(ab_convert(bridge, &array, &right.backend, NULL, &result, &error), AB_ENDING);
  ck_assert_int_eq(ab_detect(bridge, &object, &found, &error), AB_ENDING);
  ck_assert_int_eq(atomic_load(&left.describe.calls), 0);
  toy_array_release(source);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("backend");
  TCase *const tests = unit_case(suite, "backend", setup, teardown);
  tcase_add_test(tests, each_device_and_slot_is_asked_once);
  tcase_add_test(tests, what_a_newer_plugin_says_is_read_carefully);
  tcase_add_test(tests, nothing_there_is_an_answer_that_leaves_no_error);
  tcase_add_test(tests, threads_that_ask_at_once_agree);
  tcase_add_test(tests, a_backend_starts_once_it_can);
  tcase_add_test(tests, a_backend_answers_questions);
  tcase_add_test(tests, a_runtime_that_ends_stops_everything);
  return suite;
}
