/* SPDX-License-Identifier: MIT
 * Who uses the host only opens no driver. This executable has a dlopen() of its own, which everybody in the process
 * calls: so it does not matter whether there is a driver. */
#include <dlfcn.h>
#include <stdlib.h>

#include "device/cuda.h"
#include "device/device.h"
#include "toy_conversion.h"

static int drivers_asked_for;

void *dlopen(const char *path, int flags) {
  typedef void *open_function(const char *, int);
  static open_function *next;
  if (next == NULL) {
    void *const found = dlsym(RTLD_NEXT, "dlopen");
    memcpy(&next, &found, sizeof next);
  }
  if (path != NULL && strstr(path, "libcuda") != NULL) drivers_asked_for++;
  return next(path, flags);
}

START_TEST(no_driver_is_opened_for_discovery_and_host_conversions) {
  char fake[4096];
  const char *const folder = getenv("AB_FAKES");
  snprintf(fake, sizeof fake, "%s/fake_good.so", folder != NULL ? folder : ".");
  (void)ab_bridge_add_path(bridge, fake, NULL);
  ck_assert_int_eq(ab_bridge_discover(bridge, &error), AB_OK);
  before = ab__allocation_count();  // a loaded plugin stays
  const DLDataType dtypes[] = {f32, f64, i16, c64};
  for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
    if (source != NULL) {
      ab_array_release(&result);
      toy_array_release(source);
    }
    grid(dtypes[i]);
    ck_assert_int_eq(convert(), AB_OK);
    same_values();
  }
  ab_bridge_drain(bridge);
  int pinned = 1;
  ck_assert_int_eq(ab__cuda_pinned(source->data, 4, &pinned, NULL), AB_OK);
  ck_assert_int_eq(pinned, 0);
  ck_assert_int_eq(ab__cuda_loaded(), 0);
  ck_assert_int_eq(drivers_asked_for, 0);
}
END_TEST

START_TEST(the_driver_is_opened_for_the_first_question_about_a_device) {
  const ab_device_ops *const cuda = ab__device_ops(kDLCUDA);
  const ab_stream stream = {.struct_size = sizeof stream, .kind = AB_STREAM_LEGACY, .device = {kDLCUDA, 0}};
  ab_report report = {.struct_size = sizeof report};
  const ab_call call = ab__device_call(cuda, &stream, &report, &error);
  const ab_status first = cuda->stream_finish(&call);
  char text[sizeof error.text];
  strcpy(text, error.text);
  if (cuda->event_record == NULL) {  // built without cuda.h
    ck_assert_int_eq(first, AB_UNAVAILABLE);
    ck_assert_int_eq(drivers_asked_for, 0);
    return;
  }
  ck_assert_int_eq(drivers_asked_for, 1);
  if (first != AB_UNAVAILABLE) return;  // there is a driver
  ck_assert_ptr_nonnull(strstr(text, "libcuda.so.1"));
  ck_assert_int_eq(cuda->stream_finish(&call), AB_UNAVAILABLE);  // the reason is remembered
  ck_assert_str_eq(error.text, text);
  ck_assert_int_eq(drivers_asked_for, 1);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("unopened");
  TCase *const tests = unit_case(suite, "unopened", setup, teardown);
  tcase_add_test(tests, no_driver_is_opened_for_discovery_and_host_conversions);
  tcase_add_test(tests, the_driver_is_opened_for_the_first_question_about_a_device);
  return suite;
}
