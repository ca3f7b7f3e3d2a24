/* SPDX-License-Identifier: MIT
 * Conversions that run out of memory on the way. */
#include "toy_conversion.h"

static ab_status convert_failing(int failures, ab_status status) {
  right.from_dlpack.failures = failures;
  right.from_dlpack.status = status;
  right.from_dlpack.text = "full";
  atomic_store(&right.from_dlpack.calls, 0);
  return convert();
}

static void expect_calls(int calls) { ck_assert_int_eq(atomic_load(&right.from_dlpack.calls), calls); }

START_TEST(out_of_memory_is_tried_again_and_leaves_no_trace) {
  grid(f32);
  left.sets_failure = right.sets_failure = 1;
  for (int failures = 0; failures < 3; failures++) {
    ck_assert_int_eq(convert_failing(failures, AB_OOM), AB_OK);
    expect_calls(failures + 1);
    same_values();
    ck_assert_int_eq(error.status, AB_OK);
    ck_assert_str_eq(error.text, "");
    ck_assert_uint_eq(record.step_count, 1);
    ck_assert_int_eq(atomic_load(&right.failures_alive), 0);
  }
}
END_TEST

START_TEST(the_last_failure_is_told_when_nothing_helps) {
  grid(f32);
  right.sets_failure = 1;
  ck_assert_int_eq(convert_failing(-1, AB_OOM), AB_OOM);
  expect_calls(3);
  ck_assert_str_eq(error.text, "full");
  ck_assert_str_eq(error.failure.domain, "toy");
  ck_assert_int_eq(atomic_load(&right.failures_alive), 1);
  options.max_retries = 5;
  ck_assert_int_eq(convert_failing(-1, AB_OOM), AB_OOM);
  expect_calls(6);
}
END_TEST

START_TEST(what_no_retry_can_mend_is_tried_once) {
  grid(f32);
  const ab_status once[] = {AB_TOO_LARGE, AB_FRAMEWORK, AB_DRIVER, AB_CANCELLED, AB_INVALID_TENSOR};
  for (size_t index = 0; index < sizeof once / sizeof *once; index++) {
    ck_assert_int_eq(convert_failing(-1, once[index]), once[index]);
    expect_calls(1);
  }
  options.flags = AB_CONVERT_NO_RECOVERY;
  ck_assert_int_eq(convert_failing(1, AB_OOM), AB_OOM);
  expect_calls(1);
}
END_TEST

START_TEST(a_failure_that_somebody_reads_as_out_of_memory_is_it) {
  grid(f32);
  right.sets_failure = 1; /* its own reading is in the failure, its status says less */
  right.from_dlpack.says = AB_FRAMEWORK;
  ck_assert_int_eq(convert_failing(2, AB_OOM), AB_OK);
  expect_calls(3);
}
END_TEST

/* Each allocation of the core fails once, in turn: the conversion goes on as if nothing had been. */
START_TEST(no_single_failed_allocation_stops_a_conversion) {
  grid(f32);
  options.copy = AB_COPY_ALWAYS;
  for (int nth = 1; nth < 8; nth++) {
    ab_array_release(&result);
    toy_forget(&left);
    toy_forget(&right);
    ab__allocation_fail_at(nth);
    const ab_status status = convert();
    ab__allocation_fail_at(-1);
    ck_assert_int_eq(status, AB_OK);
    same_values();
  }
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: recovery");
  TCase *const tests = unit_case(suite, "convert: recovery", setup, teardown);
  tcase_add_test(tests, out_of_memory_is_tried_again_and_leaves_no_trace);
  tcase_add_test(tests, the_last_failure_is_told_when_nothing_helps);
  tcase_add_test(tests, what_no_retry_can_mend_is_tried_once);
  tcase_add_test(tests, a_failure_that_somebody_reads_as_out_of_memory_is_it);
  tcase_add_test(tests, no_single_failed_allocation_stops_a_conversion);
  return suite;
}
