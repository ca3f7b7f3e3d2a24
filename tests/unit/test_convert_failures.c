/* SPDX-License-Identifier: MIT
 * Imports and exports that fail, backends that break their word, and no memory in a conversion. */
#include "toy_conversion.h"

/* ------------------------------------------------------------------ imports that fail */

START_TEST(an_import_that_fails_leaves_each_tensor_deleted_once) {
  const ab_status statuses[] = {AB_UNSUPPORTED, AB_WOULD_COPY, AB_FRAMEWORK, AB_OOM, AB_TOO_LARGE, AB_CANCELLED};
  grid(f32);
  options.flags = AB_CONVERT_NO_RECOVERY;
  left.sets_failure = right.sets_failure = 1;
  for (int consumes = 0; consumes < 2; consumes++)
    for (size_t index = 0; index < sizeof statuses / sizeof *statuses; index++) {
      right.consumes = consumes;
      right.from_dlpack.failures = 1;
      right.from_dlpack.status = statuses[index];
      right.from_dlpack.text = "not this way";
      const int goes_on = statuses[index] == AB_UNSUPPORTED || statuses[index] == AB_WOULD_COPY;
      ck_assert_int_eq(convert(), goes_on ? AB_OK : statuses[index]);
      ck_assert_int_eq(atomic_load(&left.deleted), atomic_load(&left.exported));
      ck_assert_uint_eq(record.bytes_copied, goes_on ? 48 : 0);
      if (goes_on) {
        expect_refusal(AB_STEP_EXCHANGE, "not this way");
        expect_steps_of(&record, 2, (ab_step_kind[]){AB_STEP_PIVOT, AB_STEP_EXCHANGE});
        ck_assert_int_eq(error.status, AB_OK);
        same_values();
      } else {
        ck_assert_int_eq(error.status, statuses[index]);
        ck_assert_str_eq(error.text, "not this way");
        ck_assert_str_eq(error.failure.domain, "toy");
        expect_steps_of(&record, 0, NULL);
        ck_assert_uint_eq(record.flags, 0);
      }
      ab_error_clear(&error);
      ck_assert_int_eq(atomic_load(&right.failures_alive), 0);
    }
}
END_TEST

START_TEST(a_copy_that_was_given_up_is_not_counted) {
  grid(f32);
  right.from_dlpack.failures = 2; /* the exchange and the pivot */
  right.from_dlpack.status = AB_UNSUPPORTED;
  right.from_dlpack.text = "not this way";
  right.consumes = 1;
  ck_assert_int_eq(convert(), AB_OK);
  expect_steps_of(&record, 1, (ab_step_kind[]){AB_STEP_FROM_HOST});
  ck_assert_uint_eq(record.bytes_copied, 48);
  expect_refusal(AB_STEP_PIVOT, "not this way");
  same_values();
}
END_TEST

START_TEST(when_every_way_fails_the_last_word_is_told) {
  grid(f32);
  right.from_dlpack.failures = right.from_host.failures = left.to_host.failures = -1;
  right.from_dlpack.status = right.from_host.status = left.to_host.status = AB_UNSUPPORTED;
  right.from_dlpack.text = "no import";
  right.from_host.text = "no push";
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  ck_assert_int_eq(error.status, AB_UNSUPPORTED);
  ck_assert_str_ne(error.text, "");
  ck_assert_uint_eq(record.bytes_copied, 0);
  ck_assert_ptr_null(result.object);
  right.from_dlpack.text = NULL; /* a refusal without a word gets one */
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  expect_refusal(AB_STEP_EXCHANGE, "ask the next one");
}
END_TEST

START_TEST(an_export_that_fails_for_good_ends_the_conversion) {
  grid(f32);
  left.to_dlpack.failures = 1;
  left.to_dlpack.status = AB_UNSUPPORTED;
  ck_assert_int_eq(convert(), AB_OK);
  left.to_dlpack.failures = 1;
  left.to_dlpack.status = AB_FRAMEWORK;
  ck_assert_int_eq(convert(), AB_FRAMEWORK);
  ck_assert_int_eq(error.status, AB_FRAMEWORK);
  ck_assert_str_ne(error.text, ""); /* the plugin had nothing to say */
  left.describe.failures = 1;
  left.describe.status = AB_DRIVER;
  ck_assert_int_eq(convert(), AB_DRIVER);
}
END_TEST

START_TEST(unknown_statuses_are_defects) {
  grid(f32);
  toy_behaviour *const slots[] = {&left.describe,      &left.to_dlpack, &right.from_dlpack,
                                  &right.capabilities, &left.start,     &right.start};
  for (int index = 0; index < 6; index++)
    for (int sign = -1; sign < 2; sign += 2) {
      atomic_store(&left.backend.started, 0);
      atomic_store(&right.backend.started, 0);
      toy_forget(&right);
      slots[index]->failures = 1;
      slots[index]->status = sign * 77;
      ck_assert_int_eq(convert(), AB_INTERNAL);
      ck_assert_int_eq(error.status, AB_INTERNAL);
      expect_text("77");
    }
}
END_TEST

START_TEST(success_without_an_array_is_a_defect) {
  grid(f32);
  right.gives_nothing = 1;
  ck_assert_int_eq(convert(), AB_INTERNAL);
  expect_text("right");
  right.backend.slots.from_dlpack = NULL;
  ck_assert_int_eq(convert(), AB_INTERNAL);
  ck_assert_ptr_null(result.object);
}
END_TEST

START_TEST(the_error_has_the_status_that_is_returned) {
  grid(f32);
  right.from_dlpack.failures = 1;
  right.from_dlpack.status = AB_TOO_LARGE;
  right.from_dlpack.says = AB_OOM; /* a plugin that is not of one mind */
  right.from_dlpack.text = "split it";
  ck_assert_int_eq(convert(), AB_TOO_LARGE);
  ck_assert_int_eq(error.status, AB_TOO_LARGE);
  ck_assert_str_eq(error.text, "split it");
}
END_TEST

START_TEST(start_is_called_until_it_succeeds) {
  grid(f32);
  right.start.failures = 2;
  right.start.status = AB_UNAVAILABLE;
  right.start.text = "not installed";
  ck_assert_int_eq(convert(), AB_UNAVAILABLE);
  ck_assert_int_eq(plan(), AB_UNAVAILABLE);
  ck_assert_int_eq(atomic_load(&left.describe.calls), 0);
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(atomic_load(&right.start.calls), 3);
  ck_assert_int_eq(atomic_load(&left.start.calls), 1);
}
END_TEST

/* ------------------------------------------------------------------ no memory */

/* Fails each allocation of the core in turn, until the conversion succeeds without meeting a failure. */
static void starve(void) {
  unsigned char values[128];
  options.flags |= AB_CONVERT_NO_RECOVERY;
  memcpy(values, source->own, sizeof values);
  for (int nth = 1;; nth++) {
    ck_assert_int_lt(nth, 30);
    ab_array_release(&result);
    toy_forget(&left);
    toy_forget(&right);
    const int64_t live = ab__allocation_count();
    ab__allocation_fail_at(nth);
    const ab_status status = convert();
    ab__allocation_fail_at(-1);
    ck_assert_mem_eq(values, source->own, sizeof values);
    if (status == AB_OK) {
      ck_assert_int_gt(nth, 1);
      same_values();
      return;
    }
    ck_assert_int_eq(status, AB_OOM);
    ck_assert_int_eq(error.status, AB_OOM);
    ck_assert_str_ne(error.text, "");
    ck_assert_ptr_null(result.object);
    ck_assert_int_eq(atomic_load(&source->references), 1);
    toy_forget(&left);
    toy_forget(&right);
    ck_assert_int_eq(ab__allocation_count(), live);
    ck_assert_uint_eq(record.bytes_copied, 0);
  }
}

static toy_array *big_grid(void) {
  const int64_t shape[] = {6, 8};
  source = toy_array_new(&left, f32, 2, shape);
  return source;
}

START_TEST(no_memory_for_an_exchange) {
  big_grid();
  starve();
  left.gives_tensor = 1;
  starve();
}
END_TEST

START_TEST(no_memory_for_a_pivot) {
  big_grid();
  options.copy = AB_COPY_ALWAYS;
  starve();
  source->flags = 0; /* from the tensor */
  starve();
}
END_TEST

START_TEST(no_memory_for_to_host) {
  big_grid();
  source->flags = AB_INFO_NOT_SHAREABLE;
  starve();
  left.to_host.report = AB_REPORT_SHARED;
  source->mutability = AB_READ_ONLY;
  starve();
}
END_TEST

START_TEST(no_memory_for_from_host) {
  big_grid();
  right.backend.slots.from_dlpack = NULL;
  starve();
  source->strides[0] = 4;
  source->strides[1] = 24;
  starve();
  source->flags = AB_INFO_NOT_SHAREABLE;
  starve();
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: failures");
  TCase *const tests = unit_case(suite, "convert: failures", setup, teardown);
  tcase_add_test(tests, an_import_that_fails_leaves_each_tensor_deleted_once);
  tcase_add_test(tests, a_copy_that_was_given_up_is_not_counted);
  tcase_add_test(tests, when_every_way_fails_the_last_word_is_told);
  tcase_add_test(tests, an_export_that_fails_for_good_ends_the_conversion);
  tcase_add_test(tests, unknown_statuses_are_defects);
  tcase_add_test(tests, success_without_an_array_is_a_defect);
  tcase_add_test(tests, the_error_has_the_status_that_is_returned);
  tcase_add_test(tests, start_is_called_until_it_succeeds);
  tcase_add_test(tests, no_memory_for_an_exchange);
  tcase_add_test(tests, no_memory_for_a_pivot);
  tcase_add_test(tests, no_memory_for_to_host);
  tcase_add_test(tests, no_memory_for_from_host);
  return suite;
}
