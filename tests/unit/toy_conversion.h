/* SPDX-License-Identifier: MIT
 * Two toys, and one conversion from the left to the right one. */
#ifndef TOY_CONVERSION_H
#define TOY_CONVERSION_H

#include "check_main.h"
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

static inline void setup(void) {
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
static inline void teardown(void) {
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

static inline toy_array *grid(DLDataType dtype) {
  const int64_t shape[] = {3, 4};
  source = toy_array_new(&left, dtype, 2, shape);
  return source;
}

static inline ab_status convert_to(toy *target) {
  ab_array_release(&result);
  record = (ab_record){.struct_size = sizeof record};
  const ab_array array = {.backend = &source->home->backend, .object = source};
  return ab_convert(bridge, &array, &target->backend, &options, &result, &error);
}

static inline ab_status convert(void) { return convert_to(&right); }

static inline ab_status plan(void) {
  planned = (ab_record){.struct_size = sizeof planned};
  const ab_array array = {.backend = &source->home->backend, .object = source};
  return ab_plan(bridge, &array, &right.backend, &options, &planned, NULL);
}

static inline toy_array *made(void) { return result.object; }

static inline void same_values(void) {
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

static inline void expect_steps_of(const ab_record *of, int count, const ab_step_kind *kinds) {
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

static inline const ab_step *refusal(ab_step_kind kind, const char *words) {
  for (uint32_t index = 0; index < record.step_count; index++)
    if (record.steps[index].refused && record.steps[index].kind == kind && strstr(record.steps[index].reason, words))
      return &record.steps[index];
  return NULL;
}
#define expect_refusal(kind, words) ck_assert_msg(refusal((kind), (words)) != NULL, "no refusal that says: %s", (words))
#define expect_text(words) ck_assert_msg(strstr(error.text, (words)) != NULL, "%s", error.text)

/* Plans, converts, compares: the plan must be what is then done. */
static inline void expect_way(int count, const ab_step_kind *kinds, uint32_t flags) {
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

static inline void expect_shared(void) {
  EXPECT_WAY(AB_REPORT_SHARED, AB_STEP_EXCHANGE);
  ck_assert_ptr_eq(made()->data, source->data);
  ck_assert_uint_eq(record.bytes_copied, 0);
  same_values();
}

static inline void expect_pivot(ab_step_kind refused, const char *words) {
  EXPECT_WAY(AB_REPORT_COPIED, AB_STEP_PIVOT, AB_STEP_EXCHANGE);
  expect_refusal(refused, words);
  ck_assert_ptr_ne(made()->data, source->data);
  ck_assert_uint_eq((uintptr_t)made()->data & 63, 0);
  ck_assert_uint_eq(record.bytes_copied, record.bytes);
  same_values();
}

static inline void hold_only(const DLDataType *dtypes, uint32_t count) {
  toy_forget(&right);
  for (int slot = 0; slot < 2; slot++) {
    right.can[slot].dtypes = dtypes;
    right.can[slot].dtype_count = count;
  }
}

#endif
