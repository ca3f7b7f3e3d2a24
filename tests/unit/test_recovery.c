/* SPDX-License-Identifier: MIT
 * Out-of-memory: what counts as it, what comes next, and that each framework gives back what another one needs. */
#include "../fakes/fake_pool.h"

#include <errno.h>

#include "memory.h"
#include "oom.h"
#include "plugin_folder.h"
#include "recovery.h"

static ab_bridge *two;
static fake_driver device;
static const fake_pool *left, *right;
static int collections, lock_depth, unlocked_collections;

/* ------------------------------------------------------------------ a language that collects */

static void *enter(void *self) {
  lock_depth++;
  return self;
}

static void leave(void *self, void *token) {
  ck_assert_ptr_eq(self, token);
  lock_depth--;
}

static int32_t held(void *self) {
  (void)self;
  return lock_depth > 0;
}

static void collect(void *self) {
  (void)self;
  collections++;
  unlocked_collections += lock_depth == 0;
  device.log[0] = '\0'; /* what is cleared is cleared afterwards */
}

static const ab_runtime runtime = {.struct_size = sizeof runtime,
                                   .self = &collections,
                                   .lock_enter = enter,
                                   .lock_leave = leave,
                                   .lock_held = held,
                                   .collect_garbage = collect};

static const fake_pool *pool_of(const char *path) {
  void *const module = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
  ck_assert_ptr_nonnull(module);
  const fake_pool *const pool = dlsym(module, "fake_pool_open");
  ck_assert_ptr_nonnull(pool);
  pool->connect(&device);
  return pool;
}

static void set_up(void) {
  setup();
  two = bridge_of(&(ab_bridge_options){
      .struct_size = sizeof(ab_bridge_options), .flags = AB_BRIDGE_NO_ENVIRONMENT, .runtime = &runtime});
  char left_path[PATH_MAX];
  snprintf(left_path, sizeof left_path, "%s", put("fake_pool_left", "left.so"));
  const char *const right_path = put("fake_pool_right", "right.so");
  ck_assert_int_eq(ab_bridge_add_path(two, left_path, NULL), AB_OK);
  ck_assert_int_eq(ab_bridge_add_path(two, right_path, NULL), AB_OK);
  discover(two);
  ck_assert_uint_eq(ab_bridge_backend_count(two), 2);
  left = pool_of(left_path);
  right = pool_of(right_path);
  device = (fake_driver){.free_bytes = {79, 79}};
}

static ab_recovery state_of(uint32_t flags, uint32_t max_retries, uint32_t batch) {
  return (ab_recovery){.struct_size = sizeof(ab_recovery), .flags = flags, .max_retries = max_retries, .batch = batch};
}

static ab_recovery_action step(ab_recovery *state, ab_status verdict) {
  ab_recovery_action action = (ab_recovery_action)99;
  ck_assert_int_eq(ab_recover(two, state, verdict, &action, NULL), AB_OK);
  ck_assert_int_eq(lock_depth, 0);
  ck_assert_int_eq(unlocked_collections, 0);
  return action;
}

/* ------------------------------------------------------------------ judging */

static ab_status judge(const char *domain, int64_t code, ab_status status) {
  const ab_failure failure = {.struct_size = sizeof failure, .status = status, .domain = domain, .code = code};
  return ab_failure_judge(two, &failure);
}

START_TEST(every_loaded_backend_is_asked) {
  ck_assert_int_eq(judge("pool_left", 7, AB_FRAMEWORK), AB_OOM);
  ck_assert_int_eq(judge("pool_right", 7, AB_FRAMEWORK), AB_OOM);
  ck_assert_int_eq(judge("pool_right", 8, AB_FRAMEWORK), AB_TOO_LARGE);
  ck_assert_int_eq(judge("pool_right", 9, AB_FRAMEWORK), AB_OK);
  ck_assert_int_eq(judge("pool_nobody", 7, AB_FRAMEWORK), AB_OK);
}
END_TEST

START_TEST(numbers_of_drivers_are_read_by_their_domain) {
  ck_assert_int_eq(judge("errno", ENOMEM, AB_DRIVER), AB_OOM);
  ck_assert_int_eq(judge("errno", ENOSPC, AB_DRIVER), AB_OK);
  ck_assert_int_eq(judge("cuda", 2, AB_DRIVER), AB_OOM);
  ck_assert_int_eq(judge("cuda", 700, AB_DRIVER), AB_OK); /* an illegal address */
  ck_assert_int_eq(judge("cuda", 701, AB_DRIVER), AB_OK); /* launch out of resources */
  for (int code = -6; code <= -4; code++) ck_assert_int_eq(judge("opencl", code, AB_DRIVER), AB_OOM);
  ck_assert_int_eq(judge("opencl", -61, AB_DRIVER), AB_TOO_LARGE);
  ck_assert_int_eq(judge("opencl", -3, AB_DRIVER), AB_OK);
  ck_assert_int_eq(judge("errno", 2, AB_DRIVER), AB_OK); /* cuda's number, in another domain */
  ck_assert_int_eq(judge(NULL, 2, AB_DRIVER), AB_OK);
}
END_TEST

START_TEST(the_reporters_own_reading_counts) {
  ck_assert_int_eq(judge("whoever", 0, AB_OOM), AB_OOM);
  ck_assert_int_eq(judge("whoever", 0, AB_TOO_LARGE), AB_TOO_LARGE);
  ck_assert_int_eq(ab_failure_judge(two, NULL), AB_OK);
  ck_assert_int_eq(ab_failure_judge(two, &(ab_failure){0}), AB_OK);
  ck_assert_int_eq(ab_failure_judge(NULL, &(ab_failure){.struct_size = sizeof(ab_failure)}), AB_OK);
}
END_TEST

START_TEST(a_status_and_its_failure_are_judged_together) {
  ab_error error;
  ab_error_init(&error);
  ck_assert_int_eq(ab__oom_judge(two, AB_OOM, &error), AB_OOM);
  ck_assert_int_eq(ab__oom_judge(two, AB_FRAMEWORK, &error), AB_OK);
  error.failure = (ab_failure){.struct_size = sizeof(ab_failure), .domain = "pool_left", .code = 7};
  ck_assert_int_eq(ab__oom_judge(two, AB_FRAMEWORK, &error), AB_OOM);
  ck_assert_int_eq(ab__oom_judge(two, AB_DRIVER, &error), AB_OOM);
  ck_assert_int_eq(ab__oom_judge(two, AB_UNSUPPORTED, &error), AB_OK); /* it has its own next step: the next way */
  ck_assert_int_eq(ab__oom_judge(two, AB_CANCELLED, &error), AB_OK);
}
END_TEST

/* ------------------------------------------------------------------ what comes next */

START_TEST(retries_come_first_and_are_counted_exactly) {
  for (uint32_t most = 0; most < 5; most++) {
    ab_recovery state = state_of(0, most, 0);
    for (uint32_t count = 0; count < most; count++) ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RETRY);
    ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RAISE);
    ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RAISE);
    ck_assert_uint_eq(state.retries, most);
  }
  ck_assert_int_eq(collections, 0 + 1 + 2 + 3 + 4); /* none for an answer that is no attempt */
}
END_TEST

START_TEST(slices_are_halved_then_the_host_is_tried) {
  ab_recovery state = state_of(AB_RECOVERY_SLICEWISE | AB_RECOVERY_HOST_ALLOWED, 1, 9);
  ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RETRY);
  ck_assert_uint_eq(state.batch, 9);
  const uint32_t batches[] = {5, 3, 2, 1};
  for (int index = 0; index < 4; index++) {
    ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_HALVE);
    ck_assert_uint_eq(state.batch, batches[index]);
  }
  ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_HOST);
  ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RAISE);
  ck_assert_uint_eq(state.retries, 1);
  ck_assert_uint_eq(state.halvings, 4);
}
END_TEST

START_TEST(too_large_is_never_tried_again_unchanged) {
  ab_recovery state = state_of(AB_RECOVERY_SLICEWISE, 3, 4);
  ck_assert_int_eq(step(&state, AB_TOO_LARGE), AB_RECOVERY_HALVE);
  ck_assert_uint_eq(state.batch, 2);
  ck_assert_uint_eq(state.retries, 0);
  ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RETRY);
  state = state_of(0, 3, 0);
  ck_assert_int_eq(step(&state, AB_TOO_LARGE), AB_RECOVERY_RAISE);
  state = state_of(AB_RECOVERY_HOST_ALLOWED, 3, 0);
  ck_assert_int_eq(step(&state, AB_TOO_LARGE), AB_RECOVERY_HOST);
}
END_TEST

START_TEST(nothing_is_done_about_other_failures_and_what_must_run_once) {
  ab_recovery state = state_of(AB_RECOVERY_SLICEWISE | AB_RECOVERY_HOST_ALLOWED, 3, 4);
  const ab_status others[] = {AB_OK, AB_UNSUPPORTED, AB_FRAMEWORK, AB_DRIVER, AB_CANCELLED, AB_INTERNAL};
  for (size_t index = 0; index < sizeof others / sizeof *others; index++)
    ck_assert_int_eq(step(&state, others[index]), AB_RECOVERY_RAISE);
  state.flags |= AB_RECOVERY_ONCE;
  ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RAISE);
  ck_assert_int_eq(step(&state, AB_TOO_LARGE), AB_RECOVERY_RAISE);
  ck_assert_int_eq(collections, 0);
  ck_assert_str_eq(device.log, "");
}
END_TEST

START_TEST(bad_arguments_are_refused) {
  ab_recovery_action action = AB_RECOVERY_RAISE;
  ab_recovery state = state_of(0, 1, 0);
  ck_assert_int_eq(ab_recover(NULL, &state, AB_OOM, &action, NULL), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_recover(two, NULL, AB_OOM, &action, NULL), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_recover(two, &state, AB_OOM, NULL, NULL), AB_INVALID_ARGUMENT);
  state.flags = 1u << 9;
  ck_assert_int_eq(ab_recover(two, &state, AB_OOM, &action, NULL), AB_INVALID_ARGUMENT);
  state = state_of(0, 1, 0);
  state.struct_size = 8;
  ck_assert_int_eq(ab_recover(two, &state, AB_OOM, &action, NULL), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_caches_clear(NULL, (DLDevice){0, 0}, NULL, NULL, NULL), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_holdings(two, (DLDevice){0, 0}, NULL, NULL, NULL), AB_INVALID_ARGUMENT);
}
END_TEST

/* ------------------------------------------------------------------ across frameworks */

/* The one keeps 60 of 79 in its pool, the other one needs 40. */
START_TEST(one_framework_gives_back_what_another_one_needs) {
  const fake_pool *const pools[] = {left, right};
  for (int index = 0; index < 2; index++) {
    const fake_pool *const hoards = pools[index], *const needs = pools[1 - index];
    ab_failure failure;
    ab_recovery state = state_of(0, 2, 0);
    state.device = (DLDevice){kDLExtDev, 0};
    ck_assert_int_eq(hoards->take(0, 60, &failure), 0);
    hoards->drop(0, 60);
    ck_assert_int_eq(needs->take(0, 40, &failure), -1);
    ck_assert_int_eq(step(&state, ab_failure_judge(two, &failure)), AB_RECOVERY_RETRY);
    ck_assert_int_eq(needs->take(0, 40, &failure), 0);
    ck_assert_uint_eq(state.retries, 1);
    ck_assert_uint_eq(state.to_driver, 60);
    needs->drop(0, 40);
    step(&state, AB_OOM);
    ck_assert_uint_eq(device.free_bytes[0], 79);
  }
}
END_TEST

START_TEST(only_the_device_is_cleared_where_memory_ran_out) {
  ab_failure failure;
  for (int id = 0; id < 2; id++) {
    ck_assert_int_eq(left->take(id, 20, &failure), 0);
    left->drop(id, 20);
  }
  ab_recovery state = state_of(0, 2, 0);
  state.device = (DLDevice){kDLExtDev, 1};
  step(&state, AB_OOM);
  ck_assert_uint_eq(left->cached(0), 20);
  ck_assert_uint_eq(left->cached(1), 0);
  state.device = (DLDevice){0, 0};
  step(&state, AB_OOM);
  ck_assert_uint_eq(left->cached(0), 0);
}
END_TEST

START_TEST(garbage_goes_first_and_pinned_memory_last) {
  ab_recovery state = state_of(0, 1, 0);
  state.device = (DLDevice){kDLExtDev, 0};
  step(&state, AB_OOM);
  ck_assert_int_eq(collections, 1);
  ck_assert_str_eq(device.log,
                   "pool_left:cache:12.0 pool_right:cache:12.0 pool_left:pinned:12.0 pool_right:pinned:12.0 ");
}
END_TEST

START_TEST(a_backend_that_cannot_clear_does_not_stop_the_others) {
  device.cancels = AB_UNSUPPORTED;
  ab_recovery state = state_of(0, 1, 0);
  ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RETRY);
  ck_assert_ptr_nonnull(strstr(device.log, "pool_right:pinned"));
  ck_assert_str_eq(state.failure, "");
}
END_TEST

START_TEST(a_backend_that_fails_to_clear_is_named_and_does_not_stop_the_others) {
  device.cancels = AB_FRAMEWORK;
  ab_recovery state = state_of(0, 1, 0);
  ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RETRY);
  ck_assert_ptr_nonnull(strstr(device.log, "pool_right:pinned"));
  ck_assert_str_eq(state.failure, "pool_left: not now");
}
END_TEST

START_TEST(a_wish_to_stop_is_passed_on_and_nothing_is_counted) {
  device.cancels = AB_CANCELLED;
  ab_recovery state = state_of(AB_RECOVERY_SLICEWISE, 1, 4);
  ab_recovery_action action = (ab_recovery_action)99;
  ab_error error;
  ab_error_init(&error);
  ck_assert_int_eq(ab_recover(two, &state, AB_OOM, &action, &error), AB_CANCELLED);
  ck_assert_int_eq(error.status, AB_CANCELLED);
  ck_assert_str_eq(device.log, "pool_left:cache:0.0 ");
  ck_assert_int_eq(action, 99);
  ck_assert_uint_eq(state.retries, 0);
  ck_assert_uint_eq(state.batch, 4);
}
END_TEST

START_TEST(recovery_itself_needs_no_memory) {
  const int64_t live = ab__allocation_count();
  ab_recovery state = state_of(AB_RECOVERY_SLICEWISE, 1, 2);
  ab__allocation_fail_at(1);
  ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_RETRY);
  ck_assert_int_eq(step(&state, AB_OOM), AB_RECOVERY_HALVE);
  ck_assert_int_eq(ab_caches_clear(two, (DLDevice){0, 0}, NULL, NULL, NULL), AB_OK);
  ck_assert_ptr_null(ab__allocate(1)); /* the first to be asked for: nobody has met the failure before */
  ab__allocation_fail_at(-1);
  ck_assert_int_eq(ab__allocation_count(), live);
}
END_TEST

START_TEST(after_the_end_nothing_is_cleared) {
  ab_recovery state = state_of(0, 2, 0);
  ab_recovery_action action = (ab_recovery_action)99;
  ab_bridge_end(two);
  ck_assert_int_eq(ab_recover(two, &state, AB_OOM, &action, NULL), AB_ENDING);
  ck_assert_int_eq(action, 99);
  ck_assert_str_eq(device.log, "");
}
END_TEST

/* ------------------------------------------------------------------ who holds what */

typedef struct seen {
  int count;
  ab_holding rows[16];
  char reasons[16][256];
} seen;

static int see(void *context, const ab_holding *holding) {
  seen *const all = context;
  ck_assert_int_lt(all->count, 16);
  ck_assert_uint_eq(holding->struct_size, sizeof *holding);
  all->rows[all->count] = *holding;
  snprintf(all->reasons[all->count++], 256, "%s", holding->reason);
  return 0;
}

START_TEST(holdings_are_shown_by_backend_and_device) {
  ab_failure failure;
  left->take(0, 30, &failure);
  right->take(1, 20, &failure);
  right->drop(1, 5);
  seen all = {0};
  ck_assert_int_eq(ab_holdings(two, (DLDevice){0, 0}, see, &all, NULL), AB_OK);
  ck_assert_int_eq(all.count, 5);
  ck_assert_ptr_null(all.rows[0].backend);
  ck_assert_uint_gt(all.rows[0].in_use, 1 << 20);
  ck_assert_uint_lt(all.rows[0].in_use, all.rows[0].limit);
  ck_assert_uint_eq(all.rows[1].in_use, 30);
  ck_assert_uint_eq(all.rows[4].in_use, 15);
  ck_assert_uint_eq(all.rows[4].cached, 5);
  ck_assert_uint_eq(all.rows[4].limit, UINT64_MAX);
  ck_assert_str_eq(all.reasons[4], "a fake has no limit");
  all.count = 0;
  ck_assert_int_eq(ab_holdings(two, (DLDevice){kDLExtDev, 1}, see, &all, NULL), AB_OK);
  ck_assert_int_eq(all.count, 2);
  ck_assert_int_eq(all.rows[1].device.device_id, 1);
}
END_TEST

START_TEST(clearing_says_what_came_back) {
  ab_failure failure;
  right->take(0, 30, &failure);
  right->drop(0, 30);
  seen all = {0};
  ck_assert_int_eq(ab_caches_clear(two, (DLDevice){kDLExtDev, 0}, see, &all, NULL), AB_OK);
  ck_assert_int_eq(all.count, 2);
  ck_assert_uint_eq(all.rows[0].to_driver, 0);
  ck_assert_uint_eq(all.rows[1].to_driver, 30);
  ck_assert_uint_eq(all.rows[1].flags, AB_HOLDING_CLEARED);
  device.cancels = AB_UNSUPPORTED;
  all.count = 0;
  ck_assert_int_eq(ab_caches_clear(two, (DLDevice){0, 0}, see, &all, NULL), AB_OK);
  ck_assert_int_eq(all.count, 3); /* everywhere: malloc as well */
  ck_assert_ptr_null(all.rows[2].backend);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("recovery");
  TCase *const tests = unit_case(suite, "recovery", set_up, teardown);
  tcase_add_test(tests, every_loaded_backend_is_asked);
  tcase_add_test(tests, numbers_of_drivers_are_read_by_their_domain);
  tcase_add_test(tests, the_reporters_own_reading_counts);
  tcase_add_test(tests, a_status_and_its_failure_are_judged_together);
  tcase_add_test(tests, retries_come_first_and_are_counted_exactly);
  tcase_add_test(tests, slices_are_halved_then_the_host_is_tried);
  tcase_add_test(tests, too_large_is_never_tried_again_unchanged);
  tcase_add_test(tests, nothing_is_done_about_other_failures_and_what_must_run_once);
  tcase_add_test(tests, bad_arguments_are_refused);
  tcase_add_test(tests, one_framework_gives_back_what_another_one_needs);
  tcase_add_test(tests, only_the_device_is_cleared_where_memory_ran_out);
  tcase_add_test(tests, garbage_goes_first_and_pinned_memory_last);
  tcase_add_test(tests, a_backend_that_cannot_clear_does_not_stop_the_others);
  tcase_add_test(tests, a_backend_that_fails_to_clear_is_named_and_does_not_stop_the_others);
  tcase_add_test(tests, a_wish_to_stop_is_passed_on_and_nothing_is_counted);
  tcase_add_test(tests, recovery_itself_needs_no_memory);
  tcase_add_test(tests, after_the_end_nothing_is_cleared);
  tcase_add_test(tests, holdings_are_shown_by_backend_and_device);
  tcase_add_test(tests, clearing_says_what_came_back);
  return suite;
}
