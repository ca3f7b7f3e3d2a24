/* SPDX-License-Identifier: MIT */
#include "release.h"

#include "memory.h"

/* A stack that many threads push on and a drainer takes whole: no node is ever popped singly, so there is no ABA. The
 * low bits of the head count what waits, up to FULL: a counter of its own would cost two more locked instructions, each
 * a twentieth of a conversion. */
struct ab__release {
  atomic_uintptr_t head;
};

enum { FULL = AB__RELEASE_ALIGNMENT - 1 };

static ab__release_node *node_of(uintptr_t head) { return (ab__release_node *)(head & ~(uintptr_t)FULL); }

static uintptr_t counted(ab__release_node *node, uintptr_t count) {
  return (uintptr_t)node | (count < FULL ? count : (uintptr_t)FULL);
}

ab__release *ab__release_new(void) { return ab__allocate_zeroed(sizeof(ab__release)); }

void ab__release_free(ab__release *queue) { ab__deallocate(queue); }

/* Puts the `count` nodes from `first` to `last` on top; returns how many wait then, or FULL. */
static uintptr_t put(ab__release *queue, ab__release_node *first, ab__release_node *last, uintptr_t count) {
  uintptr_t top = atomic_load_explicit(&queue->head, memory_order_relaxed);
  uintptr_t made;
  do {
    last->next = node_of(top);
    made = counted(first, (top & FULL) + count);
  } while (
      !atomic_compare_exchange_weak_explicit(&queue->head, &top, made, memory_order_release, memory_order_relaxed));
  return made & FULL;
}

static ab__release_node *take(ab__release *queue) {
  return node_of(atomic_exchange_explicit(&queue->head, 0, memory_order_acquire));
}

/* Asking costs the runtime a lock and a wake-up (150 ns in CPython), more than handing over a small array. So small
 * things wait for the next conversion, up to a bound; whatever is worth a page or two is asked for at once. */
enum { ASK_AT_BYTES = 1 << 16 };

int ab__release_push_node(ab__release *queue, ab__release_node *node) {
  const int large = node->bytes >= ASK_AT_BYTES; /* once it is on the queue it may be gone */
  return put(queue, node, node, 1) == FULL || large;
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

static ab__release_node *reversed(ab__release_node *list) {
  ab__release_node *result = NULL;
  while (list != NULL) {
    ab__release_node *next = list->next;
    list->next = result;
    result = list;
    list = next;
  }
  return result;
}

void ab__release_drain(ab__release *queue) {
  ab__release_node *list = reversed(take(queue));
  while (list != NULL) {
    ab__release_node *next = list->next;
    void (*fn)(void *) = list->fn;
    void *data = list->data;
    if (list->owned) ab__deallocate(list);
    fn(data);
    list = next;
  }
}

int ab__release_waiting(const ab__release *queue) {
  return atomic_load_explicit(&queue->head, memory_order_relaxed) != 0;
}

/* Taken out to be looked at, since a drainer may end a node's life at any time, and put back. */
void ab__release_pending(ab__release *queue, uint64_t *count, uint64_t *bytes) {
  *count = *bytes = 0;
  ab__release_node *first = take(queue), *last = first;
  for (ab__release_node *node = first; node != NULL; last = node, node = node->next) {
    ++*count;
    *bytes += node->bytes;
  }
  if (first != NULL) (void)put(queue, first, last, (uintptr_t)*count);
}
