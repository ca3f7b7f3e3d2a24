/* SPDX-License-Identifier: MIT
 * Chunks of pinned host memory, through which transfers go. Pinning takes 0.6 s for a gigabyte, so chunks are kept: a
 * bounded number for each device, for the whole process. A chunk is used again only when its last transfer is done. */
#ifndef AB__PINNED_POOL_H
#define AB__PINNED_POOL_H

#include <stdatomic.h>

#include <arraybridge/plugin.h>

enum {
  /// Of one chunk, bytes. Chunks of 1 to 4 MiB were measured on an H100 to be equally fast (FACTS.md: 40 GB/s to the
  /// device with 16 copier threads); 2 MiB is one huge page of the host, which one thread then populates and fills.
  AB__CHUNK_BYTES = 2 << 20,
  /// Of all chunks for one device, bytes, unless the caller says otherwise: two for each of 16 copier threads, one that
  /// is filled while the other one is on its way.
  AB__PINNED_BYTES = 64 << 20
};

typedef struct ab__pinned_pool ab__pinned_pool;

typedef struct ab__chunk {
  struct ab__chunk *next;
  ab_memory memory;
  void *event;  ///< its last transfer; NULL: none is on its way
} ab__chunk;

/// What one transfer may take.
typedef struct ab__pinned_claim {
  ab__pinned_pool *pool;
  int64_t most;        ///< chunks that there may be for this device
  atomic_int refused;  ///< the driver gives no more: it is not asked again
  atomic_int waited;   ///< the host has waited for the device
} ab__pinned_claim;

/// The pool for `device`, made when it is first asked for and kept for ever; NULL: no memory.
ab__pinned_pool *ab__pinned_pool_of(const ab_device_ops *ops, DLDevice device, const uint8_t uuid[16]);
/// A stream of the core's on the pool's device, never destroyed. Returns: AB_OK; AB_UNSUPPORTED none can be had; what
/// the driver said.
ab_status ab__pinned_pool_stream(ab__pinned_pool *pool, ab_stream *stream, ab_error *error);

/// 1 if there may be chunks, and is one, idle or not: then ab__pinned_take() gets one in the end. Allocates the first.
int ab__pinned_possible(ab__pinned_claim *claim);
/// Gives a chunk that nothing works on. With `waits`: waits for the device, or for another thread, if there is no other
/// way; else `*chunk` may be NULL. Returns: AB_OK; AB_OOM there is none and none can be had; what the device said.
ab_status ab__pinned_take(ab__pinned_claim *claim, int waits, ab__chunk **chunk, ab_error *error);
/// Takes `chunk` back, with the event of the transfer that may still be on its way.
void ab__pinned_give(ab__pinned_pool *pool, ab__chunk *chunk);
/// Takes a `chunk` that a device may be working on and nobody can tell how long: it is never used again.
void ab__pinned_abandon(ab__pinned_pool *pool, ab__chunk *chunk);
/// Waits for the chunk's last transfer. On failure it still is on its way.
ab_status ab__pinned_await(ab__pinned_pool *pool, ab__chunk *chunk, ab_error *error);

/// Frees what is idle beyond `most` chunks of `pool` (NULL: of every pool), waiting for transfers on their way. Returns
/// bytes.
uint64_t ab__pinned_trim(ab__pinned_pool *pool, int64_t most);

#endif
