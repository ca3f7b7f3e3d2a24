/* SPDX-License-Identifier: MIT
 * Exceptions that a slot leaves pending, and failures without a word: told with the slot that is to blame. */
#include "toy_language.h"

#include "backend.h"

static const char *left_behind; /* the exception that is pending */
static int asks_to_stop;
static const char *guilty; /* the slot that leaves one */
static int forgotten;      /* exceptions that nobody released */

static void forget(ab_failure *failure) {
  (void)failure;
  forgotten--;
}

static int32_t take_stray_error(void *self, ab_error *stray) {
  ck_assert_ptr_eq(self, &the_self);
  ck_assert_int_eq(has_lock(), 1);
  if (left_behind == NULL) return 0;
  ab_error_set(stray, asks_to_stop ? AB_CANCELLED : AB_INTERNAL, "%s", left_behind);
  ab_failure failure = {.struct_size = sizeof failure, .status = AB_FRAMEWORK, .domain = "toy", .release = forget};
  forgotten++;
  ab_error_set_failure(stray, &failure);
  left_behind = NULL;
  return 1;
}

static void leave_behind(const char *slot) {
  ck_assert_msg(left_behind == NULL, "%s() is entered with an exception pending", slot);
  if (guilty != NULL && strcmp(guilty, slot) == 0) left_behind = "Oops: left";
}

static ab_status start_stray(const ab_call *call) {
  leave_behind("start");
  return toy_start(call);
}

static ab_status describe_stray(const ab_call *call, void *object, ab_array_info *info) {
  leave_behind("describe");
  return toy_describe(call, object, info);
}

static ab_status capabilities_stray(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *stated) {
  leave_behind("capabilities");
  return toy_capabilities(call, device, slot, stated);
}

static ab_status to_dlpack_stray(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  leave_behind("to_dlpack");
  return toy_to_dlpack(call, array, tensor);
}

static ab_status to_host_stray(const ab_call *call, void *array, DLManagedTensorVersioned **tensor) {
  leave_behind("to_host");
  return toy_to_host(call, array, tensor);
}

static ab_status from_dlpack_stray(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device,
                                   int32_t *consumed, void **array) {
  leave_behind("from_dlpack");
  return toy_from_dlpack(call, tensor, device, consumed, array);
}

static ab_status from_host_stray(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array) {
  leave_behind("from_host");
  return toy_from_host(call, tensor, device, array);
}

static ab_status probe_stray(const ab_call *call, ab_framework_info *info) {
  (void)call, (void)info;
  leave_behind("probe");
  return AB_OK;
}

static toy_array *source;

static void setup_stray(void) {
  setup();
  runtime.take_stray_error = take_stray_error;
  bridge->runtime.take_stray_error = take_stray_error;
  left.backend.slots.start = right.backend.slots.start = start_stray;
  left.backend.slots.describe = describe_stray;
  left.backend.slots.to_dlpack = to_dlpack_stray;
  left.backend.slots.to_host = to_host_stray;
  right.backend.slots.capabilities = capabilities_stray;
  right.backend.slots.from_dlpack = from_dlpack_stray;
  right.backend.slots.from_host = from_host_stray;
  right.backend.slots.probe = probe_stray;
  const int64_t shape[] = {3, 4};
  source = toy_array_new(&left, f32, 2, shape);
}

static void teardown_stray(void) {
  ab_error_clear(&error);
  ck_assert_int_eq(forgotten, 0);
  toy_array_release(source);
  expect_nothing_left();
  teardown();
  ab_bridge_free(bridge);
}

static ab_status convert(void) {
  const ab_array array = {.backend = &left.backend, .object = source};
  ab_array result = {0};
  const ab_status status = ab_convert(bridge, &array, &right.backend, NULL, &result, &error);
  ck_assert_int_eq(status, error.status);
  ab_array_release(&result);
  return status;
}

static void expect_blamed(const char *owner, const char *slot) {
  guilty = slot;
  ck_assert_int_eq(convert(), AB_INTERNAL);
  guilty = NULL;
  char words[128];
  snprintf(words, sizeof words, "%s: %s() left an exception pending: Oops: left", owner, slot);
  ck_assert_str_eq(error.text, words);
  ck_assert_ptr_nonnull(strstr(error.hint, "abpy_error()"));
  ck_assert_uint_ne(error.failure.struct_size, 0);
  ck_assert_msg(convert() == AB_OK, "%s", error.text); /* nothing of it stays */
}

START_TEST(a_slot_that_leaves_an_exception_is_named) {
  expect_blamed("left", "start");
  expect_blamed("left", "describe");
  expect_blamed("left", "to_dlpack");
  toy_forget(&right);
  expect_blamed("right", "capabilities");
  expect_blamed("right", "from_dlpack");
  source->flags = AB_INFO_NOT_SHAREABLE;
  expect_blamed("left", "to_host");
  toy_forget(&right);
  right.has_slot[0] = 0;
  expect_blamed("right", "from_host");
}
END_TEST

START_TEST(a_question_that_leaves_an_exception_is_named) {
  ab_framework_info info = {.struct_size = sizeof info};
  guilty = "probe";
  ck_assert_int_eq(ab_backend_probe(&right.backend, &info, &error), AB_INTERNAL);
  ck_assert_str_eq(error.text, "right: probe() left an exception pending: Oops: left");
  guilty = "describe";
  int64_t shape[AB_MAX_NDIM], strides[AB_MAX_NDIM];
  ab_array_info described = {.struct_size = sizeof described};
  const ab_array array = {.backend = &left.backend, .object = source};
  ck_assert_int_eq(ab_array_describe(&array, shape, strides, &described, &error), AB_INTERNAL);
  ck_assert_str_eq(error.text, "left: describe() left an exception pending: Oops: left");
}
END_TEST

START_TEST(a_failure_with_an_exception_left_is_about_the_exception) {
  left.to_dlpack = (toy_behaviour){.failures = 1, .status = AB_UNSUPPORTED, .text = "no"};
  guilty = "to_dlpack";
  ck_assert_int_eq(convert(), AB_INTERNAL);
  ck_assert_ptr_nonnull(strstr(error.text, "to_dlpack() left"));
}
END_TEST

START_TEST(a_wish_to_stop_that_is_left_stops) {
  asks_to_stop = 1;
  guilty = "from_dlpack";
  ck_assert_int_eq(convert(), AB_CANCELLED);
  ck_assert_uint_ne(error.failure.struct_size, 0);
}
END_TEST

START_TEST(a_failure_without_a_word_names_its_slot) {
  right.from_dlpack = (toy_behaviour){.failures = 1, .status = AB_FRAMEWORK};
  ck_assert_int_eq(convert(), AB_FRAMEWORK);
  ck_assert_str_eq(error.text, "right: from_dlpack() returned FRAMEWORK and said nothing (use abpy_error)");
  left.gives_tensor = 1; /* and on the quickest way */
  ck_assert_int_eq(convert(), AB_OK);
  right.from_dlpack = (toy_behaviour){.failures = 1, .status = AB_DRIVER};
  ck_assert_int_eq(convert(), AB_DRIVER);
  ck_assert_str_eq(error.text, "right: from_dlpack() returned DRIVER and said nothing (use abpy_error)");
  left.start = (toy_behaviour){.failures = 1, .status = AB_UNAVAILABLE};
  atomic_store(&left.backend.started, 0);
  ck_assert_int_eq(convert(), AB_UNAVAILABLE);
  ck_assert_str_eq(error.text, "left: start() returned UNAVAILABLE and said nothing (use abpy_error)");
}
END_TEST

static int count_devices(void *context, const ab_device_info *device) {
  ck_assert_int_eq(device->device.device_type, kDLCPU);
  ck_assert_int_eq(device->device.device_id, 0);
  ck_assert_uint_eq(device->flags, AB_DEVICE_DEFAULT);
  ++*(int *)context;
  return 0;
}

START_TEST(a_plugin_without_devices_has_the_host) {
  left.backend.slots.devices = NULL;
  int seen = 0;
  ck_assert_int_eq(ab_backend_devices(&left.backend, count_devices, &seen, &error), AB_OK);
  ck_assert_int_eq(seen, 1);
}
END_TEST

Suite *unit_suite(void) {
  Suite *suite = suite_create("stray_exception");
  TCase *stray = unit_case(suite, "stray", setup_stray, teardown_stray);
  tcase_add_test(stray, a_slot_that_leaves_an_exception_is_named);
  tcase_add_test(stray, a_question_that_leaves_an_exception_is_named);
  tcase_add_test(stray, a_failure_with_an_exception_left_is_about_the_exception);
  tcase_add_test(stray, a_wish_to_stop_that_is_left_stops);
  tcase_add_test(stray, a_failure_without_a_word_names_its_slot);
  tcase_add_test(stray, a_plugin_without_devices_has_the_host);
  return suite;
}
