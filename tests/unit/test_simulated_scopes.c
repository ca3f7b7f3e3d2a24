/* SPDX-License-Identifier: MIT
 * Scopes of a stream, case by case, on the simulated driver. */
#include "mutant.h"
#include "simulated_world.h"
#include "stream_pool.h"

enum { FIRST = 7, SECOND = 8, ELEMENTS = 4 };

static ab_array array_of(int framework, int device, int stream, uint32_t value) {
  frameworks[framework]->use(device, stream);
  const ab_array made = {backends[framework], frameworks[framework]->make(ELEMENTS)};
  ck_assert_ptr_nonnull(made.object);
  frameworks[framework]->fill(made.object, value);
  return made;
}

static ab_stream_scope *enter(int framework, int device, const ab_array *argument) {
  ab_error error;
  ab_error_init(&error);
  ab_stream_scope *scope = NULL;
  const ab_status status = ab_stream_scope_enter(bridge, backends[framework], (DLDevice){kDLCUDA, device}, NULL,
                                                 argument, argument != NULL, &scope, &error);
  ck_assert_msg(status == AB_OK, "%s: %s", ab_status_name(status), error.text);
  return scope;
}

static void leave(ab_stream_scope *scope) {
  ab_error error;
  ab_error_init(&error);
  const ab_status status = ab_stream_scope_exit(scope, &error);
  ck_assert_msg(status == AB_OK, "%s: %s", ab_status_name(status), error.text);
}

static CUstream stream_of(const ab_stream_scope *scope) { return ab_stream_scope_stream(scope)->handle; }

static void finish(void) {
  settle_all();
  ck_assert_ptr_null(what_is_wrong());
}

static ab_stream described(CUstream handle, int device) {
  return (ab_stream){.struct_size = sizeof(ab_stream),
                     .kind = AB_STREAM_HANDLE,
                     .flags = AB_STREAM_IMMORTAL,
                     .handle = handle,
                     .device = {kDLCUDA, device}};
}

/* ------------------------------------------------------------------ which stream */

START_TEST(the_work_goes_to_a_stream_of_ours_and_back) {
  open_world();
  const sim_framework *f = frameworks[KEYED];
  f->use(1, 2);
  const CUstream before = f->current();
  ab_stream_scope *scope = enter(KEYED, 0, NULL);
  ck_assert_ptr_nonnull(scope);
  f->use(0, 2);
  ck_assert_ptr_eq(f->current(), stream_of(scope));
  ck_assert_uint_eq(ab_stream_scope_stream(scope)->flags & AB_STREAM_IMMORTAL, AB_STREAM_IMMORTAL);
  leave(scope);
  f->use(1, 2);
  ck_assert_ptr_eq(f->current(), before);
  finish();
}
END_TEST

START_TEST(a_thread_gets_the_same_stream_again) {
  open_world();
  ab_stream_scope *first = enter(KEYED, 0, NULL);
  const CUstream stream = stream_of(first);
  ab_stream_scope *inner = enter(CALLBACK, 0, NULL); /* frameworks share it: nothing between them needs an event */
  ck_assert_ptr_eq(stream_of(inner), stream);
  ab_stream_scope *elsewhere = enter(KEYED, 1, NULL);
  ck_assert_ptr_ne(stream_of(elsewhere), stream);
  leave(elsewhere);
  leave(inner);
  leave(first);
  for (int i = 0; i < 3; i++) {
    ab_stream_scope *again = enter(CALLBACK, 0, NULL);
    ck_assert_ptr_eq(stream_of(again), stream);
    leave(again);
  }
  finish();
}
END_TEST

enum { THREADS = AB__POOL_STREAMS + 3 };

typedef struct crowd {
  pthread_barrier_t all_have_one;
  CUstream streams[THREADS];
} crowd;

typedef struct member {
  crowd *of;
  int number;
} member;

static void *hold_one(void *context) {
  const member *self = context;
  ab_stream_scope *scope = enter(KEYED, 0, NULL);
  self->of->streams[self->number] = stream_of(scope);
  pthread_barrier_wait(&self->of->all_have_one);
  leave(scope);
  return NULL;
}

START_TEST(threads_have_streams_of_their_own_until_there_are_no_more) {
  open_world();
  crowd c;
  pthread_barrier_init(&c.all_have_one, NULL, THREADS);
  pthread_t threads[THREADS];
  member members[THREADS];
  for (int i = 0; i < THREADS; i++) {
    members[i] = (member){&c, i};
    ck_assert_int_eq(pthread_create(&threads[i], NULL, hold_one, &members[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
  int distinct = 0;
  for (int i = 0; i < THREADS; i++) {
    int is_new = 1;
    for (int j = 0; j < i; j++) is_new &= c.streams[i] != c.streams[j];
    distinct += is_new;
  }
  ck_assert_int_eq(distinct, AB__POOL_STREAMS);
  finish();
}
END_TEST

START_TEST(a_stream_can_be_given) {
  open_world();
  const sim_framework *f = frameworks[KEYED];
  f->use(0, 1);
  ab_array own = array_of(KEYED, 0, 1, FIRST);
  const ab_stream mine = described(f->aside(0), 0);
  ab_stream_scope *scope = NULL;
  ck_assert_int_eq(ab_stream_scope_enter(bridge, backends[KEYED], (DLDevice){kDLCUDA, 0}, &mine, &own, 1, &scope, NULL),
                   AB_OK);
  ck_assert_ptr_eq(f->current(), f->aside(0));
  f->expect(own.object, FIRST);
  f->fill(own.object, SECOND);
  leave(scope);
  f->expect(own.object, SECOND);
  ab_array_release(&own);
  finish();
}
END_TEST

START_TEST(a_stream_of_another_device_is_refused) {
  open_world();
  const ab_stream other = described(frameworks[KEYED]->aside(1), 1);
  ab_stream_scope *scope = NULL;
  ab_error error;
  ab_error_init(&error);
  ck_assert_int_eq(
      ab_stream_scope_enter(bridge, backends[KEYED], (DLDevice){kDLCUDA, 0}, &other, NULL, 0, &scope, &error),
      AB_STREAM);
  assert_says(error.text, "device 1");
  ck_assert_ptr_null(scope);
  finish();
}
END_TEST

/* ------------------------------------------------------------------ nothing to enter */

START_TEST(on_the_host_there_is_no_scope_and_no_driver) {
  open_world();
  const uint64_t before = sim_calls(NULL);
  ab_stream_scope *scope = NULL;
  ck_assert_int_eq(ab_stream_scope_enter(bridge, backends[KEYED], (DLDevice){kDLCPU, 0}, NULL, NULL, 0, &scope, NULL),
                   AB_OK);
  ck_assert_ptr_null(scope);
  ck_assert_int_eq(ab_stream_scope_exit(scope, NULL), AB_OK);
  ck_assert_uint_eq(sim_calls(NULL), before);
}
END_TEST

START_TEST(who_orders_by_itself_is_left_to_it) {
  open_world();
  ck_assert_ptr_null(enter(ORDERED, 0, NULL));
  const ab_stream mine = described(frameworks[KEYED]->aside(0), 0);
  ab_stream_scope *scope = NULL;
  ab_error error;
  ab_error_init(&error);
  ck_assert_int_eq(
      ab_stream_scope_enter(bridge, backends[ORDERED], (DLDevice){kDLCUDA, 0}, &mine, NULL, 0, &scope, &error),
      AB_UNSUPPORTED);
  ck_assert_ptr_null(scope);
  finish();
}
END_TEST

START_TEST(what_is_being_captured_stays_on_its_stream) {
  open_world();
  const sim_framework *f = frameworks[KEYED];
  f->use(0, 1);
  const CUstream captured = f->current();
  ck_assert_int_eq(sim_begin_capture(captured, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
  ck_assert_ptr_null(enter(KEYED, 0, NULL));
  ck_assert_ptr_eq(f->current(), captured);
  ck_assert_int_eq(sim_end_capture(captured), CUDA_SUCCESS);
  finish();
}
END_TEST

START_TEST(another_stream_during_a_capture_is_refused_before_any_harm) {
  open_world();
  const sim_framework *f = frameworks[KEYED], *other = frameworks[CALLBACK];
  ab_array own = array_of(CALLBACK, 0, 2, FIRST);
  f->use(0, 1);
  sim_run_all();
  const CUstream captured[] = {f->current(), other->current()};
  const ab_stream mine = described(f->aside(0), 0);
  for (int i = 0; i < 2; i++) {
    ck_assert_int_eq(sim_begin_capture(captured[i], CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    ab_stream_scope *scope = NULL;
    ab_error error;
    ab_error_init(&error);
    ck_assert_int_eq(
        ab_stream_scope_enter(bridge, backends[KEYED], (DLDevice){kDLCUDA, 0}, &mine, &own, 1, &scope, &error),
        AB_STREAM);
    assert_says(error.text, "captured");
    ck_assert_int_eq(sim_end_capture(captured[i]), CUDA_SUCCESS);
  }
  ab_array_release(&own);
  finish();
}
END_TEST

/* ------------------------------------------------------------------ order */

START_TEST(a_scope_follows_its_callers_and_they_follow_it) {
  open_world();
  const sim_framework *f = frameworks[KEYED], *g = frameworks[CALLBACK];
  f->use(0, 2);
  ab_array own = array_of(KEYED, 0, 2, FIRST);
  ab_array other = array_of(CALLBACK, 0, 1, FIRST);
  const ab_array arguments[] = {own, other};
  ab_stream_scope *scope = NULL;
  ck_assert_int_eq(
      ab_stream_scope_enter(bridge, backends[KEYED], (DLDevice){kDLCUDA, 0}, NULL, arguments, 2, &scope, NULL), AB_OK);
  ab_array taken = convert_to(KEYED, &other, NULL);
  f->expect(own.object, FIRST);
  f->expect(taken.object, FIRST);
  f->fill(own.object, SECOND);
  f->fill(taken.object, SECOND);
  ab_array_release(&taken);
  leave(scope);
  f->expect(own.object, SECOND);
  g->expect(other.object, SECOND);
  ab_array_release(&own);
  ab_array_release(&other);
  finish();
}
END_TEST

START_TEST(no_scope_waits_for_the_device) {
  open_world();
  ab_array own = array_of(KEYED, 0, 2, FIRST);
  const CUstream busy = frameworks[KEYED]->current();
  ck_assert_int_eq(sim_hold(busy), CUDA_SUCCESS);
  const uint64_t waits = sim_waits();
  for (int i = 0; i < 3; i++) {
    ab_stream_scope *scope = enter(KEYED, 0, &own);
    frameworks[KEYED]->expect(own.object, FIRST);
    leave(scope);
  }
  ck_assert_uint_eq(sim_waits(), waits);
  ck_assert_int_eq(sim_let_go(busy), CUDA_SUCCESS);
  ab_array_release(&own);
  finish();
}
END_TEST

START_TEST(a_result_of_another_framework_makes_its_caller_wait) {
  open_world();
  const sim_framework *g = frameworks[CALLBACK];
  g->use(0, 1);
  ab_array own = array_of(KEYED, 0, 2, FIRST);
  ab_array view = convert_to(CALLBACK, &own, NULL);
  ab_stream_scope *scope = enter(KEYED, 0, &own); /* it knows nothing of the view */
  frameworks[KEYED]->fill(own.object, SECOND);
  ck_assert_int_eq(ab_stream_scope_add(scope, &view, NULL), AB_OK);
  leave(scope);
  g->expect(view.object, SECOND);
  ab_array_release(&own);
  ab_array_release(&view);
  finish();
}
END_TEST

START_TEST(work_of_a_framework_that_orders_itself_is_fenced) {
  open_world();
  ab_array own = array_of(KEYED, 0, 2, FIRST);
  ab_array view = convert_to(ORDERED, &own, NULL);
  frameworks[ORDERED]->expect(view.object, FIRST); /* still to run */
  ab_stream_scope *scope = enter(KEYED, 0, &view);
  frameworks[KEYED]->fill(own.object, SECOND);
  leave(scope);
  ab_array_release(&own);
  ab_array_release(&view);
  finish();
}
END_TEST

START_TEST(the_current_device_of_the_thread_stays_what_it_was) {
  open_world();
  CUcontext mine;
  ck_assert_int_eq(cuDevicePrimaryCtxRetain(&mine, 1), CUDA_SUCCESS);
  ck_assert_int_eq(cuCtxSetCurrent(mine), CUDA_SUCCESS);
  const int depth = sim_context_depth();
  leave(enter(KEYED, 0, NULL));
  ck_assert_int_eq(sim_current_device(), 1);
  ck_assert_int_eq(sim_context_depth(), depth);
  finish();
}
END_TEST

/* ------------------------------------------------------------------ memory */

/* Dropped by another thread while a scope works on it, on a stream that no conversion has named. */
static void *drop_and_reuse(void *context) {
  ab_array *lent = context;
  frameworks[KEYED]->use(0, 3);
  ab_array_release(lent);
  for (int i = 0; i < 16; i++) ab_bridge_drain(bridge);
  ab_array next = array_of(CALLBACK, 0, 1, SECOND);
  ab_array_release(&next);
  return NULL;
}

static void drop_meanwhile(void) {
  frameworks[KEYED]->use(0, 2);
  ab_array own = array_of(CALLBACK, 0, 1, FIRST);
  ab_array lent = convert_to(KEYED, &own, NULL);
  ab_array_release(&own);
  ab_stream_scope *scope = enter(KEYED, 0, &lent);
  sim_weight(stream_of(scope), -1); /* it is late */
  frameworks[KEYED]->expect(lent.object, FIRST);
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, drop_and_reuse, &lent), 0);
  pthread_join(thread, NULL);
  leave(scope);
  settle_all();
}

START_TEST(memory_waits_for_streams_that_were_leased_meanwhile) {
  open_world();
  drop_meanwhile();
  ck_assert_ptr_null(what_is_wrong());
}
END_TEST

static void read_late(void) {
  const sim_framework *f = frameworks[KEYED];
  f->use(0, 2);
  ab_stream_scope *scope = enter(KEYED, 0, NULL);
  ab_array made = {backends[KEYED], f->make(ELEMENTS)};
  f->fill(made.object, FIRST);
  leave(scope);
  sim_weight(f->current(), -1);
  f->expect(made.object, FIRST);
  ab_array_release(&made);
  f->use(0, 3); /* the next caller is on another stream */
  scope = enter(KEYED, 0, NULL);
  made = (ab_array){backends[KEYED], f->make(ELEMENTS)};
  f->fill(made.object, SECOND);
  leave(scope);
  ab_array_release(&made);
  settle_all();
}

START_TEST(memory_of_a_result_is_not_given_out_again_before_it_was_read) {
  open_world();
  read_late();
  ck_assert_ptr_null(what_is_wrong());
}
END_TEST

/* What the two tests above would see. */
START_TEST(without_these_waits_memory_is_overwritten) {
  open_world();
  ab__mutated_by = _i == 0 ? AB__MUTANT_NO_WAIT_FOR_LEASED : AB__MUTANT_NO_WAIT_FOR_READERS;
  if (_i == 0) drop_meanwhile();
  else read_late();
  ck_assert_ptr_nonnull(what_is_wrong());
  assert_says(what_is_wrong(), "was 8 in place of 7");
}
END_TEST

/* ------------------------------------------------------------------ what goes wrong */

START_TEST(scopes_end_last_in_first_out) {
  open_world();
  ab_stream_scope *outer = enter(KEYED, 0, NULL), *inner = enter(KEYED, 0, NULL);
  ck_assert_int_eq(ab_stream_scope_exit(outer, NULL), AB_INVALID_ARGUMENT);
  leave(inner);
  leave(outer);
  finish();
}
END_TEST

START_TEST(a_failing_driver_call_leaves_nothing_behind) {
  open_world();
  const sim_framework *f = frameworks[KEYED];
  for (uint64_t nth = 1, failed = 1; failed; nth++) {
    ab_array own = array_of(KEYED, 0, 1, FIRST), other = array_of(CALLBACK, 0, 2, FIRST);
    const CUstream before = f->current();
    const int depth = sim_context_depth();
    ab_error error;
    ab_error_init(&error);
    ab_stream_scope *scope = NULL;
    sim_fail_at(nth, CUDA_ERROR_UNKNOWN);
    ab_status status =
        ab_stream_scope_enter(bridge, backends[KEYED], (DLDevice){kDLCUDA, 0}, NULL, &other, 1, &scope, &error);
    if (status == AB_OK) status = ab_stream_scope_exit(scope, &error);
    else ck_assert_ptr_null(scope);
    sim_fail_at(0, CUDA_SUCCESS);
    failed = status != AB_OK || nth < 30; /* the failure of a question does no harm */
    if (status != AB_OK) assert_says(error.text, "CUDA_ERROR_UNKNOWN");
    ck_assert_int_eq(sim_context_depth(), depth);
    ck_assert_ptr_eq(f->current(), before);
    ab_error_clear(&error);
    ab_array_release(&own);
    ab_array_release(&other);
    settle_all();
    ck_assert_ptr_null(sim_fault());
    ck_assert_int_lt((int)nth, 1000);
  }
  for (int i = 0; i < FRAMEWORKS; i++) ck_assert_int_eq(frameworks[i]->alive(), 0);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("simulated_scopes");
  TCase *const tests = unit_case(suite, "simulated_scopes", setup, teardown);
  tcase_add_test(tests, the_work_goes_to_a_stream_of_ours_and_back);
  tcase_add_test(tests, a_thread_gets_the_same_stream_again);
  tcase_add_test(tests, threads_have_streams_of_their_own_until_there_are_no_more);
  tcase_add_test(tests, a_stream_can_be_given);
  tcase_add_test(tests, a_stream_of_another_device_is_refused);
  tcase_add_test(tests, on_the_host_there_is_no_scope_and_no_driver);
  tcase_add_test(tests, who_orders_by_itself_is_left_to_it);
  tcase_add_test(tests, what_is_being_captured_stays_on_its_stream);
  tcase_add_test(tests, another_stream_during_a_capture_is_refused_before_any_harm);
  tcase_add_test(tests, a_scope_follows_its_callers_and_they_follow_it);
  tcase_add_test(tests, no_scope_waits_for_the_device);
  tcase_add_test(tests, a_result_of_another_framework_makes_its_caller_wait);
  tcase_add_test(tests, work_of_a_framework_that_orders_itself_is_fenced);
  tcase_add_test(tests, the_current_device_of_the_thread_stays_what_it_was);
  tcase_add_test(tests, memory_waits_for_streams_that_were_leased_meanwhile);
  tcase_add_test(tests, memory_of_a_result_is_not_given_out_again_before_it_was_read);
  tcase_add_loop_test(tests, without_these_waits_memory_is_overwritten, 0, 2);
  tcase_add_test(tests, scopes_end_last_in_first_out);
  tcase_add_test(tests, a_failing_driver_call_leaves_nothing_behind);
  return suite;
}
