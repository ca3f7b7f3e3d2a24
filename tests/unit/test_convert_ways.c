/* SPDX-License-Identifier: MIT
 * Which way ab_convert() and ab_plan() take between backends that behave. */
#include "toy_conversion.h"

START_TEST(fitting_memory_is_shared) {
  grid(f32);
  expect_shared();
  ck_assert_int_eq(atomic_load(&left.exported), 1);
  ck_assert_uint_eq(record.bytes, 48);
  ck_assert_int_ge(record.seconds > 0, 1);
  ck_assert_double_eq(planned.seconds, 0);
}
END_TEST

START_TEST(strides_that_do_not_fit_are_copied_before_the_target_sees_them) {
  grid(f32);
  source->strides[0] = 4;
  source->strides[1] = 12; /* Fortran order */
  right.can[0].layout = AB_LAYOUT_C;
  expect_pivot(AB_STEP_EXCHANGE, "C-contiguous");
  ck_assert_int_eq(atomic_load(&left.exported), 0); /* the described bytes were enough */
  ck_assert_int_eq(right.seen_strides[1], 1);
}
END_TEST

START_TEST(each_layout_takes_what_it_says) {
  grid(f32);
  right.can[0].layout = AB_LAYOUT_PERMUTED_COMPACT;
  source->strides[0] = 4;
  source->strides[1] = 12;
  expect_shared();
  toy_forget(&right);
  source->strides[0] = 0; /* broadcast */
  source->strides[1] = 4;
  expect_pivot(AB_STEP_EXCHANGE, "dense");
  toy_forget(&right);
  right.can[0].layout = AB_LAYOUT_NON_NEGATIVE;
  expect_shared();
  toy_forget(&right);
  source->data = (char *)source->own + 12;
  source->strides[1] = -4;
  expect_pivot(AB_STEP_EXCHANGE, "negative");
  toy_forget(&right);
  right.can[0].layout = AB_LAYOUT_ANY;
  expect_shared();
  toy_forget(&right);
  right.can[0].layout = 77; /* of a newer plugin: the most careful reading */
  expect_pivot(AB_STEP_EXCHANGE, "C-contiguous");
}
END_TEST

START_TEST(strides_of_no_whole_elements_are_copied) {
  grid(f32);
  source->strides[0] = 18;
  expect_pivot(AB_STEP_EXCHANGE, "whole numbers");
}
END_TEST

START_TEST(misaligned_memory_is_copied) {
  grid(f32);
  right.can[0].alignment = 64;
  source->data = (char *)source->own + 4;
  expect_pivot(AB_STEP_EXCHANGE, "4 bytes past a multiple of 64");
  toy_forget(&right);
  right.can[0].alignment = 0; /* that of the dtype */
  expect_shared();
  source->data = (char *)source->own + 2;
  expect_pivot(AB_STEP_EXCHANGE, "2 bytes past a multiple of 4");
  toy_forget(&right);
  right.can[0].alignment = 1;
  EXPECT_WAY(AB_REPORT_SHARED, AB_STEP_EXCHANGE);
}
END_TEST

START_TEST(complex_numbers_are_aligned_as_a_whole) {
  grid(c64);
  source->data = (char *)source->own + 8;
  expect_shared();
  source->data = (char *)source->own + 4;
  expect_pivot(AB_STEP_EXCHANGE, "4 bytes past a multiple of 8");
}
END_TEST

START_TEST(a_target_that_wants_more_than_a_copy_can_give_is_pushed_to) {
  grid(f32);
  right.can[0].alignment = 4096;
  source->data = (char *)source->own + 4;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_PIVOT, AB_STEP_FROM_HOST);
  expect_refusal(AB_STEP_PIVOT, "multiple of 4096");
  same_values();
}
END_TEST

START_TEST(byte_swapped_elements_are_swapped_back) {
  grid(i16);
  source->flags |= AB_INFO_BYTE_SWAPPED;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_PIVOT, AB_STEP_EXCHANGE);
  expect_refusal(AB_STEP_EXCHANGE, "byte order");
  const unsigned char *to = made()->data, *from = source->data;
  for (int index = 0; index < 24; index++) ck_assert_uint_eq(to[index], from[index ^ 1]);
}
END_TEST

START_TEST(fitting_memory_is_pushed_without_a_copy_of_the_core) {
  grid(f32);
  right.backend.slots.from_dlpack = NULL;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_FROM_HOST);
  expect_refusal(AB_STEP_EXCHANGE, "imports nothing");
  ck_assert_ptr_eq(right.seen.data, source->data);
  ck_assert_uint_eq(record.bytes_copied, 48);
  ck_assert_int_eq(right.seen_strides[0], 4);
  same_values();
}
END_TEST

START_TEST(other_memory_is_made_fit_before_it_is_pushed) {
  right.backend.slots.from_dlpack = NULL;
  grid(i16);
  source->data = (char *)source->own + 2;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_PIVOT, AB_STEP_FROM_HOST);
  ck_assert_uint_eq(record.bytes_copied, 48);
  same_values();
  source->data = source->own;
  source->strides[0] = 2;
  source->strides[1] = 6;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_PIVOT, AB_STEP_FROM_HOST);
  same_values();
  toy_c_strides(source);
  source->flags |= AB_INFO_BYTE_SWAPPED;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_PIVOT, AB_STEP_FROM_HOST);
  ck_assert_uint_eq(*(unsigned char *)made()->data, 1);
}
END_TEST

START_TEST(an_unshareable_array_comes_through_to_host) {
  grid(f32);
  source->flags = AB_INFO_NOT_SHAREABLE; /* its elements are nowhere to be seen */
  source->why_not = "it is lazy";
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_TO_HOST, AB_STEP_EXCHANGE);
  expect_refusal(AB_STEP_EXCHANGE, "left cannot share it: it is lazy");
  expect_refusal(AB_STEP_PIVOT, "not its values");
  ck_assert_uint_eq(record.bytes_copied, 48);
  ck_assert_int_eq(atomic_load(&left.to_dlpack.calls), 0);
  same_values();
}
END_TEST

START_TEST(what_to_host_shares_is_shared_if_it_fits) {
  grid(f32);
  source->flags = AB_INFO_NOT_SHAREABLE;
  left.to_host.report = AB_REPORT_SHARED;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_uint_eq(record.flags, AB_REPORT_SHARED);
  ck_assert_uint_eq(record.bytes_copied, 0);
  ck_assert_ptr_eq(made()->data, source->data);
  source->mutability = AB_READ_ONLY; /* and is copied if it must not be written */
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_uint_eq(record.flags, AB_REPORT_COPIED);
  ck_assert_ptr_ne(made()->data, source->data);
  expect_steps_of(&record, 3, (ab_step_kind[]){AB_STEP_TO_HOST, AB_STEP_PIVOT, AB_STEP_EXCHANGE});
}
END_TEST

START_TEST(a_copy_of_the_source_framework_is_not_copied_again) {
  const struct {
    uint32_t mutability, flags, copy;
  } rows[] = {{AB_READ_ONLY, 0, 0},
              {AB_IMMUTABLE, AB_CONVERT_COPY_IMMUTABLE, 0},
              {AB_MUTABLE, AB_CONVERT_COPY_MUTABLE, 0},
              {AB_MUTABLE, 0, AB_COPY_ALWAYS}};
  grid(f32);
  source->flags = AB_INFO_NOT_SHAREABLE;
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    source->mutability = rows[row].mutability;
    options.flags = rows[row].flags;
    options.copy = rows[row].copy;
    EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_TO_HOST, AB_STEP_EXCHANGE);
    ck_assert_uint_eq(record.bytes_copied, 48);
    ck_assert_uint_eq(right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY, 0);
    same_values();
  }
}
END_TEST

START_TEST(the_description_says_what_is_read_only_not_the_tensor) {
  grid(f32);
  left.flaw = TOY_READ_ONLY_FLAG;
  expect_shared();
  ck_assert_uint_eq(right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY, 0);
}
END_TEST

START_TEST(what_a_failed_way_reported_is_forgotten) {
  grid(f32);
  left.to_dlpack.report = AB_REPORT_BLOCKED_HOST;
  right.from_dlpack.failures = 1;
  right.from_dlpack.status = AB_UNSUPPORTED;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_uint_eq(record.flags, AB_REPORT_COPIED);
}
END_TEST

START_TEST(device_memory_goes_over_the_host) {
  grid(f32);
  source->device = ext0;
  source->flags = 0;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_TO_HOST, AB_STEP_EXCHANGE);
  ck_assert_int_eq(record.source_device.device_type, kDLExtDev);
  ck_assert_int_eq(record.target_device.device_type, kDLCPU);
  same_values();
  right.backend.slots.from_dlpack = NULL;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_TO_HOST, AB_STEP_FROM_HOST);
  ck_assert_uint_eq(record.bytes_copied, 96);
  same_values();
}
END_TEST

START_TEST(host_memory_is_pushed_to_a_target_without_any) {
  grid(f32);
  right.places = TOY_EXT;
  right.accelerators = 1;
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_FROM_HOST);
  ck_assert_int_eq(record.target_device.device_type, kDLExtDev);
  ck_assert_int_eq(made()->device.device_type, kDLExtDev);
  same_values();
}
END_TEST

START_TEST(device_memory_is_exchanged_on_its_device_only) {
  grid(f32);
  source->device = ext0;
  source->flags = 0;
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 2;
  expect_shared();
  ck_assert_int_eq(made()->device.device_type, kDLExtDev);
  options.flags = AB_CONVERT_DEVICE_GIVEN;
  options.device = (DLDevice){kDLExtDev, 1};
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_TO_HOST, AB_STEP_FROM_HOST);
  ck_assert_int_eq(made()->device.device_id, 1);
  expect_refusal(AB_STEP_EXCHANGE, "device 0, not on device 1");
}
END_TEST

START_TEST(a_way_that_leads_nowhere_is_told) {
  grid(f32);
  left.backend.slots.to_dlpack = NULL;
  left.backend.slots.to_host = NULL;
  source->flags = AB_INFO_NOT_SHAREABLE;
  source->why_not = "it is sparse";
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  ck_assert_int_eq(error.status, AB_UNSUPPORTED);
  expect_text("left");
  expect_text("it is sparse");
  options.record = NULL;
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  expect_text("it is sparse");
  ck_assert_int_eq(plan(), AB_UNSUPPORTED);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: ways");
  TCase *const tests = unit_case(suite, "convert: ways", setup, teardown);
  tcase_add_test(tests, fitting_memory_is_shared);
  tcase_add_test(tests, strides_that_do_not_fit_are_copied_before_the_target_sees_them);
  tcase_add_test(tests, each_layout_takes_what_it_says);
  tcase_add_test(tests, strides_of_no_whole_elements_are_copied);
  tcase_add_test(tests, misaligned_memory_is_copied);
  tcase_add_test(tests, complex_numbers_are_aligned_as_a_whole);
  tcase_add_test(tests, a_target_that_wants_more_than_a_copy_can_give_is_pushed_to);
  tcase_add_test(tests, byte_swapped_elements_are_swapped_back);
  tcase_add_test(tests, fitting_memory_is_pushed_without_a_copy_of_the_core);
  tcase_add_test(tests, other_memory_is_made_fit_before_it_is_pushed);
  tcase_add_test(tests, an_unshareable_array_comes_through_to_host);
  tcase_add_test(tests, what_to_host_shares_is_shared_if_it_fits);
  tcase_add_test(tests, a_copy_of_the_source_framework_is_not_copied_again);
  tcase_add_test(tests, the_description_says_what_is_read_only_not_the_tensor);
  tcase_add_test(tests, what_a_failed_way_reported_is_forgotten);
  tcase_add_test(tests, device_memory_goes_over_the_host);
  tcase_add_test(tests, host_memory_is_pushed_to_a_target_without_any);
  tcase_add_test(tests, device_memory_is_exchanged_on_its_device_only);
  tcase_add_test(tests, a_way_that_leads_nowhere_is_told);
  return suite;
}
