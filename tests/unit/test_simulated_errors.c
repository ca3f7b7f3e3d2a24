/* SPDX-License-Identifier: MIT
 * The simulated driver's refusals: contexts, captures, failures on purpose. */
#include "simulated.h"

/* ------------------------------------------------------------------ contexts */

static void no_context(void) { sim_reset(1, 2, MEMORY); }

START_TEST(nothing_works_before_init) {
  int count = 0;
  FAILS(cuDeviceGetCount(&count), CUDA_ERROR_NOT_INITIALIZED);
  OK(cuDriverGetVersion(&count));
  ck_assert_int_eq(count, CUDA_VERSION);
  OK(cuInit(0));
  OK(cuDeviceGetCount(&count));
  ck_assert_int_eq(count, 2);
  sim_reset(1, 0, 0);
  FAILS(cuInit(0), CUDA_ERROR_NO_DEVICE);
}
END_TEST

START_TEST(nothing_that_needs_a_context_works_without_one) {
  CUstream stream = NULL;
  CUdevice device = 0;
  OK(cuInit(0));
  FAILS(cuStreamCreate(&stream, 0), CUDA_ERROR_INVALID_CONTEXT);
  FAILS(cuCtxGetDevice(&device), CUDA_ERROR_INVALID_CONTEXT);
  FAILS(cuCtxPopCurrent(NULL), CUDA_ERROR_INVALID_CONTEXT);
  FAILS(cuCtxPushCurrent(NULL), CUDA_ERROR_INVALID_CONTEXT);
  FAILS(sim_launch(NULL, run_byte_kernel, NULL, NULL, 0), CUDA_ERROR_INVALID_CONTEXT);
  ck_assert_int_eq(sim_current_device(), -1);
}
END_TEST

START_TEST(primary_contexts_wake_and_sleep) {
  unsigned flags = 1;
  int active = 1;
  CUcontext first = NULL, second = NULL;
  OK(cuInit(0));
  OK(cuDevicePrimaryCtxGetState(1, &flags, &active));
  ck_assert_int_eq(active, 0);
  OK(cuDevicePrimaryCtxRetain(&first, 1));
  OK(cuDevicePrimaryCtxRetain(&second, 1));
  ck_assert_ptr_eq(first, second);
  ck_assert_int_eq(sim_retained(1), 2);
  OK(cuDevicePrimaryCtxRelease(1));
  OK(cuDevicePrimaryCtxGetState(1, &flags, &active));
  ck_assert_int_eq(active, 1);
  OK(cuDevicePrimaryCtxRelease(1));
  OK(cuDevicePrimaryCtxGetState(1, &flags, &active));
  ck_assert_int_eq(active, 0);
  assert_no_fault();
  FAILS(cuDevicePrimaryCtxRelease(1), CUDA_ERROR_INVALID_CONTEXT);
  assert_fault("context: ");
}
END_TEST

START_TEST(the_stack_of_contexts_is_the_threads_own) {
  const CUcontext first = use_device(0), second = use_device(1);
  CUcontext seen = NULL;
  ck_assert_int_eq(sim_context_depth(), 2);
  ck_assert_int_eq(sim_current_device(), 1);
  OK(cuCtxPopCurrent(&seen));
  ck_assert_ptr_eq(seen, second);
  ck_assert_int_eq(sim_current_device(), 0);
  OK(cuCtxSetCurrent(second));
  ck_assert_int_eq(sim_context_depth(), 1);
  OK(cuCtxGetCurrent(&seen));
  ck_assert_ptr_eq(seen, second);
  OK(cuCtxSetCurrent(NULL));
  ck_assert_int_eq(sim_context_depth(), 0);
  OK(cuCtxSetCurrent(first));
  ck_assert_int_eq(sim_leaks(NULL, 0), 2); /* two retains: what was set need not be popped */
}
END_TEST

START_TEST(destroyed_contexts_take_everything_with_them) {
  size_t available, total;
  CUcontext own = NULL;
  use_device(0);
  OK(cuCtxCreate(&own, NULL, 0, 0));
  const CUdeviceptr memory = new_memory(BYTES);
  const CUstream stream = side_stream();
  OK(cuMemsetD8Async(memory, 0, BYTES, stream));
  OK(cuCtxPushCurrent(own));
  OK(cuCtxDestroy(own));
  ck_assert_int_eq(sim_current_device(), -1);
  FAILS(cuMemGetInfo(&available, &total), CUDA_ERROR_CONTEXT_IS_DESTROYED);
  OK(cuCtxPopCurrent(NULL));
  FAILS(cuStreamQuery(stream), CUDA_ERROR_INVALID_HANDLE);
  ck_assert_uint_eq(sim_used(0), 0);
  ck_assert(sim_idle());
}
END_TEST

START_TEST(events_are_recorded_in_their_own_context_and_waited_for_in_any) {
  use_device(0);
  const CUevent event = new_event();
  const CUstream there = side_stream();
  use_device(1);
  const CUstream here = side_stream();
  FAILS(cuEventRecord(event, here), CUDA_ERROR_INVALID_HANDLE);
  assert_fault("wrong context: cuEventRecord");
  sim_fault_clear();
  OK(cuEventRecord(event, there));
  OK(cuStreamWaitEvent(here, event, 0));
  OK(cuStreamSynchronize(here));
  OK(cuEventQuery(event));
  assert_no_fault();
}
END_TEST

START_TEST(devices_have_names_of_their_own) {
  CUuuid first, second;
  OK(cuInit(0));
  OK(cuDeviceGetUuid(&first, 0));
  OK(cuDeviceGetUuid(&second, 1));
  ck_assert_mem_ne(first.bytes, second.bytes, sizeof first.bytes);
  FAILS(cuDeviceGetUuid(&second, 2), CUDA_ERROR_INVALID_DEVICE);
}
END_TEST

/* ------------------------------------------------------------------ captures */

static CUstream capturing(CUstreamCaptureMode mode) {
  const CUstream stream = side_stream();
  OK(sim_begin_capture(stream, mode));
  return stream;
}

START_TEST(a_query_during_a_capture_breaks_it) {
  const CUevent event = new_event();
  OK(cuEventRecord(event, side_stream()));
  const CUstream stream = capturing(CU_STREAM_CAPTURE_MODE_GLOBAL);
  FAILS(cuEventQuery(event), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  assert_fault("capture: the capture on stream ");
  FAILS(cuMemsetD8Async(new_memory(BYTES), 0, BYTES, stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  FAILS(sim_end_capture(stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  FAILS(cuEventQuery(event), CUDA_SUCCESS);
}
END_TEST

START_TEST(a_query_in_the_relaxed_mode_does_not) {
  const CUevent event = new_event();
  OK(cuEventRecord(event, side_stream()));
  const CUstream stream = capturing(CU_STREAM_CAPTURE_MODE_GLOBAL);
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_RELAXED;
  OK(cuThreadExchangeStreamCaptureMode(&mode));
  ck_assert_int_eq(mode, CU_STREAM_CAPTURE_MODE_GLOBAL);
  OK(cuEventQuery(event));
  OK(cuThreadExchangeStreamCaptureMode(&mode));
  ck_assert_int_eq(mode, CU_STREAM_CAPTURE_MODE_RELAXED);
  OK(sim_end_capture(stream));
  assert_no_fault();
}
END_TEST

static void *ask_elsewhere(void *context) {
  CUcontext primary = NULL;
  OK(cuDevicePrimaryCtxRetain(&primary, 0));
  OK(cuCtxPushCurrent(primary));
  *(CUresult *)context = cuStreamQuery(NULL);
  return NULL;
}

static CUresult asked_elsewhere(void) {
  CUresult result = CUDA_ERROR_UNKNOWN;
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, ask_elsewhere, &result), 0);
  pthread_join(thread, NULL);
  return result;
}

START_TEST(captures_of_other_threads_forbid_by_their_mode) {
  CUstream stream = capturing(CU_STREAM_CAPTURE_MODE_THREAD_LOCAL);
  OK(asked_elsewhere());
  OK(sim_end_capture(stream));
  stream = capturing(CU_STREAM_CAPTURE_MODE_GLOBAL);
  FAILS(asked_elsewhere(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  FAILS(sim_end_capture(stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}
END_TEST

START_TEST(captured_events_cannot_be_asked_about) {
  const CUstream stream = capturing(CU_STREAM_CAPTURE_MODE_RELAXED);
  const CUevent event = new_event();
  OK(cuEventRecord(event, stream));
  FAILS(cuEventQuery(event), CUDA_ERROR_CAPTURED_EVENT);
  assert_fault("capture: ");
  FAILS(sim_end_capture(stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}
END_TEST

START_TEST(captured_work_does_not_run) {
  const CUdeviceptr memory = new_memory(BYTES);
  const CUstream stream = capturing(CU_STREAM_CAPTURE_MODE_GLOBAL);
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  cuuint64_t id = 0;
  OK(cuMemsetD8Async(memory, 7, BYTES, stream));
  OK(cuStreamIsCapturing(stream, &status));
  ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  OK(cuStreamGetCaptureInfo(stream, &status, &id, NULL, NULL, NULL, NULL));
  ck_assert_uint_ne(id, 0);
  ck_assert(sim_idle());
  ck_assert_int_eq(sim_leaks(NULL, 0), 5); /* memory, stream, retain, push, capture */
  OK(sim_end_capture(stream));
  ck_assert_int_eq(byte_at(memory), SIM_POISON);
  OK(cuStreamIsCapturing(stream, &status));
  ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_NONE);
}
END_TEST

START_TEST(waits_draw_streams_into_a_capture) {
  const CUstream stream = capturing(CU_STREAM_CAPTURE_MODE_GLOBAL), other = side_stream();
  const CUevent fork = new_event(), join = new_event();
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  OK(cuEventRecord(fork, stream));
  OK(cuStreamWaitEvent(other, fork, 0));
  OK(cuStreamIsCapturing(other, &status));
  ck_assert_int_eq(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
  OK(cuEventRecord(join, other));
  OK(cuStreamWaitEvent(stream, join, 0));
  OK(sim_end_capture(stream));
  assert_no_fault();
  OK(sim_begin_capture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
  OK(cuEventRecord(fork, stream));
  OK(cuStreamWaitEvent(other, fork, 0));
  FAILS(sim_end_capture(stream), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
}
END_TEST

START_TEST(work_after_the_join_is_unjoined) {
  const CUdeviceptr memory = new_memory(BYTES);
  const CUstream stream = capturing(CU_STREAM_CAPTURE_MODE_GLOBAL), other = side_stream();
  const CUevent fork = new_event(), join = new_event();
  OK(cuEventRecord(fork, stream));
  OK(cuStreamWaitEvent(other, fork, 0));
  OK(cuEventRecord(join, other));
  OK(cuStreamWaitEvent(stream, join, 0));
  OK(cuMemsetD8Async(memory, 0, BYTES, other));
  FAILS(sim_end_capture(stream), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
}
END_TEST

START_TEST(captures_do_not_wait_for_work_outside) {
  const CUevent event = new_event();
  OK(cuEventRecord(event, side_stream()));
  const CUstream stream = capturing(CU_STREAM_CAPTURE_MODE_RELAXED);
  FAILS(cuStreamWaitEvent(stream, event, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  FAILS(sim_end_capture(stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  assert_fault("capture: ");
}
END_TEST

START_TEST(the_legacy_stream_breaks_captures_of_blocking_streams) {
  const CUdeviceptr memory = new_memory(BYTES);
  const CUstream stream = new_stream(0);
  OK(sim_begin_capture(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
  FAILS(cuMemsetD8Async(memory, 0, 1, NULL), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  FAILS(sim_end_capture(stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  FAILS(sim_begin_capture(NULL, CU_STREAM_CAPTURE_MODE_RELAXED), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
}
END_TEST

START_TEST(context_events_break_captures) {
  CUcontext context = NULL;
  const CUevent event = new_event();
  OK(cuCtxGetCurrent(&context));
  const CUstream stream = capturing(CU_STREAM_CAPTURE_MODE_RELAXED);
  FAILS(cuCtxRecordEvent(context, event), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  FAILS(sim_end_capture(stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
}
END_TEST

/* ------------------------------------------------------------------ failures on purpose */

typedef CUresult any_function(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t);

/* Arguments that no function takes: what fails on purpose never looks at them. */
START_TEST(every_function_fails_when_told) {
  for (int i = 0; sim_function(i) != NULL; ++i) {
    void *function = NULL;
    CUdriverProcAddressQueryResult status;
    OK(cuGetProcAddress(sim_function(i), &function, CUDA_VERSION, 0, &status));
    ck_assert_msg(function != NULL, "%s is not found", sim_function(i));
    sim_fail_at(1, CUDA_ERROR_SYSTEM_NOT_READY);
    const CUresult result = ((any_function *)(uintptr_t)function)(0, 0, 0, 0, 0, 0, 0);
    ck_assert_msg(result == CUDA_ERROR_SYSTEM_NOT_READY, "%s gave %d", sim_function(i), result);
    ck_assert_msg(sim_calls(sim_function(i)) >= 1, "%s is not counted", sim_function(i));
  }
  ck_assert_int_eq(sim_leaks(NULL, 0), 2);
  assert_no_fault();
}
END_TEST

START_TEST(the_nth_call_fails_once) {
  int count = 0;
  sim_fail_at(3, CUDA_ERROR_SYSTEM_NOT_READY);
  OK(cuDeviceGetCount(&count));
  OK(cuDeviceGetCount(&count));
  FAILS(cuDeviceGetCount(&count), CUDA_ERROR_SYSTEM_NOT_READY);
  OK(cuDeviceGetCount(&count));
  sim_fail_call("cuMemAlloc_v2", 1, CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuDeviceGetCount(&count));
  CUdeviceptr memory = 0;
  FAILS(cuMemAlloc(&memory, BYTES), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemAlloc(&memory, BYTES));
  sim_fail_at(1, CUDA_ERROR_UNKNOWN);
  sim_fail_at(0, CUDA_ERROR_UNKNOWN);
  OK(cuDeviceGetCount(&count));
}
END_TEST

START_TEST(sticky_errors_stay_with_their_device) {
  size_t available, total;
  int count = 0;
  sim_fail_call("cuStreamSynchronize", 1, CUDA_ERROR_ILLEGAL_ADDRESS);
  FAILS(cuStreamSynchronize(NULL), CUDA_ERROR_ILLEGAL_ADDRESS);
  FAILS(cuMemGetInfo(&available, &total), CUDA_ERROR_ILLEGAL_ADDRESS);
  FAILS(sim_launch(NULL, run_byte_kernel, NULL, NULL, 0), CUDA_ERROR_ILLEGAL_ADDRESS);
  OK(cuDeviceGetCount(&count));
  use_device(1);
  OK(cuMemGetInfo(&available, &total));
}
END_TEST

static void go_wrong(void *context) { sim_raise(*(const CUresult *)context); }

START_TEST(kernels_go_wrong_when_they_execute) {
  CUresult with = CUDA_ERROR_LAUNCH_FAILED;
  const CUstream stream = side_stream();
  OK(sim_launch(stream, go_wrong, &with, NULL, 0));
  OK(cuStreamGetFlags(stream, &(unsigned){0}));
  FAILS(cuStreamQuery(stream), CUDA_ERROR_LAUNCH_FAILED);
  FAILS(cuStreamGetFlags(stream, &(unsigned){0}), CUDA_ERROR_LAUNCH_FAILED);
}
END_TEST

START_TEST(nothing_works_after_the_end) {
  int count = 0;
  sim_deinitialize();
  FAILS(cuDeviceGetCount(&count), CUDA_ERROR_DEINITIALIZED);
  FAILS(cuStreamSynchronize(NULL), CUDA_ERROR_DEINITIALIZED);
}
END_TEST

START_TEST(errors_have_names) {
  const char *name = NULL;
  OK(cuGetErrorName(CUDA_ERROR_INVALID_HANDLE, &name));
  ck_assert_str_eq(name, "CUDA_ERROR_INVALID_HANDLE");
  OK(cuGetErrorString(CUDA_ERROR_INVALID_HANDLE, &name));
  ck_assert_str_eq(name, "invalid handle");
  FAILS(cuGetErrorName((CUresult)12345, &name), CUDA_ERROR_INVALID_VALUE);
  ck_assert_ptr_null(name);
}
END_TEST

START_TEST(functions_are_found_by_every_name) {
  void *plain = NULL, *versioned = NULL, *twin = NULL, *flagged = NULL;
  CUdriverProcAddressQueryResult status;
  OK(cuGetProcAddress("cuMemcpyHtoDAsync", &plain, CUDA_VERSION, 0, NULL));
  OK(cuGetProcAddress("cuMemcpyHtoDAsync_v2", &versioned, CUDA_VERSION, 0, NULL));
  OK(cuGetProcAddress("cuMemcpyHtoDAsync_v2_ptsz", &twin, CUDA_VERSION, 0, NULL));
  OK(cuGetProcAddress("cuMemcpyHtoDAsync", &flagged, CUDA_VERSION, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM,
                      NULL));
  ck_assert_ptr_eq(plain, versioned);
  ck_assert_ptr_eq(twin, flagged);
  ck_assert_ptr_ne(plain, twin);
  FAILS(cuGetProcAddress("cuNoSuchThing", &plain, CUDA_VERSION, 0, NULL), CUDA_ERROR_NOT_FOUND);
  OK(cuGetProcAddress("cuCtxRecordEvent", &plain, 12040, 0, &status));
  ck_assert_int_eq(status, CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT);
  ck_assert_ptr_null(plain);
}
END_TEST

START_TEST(the_twins_use_the_threads_stream) {
  CUresult (*query)(CUstream) = NULL;
  void *found = NULL;
  OK(cuGetProcAddress("cuStreamQuery_ptsz", &found, CUDA_VERSION, 0, NULL));
  memcpy(&query, &found, sizeof query);
  OK(sim_hold(CU_STREAM_LEGACY));
  OK(query(NULL));
  OK(sim_hold(CU_STREAM_PER_THREAD));
  FAILS(query(NULL), CUDA_ERROR_NOT_READY);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("simulated driver: errors");
  TCase *const contexts = unit_case(suite, "contexts", no_context, NULL);
  tcase_add_test(contexts, nothing_works_before_init);
  tcase_add_test(contexts, nothing_that_needs_a_context_works_without_one);
  tcase_add_test(contexts, primary_contexts_wake_and_sleep);
  tcase_add_test(contexts, the_stack_of_contexts_is_the_threads_own);
  tcase_add_test(contexts, destroyed_contexts_take_everything_with_them);
  tcase_add_test(contexts, events_are_recorded_in_their_own_context_and_waited_for_in_any);
  tcase_add_test(contexts, devices_have_names_of_their_own);
  TCase *const captures = unit_case(suite, "captures", two_devices, NULL);
  tcase_add_test(captures, a_query_during_a_capture_breaks_it);
  tcase_add_test(captures, a_query_in_the_relaxed_mode_does_not);
  tcase_add_test(captures, captures_of_other_threads_forbid_by_their_mode);
  tcase_add_test(captures, captured_events_cannot_be_asked_about);
  tcase_add_test(captures, captured_work_does_not_run);
  tcase_add_test(captures, waits_draw_streams_into_a_capture);
  tcase_add_test(captures, work_after_the_join_is_unjoined);
  tcase_add_test(captures, captures_do_not_wait_for_work_outside);
  tcase_add_test(captures, the_legacy_stream_breaks_captures_of_blocking_streams);
  tcase_add_test(captures, context_events_break_captures);
  TCase *const failures = unit_case(suite, "failures on purpose", two_devices, NULL);
  tcase_add_test(failures, every_function_fails_when_told);
  tcase_add_test(failures, the_nth_call_fails_once);
  tcase_add_test(failures, sticky_errors_stay_with_their_device);
  tcase_add_test(failures, kernels_go_wrong_when_they_execute);
  tcase_add_test(failures, nothing_works_after_the_end);
  tcase_add_test(failures, errors_have_names);
  tcase_add_test(failures, functions_are_found_by_every_name);
  tcase_add_test(failures, the_twins_use_the_threads_stream);
  return suite;
}
