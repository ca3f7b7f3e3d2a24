/* SPDX-License-Identifier: MIT
 * Looking at values: what is read, of which arrays, and without memory. */
#include <math.h>

#include "kernels/range.h"
#include "toy_conversion.h"

static ab_survey_report report;

static ab_status look(uint32_t flags) {
  report = (ab_survey_report){.struct_size = sizeof report};
  const ab_array array = {.backend = &source->home->backend, .object = source};
  return ab_survey(bridge, &array, flags, 1, &report, &error);
}

/* 0, -1.5, 2, NaN at (1, 0), infinity at (2, 3), zeros. */
static float *values(void) {
  float *x = grid(f32)->data;
  memset(x, 0, 12 * sizeof *x);
  x[1] = -1.5f;
  x[2] = 2;
  x[4] = NAN;
  x[11] = INFINITY;
  return x;
}

static void expect_values(void) {
  ck_assert_uint_eq(report.count, 12);
  ck_assert_uint_eq(report.numbers, 10);
  ck_assert_uint_eq(report.minimum.kind, kDLFloat);
  ck_assert(report.minimum.as.f < -1.4 && report.minimum.as.f > -1.6);
  ck_assert(report.maximum.as.f > 1.9 && report.maximum.as.f < 2.1);
  ck_assert_uint_eq(report.nan_count, 1);
  ck_assert_uint_eq(report.infinite_count, 1);
  ck_assert_int_eq(report.ndim, 2);
  ck_assert_int_eq(report.first_nan[0], 1);
  ck_assert_int_eq(report.first_nan[1], 0);
  ck_assert_int_eq(report.fractional, 1);
  ck_assert_int_eq(report.stopped, 0);
}

START_TEST(values_are_looked_at_where_they_are) {
  values();
  ck_assert_msg(look(0) == AB_OK, "%s", error.text);
  expect_values();
  ck_assert_int_eq(atomic_load(&left.exported), 0);
}
END_TEST

START_TEST(a_tensor_that_came_with_the_description_is_read_and_given_back) {
  values();
  left.gives_tensor = 1;
  ck_assert_msg(look(0) == AB_OK, "%s", error.text);
  expect_values();
}
END_TEST

START_TEST(an_array_without_an_address_is_shared_or_brought) {
  values();
  source->flags = 0;
  ck_assert_msg(look(0) == AB_OK, "%s", error.text);
  expect_values();
  ck_assert_int_eq(atomic_load(&left.to_dlpack.calls), 1);
  source->flags = AB_INFO_NOT_SHAREABLE;
  ck_assert_msg(look(0) == AB_OK, "%s", error.text);
  expect_values();
  ck_assert_int_eq(atomic_load(&left.to_host.calls), 1);
}
END_TEST

START_TEST(the_failure_of_a_source_is_told) {
  values();
  source->flags = AB_INFO_NOT_SHAREABLE;
  left.to_host = (toy_behaviour){.failures = -1, .status = AB_OOM, .text = "no room"};
  ck_assert_int_eq(look(0), AB_OOM);
  expect_text("no room");
  source->flags = AB_INFO_NOT_CONVERTIBLE;
  source->why_not = "it is traced";
  ck_assert_int_eq(look(0), AB_UNSUPPORTED);
  expect_text("it is traced");
}
END_TEST

START_TEST(looking_stops_at_the_first_value_outside_the_unit_range) {
  float *x = values();
  ck_assert_int_eq(look(AB_SURVEY_UNIT_ONLY), AB_OK);
  ck_assert_int_eq(report.stopped, 1);
  for (int i = 0; i < 12; i++) x[i] = (float)i / 12;
  ck_assert_int_eq(look(AB_SURVEY_UNIT_ONLY), AB_OK);
  ck_assert_int_eq(report.stopped, 0);
  ck_assert_int_eq(report.fractional, 1);
}
END_TEST

START_TEST(integers_are_kept_exactly) {
  const DLDataType i64 = {kDLInt, 64, 1};
  int64_t *x = grid(i64)->data;
  memset(x, 0, 12 * sizeof *x);
  x[3] = INT64_MAX;
  x[5] = INT64_MIN + 1;
  ck_assert_int_eq(look(0), AB_OK);
  ck_assert_uint_eq(report.minimum.kind, kDLInt);
  ck_assert_int_eq(report.minimum.as.i, INT64_MIN + 1);
  ck_assert_int_eq(report.maximum.as.i, INT64_MAX);
  ck_assert_int_eq(report.fractional, 0);
}
END_TEST

START_TEST(complex_arrays_and_bad_arguments_are_refused) {
  grid(c64);
  ck_assert_int_eq(look(0), AB_UNSUPPORTED);
  expect_text("complex64");
  const ab_array array = {.backend = &left.backend, .object = source};
  report = (ab_survey_report){.struct_size = 8};
  ck_assert_int_eq(ab_survey(bridge, &array, 0, 1, &report, NULL), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_survey(bridge, NULL, 0, 1, &report, NULL), AB_INVALID_ARGUMENT);
}
END_TEST

/* ------------------------------------------------------------------ the kernel */

START_TEST(scattered_memory_needs_no_memory_of_ours) {
  enum { ROWS = 300, COLUMNS = 211 };
  static double image[ROWS * COLUMNS];
  for (int i = 0; i < ROWS * COLUMNS; i++) image[i] = i;
  image[5 * COLUMNS + 7] = NAN;
  const int64_t shape[] = {COLUMNS, ROWS}, strides[] = {8, 8 * COLUMNS}; /* transposed */
  const ab__strided view = {image, 2, shape, strides, 8, 0};
  for (int nth = -1; nth <= 1; nth += 2) {
    ab__range range;
    ab__allocation_fail_at(nth);
    ck_assert_int_eq(ab__range_find(&view, f64, AB__RANGE_FRACTIONS, 1, &range), AB_OK);
    ab__allocation_fail_at(-1);
    ck_assert_int_eq(range.first_nan, 7 * ROWS + 5);
    ck_assert_int_eq(range.numbers, ROWS * COLUMNS - 1);
    ck_assert(range.greatest.as.f > ROWS * COLUMNS - 1.5);
    ck_assert_int_eq(range.fractional, 0);
  }
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("survey");
  TCase *const arrays = unit_case(suite, "arrays", setup, teardown);
  tcase_add_test(arrays, values_are_looked_at_where_they_are);
  tcase_add_test(arrays, a_tensor_that_came_with_the_description_is_read_and_given_back);
  tcase_add_test(arrays, an_array_without_an_address_is_shared_or_brought);
  tcase_add_test(arrays, the_failure_of_a_source_is_told);
  tcase_add_test(arrays, looking_stops_at_the_first_value_outside_the_unit_range);
  tcase_add_test(arrays, integers_are_kept_exactly);
  tcase_add_test(arrays, complex_arrays_and_bad_arguments_are_refused);
  TCase *const kernel = unit_case(suite, "kernel", NULL, NULL);
  tcase_add_test(kernel, scattered_memory_needs_no_memory_of_ours);
  return suite;
}
