/* SPDX-License-Identifier: MIT
 *
 * The simulated driver fails at every single call in turn, during each operation, in a process that has opened it
 * already and in one that has not. Each trial is a child of its own: a hang is its alarm, a leak is more than a trial
 * without failure leaves behind.
 */
#include "simulated_cuda.h"

enum { BYTES = 1024, CALLS_MAX = 64 };

/* ------------------------------------------------------------------ a process with a framework in it */

static CUcontext contexts[DEVICES], foreign;
static ab_stream stream, foreign_stream;
static void *event;  // of the operation
static void *recorded;
static ab_memory memory, near, far, pageable, pages;
static unsigned char host[BYTES];
static ab_stream ours;

static void make_world(void) {
  sim_reset(SEED, DEVICES, DEVICE_BYTES);
  for (int device = 0; device < DEVICES; device++) contexts[device] = use(device);
  sim_peer(0, 1, 1);
  sim_peer(1, 0, 1);
  OK(cuCtxCreate(&foreign, NULL, 0, 0));
  OK(cuCtxPopCurrent(&foreign));
  stream = stream_of(new_stream(contexts[0], CU_STREAM_NON_BLOCKING), 0);
  foreign_stream = stream_of(new_stream(foreign, CU_STREAM_NON_BLOCKING), 0);
  foreign_stream.native_context = foreign;
  near = device_memory(0, new_memory(contexts[0], BYTES), BYTES);
  far = device_memory(1, new_memory(contexts[1], BYTES), BYTES);
  pageable = memory_at(kDLCPU, 0, host, BYTES);
  pages = memory_at(kDLCPU, 0, aligned_alloc(4096, 4096), 4096);
  OK(cuCtxSetCurrent(contexts[1]));  // the thread works on another device
}

/* ------------------------------------------------------------------ the operations */

typedef struct operation {
  const char *name;
  void (*prepare)(void);
  ab_status (*run)(void);
  void (*undo)(void);
} operation;

static void prepare_event(void) { ck_assert_int_eq(cuda->event_record(on(&stream), &recorded), AB_OK); }
static void prepare_foreign(void) { ck_assert_int_eq(cuda->event_record(on(&foreign_stream), &recorded), AB_OK); }
static void forget_event(void) { cuda->event_release(on(NULL), recorded); }
static void forget_new_event(void) { cuda->event_release(on(NULL), event); }

static ab_status run_record(void) { return cuda->event_record(on(&stream), &event); }
static ab_status run_record_foreign(void) { return cuda->event_record(on(&foreign_stream), &event); }
static ab_status run_wait(void) { return cuda->event_wait(on(&stream), recorded); }
static ab_status run_host_wait(void) { return cuda->event_wait(on(NULL), recorded); }
static ab_status run_record_context(void) {
  return ab__cuda_event_record_context((DLDevice){kDLCUDA, 0}, NULL, &event, fresh_error());
}
static ab_status run_query(void) {
  int32_t done;
  return cuda->event_query(on(NULL), recorded, &done);
}
static ab_status run_release(void) {
  on(NULL);
  if (recorded != NULL) cuda->event_release(on(NULL), recorded);
  recorded = NULL;
  return AB_OK;
}
static ab_status run_finish(void) { return cuda->stream_finish(on(&stream)); }
static ab_status run_finish_all(void) {
  const ab_stream all = default_stream(AB_STREAM_UNKNOWN, 0);
  return cuda->stream_finish(on(&all));
}
static ab_status run_state(void) {
  ab_stream state = stream;
  return cuda->stream_state(on(NULL), &state);
}
static ab_status run_stream_new(void) { return ab__cuda_stream_new((DLDevice){kDLCUDA, 0}, &ours, fresh_error()); }
static void drop_ours(void) { drop_stream(contexts[0], ours.handle); }

static ab_status run_allocate(void) {
  memory = device_memory(0, 0, BYTES);
  return cuda->allocate(on(NULL), &memory);
}
static ab_status run_allocate_ordered(void) {
  memory = device_memory(0, 0, BYTES);
  return cuda->allocate(on(&stream), &memory);
}
static ab_status run_allocate_pinned(void) {
  memory = memory_at(kDLCUDAHost, 0, NULL, BYTES);
  return cuda->allocate(on(NULL), &memory);
}
static ab_status run_deallocate(void) { return cuda->deallocate(on(NULL), &memory); }
static ab_status run_deallocate_ordered(void) { return cuda->deallocate(on(&stream), &memory); }
static void prepare_memory(void) { ck_assert_int_eq(run_allocate(), AB_OK); }
static void prepare_pool_memory(void) { ck_assert_int_eq(run_allocate_ordered(), AB_OK); }
static void prepare_pinned(void) { ck_assert_int_eq(run_allocate_pinned(), AB_OK); }
static void deallocate(void) { ck_assert_int_eq(run_deallocate(), AB_OK); }

static ab_status run_to_device(void) { return cuda->copy(on(NULL), &near, &pageable); }
static ab_status run_to_device_ordered(void) { return cuda->copy(on(&stream), &near, &pageable); }
static ab_status run_to_host(void) { return cuda->copy(on(NULL), &pageable, &near); }
static ab_status run_within(void) { return cuda->copy(on(NULL), &near, &near); }
static ab_status run_between(void) { return cuda->copy(on(NULL), &far, &near); }

static ab_status run_wrap(void) {
  memory = memory_at(kDLCUDAHost, 0, NULL, 0);
  return cuda->wrap(on(NULL), &pages, &memory);
}
static ab_status run_unwrap(void) { return cuda->unwrap(on(&stream), &memory); }
static void prepare_wrapped(void) { ck_assert_int_eq(run_wrap(), AB_OK); }
static void unwrap(void) { ck_assert_int_eq(run_unwrap(), AB_OK); }

static ab_status run_check_pointer(void) {
  return ab__cuda_check_pointer(near.handle, BYTES, near.device, NULL, fresh_error());
}
static ab_status run_pinned(void) {
  int pinned;
  return ab__cuda_pinned(host, BYTES, &pinned, fresh_error());
}
static ab_status run_memory_info(void) {
  uint64_t left, total;
  return ab__cuda_memory_info(near.device, &left, &total, fresh_error());
}

static const operation operations[] = {
    {"event_record", NULL, run_record, forget_new_event},
    {"event_record, foreign context", NULL, run_record_foreign, forget_new_event},
    {"event_wait", prepare_event, run_wait, forget_event},
    {"event_wait on the host", prepare_event, run_host_wait, forget_event},
    {"event_wait on the host, foreign context", prepare_foreign, run_host_wait, forget_event},
    {"event_query", prepare_event, run_query, forget_event},
    {"event_release", prepare_event, run_release, NULL},
    {"event_release, foreign context", prepare_foreign, run_release, NULL},
    {"event_record_context", NULL, run_record_context, forget_new_event},
    {"stream_finish", NULL, run_finish, NULL},
    {"stream_finish of the context", NULL, run_finish_all, NULL},
    {"stream_state", NULL, run_state, NULL},
    {"stream_new", NULL, run_stream_new, drop_ours},
    {"allocate", NULL, run_allocate, deallocate},
    {"allocate, ordered", NULL, run_allocate_ordered, deallocate},
    {"allocate, pinned", NULL, run_allocate_pinned, deallocate},
    {"deallocate", prepare_memory, run_deallocate, NULL},
    {"deallocate, after a stream", prepare_memory, run_deallocate_ordered, NULL},
    {"deallocate, ordered", prepare_pool_memory, run_deallocate_ordered, NULL},
    {"deallocate, pinned", prepare_pinned, run_deallocate, NULL},
    {"copy to a device", NULL, run_to_device, NULL},
    {"copy to a device, ordered", NULL, run_to_device_ordered, NULL},
    {"copy to the host", NULL, run_to_host, NULL},
    {"copy within a device", NULL, run_within, NULL},
    {"copy between devices", NULL, run_between, NULL},
    {"wrap", NULL, run_wrap, unwrap},
    {"unwrap", prepare_wrapped, run_unwrap, NULL},
    {"check_pointer", NULL, run_check_pointer, NULL},
    {"pinned", prepare_event, run_pinned, forget_event},
    {"memory_info", NULL, run_memory_info, NULL},
};
enum { OPERATIONS = sizeof operations / sizeof *operations };

/* ------------------------------------------------------------------ one trial */

/// What a child leaves for its parent.
typedef struct outcome {
  int triggered;     // the failure was met
  int status;        // of the operation that met it
  int leaks;         // driver objects, after the operation was repeated and undone
  int64_t memory;    // allocations of the core, likewise
  char wrong[1024];  // empty: nothing
} outcome;

static outcome *shared;
static const operation *current;
static const char *failing;
static uint64_t failing_at;
static CUresult failing_with;
static int warm;

#define CLAIM(condition, ...)                                                                                 \
  do {                                                                                                        \
    if (!(condition) && shared->wrong[0] == '\0') snprintf(shared->wrong, sizeof shared->wrong, __VA_ARGS__); \
  } while (0)

static CUstreamCaptureMode capture_mode(void) {
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_GLOBAL, now;
  OK(cuThreadExchangeStreamCaptureMode(&mode));
  now = mode;
  OK(cuThreadExchangeStreamCaptureMode(&mode));
  return now;
}

static void claim_as_before(const char *when) {
  CUcontext now = NULL;
  OK(cuCtxGetCurrent(&now));
  CLAIM(now == contexts[1], "%s: another context is current", when);
  CLAIM(sim_context_depth() == 1, "%s: %d contexts on the stack", when, sim_context_depth());
  CLAIM(capture_mode() == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, "%s: another capture mode", when);
  CLAIM(sim_fault() == NULL, "%s: %s", when, sim_fault());
}

static void claim_clear_error(void) {
  if (shared->status == AB_OK) return;
  CLAIM(error.text[0] != '\0' && error.status == shared->status, "no text");
  CLAIM(error.failure.struct_size != 0 && strcmp(error.failure.domain, "cuda") == 0, "no failure: %s", error.text);
  CLAIM(error.failure.code == failing_with, "code %lld: %s", (long long)error.failure.code, error.text);
}

static ab_status run(void) {
  const ab_status status = current->run();
  if (status != AB_OK) return status;
  if (current->undo != NULL) current->undo();
  return AB_OK;
}

static void set_capture_mode(void) {
  CUstreamCaptureMode mode = CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
  OK(cuThreadExchangeStreamCaptureMode(&mode));
}

/* The operation has been done once, so that all that is made once is there. */
static void warm_up(void) {
  if (current->prepare != NULL) current->prepare();
  if (run() != AB_OK) CLAIM(0, "does not work at all: %s", error.text);
}

static int trial(void) {
  make_world();
  set_capture_mode();
  if (warm) warm_up();
  if (current->prepare != NULL) current->prepare();
  const uint64_t before = failing != NULL ? sim_calls(failing) : 0;
  if (failing != NULL) sim_fail_call(failing, failing_at, failing_with);
  shared->status = current->run();
  shared->triggered = failing != NULL && sim_calls(failing) - before >= failing_at;
  sim_fail_at(0, CUDA_SUCCESS);
  claim_clear_error();
  claim_as_before("after the failure");
  if (strncmp(current->name, "copy", 4) == 0 && strstr(current->name, "ordered") == NULL)
    CLAIM(sim_idle(), "a copy of memory that the caller gets back is pending");
  if (shared->status != AB_OK) {
    const ab_status again = current->run();
    CLAIM(again == AB_OK, "does not work afterwards: %s", error.text);
  }
  if (current->undo != NULL && shared->wrong[0] == '\0') current->undo();
  claim_as_before("at the end");
  sim_run_all();
  shared->leaks = sim_leaks(NULL, 0);
  ab_error_clear(&error);
  shared->memory = ab__allocation_count();
  return 0;
}

static outcome try(const char *function, uint64_t nth, CUresult with) {
  *shared = (outcome){0};
  failing = function;
  failing_at = nth;
  failing_with = with;
  const int ended = in_child(trial);
  CLAIM(ended == 0, "the child ended with %d", ended);
  return *shared;
}

/* Failures of these are made good: the thread's context and mode must be what they were, so it is tried again. */
static int is_made_good(const char *function, uint64_t nth) {
  if (strcmp(function, "cuCtxPopCurrent") == 0) return 1;
  if (strcmp(function, "cuThreadExchangeStreamCaptureMode") == 0) return nth % 2 == 0;
  return strncmp(current->name, "event_release", strlen("event_release")) == 0;  // there is nobody to tell
}

static void expect_failure(const char *function, uint64_t nth, CUresult with, const outcome *reference) {
  const outcome seen = try(function, nth, with);
  const char *const name = current->name;
  ck_assert_msg(seen.wrong[0] == '\0', "%s, %s number %d: %s", name, function, (int)nth, seen.wrong);
  if (!seen.triggered) return;
  const ab_status wanted = with == CUDA_ERROR_OUT_OF_MEMORY ? AB_OOM : AB_DRIVER;
  if (!is_made_good(function, nth))
    ck_assert_msg(seen.status == wanted, "%s, %s number %d: status %d", name, function, (int)nth, seen.status);
  const int lost = is_made_good(function, nth) && strstr(current->name, "foreign") != NULL;  // an event stays there
  ck_assert_msg(seen.leaks <= reference->leaks + lost, "%s, %s number %d: %d left over, not %d", name, function,
                (int)nth, seen.leaks, reference->leaks);
  ck_assert_msg(seen.memory == reference->memory, "%s, %s number %d: %d allocations, not %d", name, function, (int)nth,
                (int)seen.memory, (int)reference->memory);
}

/* Returns how many failures there were. */
static int fail_everywhere(CUresult with) {
  int failures = 0;
  const outcome reference = try(NULL, 0, CUDA_SUCCESS);
  ck_assert_msg(reference.wrong[0] == '\0' && reference.status == AB_OK, "%s: %s", current->name, reference.wrong);
  for (int function = 0; sim_function(function) != NULL; function++) {
    for (uint64_t nth = 1; nth < CALLS_MAX; nth++) {
      expect_failure(sim_function(function), nth, with, &reference);
      if (!shared->triggered) break;
      failures++;
    }
  }
  return failures;
}

static void setup_trials(void) {
  ab_error_init(&error);
  cuda = ab__device_ops(kDLCUDA);
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ck_assert_ptr_ne(shared, MAP_FAILED);
}

START_TEST(an_error_at_every_call_in_turn) {
  current = &operations[_i];
  for (warm = 0; warm < 2; warm++) {
    const int failures = fail_everywhere(CUDA_ERROR_UNKNOWN);
    if (strcmp(current->name, "event_release") == 0) ck_assert_int_eq(failures, 0);
    else ck_assert_int_ge(failures, 1);
  }
}
END_TEST

START_TEST(out_of_memory_at_every_call_in_turn) {
  current = &operations[_i];
  for (warm = 0; warm < 2; warm++) (void)fail_everywhere(CUDA_ERROR_OUT_OF_MEMORY);
}
END_TEST

/* ------------------------------------------------------------------ errors that a context does not survive */

static uint64_t calls_but_for_texts(void) {
  return sim_calls(NULL) - sim_calls("cuGetErrorName") - sim_calls("cuGetErrorString");
}

/* One device is broken: told with the driver's own words, then refused without asking; the other one goes on. */
static int sticky_trial(void) {
  const int broken = strstr(current->name, "between") != NULL;  // that copy runs where it goes to
  make_world();
  set_capture_mode();
  warm_up();
  if (current->prepare != NULL) current->prepare();
  const uint64_t before = sim_calls(failing);
  sim_fail_call(failing, failing_at, failing_with);
  shared->status = current->run();
  shared->triggered = sim_calls(failing) - before >= failing_at;
  if (shared->status != AB_DRIVER) return 0;
  CLAIM(strstr(error.hint, "restart the process") != NULL, "no hint: %s", error.text);
  CLAIM(strstr(error.text, "CUDA_ERROR_ILLEGAL_ADDRESS") != NULL, "%s", error.text);
  const ab_stream one = default_stream(AB_STREAM_LEGACY, broken), other = default_stream(AB_STREAM_LEGACY, !broken);
  const ab_memory *const there = broken ? &far : &near;
  uint64_t left, total;
  const uint64_t calls = calls_but_for_texts();
  CLAIM(cuda->stream_finish(on(&one)) == AB_DRIVER, "the device is used again");
  CLAIM(strstr(error.text, "cannot be used any more") != NULL, "%s", error.text);
  CLAIM(strstr(error.hint, "restart the process") != NULL, "no hint the second time");
  CLAIM(cuda->copy(on(NULL), &pageable, there) == AB_DRIVER, "copied from again");
  CLAIM(ab__cuda_memory_info(there->device, &left, &total, NULL) == AB_DRIVER, "asked again");
  CLAIM(calls_but_for_texts() == calls, "the driver was called again");
  CLAIM(cuda->stream_finish(on(&other)) == AB_OK, "the other device: %s", error.text);
  return 0;
}

START_TEST(an_error_that_no_context_survives_is_told_once) {
  static const char *const functions[] = {"cuCtxSynchronize",   "cuEventRecord",         "cuStreamSynchronize",
                                          "cuEventSynchronize", "cuEventQuery",          "cuMemAlloc",
                                          "cuMemcpyDtoHAsync",  "cuMemcpyHtoDAsync",     "cuMemGetInfo",
                                          "cuStreamWaitEvent",  "cuStreamGetCaptureInfo"};
  current = &operations[_i];
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    *shared = (outcome){0};
    failing = functions[i];
    failing_at = 1;
    failing_with = CUDA_ERROR_ILLEGAL_ADDRESS;
    if (strstr(current->name, "foreign") != NULL || strcmp(current->name, "pinned") == 0) continue;
    ck_assert_int_eq(in_child(sticky_trial), 0);
    ck_assert_msg(shared->wrong[0] == '\0', "%s, %s: %s", current->name, failing, shared->wrong);
    if (shared->triggered) ck_assert_msg(shared->status == AB_DRIVER, "%s, %s", current->name, failing);
  }
}
END_TEST

/* What happens in a context of somebody's own does not touch the frameworks' device. */
static int foreign_trial(void) {
  make_world();
  sim_fail_call("cuEventRecord", 1, CUDA_ERROR_CONTEXT_IS_DESTROYED);
  CLAIM(run_record_foreign() == AB_DRIVER, "no error");
  CLAIM(run_record() == AB_OK, "%s", error.text);
  return 0;
}

START_TEST(a_broken_foreign_context_does_not_break_the_device) {
  ck_assert_int_eq(in_child(foreign_trial), 0);
  ck_assert_msg(shared->wrong[0] == '\0', "%s", shared->wrong);
}
END_TEST

/* ------------------------------------------------------------------ no memory in the core */

static int allocation_trial(void) {
  make_world();
  set_capture_mode();
  if (current->prepare != NULL) current->prepare();
  ab__allocation_fail_at((int64_t)failing_at);
  shared->status = current->run();
  ab__allocation_fail_at(-1);
  shared->triggered = shared->status == AB_OOM;
  CLAIM(shared->status == AB_OK || shared->status == AB_OOM, "status %d", shared->status);
  claim_as_before("after the failure");
  if (shared->status != AB_OK) CLAIM(current->run() == AB_OK, "does not work afterwards: %s", error.text);
  return 0;
}

START_TEST(every_allocation_may_fail) {
  current = &operations[_i];
  for (failing_at = 1; failing_at < CALLS_MAX; failing_at++) {
    *shared = (outcome){0};
    ck_assert_int_eq(in_child(allocation_trial), 0);
    ck_assert_msg(shared->wrong[0] == '\0', "%s, allocation %d: %s", current->name, (int)failing_at, shared->wrong);
    if (!shared->triggered) break;
  }
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("cuda_errors");
  TCase *const tests = unit_case(suite, "cuda_errors", setup_trials, NULL);
  tcase_add_loop_test(tests, an_error_at_every_call_in_turn, 0, OPERATIONS);
  tcase_add_loop_test(tests, out_of_memory_at_every_call_in_turn, 0, OPERATIONS);
  tcase_add_loop_test(tests, an_error_that_no_context_survives_is_told_once, 0, OPERATIONS);
  tcase_add_test(tests, a_broken_foreign_context_does_not_break_the_device);
  tcase_add_loop_test(tests, every_allocation_may_fail, 0, OPERATIONS);
  return suite;
}
