/* SPDX-License-Identifier: MIT
 * Stacking slices of several backends, and taking stacks apart. */
#include "toy_conversion.h"

enum { MOST = 6 };

static ab_stack_options stack_options;
static toy_array *made_slices[MOST];
static ab_array slices[MOST];
static ab_array pieces[MOST];
static uint64_t count;

static void setup_stack(void) {
  setup();
  stack_options = (ab_stack_options){.struct_size = sizeof stack_options, .convert = &options};
  record = (ab_record){.struct_size = sizeof record};
  count = 0;
}

static void release_pieces(void) {
  for (int index = 0; index < MOST; index++) ab_array_release(&pieces[index]);
}

static void teardown_stack(void) {
  release_pieces();
  for (uint64_t index = 0; index < count; index++) toy_array_release(made_slices[index]);
  teardown();
}

static toy_array *add_shaped(toy *home, DLDataType dtype, int64_t rows, int64_t columns) {
  const int64_t shape[] = {rows, columns};
  toy_array *made = toy_array_new(home, dtype, 2, shape);
  for (int64_t byte = 0; byte < rows * columns * (dtype.bits / 8); byte++)
    ((unsigned char *)made->own)[byte] = (unsigned char)(37 * count + (uint64_t)byte);
  made_slices[count] = made;
  slices[count] = (ab_array){.backend = &home->backend, .object = made};
  count++;
  return made;
}

static toy_array *add(toy *home, DLDataType dtype) { return add_shaped(home, dtype, 3, 4); }

static ab_status stack(void) {
  ab_array_release(&result);
  record = (ab_record){.struct_size = sizeof record};
  return ab_stack(bridge, slices, count, &right.backend, &stack_options, &result, &error);
}

static void expect_values(void) {
  const toy_array *to = made();
  const size_t bytes = (size_t)(3 * 4 * (to->dtype.bits / 8));
  for (uint64_t index = 0; index < count; index++)
    ck_assert_mem_eq((char *)to->data + index * bytes, made_slices[index]->data, bytes);
}

/* ------------------------------------------------------------------ stacking */

START_TEST(slices_of_any_backend_share_one_allocation_with_the_target) {
  add(&left, f32);
  add(&right, f32);
  add(&left, f32);
  ck_assert_msg(stack() == AB_OK, "%s", error.text);
  const toy_array *to = made();
  ck_assert_int_eq(to->ndim, 3);
  ck_assert_int_eq(to->shape[0], 3);
  ck_assert_int_eq(to->shape[1], 3);
  ck_assert_int_eq(to->shape[2], 4);
  ck_assert_uint_eq((uintptr_t)to->data & 63, 0);
  expect_values();
  const ab_step_kind kinds[] = {AB_STEP_PIVOT, AB_STEP_EXCHANGE};
  expect_steps_of(&record, 2, kinds);
  ck_assert_uint_eq(record.bytes, 144);
  ck_assert_uint_eq(record.bytes_copied, 144);
  ck_assert_uint_eq(record.flags, AB_REPORT_COPIED);
  ck_assert_ptr_eq(record.source, &left.backend);
  ck_assert_ptr_eq(record.target, &right.backend);
  ck_assert_double_gt(record.seconds, 0);
}
END_TEST

START_TEST(leading_axes_are_shaped_without_another_copy) {
  const int64_t extents[] = {2, 1, 3};
  stack_options.leading = 3;
  stack_options.extents = extents;
  for (int index = 0; index < 6; index++) add(&left, f32);
  ck_assert_msg(stack() == AB_OK, "%s", error.text);
  const int64_t expected[] = {2, 1, 3, 3, 4};
  ck_assert_int_eq(made()->ndim, 5);
  ck_assert_mem_eq(made()->shape, expected, sizeof expected);
  expect_values();
  const int64_t wrong[] = {2, 2, 2};
  stack_options.extents = wrong;
  ck_assert_int_eq(stack(), AB_INVALID_ARGUMENT);
  expect_text("6 slices do not fill");
  const int64_t overflowing[] = {INT64_MAX, 4, 6};
  stack_options.extents = overflowing;
  ck_assert_int_eq(stack(), AB_INVALID_ARGUMENT);
}
END_TEST

START_TEST(strided_and_swapped_slices_are_read_as_what_they_mean) {
  toy_array *turned = add(&left, i16);
  turned->strides[0] = 2;
  turned->strides[1] = 6;
  toy_array *backwards = add(&left, i16);
  backwards->data = (char *)backwards->own + 22;
  backwards->strides[0] = -8;
  backwards->strides[1] = -2;
  toy_array *swapped = add(&left, i16);
  swapped->flags |= AB_INFO_BYTE_SWAPPED | AB_INFO_NOT_SHAREABLE;
  ck_assert_msg(stack() == AB_OK, "%s", error.text);
  const unsigned char *to = made()->data;
  const unsigned char *from[] = {turned->own, backwards->own, swapped->own};
  for (int row = 0; row < 3; row++)
    for (int column = 0; column < 4; column++) {
      const int at = 2 * (4 * row + column);
      ck_assert_mem_eq(to + at, from[0] + 2 * row + 6 * column, 2);
      ck_assert_mem_eq(to + 24 + at, from[1] + 22 - at, 2);
      ck_assert_uint_eq(to[48 + at], from[2][at + 1]);
      ck_assert_uint_eq(to[48 + at + 1], from[2][at]);
    }
}
END_TEST

START_TEST(ragged_slices_and_wrong_axes_are_named) {
  add(&left, f32);
  add(&left, f32);
  add_shaped(&left, f32, 3, 5);
  ck_assert_int_eq(stack(), AB_INVALID_ARGUMENT);
  expect_text("slice 2 has the shape (3, 5), slice 0 has (3, 4)");
  stack_options.flags = AB_STACK_NDIM_GIVEN;
  stack_options.slice_ndim = 3;
  ck_assert_int_eq(stack(), AB_INVALID_ARGUMENT);
  expect_text("slice 0 is not a 3D array");
  ck_assert_ptr_null(result.object);
  ck_assert_int_eq(atomic_load(&left.exported), 0);
}
END_TEST

START_TEST(dtypes_become_the_smallest_that_holds_all) {
  toy_array *bytes = add(&left, (DLDataType){kDLUInt, 8, 1});
  toy_array *shorts = add(&left, i16);
  ck_assert_msg(stack() == AB_OK, "%s", error.text);
  ck_assert_uint_eq(made()->dtype.code, kDLInt);
  ck_assert_uint_eq(made()->dtype.bits, 16);
  for (int index = 0; index < 12; index++) {
    ck_assert_int_eq(((int16_t *)made()->data)[index], ((uint8_t *)bytes->own)[index]);
    ck_assert_int_eq(((int16_t *)made()->data)[12 + index], ((int16_t *)shorts->own)[index]);
  }
  ck_assert_uint_eq(record.flags, AB_REPORT_COPIED | AB_REPORT_CAST);
  add(&left, (DLDataType){kDLInt, 64, 1});
  add(&left, f32);
  ck_assert_int_eq(stack(), AB_WOULD_CAST);
  expect_text("no dtype holds the values of both");
  ck_assert(strstr(error.hint, "casting=") != NULL);
}
END_TEST

START_TEST(a_dtype_asked_for_is_checked_against_every_slice) {
  add(&left, i16);
  add(&left, f32);
  options.dtype = (DLDataType){kDLInt, 32, 1};
  options.casting = AB_CASTING_SAFE;
  ck_assert_int_eq(stack(), AB_WOULD_CAST);
  expect_text("float32 would become int32");
  options.casting = AB_CASTING_UNSAFE;
  ck_assert_int_eq(stack(), AB_OK);
  ck_assert_uint_eq(made()->dtype.code, kDLInt);
  ck_assert_int_eq(((int32_t *)made()->data)[0], ((int16_t *)made_slices[0]->own)[0]);
}
END_TEST

START_TEST(a_target_that_cannot_hold_it_is_asked_before_anything_is_copied) {
  add(&left, f32);
  right.can[0].max_ndim = right.can[1].max_ndim = 2;
  ck_assert_int_eq(stack(), AB_UNSUPPORTED);
  expect_text("3 dimensions; right holds 2 at most");
  ck_assert(strstr(error.hint, "numpy") != NULL);
  right.can[0].max_ndim = right.can[1].max_ndim = TOY_NDIM;
  static const DLDataType only[] = {{kDLInt, 16, 1}};
  hold_only(only, 1);
  ck_assert_int_eq(stack(), AB_WOULD_CAST);
  expect_text("float32 does not exist in right");
  ck_assert_int_eq(atomic_load(&left.exported), 0);
  ck_assert_int_eq(atomic_load(&left.to_dlpack.calls), 0);
  options.casting = AB_CASTING_UNSAFE; /* then it is cast on the way, in one pass */
  ck_assert_int_eq(stack(), AB_OK);
  ck_assert_uint_eq(made()->dtype.bits, 16);
  ck_assert_uint_eq(record.bytes_copied, 24);
}
END_TEST

START_TEST(arguments_are_checked) {
  ck_assert_int_eq(stack(), AB_INVALID_ARGUMENT);
  expect_text("empty list");
  add(&left, f32);
  options.copy = AB_COPY_NEVER;
  ck_assert_int_eq(stack(), AB_WOULD_COPY);
  options.copy = AB_COPY_IF_NEEDED;
  stack_options.flags = 1u << 9;
  ck_assert_int_eq(stack(), AB_UNSUPPORTED);
  stack_options.flags = 1u << 20; /* may be ignored */
  ck_assert_int_eq(stack(), AB_OK);
  stack_options.leading = -1;
  ck_assert_int_eq(stack(), AB_INVALID_ARGUMENT);
  stack_options.leading = 0;
  stack_options.struct_size = 8;
  ck_assert_int_eq(stack(), AB_INVALID_ARGUMENT);
  stack_options.struct_size = sizeof stack_options;
  slices[0].object = NULL;
  ck_assert_int_eq(stack(), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_stack(bridge, slices, 1, NULL, &stack_options, &result, NULL), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_stack(bridge, slices, 1, &right.backend, NULL, &result, NULL), AB_INVALID_ARGUMENT);
}
END_TEST

START_TEST(options_of_sharing_do_not_concern_a_fresh_stack) {
  add(&left, f32);
  options.flags = AB_CONVERT_COPY_MUTABLE | AB_CONVERT_COPY_IMMUTABLE;
  options.copy = AB_COPY_ALWAYS;
  right.can[0].flags |= AB_MAKES_IMMUTABLE | AB_READS_HOST_LATER;
  ck_assert_msg(stack() == AB_OK, "%s", error.text);
  ck_assert_uint_eq(record.bytes_copied, record.bytes);
  ck_assert_uint_eq(record.flags, AB_REPORT_COPIED); /* and says nothing of aliases */
  ck_assert_uint_eq(right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY, 0);
}
END_TEST

START_TEST(what_only_its_framework_should_stack_is_left_to_it) {
  add(&right, f32);
  toy_array *live = add(&right, f32);
  live->flags |= AB_INFO_GRADIENT;
  stack_options.flags = AB_STACK_LEAVE_LIVE;
  ck_assert_int_eq(stack(), AB_REFUSED);
  expect_text("slice 1");
  ck_assert_int_eq(atomic_load(&right.exported), 0);
  stack_options.flags = 0;
  ck_assert_int_eq(stack(), AB_OK);
  stack_options.flags = AB_STACK_LEAVE_LIVE;
  live->flags = AB_INFO_HOST_ACCESSIBLE | AB_INFO_NOT_CONVERTIBLE; /* traced */
  ck_assert_int_eq(stack(), AB_REFUSED);
  stack_options.flags = 0;
  ck_assert_int_eq(stack(), AB_UNSUPPORTED);
  expect_text("slice 1: ");
}
END_TEST

START_TEST(memory_of_an_accelerator_leaves_it_only_if_it_must) {
  toy_array *there = add(&left, f32);
  there->device = ext0;
  there->flags = 0;
  stack_options.flags = AB_STACK_LEAVE_LIVE;
  ck_assert_msg(stack() == AB_OK, "%s", error.text); /* the target has nothing there */
  expect_values();
  ck_assert_int_eq(atomic_load(&left.to_host.calls), 1);
  toy_forget(&right);
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 1;
  ck_assert_int_eq(stack(), AB_REFUSED);
  options.flags = AB_CONVERT_DEVICE_GIVEN; /* the host is where it is wanted */
  options.device = (DLDevice){kDLCPU, 0};
  ck_assert_int_eq(stack(), AB_OK);
}
END_TEST

START_TEST(a_stack_stays_where_its_slices_are) {
  right.hosts = 2;
  toy_array *there = add(&right, f32);
  there->device = (DLDevice){kDLCPU, 1};
  ck_assert_msg(stack() == AB_OK, "%s", error.text);
  ck_assert_int_eq(made()->device.device_id, 1);
  options.flags = AB_CONVERT_DEVICE_GIVEN;
  options.device = (DLDevice){kDLCPU, 0};
  ck_assert_int_eq(stack(), AB_OK);
  ck_assert_int_eq(made()->device.device_id, 0);
}
END_TEST

START_TEST(a_slice_that_fails_is_named_and_nothing_is_kept) {
  add(&right, f32);
  add(&left, f32);
  left.to_dlpack = (toy_behaviour){.failures = -1, .status = AB_FRAMEWORK, .text = "it broke"};
  left.to_host = (toy_behaviour){.failures = -1, .status = AB_FRAMEWORK, .text = "it broke"};
  left.sets_failure = 1;
  made_slices[1]->flags = 0; /* not to be read as it lies there */
  ck_assert_int_eq(stack(), AB_FRAMEWORK);
  expect_text("slice 1: it broke");
  ck_assert_uint_ne(error.failure.struct_size, 0);
  left.describe = (toy_behaviour){.failures = 1, .status = AB_FRAMEWORK, .text = "no idea"};
  ck_assert_int_eq(stack(), AB_FRAMEWORK);
  expect_text("slice 1: no idea");
}
END_TEST

START_TEST(slices_that_lie_about_their_shape_are_not_copied) {
  add(&left, f32);
  made_slices[0]->device = (DLDevice){kDLCPU, 0};
  made_slices[0]->flags = AB_INFO_HOST_ACCESSIBLE;
  left.flaw = TOY_WRONG_SHAPE;
  ck_assert_int_eq(stack(), AB_INVALID_TENSOR);
  left.flaw = TOY_WRONG_NDIM;
  ck_assert_int_eq(stack(), AB_INVALID_TENSOR);
}
END_TEST

START_TEST(slices_without_elements_make_a_stack_without_elements) {
  add_shaped(&left, f32, 0, 4);
  add_shaped(&left, f32, 0, 4);
  ck_assert_msg(stack() == AB_OK, "%s", error.text);
  ck_assert_int_eq(made()->shape[0], 2);
  ck_assert_int_eq(made()->shape[1], 0);
  ck_assert_uint_eq(record.bytes, 0);
}
END_TEST

START_TEST(many_slices_are_copied_by_several_threads) {
  enum { SLICES = 200, SIDE = 128 };
  const int64_t shape[] = {SIDE, SIDE};
  ab_array many[SLICES];
  toy_array *arrays[SLICES];
  for (int index = 0; index < SLICES; index++) {
    arrays[index] = toy_array_new(&left, f32, 2, shape);
    ((float *)arrays[index]->own)[SIDE * SIDE - 1] = (float)index;
    many[index] = (ab_array){.backend = &left.backend, .object = arrays[index]};
  }
  options.threads = 4;
  record = (ab_record){.struct_size = sizeof record};
  ck_assert_int_eq(ab_stack(bridge, many, SLICES, &right.backend, &stack_options, &result, &error), AB_OK);
  const size_t bytes = SIDE * SIDE * sizeof(float);
  for (int index = 0; index < SLICES; index++) {
    ck_assert_mem_eq((char *)made()->data + (size_t)index * bytes, arrays[index]->own, bytes);
    toy_array_release(arrays[index]);
  }
}
END_TEST

START_TEST(every_failing_allocation_is_an_error_that_leaves_nothing) {
  add(&left, f32);
  add(&left, i16);
  int64_t nth = 0;
  ab_status status = AB_OOM;
  while (status == AB_OOM) {
    toy_forget(&right);
    const int64_t alive = ab__allocation_count();
    options.flags |= AB_CONVERT_NO_RECOVERY; /* which would try again, and succeed */
    ab__allocation_fail_at(++nth);
    status = stack();
    ab__allocation_fail_at(-1);
    if (status == AB_OOM) {
      toy_forget(&right);
      ck_assert_int_eq(ab__allocation_count(), alive);
      ck_assert_int_eq(atomic_load(&left.deleted), atomic_load(&left.exported));
    }
  }
  ck_assert_msg(status == AB_OK, "%s", error.text);
  ck_assert_int_gt(nth, 4);
}
END_TEST

/* ------------------------------------------------------------------ taking apart */

static toy_array *volume(int64_t planes) {
  const int64_t shape[] = {planes, 3, 4};
  source = toy_array_new(&left, f32, 3, shape);
  return source;
}

static ab_status unstack(uint64_t wanted) {
  release_pieces();
  record = (ab_record){.struct_size = sizeof record};
  const ab_array array = {.backend = &left.backend, .object = source};
  return ab_unstack(bridge, &array, &right.backend, &stack_options, pieces, wanted, &error);
}

static const toy_array *piece(int index) { return pieces[index].object; }

START_TEST(slices_are_views_that_keep_the_memory) {
  volume(3);
  ck_assert_msg(unstack(3) == AB_OK, "%s", error.text);
  for (int index = 0; index < 3; index++) {
    ck_assert_int_eq(piece(index)->ndim, 2);
    ck_assert_int_eq(piece(index)->shape[0], 3);
    ck_assert_int_eq(piece(index)->shape[1], 4);
    ck_assert_ptr_eq(piece(index)->data, (char *)source->own + 48 * index);
  }
  ck_assert_int_eq(atomic_load(&left.exported), 1);
  ck_assert_uint_eq(record.bytes, 144);
  ck_assert_uint_eq(record.bytes_copied, 0);
  ck_assert_uint_eq(record.flags, AB_REPORT_SHARED);
  ck_assert_ptr_eq(record.source, &left.backend);
  ab_array_release(&pieces[0]);
  ab_array_release(&pieces[2]);
  ck_assert_int_eq(atomic_load(&left.deleted), 0);
  ab_array_release(&pieces[1]);
  ck_assert_int_eq(atomic_load(&left.deleted), 1);
}
END_TEST

START_TEST(leading_axes_run_in_c_order) {
  volume(2);
  stack_options.leading = 2;
  source->strides[0] = -48;
  source->data = (char *)source->own + 48;
  ck_assert_msg(unstack(6) == AB_OK, "%s", error.text);
  for (int index = 0; index < 6; index++)
    ck_assert_ptr_eq(piece(index)->data, (char *)source->data - 48 * (index / 3) + 16 * (index % 3));
}
END_TEST

START_TEST(only_slices_that_do_not_fit_are_copied) {
  volume(5);
  right.can[0].alignment = 64; /* every fourth slice of 48 bytes begins at one */
  ck_assert_msg(unstack(5) == AB_OK, "%s", error.text);
  for (int index = 0; index < 5; index++) {
    const int shared = index % 4 == 0;
    ck_assert_int_eq(piece(index)->data == (char *)source->own + 48 * index, shared);
    ck_assert_mem_eq(piece(index)->data, (char *)source->own + 48 * index, 48);
  }
  ck_assert_uint_eq(record.bytes_copied, 3 * 48);
}
END_TEST

START_TEST(read_only_memory_is_copied_and_immutable_memory_shared) {
  volume(2);
  source->mutability = AB_IMMUTABLE;
  ck_assert_int_eq(unstack(2), AB_OK);
  ck_assert_ptr_eq(piece(1)->data, (char *)source->own + 48);
  source->mutability = AB_READ_ONLY;
  ck_assert_int_eq(unstack(2), AB_OK);
  ck_assert_ptr_ne(piece(1)->data, (char *)source->own + 48);
  ck_assert_mem_eq(piece(1)->data, (char *)source->own + 48, 48);
}
END_TEST

START_TEST(a_slice_that_fails_takes_the_others_with_it) {
  volume(4);
  right.from_dlpack = (toy_behaviour){.failures = 0};
  right.can[0].alignment = 64;
  right.from_host = (toy_behaviour){.failures = -1, .status = AB_FRAMEWORK, .text = "full"};
  right.has_slot[0] = 0; /* pushes only */
  ck_assert_int_eq(unstack(4), AB_FRAMEWORK);
  expect_text("full");
  for (int index = 0; index < 4; index++) ck_assert_ptr_null(pieces[index].object);
  right.from_host = (toy_behaviour){.failures = 0};
  ck_assert_int_eq(unstack(4), AB_OK);
}
END_TEST

START_TEST(what_cannot_be_shared_is_brought_to_the_host_once) {
  volume(3);
  source->device = ext0;
  source->flags = 0;
  ck_assert_msg(unstack(3) == AB_OK, "%s", error.text);
  ck_assert_int_eq(atomic_load(&left.to_host.calls), 1);
  for (int index = 0; index < 3; index++) ck_assert_mem_eq(piece(index)->data, (char *)source->own + 48 * index, 48);
}
END_TEST

START_TEST(counts_and_axes_are_checked) {
  volume(3);
  ck_assert_int_eq(unstack(2), AB_INVALID_ARGUMENT);
  expect_text("3 slices, there is room for 2");
  stack_options.flags = AB_STACK_NDIM_GIVEN;
  stack_options.slice_ndim = 1;
  ck_assert_int_eq(unstack(3), AB_INVALID_ARGUMENT);
  stack_options.leading = 4;
  ck_assert_int_eq(unstack(3), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_unstack(bridge, NULL, &right.backend, &stack_options, pieces, 1, NULL), AB_INVALID_ARGUMENT);
}
END_TEST

START_TEST(an_array_that_lies_about_its_shape_is_not_taken_apart) {
  volume(3);
  source->device = (DLDevice){kDLCPU, 0};
  source->flags = AB_INFO_HOST_ACCESSIBLE;
  left.flaw = TOY_WRONG_SHAPE;
  ck_assert_int_eq(unstack(3), AB_INVALID_TENSOR);
  left.flaw = TOY_WRONG_NDIM;
  ck_assert_int_eq(unstack(3), AB_INVALID_TENSOR);
}
END_TEST

/* Asked in each slot of the source: what somebody else may do between any two of them. */
static int empties_the_source(void) {
  if (atomic_load(&left.describe.calls) > 1) source->shape[0] = 0;
  return 1;
}

START_TEST(an_array_that_changes_while_it_is_looked_at_is_not_taken_apart) {
  volume(3);
  left.has_lock = empties_the_source;
  ck_assert_int_eq(unstack(3), AB_INVALID_TENSOR);
  expect_text("changed while it was being looked at");
}
END_TEST

START_TEST(more_slices_than_can_be_counted_are_an_error) {
  volume(0);
  source->shape[0] = INT64_C(1) << 40;
  source->shape[1] = INT64_C(1) << 40; /* 2^80 slices of nothing are 0 modulo 2^64 */
  source->shape[2] = 0;
  stack_options.leading = 2;
  ck_assert_int_eq(unstack(0), AB_INVALID_ARGUMENT);
  expect_text("more slices than can be counted");
  stack_options.leading = 3;
  ck_assert_msg(unstack(0) == AB_OK, "%s", error.text);
}
END_TEST

START_TEST(every_failing_allocation_leaves_no_slice) {
  volume(3);
  int64_t nth = 0;
  ab_status status = AB_OOM;
  while (status == AB_OOM) {
    toy_forget(&right);
    const int64_t alive = ab__allocation_count();
    options.flags |= AB_CONVERT_NO_RECOVERY; /* which would try again, and succeed */
    ab__allocation_fail_at(++nth);
    status = unstack(3);
    ab__allocation_fail_at(-1);
    if (status != AB_OOM) break;
    toy_forget(&right);
    ck_assert_int_eq(ab__allocation_count(), alive);
    ck_assert_int_eq(atomic_load(&left.deleted), atomic_load(&left.exported));
  }
  ck_assert_msg(status == AB_OK, "%s", error.text);
  ck_assert_int_gt(nth, 4);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("stack");
  TCase *const tests = unit_case(suite, "stack", setup_stack, teardown_stack);
  tcase_add_test(tests, slices_of_any_backend_share_one_allocation_with_the_target);
  tcase_add_test(tests, leading_axes_are_shaped_without_another_copy);
  tcase_add_test(tests, strided_and_swapped_slices_are_read_as_what_they_mean);
  tcase_add_test(tests, ragged_slices_and_wrong_axes_are_named);
  tcase_add_test(tests, dtypes_become_the_smallest_that_holds_all);
  tcase_add_test(tests, a_dtype_asked_for_is_checked_against_every_slice);
  tcase_add_test(tests, a_target_that_cannot_hold_it_is_asked_before_anything_is_copied);
  tcase_add_test(tests, arguments_are_checked);
  tcase_add_test(tests, options_of_sharing_do_not_concern_a_fresh_stack);
  tcase_add_test(tests, what_only_its_framework_should_stack_is_left_to_it);
  tcase_add_test(tests, memory_of_an_accelerator_leaves_it_only_if_it_must);
  tcase_add_test(tests, a_stack_stays_where_its_slices_are);
  tcase_add_test(tests, a_slice_that_fails_is_named_and_nothing_is_kept);
  tcase_add_test(tests, slices_that_lie_about_their_shape_are_not_copied);
  tcase_add_test(tests, slices_without_elements_make_a_stack_without_elements);
  tcase_add_test(tests, many_slices_are_copied_by_several_threads);
  tcase_add_test(tests, every_failing_allocation_is_an_error_that_leaves_nothing);
  tcase_add_test(tests, slices_are_views_that_keep_the_memory);
  tcase_add_test(tests, leading_axes_run_in_c_order);
  tcase_add_test(tests, only_slices_that_do_not_fit_are_copied);
  tcase_add_test(tests, read_only_memory_is_copied_and_immutable_memory_shared);
  tcase_add_test(tests, a_slice_that_fails_takes_the_others_with_it);
  tcase_add_test(tests, what_cannot_be_shared_is_brought_to_the_host_once);
  tcase_add_test(tests, counts_and_axes_are_checked);
  tcase_add_test(tests, an_array_that_lies_about_its_shape_is_not_taken_apart);
  tcase_add_test(tests, an_array_that_changes_while_it_is_looked_at_is_not_taken_apart);
  tcase_add_test(tests, more_slices_than_can_be_counted_are_an_error);
  tcase_add_test(tests, every_failing_allocation_leaves_no_slice);
  return suite;
}
