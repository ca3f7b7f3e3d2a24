/* SPDX-License-Identifier: MIT
 * Streams of our own: a fixed set for each CUDA device, made on demand, never destroyed, leased by threads. Allocators
 * of frameworks keep memory by stream, so that a thread gets the same one again whenever it can. */
#ifndef AB__STREAM_POOL_H
#define AB__STREAM_POOL_H

#include "bridge.h"

enum {
  AB__POOL_STREAMS = 8,  ///< of each device
  AB__POOL_READERS = 8   ///< streams that are remembered as readers of one of ours; more are one for all
};

typedef struct ab__pooled ab__pooled;

/// Leases a stream of a CUDA device to the calling thread. Within a lease it is the same one again; after the last it
/// is so as long as nobody else has it. When all are leased, threads share them. Wakes the device.
/// Returns: AB_OK; AB_OOM; AB_NO_DEVICE; AB_UNAVAILABLE; what the driver said.
ab_status ab__pool_lease(DLDevice device, ab__pooled **leased, ab_error *error);
/// Ends a lease, on the thread that took it.
void ab__pool_return(ab__pooled *leased);

/// The stream itself: immortal.
const ab_stream *ab__pooled_stream(const ab__pooled *pooled);
/// What adopt_stream() of `backend` gave for it; NULL: it was not asked yet.
void *ab__pooled_adopted(const ab__pooled *pooled, const ab_backend *backend);
/// Keeps `object` for good, as the stream is. Returns 0 if there is no memory for that: it is then the caller's.
int ab__pooled_adopt(ab__pooled *pooled, const ab_backend *backend, void *object);

/// Remembers that `stream` may be using memory that was allocated on this one. Copies and retains it.
void ab__pooled_add_reader(ab__pooled *pooled, const ab_stream *stream);
/// Those streams, before anything is allocated here anew; at most AB__POOL_READERS, each retained for the caller. One
/// of kind UNKNOWN stands for all of the context. Returns how many.
uint32_t ab__pooled_readers(ab__pooled *pooled, ab_stream *streams);

/// The time, as far as leases are concerned.
uint64_t ab__pool_now(void);
/// Every stream of the device that has been leased at any moment since then; at most AB__POOL_STREAMS. Returns how
/// many.
uint32_t ab__pool_leased_since(DLDevice device, uint64_t since, ab_stream *streams);

#endif
