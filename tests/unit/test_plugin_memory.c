/* SPDX-License-Identifier: MIT
 * Plugins whose description of an array's memory is wrong: found before anybody reads beside it. */
#include "toy_conversion.h"

static uint64_t named_bytes; /* what describe() names as the array's memory */
static int64_t shift;        /* that memory begins so many bytes behind the array's */
static int counts_elements;  /* describe() gives strides in elements */
static int64_t factor = 1;   /* to_dlpack() multiplies its strides */

static ab_status describe_wrongly(const ab_call *call, void *object, ab_array_info *info) {
  const ab_status status = toy_describe(call, object, info);
  const toy_array *array = object;
  info->range_begin = (const char *)array->data + shift;
  info->range_bytes = named_bytes;
  for (int32_t axis = 0; counts_elements && axis < info->ndim; axis++) info->strides[axis] /= array->dtype.bits / 8;
  return status;
}

static ab_status to_dlpack_wrongly(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  const ab_status status = toy_to_dlpack(call, array, tensor);
  for (int32_t axis = 0; status == AB_OK && axis < (*tensor)->dl_tensor.ndim; axis++)
    (*tensor)->dl_tensor.strides[axis] *= factor;
  return status;
}

static void setup_wrong(void) {
  setup();
  left.backend.slots.describe = describe_wrongly;
  left.backend.slots.to_dlpack = to_dlpack_wrongly;
  named_bytes = 48; /* 3 × 4 float32 */
}

static void expect_refused(const char *words) {
  ck_assert_int_eq(convert(), AB_INVALID_TENSOR);
  expect_text(words);
  ck_assert_int_eq(atomic_load(&right.from_dlpack.calls) + atomic_load(&right.from_host.calls), 0);
  ck_assert_int_eq(atomic_load(&left.deleted), atomic_load(&left.exported));
}

START_TEST(an_array_that_keeps_to_its_memory_is_shared) {
  grid(f32);
  expect_shared();
  left.gives_tensor = 1;
  expect_shared();
  options.record = NULL; /* the quickest way leaves it to the long one */
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_ptr_eq(made()->data, source->data);
}
END_TEST

START_TEST(a_described_array_larger_than_its_memory_is_refused) {
  grid(f32);
  named_bytes = 24;
  expect_refused(
      "left: describe() gave an array that reaches 24 bytes past the memory that describe() named (24 bytes)");
  options.copy = AB_COPY_ALWAYS;
  expect_refused("24 bytes past");
  ck_assert_int_eq(plan(), AB_INVALID_TENSOR);
  named_bytes = 44, shift = 4;
  expect_refused("4 bytes before");
}
END_TEST

START_TEST(a_tensor_with_the_description_is_held_against_its_memory_too) {
  grid(f32);
  left.gives_tensor = 1;
  named_bytes = 40;
  options.record = NULL;
  expect_refused("8 bytes past");
}
END_TEST

START_TEST(a_tensor_that_reaches_out_of_its_memory_is_refused) {
  grid(f32);
  source->flags = 0; /* describe() gives no address */
  factor = 4;
  expect_refused(
      "left: to_dlpack() gave a tensor that reaches 132 bytes past the memory that describe() named (48 bytes)");
  left.backend.slots.to_host = to_dlpack_wrongly; /* it may share, too */
  source->flags = AB_INFO_NOT_SHAREABLE;
  expect_refused("left: to_host() gave a tensor that reaches 132 bytes past");
}
END_TEST

START_TEST(strides_of_to_dlpack_in_bytes_are_refused) {
  grid(f32);
  named_bytes = 0;
  factor = 4;
  expect_refused(
      "left: to_dlpack() gave strides (16, 4) in elements, describe() (16, 4) in bytes; to_dlpack() counts elements");
  factor = 2;
  expect_refused("strides (8, 2) in elements, describe() (16, 4) in bytes; they must mean the same");
}
END_TEST

START_TEST(strides_of_describe_in_elements_are_refused) {
  grid(f32);
  counts_elements = 1;
  named_bytes = 0;
  expect_refused(
      "left: to_dlpack() gave strides (4, 1) in elements, describe() (4, 1) in bytes; describe() counts bytes");
  options.copy = AB_COPY_ALWAYS;
  expect_refused("describe() counts bytes");
}
END_TEST

START_TEST(strides_that_are_no_whole_elements_are_still_copied) {
  grid(f32);
  named_bytes = 0;
  source->strides[1] = 6;
  left.to_dlpack = (toy_behaviour){.failures = -1, .status = AB_UNSUPPORTED, .text = "no whole elements"};
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_uint_eq(record.flags, AB_REPORT_COPIED);
  same_values();
}
END_TEST

START_TEST(the_stride_of_an_axis_nobody_steps_along_is_not_compared) {
  const int64_t shape[] = {1, 4};
  source = toy_array_new(&left, f32, 2, shape);
  named_bytes = 16;
  source->strides[0] = 4000;
  expect_shared();
}
END_TEST

START_TEST(a_copy_of_to_host_may_lie_anywhere) {
  grid(f32);
  source->flags = AB_INFO_NOT_SHAREABLE; /* describe() gives no address */
  ck_assert_int_eq(convert(), AB_OK);
  same_values();
}
END_TEST

START_TEST(too_few_dimensions_are_told_by_plan_and_conversion) {
  const int64_t shape[] = {4};
  source = toy_array_new(&left, f32, 1, shape);
  named_bytes = 16;
  right.can[0].min_ndim = right.can[1].min_ndim = 2;
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  ck_assert_str_eq(error.text, "1 dimension; right needs at least 2");
  ck_assert_int_eq(plan(), AB_UNSUPPORTED);
  named_bytes = 0;
  options.record = NULL;
  left.gives_tensor = 1;
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  ck_assert_int_eq(atomic_load(&right.from_dlpack.calls), 0);
}
END_TEST

Suite *unit_suite(void) {
  Suite *suite = suite_create("plugin_memory");
  TCase *wrong = unit_case(suite, "wrong", setup_wrong, teardown);
  tcase_add_test(wrong, an_array_that_keeps_to_its_memory_is_shared);
  tcase_add_test(wrong, a_described_array_larger_than_its_memory_is_refused);
  tcase_add_test(wrong, a_tensor_with_the_description_is_held_against_its_memory_too);
  tcase_add_test(wrong, a_tensor_that_reaches_out_of_its_memory_is_refused);
  tcase_add_test(wrong, strides_of_to_dlpack_in_bytes_are_refused);
  tcase_add_test(wrong, strides_of_describe_in_elements_are_refused);
  tcase_add_test(wrong, strides_that_are_no_whole_elements_are_still_copied);
  tcase_add_test(wrong, the_stride_of_an_axis_nobody_steps_along_is_not_compared);
  tcase_add_test(wrong, a_copy_of_to_host_may_lie_anywhere);
  tcase_add_test(wrong, too_few_dimensions_are_told_by_plan_and_conversion);
  return suite;
}
