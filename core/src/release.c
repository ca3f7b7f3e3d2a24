/* SPDX-License-Identifier: MIT */
#include "release.h"

#include "device/device.h"
#include "memory.h"
#include "mutant.h"
#include "reaper.h"
#include "stream_event.h"

#ifdef AB__WATCH_ALLOCATIONS
ab__mutant ab__mutated_by;
#endif

/* A stack that many threads push on and a drainer takes whole: no node is ever popped singly, so there is no ABA. The
 * low bits of the head count what waits, up to FULL: a counter of its own would cost two more locked instructions, each
 * a twentieth of a conversion. */
typedef atomic_uintptr_t stack;

struct ab__release {
  const ab_bridge *bridge;
  stack fresh;       /* pushed, not looked at yet */
  stack pending;     /* waits for events */
  atomic_int reaped; /* a thread looks after `pending` */
};

enum { FULL = AB__RELEASE_ALIGNMENT - 1 };

static ab__release_node *node_of(uintptr_t head) { return (ab__release_node *)(head & ~(uintptr_t)FULL); }

static uintptr_t counted(ab__release_node *node, uintptr_t count) {
  return (uintptr_t)node | (count < FULL ? count : (uintptr_t)FULL);
}

ab__release *ab__release_new(const ab_bridge *bridge) {
  ab__release *queue = ab__allocate_zeroed(sizeof(ab__release));
  if (queue != NULL) queue->bridge = bridge;
  return queue;
}

void ab__release_free(ab__release *queue) { ab__deallocate(queue); }

/* Puts the `count` nodes from `first` to `last` on top; returns how many wait then, or FULL. */
static uintptr_t put(stack *on, ab__release_node *first, ab__release_node *last, uintptr_t count) {
  uintptr_t top = atomic_load_explicit(on, memory_order_relaxed);
  uintptr_t made;
  do {
    last->next = node_of(top);
    made = counted(first, (top & FULL) + count);
  } while (!atomic_compare_exchange_weak_explicit(on, &top, made, memory_order_release, memory_order_relaxed));
  return made & FULL;
}

static ab__release_node *take(stack *from) {
  if (atomic_load_explicit(from, memory_order_relaxed) == 0) return NULL;
  return node_of(atomic_exchange_explicit(from, 0, memory_order_acquire));
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

/* ------------------------------------------------------------------ pushing */

/* Asking costs the runtime a lock and a wake-up (150 ns in CPython), more than handing over a small array. So small
 * things wait for the next conversion, up to a bound; whatever is worth a page or two is asked for at once. */
enum { ASK_AT_BYTES = 1 << 16 };

int ab__release_push_node(ab__release *queue, ab__release_node *node) {
  const int large = node->bytes >= ASK_AT_BYTES; /* once it is on the queue it may be gone */
  return put(&queue->fresh, node, node, 1) == FULL || large;
}

int ab__stream_same(const ab_stream *a, const ab_stream *b) {
  if (a->kind != b->kind || a->handle != b->handle || a->native_context != b->native_context) return 0;
  if (a->kind == AB_STREAM_PER_THREAD && a->thread != b->thread) return 0;
  if (a->device.device_type != b->device.device_type) return 0;
  static const uint8_t unknown[sizeof a->device_uuid];
  const int known =
      memcmp(a->device_uuid, unknown, sizeof unknown) != 0 && memcmp(b->device_uuid, unknown, sizeof unknown) != 0;
  return known ? memcmp(a->device_uuid, b->device_uuid, sizeof unknown) == 0
               : a->device.device_id == b->device.device_id;
}

void ab__wait_init(ab__wait *wait, const ab_device_ops *ops, const ab_stream *stream) {
  *wait = (ab__wait){.ops = ops, .stream = *stream};
  if (stream->flags & AB_STREAM_BORROWED) {
    wait->stream = (ab_stream){.struct_size = (uint32_t)sizeof(ab_stream), .kind = AB_STREAM_UNKNOWN};
    wait->stream.device = stream->device;
    wait->stream.native_context = stream->native_context;
    memcpy(wait->stream.device_uuid, stream->device_uuid, sizeof stream->device_uuid);
  } else {
    ab__stream_keep(&wait->stream);
  }
}

void ab__release_add_wait(ab__release_node *node, ab__wait *wait) {
  for (const ab__wait *other = node->waits; other != NULL; other = other->next) {
    if (!ab__stream_same(&other->stream, &wait->stream) && !ab__mutated(EVENT_OF_ONE_CONSUMER)) continue;
    ab__stream_let_go(&wait->stream);
    return;
  }
  wait->next = node->waits;
  node->waits = wait;
}

int ab__release_push(ab__release *queue, void (*fn)(void *data), void *data, const ab_stream *streams, uint32_t count,
                     uint64_t bytes) {
  ab__release_node *made = ab__allocate(sizeof *made + count * sizeof(ab__wait));
  if (made == NULL) return 0; /* a leak rather than a crash: nobody could be told */
  *made = (ab__release_node){.fn = fn, .data = data, .bytes = bytes, .owned = 1};
  ab__wait *waits = (ab__wait *)(made + 1);
  for (uint32_t i = 0; i < count; i++) {
    const ab_device_ops *ops = ab__device_ops(streams[i].device.device_type);
    if (ops == NULL || ops->event_record == NULL) continue;
    ab__wait_init(&waits[i], ops, &streams[i]);
    ab__release_add_wait(made, &waits[i]);
  }
  return ab__release_push_node(queue, made);
}

/* ------------------------------------------------------------------ waiting for devices */

static void wait_end(ab__wait *wait) {
  wait->done = 1;
  if (wait->event != NULL) {
    ab_report report = {.struct_size = (uint32_t)sizeof report};
    ab_error error;
    ab_error_init(&error);
    const ab_call call = ab__device_call(wait->ops, NULL, &report, &error);
    wait->ops->event_release(&call, wait->event);
    wait->event = NULL;
    ab_error_clear(&error);
  }
  ab__stream_let_go(&wait->stream);
}

/* A stream that cannot be recorded because it captures is asked again at the next drain. Any other failure means a
 * device that will never again work on the memory, or a stream that is gone with all its work. */
static int recorded(ab__wait *wait) {
  if (wait->event != NULL) return 1;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = ab__device_call(wait->ops, &wait->stream, &report, &error);
  ab_status status = wait->ops->event_record(&call, &wait->event);
  if (status == AB_UNSUPPORTED && wait->ops->stream_finish != NULL) { /* no event covers it: then the host waits */
    ab_error_clear(&error);
    status = wait->ops->stream_finish(&call);
    if (status == AB_OK) status = AB_UNSUPPORTED;
  }
  ab_error_clear(&error);
  if (status != AB_OK && status != AB_STREAM && status != AB_OOM) wait_end(wait);
  return status == AB_OK;
}

/* The runtime's other threads go on meanwhile, unless the operations need its lock. */
static ab_status wait_for(const ab__release *queue, const ab__wait *wait, const ab_call *call) {
  const ab_runtime *runtime = queue->bridge != NULL ? &queue->bridge->runtime : NULL;
  const int lets_go = runtime != NULL && runtime->blocking_begin != NULL && wait->ops->lock == AB_LOCK_NONE;
  void *token = lets_go ? runtime->blocking_begin(runtime->self) : NULL;
  const ab_status status = wait->ops->event_wait(call, wait->event);
  if (lets_go && token != NULL) runtime->blocking_end(runtime->self, token);
  return status;
}

static void look_after(const ab__release *queue, ab__wait *wait, ab__drain how) {
  if (wait->done || !recorded(wait)) return;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = ab__device_call(wait->ops, NULL, &report, &error);
  int32_t done = how == AB__DRAIN_ALL;
  const ab_status status = done ? wait_for(queue, wait, &call) : wait->ops->event_query(&call, wait->event, &done);
  ab_error_clear(&error);
  if (status != AB_OK || done) wait_end(wait); /* a device that fails works on nothing any more */
}

void ab__release_record(ab__release_node *node) {
  for (ab__wait *wait = node->waits; wait != NULL; wait = wait->next)
    if (!wait->done) (void)recorded(wait);
}

/* 1 if nothing keeps the node back any more. All of its streams are recorded before the first is waited for. */
static int is_due(const ab__release *queue, ab__release_node *node, ab__drain how) {
  if (node->before != NULL) {
    void (*before)(ab__release_node *) = node->before;
    node->before = NULL;
    before(node);
  }
  if (ab__mutated(NO_WAIT_ON_RELEASE)) return 1;
  ab__release_record(node);
  int due = 1;
  for (ab__wait *wait = node->waits; wait != NULL; wait = wait->next) {
    look_after(queue, wait, how);
    due &= wait->done;
  }
  return due;
}

static void run(ab__release_node *node) {
  void (*fn)(void *) = node->fn;
  void *data = node->data;
  if (node->owned) ab__deallocate(node);
  if (ab__mutated(DELETER_NEVER)) return;
  fn(data);
  if (ab__mutated(DELETER_TWICE)) fn(data);
}

static int waits_for_nothing(const ab__release_node *node) { return node->waits == NULL && node->before == NULL; }

static void drain_list(ab__release *queue, ab__release_node *list, ab__drain how) {
  while (list != NULL) {
    ab__release_node *next = list->next;
    if (waits_for_nothing(list) || is_due(queue, list, how)) run(list);
    else (void)put(&queue->pending, list, list, 1);
    list = next;
  }
}

/* Kept apart from what nearly every conversion does: to run the one small thing that the last one has left. */
__attribute__((noinline)) static void drain_all(ab__release *queue, ab__release_node *fresh, ab__drain how) {
  drain_list(queue, reversed(take(&queue->pending)), how);
  drain_list(queue, reversed(fresh), how);
  if (atomic_load_explicit(&queue->pending, memory_order_relaxed) != 0)
    ab__reaper_watch(queue->bridge, queue, &queue->reaped);
}

void ab__release_drain(ab__release *queue, ab__drain how) {
  ab__release_node *fresh = take(&queue->fresh);
  const int nothing_pending = atomic_load_explicit(&queue->pending, memory_order_relaxed) == 0;
  if (nothing_pending && fresh != NULL && fresh->next == NULL && waits_for_nothing(fresh)) run(fresh);
  else if (!nothing_pending || fresh != NULL) drain_all(queue, fresh, how);
}

void ab__release_fork(ab__release *queue) { atomic_store(&queue->reaped, 0); }

/* ------------------------------------------------------------------ what waits */

int ab__release_waiting(const ab__release *queue) {
  return (atomic_load_explicit(&queue->fresh, memory_order_relaxed) |
          atomic_load_explicit(&queue->pending, memory_order_relaxed)) != 0;
}

/* Taken out to be looked at, since a drainer may end a node's life at any time, and put back. */
static void add_up(stack *of, uint64_t *count, uint64_t *bytes) {
  ab__release_node *first = take(of), *last = first;
  uintptr_t found = 0;
  for (ab__release_node *node = first; node != NULL; last = node, node = node->next) {
    found++;
    *bytes += node->bytes;
  }
  *count += found;
  if (first != NULL) (void)put(of, first, last, found);
}

void ab__release_pending(ab__release *queue, uint64_t *count, uint64_t *bytes) {
  *count = *bytes = 0;
  add_up(&queue->fresh, count, bytes);
  add_up(&queue->pending, count, bytes);
}
