/* SPDX-License-Identifier: MIT
 *
 * The table of dtypes, and the allocation seam that everything else stands on.
 */
#include <stdlib.h>

#include "check_main.h"
#include "dtype.h"
#include "memory.h"

static DLDataType parsed(const char *name) {
  DLDataType dtype = {0};
  ck_assert_int_eq(ab_dtype_parse(name, &dtype, NULL), AB_OK);
  return dtype;
}

static int can_cast(const char *from, const char *to, ab_casting casting) {
  return ab_dtype_can_cast(parsed(from), parsed(to), casting);
}

START_TEST(dtype_table_is_total) {
  const DLDataType dtype = ab__dtype_at(_i);
  ck_assert_int_eq(ab__dtype_index(dtype), _i);
  ck_assert_ptr_nonnull(ab_dtype_name(dtype));
  ck_assert_uint_eq(ab_dtype_size(dtype) * 8, dtype.bits);
  const DLDataType again = parsed(ab_dtype_name(dtype));
  ck_assert_mem_eq(&again, &dtype, sizeof dtype);
  ck_assert_int_eq(ab_dtype_can_cast(dtype, dtype, AB_CASTING_NO), 1);
}
END_TEST

START_TEST(dtype_index_knows_only_the_table) {
  int known = 0, wrong = 0;
  for (unsigned code = 0; code < 256; code++)
    for (unsigned bits = 0; bits < 256; bits++) {
      const DLDataType dtype = {(uint8_t)code, (uint8_t)bits, 1};
      const int index = ab__dtype_index(dtype);
      if (index < 0) {
        wrong += ab_dtype_name(dtype) != NULL || ab_dtype_size(dtype) != 0;
        continue;
      }
      known++;
      wrong += ab__dtype_at(index).code != code || ab__dtype_at(index).bits != bits;
    }
  ck_assert_int_eq(known, AB__DTYPE_COUNT);
  ck_assert_int_eq(wrong, 0);
}
END_TEST

START_TEST(dtype_index_refuses_lanes) {
  DLDataType dtype = parsed("float32");
  dtype.lanes = 4;
  ck_assert_int_eq(ab__dtype_index(dtype), -1);
  dtype.lanes = 0;
  ck_assert_int_eq(ab__dtype_index(dtype), -1);
  ck_assert_int_eq(ab_dtype_can_cast(dtype, dtype, AB_CASTING_UNSAFE), 0);
}
END_TEST

START_TEST(dtype_parse_names_what_it_refuses) {
  ab_error error;
  ab_error_init(&error);
  DLDataType dtype = {9, 9, 9};
  ck_assert_int_eq(ab_dtype_parse("float128", &dtype, &error), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(error.status, AB_INVALID_ARGUMENT);
  ck_assert_ptr_nonnull(strstr(error.text, "float128"));
  ck_assert_int_ne(error.hint[0], '\0');
  ck_assert_int_eq(ab_dtype_parse(NULL, &dtype, &error), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_dtype_parse("", &dtype, NULL), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(dtype.code, 9);
}
END_TEST

START_TEST(casting_no_allows_only_the_same_dtype) {
  for (int from = 0; from < AB__DTYPE_COUNT; from++)
    for (int to = 0; to < AB__DTYPE_COUNT; to++)
      ck_assert_int_eq(ab_dtype_can_cast(ab__dtype_at(from), ab__dtype_at(to), AB_CASTING_NO), from == to);
}
END_TEST

START_TEST(casting_rules_include_each_other) {
  for (int from = 0; from < AB__DTYPE_COUNT; from++)
    for (int to = 0; to < AB__DTYPE_COUNT; to++)
      for (int casting = AB_CASTING_NO; casting < AB_CASTING_UNSAFE; casting++)
        ck_assert_int_le(ab_dtype_can_cast(ab__dtype_at(from), ab__dtype_at(to), (ab_casting)casting),
                         ab_dtype_can_cast(ab__dtype_at(from), ab__dtype_at(to), (ab_casting)(casting + 1)));
}
END_TEST

static int safe(int from, int to) { return ab_dtype_can_cast(ab__dtype_at(from), ab__dtype_at(to), AB_CASTING_SAFE); }

START_TEST(safe_casts_chain) {
  int broken = 0;
  for (int a = 0; a < AB__DTYPE_COUNT; a++)
    for (int b = 0; b < AB__DTYPE_COUNT; b++)
      for (int c = 0; c < AB__DTYPE_COUNT; c++) broken += safe(a, b) && safe(b, c) && !safe(a, c);
  ck_assert_int_eq(broken, 0);
}
END_TEST

START_TEST(casting_follows_numpy) {
  ck_assert(can_cast("uint8", "int16", AB_CASTING_SAFE));
  ck_assert(!can_cast("uint8", "int8", AB_CASTING_SAFE));
  ck_assert(can_cast("uint8", "int8", AB_CASTING_SAME_KIND));
  ck_assert(!can_cast("int8", "uint64", AB_CASTING_SAME_KIND));
  ck_assert(can_cast("int64", "float64", AB_CASTING_SAFE));
  ck_assert(!can_cast("int32", "float32", AB_CASTING_SAFE));
  ck_assert(can_cast("int32", "float16", AB_CASTING_SAME_KIND));
  ck_assert(can_cast("float64", "float32", AB_CASTING_SAME_KIND));
  ck_assert(!can_cast("float64", "float32", AB_CASTING_SAFE));
  ck_assert(!can_cast("complex64", "float64", AB_CASTING_SAME_KIND));
  ck_assert(can_cast("complex64", "bool", AB_CASTING_UNSAFE));
  ck_assert(!can_cast("uint8", "bool", AB_CASTING_SAME_KIND));
}
END_TEST

START_TEST(casting_knows_the_narrow_floats) {
  ck_assert(can_cast("bfloat16", "float32", AB_CASTING_SAFE));
  ck_assert(can_cast("bfloat16", "complex64", AB_CASTING_SAFE));
  ck_assert(!can_cast("bfloat16", "float16", AB_CASTING_SAFE));
  ck_assert(!can_cast("float16", "bfloat16", AB_CASTING_SAFE));
  ck_assert(can_cast("float16", "bfloat16", AB_CASTING_SAME_KIND));
  ck_assert(can_cast("float8_e4m3fn", "float16", AB_CASTING_SAFE));
  ck_assert(can_cast("float8_e5m2", "bfloat16", AB_CASTING_SAFE));
  ck_assert(!can_cast("float8_e8m0fnu", "float16", AB_CASTING_SAFE));
  ck_assert(!can_cast("int8", "float8_e5m2", AB_CASTING_SAFE));
  ck_assert(!can_cast("float8_e5m2", "float8_e4m3fn", AB_CASTING_SAFE));
  ck_assert(can_cast("float32", "float8_e4m3fn", AB_CASTING_SAME_KIND));
}
END_TEST

/* ------------------------------------------------------------------ memory */

START_TEST(allocation_is_aligned_and_counted) {
  static const size_t sizes[] = {0, 1, 63, 64, 65, 4096, (4u << 20) - 1, 4u << 20, 32u << 20, (32u << 20) + 1};
  const int64_t before = ab__allocation_count();
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    char *memory = ab__allocate_aligned(sizes[i]);
    ck_assert_ptr_nonnull(memory);
    ck_assert_uint_eq((uintptr_t)memory % (sizes[i] >= 32u << 20 ? 2u << 20 : AB__ALIGNMENT), 0);
    ck_assert_int_eq(ab__allocation_count(), before + 1);
    if (sizes[i] != 0) memory[0] = memory[sizes[i] - 1] = 1;
    ab__deallocate(memory);
  }
  ab__deallocate(NULL);
  ck_assert_int_eq(ab__allocation_count(), before);
}
END_TEST

START_TEST(allocation_refuses_what_cannot_be) {
  ck_assert_ptr_null(ab__allocate_aligned(SIZE_MAX));
  ck_assert_ptr_null(ab__allocate_aligned(SIZE_MAX - 63));
  ck_assert_ptr_null(ab__allocate_aligned((size_t)PTRDIFF_MAX));
}
END_TEST

START_TEST(allocation_fails_where_told) {
  ab__allocation_fail_at(3);
  void *first = ab__allocate(8), *second = ab__allocate_aligned(8), *third = ab__allocate_zeroed(8);
  char *fourth = ab__allocate_zeroed(8);
  ck_assert_ptr_nonnull(first);
  ck_assert_ptr_nonnull(second);
  ck_assert_ptr_null(third);
  ck_assert_ptr_nonnull(fourth);
  ck_assert_int_eq(fourth[7], 0);
  ab__allocation_fail_at(1);
  ab__allocation_fail_at(-1);
  void *fifth = ab__allocate(8);
  ck_assert_ptr_nonnull(fifth);
  void *all[] = {first, second, fourth, fifth};
  for (int i = 0; i < 4; i++) ab__deallocate(all[i]);
  ck_assert_int_eq(ab__allocation_count(), 0);
}
END_TEST

START_TEST(sizes_do_not_overflow) {
  uint64_t result = 7;
  ck_assert_int_eq(ab__multiply_size(UINT64_C(1) << 32, UINT64_C(1) << 32, &result), 0);
  ck_assert_int_eq(ab__add_size(UINT64_MAX, 1, &result), 0);
  ck_assert_uint_eq(result, 7);
  ck_assert_int_eq(ab__multiply_size(6, 7, &result), 1);
  ck_assert_uint_eq(result, 42);
  ck_assert_int_eq(ab__add_size(UINT64_MAX, 0, &result), 1);
  ck_assert_uint_eq(result, UINT64_MAX);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("dtype");
  TCase *const table = unit_case(suite, "table", NULL, NULL);
  tcase_add_loop_test(table, dtype_table_is_total, 0, AB__DTYPE_COUNT);
  tcase_add_test(table, dtype_index_knows_only_the_table);
  tcase_add_test(table, dtype_index_refuses_lanes);
  tcase_add_test(table, dtype_parse_names_what_it_refuses);
  TCase *const casting = unit_case(suite, "casting", NULL, NULL);
  tcase_add_test(casting, casting_no_allows_only_the_same_dtype);
  tcase_add_test(casting, casting_rules_include_each_other);
  tcase_add_test(casting, safe_casts_chain);
  tcase_add_test(casting, casting_follows_numpy);
  tcase_add_test(casting, casting_knows_the_narrow_floats);
  TCase *const memory = unit_case(suite, "memory", NULL, NULL);
  tcase_add_test(memory, allocation_is_aligned_and_counted);
  tcase_add_test(memory, allocation_refuses_what_cannot_be);
  tcase_add_test(memory, allocation_fails_where_told);
  tcase_add_test(memory, sizes_do_not_overflow);
  return suite;
}
