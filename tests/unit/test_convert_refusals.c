/* SPDX-License-Identifier: MIT
 * What no way of a conversion can mend: shapes, dtypes, devices that the target cannot hold. */
#include "toy_conversion.h"

/* ------------------------------------------------------------------ what no way can mend */

START_TEST(shapes_the_target_cannot_hold_are_refused) {
  grid(f32);
  right.can[0].max_ndim = right.can[1].max_ndim = 1;
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  expect_text("2 dimensions; right holds 1 at most");
  ck_assert_str_eq(error.hint, "convert x[i] one by one");
  toy_forget(&right);
  right.can[0].max_ndim = right.can[1].max_ndim = 8;
  right.can[0].max_bytes = right.can[1].max_bytes = 47;
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  expect_text("48 bytes");
  toy_forget(&right);
  right.can[0].max_bytes = right.can[1].max_bytes = 48;
  expect_shared();
  ck_assert_int_eq(atomic_load(&right.from_dlpack.calls), 1);
}
END_TEST

START_TEST(a_limit_of_the_import_alone_is_passed_by_a_push) {
  grid(f32);
  right.can[0].max_ndim = 1;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_FROM_HOST);
  expect_refusal(AB_STEP_EXCHANGE, "2 dimensions");
}
END_TEST

START_TEST(arrays_without_elements_or_dimensions_need_a_target_that_takes_them) {
  const int64_t none[] = {3, 0};
  source = toy_array_new(&left, f32, 2, none);
  expect_way(1, (ab_step_kind[]){AB_STEP_EXCHANGE}, AB_REPORT_SHARED);
  right.can[0].flags = right.can[1].flags = AB_ACCEPTS_ZERO_DIM;
  toy_forget(&right);
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  expect_text("without elements");
  ab_array_release(&result);
  toy_array_release(source);
  source = toy_array_new(&left, f32, 0, NULL);
  toy_forget(&right);
  expect_way(1, (ab_step_kind[]){AB_STEP_EXCHANGE}, AB_REPORT_SHARED);
  same_values();
  right.can[0].flags = right.can[1].flags = AB_ACCEPTS_EMPTY;
  toy_forget(&right);
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  expect_text("0-d");
  ck_assert_str_eq(error.hint, "pass x.reshape(1)");
}
END_TEST

START_TEST(empty_arrays_survive_every_way) {
  const int64_t none[] = {0, 4};
  source = toy_array_new(&left, f32, 2, none);
  source->strides[0] = INT64_MAX; /* means nothing here */
  expect_way(1, (ab_step_kind[]){AB_STEP_EXCHANGE}, AB_REPORT_SHARED);
  options.copy = AB_COPY_ALWAYS;
  expect_way(2, (ab_step_kind[]){AB_STEP_PIVOT, AB_STEP_EXCHANGE}, AB_REPORT_COPIED);
  options.copy = AB_COPY_IF_NEEDED;
  right.backend.slots.from_dlpack = NULL;
  expect_way(2, (ab_step_kind[]){AB_STEP_PIVOT, AB_STEP_FROM_HOST}, AB_REPORT_COPIED);
  ck_assert_ptr_nonnull(right.seen.data); /* even then, some frameworks want an address */
}
END_TEST

START_TEST(unconvertible_arrays_say_why) {
  grid(f32);
  source->flags = AB_INFO_NOT_CONVERTIBLE;
  source->why_not = "it is being traced";
  source->dtype = (DLDataType){0, 0, 0};
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  ck_assert_str_eq(error.text, "it is being traced");
  ck_assert_ptr_eq(record.source, &left.backend); /* the record is valid all the same */
  ck_assert_ptr_eq(record.target, &right.backend);
  source->why_not = "it is being traced; convert outside";
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  ck_assert_str_eq(error.text, "it is being traced");
  ck_assert_str_eq(error.hint, "convert outside");
  source->why_not = NULL;
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  expect_text("no elements");
}
END_TEST

START_TEST(an_error_of_an_earlier_call_is_forgotten) {
  grid(f32);
  ab_error_set(&error, AB_OOM, "of an earlier call");
  ab_error_hint(&error, "of an earlier call");
  source->flags = AB_INFO_NOT_CONVERTIBLE;
  source->why_not = "it is being traced";
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  ck_assert_str_eq(error.text, "it is being traced");
  ck_assert_str_eq(error.hint, "");
  source->flags = AB_INFO_NOT_SHAREABLE;
  left.backend.slots.to_host = NULL;
  ab_error_set(&error, AB_OOM, "of an earlier call");
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  ck_assert_ptr_null(strstr(error.text, "earlier"));
  ab_error_set(&error, AB_OOM, "of an earlier call");
  source->flags = AB_INFO_HOST_ACCESSIBLE;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(error.status, AB_OK);
  ck_assert_str_eq(error.text, "");
}
END_TEST

/* ------------------------------------------------------------------ dtypes */

START_TEST(a_dtype_the_target_lacks_is_an_error_with_the_way_out) {
  static const DLDataType have[] = {{kDLUInt, 8, 1}, {kDLFloat, 16, 1}, {kDLFloat, 32, 1}, {kDLComplex, 128, 1}};
  hold_only(have, 4);
  grid(f64);
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  ck_assert_str_eq(error.text, "float64 does not exist in right");
  ck_assert_str_eq(error.hint,
                   "pass dtype=\"float32\", casting=\"same_kind\" (values are rounded, beyond float32 they "
                   "become infinite; scaling=\"exact\" refuses such values)");
  ck_assert_int_eq(plan(), AB_WOULD_CAST);
  options.casting = AB_CASTING_SAFE; /* complex128 holds every float64 */
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_uint_eq(made()->dtype.code, kDLComplex);
  options.casting = AB_CASTING_SAME_KIND;
  EXPECT_WAY(AB_REPORT_COPIED | AB_REPORT_CAST, AB_STEP_PIVOT, AB_STEP_EXCHANGE);
  ck_assert_uint_eq(made()->dtype.bits, 32);
  ck_assert_uint_eq(record.bytes_copied, 48);
  ck_assert_uint_eq(record.bytes, 96);
  ck_assert_uint_eq(record.source_dtype.bits, 64);
  ck_assert_uint_eq(record.target_dtype.bits, 32);
}
END_TEST

START_TEST(a_complex_dtype_that_nothing_comes_near_is_handed_over_in_parts) {
  static const DLDataType have[] = {{kDLUInt, 8, 1}};
  hold_only(have, 1);
  grid(c64);
  options.casting = AB_CASTING_SAME_KIND;
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  ck_assert_str_eq(error.hint, "pass its real and its imaginary part one by one: x.real, x.imag");
}
END_TEST

START_TEST(a_hint_says_what_a_cast_does_to_values) {
  static const struct {
    DLDataType have, want;
    const char *says;
  } rows[] = {
      {{kDLInt, 64, 1}, {kDLInt, 32, 1}, "values outside int32 would wrap; scaling=\"clip\" saturates"},
      {{kDLFloat, 32, 1}, {kDLUInt, 8, 1}, "fractions are cut off, values outside uint8 saturate"},
      {{kDLFloat, 64, 1}, {kDLFloat, 32, 1}, "beyond float32 they become infinite"},
      {{kDLInt, 64, 1}, {kDLFloat, 32, 1}, "large values are rounded"},
      {{kDLComplex, 64, 1}, {kDLFloat, 32, 1}, "imaginary parts are dropped"},
      {{kDLFloat, 32, 1}, {kDLBool, 8, 1}, "every value but 0 becomes True"},
  };
  for (size_t row = 0; row < sizeof rows / sizeof rows[0]; row++) {
    grid(rows[row].have);
    options.dtype = rows[row].want;
    ck_assert_int_eq(convert(), AB_WOULD_CAST);
    ck_assert_ptr_nonnull(strstr(error.hint, rows[row].says));
    toy_array_release(source);
    source = NULL;
  }
}
END_TEST

START_TEST(a_wanted_dtype_obeys_the_casting_rule) {
  grid(f32);
  options.dtype = f64;
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  ck_assert_str_eq(error.text, "float32 would become float64");
  ck_assert_str_eq(error.hint, "pass casting=\"safe\" to allow it");
  options.casting = AB_CASTING_SAFE;
  EXPECT_WAY(AB_REPORT_COPIED | AB_REPORT_CAST, AB_STEP_PIVOT, AB_STEP_EXCHANGE);
  expect_refusal(AB_STEP_EXCHANGE, "dtype changes from float32 to float64");
  ck_assert_uint_eq(record.bytes_copied, 96);
  ck_assert_double_eq(((double *)made()->data)[5], (double)((float *)source->data)[5]);
  options.dtype = i16;
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  ck_assert_ptr_nonnull(strstr(error.hint, "pass casting=\"unsafe\" to allow it (fractions are cut off"));
  options.casting = AB_CASTING_UNSAFE;
  ck_assert_int_eq(convert(), AB_OK);
  options.dtype = f32; /* nothing changes */
  options.casting = AB_CASTING_NO;
  expect_shared();
  options.dtype = f64;
  options.casting = AB_CASTING_SAFE;
  options.copy = AB_COPY_NEVER;
  ck_assert_int_eq(convert(), AB_WOULD_COPY);
  expect_text("dtype changes");
}
END_TEST

START_TEST(a_cast_on_the_way_over_the_host_and_before_a_push) {
  grid(f32);
  options.dtype = f64;
  options.casting = AB_CASTING_SAFE;
  source->flags = AB_INFO_NOT_SHAREABLE;
  EXPECT_WAY(AB_REPORT_COPIED | AB_REPORT_CAST, AB_STEP_TO_HOST, AB_STEP_PIVOT, AB_STEP_EXCHANGE);
  source->flags = AB_INFO_HOST_ACCESSIBLE;
  right.backend.slots.from_dlpack = NULL;
  EXPECT_WAY(AB_REPORT_COPIED | AB_REPORT_CAST, AB_STEP_PIVOT, AB_STEP_FROM_HOST);
  ck_assert_uint_eq(record.bytes_copied, 192);
  ck_assert_double_eq(((double *)made()->data)[5], (double)((float *)source->data)[5]);
}
END_TEST

START_TEST(dtypes_that_nobody_knows_are_refused) {
  grid(f32);
  options.dtype = (DLDataType){kDLFloat, 24, 1};
  ck_assert_int_eq(convert(), AB_INVALID_ARGUMENT);
  options.dtype = (DLDataType){kDLFloat, 32, 4};
  ck_assert_int_eq(convert(), AB_INVALID_ARGUMENT);
  options.dtype = u32; /* ours, but not the target's */
  options.casting = AB_CASTING_UNSAFE;
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  options.dtype = (DLDataType){0, 0, 0};
  source->dtype = (DLDataType){kDLFloat, 24, 1};
  ck_assert_int_eq(convert(), AB_INVALID_TENSOR);
  source->dtype = f32;
  source->dtype.lanes = 2;
  ck_assert_int_eq(convert(), AB_INVALID_TENSOR);
}
END_TEST

START_TEST(shapes_that_cannot_be_are_refused) {
  grid(f32);
  source->shape[0] = -1;
  ck_assert_int_eq(convert(), AB_INVALID_TENSOR);
  source->shape[0] = INT64_MAX;
  ck_assert_int_eq(convert(), AB_INVALID_TENSOR);
  source->shape[0] = 3;
  source->strides[0] = INT64_MAX;
  ck_assert_int_eq(convert(), AB_INVALID_TENSOR);
  ck_assert_int_eq(plan(), AB_INVALID_TENSOR);
  source->ndim = AB_MAX_NDIM + 1;
  ck_assert_int_eq(convert(), AB_INVALID_TENSOR);
  source->ndim = -1;
  ck_assert_int_eq(convert(), AB_INVALID_TENSOR);
  source->ndim = 2;
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: refusals");
  TCase *const tests = unit_case(suite, "convert: refusals", setup, teardown);
  tcase_add_test(tests, shapes_the_target_cannot_hold_are_refused);
  tcase_add_test(tests, a_limit_of_the_import_alone_is_passed_by_a_push);
  tcase_add_test(tests, arrays_without_elements_or_dimensions_need_a_target_that_takes_them);
  tcase_add_test(tests, empty_arrays_survive_every_way);
  tcase_add_test(tests, unconvertible_arrays_say_why);
  tcase_add_test(tests, an_error_of_an_earlier_call_is_forgotten);
  tcase_add_test(tests, a_dtype_the_target_lacks_is_an_error_with_the_way_out);
  tcase_add_test(tests, a_complex_dtype_that_nothing_comes_near_is_handed_over_in_parts);
  tcase_add_test(tests, a_hint_says_what_a_cast_does_to_values);
  tcase_add_test(tests, a_wanted_dtype_obeys_the_casting_rule);
  tcase_add_test(tests, a_cast_on_the_way_over_the_host_and_before_a_push);
  tcase_add_test(tests, dtypes_that_nobody_knows_are_refused);
  tcase_add_test(tests, shapes_that_cannot_be_are_refused);
  return suite;
}
