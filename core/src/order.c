/* SPDX-License-Identifier: MIT */
#include "order.h"

#include "mutant.h"
#include "release.h"
#include "stream_event.h"

static const ab_device_ops *ops_of(const ab__conversion *c, const ab_backend *backend) {
  if (backend->vtable->device_ops == NULL) return NULL;
  ab__invocation run;
  ab__invocation_init(&run, backend, AB_CALL_NO_TEXT, NULL, c->error);
  return backend->vtable->device_ops(&run.call, (int32_t)c->info.device.device_type);
}

const ab_device_ops *ab__order_ops(const ab__conversion *c) {
  const DLDeviceType type = c->info.device.device_type;
  if (ab__is_host(c->info.device) || type == kDLOpenCL) return NULL; /* an OpenCL export finishes its own queue */
  const ab_device_ops *ops = ab__stream_ops(c->info.device);
  if (ops == NULL) ops = ops_of(c, c->at.source);
  if (!ab__stream_has_events(ops)) ops = ops_of(c, c->at.target);
  return ab__stream_has_events(ops) ? ops : NULL;
}

/* ------------------------------------------------------------------ the producer's stream */

/* 1 if the source tells on which stream its next work would go. */
static ab_status producer_stream(const ab__conversion *c, ab_stream *stream, int *told) {
  const uint32_t flags = ab__conversion_call_flags(c);
  const ab_status status = ab__stream_current(c->at.source, c->info.device, flags, stream, c->error);
  *told = status == AB_OK && stream->kind != AB_STREAM_NONE && stream->kind < AB_STREAM_UNKNOWN;
  return status;
}

/* ------------------------------------------------------------------ graphs */

static ab_status refuse_captures(const ab__conversion *c, const ab_device_ops *ops, const ab_stream *producer,
                                 const ab_stream *consumer) {
  const int from = ab__stream_captures(ops, producer);
  if (!from && !ab__stream_captures(ops, consumer)) return AB_OK;
  ab_error_set(c->error, AB_STREAM, "%s's stream is being captured into a graph, and %s works on another one",
               ab_backend_name(from ? c->at.source : c->at.target),
               ab_backend_name(from ? c->at.target : c->at.source));
  ab_error_hint(c->error, "convert before the capture begins, or let both work on one stream");
  return AB_STREAM;
}

/* ------------------------------------------------------------------ the order */

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
    if (status == AB_OK && !ab__mutated(NO_WAIT_BEFORE)) status = ab__stream_follow(ops, &producer, consumer, c->error);
  }
  if (not_theirs(status)) { /* the driver is not there, or knows no such stream: the framework may know better */
    ab_error_clear(c->error);
    return AB_OK;
  }
  *ordered = status == AB_OK;
  return status;
}
