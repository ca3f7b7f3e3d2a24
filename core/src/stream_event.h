/* SPDX-License-Identifier: MIT
 * Streams and events: which stream a framework works on, and that one waits for another. */
#ifndef AB__STREAM_EVENT_H
#define AB__STREAM_EVENT_H

#include "backend.h"

/// 1 if the operations, which may be NULL, have all that events need.
int ab__stream_has_events(const ab_device_ops *ops);
/// The core's operations for a kind of device; NULL if it has none, or none with events.
const ab_device_ops *ab__stream_ops(DLDevice device);
/// The stream of the calling thread's next work of `backend`, which is started and whose lock is held; of kind NONE if
/// that is not told. `flags`: AB_CALL_*. No reference. Returns: AB_OK; what the slot failed with.
ab_status ab__stream_current(const ab_backend *backend, DLDevice device, uint32_t flags, ab_stream *stream,
                             ab_error *error);
/// 1 if a graph is being captured on `stream`.
int ab__stream_captures(const ab_device_ops *ops, const ab_stream *stream);
/// Makes `later` wait for what is on `earlier` now; the host does not wait, unless `later` is NULL.
ab_status ab__stream_follow(const ab_device_ops *ops, const ab_stream *earlier, const ab_stream *later,
                            ab_error *error);
/// Keeps the stream alive for whoever copied it, and lets go of it. Threads: any-thread, no lock.
void ab__stream_keep(ab_stream *stream);
void ab__stream_let_go(ab_stream *stream);

#endif
