/* SPDX-License-Identifier: MIT */
#include "order.h"

#include "device/device.h"
#include "mutant.h"
#include "release.h"

static const ab_device_ops *ops_of(const ab__conversion *c, const ab_backend *backend) {
  if (backend->vtable->device_ops == NULL) return NULL;
  ab__invocation run;
  ab__invocation_init(&run, backend, AB_CALL_NO_TEXT, NULL, c->error);
  return backend->vtable->device_ops(&run.call, (int32_t)c->info.device.device_type);
}

static int has_events(const ab_device_ops *ops) {
  return ops != NULL && ops->event_record != NULL && ops->event_wait != NULL && ops->event_query != NULL &&
         ops->event_release != NULL;
}

const ab_device_ops *ab__order_ops(const ab__conversion *c) {
  const DLDeviceType type = c->info.device.device_type;
  if (ab__is_host(c->info.device) || type == kDLOpenCL) return NULL; /* an OpenCL export finishes its own queue */
  const ab_device_ops *ops = ab__device_ops(type);
  if (!has_events(ops)) ops = ops_of(c, c->at.source);
  if (!has_events(ops)) ops = ops_of(c, c->at.target);
  return has_events(ops) ? ops : NULL;
}

/* ------------------------------------------------------------------ the producer's stream */

/* 1 if the source tells on which stream its next work would go. */
static ab_status producer_stream(const ab__conversion *c, ab_stream *stream, int *told) {
  *told = 0;
  const ab_plugin_vtable *slots = c->at.source->vtable;
  if (slots->current_stream == NULL) return AB_OK;
  ab__invocation run;
  ab__invocation_init(&run, c->at.source, ab__conversion_call_flags(c), NULL, c->error);
  memset(stream, 0, sizeof *stream);
  stream->struct_size = (uint32_t)sizeof *stream;
  ab_status status = slots->current_stream(&run.call, c->info.device, stream);
  status = ab__slot_result(c->at.source, "current_stream", status, c->error);
  if (status == AB_UNSUPPORTED) {
    ab_error_clear(c->error);
    return AB_OK;
  }
  *told = status == AB_OK && stream->kind != AB_STREAM_NONE && stream->kind < AB_STREAM_UNKNOWN;
  return status;
}

/* ------------------------------------------------------------------ graphs */

static int captures(const ab__conversion *c, const ab_device_ops *ops, const ab_stream *stream) {
  ab_stream now = *stream;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call call = ab__device_call(ops, stream, &report, c->error);
  if (ops->stream_state != NULL && ops->stream_state(&call, &now) != AB_OK) ab_error_clear(c->error);
  return (now.flags & AB_STREAM_CAPTURING) != 0;
}

static ab_status refuse_captures(const ab__conversion *c, const ab_device_ops *ops, const ab_stream *producer,
                                 const ab_stream *consumer) {
  const int from = captures(c, ops, producer);
  if (!from && !captures(c, ops, consumer)) return AB_OK;
  ab_error_set(c->error, AB_STREAM, "%s's stream is being captured into a graph, and %s works on another one",
               ab_backend_name(from ? c->at.source : c->at.target),
               ab_backend_name(from ? c->at.target : c->at.source));
  ab_error_hint(c->error, "convert before the capture begins, or let both work on one stream");
  return AB_STREAM;
}

/* ------------------------------------------------------------------ the order */

/* An event of the producer's stream that the consumer's waits for. */
static ab_status wait_for_event(const ab__conversion *c, const ab_device_ops *ops, const ab_stream *producer,
                                const ab_stream *consumer) {
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call recording = ab__device_call(ops, producer, &report, c->error);
  const ab_call waiting = ab__device_call(ops, consumer, &report, c->error);
  if (ab__mutated(NO_WAIT_BEFORE)) return AB_OK;
  void *event = NULL;
  const ab_status status = ops->event_record(&recording, &event);
  if (status != AB_OK) return status;
  const ab_status waited = ops->event_wait(&waiting, event);
  ops->event_release(&recording, event);
  return waited;
}

static int not_theirs(ab_status status) { return status == AB_UNSUPPORTED || status == AB_UNAVAILABLE; }

ab_status ab__order_before(const ab__conversion *c, const ab_device_ops *ops, const ab_stream *consumer, int *ordered) {
  *ordered = 0;
  if (ops == NULL || consumer == NULL) return AB_OK;
  ab_stream producer;
  int told = 0;
  ab_status status = producer_stream(c, &producer, &told);
  if (status != AB_OK || !told) return status;
  if (!ab__stream_same(&producer, consumer)) {
    status = refuse_captures(c, ops, &producer, consumer);
    if (status == AB_OK) status = wait_for_event(c, ops, &producer, consumer);
  }
  if (not_theirs(status)) { /* the driver is not there, or knows no such stream: the framework may know better */
    ab_error_clear(c->error);
    return AB_OK;
  }
  *ordered = status == AB_OK;
  return status;
}
