/* SPDX-License-Identifier: MIT
 * Opening the CUDA driver (a simulated one): when, which devices, what the life of the process does to it. */
#include <arraybridge/arraybridge.h>

#include "device/cuda_internal.h"
#include "simulated_cuda.h"

static ab_status finish(int device) {
  const ab_stream stream = default_stream(AB_STREAM_LEGACY, device);
  return cuda->stream_finish(on(&stream));
}

START_TEST(nothing_is_called_before_a_device_is_asked_for) {
  ab_bridge *bridge = NULL;
  ck_assert_int_eq(ab_bridge_new(NULL, &bridge, NULL), AB_OK);
  ck_assert_int_eq(ab_bridge_discover(bridge, NULL), AB_OK);
  (void)ab_bridge_prepare(bridge, NULL);
  int pinned = 1;
  ck_assert_int_eq(ab__cuda_pinned(&pinned, sizeof pinned, &pinned, NULL), AB_OK);
  ck_assert_int_eq(pinned, 0);
  ck_assert_int_eq(ab__cuda_check_pointer(NULL, 0, (DLDevice){kDLCUDA, 0}, NULL, NULL), AB_OK);
  ck_assert_int_eq(ab__cuda_loaded(), 0);
  ck_assert_uint_eq(sim_calls(NULL), 0);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(the_driver_is_initialised_once) {
  use(0);
  const uint64_t before = sim_calls("cuInit");
  for (int i = 0; i < 3; i++) ck_assert_int_eq(finish(0), AB_OK);
  ck_assert_int_eq(ab__cuda_loaded(), 1);
  ck_assert_uint_eq(sim_calls("cuInit"), before + 1);
  ck_assert_uint_eq(sim_calls("cuDeviceGetCount"), 1);
}
END_TEST

START_TEST(a_device_that_is_not_there_is_named) {
  use(0);
  ck_assert_int_eq(finish(7), AB_NO_DEVICE);
  ck_assert_ptr_nonnull(strstr(error.text, "cuda:7"));
  ck_assert_int_eq(finish(-1), AB_NO_DEVICE);
  const ab_stream other = {.struct_size = sizeof other, .kind = AB_STREAM_LEGACY, .device = {kDLROCM, 0}};
  ck_assert_int_eq(cuda->stream_finish(on(&other)), AB_UNSUPPORTED);
}
END_TEST

START_TEST(the_uuid_decides_which_device_is_meant) {
  CUuuid uuid;
  use(0);
  use(1);
  OK(cuDeviceGetUuid(&uuid, 1));
  ab_stream stream = default_stream(AB_STREAM_LEGACY, 0);
  memcpy(stream.device_uuid, uuid.bytes, sizeof stream.device_uuid);
  void *event = NULL;
  ck_assert_int_eq(cuda->event_record(on(&stream), &event), AB_OK);
  ck_assert_int_eq(sim_retained(0), 1);
  ck_assert_int_eq(sim_retained(1), 2);
  cuda->event_release(on(NULL), event);
  stream.device_uuid[3] ^= 0x55;
  ck_assert_int_eq(cuda->stream_finish(on(&stream)), AB_NO_DEVICE);
  ck_assert_ptr_nonnull(strstr(error.text, "UUID"));
}
END_TEST

START_TEST(a_sleeping_device_is_not_woken) {
  use(0);
  const CUstream handle = new_stream(use(0), CU_STREAM_NON_BLOCKING);
  const ab_stream asleep = default_stream(AB_STREAM_LEGACY, 1), wrong = stream_of(handle, 1);
  const uint8_t none[16] = {0};
  uint64_t left = 0, total = 0;
  void *event = NULL;
  ab_stream state = asleep;
  ck_assert_int_eq(cuda->event_record(on(&asleep), &event), AB_UNSUPPORTED);
  ck_assert_ptr_nonnull(strstr(error.text, "nobody uses cuda:1"));
  ck_assert_int_eq(cuda->event_record(on(&wrong), &event), AB_UNSUPPORTED);
  ck_assert_int_eq(cuda->stream_finish(on(&asleep)), AB_UNSUPPORTED);
  ck_assert_int_eq(cuda->stream_state(on(&asleep), &state), AB_UNSUPPORTED);
  ck_assert_int_eq(ab__cuda_memory_info((DLDevice){kDLCUDA, 1}, &left, &total, NULL), AB_UNSUPPORTED);
  ck_assert_int_eq(ab__cuda_event_record_context((DLDevice){kDLCUDA, 1}, none, &event, NULL), AB_UNSUPPORTED);
  ck_assert_int_eq(ab__cuda_check_pointer(&left, 4, (DLDevice){kDLCUDA, 1}, none, NULL), AB_INVALID_TENSOR);
  ck_assert_int_eq(sim_retained(1), 0);
  ck_assert_ptr_null(event);
}
END_TEST

START_TEST(a_device_that_wakes_later_is_used_then) {
  use(0);
  ck_assert_int_eq(finish(1), AB_UNSUPPORTED);
  use(1);
  ck_assert_int_eq(finish(1), AB_OK);
  ck_assert_int_eq(sim_retained(1), 2);  // the framework's and ours, which stays
  ck_assert_int_eq(finish(1), AB_OK);
  ck_assert_int_eq(sim_retained(1), 2);
}
END_TEST

static int has_no_driver(void) { return finish(0) == AB_UNAVAILABLE ? 0 : 1; }

START_TEST(a_driver_without_devices_is_said_once_and_for_all) {
  sim_fail_call("cuInit", 1, CUDA_ERROR_NO_DEVICE);
  ck_assert_int_eq(finish(0), AB_UNAVAILABLE);
  ck_assert_ptr_nonnull(strstr(error.text, "CUDA_ERROR_NO_DEVICE"));
  ck_assert_int_ne(error.hint[0], '\0');
  const uint64_t calls = sim_calls(NULL);
  ck_assert_int_eq(finish(0), AB_UNAVAILABLE);
  ck_assert_ptr_nonnull(strstr(error.text, "CUDA_ERROR_NO_DEVICE"));
  ck_assert_uint_eq(sim_calls(NULL), calls);
  ck_assert_int_eq(ab__cuda_loaded(), 0);
  ck_assert_int_eq(in_child(has_no_driver), 0);
}
END_TEST

START_TEST(an_error_while_opening_is_told_and_the_next_call_tries_again) {
  static const char *const calls[] = {"cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetUuid",
                                      "cuDeviceGetAttribute"};
  use(0);
  const int64_t before = ab__allocation_count();
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
    sim_fail_call(calls[i], 1, CUDA_ERROR_UNKNOWN);
    ck_assert_int_eq(finish(0), AB_DRIVER);
    ck_assert_msg(strstr(error.text, calls[i]) != NULL, "%s: %s", calls[i], error.text);
    ck_assert_str_eq(error.failure.domain, "cuda");
    ck_assert_int_eq(error.failure.code, CUDA_ERROR_UNKNOWN);
    ck_assert_int_eq(ab__cuda_loaded(), 0);
    ck_assert_int_eq(ab__allocation_count(), before);
  }
  ab__allocation_fail_at(1);
  ck_assert_int_eq(finish(0), AB_OOM);
  ck_assert_int_eq(finish(0), AB_OK);
}
END_TEST

static void *open_it(void *context) {
  (void)context;
  ab_stream stream = default_stream(AB_STREAM_LEGACY, 0);
  ab_report own = {.struct_size = sizeof own};
  ab_error said;
  ab_error_init(&said);
  const ab_call call = ab__device_call(cuda, &stream, &own, &said);
  for (int i = 0; i < 20; i++) ck_assert_int_eq(cuda->stream_finish(&call), AB_OK);
  return NULL;
}

START_TEST(many_threads_may_be_the_first) {
  pthread_t threads[8];
  use(0);
  for (int i = 0; i < 8; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, open_it, NULL), 0);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  ck_assert_int_eq(sim_retained(0), 2);  // a reference too many went back
}
END_TEST

/* ------------------------------------------------------------------ two at once */

/* In the middle of a call another thread comes and does the same: here that is a call within a call. */
static __typeof__(ab__cu.cuDeviceGetCount) get_count;
static __typeof__(ab__cu.cuDevicePrimaryCtxRetain) retain;
static __typeof__(ab__cu.cuStreamCreate) create;

static void other_copies(void) {
  int value = 1;
  ab_memory memory = device_memory(0, 0, sizeof value);
  const ab_memory host = memory_at(kDLCPU, 0, &value, sizeof value);
  ck_assert_int_eq(cuda->allocate(on(NULL), &memory), AB_OK);
  ck_assert_int_eq(cuda->copy(on(NULL), &memory, &host), AB_OK);
  ck_assert_int_eq(cuda->deallocate(on(NULL), &memory), AB_OK);
}

static CUresult met_get_count(int *count) {
  ab__cu.cuDeviceGetCount = get_count;
  ck_assert_int_eq(finish(0), AB_OK);
  return get_count(count);
}

static CUresult met_retain(CUcontext *context, CUdevice device) {
  ab__cu.cuDevicePrimaryCtxRetain = retain;
  ck_assert_int_eq(finish(0), AB_OK);
  return retain(context, device);
}

static CUresult met_create(CUstream *stream, unsigned flags) {
  ab__cu.cuStreamCreate = create;
  other_copies();
  return create(stream, flags);
}

START_TEST(who_comes_second_gives_up_what_is_there_already) {
  use(0);
  sim_fail_call("cuInit", 1, CUDA_ERROR_UNKNOWN);
  ck_assert_int_eq(finish(0), AB_DRIVER);  // the functions are known, the devices are not
  get_count = ab__cu.cuDeviceGetCount;
  retain = ab__cu.cuDevicePrimaryCtxRetain;
  create = ab__cu.cuStreamCreate;
  ab__cu.cuDeviceGetCount = met_get_count;
  const int64_t before = ab__allocation_count();
  ck_assert_int_eq(finish(7), AB_NO_DEVICE);
  ck_assert_int_eq(ab__allocation_count(), before + 1);
  ck_assert_int_eq(finish(0), AB_OK);
  ck_assert_int_eq(sim_retained(0), 2);
  ab__cu.cuStreamCreate = met_create;
  other_copies();
  ck_assert_uint_eq(sim_calls("cuStreamCreate"), 2);
  ck_assert_uint_eq(sim_calls("cuStreamDestroy"), 1);
}
END_TEST

START_TEST(a_second_reference_to_a_context_goes_back) {
  use(0);
  ck_assert_int_eq(finish(7), AB_NO_DEVICE);  // opened
  retain = ab__cu.cuDevicePrimaryCtxRetain;
  ab__cu.cuDevicePrimaryCtxRetain = met_retain;
  ck_assert_int_eq(finish(0), AB_OK);
  ck_assert_uint_eq(sim_calls("cuDevicePrimaryCtxRelease"), 1);
  ck_assert_int_eq(sim_retained(0), 2);
}
END_TEST

/* ------------------------------------------------------------------ fork */

static void *event_of_parent;

static int uses_the_device(void) {
  const uint64_t calls = sim_calls(NULL);
  int32_t done = 0;
  int good = finish(0) == AB_DRIVER && strstr(error.text, "fork") != NULL && strstr(error.hint, "spawn") != NULL;
  good &= cuda->event_query(on(NULL), event_of_parent, &done) == AB_DRIVER;
  cuda->event_release(on(NULL), event_of_parent);
  int pinned = 1;
  good &= ab__cuda_pinned(&good, sizeof good, &pinned, NULL) == AB_OK && pinned == 0;  // host conversions go on
  good &= ab__cuda_check_pointer(&good, 4, (DLDevice){kDLCUDA, 0}, NULL, NULL) == AB_DRIVER;
  return good && sim_calls(NULL) == calls ? 0 : 1;
}

START_TEST(a_child_gets_a_clear_error_and_calls_no_driver) {
  use(0);
  const ab_stream stream = default_stream(AB_STREAM_LEGACY, 0);
  ck_assert_int_eq(cuda->event_record(on(&stream), &event_of_parent), AB_OK);
  ck_assert_int_eq(in_child(uses_the_device), 0);
  cuda->event_release(on(NULL), event_of_parent);
  ck_assert_int_eq(finish(0), AB_OK);
}
END_TEST

static int uses_its_own(void) {
  sim_reset(SEED, DEVICES, DEVICE_BYTES);
  use(0);
  return finish(0) == AB_OK ? 0 : 1;
}

START_TEST(a_child_of_a_parent_that_never_used_cuda_may) { ck_assert_int_eq(in_child(uses_its_own), 0); }
END_TEST

static int is_told_of_fork(void) {
  const ab_status status = finish(0);
  return status == AB_DRIVER && strstr(error.text, "cuInit") != NULL && strstr(error.hint, "spawn") != NULL ? 0 : 1;
}

START_TEST(a_child_of_a_parent_whose_framework_used_cuda_is_told_why) {
  use(0);
  ck_assert_int_eq(in_child(is_told_of_fork), 0);
}
END_TEST

static atomic_int stop;

static void *open_until_stopped(void *context) {
  (void)context;
  while (!atomic_load(&stop)) {
    ab_error said;
    ab_error_init(&said);
    uint64_t left = 0, total = 0;
    sim_fail_call("cuDeviceGetCount", 1, CUDA_ERROR_UNKNOWN);  // so that it never gets there
    (void)ab__cuda_memory_info((DLDevice){kDLCUDA, 0}, &left, &total, &said);
    ab_error_clear(&said);
  }
  return NULL;
}

static int does_not_hang(void) {
  ab_error_clear(&error);
  uint64_t left = 0, total = 0;
  return ab__cuda_memory_info((DLDevice){kDLCUDA, 0}, &left, &total, &error) == AB_DRIVER ? 0 : 1;
}

/* The driver's own lock is not ours to look after: the child calls it no more. */
START_TEST(a_fork_while_another_thread_opens_the_driver_leaves_no_lock_held) {
  use(0);
  uint64_t left = 0, total = 0;
  sim_fail_call("cuDeviceGetCount", 1, CUDA_ERROR_UNKNOWN);
  (void)ab__cuda_memory_info((DLDevice){kDLCUDA, 0}, &left, &total, NULL);  // from here on a child refuses
  ab_bridge *bridge = NULL;
  ck_assert_int_eq(ab_bridge_new(NULL, &bridge, NULL), AB_OK);
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, open_until_stopped, NULL), 0);
  for (int i = 0; i < 100; i++) ck_assert_int_eq(in_child(does_not_hang), 0);
  atomic_store(&stop, 1);
  pthread_join(thread, NULL);
  sim_fail_at(0, CUDA_SUCCESS);
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ the end */

static void *kept;  // what leaks on purpose is still known to a leak checker

START_TEST(after_the_end_nothing_is_called) {
  const ab_stream stream = stream_of(new_stream(use(0), CU_STREAM_NON_BLOCKING), 0);
  ck_assert_int_eq(cuda->event_record(on(&stream), &kept), AB_OK);
  ab__cuda_end();
  const uint64_t calls = sim_calls(NULL);
  int32_t done = 0;
  ck_assert_int_eq(cuda->event_query(on(NULL), kept, &done), AB_ENDING);
  ck_assert_int_eq(cuda->stream_finish(on(&stream)), AB_ENDING);
  cuda->event_release(on(NULL), kept);
  ck_assert_uint_eq(sim_calls(NULL), calls);
}
END_TEST

START_TEST(a_driver_that_has_ended_before_us_is_left_alone) {
  const ab_stream stream = stream_of(new_stream(use(0), CU_STREAM_NON_BLOCKING), 0);
  ck_assert_int_eq(cuda->event_record(on(&stream), &kept), AB_OK);
  sim_fail_at(1, CUDA_ERROR_DEINITIALIZED);
  int32_t done = 0;
  ck_assert_int_eq(cuda->event_query(on(NULL), kept, &done), AB_ENDING);
  const uint64_t calls = sim_calls(NULL);
  cuda->event_release(on(NULL), kept);
  ck_assert_int_eq(cuda->stream_finish(on(&stream)), AB_ENDING);
  ck_assert_uint_eq(sim_calls(NULL), calls);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("cuda_driver");
  TCase *const tests = unit_case(suite, "cuda_driver", setup, teardown);
  tcase_add_test(tests, nothing_is_called_before_a_device_is_asked_for);
  tcase_add_test(tests, the_driver_is_initialised_once);
  tcase_add_test(tests, a_device_that_is_not_there_is_named);
  tcase_add_test(tests, the_uuid_decides_which_device_is_meant);
  tcase_add_test(tests, a_sleeping_device_is_not_woken);
  tcase_add_test(tests, a_device_that_wakes_later_is_used_then);
  tcase_add_test(tests, a_driver_without_devices_is_said_once_and_for_all);
  tcase_add_test(tests, an_error_while_opening_is_told_and_the_next_call_tries_again);
  tcase_add_test(tests, many_threads_may_be_the_first);
  tcase_add_test(tests, who_comes_second_gives_up_what_is_there_already);
  tcase_add_test(tests, a_second_reference_to_a_context_goes_back);
  tcase_add_test(tests, a_child_gets_a_clear_error_and_calls_no_driver);
  tcase_add_test(tests, a_child_of_a_parent_that_never_used_cuda_may);
  tcase_add_test(tests, a_child_of_a_parent_whose_framework_used_cuda_is_told_why);
  tcase_add_test(tests, a_fork_while_another_thread_opens_the_driver_leaves_no_lock_held);
  tcase_add_test(tests, after_the_end_nothing_is_called);
  tcase_add_test(tests, a_driver_that_has_ended_before_us_is_left_alone);
  return suite;
}
