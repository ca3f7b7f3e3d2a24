/* SPDX-License-Identifier: MIT */
#include "pinned_pool.h"

#include <pthread.h>

#include "device/cuda.h"
#include "device/device.h"
#include "fork.h"
#include "memory.h"
#include "mutant.h"

struct ab__pinned_pool {
  ab__pinned_pool *next;
  const ab_device_ops *ops;
  DLDevice device;
  uint8_t uuid[16];
  /* The rest under the lock. */
  ab__chunk *oldest, *newest; /* idle: given back in this order, so that the first is done first */
  int64_t count;              /* all there are */
  int has_stream;
  ab_stream stream;
};

/* One lock for all: it is held for a few lines, and a transfer takes it twice for each chunk. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t given = PTHREAD_COND_INITIALIZER; /* a chunk came back, or there is one less */
static ab__pinned_pool *pools;

void ab__pinned_fork(ab__fork_step step) { ab__fork_lock(&lock, step); }

/* ------------------------------------------------------------------ pools */

static ab__pinned_pool *find(const ab_device_ops *ops, DLDevice device) {
  ab__pinned_pool *pool = pools;
  while (pool != NULL && (pool->ops != ops || pool->device.device_type != device.device_type ||
                          pool->device.device_id != device.device_id))
    pool = pool->next;
  return pool;
}

ab__pinned_pool *ab__pinned_pool_of(const ab_device_ops *ops, DLDevice device, const uint8_t uuid[16]) {
  pthread_mutex_lock(&lock);
  ab__pinned_pool *pool = find(ops, device);
  if (pool == NULL) pool = ab__allocate_zeroed(sizeof *pool);
  if (pool != NULL && pool->ops == NULL) {
    pool->ops = ops;
    pool->device = device;
    memcpy(pool->uuid, uuid, sizeof pool->uuid);
    pool->next = pools;
    pools = pool;
  }
  pthread_mutex_unlock(&lock);
  return pool;
}

/* Of two threads that make it at once the second one's stays unused. */
ab_status ab__pinned_pool_stream(ab__pinned_pool *pool, ab_stream *stream, ab_error *error) {
  pthread_mutex_lock(&lock);
  const int known = pool->has_stream;
  if (known) *stream = pool->stream;
  pthread_mutex_unlock(&lock);
  if (known) return AB_OK;
  if (pool->ops != &ab__cuda_ops)
    return ab_error_set(error, AB_UNSUPPORTED, "nobody makes streams for devices of type %d",
                        (int)pool->device.device_type);
  ab_stream made;
  const ab_status status = ab__cuda_stream_new(pool->device, &made, error);
  if (status != AB_OK) return status;
  pthread_mutex_lock(&lock);
  if (!pool->has_stream) pool->stream = made;
  pool->has_stream = 1;
  *stream = pool->stream;
  pthread_mutex_unlock(&lock);
  return AB_OK;
}

/* ------------------------------------------------------------------ idle chunks */

static ab__chunk *pop(ab__pinned_pool *pool) {
  pthread_mutex_lock(&lock);
  ab__chunk *chunk = pool->oldest;
  if (chunk != NULL) pool->oldest = chunk->next;
  if (pool->oldest == NULL) pool->newest = NULL;
  pthread_mutex_unlock(&lock);
  return chunk;
}

static void put_first(ab__pinned_pool *pool, ab__chunk *chunk) {
  pthread_mutex_lock(&lock);
  chunk->next = pool->oldest;
  pool->oldest = chunk;
  if (pool->newest == NULL) pool->newest = chunk;
  pthread_cond_broadcast(&given);
  pthread_mutex_unlock(&lock);
}

void ab__pinned_give(ab__pinned_pool *pool, ab__chunk *chunk) {
  pthread_mutex_lock(&lock);
  chunk->next = NULL;
  if (pool->newest != NULL) pool->newest->next = chunk;
  else pool->oldest = chunk;
  pool->newest = chunk;
  pthread_cond_broadcast(&given);
  pthread_mutex_unlock(&lock);
}

/* Waits until a chunk has come back; 0: there are none that could. */
static int wait_for_one(ab__pinned_pool *pool) {
  pthread_mutex_lock(&lock);
  while (pool->oldest == NULL && pool->count > 0) pthread_cond_wait(&given, &lock);
  const int some = pool->count > 0;
  pthread_mutex_unlock(&lock);
  return some;
}

/* ------------------------------------------------------------------ coming and going */

/* Counts one more; 0 if there may not be one. */
static int reserve(ab__pinned_claim *claim) {
  if (atomic_load_explicit(&claim->refused, memory_order_relaxed)) return 0;
  pthread_mutex_lock(&lock);
  const int may = claim->pool->count < claim->most;
  claim->pool->count += may;
  pthread_mutex_unlock(&lock);
  return may;
}

static void count_one_less(ab__pinned_pool *pool) {
  pthread_mutex_lock(&lock);
  pool->count--;
  pthread_cond_broadcast(&given);
  pthread_mutex_unlock(&lock);
}

void ab__pinned_abandon(ab__pinned_pool *pool, ab__chunk *chunk) {
  count_one_less(pool);
  ab__deallocate(chunk); /* its memory is leaked on purpose */
}

/* Whatever the reason: work that needs no more of the driver than this may still be done without. */
static ab__chunk *chunk_new(const ab__pinned_pool *pool) {
  ab__chunk *made = ab__allocate_zeroed(sizeof *made);
  if (made == NULL) return NULL;
  made->memory = (ab_memory){.struct_size = (uint32_t)sizeof made->memory,
                             .flags = AB_MEMORY_PINNED,
                             .device = pool->device,
                             .bytes = AB__CHUNK_BYTES};
  if (pool->device.device_type == kDLCUDA || pool->device.device_type == kDLCUDAManaged)
    made->memory.device.device_type = kDLCUDAHost;
  memcpy(made->memory.device_uuid, pool->uuid, sizeof pool->uuid);
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = ab__device_call(pool->ops, NULL, &report, &error);
  const ab_status status = pool->ops->allocate(&call, &made->memory);
  ab_error_clear(&error);
  if (status == AB_OK) return made;
  ab__deallocate(made);
  return NULL;
}

static ab__chunk *grow(ab__pinned_claim *claim) {
  if (!reserve(claim)) return NULL;
  ab__chunk *made = chunk_new(claim->pool);
  if (made != NULL) return made;
  count_one_less(claim->pool);
  atomic_store_explicit(&claim->refused, 1, memory_order_relaxed);
  return NULL;
}

int ab__pinned_possible(ab__pinned_claim *claim) {
  if (claim->most < 1) return 0;
  pthread_mutex_lock(&lock);
  const int some = claim->pool->count > 0;
  pthread_mutex_unlock(&lock);
  if (some) return 1;
  ab__chunk *made = grow(claim);
  if (made != NULL) ab__pinned_give(claim->pool, made);
  return made != NULL;
}

/* ------------------------------------------------------------------ when it may be used again */

static void event_end(ab__pinned_pool *pool, ab__chunk *chunk, const ab_call *call) {
  pool->ops->event_release(call, chunk->event);
  chunk->event = NULL;
}

/* Asks; a device that cannot say is left to ab__pinned_await(). */
static int is_done(ab__pinned_pool *pool, ab__chunk *chunk) {
  if (chunk->event == NULL) return 1;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = ab__device_call(pool->ops, NULL, &report, &error);
  int32_t done = 0;
  if (ab__mutated(PINNED_CHUNK_EARLY)) done = 1;
  else if (pool->ops->event_query(&call, chunk->event, &done) != AB_OK) done = 0;
  if (done) event_end(pool, chunk, &call);
  ab_error_clear(&error);
  return done;
}

ab_status ab__pinned_await(ab__pinned_pool *pool, ab__chunk *chunk, ab_error *error) {
  if (chunk->event == NULL) return AB_OK;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call call = ab__device_call(pool->ops, NULL, &report, error);
  const ab_status status = pool->ops->event_wait(&call, chunk->event);
  if (status == AB_OK) event_end(pool, chunk, &call);
  return status;
}

static ab_status take_oldest(ab__pinned_claim *claim, ab__chunk *oldest, ab__chunk **chunk, ab_error *error) {
  atomic_store_explicit(&claim->waited, 1, memory_order_relaxed);
  const ab_status status = ab__pinned_await(claim->pool, oldest, error);
  if (status == AB_OK) *chunk = oldest;
  else ab__pinned_give(claim->pool, oldest);
  return status;
}

ab_status ab__pinned_take(ab__pinned_claim *claim, int waits, ab__chunk **chunk, ab_error *error) {
  ab__pinned_pool *pool = claim->pool;
  for (;;) {
    ab__chunk *oldest = pop(pool);
    *chunk = oldest;
    if (oldest != NULL && is_done(pool, oldest)) return AB_OK;
    *chunk = grow(claim);
    if (oldest != NULL && *chunk == NULL && waits) return take_oldest(claim, oldest, chunk, error);
    if (oldest != NULL) put_first(pool, oldest);
    if (*chunk != NULL || !waits) return AB_OK;
    if (!wait_for_one(pool)) return ab_error_set(error, AB_OOM, "no pinned host memory for a transfer");
  }
}

/* ------------------------------------------------------------------ giving memory back */

/* 1 if its memory went back. */
static int chunk_free(ab__pinned_pool *pool, ab__chunk *chunk) {
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = ab__device_call(pool->ops, NULL, &report, &error);
  int freed = ab__pinned_await(pool, chunk, &error) == AB_OK;
  if (freed) freed = pool->ops->deallocate != NULL && pool->ops->deallocate(&call, &chunk->memory) == AB_OK;
  ab_error_clear(&error);
  if (!freed) ab__pinned_give(pool, chunk); /* the next time, perhaps */
  if (!freed) return 0;
  count_one_less(pool);
  ab__deallocate(chunk);
  return 1;
}

static uint64_t trim(ab__pinned_pool *pool, int64_t most) {
  pthread_mutex_lock(&lock);
  int64_t beyond = pool->count - most;
  pthread_mutex_unlock(&lock);
  uint64_t bytes = 0;
  for (ab__chunk *chunk; beyond > 0 && (chunk = pop(pool)) != NULL; beyond--)
    bytes += chunk_free(pool, chunk) ? AB__CHUNK_BYTES : 0;
  return bytes;
}

uint64_t ab__pinned_trim(ab__pinned_pool *pool, int64_t most) {
  if (pool != NULL) return trim(pool, most);
  pthread_mutex_lock(&lock);
  ab__pinned_pool *next = pools; /* pools come first and stay */
  pthread_mutex_unlock(&lock);
  uint64_t bytes = 0;
  for (; next != NULL; next = next->next) bytes += trim(next, most);
  return bytes;
}
