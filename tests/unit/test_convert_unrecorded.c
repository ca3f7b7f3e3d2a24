/* SPDX-License-Identifier: MIT
 * A conversion that nobody records takes shorter ways, and must do the same. */
#include "toy_conversion.h"

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

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: unrecorded");
  TCase *const tests = unit_case(suite, "convert: unrecorded", setup, teardown);
  tcase_add_test(tests, a_conversion_that_nobody_records_does_the_same);
  tcase_add_test(tests, small_shapes_that_nobody_records_do_the_same);
  return suite;
}
