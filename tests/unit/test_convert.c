/* SPDX-License-Identifier: MIT
 * What ab_convert() and ab_plan() do with backends that behave, and with those that do not. */
#include <check.h>

#include "toy.h"

static const DLDataType f32 = {kDLFloat, 32, 1}, f64 = {kDLFloat, 64, 1}, i16 = {kDLInt, 16, 1},
                        c64 = {kDLComplex, 64, 1}, u32 = {kDLUInt, 32, 1};
static const DLDevice ext0 = {kDLExtDev, 0};

static ab_bridge *bridge;
static toy left, right;
static ab_error error;
static ab_record record, planned;
static ab_convert_options options;
static ab_array result;
static toy_array *source;
static int64_t before;

static void setup(void) {
  ck_assert_int_eq(ab_bridge_new(NULL, &bridge, NULL), AB_OK);
  before = ab__allocation_count();
  toy_init(&left, bridge, "left");
  toy_init(&right, bridge, "right");
  ab_error_init(&error);
  options = (ab_convert_options){.struct_size = sizeof options, .record = &record};
  result = (ab_array){0};
  source = NULL;
}

/* Whatever a test did: each tensor was deleted once, each array is gone, the core holds nothing. */
static void teardown(void) {
  ab_array_release(&result);
  if (source != NULL) {
    ck_assert_int_eq(atomic_load(&source->references), 1);
    toy_array_release(source);
  }
  toy_end(&left);
  toy_end(&right);
  ab_error_clear(&error);
  ck_assert_int_eq(atomic_load(&left.deleted), atomic_load(&left.exported));
  ck_assert_int_eq(atomic_load(&left.arrays), 0);
  ck_assert_int_eq(atomic_load(&right.arrays), 0);
  ck_assert_int_eq(atomic_load(&left.failures_alive) + atomic_load(&right.failures_alive), 0);
  ck_assert_int_eq(ab__allocation_count(), before);
  ab_bridge_free(bridge);
}

static toy_array *grid(DLDataType dtype) {
  const int64_t shape[] = {3, 4};
  source = toy_array_new(&left, dtype, 2, shape);
  return source;
}

static ab_status convert_to(toy *target) {
  ab_array_release(&result);
  record = (ab_record){.struct_size = sizeof record};
  const ab_array array = {.backend = &source->home->backend, .object = source};
  return ab_convert(bridge, &array, &target->backend, &options, &result, &error);
}

static ab_status convert(void) { return convert_to(&right); }

static ab_status plan(void) {
  planned = (ab_record){.struct_size = sizeof planned};
  const ab_array array = {.backend = &source->home->backend, .object = source};
  return ab_plan(bridge, &array, &right.backend, &options, &planned, NULL);
}

static toy_array *made(void) { return result.object; }

static void same_values(void) {
  const toy_array *to = made();
  ck_assert_int_eq(to->ndim, source->ndim);
  const int64_t itemsize = source->dtype.bits / 8, count = toy_count(source);
  for (int64_t index = 0; index < count; index++) {
    int64_t rest = index, from_offset = 0, to_offset = 0;
    for (int32_t axis = source->ndim - 1; axis >= 0; axis--) {
      ck_assert_int_eq(to->shape[axis], source->shape[axis]);
      from_offset += rest % source->shape[axis] * source->strides[axis];
      to_offset += rest % source->shape[axis] * to->strides[axis];
      rest /= source->shape[axis];
    }
    ck_assert_mem_eq((char *)to->data + to_offset, (char *)source->data + from_offset, itemsize);
  }
}

static void expect_steps_of(const ab_record *of, int count, const ab_step_kind *kinds) {
  uint32_t taken = 0;
  uint64_t bytes = 0;
  for (uint32_t index = 0; index < of->step_count; index++) {
    const ab_step *step = &of->steps[index];
    if (step->refused) {
      ck_assert_uint_eq(taken, 0); /* refused ways come first */
      ck_assert_uint_eq(step->bytes, 0);
      ck_assert_str_ne(step->reason, "");
      continue;
    }
    ck_assert_uint_lt(taken, (unsigned)count);
    ck_assert_uint_eq(step->kind, kinds[taken]);
    ck_assert_str_eq(step->reason, "");
    bytes += step->bytes;
    taken++;
  }
  ck_assert_int_eq(taken, count);
  ck_assert_uint_eq(bytes, of->bytes_copied);
}

static const ab_step *refusal(ab_step_kind kind, const char *words) {
  for (uint32_t index = 0; index < record.step_count; index++)
    if (record.steps[index].refused && record.steps[index].kind == kind && strstr(record.steps[index].reason, words))
      return &record.steps[index];
  return NULL;
}
#define expect_refusal(kind, words) ck_assert_msg(refusal((kind), (words)) != NULL, "no refusal that says: %s", (words))
#define expect_text(words) ck_assert_msg(strstr(error.text, (words)) != NULL, "%s", error.text)

/* Plans, converts, compares: the plan must be what is then done. */
static void expect_way(int count, const ab_step_kind *kinds, uint32_t flags) {
  ck_assert_int_eq(plan(), AB_OK);
  ck_assert_msg(convert() == AB_OK, "%s", error.text);
  expect_steps_of(&record, count, kinds);
  expect_steps_of(&planned, count, kinds);
  ck_assert_uint_eq(record.flags, flags);
  ck_assert_uint_eq(planned.flags, flags);
  ck_assert_uint_eq(planned.bytes_copied, record.bytes_copied);
  ck_assert_uint_eq(planned.step_count, record.step_count);
  for (uint32_t index = 0; index < record.step_count; index++)
    ck_assert_str_eq(planned.steps[index].reason, record.steps[index].reason);
  ck_assert_int_eq(error.status, AB_OK);
  ck_assert_str_eq(error.text, "");
  ck_assert_ptr_eq(record.source, &left.backend);
  ck_assert_ptr_eq(record.target, &right.backend);
}
#define EXPECT_WAY(flags, ...)                                   \
  do {                                                           \
    const ab_step_kind kinds_[] = {__VA_ARGS__};                 \
    expect_way(sizeof kinds_ / sizeof *kinds_, kinds_, (flags)); \
  } while (0)

static void expect_shared(void) {
  EXPECT_WAY(AB_REPORT_SHARED, AB_STEP_EXCHANGE);
  ck_assert_ptr_eq(made()->data, source->data);
  ck_assert_uint_eq(record.bytes_copied, 0);
  same_values();
}

static void expect_pivot(ab_step_kind refused, const char *words) {
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_PIVOT, AB_STEP_EXCHANGE);
  expect_refusal(refused, words);
  ck_assert_ptr_ne(made()->data, source->data);
  ck_assert_uint_eq((uintptr_t)made()->data & 63, 0);
  ck_assert_uint_eq(record.bytes_copied, record.bytes);
  same_values();
}

static void hold_only(const DLDataType *dtypes, uint32_t count) {
  toy_forget(&right);
  for (int slot = 0; slot < 2; slot++) {
    right.can[slot].dtypes = dtypes;
    right.can[slot].dtype_count = count;
  }
}

/* ------------------------------------------------------------------ the ways */

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

/* ------------------------------------------------------------------ what no way can mend */

START_TEST(shapes_the_target_cannot_hold_are_refused) {
  grid(f32);
  right.can[0].max_ndim = right.can[1].max_ndim = 1;
  ck_assert_int_eq(convert(), AB_UNSUPPORTED);
  expect_text("2 dimensions; right holds 1 at most");
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

/* ------------------------------------------------------------------ dtypes */

START_TEST(a_dtype_the_target_lacks_is_an_error_with_the_way_out) {
  static const DLDataType have[] = {{kDLUInt, 8, 1}, {kDLFloat, 16, 1}, {kDLFloat, 32, 1}, {kDLComplex, 128, 1}};
  hold_only(have, 4);
  grid(f64);
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  ck_assert_str_eq(error.text, "float64 does not exist in right");
  ck_assert_str_eq(error.hint, "pass dtype=\"float32\", casting=\"same_kind\"");
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

START_TEST(a_dtype_that_nothing_comes_near_has_no_hint) {
  static const DLDataType have[] = {{kDLUInt, 8, 1}};
  hold_only(have, 1);
  grid(c64);
  options.casting = AB_CASTING_SAME_KIND;
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  ck_assert_str_eq(error.hint, "");
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
  ck_assert_str_eq(error.hint, "pass casting=\"unsafe\" to allow it");
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

/* ------------------------------------------------------------------ bytes that are not the values */

START_TEST(lazily_conjugated_arrays_are_never_read_nor_shared) {
  const uint32_t lazy[] = {AB_INFO_CONJUGATED, AB_INFO_NEGATED, 1u << 14 /* of a newer plugin */};
  for (int index = 0; index < 3; index++)
    for (left.gives_tensor = 0; left.gives_tensor < 2; left.gives_tensor++) {
      grid(c64);
      source->flags = AB_INFO_HOST_ACCESSIBLE | lazy[index]; /* data set all the same: the plugin is wrong */
      EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_TO_HOST, AB_STEP_EXCHANGE);
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

START_TEST(strides_are_judged_as_the_tensor_has_them) {
  grid(f32);
  right.can[0].layout = AB_LAYOUT_NON_NEGATIVE;
  left.flaw = TOY_OTHER_STRIDES; /* negative, where describe() said otherwise */
  ck_assert_int_eq(convert(), AB_OK);
  expect_refusal(AB_STEP_EXCHANGE, "negative");
  ck_assert_uint_eq(record.flags, AB_REPORT_COPIED);
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

/* One conversion that is recorded, and so weighs everything, and one that is not: both must do the same. */
static void expect_the_same_unrecorded(void) {
  left.gives_tensor = 1;
  toy_forget(&right);
  options.record = &record;
  const ab_status status = convert();
  const void *data = result.object != NULL ? made()->data : NULL;
  const int shares = data == source->data;
  const uint64_t read_only = right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY;
  options.record = NULL;
  ck_assert_int_eq(convert(), status);
  ck_assert_int_eq(error.status, status);
  if (status != AB_OK) return;
  ck_assert_int_eq(made()->data == source->data, shares);
  ck_assert_uint_eq(right.tensor_flags & DLPACK_FLAG_BITMASK_READ_ONLY, read_only);
  if (!(source->flags & AB_INFO_BYTE_SWAPPED)) same_values();
}

START_TEST(a_conversion_that_nobody_records_does_the_same) {
  grid(f32);
  for (uint32_t mutability = 0; mutability < 4; mutability++)
    for (int carries = 0; carries < 2; carries++) {
      source->mutability = mutability;
      right.can[0].flags = AB_ACCEPTS_EMPTY | (carries ? AB_CARRIES_READ_ONLY : 0);
      expect_the_same_unrecorded();
    }
  source->mutability = 0;
  for (uint32_t bit = 0; bit < 32; bit++) {
    source->flags = AB_INFO_HOST_ACCESSIBLE | 1u << bit;
    if (1u << bit != AB_INFO_BYTE_SWAPPED) expect_the_same_unrecorded(); /* a tensor is never swapped */
  }
  source->flags = AB_INFO_HOST_ACCESSIBLE;
  for (uint32_t layout = 0; layout < 5; layout++)
    for (int swapped_axes = 0; swapped_axes < 2; swapped_axes++) {
      right.can[0].layout = layout;
      source->strides[0] = swapped_axes ? 4 : 16;
      source->strides[1] = swapped_axes ? 12 : 4;
      expect_the_same_unrecorded();
    }
  toy_c_strides(source);
  for (uint32_t alignment = 0; alignment <= 128; alignment = alignment ? 2 * alignment : 1)
    for (int off = 0; off < 64; off += 4) {
      right.can[0].alignment = alignment;
      source->data = (char *)source->own + off;
      expect_the_same_unrecorded();
    }
  source->data = source->own;
  right.can[0].alignment = 0;
  for (uint64_t limit = 40; limit < 56; limit += 4) {
    right.can[0].max_bytes = right.can[1].max_bytes = limit;
    expect_the_same_unrecorded();
  }
  right.can[0].max_bytes = right.can[1].max_bytes = 0;
  for (int32_t most = 0; most < 4; most++) {
    right.can[0].max_ndim = right.can[1].max_ndim = most;
    expect_the_same_unrecorded();
  }
  const ab_status statuses[] = {AB_UNSUPPORTED, AB_WOULD_COPY};
  for (int index = 0; index < 2; index++)
    for (right.consumes = 0; right.consumes < 2; right.consumes++) {
      right.from_dlpack.failures = -1;
      right.from_dlpack.status = statuses[index];
      expect_the_same_unrecorded();
    }
  right.from_dlpack.failures = 0;
  hold_only(toy_dtypes, 1);
  expect_the_same_unrecorded();
  hold_only(toy_dtypes, 8);
  for (left.flaw = TOY_WRONG_SHAPE; left.flaw <= TOY_ODD_ADDRESS; left.flaw++)
    if (left.flaw != TOY_WRONG_SHAPE && left.flaw != TOY_WRONG_NDIM && left.flaw != TOY_WRONG_DTYPE &&
        left.flaw != TOY_OTHER_STRIDES && left.flaw != TOY_ODD_ADDRESS)
      expect_the_same_unrecorded(); /* the others are no flaws in a tensor that is the description */
}
END_TEST

START_TEST(small_shapes_that_nobody_records_do_the_same) {
  const int64_t shape[] = {1, 0, 4};
  for (int32_t ndim = 0; ndim < 4; ndim++)
    for (uint32_t flags = 0; flags < 16; flags++) {
      source = toy_array_new(&left, f32, ndim, shape);
      if (ndim > 0) source->strides[0] = 4 * 77; /* of an axis that nobody steps along */
      right.can[0].flags = right.can[1].flags = flags;
      expect_the_same_unrecorded();
      ab_array_release(&result);
      toy_array_release(source);
      source = NULL;
    }
}
END_TEST

/* ------------------------------------------------------------------ imports that fail */

START_TEST(an_import_that_fails_leaves_each_tensor_deleted_once) {
  const ab_status statuses[] = {AB_UNSUPPORTED, AB_WOULD_COPY, AB_FRAMEWORK, AB_OOM, AB_TOO_LARGE, AB_CANCELLED};
  grid(f32);
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

/* ------------------------------------------------------------------ devices */

static void expect_device(DLDevice device) {
  ck_assert_msg(convert() == AB_OK, "%s", error.text);
  ck_assert_int_eq(made()->device.device_type, device.device_type);
  ck_assert_int_eq(made()->device.device_id, device.device_id);
  ck_assert_int_eq(record.target_device.device_type, device.device_type);
  ck_assert_int_eq(record.target_device.device_id, device.device_id);
}

START_TEST(an_array_stays_where_the_target_can_use_it) {
  const DLDevice host = {kDLCPU, 0}, ext1 = {kDLExtDev, 1};
  grid(f32);
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 2;
  expect_device(host);
  source->device = ext1;
  source->flags = 0;
  expect_device(ext1);
  source->device.device_id = 5; /* not there: the host */
  expect_device(host);
  right.places = TOY_EXT; /* no host: its default */
  toy_forget(&right);
  expect_device(ext0);
  right.accelerators = 0;
  toy_forget(&right);
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
}
END_TEST

START_TEST(host_devices_are_one_memory_for_everybody_else) {
  const DLDevice host1 = {kDLCPU, 1};
  left.hosts = right.hosts = 2;
  grid(f32);
  source->device = host1;
  expect_device((DLDevice){kDLCPU, 0});
  ck_assert_ptr_eq(made()->data, source->data);
  ck_assert_int_eq(convert_to(&left), AB_OK); /* at home it stays where it is */
  ck_assert_ptr_eq(result.object, source);
  ck_assert_int_eq(record.target_device.device_id, 1);
}
END_TEST

START_TEST(a_given_device_is_exactly_that_or_an_error) {
  const DLDevice host = {kDLCPU, 0}, ext1 = {kDLExtDev, 1};
  grid(f32);
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 2;
  options.flags = AB_CONVERT_DEVICE_GIVEN;
  options.device = ext1;
  expect_device(ext1);
  options.device.device_id = 2;
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  expect_text("right has no arrays on ext:2");
  options.device = (DLDevice){kDLCUDA, 0};
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  expect_text("cuda:0");
  options.device = host;
  expect_device(host);
  options.flags |= AB_CONVERT_DEVICE_KIND;
  options.device = (DLDevice){kDLCPU, 77}; /* no number is given */
  expect_device(host);
  options.device = (DLDevice){kDLExtDev, 77};
  expect_device(ext0);
  options.device = (DLDevice){kDLCUDA, 77};
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  right.backend.slots.devices = NULL;
  options.device = (DLDevice){kDLExtDev, 77};
  expect_device(ext0);
}
END_TEST

START_TEST(accelerators_are_counted_without_the_host) {
  grid(f32);
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 2;
  options.flags = AB_CONVERT_ACCELERATOR;
  for (options.accelerator = 0; options.accelerator < 2; options.accelerator++)
    expect_device((DLDevice){kDLExtDev, options.accelerator});
  options.accelerator = 2;
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  expect_text("gpu_id=2: right has 2 accelerators");
  options.accelerator = -1;
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  right.accelerators = 0; /* none at all: the host */
  options.accelerator = 3;
  expect_device((DLDevice){kDLCPU, 0});
  right.backend.slots.devices = NULL;
  expect_device((DLDevice){kDLCPU, 0});
}
END_TEST

START_TEST(devices_that_cannot_be_listed_are_none) {
  grid(f32);
  options.flags = AB_CONVERT_ACCELERATOR;
  right.devices.failures = 1;
  right.devices.status = AB_UNSUPPORTED;
  expect_device((DLDevice){kDLCPU, 0});
  right.devices.failures = 1;
  right.devices.status = AB_DRIVER;
  ck_assert_int_eq(convert(), AB_DRIVER);
}
END_TEST

START_TEST(streams_order_devices_only) {
  grid(f32);
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 1;
  right.stream_kind = AB_STREAM_HANDLE;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 0);
  source->device = ext0;
  source->flags = 0;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 1);
  right.stream_kind = AB_STREAM_UNKNOWN;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 0);
  ab_stream given = {.struct_size = sizeof given, .kind = AB_STREAM_LEGACY};
  options.stream = &given;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 1);
  given.kind = AB_STREAM_UNKNOWN;
  ck_assert_int_eq(convert(), AB_STREAM);
  given.kind = AB_STREAM_NONE;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 0);
  options.stream = NULL;
  right.stream.failures = 1;
  right.stream.status = AB_DRIVER;
  right.stream.text = "the driver is gone";
  ck_assert_int_eq(convert(), AB_DRIVER);
  right.stream.failures = 1;
  right.stream.status = AB_UNSUPPORTED;
  ck_assert_int_eq(convert(), AB_OK);
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

/* ------------------------------------------------------------------ arguments */

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

/* ------------------------------------------------------------------ no memory */

/* Fails each allocation of the core in turn, until the conversion succeeds without meeting a failure. */
static void starve(void) {
  unsigned char values[128];
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

#define ADD(test) tcase_add_test(tests, test)

int main(void) {
  Suite *suite = suite_create("convert");
  TCase *tests = tcase_create("convert");
  tcase_add_checked_fixture(tests, setup, teardown);
  ADD(fitting_memory_is_shared);
  ADD(strides_that_do_not_fit_are_copied_before_the_target_sees_them);
  ADD(each_layout_takes_what_it_says);
  ADD(strides_of_no_whole_elements_are_copied);
  ADD(misaligned_memory_is_copied);
  ADD(complex_numbers_are_aligned_as_a_whole);
  ADD(a_target_that_wants_more_than_a_copy_can_give_is_pushed_to);
  ADD(byte_swapped_elements_are_swapped_back);
  ADD(fitting_memory_is_pushed_without_a_copy_of_the_core);
  ADD(other_memory_is_made_fit_before_it_is_pushed);
  ADD(an_unshareable_array_comes_through_to_host);
  ADD(what_to_host_shares_is_shared_if_it_fits);
  ADD(a_copy_of_the_source_framework_is_not_copied_again);
  ADD(the_description_says_what_is_read_only_not_the_tensor);
  ADD(what_a_failed_way_reported_is_forgotten);
  ADD(device_memory_goes_over_the_host);
  ADD(host_memory_is_pushed_to_a_target_without_any);
  ADD(device_memory_is_exchanged_on_its_device_only);
  ADD(a_way_that_leads_nowhere_is_told);
  ADD(shapes_the_target_cannot_hold_are_refused);
  ADD(a_limit_of_the_import_alone_is_passed_by_a_push);
  ADD(arrays_without_elements_or_dimensions_need_a_target_that_takes_them);
  ADD(empty_arrays_survive_every_way);
  ADD(unconvertible_arrays_say_why);
  ADD(an_error_of_an_earlier_call_is_forgotten);
  ADD(copy_never_refuses_with_the_reason);
  ADD(copy_never_tells_what_the_target_said);
  ADD(copy_always_never_aliases);
  ADD(read_only_memory_is_copied_unless_the_target_keeps_it_so);
  ADD(immutable_arrays_are_shared_unless_a_copy_is_asked_for);
  ADD(mutable_arrays_are_shared_unless_a_copy_is_asked_for);
  ADD(aliasing_of_what_can_be_written_is_told);
  ADD(a_framework_that_copies_after_all_is_recorded_so);
  ADD(reports_of_plugins_reach_the_record);
  ADD(a_dtype_the_target_lacks_is_an_error_with_the_way_out);
  ADD(a_dtype_that_nothing_comes_near_has_no_hint);
  ADD(a_wanted_dtype_obeys_the_casting_rule);
  ADD(a_cast_on_the_way_over_the_host_and_before_a_push);
  ADD(dtypes_that_nobody_knows_are_refused);
  ADD(shapes_that_cannot_be_are_refused);
  ADD(lazily_conjugated_arrays_are_never_read_nor_shared);
  ADD(ignorable_flags_are_ignored);
  ADD(a_wrong_tensor_ends_the_conversion_before_the_target_sees_it);
  ADD(a_tensor_of_a_newer_dlpack_is_given_back_and_the_next_way_tried);
  ADD(strides_are_judged_as_the_tensor_has_them);
  ADD(the_address_is_judged_as_the_tensor_has_it);
  ADD(a_described_tensor_is_used_once);
  ADD(a_described_tensor_that_is_not_needed_is_released);
  ADD(a_described_tensor_that_is_wrong_is_refused);
  ADD(a_conversion_that_nobody_records_does_the_same);
  ADD(small_shapes_that_nobody_records_do_the_same);
  ADD(an_import_that_fails_leaves_each_tensor_deleted_once);
  ADD(a_copy_that_was_given_up_is_not_counted);
  ADD(when_every_way_fails_the_last_word_is_told);
  ADD(an_export_that_fails_for_good_ends_the_conversion);
  ADD(unknown_statuses_are_defects);
  ADD(success_without_an_array_is_a_defect);
  ADD(the_error_has_the_status_that_is_returned);
  ADD(start_is_called_until_it_succeeds);
  ADD(an_array_stays_where_the_target_can_use_it);
  ADD(host_devices_are_one_memory_for_everybody_else);
  ADD(a_given_device_is_exactly_that_or_an_error);
  ADD(accelerators_are_counted_without_the_host);
  ADD(devices_that_cannot_be_listed_are_none);
  ADD(streams_order_devices_only);
  ADD(an_array_at_home_is_returned_as_it_is);
  ADD(an_array_at_home_is_converted_when_something_changes);
  ADD(an_array_at_home_moves_to_a_given_device);
  ADD(nonsense_is_refused);
  ADD(nobody_need_listen_to_errors);
  ADD(a_record_has_room_for_the_way_that_is_taken);
  ADD(no_memory_for_an_exchange);
  ADD(no_memory_for_a_pivot);
  ADD(no_memory_for_to_host);
  ADD(no_memory_for_from_host);
  suite_add_tcase(suite, tests);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  const int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
