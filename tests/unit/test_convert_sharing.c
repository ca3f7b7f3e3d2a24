/* SPDX-License-Identifier: MIT
 * When a conversion shares memory, when it must not, and when it returns the array itself. */
#include "toy_conversion.h"

/* ------------------------------------------------------------------ copy, mutability */

START_TEST(copy_never_refuses_with_the_reason) {
  grid(f32);
  options.copy = AB_COPY_NEVER;
  expect_shared();
  ck_assert_uint_eq(right.call_flags & AB_CALL_NEVER_COPY, AB_CALL_NEVER_COPY);
  ck_assert_uint_eq(left.call_flags & AB_CALL_NEVER_COPY, AB_CALL_NEVER_COPY);
  source->data = (char *)source->own + 1;
  for (int recorded = 1; recorded >= 0; recorded--) {
    options.record = recorded ? &record : NULL;
    ck_assert_int_eq(convert(), AB_WOULD_COPY);
    expect_text("1 bytes past a multiple of 4");
    ck_assert_str_ne(error.hint, "");
  }
  ck_assert_int_eq(plan(), AB_WOULD_COPY);
  ck_assert_int_eq(atomic_load(&left.to_host.calls) + atomic_load(&right.from_host.calls), 0);
}
END_TEST

START_TEST(copy_never_tells_what_the_target_said) {
  grid(f32);
  options.copy = AB_COPY_NEVER;
  right.from_dlpack.failures = -1;
  right.from_dlpack.status = AB_WOULD_COPY;
  right.from_dlpack.text = "the target would copy";
  ck_assert_int_eq(convert(), AB_WOULD_COPY);
  expect_text("the target would copy");
}
END_TEST

START_TEST(copy_always_never_aliases) {
  grid(f32);
  options.copy = AB_COPY_ALWAYS;
  expect_pivot(AB_STEP_EXCHANGE, "copy=True");
  ck_assert_int_eq(convert_to(&left), AB_OK);
  ck_assert_ptr_ne(made(), source);
  ck_assert_ptr_ne(made()->data, source->data);
  ck_assert_uint_eq(right.call_flags & AB_CALL_NEVER_COPY, 0);
}
END_TEST

START_TEST(read_only_memory_is_copied_unless_the_target_keeps_it_so) {
  grid(f32);
  source->mutability = AB_READ_ONLY;
  expect_pivot(AB_STEP_EXCHANGE, "read-only");
  ck_assert_uint_eq(right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY, 0);
  source->mutability = 9; /* of a newer plugin: read-only */
  expect_pivot(AB_STEP_EXCHANGE, "read-only");
  options.copy = AB_COPY_NEVER;
  ck_assert_int_eq(convert(), AB_WOULD_COPY);
  toy_forget(&right);
  right.can[0].flags |= AB_CARRIES_READ_ONLY;
  expect_shared();
  ck_assert_uint_eq(right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY, DLPACK_FLAG_BITMASK_READ_ONLY);
  options.copy = AB_COPY_ALWAYS; /* a copy can be written */
  expect_pivot(AB_STEP_EXCHANGE, "copy=True");
  ck_assert_uint_eq(right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY, 0);
}
END_TEST

START_TEST(immutable_arrays_are_shared_unless_a_copy_is_asked_for) {
  grid(f32);
  source->mutability = AB_IMMUTABLE;
  expect_shared();
  ck_assert_uint_eq(right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY, 0);
  options.flags = AB_CONVERT_COPY_MUTABLE; /* it is not */
  expect_shared();
  options.flags = AB_CONVERT_COPY_IMMUTABLE;
  expect_pivot(AB_STEP_EXCHANGE, "immutable=\"copy\"");
  toy_forget(&right);
  right.can[0].flags |= AB_CARRIES_READ_ONLY;
  source->mutability = AB_READ_ONLY; /* isolated, too: whoever may write it could change the result */
  expect_pivot(AB_STEP_EXCHANGE, "immutable=\"copy\"");
  options.flags = 0;
  source->mutability = AB_IMMUTABLE;
  expect_shared();
  ck_assert_uint_eq(right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY, DLPACK_FLAG_BITMASK_READ_ONLY);
}
END_TEST

START_TEST(mutable_arrays_are_shared_unless_a_copy_is_asked_for) {
  grid(f32);
  options.flags = AB_CONVERT_COPY_IMMUTABLE; /* it is not */
  expect_shared();
  options.flags = AB_CONVERT_COPY_MUTABLE;
  expect_pivot(AB_STEP_EXCHANGE, "mutable=\"copy\"");
}
END_TEST

START_TEST(aliasing_of_what_can_be_written_is_told) {
  grid(f32);
  right.can[0].flags |= AB_READS_HOST_LATER;
  EXPECT_WAY(AB_REPORT_SHARED | AB_REPORT_ALIASES_MUTABLE, AB_STEP_EXCHANGE);
  toy_forget(&right);
  right.can[0].flags = AB_ACCEPTS_EMPTY | AB_MAKES_IMMUTABLE;
  EXPECT_WAY(AB_REPORT_SHARED | AB_REPORT_ALIASES_MUTABLE, AB_STEP_EXCHANGE);
  source->mutability = AB_IMMUTABLE;
  EXPECT_WAY(AB_REPORT_SHARED, AB_STEP_EXCHANGE);
}
END_TEST

START_TEST(what_can_be_written_is_copied_for_late_readers_and_immutable_arrays_if_that_is_asked_for) {
  grid(f32);
  options.flags = AB_CONVERT_COPY_LATE_READS;
  expect_shared(); /* the target reads nothing later */
  toy_forget(&right);
  right.can[0].flags |= AB_READS_HOST_LATER;
  expect_pivot(AB_STEP_EXCHANGE, "after the call");
  source->mutability = AB_IMMUTABLE; /* nobody writes it */
  expect_shared();
  source->mutability = AB_MUTABLE;
  toy_forget(&right);
  right.can[0].flags = AB_ACCEPTS_EMPTY | AB_MAKES_IMMUTABLE;
  expect_pivot(AB_STEP_EXCHANGE, "do not change");
  source->mutability = AB_IMMUTABLE;
  expect_shared();
  source->mutability = AB_MUTABLE;
  ck_assert_int_eq(convert_to(&left), AB_OK); /* at home: nobody else reads it */
  ck_assert_ptr_eq(made(), source);
}
END_TEST

START_TEST(a_framework_that_copies_after_all_is_recorded_so) {
  grid(f32);
  right.from_dlpack.report = AB_REPORT_COPIED;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_uint_eq(record.flags, AB_REPORT_COPIED);
  ck_assert_uint_eq(record.bytes_copied, 48);
  expect_steps_of(&record, 1, (ab_step_kind[]){AB_STEP_EXCHANGE});
}
END_TEST

START_TEST(reports_of_plugins_reach_the_record) {
  grid(f32);
  left.to_dlpack.report = AB_REPORT_GRADIENT_DETACHED;
  right.from_dlpack.report = AB_REPORT_BLOCKED_HOST | AB_REPORT_SHARED;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_uint_eq(record.flags, AB_REPORT_GRADIENT_DETACHED | AB_REPORT_BLOCKED_HOST | AB_REPORT_SHARED);
  ck_assert_uint_eq(left.call_flags & AB_CALL_WANT_REPORT, AB_CALL_WANT_REPORT);
  left.describe.report = AB_REPORT_GRADIENT_DETACHED;
  left.to_dlpack.report = right.from_dlpack.report = 0;
  EXPECT_WAY(AB_REPORT_GRADIENT_DETACHED | AB_REPORT_SHARED, AB_STEP_EXCHANGE);
  options.record = NULL;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_uint_eq(left.call_flags & AB_CALL_WANT_REPORT, 0);
}
END_TEST

/* ------------------------------------------------------------------ bytes that are not the values */

START_TEST(lazily_conjugated_arrays_are_never_read_nor_shared) {
  const uint32_t lazy[] = {AB_INFO_CONJUGATED, AB_INFO_NEGATED, 1u << 14 /* of a newer plugin */};
  const uint32_t resolved[] = {AB_REPORT_CONJ_RESOLVED, AB_REPORT_NEG_RESOLVED, 0};
  for (int index = 0; index < 3; index++)
    for (left.gives_tensor = 0; left.gives_tensor < 2; left.gives_tensor++) {
      grid(c64);
      source->flags = AB_INFO_HOST_ACCESSIBLE | lazy[index]; /* data set all the same: the plugin is wrong */
      EXPECT_WAY(AB_REPORT_COPIED | resolved[index], AB_STEP_TO_HOST, AB_STEP_EXCHANGE);
      ck_assert_int_eq(atomic_load(&left.to_dlpack.calls), 0);
      options.copy = AB_COPY_NEVER;
      ck_assert_int_eq(convert(), AB_WOULD_COPY);
      expect_text("not its values");
      options.copy = AB_COPY_IF_NEEDED;
      ab_array_release(&result);
      toy_array_release(source);
      source = NULL;
    }
}
END_TEST

START_TEST(ignorable_flags_are_ignored) {
  grid(f32);
  source->flags |= 1u << 20;
  expect_shared();
}
END_TEST

/* ------------------------------------------------------------------ the same object */

static int stays(void) {
  ck_assert_msg(convert_to(&left) == AB_OK, "%s", error.text);
  return made() == source;
}

START_TEST(an_array_at_home_is_returned_as_it_is) {
  grid(f32);
  source->strides[0] = 18; /* whatever it is */
  source->flags |= AB_INFO_BYTE_SWAPPED;
  ck_assert(stays());
  expect_steps_of(&record, 1, (ab_step_kind[]){AB_STEP_SAME});
  ck_assert_uint_eq(record.flags, AB_REPORT_SHARED);
  ck_assert_int_eq(atomic_load(&source->references), 2);
  options.record = NULL;
  const int described = atomic_load(&left.describe.calls);
  ck_assert(stays());
  ck_assert_int_eq(atomic_load(&left.describe.calls), described); /* not even looked at */
  ck_assert_int_eq(atomic_load(&left.exported), 0);
}
END_TEST

START_TEST(an_array_at_home_is_converted_when_something_changes) {
  grid(f32);
  options.dtype = f32;
  ck_assert(stays());
  options.dtype = f64;
  options.casting = AB_CASTING_SAFE;
  ck_assert(!stays());
  options.dtype = (DLDataType){0, 0, 0};
  options.copy = AB_COPY_NEVER;
  ck_assert(stays());
  options.copy = AB_COPY_ALWAYS;
  ck_assert(!stays());
  options.copy = AB_COPY_IF_NEEDED;
  options.flags = AB_CONVERT_COPY_IMMUTABLE;
  ck_assert(stays());
  source->mutability = AB_IMMUTABLE;
  ck_assert(!stays());
  options.flags = AB_CONVERT_COPY_MUTABLE;
  ck_assert(stays());
  source->mutability = AB_MUTABLE;
  ck_assert(!stays());
  options.flags = 0;
  source->flags |= AB_INFO_NOT_PLAIN; /* a variable: its value is wanted, as soon as anything is asked for */
  options.dtype = f32;
  ck_assert(!stays());
}
END_TEST

START_TEST(an_array_at_home_moves_to_a_given_device) {
  grid(f32);
  left.places = TOY_HOST | TOY_EXT;
  left.accelerators = 2;
  options.flags = AB_CONVERT_DEVICE_GIVEN;
  options.device = (DLDevice){kDLCPU, 0};
  ck_assert(stays());
  options.device = ext0;
  ck_assert(!stays());
  ck_assert_int_eq(made()->device.device_type, kDLExtDev);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: sharing");
  TCase *const tests = unit_case(suite, "convert: sharing", setup, teardown);
  tcase_add_test(tests, copy_never_refuses_with_the_reason);
  tcase_add_test(tests, copy_never_tells_what_the_target_said);
  tcase_add_test(tests, copy_always_never_aliases);
  tcase_add_test(tests, read_only_memory_is_copied_unless_the_target_keeps_it_so);
  tcase_add_test(tests, immutable_arrays_are_shared_unless_a_copy_is_asked_for);
  tcase_add_test(tests, mutable_arrays_are_shared_unless_a_copy_is_asked_for);
  tcase_add_test(tests, aliasing_of_what_can_be_written_is_told);
  tcase_add_test(tests, what_can_be_written_is_copied_for_late_readers_and_immutable_arrays_if_that_is_asked_for);
  tcase_add_test(tests, a_framework_that_copies_after_all_is_recorded_so);
  tcase_add_test(tests, reports_of_plugins_reach_the_record);
  tcase_add_test(tests, lazily_conjugated_arrays_are_never_read_nor_shared);
  tcase_add_test(tests, ignorable_flags_are_ignored);
  tcase_add_test(tests, an_array_at_home_is_returned_as_it_is);
  tcase_add_test(tests, an_array_at_home_is_converted_when_something_changes);
  tcase_add_test(tests, an_array_at_home_moves_to_a_given_device);
  return suite;
}
