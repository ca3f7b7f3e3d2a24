/* SPDX-License-Identifier: MIT
 * Conversions under the lock of a language, and deleters without it. */
#include "release.h"
#include "toy_language.h"

/* ------------------------------------------------------------------ conversions under the lock */

/* `large`: beyond what is worth letting go of the lock for. */
static toy_array *square(int large) {
  const int64_t shape[] = {large ? 512 : 4, large ? 256 : 4};
  return toy_array_new(&left, f32, 2, shape);
}

typedef struct worker {
  pthread_t thread;
  int number;
  int failed;
} worker;

static int convert_once(toy_array *source, uint32_t copy, uint32_t flags) {
  ab_record record = {.struct_size = sizeof record};
  const ab_convert_options options = {.struct_size = sizeof options, .copy = copy, .record = &record, .flags = flags};
  const ab_array array = {.backend = &left.backend, .object = source};
  ab_array result = {0};
  if (ab_convert(bridge, &array, &right.backend, &options, &result, NULL) != AB_OK) return 1;
  const toy_array *made = result.object;
  int failed = memcmp(made->data, source->data, (size_t)toy_count(source) * 4) != 0;
  failed |= (made->data == source->data) != (copy != AB_COPY_ALWAYS);
  ab_array_release(&result);
  return failed;
}

static void *work(void *context) {
  worker *self = context;
  toy_array *source = square(self->number % 2);
  for (int round = 0; round < 50; round++) {
    self->failed |= convert_once(source, round % 2 ? AB_COPY_ALWAYS : AB_COPY_IF_NEEDED, 0);
    if (round % 7 != 0) continue;
    void *token = lock_enter(&the_self);
    self->failed |= convert_once(source, AB_COPY_ALWAYS, AB_CONVERT_LOCK_HELD);
    lock_leave(&the_self, token);
  }
  toy_array_release(source);
  return NULL;
}

START_TEST(eight_threads_convert_at_once) {
  worker workers[THREADS];
  for (int index = 0; index < THREADS; index++) {
    workers[index] = (worker){.number = index};
    pthread_create(&workers[index].thread, NULL, work, &workers[index]);
  }
  for (int index = 0; index < THREADS; index++) {
    pthread_join(workers[index].thread, NULL);
    ck_assert_int_eq(workers[index].failed, 0);
  }
  ck_assert_int_eq(atomic_load(&blocked_total), THREADS / 2 * (25 + 8)); /* the large copies, and only they */
  ck_assert_int_eq(atomic_load(&left.start.calls) >= 1, 1);
  expect_nothing_left();
}
END_TEST

static void *release_elsewhere(void *tensor) {
  DLManagedTensorVersioned *memory = tensor;
  memory->deleter(memory);
  return NULL;
}

/* The right toy lets go of its memory on a thread of its own, without the lock. */
static void let_go_elsewhere(ab_array *result) {
  toy_array *made = result->object;
  pthread_t thread;
  pthread_create(&thread, NULL, release_elsewhere, made->memory);
  pthread_join(thread, NULL);
  made->memory = NULL;
  ab_array_release(result);
}

static uint64_t pending(void) {
  uint64_t count = 0, bytes = 0;
  ab_bridge_pending(bridge, &count, &bytes);
  return count;
}

static ab_array converted(toy_array *source) {
  const ab_array array = {.backend = &left.backend, .object = source};
  ab_array result = {0};
  ck_assert_int_eq(ab_convert(bridge, &array, &right.backend, NULL, &result, NULL), AB_OK);
  return result;
}

START_TEST(deleters_of_other_threads_wait_for_the_next_conversion) {
  left.drops_need_lock = 1;
  toy_array *source = square(0);
  for (int index = 0; index < 3; index++) {
    ab_array result = converted(source);
    let_go_elsewhere(&result);
    ck_assert_uint_eq(pending(), 1);
    ck_assert_int_eq(atomic_load(&left.deleted), index);
  }
  ab_array last = converted(source); /* drains */
  ck_assert_uint_eq(pending(), 0);
  ck_assert_int_eq(atomic_load(&left.deleted), 3);
  ab_array_release(&last); /* under the lock: at once */
  ck_assert_int_eq(atomic_load(&left.deleted), 4);
  ck_assert_uint_eq(pending(), 0);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

static void *let_go_of_many(void *context) {
  DLManagedTensorVersioned **tensors = context;
  for (int index = 0; index < 64; index++) tensors[index]->deleter(tensors[index]);
  return NULL;
}

START_TEST(deleters_race_with_conversions_that_drain) {
  left.drops_need_lock = 1;
  toy_array *source = square(0);
  static DLManagedTensorVersioned *tensors[4][64];
  pthread_t threads[4];
  for (int thread = 0; thread < 4; thread++)
    for (int index = 0; index < 64; index++) {
      ab_array result = converted(source);
      tensors[thread][index] = ((toy_array *)result.object)->memory;
      ((toy_array *)result.object)->memory = NULL;
      ab_array_release(&result);
    }
  for (int thread = 0; thread < 4; thread++) pthread_create(&threads[thread], NULL, let_go_of_many, tensors[thread]);
  for (int round = 0; round < 200; round++) ck_assert_int_eq(convert_once(source, AB_COPY_IF_NEEDED, 0), 0);
  for (int thread = 0; thread < 4; thread++) pthread_join(threads[thread], NULL);
  void *token = lock_enter(&the_self);
  ab_bridge_drain(bridge);
  lock_leave(&the_self, token);
  ck_assert_uint_eq(pending(), 0);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

START_TEST(backends_without_a_lock_leave_the_lock_alone) {
  left.drops_need_lock = 1;
  toy_array *source = square(1);
  ab_array result = converted(source);
  let_go_elsewhere(&result);
  ck_assert_uint_eq(pending(), 1);
  left.descriptor.lock = right.descriptor.lock = AB_LOCK_NONE;
  left.has_lock = right.has_lock = NULL;
  const int blocked = atomic_load(&blocked_total);
  ck_assert_int_eq(convert_once(source, AB_COPY_ALWAYS, 0),
                   0); /* this thread has no lock to let go of, nor to drain under */
  ck_assert_int_eq(atomic_load(&blocked_total), blocked);
  ck_assert_uint_eq(pending(), 1);
  void *token = lock_enter(&the_self);
  ck_assert_int_eq(convert_once(source, AB_COPY_ALWAYS, 0), 0); /* now it has */
  lock_leave(&the_self, token);
  ck_assert_int_eq(atomic_load(&blocked_total), blocked + 1);
  ck_assert_uint_eq(pending(), 0);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

START_TEST(one_backend_that_needs_the_lock_is_enough) {
  toy_array *source = square(1);
  left.descriptor.lock = AB_LOCK_NONE;
  ck_assert_int_eq(convert_once(source, AB_COPY_ALWAYS, 0), 0);
  left.descriptor.lock = AB_LOCK_PYTHON;
  right.descriptor.lock = AB_LOCK_NONE;
  right.has_lock = NULL;
  ck_assert_int_eq(convert_once(source, AB_COPY_ALWAYS, 0), 0);
  ck_assert_int_eq(atomic_load(&blocked_total), 2);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

static void *volatile kept[4]; /* for LeakSanitizer to find: the leaks are on purpose */

START_TEST(after_the_end_nothing_is_released_through_the_runtime) {
  left.drops_need_lock = 1;
  toy_array *source = square(0);
  ab_array one = converted(source), two = converted(source), three = converted(source);
  kept[0] = source;
  kept[1] = ((toy_array *)two.object)->memory;
  kept[2] = two.object;
  kept[3] = three.object;
  let_go_elsewhere(&one);
  ck_assert_uint_eq(pending(), 1);
  ab_bridge_end(bridge);
  let_go_elsewhere(&two);
  void *token = lock_enter(&the_self); /* not even by a thread that has the lock */
  ab_bridge_drain(bridge);
  ab_array_release(&three);
  lock_leave(&the_self, token);
  ck_assert_ptr_null(three.object);
  ck_assert_int_eq(atomic_load(&left.deleted), 0);
  ck_assert_int_eq(atomic_load(&right.arrays), 2); /* two and three: release() was not called */
  ck_assert_uint_eq(pending(), 1);                 /* leaked on purpose */
}
END_TEST

START_TEST(an_array_of_a_backend_without_a_lock_is_released_after_the_end) {
  right.descriptor.lock = left.descriptor.lock = AB_LOCK_NONE;
  left.has_lock = right.has_lock = NULL;
  toy_array *source = square(0);
  ab_array result = converted(source);
  ab_bridge_end(bridge);
  ab_array_release(&result);
  ck_assert_int_eq(atomic_load(&left.deleted), 1);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

/* ------------------------------------------------------------------ tensors of the core's own making */

START_TEST(adoption_settles_strides_that_mean_nothing) {
  static float data[4];
  DLManagedTensorVersioned *tensor = NULL;
  ck_assert_int_eq(ab__tensor_new(NULL, 3, 0, NULL, NULL, &tensor), AB_OK);
  DLTensor *t = &tensor->dl_tensor;
  t->data = data;
  t->dtype = f32;
  const int64_t shape[] = {1, 4, 1}, strides[] = {INT64_MIN, 1, INT64_MAX};
  memcpy(t->shape, shape, sizeof shape);
  memcpy(t->strides, strides, sizeof strides);
  ck_assert_int_eq(ab__tensor_adopt(&tensor, NULL), AB_OK);
  t = &tensor->dl_tensor;
  ck_assert_int_eq(t->strides[0], 4);
  ck_assert_int_eq(t->strides[1], 1);
  ck_assert_int_eq(t->strides[2], 1);
  t->strides = NULL; /* a plugin that says "compact" */
  ck_assert_int_eq(ab__tensor_adopt(&tensor, NULL), AB_OK);
  ck_assert_ptr_nonnull(tensor->dl_tensor.strides);
  ck_assert_int_eq(tensor->dl_tensor.strides[1], 1);
  ab__tensor_delete(tensor);
  expect_nothing_left();
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: lock");
  TCase *const tests = unit_case(suite, "convert: lock", setup, teardown);
  tcase_add_test(tests, eight_threads_convert_at_once);
  tcase_add_test(tests, deleters_of_other_threads_wait_for_the_next_conversion);
  tcase_add_test(tests, deleters_race_with_conversions_that_drain);
  tcase_add_test(tests, backends_without_a_lock_leave_the_lock_alone);
  tcase_add_test(tests, one_backend_that_needs_the_lock_is_enough);
  tcase_add_test(tests, after_the_end_nothing_is_released_through_the_runtime);
  tcase_add_test(tests, an_array_of_a_backend_without_a_lock_is_released_after_the_end);
  tcase_add_test(tests, adoption_settles_strides_that_mean_nothing);
  return suite;
}
