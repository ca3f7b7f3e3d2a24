/* SPDX-License-Identifier: MIT
 * Tensors of a source that do not keep their word, and those that come with the description. */
#include "toy_conversion.h"

/* ------------------------------------------------------------------ tensors that do not keep their word */

START_TEST(a_wrong_tensor_ends_the_conversion_before_the_target_sees_it) {
  const struct {
    toy_flaw flaw;
    ab_status status;
  } rows[] = {{TOY_WRONG_SHAPE, AB_INVALID_TENSOR},  {TOY_WRONG_NDIM, AB_INVALID_TENSOR},
              {TOY_WRONG_DTYPE, AB_INVALID_TENSOR},  {TOY_NULL_DATA, AB_INVALID_TENSOR},
              {TOY_WRONG_DEVICE, AB_INVALID_TENSOR}, {TOY_NO_TENSOR, AB_INVALID_TENSOR}};
  grid(f32);
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    left.flaw = rows[row].flaw;
    ck_assert_int_eq(convert(), rows[row].status);
    ck_assert_int_eq(error.status, rows[row].status);
    ck_assert_str_ne(error.text, "");
    ck_assert_int_eq(atomic_load(&right.from_dlpack.calls), 0);
    ck_assert_uint_eq(record.bytes_copied, 0);
    ck_assert_int_eq(atomic_load(&left.deleted), atomic_load(&left.exported));
  }
  source->flags = AB_INFO_NOT_SHAREABLE; /* the same from to_host() */
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    left.flaw = rows[row].flaw;
    ck_assert_int_eq(convert(), rows[row].status);
    ck_assert_int_eq(atomic_load(&right.from_dlpack.calls), 0);
  }
}
END_TEST

START_TEST(a_tensor_of_a_newer_dlpack_is_given_back_and_the_next_way_tried) {
  grid(f32);
  left.flaw = TOY_NEWER_MAJOR;
  ck_assert_int_eq(convert(), AB_OK);
  expect_refusal(AB_STEP_EXCHANGE, "DLPack 2.");
  expect_steps_of(&record, 2, (ab_step_kind[]){AB_STEP_PIVOT, AB_STEP_EXCHANGE});
  ck_assert_int_eq(atomic_load(&left.deleted), 1);
  same_values();
}
END_TEST

START_TEST(a_tensor_without_strides_is_in_c_order) {
  grid(f32);
  left.flaw = TOY_NO_STRIDES;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.seen_strides[0], 4);
  ck_assert_uint_eq(record.flags, AB_REPORT_SHARED);
}
END_TEST

START_TEST(the_address_is_judged_as_the_tensor_has_it) {
  grid(f32);
  source->flags = 0; /* describe() gives no address */
  expect_shared();
  ck_assert_int_eq(atomic_load(&left.exported), 1);
  right.can[0].alignment = 4;
  left.flaw = TOY_ODD_ADDRESS;
  toy_forget(&right);
  ck_assert_int_eq(convert(), AB_OK);
  expect_refusal(AB_STEP_EXCHANGE, "1 bytes past");
  expect_steps_of(&record, 2, (ab_step_kind[]){AB_STEP_PIVOT, AB_STEP_EXCHANGE});
  ck_assert_int_eq(atomic_load(&left.exported), 3); /* one for each way that needed one */
  ck_assert_uint_eq(*(unsigned char *)made()->data, 1);
}
END_TEST

/* ------------------------------------------------------------------ the tensor that comes with the description */

START_TEST(a_described_tensor_is_used_once) {
  grid(f32);
  left.gives_tensor = 1;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_uint_eq(record.flags, AB_REPORT_SHARED);
  ck_assert_uint_eq(record.bytes, 48);
  ck_assert_ptr_eq(made()->data, source->data);
  ck_assert_int_eq(atomic_load(&left.exported), 1);
  ck_assert_int_eq(atomic_load(&left.to_dlpack.calls), 0);
  right.from_dlpack.failures =
      1; /* the next way exports afresh, and does not touch the memory of the tensor that is gone */
  right.from_dlpack.status = AB_UNSUPPORTED;
  ck_assert_int_eq(convert(), AB_OK);
  expect_steps_of(&record, 2, (ab_step_kind[]){AB_STEP_PIVOT, AB_STEP_EXCHANGE});
  ck_assert_int_eq(atomic_load(&left.to_dlpack.calls), 1);
  same_values();
}
END_TEST

START_TEST(a_described_tensor_that_is_not_needed_is_released) {
  grid(f32);
  left.gives_tensor = 1;
  right.can[0].alignment = 64;
  source->data = (char *)source->own + 4;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(atomic_load(&left.deleted), 1);
  same_values();
  hold_only(toy_dtypes, 1);
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  ck_assert_int_eq(atomic_load(&left.deleted), 2);
  options.copy = AB_COPY_ALWAYS; /* then none is asked for */
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  ck_assert_int_eq(atomic_load(&left.exported), 2);
}
END_TEST

START_TEST(a_described_tensor_that_is_wrong_is_refused) {
  grid(f32);
  left.gives_tensor = 1;
  const toy_flaw flaws[] = {TOY_NULL_DATA, TOY_NEWER_MAJOR, TOY_WRONG_DEVICE};
  for (int index = 0; index < 3; index++) {
    left.flaw = flaws[index];
    ck_assert_int_ne(convert(), AB_OK);
    ck_assert_str_ne(error.text, "");
    ck_assert_int_eq(atomic_load(&left.deleted), index + 1);
  }
  left.flaw = TOY_SOUND;
  source->shape[0] = 1; /* a stride that nobody steps along may be anything */
  source->strides[0] = INT64_MAX - 3;
  ck_assert_int_eq(convert(), AB_OK);
  same_values();
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: tensors");
  TCase *const tests = unit_case(suite, "convert: tensors", setup, teardown);
  tcase_add_test(tests, a_wrong_tensor_ends_the_conversion_before_the_target_sees_it);
  tcase_add_test(tests, a_tensor_of_a_newer_dlpack_is_given_back_and_the_next_way_tried);
  tcase_add_test(tests, a_tensor_without_strides_is_in_c_order);
  tcase_add_test(tests, the_address_is_judged_as_the_tensor_has_it);
  tcase_add_test(tests, a_described_tensor_is_used_once);
  tcase_add_test(tests, a_described_tensor_that_is_not_needed_is_released);
  tcase_add_test(tests, a_described_tensor_that_is_wrong_is_refused);
  return suite;
}
