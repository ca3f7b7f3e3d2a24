/* SPDX-License-Identifier: MIT
 *
 * Scaling. Values are checked against fractions in tests/integration/test_scaling.py; here is what only C can do:
 * allocations that fail, misaligned memory, and the options of ab_convert().
 */
#include <math.h>

#include "dtype.h"
#include "kernels/scale.h"
#include "toy_conversion.h"

static const DLDataType u8 = {kDLUInt, 8, 1};

static DLDataType dtype_of(const char *name) {
  DLDataType dtype = {0};
  if (ab_dtype_parse(name, &dtype, NULL) != AB_OK) ck_abort_msg("%s is not a dtype", name);
  return dtype;
}

static ab__strided row_of(const void *data, DLDataType dtype, const int64_t *count, const int64_t *stride) {
  return (ab__strided){data, 1, count, stride, ab_dtype_size(dtype), 0};
}

/* ------------------------------------------------------------------ the kernel */

START_TEST(every_pair_has_a_rule_or_a_refusal) {
  static char from[64 * 16], to[64 * 16 + 1];
  const int64_t count = 64;
  for (int a = 0; a < AB__DTYPE_COUNT; a++) {
    for (int b = 0; b < AB__DTYPE_COUNT; b++) {
      for (int scaling = AB_SCALING_CLIP; scaling <= AB_SCALING_WRAP; scaling++) {
        const DLDataType source_dtype = ab__dtype_at(a), target_dtype = ab__dtype_at(b);
        const ab__scale_rule rule = {(ab_scaling)scaling, 0, 0};
        if (a == b || ab__scale_refused(&rule, source_dtype, target_dtype, NULL)) continue;
        const int64_t stride = ab_dtype_size(source_dtype);
        const ab__strided row = row_of(from, source_dtype, &count, &stride);
        ab__scale_outcome outcome;
        memset(to, 0x55, sizeof to);
        const ab_status status = ab__scale_to_compact(&row, source_dtype, target_dtype, &rule, to, 1, &outcome);
        const int carried = a >= AB__DTYPE_CARRIED_ONLY || b >= AB__DTYPE_CARRIED_ONLY;
        ck_assert_int_eq(status, carried ? AB_UNSUPPORTED : AB_OK);
        if (carried) continue;
        const size_t bytes =
            64 * ab_dtype_size(target_dtype); /* zero is zero under every rule, MINMAX of constants too */
        int others = 0;
        for (size_t i = 0; i < bytes; i++) others += to[i] != 0;
        ck_assert_msg(others == 0, "%s to %s, rule %d", ab_dtype_name(source_dtype), ab_dtype_name(target_dtype),
                      scaling);
        ck_assert_int_eq(to[bytes], 0x55);
      }
    }
  }
}
END_TEST

START_TEST(scattered_sources_need_no_memory) {
  enum { ROWS = 300, COLUMNS = 211 };
  static float image[ROWS * COLUMNS];
  static uint8_t expected[ROWS * COLUMNS], got[ROWS * COLUMNS];
  for (int i = 0; i < ROWS * COLUMNS; i++) image[i] = (float)(i * 7 % 3001) / 8;
  const int64_t shape[] = {COLUMNS, ROWS}, strides[] = {4, 4 * COLUMNS}; /* transposed */
  const ab__strided source_view = {image, 2, shape, strides, 4, 0};
  const ab_scaling scalings[] = {AB_SCALING_CLIP, AB_SCALING_MINMAX};
  for (int s = 0; s < 2; s++) {
    const ab__scale_rule rule = {scalings[s], 0, 0};
    ab__scale_outcome plenty, none;
    ck_assert_int_eq(ab__scale_to_compact(&source_view, f32, u8, &rule, expected, 1, &plenty), AB_OK);
    for (int nth = 1; nth <= 2; nth++) {
      memset(got, 0x55, sizeof got);
      ab__allocation_fail_at(nth);
      ck_assert_int_eq(ab__scale_to_compact(&source_view, f32, u8, &rule, got, 1, &none), AB_OK);
      ab__allocation_fail_at(-1);
      ck_assert_mem_eq(got, expected, sizeof got);
      ck_assert_int_eq(none.saturated, plenty.saturated);
    }
  }
  ck_assert_int_eq(expected[0], 0);
}
END_TEST

START_TEST(memory_need_not_be_aligned) {
  static char from[4 * 3000 + 1], to[2 * 3000 + 1];
  const int64_t count = 3000, stride = 4;
  for (int i = 0; i < 3000; i++) {
    const float x = (float)i - 0.5f;
    memcpy(from + 1 + 4 * i, &x, sizeof x);
  }
  const ab__strided row = row_of(from + 1, f32, &count, &stride);
  const ab__scale_rule rule = {AB_SCALING_CLIP, 0, 0};
  ab__scale_outcome outcome;
  ck_assert_int_eq(ab__scale_to_compact(&row, f32, i16, &rule, to + 1, 1, &outcome), AB_OK);
  for (int i = 0; i < 3000; i++) {
    int16_t y;
    memcpy(&y, to + 1 + 2 * i, sizeof y);
    ck_assert_int_eq(y, i - i % 2 == i ? i : i - 1); /* i - 0.5 goes to the even neighbour */
  }
}
END_TEST

START_TEST(the_first_fault_is_found_by_whatever_thread) {
  enum { COUNT = 3 << 20 };
  float *image = malloc(COUNT * sizeof *image);
  uint8_t *to = malloc(COUNT);
  for (int64_t i = 0; i < COUNT; i++) image[i] = 1;
  image[COUNT - 1] = image[COUNT / 2 + 5] = image[70001] = NAN;
  const int64_t count = COUNT, stride = 4;
  const ab__strided row = row_of(image, f32, &count, &stride);
  for (int scaling = AB_SCALING_CLIP; scaling <= AB_SCALING_WRAP; scaling++) {
    const ab__scale_rule rule = {(ab_scaling)scaling, 0, 0};
    for (uint32_t threads = 1; threads <= 3; threads++) {
      ab__scale_outcome outcome;
      ck_assert_int_eq(ab__scale_to_compact(&row, f32, u8, &rule, to, threads, &outcome), AB_WOULD_CAST);
      ck_assert_int_eq(outcome.fault, 70001);
    }
  }
  free(image);
  free(to);
}
END_TEST

START_TEST(dtypes_that_are_none_are_refused) {
  const int64_t count = 1, stride = 4;
  const float x = 1;
  char to[8];
  const ab__strided row = row_of(&x, f32, &count, &stride);
  const ab__scale_rule rule = {AB_SCALING_CLIP, 0, 0};
  ab__scale_outcome outcome;
  const DLDataType wrong = {kDLUInt, 24, 1};
  ck_assert_int_eq(ab__scale_to_compact(&row, f32, wrong, &rule, to, 1, &outcome), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab__scale_to_compact(&row, f64, u8, &rule, to, 1, &outcome), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab__scale_to_compact(&row, f32, f32, &rule, to, 1, &outcome), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab__scale_to_compact(&row, f32, dtype_of("float8_e3m4"), &rule, to, 1, &outcome), AB_UNSUPPORTED);
}
END_TEST

/* ------------------------------------------------------------------ ab_convert() */

static ab_scale_report scaled;

static void setup_scaling(void) {
  setup();
  scaled = (ab_scale_report){.struct_size = sizeof scaled, .saturated = 77, .overflowed = 77};
  options.scaled = &scaled;
  options.scaling = AB_SCALING_CLIP;
  options.dtype = i16;
}

static float *pixels(void) { return grid(f32)->data; }

START_TEST(a_conversion_scales_in_the_one_copy_it_makes) {
  float *x = pixels();
  for (int i = 0; i < 12; i++) x[i] = (float)i * 10000 + 0.5f;
  EXPECT_WAY(AB_REPORT_COPIED | AB_REPORT_CAST, AB_STEP_PIVOT, AB_STEP_EXCHANGE);
  const int16_t *y = made()->data;
  ck_assert_int_eq(y[0], 0);
  ck_assert_int_eq(y[1], 10000);
  ck_assert_int_eq(y[4], 32767);
  ck_assert_uint_eq(scaled.saturated, 8);
  ck_assert_uint_eq(scaled.overflowed, 0);
}
END_TEST

START_TEST(casting_is_not_asked) {
  pixels();
  options.casting = AB_CASTING_NO;
  ck_assert_int_eq(convert(), AB_OK);
  options.scaling = AB_SCALING_NONE;
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
}
END_TEST

START_TEST(an_array_of_that_dtype_is_shared_and_nothing_is_counted) {
  grid(i16);
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_ptr_eq(made()->data, source->data);
  ck_assert_uint_eq(scaled.saturated, 0);
}
END_TEST

START_TEST(a_value_without_a_result_is_named_with_its_index) {
  float *x = pixels();
  for (int i = 0; i < 12; i++) x[i] = 0;
  x[6] = NAN;
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  expect_text("NaN at index (1, 2)");
  ck_assert_ptr_nonnull(strstr(error.hint, "nan=0"));
  options.flags |= AB_CONVERT_NAN_GIVEN;
  options.nan = -3;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(((const int16_t *)made()->data)[6], -3);
  options.nan = 40000;
  ck_assert_int_eq(convert(), AB_INVALID_ARGUMENT);
  expect_text("no value of int16");
}
END_TEST

START_TEST(only_one_way_is_tried_for_a_value_without_a_result) {
  float *x = pixels();
  for (int i = 0; i < 12; i++) x[i] = 0;
  x[0] = NAN;
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  ck_assert_int_eq(atomic_load(&left.to_host.calls), 0);
  ck_assert_int_eq(atomic_load(&right.from_dlpack.calls), 0);
}
END_TEST

START_TEST(arguments_are_checked) {
  pixels();
  options.scaling = AB_SCALING_WRAP + 1;
  ck_assert_int_eq(convert(), AB_INVALID_ARGUMENT);
  options.scaling = AB_SCALING_CLIP;
  options.dtype = (DLDataType){0, 0, 0};
  ck_assert_int_eq(convert(), AB_INVALID_ARGUMENT);
  expect_text("scaling needs a dtype");
  options.dtype = i16;
  scaled.struct_size = 4;
  ck_assert_int_eq(convert(), AB_INVALID_ARGUMENT);
  scaled.struct_size = sizeof scaled;
  options.scaled = NULL;
  ck_assert_int_eq(convert(), AB_OK);
}
END_TEST

START_TEST(a_plan_knows_which_pairs_cannot_be) {
  grid(c64);
  ck_assert_int_eq(plan(), AB_WOULD_CAST);
  ck_assert_int_eq(convert(), AB_WOULD_CAST);
  expect_text("imaginary");
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("scale");
  TCase *const kernel = unit_case(suite, "kernel", NULL, NULL);
  tcase_add_test(kernel, every_pair_has_a_rule_or_a_refusal);
  tcase_add_test(kernel, scattered_sources_need_no_memory);
  tcase_add_test(kernel, memory_need_not_be_aligned);
  tcase_add_test(kernel, the_first_fault_is_found_by_whatever_thread);
  tcase_add_test(kernel, dtypes_that_are_none_are_refused);
  TCase *const conversion = unit_case(suite, "conversion", setup_scaling, teardown);
  tcase_add_test(conversion, a_conversion_scales_in_the_one_copy_it_makes);
  tcase_add_test(conversion, casting_is_not_asked);
  tcase_add_test(conversion, an_array_of_that_dtype_is_shared_and_nothing_is_counted);
  tcase_add_test(conversion, a_value_without_a_result_is_named_with_its_index);
  tcase_add_test(conversion, only_one_way_is_tried_for_a_value_without_a_result);
  tcase_add_test(conversion, arguments_are_checked);
  tcase_add_test(conversion, a_plan_knows_which_pairs_cannot_be);
  return suite;
}
