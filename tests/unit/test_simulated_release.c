/* SPDX-License-Identifier: MIT
 * When device memory goes back, case by case, on the simulated driver: what is promised, and what is not. */
#include "simulated_world.h"

enum { FIRST = 7, SECOND = 8 };

static const ab_convert_options whole_context = {.struct_size = sizeof whole_context,
                                                 .flags = AB_CONVERT_RELEASE_CONTEXT};

/* Memory of one framework is used by another on a private stream, dropped by both, and given out again. Returns what
 * is then found wrong. */
static const char *use_aside(const ab_convert_options *options, int declared) {
  const sim_framework *owner = frameworks[CALLBACK], *user = frameworks[KEYED];
  owner->use(0, 1);
  user->use(0, 2);
  ab_array own = {backends[CALLBACK], owner->make(4)};
  owner->fill(own.object, FIRST);
  ab_array lent = convert_to(KEYED, &own, options);
  sim_weight(user->aside(0), -1); /* it is late */
  user->expect_aside(lent.object, FIRST);
  const ab_stream aside = {.struct_size = sizeof aside,
                           .kind = AB_STREAM_HANDLE,
                           .flags = AB_STREAM_IMMORTAL,
                           .handle = user->aside(0),
                           .device = {kDLCUDA, 0}};
  if (declared) ck_assert_int_eq(ab_array_record_stream(&lent, &aside, NULL), AB_OK);
  ab_array_release(&own);
  ab_array_release(&lent);
  for (int i = 0; i < 8; i++) ab_bridge_drain(bridge); /* each asks for the events, which lets others go on */
  own = (ab_array){backends[CALLBACK], owner->make(4)};
  owner->fill(own.object, SECOND);
  ab_array_release(&own);
  settle_all();
  return what_is_wrong();
}

START_TEST(a_private_stream_that_nobody_declared_is_not_waited_for) {
  open_world();
  const char *wrong = use_aside(NULL, 0);
  ck_assert_ptr_nonnull(wrong); /* the limit of the promise: here it shows */
  assert_says(wrong, "was 8 in place of 7");
}
END_TEST

START_TEST(a_private_stream_that_is_declared_is_waited_for) {
  open_world();
  ck_assert_ptr_null(use_aside(NULL, 1));
}
END_TEST

START_TEST(a_private_stream_is_waited_for_with_the_whole_context) {
  open_world();
  ck_assert_ptr_null(use_aside(&whole_context, 0));
}
END_TEST

START_TEST(a_driver_without_events_of_a_context_is_waited_for_by_the_host) {
  open_world();
  sim_driver_version(12040);
  ck_assert_ptr_null(use_aside(&whole_context, 0));
}
END_TEST

/* ------------------------------------------------------------------ what conversions between devices' arrays cost */

START_TEST(no_conversion_between_frameworks_waits_for_the_device) {
  open_world();
  for (int from = 0; from < FRAMEWORKS; from++) {
    for (int to = 0; to < FRAMEWORKS; to++) {
      if (from == to) continue;
      frameworks[from]->use(0, 1);
      frameworks[to]->use(0, 2);
      ab_array own = {backends[from], frameworks[from]->make(4)};
      frameworks[from]->fill(own.object, FIRST);
      const uint64_t before = sim_waits();
      ab_array lent = convert_to(to, &own, NULL);
      ck_assert_msg(sim_waits() == before, "%s to %s waited", names[from], names[to]);
      ck_assert(frameworks[from]->address(own.object) == frameworks[to]->address(lent.object));
      frameworks[to]->expect(lent.object, FIRST);
      ab_array_release(&own);
      ab_array_release(&lent);
      ab_bridge_drain(bridge);
      if (to != ORDERED) ck_assert_msg(sim_waits() == before, "the release of %s to %s waited", names[from], names[to]);
      settle_all();
      ck_assert_ptr_null(what_is_wrong());
    }
  }
}
END_TEST

START_TEST(the_threads_device_stays_what_it_was) {
  open_world();
  CUcontext mine;
  ck_assert_int_eq(cuDevicePrimaryCtxRetain(&mine, 1), CUDA_SUCCESS);
  ck_assert_int_eq(cuCtxSetCurrent(mine), CUDA_SUCCESS);
  frameworks[KEYED]->use(0, 1);
  frameworks[CALLBACK]->use(0, 2);
  ab_array own = {backends[KEYED], frameworks[KEYED]->make(4)};
  frameworks[KEYED]->fill(own.object, FIRST);
  const int depth = sim_context_depth();
  ab_array lent = convert_to(CALLBACK, &own, NULL);
  ck_assert_int_eq(sim_current_device(), 1);
  ck_assert_int_eq(sim_context_depth(), depth);
  ab_array_release(&own);
  ab_array_release(&lent);
  settle_all();
  ck_assert_int_eq(sim_current_device(), 1);
  ck_assert_int_eq(sim_context_depth(), depth);
  ck_assert_ptr_null(what_is_wrong());
}
END_TEST

START_TEST(a_stream_that_captures_is_refused_before_any_harm) {
  open_world();
  frameworks[KEYED]->use(0, 1);
  frameworks[CALLBACK]->use(0, 2);
  ab_array own = {backends[KEYED], frameworks[KEYED]->make(4)};
  frameworks[KEYED]->fill(own.object, FIRST);
  sim_run_all();
  const CUstream captured = frameworks[CALLBACK]->current();
  ck_assert_int_eq(sim_begin_capture(captured, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
  ab_error error;
  ab_error_init(&error);
  ab_array lent = {NULL, NULL};
  ck_assert_int_eq(ab_convert(bridge, &own, backends[CALLBACK], NULL, &lent, &error), AB_STREAM);
  assert_says(error.text, "captured");
  ck_assert_int_eq(sim_end_capture(captured), CUDA_SUCCESS); /* it has not been broken */
  ck_assert_ptr_null(what_is_wrong());
  lent = convert_to(CALLBACK, &own, NULL);
  ab_array_release(&own);
  ab_array_release(&lent);
  settle_all();
  ck_assert_ptr_null(what_is_wrong());
}
END_TEST

START_TEST(a_failing_driver_call_leaves_nothing_behind) {
  open_world();
  for (uint64_t nth = 1, failed = 1; failed; nth++) {
    frameworks[KEYED]->use(0, 1);
    frameworks[CALLBACK]->use(0, 2);
    ab_array own = {backends[KEYED], frameworks[KEYED]->make(4)};
    frameworks[KEYED]->fill(own.object, FIRST);
    const int depth = sim_context_depth();
    ab_error error;
    ab_error_init(&error);
    ab_array lent = {NULL, NULL};
    sim_fail_at(nth, CUDA_ERROR_UNKNOWN);
    const ab_status status = ab_convert(bridge, &own, backends[CALLBACK], NULL, &lent, &error);
    const uint64_t calls = sim_calls(NULL);
    sim_fail_at(0, CUDA_SUCCESS);
    failed = status != AB_OK;
    if (failed) assert_says(error.text, "CUDA_ERROR_UNKNOWN");
    else if (nth <= 2) failed = 1; /* a call whose failure does no harm */
    ck_assert_msg(calls < 10000, "it goes on for ever");
    ck_assert_int_eq(sim_context_depth(), depth);
    ab_error_clear(&error);
    ab_array_release(&own);
    ab_array_release(&lent);
    settle_all();
    ck_assert_ptr_null(what_is_wrong());
    for (int i = 0; i < FRAMEWORKS; i++) ck_assert_int_eq(frameworks[i]->alive(), 0);
  }
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("simulated_release");
  TCase *const tests = unit_case(suite, "simulated_release", setup, teardown);
  tcase_add_test(tests, a_private_stream_that_nobody_declared_is_not_waited_for);
  tcase_add_test(tests, a_private_stream_that_is_declared_is_waited_for);
  tcase_add_test(tests, a_private_stream_is_waited_for_with_the_whole_context);
  tcase_add_test(tests, a_driver_without_events_of_a_context_is_waited_for_by_the_host);
  tcase_add_test(tests, no_conversion_between_frameworks_waits_for_the_device);
  tcase_add_test(tests, the_threads_device_stays_what_it_was);
  tcase_add_test(tests, a_stream_that_captures_is_refused_before_any_harm);
  tcase_add_test(tests, a_failing_driver_call_leaves_nothing_behind);
  return suite;
}
