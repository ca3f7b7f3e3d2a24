/* SPDX-License-Identifier: MIT
 * Arguments of a conversion that are nonsense, missing or too small. */
#include "toy_conversion.h"

START_TEST(nonsense_is_refused) {
  grid(f32);
  const ab_array array = {.backend = &left.backend, .object = source}, nobody = {0};
  ck_assert_int_eq(ab_convert(NULL, &array, &right.backend, NULL, &result, &error), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_convert(bridge, NULL, &right.backend, NULL, &result, &error), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_convert(bridge, &nobody, &right.backend, NULL, &result, &error), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_convert(bridge, &array, NULL, NULL, &result, &error), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_convert(bridge, &array, &right.backend, NULL, NULL, &error), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_plan(bridge, &array, &right.backend, NULL, NULL, &error), AB_INVALID_ARGUMENT);
  options.copy = AB_COPY_NEVER + 1;
  ck_assert_int_eq(convert(), AB_INVALID_ARGUMENT);
  options.copy = 0;
  options.casting = AB_CASTING_UNSAFE + 1;
  ck_assert_int_eq(convert(), AB_INVALID_ARGUMENT);
  options.casting = 0;
  options.struct_size = 8;
  ck_assert_int_eq(convert(), AB_INVALID_ARGUMENT);
  options.struct_size = sizeof options;
  options.flags = 1u << 15;
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  options.flags = 1u << 16;
  ck_assert_int_eq(convert(), AB_OK);
  ab_record small = {.struct_size = 8};
  ck_assert_int_eq(ab_plan(bridge, &array, &right.backend, NULL, &small, &error), AB_INVALID_ARGUMENT);
  ab_bridge *other = NULL;
  ck_assert_int_eq(ab_bridge_new(NULL, &other, NULL), AB_OK);
  ck_assert_int_eq(ab_convert(other, &array, &right.backend, NULL, &result, &error), AB_INVALID_ARGUMENT);
  ab_bridge_free(other);
}
END_TEST

START_TEST(nobody_need_listen_to_errors) {
  grid(f32);
  left.sets_failure = right.sets_failure = 1;
  const ab_array array = {.backend = &left.backend, .object = source};
  right.from_dlpack.failures = 1;
  right.from_dlpack.status = AB_FRAMEWORK;
  right.from_dlpack.text = "lost";
  ck_assert_int_eq(ab_convert(bridge, &array, &right.backend, NULL, &result, NULL), AB_FRAMEWORK);
  left.describe.failures = 1;
  left.describe.status = AB_DRIVER;
  record.struct_size = sizeof record;
  ck_assert_int_eq(ab_plan(bridge, &array, &right.backend, NULL, &record, NULL), AB_DRIVER);
  right.from_dlpack.failures = 1;
  right.from_dlpack.status = AB_UNSUPPORTED;
  ck_assert_int_eq(ab_convert(bridge, &array, &right.backend, NULL, &result, NULL), AB_OK);
  ck_assert_int_eq(ab_convert(NULL, &array, &right.backend, NULL, &result, NULL), AB_INVALID_ARGUMENT);
  ab_array_release(NULL);
  ck_assert_int_eq(ab_array_describe(NULL, NULL, NULL, NULL, NULL), AB_INVALID_ARGUMENT);
}
END_TEST

START_TEST(a_record_has_room_for_the_way_that_is_taken) {
  grid(f32);
  source->device = ext0; /* every refusal there can be, then three steps */
  source->flags = AB_INFO_NOT_SHAREABLE;
  options.dtype = f64;
  options.casting = AB_CASTING_SAFE;
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 1;
  left.to_host.report = AB_REPORT_SHARED;
  ck_assert_int_eq(convert(), AB_OK);
  expect_steps_of(&record, 3, (ab_step_kind[]){AB_STEP_TO_HOST, AB_STEP_PIVOT, AB_STEP_FROM_HOST});
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: arguments");
  TCase *const tests = unit_case(suite, "convert: arguments", setup, teardown);
  tcase_add_test(tests, nonsense_is_refused);
  tcase_add_test(tests, nobody_need_listen_to_errors);
  tcase_add_test(tests, a_record_has_room_for_the_way_that_is_taken);
  return suite;
}
