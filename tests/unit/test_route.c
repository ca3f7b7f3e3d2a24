/* SPDX-License-Identifier: MIT
 * Every way of the table: when it makes no sense, when it is refused and why, and which dtype is nearest. */
#include "check_main.h"
#include "record.h"
#include "route.h"
#include "toy.h"
#include "transfer.h"

static ab_bridge *bridge;
static toy left, right;
static ab_array_info info;
static ab__ability take, push;
static ab__situation at;
static ab_step why;

static const DLDevice host = {kDLCPU, 0}, ext = {kDLExtDev, 0}, ocl = {kDLOpenCL, 0}, cuda = {kDLCUDA, 0},
                      pinned = {kDLCUDAHost, 0};

static uint64_t every_dtype(void) { return ~UINT64_C(0); }

static void setup(void) {
  ck_assert_int_eq(ab_bridge_new(NULL, &bridge, NULL), AB_OK);
  toy_init(&left, bridge, "left");
  toy_init(&right, bridge, "right");
  static _Alignas(64) float data[64];
  info =
      (ab_array_info){.struct_size = sizeof info, .dtype = {kDLFloat, 32, 1}, .device = host, .ndim = 2, .data = data};
  take = push = (ab__ability){.supported = 1, .dtypes = every_dtype(), .stated = {.max_ndim = 8}};
  take.stated.flags = push.stated.flags = AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM;
  at = (ab__situation){.source = &left.backend,
                       .target = &right.backend,
                       .info = &info,
                       .itemsize = 4,
                       .bytes = 48,
                       .dtype = info.dtype,
                       .device = host,
                       .take = &take,
                       .push = &push,
                       .layout = {.dense_c = 1, .dense = 1, .highest = 48}};
}

static void teardown(void) {
  toy_end(&left);
  toy_end(&right);
  ab_bridge_free(bridge);
}

/* The ways that make sense here, as a set of bits. */
static unsigned sensible(DLDevice from, DLDevice to) {
  unsigned set = 0;
  info.device = from;
  at.device = to;
  for (unsigned way = 0; way < AB__WAY_COUNT; way++) set |= (unsigned)!ab__way_is_foreign(&at, &ab__ways[way]) << way;
  return set;
}

static unsigned open_ways(DLDevice from, DLDevice to) {
  unsigned set = sensible(from, to);
  for (unsigned way = 0; way < AB__WAY_COUNT; way++)
    if (ab__way_refused(&at, &ab__ways[way], NULL)) set &= ~(1u << way);
  return set;
}

enum {
  EXCHANGE = 1 << 0,
  WRAP = 1 << 1,
  MAP = 1 << 2,
  PIVOT = 1 << 3,
  PIVOT_WRAP = 1 << 4,
  MAP_PIVOT = 1 << 5,
  MAP_PIVOT_WRAP = 1 << 6,
  FILL = 1 << 7,
  PUSH = 1 << 8,
  MAP_PUSH = 1 << 9,
  TO_HOST = 1 << 10,
  TO_HOST_WRAP = 1 << 11,
  TO_HOST_FILL = 1 << 12,
  TO_HOST_PUSH = 1 << 13
};

START_TEST(ways_make_sense_by_the_devices_of_both_ends) {
  ck_assert_uint_eq(sensible(host, host), EXCHANGE | PIVOT | PUSH | TO_HOST | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(pinned, host), EXCHANGE | PIVOT | PUSH | TO_HOST | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(host, ext), PUSH | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(ext, host), TO_HOST | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(ext, ext), EXCHANGE | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(ext, cuda), TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(host, ocl), WRAP | PIVOT_WRAP | PUSH | TO_HOST_WRAP | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(ocl, host), MAP | MAP_PIVOT | MAP_PUSH | TO_HOST | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(ocl, ocl), EXCHANGE | MAP_PIVOT_WRAP | MAP_PUSH | TO_HOST_WRAP | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(cuda, ocl), TO_HOST_WRAP | TO_HOST_PUSH);
}
END_TEST

static ab_status toy_empty(const ab_call *call, const DLTensor *like, DLDevice device, void **array,
                           DLManagedTensorVersioned **writable) {
  (void)like, (void)device, (void)array, (void)writable;
  return ab_fail(call, AB_UNSUPPORTED, "never called");
}

START_TEST(large_arrays_for_a_device_are_filled_by_the_core) {
  right.backend.slots.empty = toy_empty;
  at.bytes = AB__STAGE_FROM;
  ck_assert_uint_eq(sensible(host, cuda), FILL | PUSH | TO_HOST_FILL | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(host, ocl), WRAP | PIVOT_WRAP | PUSH | TO_HOST_WRAP | TO_HOST_PUSH);
  ck_assert_uint_eq(sensible(host, host), EXCHANGE | PIVOT | PUSH | TO_HOST | TO_HOST_PUSH);
  right.backend.slots.from_host = NULL;
  ck_assert_uint_eq(open_ways(host, cuda), FILL | TO_HOST_FILL);
  take.stated.alignment = 4096; /* of memory that is shared: this is not */
  ck_assert_uint_eq(open_ways(host, cuda), FILL | TO_HOST_FILL);
  at.copy = AB_COPY_NEVER;
  ck_assert_uint_eq(open_ways(host, cuda), 0);
  at.bytes--;
  ck_assert_uint_eq(sensible(host, cuda), PUSH | TO_HOST_PUSH);
}
END_TEST

START_TEST(cheaper_ways_come_first) {
  for (unsigned way = 1; way < AB__WAY_COUNT; way++) {
    ck_assert_uint_ge(ab__ways[way].hold, ab__ways[way - 1].hold);
    if (ab__ways[way].hold == ab__ways[way - 1].hold && ab__ways[way].hold == AB__HOLD_FIT)
      ck_assert_uint_ge(ab__ways[way].fetch == AB__FETCH_TO_HOST, ab__ways[way - 1].fetch == AB__FETCH_TO_HOST);
  }
}
END_TEST

START_TEST(fitting_memory_may_go_every_sensible_way) {
  ck_assert_uint_eq(open_ways(host, host), sensible(host, host));
  ck_assert_uint_eq(open_ways(ocl, host), sensible(ocl, host));
  ck_assert_uint_eq(open_ways(host, ocl), sensible(host, ocl));
  ck_assert_uint_eq(open_ways(ext, ext), sensible(ext, ext));
}
END_TEST

START_TEST(missing_slots_close_their_ways) {
  right.backend.slots.from_dlpack = NULL;
  ck_assert_uint_eq(open_ways(host, host), PUSH | TO_HOST_PUSH);
  right.backend.slots.from_host = NULL;
  ck_assert_uint_eq(open_ways(host, host), 0);
  right.backend.slots.from_dlpack = toy_from_dlpack;
  ck_assert_uint_eq(open_ways(host, host), EXCHANGE | PIVOT | TO_HOST);
  left.backend.slots.to_dlpack = NULL;
  ck_assert_uint_eq(open_ways(host, host), PIVOT | TO_HOST); /* the described bytes are enough to copy */
  info.data = NULL;
  ck_assert_uint_eq(open_ways(host, host), TO_HOST);
  left.backend.slots.to_host = NULL;
  ck_assert_uint_eq(open_ways(host, host), 0);
  at.layout.empty = 1; /* nothing to read */
  ck_assert_uint_eq(open_ways(host, host), PIVOT);
}
END_TEST

START_TEST(an_unshareable_array_is_neither_shared_nor_mapped) {
  info.flags = AB_INFO_NOT_SHAREABLE;
  ck_assert_uint_eq(open_ways(host, host), PIVOT | PUSH | TO_HOST | TO_HOST_PUSH);
  info.data = NULL;
  ck_assert_uint_eq(open_ways(host, host), TO_HOST | TO_HOST_PUSH);
  ck_assert_uint_eq(open_ways(ocl, host), TO_HOST | TO_HOST_PUSH);
}
END_TEST

START_TEST(without_an_address_the_tensor_may_tell) {
  info.data = NULL;
  ck_assert_uint_eq(open_ways(host, host), sensible(host, host));
}
END_TEST

START_TEST(each_slot_has_its_own_abilities) {
  take.supported = 0;
  ck_assert_uint_eq(open_ways(host, host), PUSH | TO_HOST_PUSH);
  take.supported = 1;
  push.supported = 0;
  ck_assert_uint_eq(open_ways(host, host), EXCHANGE | PIVOT | TO_HOST);
  push.supported = 1;
  push.stated.max_ndim = 1;
  ck_assert_uint_eq(open_ways(host, host), EXCHANGE | PIVOT | TO_HOST);
  push.stated.max_ndim = 2;
  push.dtypes = 0;
  ck_assert_uint_eq(open_ways(host, host), EXCHANGE | PIVOT | TO_HOST);
}
END_TEST

START_TEST(copy_never_leaves_the_ways_that_share) {
  at.copy = AB_COPY_NEVER;
  ck_assert_uint_eq(open_ways(host, host), EXCHANGE);
  ck_assert_uint_eq(open_ways(ocl, host), MAP);
  ck_assert_uint_eq(open_ways(host, ocl), WRAP);
  at.layout.dense_c = 0;
  take.stated.layout = AB_LAYOUT_C;
  ck_assert_uint_eq(open_ways(host, host), 0);
}
END_TEST

START_TEST(copy_always_closes_them) {
  at.copy = AB_COPY_ALWAYS;
  ck_assert_uint_eq(open_ways(host, host), PIVOT | PUSH | TO_HOST | TO_HOST_PUSH);
  ck_assert_uint_eq(open_ways(ext, ext), TO_HOST_PUSH);
}
END_TEST

START_TEST(memory_of_another_device_is_not_exchanged) {
  const DLDevice ext1 = {kDLExtDev, 1}, host1 = {kDLCPU, 1};
  ck_assert_uint_eq(open_ways(ext1, ext), TO_HOST_PUSH);
  ck_assert_uint_eq(open_ways(host1, host), sensible(host, host)); /* host memory is host memory */
}
END_TEST

START_TEST(a_copy_is_no_more_aligned_than_an_allocation) {
  take.stated.alignment = 64;
  ck_assert_uint_eq(open_ways(host, host), sensible(host, host));
  take.stated.alignment = 128;
  ck_assert_uint_eq(open_ways(host, host) & ~(unsigned)EXCHANGE, PUSH | TO_HOST_PUSH);
}
END_TEST

/* ------------------------------------------------------------------ one reason after the other */

static void expect_share(const char *words) {
  why.reason[0] = '\0';
  const int refused = ab__share_refused(&at, info.data, &at.layout, &why);
  ck_assert_int_eq(ab__share_refused(&at, info.data, &at.layout, NULL), refused);
  ck_assert_int_eq(refused, words != NULL);
  ck_assert_msg(words == NULL || strstr(why.reason, words), "%s", why.reason);
}

START_TEST(layouts_are_refused_as_they_are_named) {
  const struct {
    uint32_t wanted;
    ab__layout has;
    const char *words;
  } rows[] = {
      {AB_LAYOUT_ANY, {.negative = 1}, NULL},
      {AB_LAYOUT_ANY, {.fractional = 1}, "whole numbers"},
      {AB_LAYOUT_ANY, {.fractional = 1, .empty = 1}, NULL},
      {AB_LAYOUT_NON_NEGATIVE, {.negative = 1}, "no negative"},
      {AB_LAYOUT_NON_NEGATIVE, {.dense = 0}, NULL},
      {AB_LAYOUT_PERMUTED_COMPACT, {.dense = 1}, NULL},
      {AB_LAYOUT_PERMUTED_COMPACT, {.dense = 0}, "any order of axes"},
      {AB_LAYOUT_C, {.dense = 1}, "C-contiguous"},
      {AB_LAYOUT_C, {.dense_c = 1, .dense = 1}, NULL},
      {AB_LAYOUT_C, {.empty = 1}, NULL},
  };
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    take.stated.layout = rows[row].wanted;
    at.layout = rows[row].has;
    expect_share(rows[row].words);
  }
}
END_TEST

START_TEST(rules_are_refused_by_mutability) {
  const struct {
    uint32_t mutability, flags, carries;
    const char *words;
  } rows[] = {
      {AB_MUTABLE, 0, 0, NULL},
      {AB_MUTABLE, AB_CONVERT_COPY_MUTABLE, 0, "mutable=\"copy\""},
      {AB_MUTABLE, AB_CONVERT_COPY_IMMUTABLE, 0, NULL},
      {AB_IMMUTABLE, 0, 0, NULL},
      {AB_IMMUTABLE, AB_CONVERT_COPY_MUTABLE, 0, NULL},
      {AB_IMMUTABLE, AB_CONVERT_COPY_IMMUTABLE, AB_CARRIES_READ_ONLY, "immutable=\"copy\""},
      {AB_READ_ONLY, 0, 0, "read-only"},
      {AB_READ_ONLY, 0, AB_CARRIES_READ_ONLY, NULL},
      {AB_READ_ONLY, AB_CONVERT_COPY_IMMUTABLE, AB_CARRIES_READ_ONLY, "immutable=\"copy\""},
      {AB_MUTABLE, AB_CONVERT_COPY_LATE_READS, 0, NULL},
      {AB_MUTABLE, AB_CONVERT_COPY_LATE_READS, AB_READS_HOST_LATER, "after the call"},
      {AB_MUTABLE, 0, AB_READS_HOST_LATER, NULL},
      {AB_IMMUTABLE, AB_CONVERT_COPY_LATE_READS, AB_READS_HOST_LATER, NULL},
      {AB_MUTABLE, AB_CONVERT_COPY_LATE_READS, AB_MAKES_IMMUTABLE, "do not change"},
      {AB_MUTABLE, 0, AB_MAKES_IMMUTABLE, NULL},
      {AB_IMMUTABLE, AB_CONVERT_COPY_LATE_READS, AB_MAKES_IMMUTABLE, NULL},
      {3, 0, 0, "read-only"},
  };
  for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
    info.mutability = rows[row].mutability;
    at.flags = rows[row].flags;
    take.stated.flags = rows[row].carries;
    expect_share(rows[row].words);
  }
}
END_TEST

START_TEST(addresses_are_refused_by_alignment) {
  static _Alignas(64) char memory[128];
  for (unsigned off = 0; off < 64; off++)
    for (uint32_t alignment = 1; alignment <= 64; alignment *= 2) {
      info.data = memory + off;
      take.stated.alignment = alignment;
      expect_share(off % alignment != 0 ? "past a multiple" : NULL);
    }
  at.bytes = 0; /* the address of nothing does not matter */
  expect_share(NULL);
}
END_TEST

START_TEST(dtype_and_byte_order_are_refused) {
  at.dtype = (DLDataType){kDLFloat, 64, 1};
  expect_share("from float32 to float64");
  at.dtype = (DLDataType){kDLInt, 32, 1};
  expect_share("from float32 to int32");
  at.dtype = info.dtype;
  info.flags = AB_INFO_BYTE_SWAPPED;
  expect_share("byte order");
}
END_TEST

static void expect_ability(const char *words) {
  why.reason[0] = '\0';
  ck_assert_int_eq(ab__ability_refuses(&at, &take, &why), words != NULL);
  ck_assert_int_eq(ab__ability_refuses(&at, &take, NULL), words != NULL);
  ck_assert_msg(words == NULL || strstr(why.reason, words), "%s", why.reason);
}

START_TEST(abilities_refuse_by_dtype_shape_and_size) {
  expect_ability(NULL);
  take.dtypes = 0;
  expect_ability("float32 does not exist in right");
  take.dtypes = every_dtype();
  take.stated.max_ndim = 1;
  expect_ability("2 dimensions; right holds 1");
  take.stated.max_ndim = 2;
  take.stated.max_bytes = 47;
  expect_ability("48 bytes");
  take.stated.max_bytes = 48;
  expect_ability(NULL);
  take.stated.flags = 0;
  at.layout.empty = 1;
  expect_ability("without elements");
  at.layout.empty = 0;
  info.ndim = 0;
  expect_ability("0-d");
  take.supported = 0;
  expect_ability("nothing there");
  snprintf(take.why_not, sizeof take.why_not, "its memory is elsewhere");
  expect_ability("right takes nothing there: its memory is elsewhere");
}
END_TEST

/* ------------------------------------------------------------------ nearest dtype */

static const char *nearest(const char *from, const char *const *have, ab_casting casting) {
  static DLDataType dtypes[8];
  DLDataType dtype = {0, 0, 0};
  ab__ability ability = {.supported = 1, .stated = {.dtypes = dtypes}};
  ck_assert_int_eq(ab_dtype_parse(from, &dtype, NULL), AB_OK);
  while (have[ability.stated.dtype_count] != NULL) {
    ck_assert_int_eq(ab_dtype_parse(have[ability.stated.dtype_count], &dtypes[ability.stated.dtype_count], NULL),
                     AB_OK);
    ability.stated.dtype_count++;
  }
  const DLDataType found = ab__nearest_dtype(&ability, dtype, casting);
  return found.bits != 0 ? ab_dtype_name(found) : "";
}
#define NEAREST(from, casting, ...) nearest((from), (const char *const[]){__VA_ARGS__, NULL}, (casting))

START_TEST(an_unsigned_integer_becomes_a_signed_one_before_it_wraps) {
  const ab_casting same_kind = AB_CASTING_SAME_KIND, safe = AB_CASTING_SAFE, unsafe = AB_CASTING_UNSAFE;
  for (ab_casting casting = safe; casting <= unsafe; casting++) {
    ck_assert_str_eq(NEAREST("uint32", casting, "float32", "uint8", "uint16", "int64"), "int64");
    ck_assert_str_eq(NEAREST("uint16", casting, "int64", "int32", "uint8"), "int32");
    ck_assert_str_eq(NEAREST("uint8", casting, "int16", "uint32"), "uint32"); /* both hold all: its own code */
  }
  ck_assert_str_eq(NEAREST("uint32", same_kind, "uint16", "int32"), "int32"); /* none holds all: the larger */
  ck_assert_str_eq(NEAREST("uint32", same_kind, "int16", "uint16"), "uint16");
  ck_assert_str_eq(NEAREST("uint64", same_kind, "uint32", "int64", "float64"), "int64");
  ck_assert_str_eq(NEAREST("int64", unsafe, "uint64", "int32"), "int32");
}
END_TEST

START_TEST(the_nearest_dtype_is_of_the_same_kind_and_loses_least) {
  const ab_casting same_kind = AB_CASTING_SAME_KIND, safe = AB_CASTING_SAFE;
  ck_assert_str_eq(NEAREST("float64", same_kind, "float16", "float32", "complex128"), "float32");
  ck_assert_str_eq(NEAREST("float64", safe, "float16", "float32", "complex128"), "complex128");
  ck_assert_str_eq(NEAREST("float16", same_kind, "complex128", "float64", "float32"), "float32");
  ck_assert_str_eq(NEAREST("bfloat16", same_kind, "complex128", "float64", "float32", "float16"), "float32");
  ck_assert_str_eq(NEAREST("int8", safe, "int64", "int32", "float64"), "int32");
  ck_assert_str_eq(NEAREST("int8", safe, "complex64", "float32"), "float32");
  ck_assert_str_eq(NEAREST("int16", safe, "complex64", "float64"), "float64");
  ck_assert_str_eq(NEAREST("int64", same_kind, "float64", "int32", "int16"), "int32");
  ck_assert_str_eq(NEAREST("uint64", safe, "int64", "uint32"), "");
  ck_assert_str_eq(NEAREST("bool", safe, "float32", "uint8", "int64"), "uint8");
  ck_assert_str_eq(NEAREST("complex128", same_kind, "float64", "complex64"), "complex64");
  ck_assert_str_eq(NEAREST("complex64", same_kind, "float64", "float32"), "");
  ck_assert_str_eq(NEAREST("float32", AB_CASTING_NO, "float64"), "");
}
END_TEST

/* ------------------------------------------------------------------ records */

START_TEST(a_record_says_each_refusal_once_and_keeps_room) {
  ab_record record = {.struct_size = sizeof record};
  ab__record_begin(&record);
  for (int round = 0; round < 2; round++)
    for (int index = 0; index < 12; index++) {
      char reason[32];
      snprintf(reason, sizeof reason, "reason %d", index / 2);
      ab__record_refused(&record, AB_STEP_PIVOT, reason);
    }
  const uint32_t refused = record.step_count;
  ck_assert_uint_eq(refused, AB_MAX_STEPS - 3);
  for (uint32_t index = 0; index < refused; index++) ck_assert_int_eq(record.steps[index].reason[7], '0' + (int)index);
  for (int step = 0; step < 3; step++) ab__record_step(&record, AB_STEP_PIVOT, 8);
  ck_assert_uint_eq(record.step_count, AB_MAX_STEPS);
  ck_assert_uint_eq(record.bytes_copied, 24);
  ab__record_step(&record, AB_STEP_PIVOT, 8); /* there is no room, and nothing happens */
  ck_assert_uint_eq(record.bytes_copied, 24);
  ab__record_rewind(&record, refused);
  ck_assert_uint_eq(record.step_count, refused);
  ck_assert_uint_eq(record.bytes_copied, 0);
}
END_TEST

START_TEST(the_same_reason_against_another_way_is_said_again) {
  ab_record record = {.struct_size = sizeof record};
  ab__record_begin(&record);
  ab__record_refused(&record, AB_STEP_PIVOT, "no");
  ab__record_refused(&record, AB_STEP_EXCHANGE, "no");
  ab__record_refused(&record, AB_STEP_PIVOT, "no");
  ck_assert_uint_eq(record.step_count, 2);
  ab__record_refused(NULL, AB_STEP_PIVOT, "nobody asked");
  ab__record_step(NULL, AB_STEP_PIVOT, 1);
  ab__record_rewind(NULL, 0);
  ab__record_begin(NULL);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("route");
  TCase *const tests = unit_case(suite, "route", setup, teardown);
  tcase_add_test(tests, ways_make_sense_by_the_devices_of_both_ends);
  tcase_add_test(tests, large_arrays_for_a_device_are_filled_by_the_core);
  tcase_add_test(tests, cheaper_ways_come_first);
  tcase_add_test(tests, fitting_memory_may_go_every_sensible_way);
  tcase_add_test(tests, missing_slots_close_their_ways);
  tcase_add_test(tests, an_unshareable_array_is_neither_shared_nor_mapped);
  tcase_add_test(tests, without_an_address_the_tensor_may_tell);
  tcase_add_test(tests, each_slot_has_its_own_abilities);
  tcase_add_test(tests, copy_never_leaves_the_ways_that_share);
  tcase_add_test(tests, copy_always_closes_them);
  tcase_add_test(tests, memory_of_another_device_is_not_exchanged);
  tcase_add_test(tests, a_copy_is_no_more_aligned_than_an_allocation);
  tcase_add_test(tests, layouts_are_refused_as_they_are_named);
  tcase_add_test(tests, rules_are_refused_by_mutability);
  tcase_add_test(tests, addresses_are_refused_by_alignment);
  tcase_add_test(tests, dtype_and_byte_order_are_refused);
  tcase_add_test(tests, abilities_refuse_by_dtype_shape_and_size);
  tcase_add_test(tests, an_unsigned_integer_becomes_a_signed_one_before_it_wraps);
  tcase_add_test(tests, the_nearest_dtype_is_of_the_same_kind_and_loses_least);
  tcase_add_test(tests, a_record_says_each_refusal_once_and_keeps_room);
  tcase_add_test(tests, the_same_reason_against_another_way_is_said_again);
  return suite;
}
