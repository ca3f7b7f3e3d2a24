/* SPDX-License-Identifier: MIT
 * The simulated driver's order of things: streams, events, the scheduler, host functions, threads. */
#include "simulated.h"

/* ------------------------------------------------------------------ streams */

/* What a consumer on another stream sees of a producer's write. */
static int seen_by_consumer(CUstream producer, CUstream consumer, int waits) {
  const CUdeviceptr made = new_memory(BYTES), seen = new_memory(BYTES);
  byte_kernel write = {made, 0, 7}, read = {seen, made, 0};
  const CUevent event = new_event();
  OK(launch_byte(&write, producer));
  OK(cuEventRecord(event, producer));
  if (waits) OK(cuStreamWaitEvent(consumer, event, 0));
  OK(launch_byte(&read, consumer));
  OK(cuCtxSynchronize());
  return byte_at(seen);
}

START_TEST(consumer_without_a_wait_reads_before_the_producer_wrote) {
  ck_assert_int_eq(seen_by_consumer(side_stream(), side_stream(), 0), SIM_POISON);
  ck_assert_int_eq(seen_by_consumer(CU_STREAM_LEGACY, side_stream(), 0), SIM_POISON);
  ck_assert_int_eq(seen_by_consumer(side_stream(), NULL, 0), SIM_POISON);
  ck_assert_int_eq(seen_by_consumer(new_stream(0), new_stream(0), 0), SIM_POISON);
  assert_no_fault();
}
END_TEST

START_TEST(consumer_with_a_wait_reads_what_was_written) {
  for (int policy = SIM_CONSUMERS_FIRST; policy <= SIM_MIXED; ++policy) {
    sim_policy((sim_policy_kind)policy);
    ck_assert_int_eq(seen_by_consumer(side_stream(), side_stream(), 1), 7);
    ck_assert_int_eq(seen_by_consumer(NULL, side_stream(), 1), 7);
  }
  assert_no_fault();
}
END_TEST

START_TEST(legacy_stream_couples_blocking_streams_only) {
  ck_assert_int_eq(seen_by_consumer(CU_STREAM_LEGACY, new_stream(0), 0), 7);
  ck_assert_int_eq(seen_by_consumer(new_stream(0), NULL, 0), 7);
  ck_assert_int_eq(seen_by_consumer(CU_STREAM_PER_THREAD, NULL, 0), 7);
  ck_assert_int_eq(seen_by_consumer(CU_STREAM_PER_THREAD, new_stream(0), 0), SIM_POISON);
}
END_TEST

START_TEST(nothing_runs_when_it_is_enqueued) {
  const CUdeviceptr memory = new_memory(BYTES);
  byte_kernel write = {memory, 0, 7};
  OK(launch_byte(&write, side_stream()));
  ck_assert_int_eq(byte_at(memory), SIM_POISON);
  ck_assert(!sim_idle());
  ck_assert(!sim_check());
  ck_assert(sim_step());
  ck_assert_int_eq(byte_at(memory), 7);
  ck_assert(sim_check());
  ck_assert(!sim_step());
}
END_TEST

START_TEST(waits_of_the_host_wait_for_one_stream) {
  char list[8] = "";
  letter_kernel a = {list, 'a'}, b = {list, 'b'};
  const CUstream first = side_stream(), second = side_stream();
  sim_policy(SIM_ONLY_NEEDED);
  launch_letter(&a, first);
  launch_letter(&b, second);
  OK(cuStreamSynchronize(first));
  ck_assert_str_eq(list, "a");
  OK(cuCtxSynchronize());
  ck_assert_str_eq(list, "ab");
  ck_assert_int_eq(sim_waits(), 2);
}
END_TEST

static void *per_thread_id(void *context) {
  CUcontext primary = NULL;
  OK(cuDevicePrimaryCtxRetain(&primary, 0));
  OK(cuCtxPushCurrent(primary));
  OK(cuStreamGetId(CU_STREAM_PER_THREAD, context));
  return NULL;
}

START_TEST(each_thread_has_its_own_default_stream) {
  unsigned long long here = 0, there = 0, again = 0;
  pthread_t thread;
  OK(cuStreamGetId(CU_STREAM_PER_THREAD, &here));
  ck_assert_int_eq(pthread_create(&thread, NULL, per_thread_id, &there), 0);
  pthread_join(thread, NULL);
  OK(cuStreamGetId(CU_STREAM_PER_THREAD, &again));
  ck_assert(here != there);
  ck_assert(here == again);
}
END_TEST

static void *works_on_its_default_stream(void *context) {
  CUcontext primary = NULL;
  OK(cuDevicePrimaryCtxRetain(&primary, 0));
  OK(cuCtxPushCurrent(primary));
  launch_letter(context, CU_STREAM_PER_THREAD);
  return NULL;
}

START_TEST(work_outlives_its_thread) {
  char list[8] = "";
  letter_kernel a = {list, 'a'};
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, works_on_its_default_stream, &a), 0);
  pthread_join(thread, NULL);
  ck_assert_str_eq(list, "");
  OK(cuCtxSynchronize());
  ck_assert_str_eq(list, "a");
}
END_TEST

START_TEST(handles_are_recycled_and_ids_are_not) {
  const CUstream before = side_stream();
  unsigned long long first = 0, second = 0;
  OK(cuStreamGetId(before, &first));
  OK(cuStreamDestroy(before));
  const CUstream after = side_stream();
  OK(cuStreamGetId(after, &second));
  ck_assert_ptr_eq(before, after);
  ck_assert(first != second);
  const CUevent event = new_event();
  OK(cuEventDestroy(event));
  ck_assert_ptr_eq(new_event(), event);
}
END_TEST

START_TEST(destroyed_handles_are_a_fault) {
  const CUstream stream = side_stream();
  OK(cuStreamDestroy(stream));
  FAILS(cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
  assert_fault("handle: cuStreamSynchronize");
  sim_fault_clear();
  const CUevent event = new_event();
  OK(cuEventDestroy(event));
  FAILS(cuEventQuery(event), CUDA_ERROR_INVALID_HANDLE);
  assert_fault("handle: cuEventQuery");
}
END_TEST

START_TEST(destroyed_streams_finish_their_work) {
  const CUdeviceptr memory = new_memory(BYTES);
  byte_kernel write = {memory, 0, 7};
  const CUstream stream = side_stream();
  OK(launch_byte(&write, stream));
  OK(cuStreamDestroy(stream));
  ck_assert_ptr_eq(side_stream(), stream);
  OK(cuCtxSynchronize());
  ck_assert_int_eq(byte_at(memory), 7);
}
END_TEST

/* ------------------------------------------------------------------ events */

START_TEST(events_are_snapshots) {
  char list[8] = "";
  letter_kernel a = {list, 'a'}, b = {list, 'b'};
  const CUstream stream = side_stream();
  const CUevent event = new_event();
  OK(cuEventQuery(event));
  launch_letter(&a, stream);
  OK(cuEventRecord(event, stream));
  launch_letter(&b, stream);
  OK(cuEventSynchronize(event));
  ck_assert_str_eq(list, "a");
  OK(cuEventRecord(event, stream));
  OK(cuEventSynchronize(event));
  ck_assert_str_eq(list, "ab");
}
END_TEST

START_TEST(a_later_record_replaces_the_earlier) {
  const CUstream busy = side_stream(), other = side_stream();
  const CUevent event = new_event();
  OK(sim_hold(busy));
  OK(cuEventRecord(event, busy));
  OK(cuEventRecord(event, other));
  OK(cuEventSynchronize(event));
  OK(cuEventQuery(event));
  assert_no_fault();
}
END_TEST

START_TEST(later_records_do_not_move_a_wait) {
  char list[8] = "";
  letter_kernel a = {list, 'a'}, b = {list, 'b'}, c = {list, 'c'};
  const CUstream producer = side_stream(), consumer = side_stream();
  const CUevent event = new_event();
  launch_letter(&a, producer);
  OK(cuEventRecord(event, producer));
  OK(cuStreamWaitEvent(consumer, event, 0));
  launch_letter(&b, producer);
  OK(cuEventRecord(event, producer));
  launch_letter(&c, consumer);
  OK(cuStreamSynchronize(consumer));
  ck_assert_str_eq(list, "ac");
}
END_TEST

START_TEST(polls_run_one_operation_each) {
  char list[8] = "";
  letter_kernel a = {list, 'a'}, b = {list, 'b'};
  const CUstream stream = side_stream(), other = side_stream();
  const CUevent event = new_event();
  launch_letter(&a, stream);
  OK(cuEventRecord(event, stream));
  launch_letter(&b, other);
  FAILS(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  ck_assert_str_eq(list, "b");
  FAILS(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  ck_assert_str_eq(list, "ba");
  OK(cuEventQuery(event));
  ck_assert_int_eq(sim_waits(), 0);
}
END_TEST

START_TEST(events_that_only_the_host_asks_about_come_last) {
  char list[8] = "";
  letter_kernel a = {list, 'a'}, b = {list, 'b'}, c = {list, 'c'};
  const CUstream others = side_stream(), stream = side_stream();
  const CUevent event = new_event();
  for (letter_kernel *const *at = (letter_kernel *[]){&a, &b, &c, NULL}; *at != NULL; ++at) launch_letter(*at, others);
  OK(cuEventRecord(event, stream));
  for (int i = 0; i < 3; ++i) FAILS(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  ck_assert_str_eq(list, "abc");
  OK(cuEventQuery(event));
}
END_TEST

START_TEST(context_events_cover_all_streams) {
  char list[8] = "";
  letter_kernel a = {list, 'a'}, b = {list, 'b'}, c = {list, 'c'};
  const CUstream first = side_stream(), second = side_stream();
  const CUevent event = new_event();
  CUcontext context = NULL;
  OK(cuCtxGetCurrent(&context));
  launch_letter(&a, first);
  launch_letter(&b, second);
  OK(cuCtxRecordEvent(context, event));
  sim_policy(SIM_ONLY_NEEDED);
  launch_letter(&c, first);
  OK(cuEventSynchronize(event));
  ck_assert_int_eq(strlen(list), 2);
  ck_assert_ptr_null(strchr(list, 'c'));
  sim_driver_version(12040);
  FAILS(cuCtxRecordEvent(context, event), CUDA_ERROR_NOT_SUPPORTED);
}
END_TEST

/* ------------------------------------------------------------------ the scheduler */

enum { LETTERS = 6, LETTER_STREAMS = 3 };

static void order_of(sim_policy_kind policy, uint64_t seed, char list[2 * LETTERS]) {
  letter_kernel kernels[LETTERS];
  CUstream streams[LETTER_STREAMS];
  sim_reset(seed, 1, MEMORY);
  use_device(0);
  sim_policy(policy);
  for (int i = 0; i < LETTER_STREAMS; ++i) streams[i] = side_stream();
  memset(list, 0, 2 * LETTERS);
  for (int i = 0; i < LETTERS; ++i) {
    kernels[i] = (letter_kernel){list, (char)('a' + i)};
    launch_letter(&kernels[i], streams[i % LETTER_STREAMS]);
  }
  sim_run_all();
}

START_TEST(policies_choose_the_order) {
  char list[2 * LETTERS];
  order_of(SIM_CONSUMERS_FIRST, 1, list);
  ck_assert_str_eq(list, "cfbead");
  order_of(SIM_PRODUCERS_FIRST, 1, list);
  ck_assert_str_eq(list, "adbecf");
}
END_TEST

START_TEST(the_seed_decides) {
  char first[2 * LETTERS], second[2 * LETTERS];
  int differ = 0;
  for (int policy = SIM_RANDOM; policy <= SIM_MIXED; ++policy)
    for (uint64_t seed = 0; seed < 20; ++seed) {
      order_of((sim_policy_kind)policy, seed, first);
      order_of((sim_policy_kind)policy, seed, second);
      ck_assert_str_eq(first, second);
      order_of((sim_policy_kind)policy, seed + 1, second);
      differ += strcmp(first, second) != 0;
    }
  ck_assert_int_gt(differ, 20);
}
END_TEST

START_TEST(weights_go_before_policies) {
  char list[8] = "";
  letter_kernel a = {list, 'a'}, b = {list, 'b'};
  const CUstream heavy = side_stream(), light = side_stream();
  for (int policy = SIM_CONSUMERS_FIRST; policy <= SIM_MIXED; ++policy) {
    sim_policy((sim_policy_kind)policy);
    OK(sim_weight(heavy, 1));
    list[0] = '\0';
    launch_letter(&a, heavy);
    launch_letter(&b, light);
    sim_run_all();
    ck_assert_str_eq(list, "ab");
  }
}
END_TEST

START_TEST(a_wait_that_cannot_end_is_a_deadlock) {
  char list[8] = "";
  letter_kernel a = {list, 'a'};
  const CUstream busy = side_stream(), other = side_stream();
  const CUevent event = new_event();
  OK(sim_hold(busy));
  OK(cuEventRecord(event, busy));
  OK(cuStreamWaitEvent(other, event, 0));
  launch_letter(&a, other);
  FAILS(cuEventQuery(event), CUDA_ERROR_NOT_READY);
  assert_no_fault();
  FAILS(cuStreamSynchronize(other), CUDA_ERROR_TIMEOUT);
  assert_fault("deadlock: cuStreamSynchronize waits for what can never run: a gate");
  OK(sim_let_go(busy));
  FAILS(sim_let_go(busy), CUDA_ERROR_INVALID_VALUE);
  OK(cuStreamSynchronize(other));
  ck_assert_str_eq(list, "a");
}
END_TEST

START_TEST(reseeding_keeps_everything_but_counts_and_faults) {
  const CUstream stream = side_stream();
  FAILS(cuMemFree(12345), CUDA_ERROR_INVALID_VALUE);
  ck_assert_int_eq(sim_faults(), 1);
  sim_reseed(9);
  assert_no_fault();
  ck_assert_int_eq(sim_calls(NULL), 0);
  OK(cuStreamQuery(stream));
  ck_assert_int_eq(sim_calls("cuStreamQuery"), 1);
}
END_TEST

/* ------------------------------------------------------------------ host functions */

typedef struct host_note {
  CUresult result;
  int in_callback;
  pthread_t thread;
} host_note;

static void call_the_driver(void *context) {
  host_note *const note = context;
  size_t available, total;
  note->thread = pthread_self();
  note->in_callback = sim_in_callback();
  note->result = cuMemGetInfo(&available, &total);
}

START_TEST(host_functions_may_not_call_the_driver) {
  host_note note = {.result = CUDA_SUCCESS};
  OK(cuLaunchHostFunc(side_stream(), call_the_driver, &note));
  OK(cuCtxSynchronize());
  FAILS(note.result, CUDA_ERROR_NOT_PERMITTED);
  ck_assert_int_eq(note.in_callback, 1);
  ck_assert(!pthread_equal(note.thread, pthread_self()));
  ck_assert(!sim_in_callback());
  assert_fault("callback: cuMemGetInfo");
}
END_TEST

static void launch_from_callback(void *context) { *(CUresult *)context = sim_launch(NULL, NULL, NULL, NULL, 0); }

START_TEST(host_functions_may_not_launch_kernels) {
  CUresult result = CUDA_SUCCESS;
  OK(cuLaunchHostFunc(side_stream(), launch_from_callback, &result));
  OK(cuCtxSynchronize());
  FAILS(result, CUDA_ERROR_NOT_PERMITTED);
  assert_fault("callback: ");
}
END_TEST

static void CUDA_CB note_status(CUstream stream, CUresult status, void *context) {
  (void)stream;
  *(CUresult *)context = status;
}

START_TEST(stream_callbacks_are_told_the_status) {
  CUresult status = CUDA_ERROR_UNKNOWN;
  const CUstream stream = side_stream();
  OK(cuStreamAddCallback(stream, note_status, &status, 0));
  FAILS(status, CUDA_ERROR_UNKNOWN);
  OK(cuStreamSynchronize(stream));
  OK(status);
  assert_no_fault();
}
END_TEST

START_TEST(kernels_may_not_call_the_driver) {
  host_note note = {.result = CUDA_SUCCESS};
  OK(sim_launch(NULL, call_the_driver, &note, NULL, 0));
  OK(cuCtxSynchronize());
  FAILS(note.result, CUDA_ERROR_NOT_PERMITTED);
  assert_fault("callback: cuMemGetInfo was called inside a kernel");
}
END_TEST

/* ------------------------------------------------------------------ threads and processes */

enum { ROUNDS = 200, THREADS = 4 };

static void *works_on_its_own(void *context) {
  CUcontext primary = NULL;
  OK(cuDevicePrimaryCtxRetain(&primary, 0));
  OK(cuCtxPushCurrent(primary));
  const CUstream stream = side_stream();
  const CUdeviceptr memory = new_memory(BYTES);
  byte_kernel write = {memory, 0, 0};
  for (int i = 0; i < ROUNDS; ++i) {
    write.value = (unsigned char)i;
    OK(launch_byte(&write, stream));
    OK(cuStreamSynchronize(stream));
    ck_assert_int_eq(byte_at(memory), i % 256);
  }
  OK(cuMemFree(memory));
  OK(cuStreamDestroy(stream));
  OK(cuCtxPopCurrent(NULL));
  OK(cuDevicePrimaryCtxRelease(0));
  return context;
}

START_TEST(threads_share_a_device) {
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; ++i) ck_assert_int_eq(pthread_create(&threads[i], NULL, works_on_its_own, NULL), 0);
  for (int i = 0; i < THREADS; ++i) pthread_join(threads[i], NULL);
  ck_assert(sim_check());
  ck_assert_int_eq(sim_context_depth(), 1);
}
END_TEST

static int driver_in_a_child(void) {
  int device = 0;
  if (cuDeviceGetCount(&device) != CUDA_ERROR_NOT_INITIALIZED || cuInit(0) != CUDA_ERROR_NOT_INITIALIZED) return 1;
  sim_reset(1, 3, MEMORY);
  if (cuInit(0) != CUDA_SUCCESS || cuDeviceGetCount(&device) != CUDA_SUCCESS) return 2;
  return device == 3 ? 0 : 3;
}

START_TEST(a_forked_child_must_begin_anew) {
  const pid_t child = fork();
  if (child == 0) _exit(driver_in_a_child());
  int status = 1;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_int_eq(status, 0);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("simulated driver");
  TCase *const streams = unit_case(suite, "streams", two_devices, NULL);
  tcase_add_test(streams, consumer_without_a_wait_reads_before_the_producer_wrote);
  tcase_add_test(streams, consumer_with_a_wait_reads_what_was_written);
  tcase_add_test(streams, legacy_stream_couples_blocking_streams_only);
  tcase_add_test(streams, nothing_runs_when_it_is_enqueued);
  tcase_add_test(streams, waits_of_the_host_wait_for_one_stream);
  tcase_add_test(streams, each_thread_has_its_own_default_stream);
  tcase_add_test(streams, work_outlives_its_thread);
  tcase_add_test(streams, handles_are_recycled_and_ids_are_not);
  tcase_add_test(streams, destroyed_handles_are_a_fault);
  tcase_add_test(streams, destroyed_streams_finish_their_work);
  TCase *const events = unit_case(suite, "events", two_devices, NULL);
  tcase_add_test(events, events_are_snapshots);
  tcase_add_test(events, a_later_record_replaces_the_earlier);
  tcase_add_test(events, later_records_do_not_move_a_wait);
  tcase_add_test(events, polls_run_one_operation_each);
  tcase_add_test(events, events_that_only_the_host_asks_about_come_last);
  tcase_add_test(events, context_events_cover_all_streams);
  TCase *const scheduler = unit_case(suite, "scheduler", two_devices, NULL);
  tcase_add_test(scheduler, policies_choose_the_order);
  tcase_add_test(scheduler, the_seed_decides);
  tcase_add_test(scheduler, weights_go_before_policies);
  tcase_add_test(scheduler, a_wait_that_cannot_end_is_a_deadlock);
  tcase_add_test(scheduler, reseeding_keeps_everything_but_counts_and_faults);
  TCase *const hosts = unit_case(suite, "host functions and threads", two_devices, NULL);
  tcase_add_test(hosts, host_functions_may_not_call_the_driver);
  tcase_add_test(hosts, host_functions_may_not_launch_kernels);
  tcase_add_test(hosts, stream_callbacks_are_told_the_status);
  tcase_add_test(hosts, kernels_may_not_call_the_driver);
  tcase_add_test(hosts, threads_share_a_device);
  tcase_add_test(hosts, a_forked_child_must_begin_anew);
  return suite;
}
