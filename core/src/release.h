/* SPDX-License-Identifier: MIT
 * The deferred-release queue: what a deleter owes and may not pay on its own thread, or not before devices are done. */
#ifndef AB__RELEASE_H
#define AB__RELEASE_H

#include "bridge.h"

/// A stream whose work must be done first. The event is recorded when the queue is drained: later than needed is safe,
/// earlier never is.
typedef struct ab__wait {
  struct ab__wait *next;
  const ab_device_ops *ops;
  ab_stream stream;  ///< retained, unless it is immortal; of kind UNKNOWN: every stream of the device's context
  void *event;       ///< NULL: not recorded yet
  int done;
} ab__wait;

enum { AB__RELEASE_ALIGNMENT = 16 };  ///< as that of every allocation, so that a node may stand in any

/// One thing to be done. Zeroed but for fn, data, bytes and the waits; lives until fn runs.
typedef struct ab__release_node {
  _Alignas(AB__RELEASE_ALIGNMENT) struct ab__release_node *next;
  void (*fn)(void *data);
  void *data;
  uint64_t bytes;
  ab__wait *waits;  ///< their storage is the node's owner's
  int owned;        ///< the queue frees the node itself
  /// Called once with the lock, before the events are recorded: the place for a consumer that says by calls of its own
  /// which work is pending. May be NULL.
  void (*before)(struct ab__release_node *node);
} ab__release_node;

/// Whether a drain waits for devices.
typedef enum ab__drain { AB__DRAIN_DUE, AB__DRAIN_ALL } ab__drain;

/// `bridge` may be NULL: then a wait for devices keeps the runtime's lock.
ab__release *ab__release_new(const ab_bridge *bridge);
/// Frees the queue; what still waits is leaked on purpose.
void ab__release_free(ab__release *queue);

/// Fills `wait` with a copy of `stream`, retained. One that may not be kept (AB_STREAM_BORROWED) becomes every stream
/// of its context. Legal in deleters.
void ab__wait_init(ab__wait *wait, const ab_device_ops *ops, const ab_stream *stream);
/// Puts `wait` before the others of `node`, unless its stream is waited for already; then it is given up.
void ab__release_add_wait(ab__release_node *node, ab__wait *wait);
/// 1 if both name the same stream of the same device.
int ab__stream_same(const ab_stream *a, const ab_stream *b);

/// Records the events that `node` waits for, where that has not been done. Calls the driver: not for deleters.
void ab__release_record(ab__release_node *node);

/// Pushes a node of the caller's. Lock-free, any-thread, allocates nothing, calls no driver. Returns 1 if someone
/// should be asked to drain now; else the next conversion does.
int ab__release_push_node(ab__release *queue, ab__release_node *node);
/// Pushes fn(data) with a node of its own; without memory for that the data is leaked.
int ab__release_push(ab__release *queue, void (*fn)(void *data), void *data, const ab_stream *streams, uint32_t count,
                     uint64_t bytes);
/// Runs what is due, oldest first; with AB__DRAIN_ALL waits for the devices until everything is. Needs the runtime's
/// lock. Safe on several threads at once.
void ab__release_drain(ab__release *queue, ab__drain how);
/// In a forked child: the threads that looked after the queue are gone.
void ab__release_fork(ab__release *queue);
/// 1 if something waits; costs two loads.
int ab__release_waiting(const ab__release *queue);
/// How many wait and what they hold back, bytes. What another thread is about to drain is not counted.
void ab__release_pending(ab__release *queue, uint64_t *count, uint64_t *bytes);

#endif
