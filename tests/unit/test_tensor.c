/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <stdlib.h>

#include "check_main.h"
#include "memory.h"
#include "release.h"
#include "tensor.h"

static int dropped;
static void count_drop(void *owner) { dropped += *(int *)owner; }
static int one = 1;

static void delete_foreign(DLManagedTensorVersioned *self) {
  (*(int *)self->manager_ctx)++;
  free(self);
}

static DLManagedTensorVersioned *foreign(int *deleted, int64_t *shape, int64_t *strides, int32_t ndim, void *data) {
  DLManagedTensorVersioned *made = calloc(1, sizeof *made);
  made->version = (DLPackVersion){DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
  made->manager_ctx = deleted;
  made->deleter = delete_foreign;
  made->dl_tensor = (DLTensor){.data = data,
                               .device = {kDLCPU, 0},
                               .ndim = ndim,
                               .dtype = {kDLFloat, 32, 1},
                               .shape = shape,
                               .strides = strides};
  return made;
}

START_TEST(new_tensor_drops_its_owner_once) {
  dropped = 0;
  DLManagedTensorVersioned *tensor = NULL;
  ck_assert_int_eq(ab__tensor_new(NULL, 3, 0, &one, count_drop, &tensor), AB_OK);
  ck_assert_ptr_nonnull(tensor->dl_tensor.strides);
  ab__tensor_delete(tensor);
  ck_assert_int_eq(dropped, 1);
}
END_TEST

START_TEST(new_tensor_refuses_too_many_dimensions) {
  DLManagedTensorVersioned *tensor = NULL;
  ck_assert_int_eq(ab__tensor_new(NULL, AB_MAX_NDIM + 1, 0, NULL, NULL, &tensor), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab__tensor_new(NULL, -1, 0, NULL, NULL, &tensor), AB_INVALID_ARGUMENT);
  ck_assert_ptr_null(tensor);
}
END_TEST

START_TEST(adopt_fills_in_missing_strides) {
  int deleted = 0;
  float data[6];
  int64_t shape[] = {2, 3};
  DLManagedTensorVersioned *tensor = foreign(&deleted, shape, NULL, 2, data);
  ck_assert_int_eq(ab__tensor_adopt(&tensor, NULL), AB_OK);
  ck_assert_int_eq(tensor->dl_tensor.strides[0], 3);
  ck_assert_int_eq(tensor->dl_tensor.strides[1], 1);
  ck_assert_int_eq(deleted, 0);
  ab__tensor_delete(tensor);
  ck_assert_int_eq(deleted, 1);
}
END_TEST

START_TEST(adopt_folds_the_byte_offset_into_the_address) {
  int deleted = 0;
  float data[6];
  int64_t shape[] = {4};
  DLManagedTensorVersioned *tensor = foreign(&deleted, shape, NULL, 1, data);
  tensor->dl_tensor.byte_offset = 8;
  ck_assert_int_eq(ab__tensor_adopt(&tensor, NULL), AB_OK);
  ck_assert_ptr_eq(tensor->dl_tensor.data, data + 2);
  ck_assert_uint_eq(tensor->dl_tensor.byte_offset, 0);
  ab__tensor_delete(tensor);
}
END_TEST

static void adopt_must_refuse(DLManagedTensorVersioned *tensor, int *deleted, ab_status expected) {
  ab_error error;
  ab_error_init(&error);
  ck_assert_int_eq(ab__tensor_adopt(&tensor, &error), expected);
  ck_assert_ptr_null(tensor);
  ck_assert_int_eq(*deleted, 1);
  ck_assert_str_ne(error.text, "");
}

START_TEST(adopt_refuses_what_contradicts_itself) {
  float data[6];
  int64_t negative[] = {-1}, huge[] = {INT64_MAX, INT64_MAX}, plain[] = {2}, wide[] = {INT64_MAX / 2};
  int deleted = 0;
  adopt_must_refuse(foreign(&deleted, negative, NULL, 1, data), &deleted, AB_INVALID_TENSOR);
  deleted = 0;
  adopt_must_refuse(foreign(&deleted, huge, NULL, 2, data), &deleted, AB_INVALID_TENSOR);
  deleted = 0;
  adopt_must_refuse(foreign(&deleted, plain, NULL, 1, NULL), &deleted, AB_INVALID_TENSOR);
  deleted = 0;
  adopt_must_refuse(foreign(&deleted, plain, wide, 1, data), &deleted, AB_INVALID_TENSOR);
  deleted = 0;
  adopt_must_refuse(foreign(&deleted, NULL, NULL, 2, data), &deleted, AB_INVALID_TENSOR);
  deleted = 0;
  adopt_must_refuse(foreign(&deleted, plain, NULL, 65, data), &deleted, AB_INVALID_TENSOR);
  deleted = 0;
  DLManagedTensorVersioned *tensor = foreign(&deleted, plain, NULL, 1, data);
  tensor->dl_tensor.dtype.lanes = 4;
  adopt_must_refuse(tensor, &deleted, AB_UNSUPPORTED);
  deleted = 0;
  tensor = foreign(&deleted, plain, NULL, 1, data);
  tensor->version.major = DLPACK_MAJOR_VERSION + 1;
  adopt_must_refuse(tensor, &deleted, AB_UNSUPPORTED);
}
END_TEST

START_TEST(adopt_survives_every_failing_allocation) {
  float data[6];
  int64_t shape[] = {2};
  int deleted = 0;
  DLManagedTensorVersioned *tensor = foreign(&deleted, shape, NULL, 1, data);
  ab__allocation_fail_at(1);
  const ab_status status = ab__tensor_adopt(&tensor, NULL);
  ab__allocation_fail_at(-1);
  ck_assert_int_eq(status, AB_OOM);
  ck_assert_int_eq(deleted, 1);
}
END_TEST

static void delete_old(DLManagedTensor *self) {
  (*(int *)self->manager_ctx)++;
  free(self);
}

START_TEST(upgrade_owns_the_old_tensor) {
  int deleted = 0;
  float data[4];
  int64_t shape[] = {4};
  DLManagedTensor *old = calloc(1, sizeof *old);
  *old = (DLManagedTensor){.dl_tensor = {.data = data, .ndim = 1, .dtype = {kDLFloat, 32, 1}, .shape = shape},
                           .manager_ctx = &deleted,
                           .deleter = delete_old};
  DLManagedTensorVersioned *tensor = NULL;
  ck_assert_int_eq(ab__tensor_upgrade(old, &tensor), AB_OK);
  ck_assert_int_eq(tensor->dl_tensor.strides[0], 1);
  ab__tensor_delete(tensor);
  ck_assert_int_eq(deleted, 1);
}
END_TEST

START_TEST(downgrade_can_be_undone) {
  dropped = 0;
  DLManagedTensorVersioned *tensor = NULL;
  DLManagedTensor *old = NULL;
  ab__tensor_new(NULL, 1, 0, &one, count_drop, &tensor);
  ck_assert_int_eq(ab__tensor_downgrade(tensor, &old), AB_OK);
  ck_assert_ptr_eq(ab__tensor_downgrade_undo(old), tensor);
  ck_assert_int_eq(ab__tensor_downgrade(tensor, &old), AB_OK);
  ck_assert_int_eq(dropped, 0);
  old->deleter(old);
  ck_assert_int_eq(dropped, 1);
}
END_TEST

START_TEST(layout_knows_dense_orders) {
  ab__layout layout;
  const int64_t shape[] = {2, 3, 4}, fortran[] = {4, 8, 24}, c[] = {48, 16, 4}, gap[] = {96, 16, 4},
                back[] = {48, 16, -4};
  ab__layout_of(3, shape, c, 4, &layout);
  ck_assert(layout.dense_c && layout.dense && !layout.negative);
  ab__layout_of(3, shape, fortran, 4, &layout);
  ck_assert(!layout.dense_c && layout.dense);
  ab__layout_of(3, shape, gap, 4, &layout);
  ck_assert(!layout.dense_c && !layout.dense);
  ab__layout_of(3, shape, back, 4, &layout);
  ck_assert(!layout.dense_c && layout.negative);
  ck_assert_int_eq(layout.lowest, -12);
}
END_TEST

START_TEST(layout_knows_odd_strides_and_emptiness) {
  ab__layout layout;
  const int64_t shape[] = {3}, odd[] = {5}, empty[] = {0}, single[] = {1}, any[] = {-77};
  ab__layout_of(1, shape, odd, 4, &layout);
  ck_assert(layout.fractional);
  ab__layout_of(1, empty, odd, 4, &layout);
  ck_assert(layout.empty && layout.dense_c);
  ab__layout_of(1, single, any, 4, &layout);
  ck_assert(layout.dense_c && !layout.negative && !layout.fractional);
}
END_TEST

/* A bridge whose lock nobody has: deleters must queue. */
static int32_t never(void *self) {
  (void)self;
  return 0;
}
static void *enter(void *self) { return self; }
static int asked;
static void ask(void *self) {
  (void)self;
  asked++;
}

static ab_bridge *locked_bridge(void) {
  const ab_runtime runtime = {.struct_size = sizeof runtime,
                              .kind = 1,
                              .self = &one,
                              .lock_enter = enter,
                              .lock_held = never,
                              .request_drain = ask};
  const ab_bridge_options options = {.struct_size = sizeof options, .runtime = &runtime};
  ab_bridge *bridge = NULL;
  ck_assert_int_eq(ab_bridge_new(&options, &bridge, NULL), AB_OK);
  return bridge;
}

enum { MANY = AB__RELEASE_ALIGNMENT - 1 };

START_TEST(deleter_without_the_lock_queues_and_allocates_nothing) {
  ab_bridge *bridge = locked_bridge();
  dropped = asked = 0;
  DLManagedTensorVersioned *tensors[MANY];
  for (int index = 0; index < MANY; index++)
    ck_assert_int_eq(ab__tensor_new(bridge, 0, AB_TENSOR_DROP_NEEDS_LOCK, &one, count_drop, &tensors[index]), AB_OK);
  ab__allocation_fail_at(1);
  for (int index = 0; index < MANY - 1; index++) ab__tensor_delete(tensors[index]);
  ck_assert_int_eq(asked, 0); /* small things wait for the next conversion … */
  ab__tensor_delete(tensors[MANY - 1]);
  ab__allocation_fail_at(-1);
  ck_assert_int_eq(dropped, 0);
  ck_assert_int_eq(asked, 1); /* … but not many of them */
  uint64_t count = 0, bytes = 0;
  ab_bridge_pending(bridge, &count, &bytes);
  ck_assert_uint_eq(count, MANY);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(dropped, MANY);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_large_release_is_asked_for_at_once) {
  ab_bridge *bridge = locked_bridge();
  dropped = asked = 0;
  DLManagedTensorVersioned *tensor = NULL;
  ab__tensor_new(bridge, 1, AB_TENSOR_DROP_NEEDS_LOCK, &one, count_drop, &tensor);
  tensor->dl_tensor.dtype = (DLDataType){kDLFloat, 32, 1};
  tensor->dl_tensor.shape[0] = 1 << 20;
  ab__tensor_delete(tensor);
  ck_assert_int_eq(asked, 1);
  uint64_t count = 0, bytes = 0;
  ab_bridge_pending(bridge, &count, &bytes);
  ck_assert_uint_eq(bytes, 4 << 20);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(dropped, 1);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(nothing_is_released_after_the_end) {
  ab_bridge *bridge = locked_bridge();
  dropped = 0;
  DLManagedTensorVersioned *tensor = NULL;
  ab__tensor_new(bridge, 1, AB_TENSOR_DROP_NEEDS_LOCK, &one, count_drop, &tensor);
  ab_bridge_end(bridge);
  void *leaked = tensor; /* kept for LeakSanitizer to find: the leak is on purpose */
  ab__tensor_delete(tensor);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(dropped, 0);
  ab__deallocate(leaked);
  ab_bridge_free(bridge);
}
END_TEST

enum { PUSHERS = 4, PUSHES = 20000 };
static atomic_int ran;
static void count_run(void *data) {
  (void)data;
  atomic_fetch_add(&ran, 1);
}
static void *push_many(void *queue) {
  for (int index = 0; index < PUSHES; index++) ab__release_push(queue, count_run, NULL, NULL, 0, 8);
  return NULL;
}

START_TEST(queue_runs_each_release_once_under_contention) {
  ab__release *queue = ab__release_new(NULL);
  pthread_t threads[PUSHERS];
  for (int index = 0; index < PUSHERS; index++) pthread_create(&threads[index], NULL, push_many, queue);
  while (atomic_load(&ran) < PUSHERS * PUSHES / 2) ab__release_drain(queue, AB__DRAIN_DUE);
  for (int index = 0; index < PUSHERS; index++) pthread_join(threads[index], NULL);
  ab__release_drain(queue, AB__DRAIN_DUE);
  ck_assert_int_eq(atomic_load(&ran), PUSHERS * PUSHES);
  ck_assert(!ab__release_waiting(queue));
  uint64_t count = 1, bytes = 1;
  ab__release_pending(queue, &count, &bytes);
  ck_assert_uint_eq(count, 0);
  ck_assert_uint_eq(bytes, 0);
  ab__release_free(queue);
}
END_TEST

START_TEST(queue_counts_what_waits_and_what_it_holds_back) {
  enum { WAITING = 40 };
  ab__release *queue = ab__release_new(NULL);
  atomic_store(&ran, 0);
  for (int index = 0; index < WAITING; index++) ab__release_push(queue, count_run, NULL, NULL, 0, 7);
  uint64_t count = 0, bytes = 0;
  for (int twice = 0; twice < 2; twice++) {
    ab__release_pending(queue, &count, &bytes);
    ck_assert_uint_eq(count, WAITING);
    ck_assert_uint_eq(bytes, WAITING * 7);
  }
  ab__release_drain(queue, AB__DRAIN_DUE);
  ck_assert_int_eq(atomic_load(&ran), WAITING);
  ab__release_free(queue);
}
END_TEST

START_TEST(queue_asks_for_a_drain_when_much_or_many_wait) {
  ab__release *queue = ab__release_new(NULL);
  ab__release_node nodes[AB__RELEASE_ALIGNMENT];
  for (int index = 0; index < AB__RELEASE_ALIGNMENT; index++) {
    nodes[index] = (ab__release_node){.fn = count_run, .bytes = 64};
    ck_assert_int_eq(ab__release_push_node(queue, &nodes[index]), index + 1 >= AB__RELEASE_ALIGNMENT - 1);
  }
  ab__release_drain(queue, AB__DRAIN_DUE);
  nodes[0] = (ab__release_node){.fn = count_run, .bytes = 1 << 16};
  ck_assert(ab__release_push_node(queue, &nodes[0]));
  ab__release_drain(queue, AB__DRAIN_DUE);
  ab__release_free(queue);
}
END_TEST

static int order[3], at;
static void note(void *data) { order[at++] = *(int *)data; }

START_TEST(queue_runs_the_oldest_first) {
  ab__release *queue = ab__release_new(NULL);
  int numbers[] = {1, 2, 3};
  for (int index = 0; index < 3; index++) ab__release_push(queue, note, &numbers[index], NULL, 0, 0);
  ab__release_drain(queue, AB__DRAIN_DUE);
  ck_assert_int_eq(order[0], 1);
  ck_assert_int_eq(order[2], 3);
  ab__release_free(queue);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("tensor");
  TCase *const tests = unit_case(suite, "tensor", NULL, NULL);
  tcase_add_test(tests, new_tensor_drops_its_owner_once);
  tcase_add_test(tests, new_tensor_refuses_too_many_dimensions);
  tcase_add_test(tests, adopt_fills_in_missing_strides);
  tcase_add_test(tests, adopt_folds_the_byte_offset_into_the_address);
  tcase_add_test(tests, adopt_refuses_what_contradicts_itself);
  tcase_add_test(tests, adopt_survives_every_failing_allocation);
  tcase_add_test(tests, upgrade_owns_the_old_tensor);
  tcase_add_test(tests, downgrade_can_be_undone);
  tcase_add_test(tests, layout_knows_dense_orders);
  tcase_add_test(tests, layout_knows_odd_strides_and_emptiness);
  tcase_add_test(tests, deleter_without_the_lock_queues_and_allocates_nothing);
  tcase_add_test(tests, a_large_release_is_asked_for_at_once);
  tcase_add_test(tests, nothing_is_released_after_the_end);
  tcase_add_test(tests, queue_counts_what_waits_and_what_it_holds_back);
  tcase_add_test(tests, queue_asks_for_a_drain_when_much_or_many_wait);
  tcase_add_test(tests, queue_runs_each_release_once_under_contention);
  tcase_add_test(tests, queue_runs_the_oldest_first);
  return suite;
}
