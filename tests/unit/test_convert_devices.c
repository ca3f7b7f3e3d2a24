/* SPDX-License-Identifier: MIT
 * Devices and streams of a conversion. */
#include "toy_conversion.h"

static void expect_device(DLDevice device) {
  ck_assert_msg(convert() == AB_OK, "%s", error.text);
  ck_assert_int_eq(made()->device.device_type, device.device_type);
  ck_assert_int_eq(made()->device.device_id, device.device_id);
  ck_assert_int_eq(record.target_device.device_type, device.device_type);
  ck_assert_int_eq(record.target_device.device_id, device.device_id);
}

START_TEST(an_array_stays_where_the_target_can_use_it) {
  const DLDevice host = {kDLCPU, 0}, ext1 = {kDLExtDev, 1};
  grid(f32);
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 2;
  expect_device(host);
  source->device = ext1;
  source->flags = 0;
  expect_device(ext1);
  source->device.device_id = 5; /* not there: the host */
  expect_device(host);
  right.places = TOY_EXT; /* no host: its default */
  toy_forget(&right);
  expect_device(ext0);
  right.accelerators = 0;
  toy_forget(&right);
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
}
END_TEST

START_TEST(host_devices_are_one_memory_for_everybody_else) {
  const DLDevice host1 = {kDLCPU, 1};
  left.hosts = right.hosts = 2;
  grid(f32);
  source->device = host1;
  expect_device((DLDevice){kDLCPU, 0});
  ck_assert_ptr_eq(made()->data, source->data);
  ck_assert_int_eq(convert_to(&left), AB_OK); /* at home it stays where it is */
  ck_assert_ptr_eq(result.object, source);
  ck_assert_int_eq(record.target_device.device_id, 1);
}
END_TEST

START_TEST(a_given_device_is_exactly_that_or_an_error) {
  const DLDevice host = {kDLCPU, 0}, ext1 = {kDLExtDev, 1};
  grid(f32);
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 2;
  options.flags = AB_CONVERT_DEVICE_GIVEN;
  options.device = ext1;
  expect_device(ext1);
  options.device.device_id = 2;
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  expect_text("right has no arrays on ext:2");
  ck_assert_str_eq(error.hint, "it has: ext:0, ext:1, cpu:0");
  options.device = (DLDevice){kDLCUDA, 0};
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  expect_text("cuda:0");
  options.device = host;
  expect_device(host);
  options.flags |= AB_CONVERT_DEVICE_KIND;
  options.device = (DLDevice){kDLCPU, 77}; /* no number is given */
  expect_device(host);
  options.device = (DLDevice){kDLExtDev, 77};
  expect_device(ext0);
  options.device = (DLDevice){kDLCUDA, 77};
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  right.backend.slots.devices = NULL;
  options.device = (DLDevice){kDLExtDev, 77};
  expect_device(ext0);
}
END_TEST

START_TEST(accelerators_are_counted_without_the_host) {
  grid(f32);
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 2;
  options.flags = AB_CONVERT_ACCELERATOR;
  for (options.accelerator = 0; options.accelerator < 2; options.accelerator++)
    expect_device((DLDevice){kDLExtDev, options.accelerator});
  options.accelerator = 2;
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  expect_text("gpu_id=2: right has 2 accelerators");
  options.accelerator = -1;
  ck_assert_int_eq(convert(), AB_NO_DEVICE);
  right.accelerators = 0; /* none at all: the host */
  options.accelerator = 3;
  expect_device((DLDevice){kDLCPU, 0});
  right.backend.slots.devices = NULL;
  expect_device((DLDevice){kDLCPU, 0});
}
END_TEST

START_TEST(devices_that_cannot_be_listed_are_none) {
  grid(f32);
  options.flags = AB_CONVERT_ACCELERATOR;
  right.devices.failures = 1;
  right.devices.status = AB_UNSUPPORTED;
  expect_device((DLDevice){kDLCPU, 0});
  right.devices.failures = 1;
  right.devices.status = AB_DRIVER;
  ck_assert_int_eq(convert(), AB_DRIVER);
}
END_TEST

START_TEST(streams_order_devices_only) {
  grid(f32);
  right.places = TOY_HOST | TOY_EXT;
  right.accelerators = 1;
  right.stream_kind = AB_STREAM_HANDLE;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 0);
  source->device = ext0;
  source->flags = 0;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 1);
  right.stream_kind = AB_STREAM_UNKNOWN;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 0);
  ab_stream given = {.struct_size = sizeof given, .kind = AB_STREAM_LEGACY};
  options.stream = &given;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 1);
  given.kind = AB_STREAM_UNKNOWN;
  ck_assert_int_eq(convert(), AB_STREAM);
  given.kind = AB_STREAM_NONE;
  ck_assert_int_eq(convert(), AB_OK);
  ck_assert_int_eq(right.had_stream, 0);
  options.stream = NULL;
  right.stream.failures = 1;
  right.stream.status = AB_DRIVER;
  right.stream.text = "the driver is gone";
  ck_assert_int_eq(convert(), AB_DRIVER);
  right.stream.failures = 1;
  right.stream.status = AB_UNSUPPORTED;
  ck_assert_int_eq(convert(), AB_OK);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("convert: devices");
  TCase *const tests = unit_case(suite, "convert: devices", setup, teardown);
  tcase_add_test(tests, an_array_stays_where_the_target_can_use_it);
  tcase_add_test(tests, host_devices_are_one_memory_for_everybody_else);
  tcase_add_test(tests, a_given_device_is_exactly_that_or_an_error);
  tcase_add_test(tests, accelerators_are_counted_without_the_host);
  tcase_add_test(tests, devices_that_cannot_be_listed_are_none);
  tcase_add_test(tests, streams_order_devices_only);
  return suite;
}
