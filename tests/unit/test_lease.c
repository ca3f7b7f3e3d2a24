/* SPDX-License-Identifier: MIT
 * Leases of device memory and the queue they go through. The device is a toy: eight streams that count what was
 * enqueued and what is done, and events that remember how much had been enqueued. */
#include "check_main.h"
#include "lease.h"

#include <sched.h>

#include "memory.h"
#include "release.h"
#include "tensor.h"

enum { STREAMS = 8, WHOLE = 7 };

static int64_t enqueued[STREAMS], done[STREAMS];
static int capturing[STREAMS], broken, no_context_events, events, finished;

typedef struct toy_event {
  int64_t until[STREAMS];
} toy_event;

static int64_t number_of(const ab_stream *stream) {
  return stream->kind == AB_STREAM_UNKNOWN ? WHOLE : (int64_t)(intptr_t)stream->handle;
}

static void note(toy_event *event, int64_t stream) {
  for (int64_t i = 0; i < STREAMS; i++)
    if (stream == WHOLE || i == stream) event->until[i] = enqueued[i];
}

static ab_status toy_record(const ab_call *call, void **event) {
  const int64_t stream = number_of(call->stream);
  if (broken) return ab_fail(call, AB_DRIVER, "the device is gone");
  if (capturing[stream]) return ab_fail(call, AB_STREAM, "it is being captured");
  if (stream == WHOLE && no_context_events) return AB_UNSUPPORTED;
  toy_event *made = ab__allocate_zeroed(sizeof *made);
  note(made, stream);
  events++;
  *event = made;
  return AB_OK;
}

static int has_passed(const toy_event *event) {
  for (int i = 0; i < STREAMS; i++)
    if (done[i] < event->until[i]) return 0;
  return 1;
}

static ab_status toy_query(const ab_call *call, void *event, int32_t *passed) {
  if (broken) return ab_fail(call, AB_DRIVER, "the device is gone");
  *passed = has_passed(event);
  return AB_OK;
}

static ab_status toy_wait(const ab_call *call, void *event) {
  (void)call;
  for (int i = 0; i < STREAMS; i++)
    if (done[i] < ((toy_event *)event)->until[i]) done[i] = ((toy_event *)event)->until[i];
  return AB_OK;
}

static void toy_release(const ab_call *call, void *event) {
  (void)call;
  events--;
  ab__deallocate(event);
}

static ab_status toy_finish(const ab_call *call) {
  (void)call;
  finished++;
  memcpy(done, enqueued, sizeof done);
  return AB_OK;
}

static const ab_device_ops toy_ops = {.struct_size = sizeof toy_ops,
                                      .name = "toy",
                                      .event_record = toy_record,
                                      .event_query = toy_query,
                                      .event_wait = toy_wait,
                                      .event_release = toy_release,
                                      .stream_finish = toy_finish};

static ab_stream stream_of(intptr_t number, uint32_t flags) {
  return (ab_stream){.struct_size = sizeof(ab_stream),
                     .kind = AB_STREAM_HANDLE,
                     .flags = flags,
                     .handle = (void *)number,
                     .device = {kDLExtDev, 0}};
}

/* ------------------------------------------------------------------ a borrower and its memory */

static ab_bridge *bridge;
static ab_backend borrower;
static ab_plugin_descriptor descriptor;
static int given_back, current, fenced;

static ab_status peek(void *self, DLDevice device, ab_stream *stream) {
  (void)self;
  (void)device;
  if (current == 0) return AB_UNSUPPORTED;
  *stream = stream_of(current, AB_STREAM_IMMORTAL);
  return AB_OK;
}

static ab_status fence(const ab_call *call, DLDevice device, uint32_t scope, const ab_stream *stream,
                       uint32_t *covered) {
  (void)call;
  (void)device;
  fenced++;
  enqueued[number_of(stream)]++; /* a marker */
  *covered = scope;
  return AB_OK;
}

static ab_status finish(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered) {
  (void)call;
  (void)device;
  *covered = scope;
  return AB_OK;
}

static void count_back(void *owner) {
  (void)owner;
  given_back++;
}

static char memory[256];

static DLManagedTensorVersioned *lend(const ab_stream *stream, int whole_context) {
  DLManagedTensorVersioned *tensor = NULL;
  ck_assert_int_eq(ab__tensor_new(bridge, 1, 0, memory, count_back, &tensor), AB_OK);
  tensor->dl_tensor.data = memory;
  tensor->dl_tensor.device = (DLDevice){kDLExtDev, 0};
  tensor->dl_tensor.dtype = (DLDataType){kDLFloat, 32, 1};
  tensor->dl_tensor.shape[0] = 16;
  tensor->dl_tensor.strides[0] = 1;
  const ab__loan loan = {.bridge = bridge,
                         .borrower = &borrower,
                         .device = {kDLExtDev, 0},
                         .ops = &toy_ops,
                         .stream = stream,
                         .whole_context = whole_context};
  ck_assert_int_eq(ab__lease_new(&loan, &tensor), AB_OK);
  return tensor;
}

static void setup(void) {
  ck_assert_int_eq(ab_bridge_new(NULL, &bridge, NULL), AB_OK);
  borrower.descriptor = &descriptor;
  borrower.vtable = &borrower.slots;
  borrower.slots.peek_stream = peek;
  borrower.slots.fence = fence;
  borrower.slots.finish = finish;
  borrower.bridge = bridge;
}

static void teardown(void) {
  ab_bridge_settle(bridge);
  ck_assert_int_eq(events, 0);
  ab_bridge_free(bridge);
}

START_TEST(memory_goes_back_when_the_streams_work_is_done) {
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  enqueued[1] = 5;
  tensor->deleter(tensor);
  ck_assert_int_eq(events, 0); /* a deleter calls no driver */
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 0);
  ck_assert_int_eq(events, 1);
  enqueued[1] = 9; /* later work of others does not hold it back */
  done[1] = 4;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 0);
  done[1] = 5;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 1);
  ck_assert_int_eq(events, 0);
}
END_TEST

START_TEST(work_between_conversion_and_drop_counts) {
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  ab_bridge_drain(bridge); /* an event recorded now would be too early */
  enqueued[1] = 1;
  tensor->deleter(tensor);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 0);
  done[1] = 1;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 1);
}
END_TEST

START_TEST(the_dropping_threads_stream_is_waited_for_too) {
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  enqueued[2] = 1;
  current = 2;
  tensor->deleter(tensor);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 0);
  done[2] = 1;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 1);
}
END_TEST

START_TEST(a_declared_stream_is_waited_for_and_an_undeclared_one_is_not) {
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL), other = stream_of(3, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *told = lend(&stream, 0), *untold = lend(&stream, 0);
  uint32_t found = 9;
  ck_assert_int_eq(ab__lease_declare(memory + sizeof memory, &other, &found), AB_OK);
  ck_assert_uint_eq(found, 0);
  enqueued[3] = 1;
  untold->deleter(untold);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 1);
  ck_assert_int_eq(ab__lease_declare(memory + 12, &other, &found), AB_OK);
  ck_assert_uint_eq(found, 1);
  told->deleter(told);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 1);
  done[3] = 1;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 2);
}
END_TEST

START_TEST(the_whole_context_is_waited_for_when_asked) {
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *tensor = lend(&stream, 1);
  enqueued[5] = 1; /* a private stream of the borrower's */
  tensor->deleter(tensor);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 0);
  done[5] = 1;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 1);
}
END_TEST

START_TEST(a_borrowed_stream_is_not_touched_later) {
  const ab_stream stream = stream_of(1, AB_STREAM_BORROWED);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  capturing[1] = 1; /* recording it would be seen */
  enqueued[1] = 1;
  tensor->deleter(tensor);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 0);
  done[1] = 1;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 1);
}
END_TEST

START_TEST(without_events_of_a_context_the_host_waits) {
  no_context_events = 1;
  const ab_stream stream = stream_of(1, AB_STREAM_BORROWED);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  enqueued[1] = 1;
  tensor->deleter(tensor);
  ck_assert_int_eq(finished, 0);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(finished, 1);
  ck_assert_int_eq(given_back, 1);
}
END_TEST

START_TEST(a_stream_that_is_captured_is_recorded_later) {
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  capturing[1] = 1;
  tensor->deleter(tensor);
  ab_bridge_drain(bridge);
  ab_bridge_settle(bridge);
  ck_assert_int_eq(given_back, 0);
  uint64_t count = 0, bytes = 0;
  ab_bridge_pending(bridge, &count, &bytes);
  ck_assert_uint_eq(count, 1);
  ck_assert_uint_eq(bytes, 64);
  capturing[1] = 0;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 1);
}
END_TEST

START_TEST(what_a_broken_device_held_goes_back) {
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *recorded = lend(&stream, 0), *not_yet = lend(&stream, 0);
  enqueued[1] = 1;
  recorded->deleter(recorded);
  ab_bridge_drain(bridge);
  broken = 1;
  not_yet->deleter(not_yet);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 2);
}
END_TEST

START_TEST(settling_waits_for_the_devices) {
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  enqueued[1] = 3;
  tensor->deleter(tensor);
  ab_bridge_settle(bridge);
  ck_assert_int_eq(given_back, 1);
  ck_assert_int_eq(done[1], 3);
}
END_TEST

START_TEST(a_borrower_that_orders_by_itself_is_fenced_first) {
  descriptor.flags = AB_PLUGIN_RELEASES_BEFORE_DONE;
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  tensor->deleter(tensor);
  ck_assert_int_eq(fenced, 0);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(fenced, 1);
  ck_assert_int_eq(given_back, 0); /* the marker is not done */
  done[1] = 1;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(fenced, 1);
  ck_assert_int_eq(given_back, 1);
}
END_TEST

static int retained;
static void retain(ab_stream *self) {
  (void)self;
  retained++;
}
static void release(ab_stream *self) {
  (void)self;
  retained--;
}

START_TEST(streams_are_kept_alive_until_they_are_done) {
  ab_stream stream = stream_of(1, 0);
  stream.retain = retain;
  stream.release = release;
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  ck_assert_int_eq(retained, 1);
  current = 1;
  enqueued[1] = 1;
  tensor->deleter(tensor);
  ab_bridge_drain(bridge);
  ck_assert_int_eq(retained, 1);
  done[1] = 1;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(retained, 0);
}
END_TEST

static atomic_int asked;
static void ask(void *self) {
  (void)self;
  atomic_fetch_add(&asked, 1);
}

START_TEST(somebody_asks_for_what_is_left_over) {
  const ab_runtime runtime = {.struct_size = sizeof runtime, .kind = 1, .request_drain = ask};
  const ab_bridge_options options = {.struct_size = sizeof options, .runtime = &runtime};
  ck_assert_int_eq(ab_bridge_new(&options, &bridge, NULL), AB_OK);
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  enqueued[1] = 1;
  tensor->deleter(tensor);
  ck_assert_int_eq(atomic_load(&asked), 0);
  ab_bridge_drain(bridge); /* not done yet: from here on the program does not call again */
  while (atomic_load(&asked) < 3) sched_yield();
  ck_assert_int_eq(given_back, 0);
  done[1] = 1;
  ab_bridge_drain(bridge);
  ck_assert_int_eq(given_back, 1);
}
END_TEST

START_TEST(without_a_runtime_it_goes_back_by_itself) {
  const ab_stream stream = stream_of(1, AB_STREAM_IMMORTAL);
  DLManagedTensorVersioned *tensor = lend(&stream, 0);
  enqueued[1] = 1;
  tensor->deleter(tensor);
  ab_bridge_drain(bridge);
  done[1] = 1;
  while (((volatile int *)&given_back)[0] == 0) sched_yield();
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("lease");
  TCase *const tests = unit_case(suite, "lease", setup, teardown);
  tcase_add_test(tests, memory_goes_back_when_the_streams_work_is_done);
  tcase_add_test(tests, work_between_conversion_and_drop_counts);
  tcase_add_test(tests, the_dropping_threads_stream_is_waited_for_too);
  tcase_add_test(tests, a_declared_stream_is_waited_for_and_an_undeclared_one_is_not);
  tcase_add_test(tests, the_whole_context_is_waited_for_when_asked);
  tcase_add_test(tests, a_borrowed_stream_is_not_touched_later);
  tcase_add_test(tests, without_events_of_a_context_the_host_waits);
  tcase_add_test(tests, a_stream_that_is_captured_is_recorded_later);
  tcase_add_test(tests, what_a_broken_device_held_goes_back);
  tcase_add_test(tests, settling_waits_for_the_devices);
  tcase_add_test(tests, a_borrower_that_orders_by_itself_is_fenced_first);
  tcase_add_test(tests, streams_are_kept_alive_until_they_are_done);
  tcase_add_test(tests, somebody_asks_for_what_is_left_over);
  tcase_add_test(tests, without_a_runtime_it_goes_back_by_itself);
  return suite;
}
