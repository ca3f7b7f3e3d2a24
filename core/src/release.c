/* SPDX-License-Identifier: MIT */
#include "release.h"

#include "memory.h"

/* A stack that many threads push on and a drainer takes whole: no node is ever popped singly, so there is no ABA. */
struct ab__release {
  _Atomic(ab__release_node *) head;
  atomic_uint_fast64_t held; /* what waits, as weight() adds it up */
};

/* Bytes (in units of 64) and number in one word, since each locked instruction costs as much as ten plain ones.
 * A million waiting at once would be counted as bytes: harmless. */
enum { COUNT_BITS = 20, UNIT = 64 };

static uint64_t weight(uint64_t bytes) { return (bytes + UNIT - 1) / UNIT << COUNT_BITS | 1; }
static uint64_t bytes_of(uint64_t held) { return (held >> COUNT_BITS) * UNIT; }
static uint64_t count_of(uint64_t held) { return held & ((UINT64_C(1) << COUNT_BITS) - 1); }

ab__release *ab__release_new(void) { return ab__allocate_zeroed(sizeof(ab__release)); }

void ab__release_free(ab__release *queue) { ab__deallocate(queue); }

/* Asking costs the runtime a lock and a wake-up (150 ns in CPython), more than handing over a small array. So small
 * things wait for the next conversion, up to a bound; whatever is worth a page or two is asked for at once. */
enum { ASK_AT_BYTES = 1 << 16, ASK_AT_COUNT = 64 };

int ab__release_push_node(ab__release *queue, ab__release_node *node) {
  const uint64_t added = weight(node->bytes);
  const uint64_t held = added + atomic_fetch_add_explicit(&queue->held, added, memory_order_relaxed);
  ab__release_node *top = atomic_load_explicit(&queue->head, memory_order_relaxed);
  do node->next = top;
  while (!atomic_compare_exchange_weak_explicit(&queue->head, &top, node, memory_order_release, memory_order_relaxed));
  return bytes_of(held) >= ASK_AT_BYTES || count_of(held) >= ASK_AT_COUNT;
}

/* Streams are not waited for yet: the CUDA device layer, with its events, is to come. Until then the order back from a
 * device is the framework's own. */
int ab__release_push(ab__release *queue, void (*fn)(void *data), void *data, const ab_stream *streams, uint32_t count,
                     uint64_t bytes) {
  (void)streams;
  (void)count;
  ab__release_node *made = ab__allocate(sizeof *made);
  if (made == NULL) return 0; /* a leak rather than a crash: nobody could be told */
  *made = (ab__release_node){.fn = fn, .data = data, .bytes = bytes, .owned = 1};
  return ab__release_push_node(queue, made);
}

/* Turns `list` round, oldest first, and adds up what it holds. */
static ab__release_node *reversed(ab__release_node *list, uint64_t *held) {
  ab__release_node *result = NULL;
  *held = 0;
  while (list != NULL) {
    *held += weight(list->bytes);
    ab__release_node *next = list->next;
    list->next = result;
    result = list;
    list = next;
  }
  return result;
}

void ab__release_drain(ab__release *queue) {
  uint64_t held;
  ab__release_node *list = reversed(atomic_exchange_explicit(&queue->head, NULL, memory_order_acquire), &held);
  atomic_fetch_sub_explicit(&queue->held, held, memory_order_relaxed);
  while (list != NULL) {
    ab__release_node *next = list->next;
    void (*fn)(void *) = list->fn;
    void *data = list->data;
    if (list->owned) ab__deallocate(list);
    fn(data);
    list = next;
  }
}

void ab__release_recount(ab__release *queue) {
  if (queue == NULL) return;
  uint64_t held = 0;
  const ab__release_node *node = atomic_load_explicit(&queue->head, memory_order_relaxed);
  for (; node != NULL; node = node->next) held += weight(node->bytes);
  atomic_store_explicit(&queue->held, held, memory_order_relaxed);
}

int ab__release_waiting(const ab__release *queue) {
  return atomic_load_explicit(&queue->head, memory_order_relaxed) != NULL;
}

void ab__release_pending(const ab__release *queue, uint64_t *count, uint64_t *bytes) {
  const uint64_t held = atomic_load_explicit(&queue->held, memory_order_relaxed);
  *count = count_of(held);
  *bytes = bytes_of(held);
}
