/* SPDX-License-Identifier: MIT
 * Events and streams of CUDA devices, on the simulated driver: what runs before what, captures, contexts, threads. */
#include "simulated_cuda.h"

static CUcontext context;
static CUstream left, right;  // non-blocking, as torch's side streams are
static CUdeviceptr block;

static void setup_streams(void) {
  setup();
  context = use(0);
  left = new_stream(context, CU_STREAM_NON_BLOCKING);
  right = new_stream(context, CU_STREAM_NON_BLOCKING);
  block = new_memory(context, sizeof(int));
}

/* ------------------------------------------------------------------ a producer and a consumer */

static int seen;

static void produce(void *value) { *(int *)(uintptr_t)block = (int)(intptr_t)value; }
static void consume(void *unused) {
  (void)unused;
  seen = *(const int *)(uintptr_t)block;
}

static void enqueue(CUstream stream, void (*run)(void *), int value) {
  CUcontext popped;
  OK(cuCtxPushCurrent(context));
  OK(sim_launch(stream, run, (void *)(intptr_t)value, &block, 1));
  OK(cuCtxPopCurrent(&popped));
}

static void *record(const ab_stream *stream) {
  void *event = NULL;
  const ab_status status = cuda->event_record(on(stream), &event);
  ck_assert_msg(status == AB_OK, "%s", error.text);
  return event;
}

/* The consumer's stream waits for the producer's: 1 if it then reads what was produced. */
static int is_ordered(const ab_stream *producer, const ab_stream *consumer, CUstream from, CUstream to, int value) {
  seen = 0;
  enqueue(from, produce, value);
  void *const event = record(producer);
  ck_assert_int_eq(cuda->event_wait(on(consumer), event), AB_OK);
  ck_assert_int_eq(report.flags & AB_REPORT_BLOCKED_HOST, 0);
  cuda->event_release(on(producer), event);
  enqueue(to, consume, 0);
  sim_run_all();
  return seen == value;
}

START_TEST(without_an_event_the_consumer_reads_too_early) {
  enqueue(left, produce, 7);
  enqueue(right, consume, 0);
  sim_run_all();
  ck_assert_int_ne(seen, 7);
}
END_TEST

START_TEST(a_stream_waits_for_an_event_of_another) {
  const ab_stream from = stream_of(left, 0), to = stream_of(right, 0);
  ck_assert(is_ordered(&from, &to, left, right, 41));
  ck_assert(is_ordered(&to, &from, right, left, 42));
  ck_assert_uint_eq(sim_waits(), 0);
}
END_TEST

START_TEST(default_streams_are_ordered_against_non_blocking_ones) {
  const ab_stream side = stream_of(left, 0), legacy = default_stream(AB_STREAM_LEGACY, 0),
                  own = default_stream(AB_STREAM_PER_THREAD, 0);
  ck_assert(is_ordered(&legacy, &side, CU_STREAM_LEGACY, left, 1));
  ck_assert(is_ordered(&side, &legacy, left, CU_STREAM_LEGACY, 2));
  ck_assert(is_ordered(&own, &side, CU_STREAM_PER_THREAD, left, 3));
  ck_assert(is_ordered(&side, &own, left, CU_STREAM_PER_THREAD, 4));
}
END_TEST

START_TEST(a_wait_crosses_devices) {
  const CUstream far = new_stream(use(1), CU_STREAM_NON_BLOCKING);
  const ab_stream from = stream_of(left, 0), to = stream_of(far, 1);
  OK(sim_hold(left));
  void *const event = record(&from);
  ck_assert_int_eq(cuda->event_wait(on(&to), event), AB_OK);
  void *const after = record(&to);
  int32_t done = 1;
  ck_assert_int_eq(cuda->event_query(on(NULL), after, &done), AB_OK);
  ck_assert_int_eq(done, 0);
  OK(sim_let_go(left));
  ck_assert_int_eq(cuda->event_wait(on(NULL), after), AB_OK);
  cuda->event_release(on(NULL), event);
  cuda->event_release(on(NULL), after);
}
END_TEST

START_TEST(a_query_never_waits) {
  const ab_stream stream = stream_of(left, 0);
  OK(sim_hold(left));
  void *const event = record(&stream);
  int32_t done = 1;
  for (int i = 0; i < 20; i++) ck_assert_int_eq(cuda->event_query(on(NULL), event, &done), AB_OK);
  ck_assert_int_eq(done, 0);
  ck_assert_uint_eq(sim_waits(), 0);
  OK(sim_let_go(left));
  for (int i = 0; i < 20 && !done; i++) ck_assert_int_eq(cuda->event_query(on(NULL), event, &done), AB_OK);
  ck_assert_int_eq(done, 1);
  cuda->event_release(on(NULL), event);
}
END_TEST

START_TEST(the_host_waits_only_where_it_is_asked_to) {
  const ab_stream stream = stream_of(left, 0);
  enqueue(left, produce, 5);
  enqueue(left, consume, 0);
  void *const event = record(&stream);
  ck_assert_int_ne(seen, 5);
  ck_assert_int_eq(cuda->event_wait(on(NULL), event), AB_OK);
  ck_assert_uint_eq(report.flags, AB_REPORT_BLOCKED_HOST);
  ck_assert_int_eq(seen, 5);
  enqueue(left, produce, 6);
  enqueue(left, consume, 0);
  ck_assert_int_eq(cuda->stream_finish(on(&stream)), AB_OK);
  ck_assert_uint_eq(report.flags, AB_REPORT_BLOCKED_HOST);
  ck_assert_int_eq(seen, 6);
  cuda->event_release(on(NULL), event);
}
END_TEST

/* ------------------------------------------------------------------ the pool */

START_TEST(events_are_used_again_and_letting_go_calls_no_driver) {
  const ab_stream stream = stream_of(left, 0);
  for (int i = 0; i < 100; i++) {
    void *const one = record(&stream);
    void *const two = record(&stream);
    ck_assert_ptr_ne(one, two);
    const uint64_t calls = sim_calls(NULL);
    cuda->event_release(on(NULL), one);
    cuda->event_release(on(NULL), two);
    cuda->event_release(on(NULL), NULL);
    ck_assert_uint_eq(sim_calls(NULL), calls);
  }
  ck_assert_uint_eq(sim_calls("cuEventCreate"), 2);
  ck_assert_uint_eq(sim_calls("cuEventDestroy"), 0);
}
END_TEST

START_TEST(a_stream_still_waits_for_an_event_that_is_used_again) {
  const ab_stream from = stream_of(left, 0), to = stream_of(right, 0);
  const CUstream third = new_stream(context, CU_STREAM_NON_BLOCKING);
  const ab_stream other = stream_of(third, 0);
  enqueue(left, produce, 9);
  void *const event = record(&from);
  ck_assert_int_eq(cuda->event_wait(on(&to), event), AB_OK);
  cuda->event_release(on(NULL), event);
  void *const again = record(&other);
  ck_assert_ptr_eq(again, event);
  enqueue(right, consume, 0);
  sim_run_all();
  ck_assert_int_eq(seen, 9);
  cuda->event_release(on(NULL), again);
}
END_TEST

static void *record_often(void *unused) {
  (void)unused;
  const ab_stream stream = stream_of(right, 0);
  ab_error said;
  ab_report own = {.struct_size = sizeof own};
  ab_error_init(&said);
  const ab_call call = ab__device_call(cuda, &stream, &own, &said);
  void *events[8];
  for (int round = 0; round < 100; round++) {
    for (int i = 0; i < 8; i++) ck_assert_int_eq(cuda->event_record(&call, &events[i]), AB_OK);
    int32_t done;
    for (int i = 0; i < 8; i++) ck_assert_int_eq(cuda->event_query(&call, events[i], &done), AB_OK);
    for (int i = 0; i < 8; i++) cuda->event_release(&call, events[i]);
  }
  return NULL;
}

START_TEST(threads_share_the_pool) {
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, record_often, NULL), 0);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  ck_assert_uint_le(sim_calls("cuEventCreate"), 32);
}
END_TEST

START_TEST(no_memory_for_an_event_is_out_of_memory) {
  const ab_stream stream = stream_of(left, 0);
  ck_assert_int_eq(cuda->stream_finish(on(&stream)), AB_OK);
  const int64_t before = ab__allocation_count();
  void *event = NULL;
  ab__allocation_fail_at(1);
  ck_assert_int_eq(cuda->event_record(on(&stream), &event), AB_OOM);
  ck_assert_ptr_null(event);
  ck_assert_int_eq(ab__allocation_count(), before);
  cuda->event_release(on(NULL), record(&stream));
}
END_TEST

START_TEST(an_order_between_streams_costs_eight_calls) {
  const ab_stream from = stream_of(left, 0), to = stream_of(right, 0);
  cuda->event_release(on(NULL), record(&from));
  OK(cuCtxSetCurrent(context));
  const uint64_t calls = sim_calls(NULL);
  void *const event = record(&from);
  ck_assert_int_eq(cuda->event_wait(on(&to), event), AB_OK);
  cuda->event_release(on(NULL), event);
  ck_assert_uint_le(sim_calls(NULL) - calls, 8);
  ck_assert_uint_eq(sim_waits(), 0);
  OK(cuCtxSetCurrent(NULL));
}
END_TEST

/* ------------------------------------------------------------------ what is refused */

static void expect_refused(const ab_stream *stream, const char *words) {
  void *event = NULL;
  ck_assert_int_eq(cuda->event_record(on(stream), &event), AB_STREAM);
  ck_assert_msg(strstr(error.text, words) != NULL, "%s", error.text);
  ck_assert_ptr_null(event);
  ck_assert_int_eq(cuda->stream_finish(on(stream)), AB_STREAM);
  ck_assert_int_eq(sim_context_depth(), 0);
}

START_TEST(a_bare_number_is_no_stream) {
  for (uintptr_t number = 0; number < 3; number++) {
    const ab_stream stream = stream_of((CUstream)number, 0);
    expect_refused(&stream, "kinds of their own");
  }
  const ab_stream stream = default_stream(AB_STREAM_CL_QUEUE, 0);
  expect_refused(&stream, "not a CUDA stream");
  ck_assert_int_eq(cuda->stream_finish(on(NULL)), AB_UNSUPPORTED);
}
END_TEST

static void *tell_own(void *stream) {
  *(ab_stream *)stream = default_stream(AB_STREAM_PER_THREAD, 0);
  return NULL;
}

START_TEST(a_per_thread_stream_is_used_on_its_thread_only) {
  ab_stream stream;
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, tell_own, &stream), 0);
  pthread_join(thread, NULL);
  expect_refused(&stream, "own thread");
}
END_TEST

START_TEST(a_stream_of_another_device_is_refused) {
  use(1);
  const ab_stream stream = stream_of(left, 1);
  expect_refused(&stream, "another CUDA context");
}
END_TEST

/* ------------------------------------------------------------------ foreign contexts */

static CUcontext foreign_context(void) {
  CUcontext made = NULL;
  OK(cuCtxCreate(&made, NULL, 0, 0));
  OK(cuCtxPopCurrent(&made));
  return made;
}

START_TEST(a_stream_of_a_foreign_context_is_used_only_if_that_is_said) {
  const CUcontext foreign = foreign_context();
  const CUstream handle = new_stream(foreign, CU_STREAM_NON_BLOCKING);
  ab_stream stream = stream_of(handle, 0);
  expect_refused(&stream, "another CUDA context");
  stream.native_context = foreign;
  void *const event = record(&stream);
  int32_t done = 0;
  const ab_stream to = stream_of(left, 0);
  ck_assert_int_eq(cuda->event_wait(on(&to), event), AB_OK);
  ck_assert_int_eq(cuda->event_wait(on(NULL), event), AB_OK);
  ck_assert_int_eq(cuda->event_query(on(NULL), event, &done), AB_OK);
  ck_assert_int_eq(done, 1);
  cuda->event_release(on(NULL), event);
  ck_assert_uint_eq(sim_calls("cuEventDestroy"), 1);  // nothing of ours stays there
  ab_stream not_it = stream_of(left, 0);
  not_it.native_context = foreign;
  expect_refused(&not_it, "the one that is given");
  sim_run_all();
  OK(cuCtxDestroy(foreign));
}
END_TEST

START_TEST(an_event_of_a_foreign_context_may_outlive_it) {
  const CUcontext foreign = foreign_context();
  ab_stream stream = stream_of(new_stream(foreign, CU_STREAM_NON_BLOCKING), 0);
  stream.native_context = foreign;
  void *const event = record(&stream);
  sim_run_all();
  OK(cuCtxDestroy(foreign));
  const int64_t before = ab__allocation_count();
  cuda->event_release(on(NULL), event);
  ck_assert_int_eq(ab__allocation_count(), before - 1);
  sim_fault_clear();  // destroying what is gone is an error that is expected here
}
END_TEST

START_TEST(the_callers_context_is_current_afterwards) {
  const CUcontext foreign = foreign_context(), others[] = {foreign, context, NULL};
  const ab_stream stream = stream_of(left, 0);
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    CUcontext now = NULL;
    OK(cuCtxSetCurrent(others[i]));
    const int depth = sim_context_depth();
    void *const event = record(&stream);
    int32_t done;
    ck_assert_int_eq(cuda->event_query(on(NULL), event, &done), AB_OK);
    ck_assert_int_eq(cuda->event_wait(on(&stream), event), AB_OK);
    ck_assert_int_eq(cuda->stream_finish(on(&stream)), AB_OK);
    cuda->event_release(on(NULL), event);
    OK(cuCtxGetCurrent(&now));
    ck_assert_ptr_eq(now, others[i]);
    ck_assert_int_eq(sim_context_depth(), depth);
  }
  OK(cuCtxDestroy(foreign));
}
END_TEST

/* ------------------------------------------------------------------ captures */

/* With `stream` current capturing in `mode`: nothing of ours breaks it, nothing of ours goes into it. */
static void expect_capture_survives(CUstreamCaptureMode mode) {
  const ab_stream captured = stream_of(left, 0), free_one = stream_of(right, 0);
  void *const before = record(&free_one);
  OK(cuCtxSetCurrent(context));
  OK(sim_begin_capture(left, mode));
  void *event = NULL;
  ck_assert_int_eq(cuda->event_record(on(&captured), &event), AB_STREAM);
  ck_assert_int_eq(cuda->event_wait(on(&captured), before), AB_STREAM);
  ck_assert_int_eq(cuda->stream_finish(on(&captured)), AB_STREAM);
  ab_memory memory = device_memory(0, 0, 16);
  ck_assert_int_eq(cuda->allocate(on(&captured), &memory), AB_STREAM);
  int32_t done = 0;
  for (int i = 0; i < 3; i++) ck_assert_int_eq(cuda->event_query(on(NULL), before, &done), AB_OK);
  ck_assert_int_eq(done, 1);
  ck_assert_int_eq(cuda->event_wait(on(NULL), before), AB_OK);
  void *const during = record(&free_one);
  ab_stream state = captured;
  ck_assert_int_eq(cuda->stream_state(on(NULL), &state), AB_OK);
  ck_assert_uint_eq(state.flags, AB_STREAM_CAPTURING | AB_STREAM_NONBLOCKING);
  ck_assert_uint_ne(state.capture_id, 0);
  OK(sim_end_capture(left));
  OK(cuCtxSetCurrent(NULL));
  cuda->event_release(on(NULL), before);
  cuda->event_release(on(NULL), during);
  ck_assert_int_eq(cuda->stream_state(on(NULL), &state), AB_OK);
  ck_assert_uint_eq(state.flags, AB_STREAM_NONBLOCKING);
  ck_assert_uint_eq(state.capture_id, 0);
}

START_TEST(a_capture_survives) {
  expect_capture_survives(CU_STREAM_CAPTURE_MODE_GLOBAL);
  expect_capture_survives(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  expect_capture_survives(CU_STREAM_CAPTURE_MODE_RELAXED);
}
END_TEST

START_TEST(memory_may_come_and_go_while_another_stream_captures) {
  const ab_stream free_one = stream_of(right, 0);
  ab_memory plain = device_memory(0, 0, 64), pooled = plain, pinned = memory_at(kDLCUDAHost, 0, NULL, 64);
  pinned.flags = AB_MEMORY_PINNED;
  OK(sim_begin_capture(left, CU_STREAM_CAPTURE_MODE_GLOBAL));
  ck_assert_int_eq(cuda->allocate(on(NULL), &plain), AB_OK);
  ck_assert_int_eq(cuda->allocate(on(&free_one), &pooled), AB_OK);
  ck_assert_int_eq(cuda->allocate(on(NULL), &pinned), AB_OK);
  ck_assert_int_eq(cuda->deallocate(on(NULL), &plain), AB_OK);
  ck_assert_int_eq(cuda->deallocate(on(&free_one), &pooled), AB_OK);
  ck_assert_int_eq(cuda->deallocate(on(NULL), &pinned), AB_OK);
  OK(sim_end_capture(left));
}
END_TEST

START_TEST(the_legacy_stream_is_not_used_while_a_stream_that_blocks_with_it_captures) {
  const CUstream blocking = new_stream(context, CU_STREAM_DEFAULT);
  ab_stream legacy = default_stream(AB_STREAM_LEGACY, 0);
  OK(sim_begin_capture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
  expect_refused(&legacy, "captured");
  ck_assert_int_eq(cuda->stream_state(on(NULL), &legacy), AB_OK);
  ck_assert_uint_eq(legacy.flags, AB_STREAM_CAPTURING);
  const uint8_t none[16] = {0};
  void *event = NULL;
  ck_assert_int_eq(ab__cuda_event_record_context((DLDevice){kDLCUDA, 0}, none, &event, fresh_error()), AB_UNSUPPORTED);
  OK(sim_end_capture(blocking));
}
END_TEST

/* ------------------------------------------------------------------ the state of a stream */

START_TEST(state_tells_a_recycled_handle_from_the_old_one) {
  ab_stream old = stream_of(left, 0);
  ck_assert_int_eq(cuda->stream_state(on(NULL), &old), AB_OK);
  drop_stream(context, left);
  left = new_stream(context, CU_STREAM_DEFAULT);
  ab_stream now = stream_of(left, 0);
  now.flags = AB_STREAM_NONBLOCKING | AB_STREAM_BORROWED;
  ck_assert_int_eq(cuda->stream_state(on(NULL), &now), AB_OK);
  ck_assert_ptr_eq(now.handle, old.handle);
  ck_assert_uint_ne(now.id, old.id);
  ck_assert_uint_ne(old.id, 0);
  ck_assert_uint_eq(old.flags, AB_STREAM_NONBLOCKING);
  ck_assert_uint_eq(now.flags, AB_STREAM_BORROWED);
}
END_TEST

START_TEST(our_streams_do_not_block_and_have_an_id) {
  ab_stream one, two;
  ck_assert_int_eq(ab__cuda_stream_new((DLDevice){kDLCUDA, 0}, &one, fresh_error()), AB_OK);
  ck_assert_int_eq(ab__cuda_stream_new((DLDevice){kDLCUDA, 1}, &two, fresh_error()), AB_OK);
  ck_assert_uint_eq(one.flags, AB_STREAM_NONBLOCKING | AB_STREAM_IMMORTAL);
  ck_assert_uint_ne(one.id, two.id);
  ck_assert_mem_ne(one.device_uuid, two.device_uuid, sizeof one.device_uuid);
  ab_stream state = one;
  ck_assert_int_eq(cuda->stream_state(on(NULL), &state), AB_OK);
  ck_assert_mem_eq(&state, &one, sizeof state);
  const ab_stream from = stream_of(left, 0);
  ck_assert(is_ordered(&from, &one, left, one.handle, 11));
}
END_TEST

/* ------------------------------------------------------------------ whole contexts */

START_TEST(an_event_of_the_context_covers_undeclared_streams) {
  const uint8_t none[16] = {0};
  void *event = NULL;
  int32_t done = 1;
  OK(sim_hold(right));
  ck_assert_int_eq(ab__cuda_event_record_context((DLDevice){kDLCUDA, 0}, none, &event, fresh_error()), AB_OK);
  for (int i = 0; i < 5; i++) ck_assert_int_eq(cuda->event_query(on(NULL), event, &done), AB_OK);
  ck_assert_int_eq(done, 0);
  OK(sim_let_go(right));
  ck_assert_int_eq(cuda->event_wait(on(NULL), event), AB_OK);
  cuda->event_release(on(NULL), event);
}
END_TEST

START_TEST(an_unknown_stream_stands_for_all) {
  const ab_stream all = default_stream(AB_STREAM_UNKNOWN, 0), to = stream_of(left, 0);
  enqueue(right, produce, 13);
  void *const event = record(&all);
  ck_assert_int_eq(cuda->event_wait(on(&to), event), AB_OK);
  cuda->event_release(on(NULL), event);
  enqueue(left, consume, 0);
  sim_run_all();
  ck_assert_int_eq(seen, 13);
  ck_assert_uint_eq(sim_waits(), 0);
  enqueue(left, produce, 14);
  ck_assert_int_eq(cuda->stream_finish(on(&all)), AB_OK);
  ck_assert_uint_eq(report.flags, AB_REPORT_BLOCKED_HOST);
  ck_assert_int_eq(sim_idle(), 1);
  ck_assert_int_eq(cuda->event_wait(on(&all), event), AB_STREAM);  // nobody can be told to wait
}
END_TEST

START_TEST(an_unknown_stream_does_not_break_a_capture_that_can_be_seen) {
  const ab_stream all = default_stream(AB_STREAM_UNKNOWN, 0);
  const CUstream blocking = new_stream(context, CU_STREAM_DEFAULT);
  void *event = NULL;
  OK(sim_begin_capture(blocking, CU_STREAM_CAPTURE_MODE_RELAXED));
  ck_assert_int_eq(cuda->stream_finish(on(&all)), AB_STREAM);
  ck_assert_int_eq(cuda->event_record(on(&all), &event), AB_UNSUPPORTED);
  OK(sim_end_capture(blocking));
}
END_TEST

START_TEST(an_older_driver_has_no_events_of_contexts) {
  const ab_stream all = default_stream(AB_STREAM_UNKNOWN, 0);
  void *event = NULL;
  sim_driver_version(12040);
  ck_assert_int_eq(ab__cuda_event_record_context((DLDevice){kDLCUDA, 0}, NULL, &event, fresh_error()), AB_UNSUPPORTED);
  ck_assert_msg(strstr(error.text, "12.5") != NULL, "%s", error.text);
  ck_assert_int_eq(cuda->event_record(on(&all), &event), AB_UNSUPPORTED);
  ck_assert_int_eq(cuda->stream_finish(on(&all)), AB_OK);
  ck_assert_ptr_null(event);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("cuda_order");
  TCase *const tests = unit_case(suite, "cuda_order", setup_streams, teardown);
  tcase_add_test(tests, without_an_event_the_consumer_reads_too_early);
  tcase_add_test(tests, a_stream_waits_for_an_event_of_another);
  tcase_add_test(tests, default_streams_are_ordered_against_non_blocking_ones);
  tcase_add_test(tests, a_wait_crosses_devices);
  tcase_add_test(tests, a_query_never_waits);
  tcase_add_test(tests, the_host_waits_only_where_it_is_asked_to);
  tcase_add_test(tests, events_are_used_again_and_letting_go_calls_no_driver);
  tcase_add_test(tests, a_stream_still_waits_for_an_event_that_is_used_again);
  tcase_add_test(tests, threads_share_the_pool);
  tcase_add_test(tests, no_memory_for_an_event_is_out_of_memory);
  tcase_add_test(tests, an_order_between_streams_costs_eight_calls);
  tcase_add_test(tests, a_bare_number_is_no_stream);
  tcase_add_test(tests, a_per_thread_stream_is_used_on_its_thread_only);
  tcase_add_test(tests, a_stream_of_another_device_is_refused);
  tcase_add_test(tests, a_stream_of_a_foreign_context_is_used_only_if_that_is_said);
  tcase_add_test(tests, an_event_of_a_foreign_context_may_outlive_it);
  tcase_add_test(tests, the_callers_context_is_current_afterwards);
  tcase_add_test(tests, a_capture_survives);
  tcase_add_test(tests, memory_may_come_and_go_while_another_stream_captures);
  tcase_add_test(tests, the_legacy_stream_is_not_used_while_a_stream_that_blocks_with_it_captures);
  tcase_add_test(tests, state_tells_a_recycled_handle_from_the_old_one);
  tcase_add_test(tests, our_streams_do_not_block_and_have_an_id);
  tcase_add_test(tests, an_event_of_the_context_covers_undeclared_streams);
  tcase_add_test(tests, an_unknown_stream_stands_for_all);
  tcase_add_test(tests, an_unknown_stream_does_not_break_a_capture_that_can_be_seen);
  tcase_add_test(tests, an_older_driver_has_no_events_of_contexts);
  return suite;
}
