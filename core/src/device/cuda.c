/* SPDX-License-Identifier: MIT
 * The table of device operations, and what stands in for all of it where cuda.h was missing. */
#include "device/cuda.h"

#include "device/cuda_internal.h"
#include "fork.h"

#ifndef AB__HAS_CUDA

static ab_status unavailable(ab_error *error) {
  return ab_error_set(error, AB_UNAVAILABLE, "no CUDA: arraybridge was built without cuda.h");
}

int ab__cuda_loaded(void) { return 0; }
void ab__cuda_end(void) {}
void ab__cuda_fork(ab__fork_step step) { (void)step; }

ab_status ab__cuda_check_pointer(const void *address, uint64_t bytes, DLDevice device, const uint8_t uuid[16],
                                 ab_error *error) {
  (void)address;
  (void)bytes;
  (void)device;
  (void)uuid;
  return unavailable(error);
}

ab_status ab__cuda_pinned(const void *address, uint64_t bytes, int *pinned, ab_error *error) {
  (void)address;
  (void)bytes;
  (void)error;
  *pinned = 0;
  return AB_OK;
}

ab_status ab__cuda_memory_info(DLDevice device, uint64_t *free_bytes, uint64_t *total_bytes, ab_error *error) {
  (void)device;
  (void)free_bytes;
  (void)total_bytes;
  return unavailable(error);
}

ab_status ab__cuda_event_record_context(DLDevice device, const uint8_t uuid[16], void **event, ab_error *error) {
  (void)device;
  (void)uuid;
  (void)event;
  return unavailable(error);
}

ab_status ab__cuda_stream_new(DLDevice device, ab_stream *stream, ab_error *error) {
  (void)device;
  (void)stream;
  return unavailable(error);
}

static ab_status unavailable_allocate(const ab_call *call, ab_memory *memory) {
  (void)memory;
  return unavailable(call->error);
}

static ab_status unavailable_copy(const ab_call *call, const ab_memory *to, const ab_memory *from) {
  (void)to;
  (void)from;
  return unavailable(call->error);
}

static ab_status unavailable_finish(const ab_call *call) { return unavailable(call->error); }

#endif

/* Nothing is opened ahead of time: another library cannot disturb this driver. Without cuda.h there are no events, so
 * that a plugin's own operations are asked. */
const ab_device_ops ab__cuda_ops = {
    .struct_size = (uint32_t)sizeof(ab_device_ops),
    .name = "cuda",
#ifdef AB__HAS_CUDA
    .allocate = ab__cu_allocate,
    .deallocate = ab__cu_deallocate,
    .copy = ab__cu_copy,
    .wrap = ab__cu_wrap,
    .unwrap = ab__cu_unwrap,
    .event_record = ab__cu_event_record,
    .event_wait = ab__cu_event_wait,
    .event_query = ab__cu_event_query,
    .event_release = ab__cu_event_release,
    .stream_finish = ab__cu_stream_finish,
    .stream_state = ab__cu_stream_state,
#else
    .allocate = unavailable_allocate,
    .copy = unavailable_copy,
    .stream_finish = unavailable_finish,
#endif
};
