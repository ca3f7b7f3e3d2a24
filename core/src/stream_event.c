/* SPDX-License-Identifier: MIT */
#include "stream_event.h"

#include "device/device.h"

int ab__stream_has_events(const ab_device_ops *ops) {
  return ops != NULL && ops->event_record != NULL && ops->event_wait != NULL && ops->event_query != NULL &&
         ops->event_release != NULL;
}

const ab_device_ops *ab__stream_ops(DLDevice device) {
  const ab_device_ops *ops = ab__device_ops(device.device_type);
  return ab__stream_has_events(ops) ? ops : NULL;
}

ab_status ab__stream_current(const ab_backend *backend, DLDevice device, uint32_t flags, ab_stream *stream,
                             ab_error *error) {
  *stream = (ab_stream){.struct_size = (uint32_t)sizeof *stream, .device = device};
  if (backend->vtable->current_stream == NULL) return AB_OK;
  ab__invocation run;
  ab__invocation_init(&run, backend, flags, NULL, error);
  ab_status status = backend->vtable->current_stream(&run.call, device, stream);
  status = ab__slot_result(backend, "current_stream", status, error);
  if (status != AB_UNSUPPORTED) return status;
  ab_error_clear(error);
  stream->kind = AB_STREAM_NONE;
  return AB_OK;
}

int ab__stream_captures(const ab_device_ops *ops, const ab_stream *stream) {
  if (ops->stream_state == NULL) return 0;
  ab_stream now = *stream;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = ab__device_call(ops, stream, &report, &error);
  (void)ops->stream_state(&call, &now); /* on failure the flags stay what they were */
  ab_error_clear(&error);
  return (now.flags & AB_STREAM_CAPTURING) != 0;
}

ab_status ab__stream_follow(const ab_device_ops *ops, const ab_stream *earlier, const ab_stream *later,
                            ab_error *error) {
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call recording = ab__device_call(ops, earlier, &report, error);
  const ab_call waiting = ab__device_call(ops, later, &report, error);
  void *event = NULL;
  const ab_status status = ops->event_record(&recording, &event);
  if (status != AB_OK) return status;
  const ab_status waited = ops->event_wait(&waiting, event);
  ops->event_release(&recording, event);
  return waited;
}

void ab__stream_keep(ab_stream *stream) {
  if (stream->retain != NULL && !(stream->flags & AB_STREAM_IMMORTAL)) stream->retain(stream);
}

void ab__stream_let_go(ab_stream *stream) {
  if (stream->release != NULL && !(stream->flags & AB_STREAM_IMMORTAL)) stream->release(stream);
}
