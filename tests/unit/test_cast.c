/* SPDX-License-Identifier: MIT
 *
 * Casts. Narrow floats are checked against their definition, in double; the rest against C's own conversions.
 */
#include <math.h>
#include <stdlib.h>

#include "check_main.h"
#include "dtype.h"
#include "kernels/cast.h"
#include "memory.h"

// Each ck_assert() reports to the parent process, so the loops over many values count what is wrong and assert once.

static DLDataType dtype_of(const char *name) {
  DLDataType dtype = {0};
  if (ab_dtype_parse(name, &dtype, NULL) != AB_OK) ck_abort_msg("%s is not a dtype", name);
  return dtype;
}

static void cast(const char *from, const void *source, const char *to, void *result, int64_t count) {
  const DLDataType source_dtype = dtype_of(from);
  const int64_t stride = ab_dtype_size(source_dtype);
  const ab__strided array = {source, 1, &count, &stride, ab_dtype_size(source_dtype), 0};
  if (ab__cast_to_compact(&array, source_dtype, dtype_of(to), result, 1) != AB_OK) ck_abort_msg("%s to %s", from, to);
}

/* ------------------------------------------------------------------ narrow floats */

typedef struct narrow_case {
  const char *name;
  int mantissa, exponent;
  uint32_t largest;   // code of the largest finite number
  uint32_t overflow;  // code that overflow gives
} narrow_case;

static const narrow_case narrow_cases[] = {
    {"float16", 10, 5, 0x7bff, 0x7c00},
    {"bfloat16", 7, 8, 0x7f7f, 0x7f80},
    {"float8_e4m3fn", 3, 4, 0x7e, 0x7f},
    {"float8_e5m2", 2, 5, 0x7b, 0x7c},
};
enum { NARROW_COUNT = sizeof narrow_cases / sizeof narrow_cases[0] };

static uint32_t sign_of(const narrow_case *format) { return 1u << (format->mantissa + format->exponent); }

static double value_of(const narrow_case *format, uint32_t code) {
  const int bias = (1 << (format->exponent - 1)) - 1;
  const uint32_t magnitude = code & (sign_of(format) - 1);
  const int exponent = (int)(magnitude >> format->mantissa);
  const double fraction = magnitude & ((1u << format->mantissa) - 1);
  const double whole = exponent != 0 ? fraction + (1 << format->mantissa) : fraction;
  const double value = ldexp(whole, (exponent != 0 ? exponent : 1) - bias - format->mantissa);
  return code & sign_of(format) ? -value : value;
}

static uint32_t narrowed(const narrow_case *format, const char *from, const void *value) {
  if (format->mantissa + format->exponent == 15) {
    uint16_t code;
    cast(from, value, format->name, &code, 1);
    return code;
  }
  uint8_t code;
  cast(from, value, format->name, &code, 1);
  return code;
}

static uint32_t narrowed_double(const narrow_case *format, double value) { return narrowed(format, "float64", &value); }

static double widened(const narrow_case *format, uint32_t code, const char *to) {
  const uint16_t wide_code = (uint16_t)code;
  const uint8_t small_code = (uint8_t)code;
  const void *source = format->mantissa + format->exponent == 15 ? (const void *)&wide_code : &small_code;
  float single;
  double value;
  if (strcmp(to, "float64") == 0) cast(format->name, source, to, &value, 1);
  else cast(format->name, source, to, &single, 1), value = (double)single;
  return value;
}

static int widens_exactly(const narrow_case *format, uint32_t code) {
  const uint32_t magnitude = code & (sign_of(format) - 1);
  const double value = widened(format, code, "float64");
  if ((signbit(value) != 0) != ((code & sign_of(format)) != 0)) return 0;
  if (magnitude <= format->largest)
    return value == value_of(format, code) && widened(format, code, "float32") == value &&
           narrowed_double(format, value) == code;
  const int has_infinity = strcmp(format->name, "float8_e4m3fn") != 0;
  return has_infinity && magnitude == format->overflow ? isinf(value) : isnan(value);
}

START_TEST(narrow_floats_widen_exactly) {
  const narrow_case *format = &narrow_cases[_i];
  int wrong = 0;
  for (uint32_t code = 0; code < 2 * sign_of(format); code++) wrong += !widens_exactly(format, code);
  ck_assert_int_eq(wrong, 0);
}
END_TEST

/// Between `code` and the next one.
static int rounds_once(const narrow_case *format, uint32_t code) {
  const double low = value_of(format, code), high = value_of(format, code + 1), middle = low + (high - low) / 2;
  const uint32_t even = code + (code & 1), sign = sign_of(format);
  const float single = (float)middle;
  if ((double)single == middle && narrowed(format, "float32", &single) != even) return 0;
  // The neighbours of the middle are closer to it than float32 can tell: rounding twice fails here.
  return narrowed_double(format, middle) == even && narrowed_double(format, -middle) == (even | sign) &&
         narrowed_double(format, nextafter(middle, low)) == code &&
         narrowed_double(format, nextafter(middle, high)) == code + 1 &&
         narrowed_double(format, nextafter(-middle, -high)) == ((code + 1) | sign);
}

START_TEST(narrow_floats_round_once_to_nearest_even) {
  const narrow_case *format = &narrow_cases[_i];
  int wrong = 0;
  for (uint32_t code = 0; code < format->largest; code++) wrong += !rounds_once(format, code);
  ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(narrow_floats_overflow_as_they_should) {
  const narrow_case *format = &narrow_cases[_i];
  const double largest = value_of(format, format->largest);
  const double tie = largest + (largest - value_of(format, format->largest - 1)) / 2;
  const uint32_t at_tie = format->largest & 1 ? format->overflow : format->largest;
  ck_assert_uint_eq(narrowed_double(format, tie), at_tie);
  ck_assert_uint_eq(narrowed_double(format, nextafter(tie, 0)), format->largest);
  ck_assert_uint_eq(narrowed_double(format, nextafter(tie, 1e300)), format->overflow);
  ck_assert_uint_eq(narrowed_double(format, -1e300), format->overflow | sign_of(format));
  ck_assert_uint_eq(narrowed_double(format, (double)INFINITY), format->overflow);
  ck_assert(isnan(widened(format, narrowed_double(format, (double)NAN), "float64")));
  ck_assert_uint_eq(narrowed_double(format, -0.0), sign_of(format));
  ck_assert_uint_eq(narrowed_double(format, 1e-300), 0);
}
END_TEST

START_TEST(large_integers_round_once_to_bfloat16) {
  // One above and one below the middle of two bfloat16; both are the middle itself as float32 or float64.
  const int64_t middle = (INT64_C(1) << 62) + (INT64_C(1) << 54);
  const int64_t values[] = {middle - 1, middle, middle + 1, -middle - 1};
  static const uint16_t expected[] = {0x5e80, 0x5e80, 0x5e81, 0xde81};
  uint16_t codes[4];
  cast("int64", values, "bfloat16", codes, 4);
  ck_assert_mem_eq(codes, expected, sizeof codes);
  cast("uint64", values, "bfloat16", codes, 3);
  ck_assert_mem_eq(codes, expected, 3 * sizeof codes[0]);
  const uint32_t small = (1u << 31) + (1u << 23) + 1;
  cast("uint32", &small, "bfloat16", codes, 1);
  ck_assert_uint_eq(codes[0], 0x4f01);
}
END_TEST

/* ------------------------------------------------------------------ native pairs */

START_TEST(floats_saturate_where_c_says_nothing) {
  static const double values[] = {1e300, -1e300, (double)INFINITY, -(double)INFINITY, (double)NAN, -1, 2.9, -2.9};
  uint8_t u8[8];
  int8_t i8[8];
  uint32_t u32[8];
  int32_t i32[8];
  int64_t i64[8];
  uint64_t u64[8];
  cast("float64", values, "uint8", u8, 8);
  cast("float64", values, "int8", i8, 8);
  cast("float64", values, "uint32", u32, 8);
  cast("float64", values, "int32", i32, 8);
  cast("float64", values, "int64", i64, 8);
  cast("float64", values, "uint64", u64, 8);
  ck_assert_mem_eq(u8, ((uint8_t[]){255, 0, 255, 0, 0, 0, 2, 0}), sizeof u8);
  ck_assert_mem_eq(i8, ((int8_t[]){127, -128, 127, -128, 0, -1, 2, -2}), sizeof i8);
  ck_assert_mem_eq(u32, ((uint32_t[]){UINT32_MAX, 0, UINT32_MAX, 0, 0, 0, 2, 0}), sizeof u32);
  ck_assert_mem_eq(i32, ((int32_t[]){INT32_MAX, INT32_MIN, INT32_MAX, INT32_MIN, 0, -1, 2, -2}), sizeof i32);
  ck_assert_mem_eq(i64, ((int64_t[]){INT64_MAX, INT64_MIN, INT64_MAX, INT64_MIN, 0, -1, 2, -2}), sizeof i64);
  ck_assert_mem_eq(u64, ((uint64_t[]){UINT64_MAX, 0, UINT64_MAX, 0, 0, 0, 2, 0}), sizeof u64);
}
END_TEST

START_TEST(floats_reach_the_ends_of_integers) {
  static const float singles[] = {0x1.fffffep30f, 0x1p31f,        -0x1p31f, 0x1.fffffep31f,
                                  0x1p32f,        0x1.fffffep62f, 0x1p63f,  0x1p64f};
  int32_t i32[8];
  uint32_t u32[8];
  int64_t i64[8];
  uint64_t u64[8];
  cast("float32", singles, "int32", i32, 8);
  cast("float32", singles, "uint32", u32, 8);
  cast("float32", singles, "int64", i64, 8);
  cast("float32", singles, "uint64", u64, 8);
  for (int i = 0; i < 8; i++) {
    const double value = (double)singles[i];
    ck_assert_int_eq(i32[i], value >= 0x1p31 ? INT32_MAX : (int32_t)value);
    ck_assert_uint_eq(u32[i], value < 0 ? 0 : value >= 0x1p32 ? UINT32_MAX : (uint32_t)value);
    ck_assert(i64[i] == (value >= 0x1p63 ? INT64_MAX : (int64_t)value));
    ck_assert(u64[i] == (value < 0 ? 0 : value >= 0x1p64 ? UINT64_MAX : (uint64_t)value));
  }
}
END_TEST

START_TEST(integers_wrap_and_keep_their_sign) {
  static const int32_t values[] = {-1, 300, INT32_MIN, 70000};
  uint8_t u8[4];
  int64_t i64[4];
  uint64_t u64[4];
  cast("int32", values, "uint8", u8, 4);
  cast("int32", values, "int64", i64, 4);
  cast("int32", values, "uint64", u64, 4);
  ck_assert_mem_eq(u8, ((uint8_t[]){255, 44, 0, 112}), sizeof u8);
  ck_assert_mem_eq(i64, ((int64_t[]){-1, 300, INT32_MIN, 70000}), sizeof i64);
  ck_assert(u64[0] == UINT64_MAX && u64[3] == 70000);
}
END_TEST

START_TEST(bool_is_whether_it_is_not_zero) {
  static const double values[] = {0, -0.0, 0.25, (double)NAN, -3};
  uint8_t truth[5];
  cast("float64", values, "bool", truth, 5);
  ck_assert_mem_eq(truth, ((uint8_t[]){0, 0, 1, 1, 1}), 5);
  static const float numbers[] = {0, 0, 0, 2, 2, 0, 0, (float)NAN};
  cast("complex64", numbers, "bool", truth, 4);
  ck_assert_mem_eq(truth, ((uint8_t[]){0, 1, 1, 1}), 4);
  static const uint8_t odd_truth[] = {0, 1, 2, 255};
  float single[4];
  cast("bool", odd_truth, "float32", single, 4);
  ck_assert_mem_eq(single, ((float[]){0, 1, 1, 1}), sizeof single);
}
END_TEST

START_TEST(complex_gives_its_real_part) {
  static const double values[] = {1.5, 7, -2.5, 9};
  double real[2];
  int16_t whole[2];
  uint16_t half[2];
  float narrow[4];
  cast("complex128", values, "float64", real, 2);
  cast("complex128", values, "int16", whole, 2);
  cast("complex128", values, "float16", half, 2);
  cast("complex128", values, "complex64", narrow, 2);
  ck_assert_mem_eq(real, ((double[]){1.5, -2.5}), sizeof real);
  ck_assert_mem_eq(whole, ((int16_t[]){1, -2}), sizeof whole);
  ck_assert_mem_eq(half, ((uint16_t[]){0x3e00, 0xc100}), sizeof half);
  ck_assert_mem_eq(narrow, ((float[]){1.5f, 7, -2.5f, 9}), sizeof narrow);
  double wide[4];
  cast("float16", half, "complex128", wide, 2);
  ck_assert_mem_eq(wide, ((double[]){1.5, 0, -2.5, 0}), sizeof wide);
}
END_TEST

START_TEST(every_pair_carries_small_numbers) {
  static const double numbers[] = {0, 1, 1, 0, 1};  // that every dtype holds, bool included
  for (int from = 0; from < AB__DTYPE_CARRIED_ONLY; from++)
    for (int to = 0; to < AB__DTYPE_CARRIED_ONLY; to++) {
      char source[5 * 16], result[5 * 16];
      double back[5];
      cast("float64", numbers, ab_dtype_name(ab__dtype_at(from)), source, 5);
      cast(ab_dtype_name(ab__dtype_at(from)), source, ab_dtype_name(ab__dtype_at(to)), result, 5);
      cast(ab_dtype_name(ab__dtype_at(to)), result, "float64", back, 5);
      ck_assert_mem_eq(back, numbers, sizeof back);
    }
}
END_TEST

/* ------------------------------------------------------------------ layouts */

enum { ROWS = 301, COLUMNS = 203 };

static float expected_at(int64_t row, int64_t column) { return (float)(row * 1000 + column) + 0.5f; }

/// Casts a transposed, reversed, byte-swapped and misaligned float32 matrix to float64 on `threads`.
static void check_scattered(int64_t rows, int64_t columns, uint32_t threads) {
  char *memory = malloc((size_t)(rows * columns * 4 + 1));
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) {
      const float value = expected_at(i, columns - 1 - j);
      uint32_t bits;
      memcpy(&bits, &value, 4);
      bits = __builtin_bswap32(bits);
      memcpy(memory + 1 + 4 * (j * rows + i), &bits, 4);
    }
  const int64_t shape[] = {rows, columns}, strides[] = {4, -4 * rows};
  const ab__strided source = {memory + 1 + 4 * (columns - 1) * rows, 2, shape, strides, 4, 4};
  double *result = malloc((size_t)(rows * columns) * sizeof(double));
  ck_assert_int_eq(ab__cast_to_compact(&source, dtype_of("float32"), dtype_of("float64"), result, threads), AB_OK);
  int64_t wrong = 0;
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) wrong += result[i * columns + j] != (double)expected_at(i, j);
  ck_assert_int_eq(wrong, 0);
  free(result);
  free(memory);
}

START_TEST(cast_honours_any_layout) {
  check_scattered(1, 1, 1);
  check_scattered(3, 5, 1);
  check_scattered(ROWS, COLUMNS, 1);
  check_scattered(2, 100003, 1);
  check_scattered(100003, 2, 1);
}
END_TEST

START_TEST(cast_on_threads_honours_any_layout) {
  check_scattered(1201, 1203, 3);
  check_scattered(3, 500009, 64);
}
END_TEST

START_TEST(cast_works_without_scratch_memory) {
  ab__allocation_fail_at(1);
  check_scattered(ROWS, COLUMNS, 1);
  ab__allocation_fail_at(1);
  check_scattered(1201, 1203, 4);
  void *next = ab__allocate(1);  // the failure was used up, so memory was asked for
  ck_assert_ptr_nonnull(next);
  ab__deallocate(next);
  ck_assert_int_eq(ab__allocation_count(), 0);
}
END_TEST

START_TEST(cast_on_threads_splits_compact_memory) {
  enum { COUNT = 3000001 };
  int32_t *source = malloc(COUNT * sizeof *source);
  double *result = malloc(COUNT * sizeof *result);
  for (int i = 0; i < COUNT; i++) source[i] = i - 7;
  const int64_t shape = COUNT, stride = 4;
  const ab__strided array = {source, 1, &shape, &stride, 4, 0};
  ck_assert_int_eq(ab__cast_to_compact(&array, dtype_of("int32"), dtype_of("float64"), result, 3), AB_OK);
  int wrong = 0;
  for (int i = 0; i < COUNT; i++) wrong += result[i] != i - 7;
  ck_assert_int_eq(wrong, 0);
  free(source);
  free(result);
}
END_TEST

START_TEST(cast_takes_single_elements_and_none) {
  const uint16_t swapped = 0x0100;
  const ab__strided single = {&swapped, 0, NULL, NULL, 2, 2};
  float value = 0;
  ck_assert_int_eq(ab__cast_to_compact(&single, dtype_of("uint16"), dtype_of("float32"), &value, 1), AB_OK);
  ck_assert_float_eq(value, 1);
  const int64_t shape[] = {4, 0}, strides[] = {2, 2};
  const ab__strided empty = {NULL, 2, shape, strides, 2, 0};
  ck_assert_int_eq(ab__cast_to_compact(&empty, dtype_of("uint16"), dtype_of("float32"), NULL, 1), AB_OK);
}
END_TEST

START_TEST(cast_refuses_what_it_does_not_know) {
  const uint8_t code = 0x41;
  const ab__strided single = {&code, 0, NULL, NULL, 1, 0};
  uint8_t result = 0;
  const DLDataType carried = dtype_of("float8_e3m4"), vector = {kDLFloat, 32, 4};
  ck_assert_int_eq(ab__cast_to_compact(&single, carried, dtype_of("uint8"), &result, 1), AB_UNSUPPORTED);
  ck_assert_int_eq(ab__cast_to_compact(&single, dtype_of("uint8"), carried, &result, 1), AB_UNSUPPORTED);
  ck_assert_int_eq(ab__cast_to_compact(&single, dtype_of("uint8"), vector, &result, 1), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab__cast_to_compact(&single, dtype_of("int16"), carried, &result, 1), AB_INVALID_ARGUMENT);
  ck_assert_uint_eq(result, 0);
  ck_assert_int_eq(ab__cast_to_compact(&single, carried, carried, &result, 1), AB_OK);
  ck_assert_uint_eq(result, code);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("cast");
  TCase *const narrow = unit_case(suite, "narrow floats", NULL, NULL);
  tcase_set_timeout(narrow, 60);
  tcase_add_loop_test(narrow, narrow_floats_widen_exactly, 0, NARROW_COUNT);
  tcase_add_loop_test(narrow, narrow_floats_round_once_to_nearest_even, 0, NARROW_COUNT);
  tcase_add_loop_test(narrow, narrow_floats_overflow_as_they_should, 0, NARROW_COUNT);
  tcase_add_test(narrow, large_integers_round_once_to_bfloat16);
  TCase *const native = unit_case(suite, "native", NULL, NULL);
  tcase_add_test(native, floats_saturate_where_c_says_nothing);
  tcase_add_test(native, floats_reach_the_ends_of_integers);
  tcase_add_test(native, integers_wrap_and_keep_their_sign);
  tcase_add_test(native, bool_is_whether_it_is_not_zero);
  tcase_add_test(native, complex_gives_its_real_part);
  tcase_add_test(native, every_pair_carries_small_numbers);
  TCase *const layouts = unit_case(suite, "layouts", NULL, NULL);
  tcase_set_timeout(layouts, 60);
  tcase_add_test(layouts, cast_honours_any_layout);
  tcase_add_test(layouts, cast_on_threads_honours_any_layout);
  tcase_add_test(layouts, cast_works_without_scratch_memory);
  tcase_add_test(layouts, cast_on_threads_splits_compact_memory);
  tcase_add_test(layouts, cast_takes_single_elements_and_none);
  tcase_add_test(layouts, cast_refuses_what_it_does_not_know);
  return suite;
}
