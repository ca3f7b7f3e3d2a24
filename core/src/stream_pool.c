/* SPDX-License-Identifier: MIT */
#include "stream_pool.h"

#include "device/cuda.h"
#include "fork.h"
#include "memory.h"
#include "release.h"
#include "stream_event.h"

typedef struct adoption {
  struct adoption *next;
  const ab_backend *backend;
  void *object;
} adoption;

struct ab__pooled {
  ab_stream stream;
  int made;
  int device;
  uint32_t holders; /* leases now */
  uint64_t left;    /* when the last one ended */
  uint32_t reader_count;
  ab_stream readers[AB__POOL_READERS];
  _Atomic(adoption *) adoptions; /* a list that only grows */
};

typedef struct pool {
  uint32_t turn;
  ab__pooled streams[AB__POOL_STREAMS];
} pool;

enum { DEVICES = 32 };

static pthread_mutex_t pool_lock = PTHREAD_MUTEX_INITIALIZER; /* of all that is below, but for what is atomic */
static pool *pools[DEVICES];
static _Atomic(uint64_t) clock_now; /* changed under the lock */

/* What this thread has, or had last. */
static _Thread_local struct {
  ab__pooled *stream;
  uint32_t depth;
} mine[DEVICES];

/* ------------------------------------------------------------------ leasing */

static pool *pool_of(int device) {
  if (pools[device] != NULL) return pools[device];
  pool *made = ab__allocate_zeroed(sizeof *made);
  for (uint32_t i = 0; made != NULL && i < AB__POOL_STREAMS; i++) made->streams[i].device = device;
  return pools[device] = made;
}

/* The thread's own; one that nobody has had; one that nobody has; any. */
static ab__pooled *choose(pool *from, ab__pooled *last) {
  if (last != NULL && last->holders == 0) return last;
  ab__pooled *idle = NULL;
  const uint32_t turn = from->turn++;
  for (uint32_t i = 0; i < AB__POOL_STREAMS; i++) {
    ab__pooled *at = &from->streams[(turn + i) % AB__POOL_STREAMS];
    if (at->holders != 0) continue;
    if (!at->made) return at;
    if (idle == NULL) idle = at;
  }
  if (idle != NULL) return idle;
  return last != NULL ? last : &from->streams[turn % AB__POOL_STREAMS];
}

/* The driver is asked without the lock. Of two threads that ask for one place the second's stream is lost, which
 * happens at most once for each. */
static ab_status make(ab__pooled *chosen, DLDevice device, ab_error *error) {
  pthread_mutex_lock(&pool_lock);
  const int made = chosen->made;
  pthread_mutex_unlock(&pool_lock);
  if (made) return AB_OK;
  ab_stream stream = {.struct_size = (uint32_t)sizeof stream};
  const ab_status status = ab__cuda_stream_new(device, &stream, error);
  if (status != AB_OK) return status;
  pthread_mutex_lock(&pool_lock);
  if (!chosen->made) chosen->stream = stream;
  chosen->made = 1;
  pthread_mutex_unlock(&pool_lock);
  return AB_OK;
}

static void give_up(ab__pooled *chosen) {
  pthread_mutex_lock(&pool_lock);
  chosen->left = atomic_fetch_add(&clock_now, 1) + 1;
  chosen->holders--;
  pthread_mutex_unlock(&pool_lock);
}

ab_status ab__pool_lease(DLDevice device, ab__pooled **leased, ab_error *error) {
  const int id = device.device_id;
  if (device.device_type != kDLCUDA || id < 0 || id >= DEVICES)
    return ab_error_set(error, AB_UNSUPPORTED, "there are no streams for this device");
  ab__pooled *chosen = mine[id].stream;
  if (mine[id].depth == 0) {
    pthread_mutex_lock(&pool_lock);
    pool *from = pool_of(id);
    chosen = from != NULL ? choose(from, mine[id].stream) : NULL;
    if (chosen != NULL) chosen->holders++;
    pthread_mutex_unlock(&pool_lock);
    if (chosen == NULL) return ab_error_set(error, AB_OOM, "no memory for a set of streams");
    const ab_status status = make(chosen, device, error);
    if (status != AB_OK) {
      give_up(chosen);
      return status;
    }
    mine[id].stream = chosen;
  }
  mine[id].depth++;
  *leased = chosen;
  return AB_OK;
}

void ab__pool_return(ab__pooled *leased) {
  if (--mine[leased->device].depth == 0) give_up(leased);
}

const ab_stream *ab__pooled_stream(const ab__pooled *pooled) { return &pooled->stream; }

/* ------------------------------------------------------------------ a framework's own object for it */

void *ab__pooled_adopted(const ab__pooled *pooled, const ab_backend *backend) {
  const adoption *at = atomic_load_explicit(&pooled->adoptions, memory_order_acquire);
  while (at != NULL && at->backend != backend) at = at->next;
  return at != NULL ? at->object : NULL;
}

/* Two threads may do so at once: then both objects are kept, and one is found. */
int ab__pooled_adopt(ab__pooled *pooled, const ab_backend *backend, void *object) {
  adoption *made = ab__allocate(sizeof *made);
  if (made == NULL) return 0;
  *made = (adoption){.backend = backend, .object = object};
  made->next = atomic_load_explicit(&pooled->adoptions, memory_order_relaxed);
  while (!atomic_compare_exchange_weak_explicit(&pooled->adoptions, &made->next, made, memory_order_release,
                                                memory_order_relaxed)) {
  }
  return 1;
}

/* ------------------------------------------------------------------ readers */

/* A stream that may be gone before it is asked again, and one too many: all of the context in their place. */
static ab_stream all_of(const ab_stream *stream) {
  ab_stream all = {.struct_size = (uint32_t)sizeof all, .kind = AB_STREAM_UNKNOWN, .device = stream->device};
  memcpy(all.device_uuid, stream->device_uuid, sizeof all.device_uuid);
  return all;
}

void ab__pooled_add_reader(ab__pooled *pooled, const ab_stream *stream) {
  if (stream->kind == AB_STREAM_PER_THREAD) return; /* nobody else can ask it; its own thread waits for it anyway */
  ab_stream added = stream->flags & AB_STREAM_BORROWED ? all_of(stream) : *stream;
  ab_stream evicted = {.struct_size = (uint32_t)sizeof evicted};
  ab__stream_keep(&added);
  pthread_mutex_lock(&pool_lock);
  uint32_t at = 0;
  while (at < pooled->reader_count && !ab__stream_same(&pooled->readers[at], &added)) at++;
  if (at == AB__POOL_READERS) {
    evicted = pooled->readers[--at];
    pooled->readers[at] = all_of(&added);
  } else if (at == pooled->reader_count) {
    pooled->readers[pooled->reader_count++] = added;
    added.release = NULL;
  }
  pthread_mutex_unlock(&pool_lock);
  ab__stream_let_go(&added);
  ab__stream_let_go(&evicted);
}

uint32_t ab__pooled_readers(ab__pooled *pooled, ab_stream *streams) {
  pthread_mutex_lock(&pool_lock);
  const uint32_t count = pooled->reader_count;
  for (uint32_t i = 0; i < count; i++) {
    streams[i] = pooled->readers[i];
    ab__stream_keep(&streams[i]);
  }
  pthread_mutex_unlock(&pool_lock);
  return count;
}

/* ------------------------------------------------------------------ who had one, and when */

uint64_t ab__pool_now(void) { return atomic_load(&clock_now); }

uint32_t ab__pool_leased_since(DLDevice device, uint64_t since, ab_stream *streams) {
  const int id = device.device_id;
  const int cuda = device.device_type == kDLCUDA || device.device_type == kDLCUDAManaged;
  if (!cuda || id < 0 || id >= DEVICES) return 0;
  uint32_t count = 0;
  pthread_mutex_lock(&pool_lock);
  for (uint32_t i = 0; pools[id] != NULL && i < AB__POOL_STREAMS; i++) {
    const ab__pooled *at = &pools[id]->streams[i];
    if (at->made && (at->holders != 0 || at->left > since)) streams[count++] = at->stream;
  }
  pthread_mutex_unlock(&pool_lock);
  return count;
}

void ab__stream_pool_fork(ab__fork_step step) { ab__fork_lock(&pool_lock, step); }
