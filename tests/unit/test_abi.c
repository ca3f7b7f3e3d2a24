/* SPDX-License-Identifier: MIT
 * The binary interface, revision 1.0: where every field lies. A line here is never changed, only added: plugins that
 * were built with it are out there. And what the helpers of types.h promise. */
#include <arraybridge/arraybridge.h>
#include <arraybridge/plugin.h>

#include "check_main.h"

#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "1.0: " #type " has " #bytes " bytes")
#define FIELD(type, name, offset, bytes)                                                   \
  _Static_assert(offsetof(type, name) == (offset) && sizeof(((type *)0)->name) == (bytes), \
                 "1.0: " #type "." #name " is " #bytes " bytes at " #offset)

#if UINTPTR_MAX == UINT64_MAX
/* clang-format off */
SIZE(ab_failure, 88);
FIELD(ab_failure, struct_size, 0, 4);
FIELD(ab_failure, status, 4, 4);
FIELD(ab_failure, domain, 8, 8);
FIELD(ab_failure, object, 16, 8);
FIELD(ab_failure, code, 24, 8);
FIELD(ab_failure, text, 32, 8);
FIELD(ab_failure, owner, 40, 8);
FIELD(ab_failure, release, 48, 8);
FIELD(ab_failure, reserved, 56, 32);

SIZE(ab_error, 1248);
FIELD(ab_error, struct_size, 0, 4);
FIELD(ab_error, status, 4, 4);
FIELD(ab_error, failure, 8, 88);
FIELD(ab_error, text, 96, 768);
FIELD(ab_error, hint, 864, 384);

SIZE(ab_stream, 136);
FIELD(ab_stream, struct_size, 0, 4);
FIELD(ab_stream, kind, 4, 4);
FIELD(ab_stream, flags, 8, 4);
FIELD(ab_stream, reserved0, 12, 4);
FIELD(ab_stream, handle, 16, 8);
FIELD(ab_stream, device, 24, 8);
FIELD(ab_stream, device_uuid, 32, 16);
FIELD(ab_stream, native_context, 48, 8);
FIELD(ab_stream, id, 56, 8);
FIELD(ab_stream, thread, 64, 8);
FIELD(ab_stream, capture_id, 72, 8);
FIELD(ab_stream, owner, 80, 8);
FIELD(ab_stream, retain, 88, 8);
FIELD(ab_stream, release, 96, 8);
FIELD(ab_stream, reserved, 104, 32);

SIZE(ab_memory, 96);
FIELD(ab_memory, struct_size, 0, 4);
FIELD(ab_memory, flags, 4, 4);
FIELD(ab_memory, device, 8, 8);
FIELD(ab_memory, device_uuid, 16, 16);
FIELD(ab_memory, native_context, 32, 8);
FIELD(ab_memory, handle, 40, 8);
FIELD(ab_memory, offset, 48, 8);
FIELD(ab_memory, bytes, 56, 8);
FIELD(ab_memory, reserved, 64, 32);

SIZE(ab_report, 24);
FIELD(ab_report, struct_size, 0, 4);
FIELD(ab_report, flags, 4, 4);
FIELD(ab_report, bytes_copied, 8, 8);
FIELD(ab_report, detail, 16, 8);

SIZE(ab_call, 56);
FIELD(ab_call, struct_size, 0, 4);
FIELD(ab_call, flags, 4, 4);
FIELD(ab_call, self, 8, 8);
FIELD(ab_call, stream, 16, 8);
FIELD(ab_call, report, 24, 8);
FIELD(ab_call, error, 32, 8);
FIELD(ab_call, progress, 40, 8);
FIELD(ab_call, progress_context, 48, 8);

SIZE(ab_array_info, 112);
FIELD(ab_array_info, struct_size, 0, 4);
FIELD(ab_array_info, flags, 4, 4);
FIELD(ab_array_info, dtype, 8, 4);
FIELD(ab_array_info, device, 12, 8);
FIELD(ab_array_info, ndim, 20, 4);
FIELD(ab_array_info, mutability, 24, 4);
FIELD(ab_array_info, shape, 32, 8);
FIELD(ab_array_info, strides, 40, 8);
FIELD(ab_array_info, data, 48, 8);
FIELD(ab_array_info, range_begin, 56, 8);
FIELD(ab_array_info, range_bytes, 64, 8);
FIELD(ab_array_info, why_not, 72, 8);
FIELD(ab_array_info, tensor, 80, 8);
FIELD(ab_array_info, device_uuid, 88, 16);
FIELD(ab_array_info, native_context, 104, 8);

SIZE(ab_capabilities, 64);
FIELD(ab_capabilities, struct_size, 0, 4);
FIELD(ab_capabilities, flags, 4, 4);
FIELD(ab_capabilities, dtypes, 8, 8);
FIELD(ab_capabilities, dtype_count, 16, 4);
FIELD(ab_capabilities, layout, 20, 4);
FIELD(ab_capabilities, max_ndim, 24, 4);
FIELD(ab_capabilities, alignment, 28, 4);
FIELD(ab_capabilities, max_bytes, 32, 8);
FIELD(ab_capabilities, tensor_devices, 40, 8);
FIELD(ab_capabilities, plugin_flags, 48, 4);
FIELD(ab_capabilities, min_ndim, 52, 4);
FIELD(ab_capabilities, dlpack_max, 56, 8);

SIZE(ab_device_info, 80);
FIELD(ab_device_info, struct_size, 0, 4);
FIELD(ab_device_info, flags, 4, 4);
FIELD(ab_device_info, device, 8, 8);
FIELD(ab_device_info, uuid, 16, 16);
FIELD(ab_device_info, name, 32, 8);
FIELD(ab_device_info, native_context, 40, 8);
FIELD(ab_device_info, native_device, 48, 8);
FIELD(ab_device_info, native_queue, 56, 8);
FIELD(ab_device_info, memory_bytes, 64, 8);
FIELD(ab_device_info, domain, 72, 8);

SIZE(ab_framework_info, 328);
FIELD(ab_framework_info, struct_size, 0, 4);
FIELD(ab_framework_info, flags, 4, 4);
FIELD(ab_framework_info, version, 8, 64);
FIELD(ab_framework_info, detail, 72, 256);

SIZE(ab_memory_info, 288);
FIELD(ab_memory_info, struct_size, 0, 4);
FIELD(ab_memory_info, reserved, 4, 4);
FIELD(ab_memory_info, in_use, 8, 8);
FIELD(ab_memory_info, cached, 16, 8);
FIELD(ab_memory_info, limit, 24, 8);
FIELD(ab_memory_info, detail, 32, 256);

SIZE(ab_device_ops, 136);
FIELD(ab_device_ops, struct_size, 0, 4);
FIELD(ab_device_ops, lock, 4, 4);
FIELD(ab_device_ops, self, 8, 8);
FIELD(ab_device_ops, name, 16, 8);
FIELD(ab_device_ops, prepare, 24, 8);
FIELD(ab_device_ops, allocate, 32, 8);
FIELD(ab_device_ops, deallocate, 40, 8);
FIELD(ab_device_ops, copy, 48, 8);
FIELD(ab_device_ops, wrap, 56, 8);
FIELD(ab_device_ops, unwrap, 64, 8);
FIELD(ab_device_ops, map, 72, 8);
FIELD(ab_device_ops, unmap, 80, 8);
FIELD(ab_device_ops, event_record, 88, 8);
FIELD(ab_device_ops, event_wait, 96, 8);
FIELD(ab_device_ops, event_query, 104, 8);
FIELD(ab_device_ops, event_release, 112, 8);
FIELD(ab_device_ops, stream_finish, 120, 8);
FIELD(ab_device_ops, stream_state, 128, 8);

SIZE(ab_services, 176);
FIELD(ab_services, struct_size, 0, 4);
FIELD(ab_services, abi_major, 4, 2);
FIELD(ab_services, abi_minor, 6, 2);
FIELD(ab_services, core, 8, 8);
FIELD(ab_services, plugin_path, 16, 8);
FIELD(ab_services, log, 24, 8);
FIELD(ab_services, allocate, 32, 8);
FIELD(ab_services, deallocate, 40, 8);
FIELD(ab_services, tensor_new, 48, 8);
FIELD(ab_services, tensor_guard, 56, 8);
FIELD(ab_services, tensor_upgrade, 64, 8);
FIELD(ab_services, tensor_downgrade, 72, 8);
FIELD(ab_services, tensor_downgrade_undo, 80, 8);
FIELD(ab_services, defer_release, 88, 8);
FIELD(ab_services, drain, 96, 8);
FIELD(ab_services, lock_enter, 104, 8);
FIELD(ab_services, lock_leave, 112, 8);
FIELD(ab_services, lock_held, 120, 8);
FIELD(ab_services, blocking_begin, 128, 8);
FIELD(ab_services, blocking_end, 136, 8);
FIELD(ab_services, type_key, 144, 8);
FIELD(ab_services, runtime_ending, 152, 8);
FIELD(ab_services, device_ops, 160, 8);
FIELD(ab_services, dtype_name, 168, 8);

SIZE(ab_plugin_vtable, 240);
FIELD(ab_plugin_vtable, struct_size, 0, 4);
FIELD(ab_plugin_vtable, reserved, 4, 4);
FIELD(ab_plugin_vtable, to_dlpack, 8, 8);
FIELD(ab_plugin_vtable, from_dlpack, 16, 8);
FIELD(ab_plugin_vtable, to_host, 24, 8);
FIELD(ab_plugin_vtable, from_host, 32, 8);
FIELD(ab_plugin_vtable, is_oom, 40, 8);
FIELD(ab_plugin_vtable, clear_cache, 48, 8);
FIELD(ab_plugin_vtable, make_stream, 56, 8);
FIELD(ab_plugin_vtable, recognizes, 64, 8);
FIELD(ab_plugin_vtable, describe, 72, 8);
FIELD(ab_plugin_vtable, capabilities, 80, 8);
FIELD(ab_plugin_vtable, retain, 88, 8);
FIELD(ab_plugin_vtable, release, 96, 8);
FIELD(ab_plugin_vtable, probe, 104, 8);
FIELD(ab_plugin_vtable, start, 112, 8);
FIELD(ab_plugin_vtable, devices, 120, 8);
FIELD(ab_plugin_vtable, current_stream, 128, 8);
FIELD(ab_plugin_vtable, peek_stream, 136, 8);
FIELD(ab_plugin_vtable, adopt_stream, 144, 8);
FIELD(ab_plugin_vtable, drop_stream, 152, 8);
FIELD(ab_plugin_vtable, enter_stream, 160, 8);
FIELD(ab_plugin_vtable, exit_stream, 168, 8);
FIELD(ab_plugin_vtable, import_stream, 176, 8);
FIELD(ab_plugin_vtable, mark_use, 184, 8);
FIELD(ab_plugin_vtable, fence, 192, 8);
FIELD(ab_plugin_vtable, finish, 200, 8);
FIELD(ab_plugin_vtable, device_ops, 208, 8);
FIELD(ab_plugin_vtable, cast, 216, 8);
FIELD(ab_plugin_vtable, empty, 224, 8);
FIELD(ab_plugin_vtable, memory_info, 232, 8);

SIZE(ab_plugin, 24);
FIELD(ab_plugin, struct_size, 0, 4);
FIELD(ab_plugin, reserved, 4, 4);
FIELD(ab_plugin, self, 8, 8);
FIELD(ab_plugin, vtable, 16, 8);

SIZE(ab_plugin_descriptor, 64);
FIELD(ab_plugin_descriptor, struct_size, 0, 4);
FIELD(ab_plugin_descriptor, abi_major, 4, 2);
FIELD(ab_plugin_descriptor, abi_minor, 6, 2);
FIELD(ab_plugin_descriptor, name, 8, 8);
FIELD(ab_plugin_descriptor, version, 16, 8);
FIELD(ab_plugin_descriptor, licence, 24, 8);
FIELD(ab_plugin_descriptor, runtime, 32, 4);
FIELD(ab_plugin_descriptor, lock, 36, 4);
FIELD(ab_plugin_descriptor, runtime_abi, 40, 8);
FIELD(ab_plugin_descriptor, flags, 48, 4);
FIELD(ab_plugin_descriptor, reserved, 52, 4);
FIELD(ab_plugin_descriptor, create, 56, 8);

SIZE(ab_runtime, 120);
FIELD(ab_runtime, struct_size, 0, 4);
FIELD(ab_runtime, kind, 4, 4);
FIELD(ab_runtime, abi, 8, 8);
FIELD(ab_runtime, self, 16, 8);
FIELD(ab_runtime, lock_enter, 24, 8);
FIELD(ab_runtime, lock_leave, 32, 8);
FIELD(ab_runtime, blocking_begin, 40, 8);
FIELD(ab_runtime, blocking_end, 48, 8);
FIELD(ab_runtime, type_key, 56, 8);
FIELD(ab_runtime, retain, 64, 8);
FIELD(ab_runtime, release, 72, 8);
FIELD(ab_runtime, collect_garbage, 80, 8);
FIELD(ab_runtime, request_drain, 88, 8);
FIELD(ab_runtime, lock_held, 96, 8);
FIELD(ab_runtime, ending, 104, 8);
FIELD(ab_runtime, take_stray_error, 112, 8);

SIZE(ab_bridge_options, 32);
FIELD(ab_bridge_options, struct_size, 0, 4);
FIELD(ab_bridge_options, flags, 4, 4);
FIELD(ab_bridge_options, runtime, 8, 8);
FIELD(ab_bridge_options, log, 16, 8);
FIELD(ab_bridge_options, log_context, 24, 8);

SIZE(ab_trace_entry, 56);
FIELD(ab_trace_entry, struct_size, 0, 4);
FIELD(ab_trace_entry, status, 4, 4);
FIELD(ab_trace_entry, path, 8, 8);
FIELD(ab_trace_entry, place, 16, 8);
FIELD(ab_trace_entry, name, 24, 8);
FIELD(ab_trace_entry, version, 32, 8);
FIELD(ab_trace_entry, reason, 40, 8);
FIELD(ab_trace_entry, hint, 48, 8);

SIZE(ab_vendor, 32);
FIELD(ab_vendor, struct_size, 0, 4);
FIELD(ab_vendor, loaded, 4, 4);
FIELD(ab_vendor, isolated, 8, 4);
FIELD(ab_vendor, reserved, 12, 4);
FIELD(ab_vendor, path, 16, 8);
FIELD(ab_vendor, library, 24, 8);

SIZE(ab_array, 16);
FIELD(ab_array, backend, 0, 8);
FIELD(ab_array, object, 8, 8);

SIZE(ab_step, 336);
FIELD(ab_step, kind, 0, 4);
FIELD(ab_step, refused, 4, 4);
FIELD(ab_step, bytes, 8, 8);
FIELD(ab_step, reason, 16, 320);

SIZE(ab_record, 2768);
FIELD(ab_record, struct_size, 0, 4);
FIELD(ab_record, flags, 4, 4);
FIELD(ab_record, source, 8, 8);
FIELD(ab_record, target, 16, 8);
FIELD(ab_record, source_device, 24, 8);
FIELD(ab_record, target_device, 32, 8);
FIELD(ab_record, source_dtype, 40, 4);
FIELD(ab_record, target_dtype, 44, 4);
FIELD(ab_record, bytes, 48, 8);
FIELD(ab_record, bytes_copied, 56, 8);
FIELD(ab_record, seconds, 64, 8);
FIELD(ab_record, step_count, 72, 4);
FIELD(ab_record, step_size, 76, 4);
FIELD(ab_record, steps, 80, 2688);

SIZE(ab_convert_options, 104);
FIELD(ab_convert_options, struct_size, 0, 4);
FIELD(ab_convert_options, flags, 4, 4);
FIELD(ab_convert_options, device, 8, 8);
FIELD(ab_convert_options, accelerator, 16, 4);
FIELD(ab_convert_options, copy, 20, 4);
FIELD(ab_convert_options, casting, 24, 4);
FIELD(ab_convert_options, dtype, 28, 4);
FIELD(ab_convert_options, stream, 32, 8);
FIELD(ab_convert_options, record, 40, 8);
FIELD(ab_convert_options, threads, 48, 4);
FIELD(ab_convert_options, scaling, 52, 4);
FIELD(ab_convert_options, nan, 56, 8);
FIELD(ab_convert_options, scaled, 64, 8);
FIELD(ab_convert_options, max_retries, 72, 4);
FIELD(ab_convert_options, reserved, 76, 4);
FIELD(ab_convert_options, pinned_limit, 80, 8);
FIELD(ab_convert_options, progress, 88, 8);
FIELD(ab_convert_options, progress_context, 96, 8);

SIZE(ab_scale_report, 24);
FIELD(ab_scale_report, struct_size, 0, 4);
FIELD(ab_scale_report, reserved, 4, 4);
FIELD(ab_scale_report, saturated, 8, 8);
FIELD(ab_scale_report, overflowed, 16, 8);

SIZE(ab_number, 16);
FIELD(ab_number, kind, 0, 4);
FIELD(ab_number, reserved, 4, 4);
FIELD(ab_number, as, 8, 8);

SIZE(ab_survey_report, 592);
FIELD(ab_survey_report, struct_size, 0, 4);
FIELD(ab_survey_report, ndim, 4, 4);
FIELD(ab_survey_report, count, 8, 8);
FIELD(ab_survey_report, numbers, 16, 8);
FIELD(ab_survey_report, minimum, 24, 16);
FIELD(ab_survey_report, maximum, 40, 16);
FIELD(ab_survey_report, nan_count, 56, 8);
FIELD(ab_survey_report, infinite_count, 64, 8);
FIELD(ab_survey_report, fractional, 72, 4);
FIELD(ab_survey_report, stopped, 76, 4);
FIELD(ab_survey_report, first_nan, 80, 512);
/* clang-format on */
#endif

_Static_assert(AB_ABI_MAJOR == 1 && AB_ABI_MINOR == 0, "a newer revision adds lines above, and says so here");
_Static_assert(AB_MAX_NDIM == 64, "shape and stride buffers of plugins are this large");
_Static_assert(AB_MAX_STEPS == 8 && AB_STEP_REASON == 320, "part of ab_record");

/* Numbers that travel between libraries. */
_Static_assert(AB_STREAM_NONE == 0 && AB_STREAM_LEGACY == 1 && AB_STREAM_PER_THREAD == 2 && AB_STREAM_HANDLE == 3 &&
                   AB_STREAM_CL_QUEUE == 4 && AB_STREAM_UNKNOWN == 5,
               "1.0: stream kinds");
_Static_assert(AB_MUTABLE == 0 && AB_IMMUTABLE == 1 && AB_READ_ONLY == 2, "1.0: mutability");
_Static_assert(AB_LAYOUT_ANY == 0 && AB_LAYOUT_NON_NEGATIVE == 1 && AB_LAYOUT_PERMUTED_COMPACT == 2 && AB_LAYOUT_C == 3,
               "1.0: layouts");
_Static_assert(AB_SLOT_FROM_DLPACK == 0 && AB_SLOT_FROM_HOST == 1, "1.0: slots");
_Static_assert(AB_COPY_IF_NEEDED == 0 && AB_COPY_ALWAYS == 1 && AB_COPY_NEVER == 2, "1.0: copy rules");
_Static_assert(AB_CASTING_NO == 0 && AB_CASTING_SAFE == 1 && AB_CASTING_SAME_KIND == 2 && AB_CASTING_UNSAFE == 3,
               "1.0: casting rules");
_Static_assert(AB_SCALING_NONE == 0 && AB_SCALING_CLIP == 1 && AB_SCALING_UNIT == 2 && AB_SCALING_EXACT == 3 &&
                   AB_SCALING_MINMAX == 4 && AB_SCALING_WRAP == 5,
               "1.0: scalings");
_Static_assert(AB_STEP_SAME == 0 && AB_STEP_EXCHANGE == 1 && AB_STEP_WRAP == 2 && AB_STEP_MAP == 3 &&
                   AB_STEP_PIVOT == 4 && AB_STEP_TO_HOST == 5 && AB_STEP_FROM_HOST == 6,
               "1.0: step kinds");
_Static_assert(AB_LOCK_NONE == 0 && AB_LOCK_PYTHON == 1 && AB_RUNTIME_NONE == 0 && AB_RUNTIME_PYTHON == 1,
               "1.0: locks and runtimes");
_Static_assert(AB_OK == 0 && AB_UNSUPPORTED == 1 && AB_WOULD_COPY == 2 && AB_WOULD_CAST == 3 && AB_OOM == 10 &&
                   AB_FRAMEWORK == 12 && AB_INTERNAL == 19,
               "1.0: statuses");
_Static_assert(AB_CALL_NEVER_COPY == 1 && AB_CALL_WANT_TENSOR == 1 << 16 && AB_CALL_ORDERED == 1 << 19,
               "1.0: flags of a call");
_Static_assert(AB_INFO_HOST_ACCESSIBLE == 1 && AB_INFO_NOT_PLAIN == 128 && AB_CARRIES_READ_ONLY == 8 &&
                   AB_MAKES_IMMUTABLE == 32 && AB_TENSOR_DROP_NEEDS_LOCK == 1,
               "1.0: flags of descriptions");

/* ------------------------------------------------------------------ sized structs */

START_TEST(a_field_is_there_if_the_writer_knew_all_of_it) {
  ab_report report = {.struct_size = 0};
  ck_assert(!AB_HAS_FIELD(&report, ab_report, flags));
  report.struct_size = offsetof(ab_report, bytes_copied) + 7;
  ck_assert(AB_HAS_FIELD(&report, ab_report, flags));
  ck_assert(!AB_HAS_FIELD(&report, ab_report, bytes_copied));
  report.struct_size++;
  ck_assert(AB_HAS_FIELD(&report, ab_report, bytes_copied));
  ck_assert(!AB_HAS_FIELD(&report, ab_report, detail));
  report.struct_size = sizeof report + 100; /* of a newer writer */
  ck_assert(AB_HAS_FIELD(&report, ab_report, detail));
}
END_TEST

START_TEST(filling_stops_where_the_smaller_of_the_two_ends) {
  ab_memory_info from;
  memset(&from, 0x11, sizeof from);
  for (uint32_t theirs = 0; theirs <= sizeof from; theirs++)
    for (uint32_t ours = 0; ours <= sizeof from; ours += theirs % 16 == 0 ? 1 : 37) {
      ab_memory_info to;
      memset(&to, 0x22, sizeof to);
      to.struct_size = ours;
      ab_struct_fill(&to, &from, theirs);
      ck_assert_uint_eq(to.struct_size, ours); /* stays the caller's */
      const uint32_t shared = theirs < ours ? theirs : ours;
      const unsigned char *bytes = (const unsigned char *)&to;
      for (uint32_t index = sizeof(uint32_t); index < sizeof to; index++)
        if (bytes[index] != (index < shared ? 0x11 : 0x22)) ck_abort_msg("byte %u of %u, %u", index, ours, theirs);
    }
}
END_TEST

START_TEST(unknown_flags_of_a_call_are_seen) {
  ab_call call = {.struct_size = sizeof call, .flags = AB_CALL_NEVER_COPY | 1u << 31};
  ck_assert(AB_CALL_UNDERSTOOD(&call, AB_CALL_NEVER_COPY));
  ck_assert(!AB_CALL_UNDERSTOOD(&call, 0));
  call.flags |= 1u << 15;
  ck_assert(!AB_CALL_UNDERSTOOD(&call, AB_CALL_NEVER_COPY));
}
END_TEST

/* ------------------------------------------------------------------ errors */

static int released;
static void count_release(ab_failure *self) { released += 1 + (self->owner != &released) * 100; }

static ab_failure failure(int64_t code) {
  return (ab_failure){.struct_size = sizeof(ab_failure),
                      .status = AB_FRAMEWORK,
                      .domain = "test",
                      .code = code,
                      .owner = &released,
                      .release = count_release};
}

START_TEST(an_error_is_set_and_returns_its_status) {
  ab_error error;
  memset(&error, 0x5a, sizeof error);
  ab_error_init(&error);
  ck_assert_uint_eq(error.struct_size, sizeof error);
  ck_assert_int_eq(error.status, AB_OK);
  ck_assert_str_eq(error.text, "");
  ck_assert_str_eq(error.hint, "");
  ck_assert_int_eq(ab_error_set(&error, AB_OOM, "no %d bytes", 7), AB_OOM);
  ab_error_hint(&error, "free %s", "some");
  ck_assert_str_eq(error.text, "no 7 bytes");
  ck_assert_str_eq(error.hint, "free some");
  ab_error_set(&error, AB_DRIVER, "else");
  ck_assert_str_eq(error.hint, ""); /* belonged to what was said before */
  ck_assert_int_eq(ab_error_set(NULL, AB_OOM, "nobody listens"), AB_OOM);
  ab_error_hint(NULL, "nobody listens");
  ab_error_clear(NULL);
}
END_TEST

START_TEST(long_texts_are_cut) {
  ab_error error;
  ab_error_init(&error);
  char text[2 * AB_ERROR_TEXT];
  memset(text, 'x', sizeof text - 1);
  text[sizeof text - 1] = '\0';
  ab_error_set(&error, AB_OOM, "%s", text);
  ab_error_hint(&error, "%s", text);
  ck_assert_uint_eq(strlen(error.text), AB_ERROR_TEXT - 1);
  ck_assert_uint_eq(strlen(error.hint), AB_ERROR_HINT - 1);
}
END_TEST

START_TEST(an_error_owns_one_failure) {
  static ab_error error;
  ab_error_init(&error);
  released = 0;
  ab_failure first = failure(1), second = failure(2), third = failure(3);
  ab_error_set_failure(&error, &first);
  ck_assert_uint_eq(first.struct_size, 0); /* moved */
  ck_assert(first.release == NULL);
  ab_error_set(&error, AB_FRAMEWORK, "kept");
  ck_assert_int_eq(error.failure.code, 1);
  ck_assert_int_eq(released, 0);
  ab_error_set_failure(&error, &second); /* takes its place */
  ck_assert_int_eq(released, 1);
  ck_assert_int_eq(error.failure.code, 2);
  ab_error_clear(&error);
  ck_assert_int_eq(released, 2);
  ck_assert_int_eq(error.status, AB_OK);
  ck_assert_str_eq(error.text, "");
  ab_error_clear(&error); /* nothing left */
  ck_assert_int_eq(released, 2);
  ab_error_set_failure(NULL, &third); /* nobody listens */
  ck_assert_int_eq(released, 3);
  ab_failure nothing = failure(4);
  nothing.release = NULL;
  ab_error_set_failure(&error, &nothing);
  ab_error_clear(&error);
  ck_assert_int_eq(released, 3);
}
END_TEST

START_TEST(a_slot_fails_without_a_text_that_nobody_reads) {
  ab_error error;
  ab_error_init(&error);
  ab_call call = {.struct_size = sizeof call, .flags = AB_CALL_NO_TEXT, .error = &error};
  ck_assert_int_eq(ab_fail(&call, AB_UNSUPPORTED, "sparse"), AB_UNSUPPORTED);
  ck_assert_str_eq(error.text, "");
  call.flags = 0;
  ck_assert_int_eq(ab_fail(&call, AB_UNSUPPORTED, "sparse %d", 1), AB_UNSUPPORTED);
  ck_assert_str_eq(error.text, "sparse 1");
}
END_TEST

START_TEST(every_status_has_a_name_and_a_text) {
  for (ab_status status = AB_OK; status <= AB_INTERNAL; status++) {
    ck_assert_str_ne(ab_status_name(status), "UNKNOWN");
    ck_assert_str_ne(ab_status_text(status), ab_status_text(-1));
  }
  ck_assert_str_eq(ab_status_name(AB_WOULD_COPY), "WOULD_COPY");
  ck_assert_str_eq(ab_status_name(AB_INTERNAL + 1), "UNKNOWN");
  ck_assert_str_eq(ab_status_name(-1), "UNKNOWN");
}
END_TEST

START_TEST(every_step_has_a_name) {
  static const char *const names[] = {"same", "exchange", "wrap", "map", "pivot", "to_host", "from_host"};
  for (int kind = 0; kind < 7; kind++) ck_assert_str_eq(ab_step_name((ab_step_kind)kind), names[kind]);
  ck_assert_str_eq(ab_step_name((ab_step_kind)7), "unknown");
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("abi");
  TCase *const tests = unit_case(suite, "abi", NULL, NULL);
  tcase_add_test(tests, a_field_is_there_if_the_writer_knew_all_of_it);
  tcase_add_test(tests, filling_stops_where_the_smaller_of_the_two_ends);
  tcase_add_test(tests, unknown_flags_of_a_call_are_seen);
  tcase_add_test(tests, an_error_is_set_and_returns_its_status);
  tcase_add_test(tests, long_texts_are_cut);
  tcase_add_test(tests, an_error_owns_one_failure);
  tcase_add_test(tests, a_slot_fails_without_a_text_that_nobody_reads);
  tcase_add_test(tests, every_status_has_a_name_and_a_text);
  tcase_add_test(tests, every_step_has_a_name);
  return suite;
}
