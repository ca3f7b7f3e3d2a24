/* SPDX-License-Identifier: MIT
 *
 * Copies between layouts, against a reference that goes element by element.
 */
#include <arraybridge/types.h>
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "check_main.h"
#include "kernels/copy.h"

enum { MAX_TEST_NDIM = 6, PADDING = 64, FILLER = 0xA5 };

static uint64_t random_state = 0x9E3779B97F4A7C15u;

static uint64_t random_bits(void) {
  random_state ^= random_state << 13;
  random_state ^= random_state >> 7;
  random_state ^= random_state << 17;
  return random_state;
}

static int64_t random_below(int64_t limit) { return (int64_t)(random_bits() % (uint64_t)limit); }

/// Memory that holds an array of any strides, and the array in it.
typedef struct sample {
  char *memory;
  int64_t shape[AB_MAX_NDIM], strides[AB_MAX_NDIM];
  ab__strided array;
} sample;

static int64_t count_of(const ab__strided *array) {
  int64_t count = 1;
  for (int i = 0; i < array->ndim; i++) count *= array->shape[i];
  return count;
}

/// Gives memory for the shape and strides in `made`, filled with random bytes, beginning at an odd address if asked.
static void place(sample *made, uint32_t itemsize, uint32_t swap_unit, int ndim, int64_t misalignment) {
  int64_t low = 0, high = itemsize;
  for (int i = 0; i < ndim; i++) {
    const int64_t reach = made->shape[i] > 0 ? (made->shape[i] - 1) * made->strides[i] : 0;
    if (reach < 0) low += reach;
    else high += reach;
  }
  made->memory = malloc((size_t)(high - low + misalignment));  // exact, so that a sanitizer sees what lies beyond
  for (int64_t i = 0; i < high - low + misalignment; i++) made->memory[i] = (char)random_bits();
  made->array = (ab__strided){made->memory + misalignment - low, ndim, made->shape, made->strides, itemsize, swap_unit};
}

/// Strides that put the axes into a random order, reverse, spread or repeat some of them.
static void random_layout(sample *made, uint32_t itemsize, int ndim) {
  int order[MAX_TEST_NDIM];
  for (int i = 0; i < ndim; i++) order[i] = i;
  for (int i = ndim - 1; i > 0; i--) {
    const int other = (int)random_below(i + 1), kept = order[i];
    order[i] = order[other];
    order[other] = kept;
  }
  int64_t step = itemsize * (random_below(4) == 0 ? 2 : 1) + (random_below(5) == 0 ? random_below(3) : 0);
  for (int i = 0; i < ndim; i++) {
    const int axis = order[i];
    made->strides[axis] = random_below(8) == 0 ? 0 : random_below(3) == 0 ? -step : step;
    step *= made->shape[axis] + (random_below(4) == 0 ? 1 : 0);
  }
}

static void copy_element(const char *from, char *to, uint32_t itemsize, uint32_t unit) {
  if (unit < 2) unit = 1;
  for (uint32_t start = 0; start < itemsize; start += unit)
    for (uint32_t i = 0; i < unit; i++) to[start + i] = from[start + unit - 1 - i];
}

static void copy_slowly(const ab__strided *source, char *to, const int64_t *to_strides) {
  const int64_t count = count_of(source);
  for (int64_t number = 0; number < count; number++) {
    const char *from = source->data;
    char *element = to_strides != NULL ? to : to + number * source->itemsize;
    int64_t rest = number;
    for (int i = source->ndim - 1; i >= 0; i--) {
      from += rest % source->shape[i] * source->strides[i];
      if (to_strides != NULL) element += rest % source->shape[i] * to_strides[i];
      rest /= source->shape[i];
    }
    copy_element(from, element, source->itemsize, source->swap_unit);
  }
}

static void check_copy(const ab__strided *source, uint32_t threads) {
  const size_t bytes = (size_t)(count_of(source) * source->itemsize);
  char *expected = malloc(bytes + PADDING), *result = malloc(bytes + PADDING);
  memset(expected, FILLER, bytes + PADDING);
  memset(result, FILLER, bytes + PADDING);
  copy_slowly(source, expected, NULL);
  ab__copy_to_compact(source, result, threads);
  ck_assert_int_eq(memcmp(expected, result, bytes + PADDING), 0);
  free(expected);
  free(result);
}

static void check_layout(const int64_t *shape, const int64_t *strides, int ndim, uint32_t itemsize,
                         uint32_t swap_unit) {
  sample made;
  memcpy(made.shape, shape, (size_t)ndim * sizeof shape[0]);
  memcpy(made.strides, strides, (size_t)ndim * sizeof strides[0]);
  place(&made, itemsize, swap_unit, ndim, 0);
  check_copy(&made.array, 2);
  free(made.memory);
}

#define CHECK_LAYOUT(itemsize, swap_unit, ndim, ...)                 \
  do {                                                               \
    const int64_t both[2][ndim] = {__VA_ARGS__};                     \
    check_layout(both[0], both[1], (ndim), (itemsize), (swap_unit)); \
  } while (0)

START_TEST(copy_keeps_compact_memory) {
  CHECK_LAYOUT(4, 0, 3, {5, 6, 7}, {168, 28, 4});
  CHECK_LAYOUT(3, 0, 2, {5, 7}, {21, 3});
}
END_TEST

START_TEST(copy_takes_a_single_element) {
  sample made;
  place(&made, 8, 0, 0, 1);
  check_copy(&made.array, 4);
  made.array.swap_unit = 4;
  check_copy(&made.array, 4);
  free(made.memory);
}
END_TEST

START_TEST(copy_leaves_the_destination_of_an_empty_array_alone) {
  const int64_t shape[] = {3, 0, 5}, strides[] = {8, 8, 8};
  const ab__strided empty = {NULL, 3, shape, strides, 8, 0};
  char untouched = 7;
  ab__copy_to_compact(&empty, &untouched, 4);
  ck_assert_int_eq(untouched, 7);
}
END_TEST

START_TEST(copy_reverses_negative_strides) {
  CHECK_LAYOUT(1, 0, 1, {100}, {-1});
  CHECK_LAYOUT(4, 0, 2, {9, 33}, {-132, -4});
  CHECK_LAYOUT(8, 0, 2, {9, 33}, {264, -8});
  CHECK_LAYOUT(2, 2, 2, {9, 33}, {-66, -2});
}
END_TEST

START_TEST(copy_repeats_zero_strides) {
  CHECK_LAYOUT(4, 0, 2, {50, 30}, {0, 4});
  CHECK_LAYOUT(4, 0, 2, {50, 30}, {4, 0});
  CHECK_LAYOUT(2, 2, 2, {50, 30}, {0, 0});
}
END_TEST

START_TEST(copy_transposes) {
  static const uint32_t sizes[] = {1, 2, 3, 4, 8, 12, 16, 24};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    const uint32_t size = sizes[i];
    CHECK_LAYOUT(size, 0, 2, {70, 131}, {size, 70 * size});
    CHECK_LAYOUT(size, 0, 3, {65, 3, 66}, {size, 65 * size, 195 * size});
    CHECK_LAYOUT(size, 0, 2, {70, 131}, {-(int64_t)size, 70 * size});
  }
}
END_TEST

START_TEST(copy_swaps_bytes) {
  static const uint32_t kinds[][2] = {{2, 2}, {4, 4}, {8, 8}, {8, 4}, {16, 8}, {4, 2}, {16, 4}, {6, 2}, {24, 8}};
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    const uint32_t size = kinds[i][0], unit = kinds[i][1];
    CHECK_LAYOUT(size, unit, 1, {1001}, {size});
    CHECK_LAYOUT(size, unit, 1, {1001}, {2 * size});
    CHECK_LAYOUT(size, unit, 1, {1001}, {-(int64_t)size});
    CHECK_LAYOUT(size, unit, 2, {67, 129}, {size, 67 * size});
  }
}
END_TEST

START_TEST(copy_handles_the_most_dimensions) {
  sample made;
  for (int i = 0; i < AB_MAX_NDIM; i++) {
    made.shape[i] = i % 8 == 0 ? 2 : 1;
    made.strides[i] = i % 8 == 0 ? 5 * (INT64_C(3) << i / 8) : 12345;
  }
  place(&made, 3, 0, AB_MAX_NDIM, 0);
  check_copy(&made.array, 1);
  free(made.memory);
}
END_TEST

START_TEST(copy_agrees_with_the_reference_for_random_layouts) {
  static const uint32_t kinds[][2] = {{1, 0},  {2, 0}, {4, 0}, {8, 0}, {16, 0}, {3, 0},  {12, 0},
                                      {40, 0}, {2, 2}, {4, 4}, {8, 8}, {8, 4},  {16, 8}, {16, 4}};
  for (int trial = 0; trial < 3000; trial++) {
    const uint32_t *kind = kinds[random_below(sizeof kinds / sizeof kinds[0])];
    const int ndim = (int)random_below(MAX_TEST_NDIM);
    sample made;
    for (int i = 0; i < ndim; i++) made.shape[i] = random_below(9) == 0 ? random_below(80) : 1 + random_below(6);
    random_layout(&made, kind[0], ndim);
    place(&made, kind[0], kind[1], ndim, random_below(4));
    check_copy(&made.array, 1);
    free(made.memory);
  }
}
END_TEST

START_TEST(copy_on_threads_agrees_with_the_reference) {
  static const int64_t shapes[][2] = {{1 << 20, 5}, {3, 700001}, {1500, 1401}, {1, 2097169}};
  static const uint32_t threads[] = {2, 3, 7, 1000};
  for (int i = 0; i < 4; i++)
    for (int reversed = 0; reversed < 2; reversed++) {
      sample made = {.shape = {shapes[i][0], shapes[i][1]}};
      made.strides[reversed] = 4 * (reversed ? 1 : shapes[i][1]);
      made.strides[!reversed] = reversed ? 4 * shapes[i][1] : -4;
      if (reversed) {
        made.strides[0] = 4;
        made.strides[1] = 4 * shapes[i][0];
      }
      place(&made, 4, 0, 2, 1);
      check_copy(&made.array, threads[i]);
      made.array.swap_unit = 4;
      check_copy(&made.array, threads[i]);
      free(made.memory);
    }
}
END_TEST

static int refused_threads = -1;  // -1: threads may be had

/// Stands before the C library's, so that the system can be out of threads.
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
  if (refused_threads >= 0) {
    refused_threads++;
    return EAGAIN;
  }
  int (*next)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
  void *symbol = dlsym(RTLD_NEXT, "pthread_create");
  memcpy(&next, &symbol, sizeof next);
  return next(thread, attributes, start, argument);
}

START_TEST(copy_works_where_no_thread_can_be_had) {
  sample made = {.shape = {1400, 1401}, .strides = {4, 5600}};
  place(&made, 4, 0, 2, 0);
  refused_threads = 0;
  check_copy(&made.array, 3);
  ck_assert_int_gt(refused_threads, 0);
  free(made.memory);
}
END_TEST

START_TEST(copy_writes_strided_destinations) {
  for (int trial = 0; trial < 500; trial++) {
    const int ndim = 1 + (int)random_below(4);
    sample from, to;
    for (int i = 0; i < ndim; i++) from.shape[i] = to.shape[i] = 1 + random_below(20);
    random_layout(&from, 4, ndim);
    random_layout(&to, 4, ndim);
    for (int i = 0; i < ndim; i++)
      if (to.strides[i] == 0) from.shape[i] = to.shape[i] = 1;  // elements of a destination may not overlap
    place(&from, 4, 4, ndim, 0);
    place(&to, 4, 0, ndim, 1);
    int64_t bytes = 5;
    for (int i = 0; i < ndim; i++) bytes += (to.shape[i] - 1) * llabs(to.strides[i]);
    char *expected = malloc((size_t)bytes);
    memcpy(expected, to.memory, (size_t)bytes);
    const int64_t origin = (const char *)to.array.data - to.memory;
    copy_slowly(&from.array, expected + origin, to.strides);
    ab__copy_strided(&from.array, to.memory + origin, to.strides, 1);
    ck_assert_int_eq(memcmp(expected, to.memory, (size_t)bytes), 0);
    free(expected);
    free(from.memory);
    free(to.memory);
  }
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("copy");
  TCase *const layouts = unit_case(suite, "layouts", NULL, NULL);
  tcase_set_timeout(layouts, 120);
  tcase_add_test(layouts, copy_keeps_compact_memory);
  tcase_add_test(layouts, copy_takes_a_single_element);
  tcase_add_test(layouts, copy_leaves_the_destination_of_an_empty_array_alone);
  tcase_add_test(layouts, copy_reverses_negative_strides);
  tcase_add_test(layouts, copy_repeats_zero_strides);
  tcase_add_test(layouts, copy_transposes);
  tcase_add_test(layouts, copy_swaps_bytes);
  tcase_add_test(layouts, copy_handles_the_most_dimensions);
  tcase_add_test(layouts, copy_agrees_with_the_reference_for_random_layouts);
  tcase_add_test(layouts, copy_on_threads_agrees_with_the_reference);
  tcase_add_test(layouts, copy_works_where_no_thread_can_be_had);
  tcase_add_test(layouts, copy_writes_strided_destinations);
  return suite;
}
