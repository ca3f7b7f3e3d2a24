/* SPDX-License-Identifier: MIT
 * The deferred-release queue: what a deleter owes and may not pay on its own thread. */
#ifndef AB__RELEASE_H
#define AB__RELEASE_H

#include "bridge.h"

enum { AB__RELEASE_ALIGNMENT = 16 };  ///< as that of every allocation, so that a node may stand in any

/// One thing to be done. Zeroed but for fn, data and bytes; lives until fn runs.
typedef struct ab__release_node {
  _Alignas(AB__RELEASE_ALIGNMENT) struct ab__release_node *next;
  void (*fn)(void *data);
  void *data;
  uint64_t bytes;
  int owned;  ///< the queue frees the node itself
} ab__release_node;

ab__release *ab__release_new(void);
/// Frees the queue; what still waits is leaked on purpose.
void ab__release_free(ab__release *queue);

/// Pushes a node of the caller's. Lock-free, any-thread, allocates nothing. Returns 1 if someone should be asked to
/// drain now; else the next conversion does.
int ab__release_push_node(ab__release *queue, ab__release_node *node);
/// Pushes fn(data) with a node of its own; without memory for that the data is leaked.
int ab__release_push(ab__release *queue, void (*fn)(void *data), void *data, const ab_stream *streams, uint32_t count,
                     uint64_t bytes);
/// Runs what waits, oldest first. Needs the runtime's lock. Safe on several threads at once.
void ab__release_drain(ab__release *queue);
/// 1 if something waits; costs one load.
int ab__release_waiting(const ab__release *queue);
/// How many wait and what they hold back, bytes. What another thread is about to drain is not counted.
void ab__release_pending(ab__release *queue, uint64_t *count, uint64_t *bytes);

#endif
