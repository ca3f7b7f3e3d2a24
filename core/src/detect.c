/* SPDX-License-Identifier: MIT */
#include "detect.h"

#include "backend.h"
#include "fork.h"
#include "memory.h"

enum { SLOTS = 256, PROBES = 8 };

typedef struct entry {
  _Atomic(void *) type; /* written last; a reference is held: freed type addresses are reused at once */
  _Atomic(const ab_backend *) backend;
} entry;

struct ab__detect {
  pthread_mutex_t lock; /* writers only */
  entry entries[SLOTS];
};

ab__detect *ab__detect_new(void) {
  ab__detect *detect = ab__allocate_zeroed(sizeof *detect);
  if (detect != NULL) pthread_mutex_init(&detect->lock, NULL);
  return detect;
}

void ab__detect_free(ab__detect *detect) {
  if (detect == NULL) return;
  pthread_mutex_destroy(&detect->lock);
  ab__deallocate(detect);
}

void ab__detect_fork(ab__detect *detect, ab__fork_step step) { ab__fork_lock(&detect->lock, step); }

static uint32_t slot_of(const void *type) { return (uint32_t)(((uintptr_t)type >> 4) * UINT32_C(2654435761) >> 8); }

static const ab_backend *remembered(ab__detect *detect, const void *type) {
  const uint32_t first = slot_of(type);
  for (uint32_t probe = 0; probe < PROBES; probe++) {
    entry *at = &detect->entries[(first + probe) % SLOTS];
    void *key = atomic_load_explicit(&at->type, memory_order_acquire);
    if (key == type) return atomic_load_explicit(&at->backend, memory_order_relaxed);
    if (key == NULL) return NULL;
  }
  return NULL;
}

/* Returns 1 if the cache took the type, and with it the caller's reference. A full neighbourhood forgets nothing: it
 * just does not learn. */
static int remember(ab__detect *detect, void *type, const ab_backend *backend) {
  int taken = 0;
  pthread_mutex_lock(&detect->lock);
  const uint32_t first = slot_of(type);
  for (uint32_t probe = 0; probe < PROBES && !taken; probe++) {
    entry *at = &detect->entries[(first + probe) % SLOTS];
    void *key = atomic_load_explicit(&at->type, memory_order_relaxed);
    if (key == type) break;
    if (key != NULL) continue;
    atomic_store_explicit(&at->backend, backend, memory_order_relaxed);
    atomic_store_explicit(&at->type, type, memory_order_release);
    taken = 1;
  }
  pthread_mutex_unlock(&detect->lock);
  return taken;
}

static ab_status ask(ab_bridge *bridge, void *object, int *holds_for_type, const ab_backend **found, ab_error *error) {
  const uint32_t count = ab_bridge_backend_count(bridge);
  for (uint32_t index = 0; index < count; index++) {
    const ab_backend *backend = ab_bridge_backend_at(bridge, index);
    if (backend->descriptor->runtime != bridge->runtime.kind) continue; /* it would read its own struct out of ours */
    *holds_for_type = 0;
    const int32_t owns = backend->vtable->recognizes(backend->self, object, holds_for_type);
    const ab_status status = ab__slot_result(backend, "recognizes", AB_OK, error);
    if (status != AB_OK) return status;
    if (!owns) continue;
    *found = backend;
    return AB_OK;
  }
  return AB_OK;
}

const ab_backend *ab__detect_type(const ab_bridge *bridge, const void *type) {
  return remembered(bridge->detect, type);
}

const ab_backend *ab__detect_known(const ab_bridge *bridge, void *object) {
  const ab_runtime *runtime = &bridge->runtime;
  void *type = runtime->type_key != NULL ? runtime->type_key(runtime->self, object) : NULL;
  return type != NULL ? remembered(bridge->detect, type) : NULL;
}

ab_status ab__detect_backend(ab_bridge *bridge, void *object, const ab_backend **backend, ab_error *error) {
  *backend = ab__detect_known(bridge, object);
  if (*backend != NULL) return AB_OK;
  const ab_runtime *runtime = &bridge->runtime;
  void *type = runtime->type_key != NULL ? runtime->type_key(runtime->self, object) : NULL;
  int holds_for_type = 0;
  const ab_status status = ask(bridge, object, &holds_for_type, backend, error);
  if (status != AB_OK || *backend == NULL || type == NULL || !holds_for_type || runtime->retain == NULL) return status;
  runtime->retain(runtime->self, type);
  if (!remember(bridge->detect, type, *backend)) runtime->release(runtime->self, type);
  return AB_OK;
}
