/* SPDX-License-Identifier: MIT */
#include "transfer.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "device/cuda.h"
#include "device/device.h"
#include "host_pages.h"
#include "kernels/parallel.h"
#include "pinned_pool.h"
#include "tensor.h"

/* ------------------------------------------------------------------ operations on the stream */

static ab_memory part_of(const ab_memory *device, uint64_t offset, uint64_t bytes) {
  ab_memory part = *device;
  part.offset += offset;
  part.bytes = bytes;
  return part;
}

static ab_memory host_memory(void *address, uint64_t bytes) {
  return (ab_memory){
      .struct_size = (uint32_t)sizeof(ab_memory), .device = {kDLCPU, 0}, .handle = address, .bytes = bytes};
}

/* A piece of the device's memory from or to the host, enqueued. */
static ab_status enqueue(const ab__transfer *transfer, void *host, uint64_t offset, uint64_t bytes, int to_device,
                         ab_error *error) {
  const ab_memory here = host_memory(host, bytes), there = part_of(&transfer->device, offset, bytes);
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call call = ab__device_call(transfer->ops, transfer->stream, &report, error);
  return transfer->ops->copy(&call, to_device ? &there : &here, to_device ? &here : &there);
}

static ab_status record(const ab__transfer *transfer, void **event, ab_error *error) {
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call call = ab__device_call(transfer->ops, transfer->stream, &report, error);
  return transfer->ops->event_record(&call, event);
}

/* 1 if nothing of ours is on its way any more. For when events fail. */
static int finish_stream(const ab__transfer *transfer) {
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = ab__device_call(transfer->ops, transfer->stream, &report, &error);
  const int done = transfer->ops->stream_finish != NULL && transfer->ops->stream_finish(&call) == AB_OK;
  ab_error_clear(&error);
  return done;
}

int ab__transfer_possible(const ab_device_ops *ops) {
  return ops != NULL && ops->allocate != NULL && ops->deallocate != NULL && ops->copy != NULL &&
         ops->event_record != NULL && ops->event_wait != NULL && ops->event_query != NULL && ops->event_release != NULL;
}

/* ------------------------------------------------------------------ a transfer under way */

/// How strided elements are cut into pieces: rows along one axis, whole lines of the axes behind it.
typedef struct cut {
  int32_t axis;
  int64_t rows;    ///< of a piece, at most
  int64_t pieces;  ///< along the axis
  uint64_t row;    ///< bytes
} cut;

/// What the threads share.
typedef struct run {
  const ab__transfer *transfer;
  ab__pinned_claim claim;
  const ab__strided *from;  ///< to the device
  cut cut;
  char *to;  ///< to the host
  int populates;
  int64_t count; /* pieces */
  atomic_int_least64_t next;
  atomic_uint_least64_t done; /* bytes */
  pthread_t caller;
  atomic_int stopped; /* somebody has failed: the first one's status and error count */
  ab_status status;
  ab_error error;
} run;

static void run_init(run *r, const ab__transfer *transfer, ab__pinned_pool *pool) {
  const uint64_t limit = transfer->pinned_limit != 0 ? transfer->pinned_limit : AB__PINNED_BYTES;
  r->transfer = transfer;
  r->claim = (ab__pinned_claim){.pool = pool, .most = (int64_t)(limit / AB__CHUNK_BYTES)};
  r->caller = pthread_self();
  r->status = AB_OK;
  ab_error_init(&r->error);
}

/* Takes `error`. */
static void stop(run *r, ab_status status, ab_error *error) {
  if (atomic_exchange(&r->stopped, 1) != 0) {
    ab_error_clear(error);
    return;
  }
  r->status = status;
  r->error = *error;
  ab_error_init(error);
}

static int has_stopped(run *r) { return atomic_load_explicit(&r->stopped, memory_order_relaxed); }

static ab_status cancelled(ab_error *error) {
  return ab_error_set(error, AB_CANCELLED, "the transfer was cancelled by the caller");
}

/* The caller's own thread tells how far all have come: what listens may belong to it. */
static ab_status tell(run *r, uint64_t bytes, ab_error *error) {
  const ab__transfer *transfer = r->transfer;
  const uint64_t done = atomic_fetch_add(&r->done, bytes) + bytes;
  if (transfer->progress == NULL || !pthread_equal(pthread_self(), r->caller)) return AB_OK;
  return transfer->progress(transfer->progress_context, done, transfer->device.bytes) == 0 ? AB_OK : cancelled(error);
}

static uint32_t usable_cores(void) {
  cpu_set_t usable;
  return sched_getaffinity(0, sizeof usable, &usable) == 0 ? (uint32_t)CPU_COUNT(&usable) : 1;
}

/* Operations that need a lock are called by the one thread that has it. */
static int64_t threads_of(const run *r) {
  if (r->transfer->ops->lock != AB_LOCK_NONE || r->count < 2) return 1;
  uint32_t threads = r->transfer->threads;
  if (threads == 0) threads = usable_cores();
  if (r->transfer->threads == 0 && threads > AB__TRANSFER_THREADS) threads = AB__TRANSFER_THREADS;
  if (threads > AB__MAX_THREADS) threads = AB__MAX_THREADS;
  return threads < r->count ? threads : r->count;
}

static ab_status carry_out(run *r, ab__part part, ab__transfer *transfer, ab_error *error) {
  ab__parallel_run(part, r, threads_of(r));
  if (atomic_load(&r->claim.waited)) transfer->report |= AB_REPORT_BLOCKED_HOST;
  (void)ab__pinned_trim(r->claim.pool, r->claim.most); /* the limit may be lower than the last one */
  if (!has_stopped(r)) {
    if (transfer->progress != NULL)
      (void)transfer->progress(transfer->progress_context, transfer->device.bytes, transfer->device.bytes);
    return AB_OK;
  }
  ab_error_clear(error);
  *error = r->error;
  return r->status;
}

/* The event of what was just enqueued with the chunk. Without one the stream's end tells; else it is lost. */
static ab_status mark(const run *r, ab__chunk **chunk, ab_error *error) {
  const ab_status status = record(r->transfer, &(*chunk)->event, error);
  if (status == AB_OK) return AB_OK;
  (*chunk)->event = NULL;
  if (finish_stream(r->transfer)) return status;
  ab__pinned_abandon(r->claim.pool, *chunk);
  *chunk = NULL;
  return status;
}

/* ------------------------------------------------------------------ to the device */

static cut cut_up(const ab__strided *from) {
  cut made = {.axis = from->ndim - 1, .row = from->itemsize};
  while (made.axis > 0 && made.row * (uint64_t)from->shape[made.axis] <= AB__CHUNK_BYTES)
    made.row *= (uint64_t)from->shape[made.axis--];
  made.rows = (int64_t)(AB__CHUNK_BYTES / made.row);
  made.pieces = (from->shape[made.axis] + made.rows - 1) / made.rows;
  return made;
}

static int64_t count_pieces(const ab__strided *from, const cut *by) {
  int64_t count = by->pieces;
  for (int32_t axis = 0; axis < by->axis; axis++) count *= from->shape[axis];
  return count;
}

/// One piece: elements to read, and where they go.
typedef struct piece {
  ab__strided from;
  int64_t shape[AB_MAX_NDIM];
  uint64_t offset, bytes;
} piece;

static void find_piece(const run *r, int64_t index, piece *found) {
  const ab__strided *all = r->from;
  const cut *by = &r->cut;
  const int64_t extent = all->shape[by->axis], first = index % by->pieces * by->rows;
  const int64_t rows = extent - first < by->rows ? extent - first : by->rows;
  int64_t before = index / by->pieces;
  found->offset = (uint64_t)(before * extent + first) * by->row;
  found->bytes = (uint64_t)rows * by->row;
  const char *data = (const char *)all->data + first * all->strides[by->axis];
  for (int32_t axis = by->axis - 1; axis >= 0; axis--) {
    data += before % all->shape[axis] * all->strides[axis];
    before /= all->shape[axis];
  }
  found->from = *all;
  found->from.data = data;
  found->from.ndim = all->ndim - by->axis;
  found->from.strides = all->strides + by->axis;
  memcpy(found->shape, all->shape + by->axis, (size_t)found->from.ndim * sizeof *found->shape);
  found->shape[0] = rows;
  found->from.shape = found->shape;
}

static ab_status send_piece(run *r, int64_t index, ab_error *error) {
  ab__chunk *chunk = NULL;
  ab_status status = ab__pinned_take(&r->claim, 1, &chunk, error);
  if (status != AB_OK) return status;
  piece next;
  find_piece(r, index, &next);
  ab__copy_to_compact(&next.from, chunk->memory.handle, 1);
  status = enqueue(r->transfer, chunk->memory.handle, next.offset, next.bytes, 1, error);
  if (status == AB_OK) status = mark(r, &chunk, error);
  if (chunk != NULL) ab__pinned_give(r->claim.pool, chunk);
  return status == AB_OK ? tell(r, next.bytes, error) : status;
}

/* Each thread does so until nothing is left. */
static void send(void *context, int64_t part, int64_t parts) {
  (void)part;
  (void)parts;
  run *r = context;
  ab_error error;
  ab_error_init(&error);
  for (int64_t index; !has_stopped(r) && (index = atomic_fetch_add(&r->next, 1)) < r->count;) {
    const ab_status status = send_piece(r, index, &error);
    if (status != AB_OK) stop(r, status, &error);
  }
  ab_error_clear(&error);
}

/* ------------------------------------------------------------------ to the host */

typedef struct pull {
  ab__chunk *chunk; /* NULL: nothing is on its way */
  uint64_t offset, bytes;
} pull;

static ab_status begin_pull(run *r, int waits, pull *begun, ab_error *error) {
  const uint64_t total = r->transfer->device.bytes;
  begun->chunk = NULL;
  if (has_stopped(r) || atomic_load_explicit(&r->next, memory_order_relaxed) >= r->count) return AB_OK;
  ab_status status = ab__pinned_take(&r->claim, waits, &begun->chunk, error);
  if (status != AB_OK || begun->chunk == NULL) return status;
  const int64_t index = atomic_fetch_add(&r->next, 1);
  begun->offset = (uint64_t)index * AB__CHUNK_BYTES;
  begun->bytes = index < r->count && total - begun->offset < AB__CHUNK_BYTES ? total - begun->offset : AB__CHUNK_BYTES;
  if (index < r->count)
    status = enqueue(r->transfer, begun->chunk->memory.handle, begun->offset, begun->bytes, 0, error);
  if (index < r->count && status == AB_OK) {
    status = mark(r, &begun->chunk, error);
    if (status == AB_OK) return AB_OK;
  }
  if (begun->chunk != NULL) ab__pinned_give(r->claim.pool, begun->chunk);
  begun->chunk = NULL;
  return status;
}

static ab_status end_pull(run *r, const pull *begun, ab_error *error) {
  char *to = r->to + begun->offset;
  if (r->populates && !has_stopped(r)) ab__host_pages_populate(to, begun->bytes); /* while the device works */
  ab_status status = ab__pinned_await(r->claim.pool, begun->chunk, error);
  if (status == AB_OK) memcpy(to, begun->chunk->memory.handle, begun->bytes);
  ab__pinned_give(r->claim.pool, begun->chunk);
  return status == AB_OK ? tell(r, begun->bytes, error) : status;
}

/* What is on its way has to arrive before the device's memory may go. */
static void abandon_pull(run *r, const pull *begun) {
  ab_error error;
  ab_error_init(&error);
  if (ab__pinned_await(r->claim.pool, begun->chunk, &error) != AB_OK) (void)finish_stream(r->transfer);
  ab__pinned_give(r->claim.pool, begun->chunk);
  ab_error_clear(&error);
}

/* The next piece is asked for before the last one is waited for, if there is a chunk for it. */
static ab_status pull_all(run *r, ab_error *error) {
  pull now, ahead = {.chunk = NULL};
  ab_status status = begin_pull(r, 1, &now, error);
  while (status == AB_OK && now.chunk != NULL) {
    status = begin_pull(r, 0, &ahead, error);
    if (status != AB_OK) abandon_pull(r, &now);
    else status = end_pull(r, &now, error);
    now = ahead;
    if (status == AB_OK && now.chunk == NULL) status = begin_pull(r, 1, &now, error);
  }
  if (now.chunk != NULL && status != AB_OK) abandon_pull(r, &now);
  return status;
}

static void receive(void *context, int64_t part, int64_t parts) {
  (void)part;
  (void)parts;
  run *r = context;
  ab_error error;
  ab_error_init(&error);
  const ab_status status = pull_all(r, &error);
  if (status != AB_OK) stop(r, status, &error);
  ab_error_clear(&error);
}

/* ------------------------------------------------------------------ without chunks */

/* Takes `*event`. Who waits in vain must not go on as if nothing were on its way. */
static ab_status settle_event(const ab__transfer *transfer, void **event, ab_error *error) {
  if (*event == NULL) return AB_OK;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call call = ab__device_call(transfer->ops, NULL, &report, error);
  const ab_status status = transfer->ops->event_wait(&call, *event);
  if (status != AB_OK) (void)finish_stream(transfer);
  transfer->ops->event_release(&call, *event);
  *event = NULL;
  return status;
}

static ab_status move_piece(const ab__transfer *transfer, char *host, uint64_t offset, uint64_t bytes, int to_device,
                            void **event, ab_error *error) {
  ab_status status = enqueue(transfer, host + offset, offset, bytes, to_device, error);
  if (status != AB_OK) return status;
  status = record(transfer, event, error);
  if (status == AB_OK) return AB_OK;
  *event = NULL;
  (void)finish_stream(transfer);
  return status;
}

/* Piece by piece, two of them on their way. The host waits: somebody may write to this memory, or free it, afterwards.
 */
static ab_status move_directly(ab__transfer *transfer, char *host, int to_device, ab_error *error) {
  const uint64_t total = transfer->device.bytes;
  void *last = NULL;
  ab_status status = AB_OK;
  ab_error late;
  ab_error_init(&late);
  for (uint64_t offset = 0; offset < total && status == AB_OK; offset += AB__DIRECT_BYTES) {
    const uint64_t bytes = total - offset < AB__DIRECT_BYTES ? total - offset : AB__DIRECT_BYTES;
    void *event = NULL;
    status = move_piece(transfer, host, offset, bytes, to_device, &event, error);
    if (status == AB_OK) status = settle_event(transfer, &last, error);
    last = last != NULL ? last : event;
    if (status != AB_OK || transfer->progress == NULL) continue;
    if (transfer->progress(transfer->progress_context, offset + bytes, total) != 0) status = cancelled(error);
  }
  const ab_status ended = settle_event(transfer, &last, status == AB_OK ? error : &late);
  ab_error_clear(&late);
  transfer->report |= AB_REPORT_BLOCKED_HOST;
  return status == AB_OK ? ended : status;
}

/* ------------------------------------------------------------------ both ways */

static ab__pinned_pool *pool_of(const ab__transfer *transfer) {
  return ab__pinned_pool_of(transfer->ops, transfer->device.device, transfer->device.device_uuid);
}

/// Elements that lie one after the other, as one axis of them.
typedef struct line {
  ab__strided strided;
  int64_t extent, stride;
} line;

/* 0: they do not lie so. */
static int flatten(const ab__strided *from, uint64_t bytes, line *made) {
  ab__layout layout;
  const ab_status status = ab__layout_of(from->ndim, from->shape, from->strides, from->itemsize, &layout);
  if (status != AB_OK || !layout.dense_c) return 0;
  made->extent = (int64_t)(bytes / from->itemsize);
  made->stride = from->itemsize;
  made->strided = *from;
  made->strided.ndim = 1;
  made->strided.shape = &made->extent;
  made->strided.strides = &made->stride;
  return 1;
}

/* Whether the device reaches this host memory by itself. A driver that cannot tell has not pinned it. */
static int is_pinned(const ab__transfer *transfer, const void *address) {
  int pinned = 0;
  if (transfer->ops != &ab__cuda_ops) return 0;
  return ab__cuda_pinned(address, transfer->device.bytes, &pinned, NULL) == AB_OK && pinned;
}

ab_status ab__transfer_to_device(ab__transfer *transfer, const ab__strided *from, ab_error *error) {
  if (transfer->device.bytes == 0) return AB_OK;
  line dense_line;
  const int dense = flatten(from, transfer->device.bytes, &dense_line);
  const int as_it_is = dense && from->swap_unit == 0;
  if (as_it_is && is_pinned(transfer, from->data)) return move_directly(transfer, (char *)from->data, 1, error);
  ab__pinned_pool *pool = pool_of(transfer);
  if (pool == NULL) return ab_error_set(error, AB_OOM, "no memory for a transfer");
  run r = {.from = dense ? &dense_line.strided : from};
  run_init(&r, transfer, pool);
  if (!ab__pinned_possible(&r.claim)) {
    if (as_it_is) return move_directly(transfer, (char *)from->data, 1, error);
    return ab_error_set(error, AB_UNSUPPORTED, "no host memory can be pinned, and the array is not dense");
  }
  r.cut = cut_up(r.from);
  r.count = count_pieces(r.from, &r.cut);
  return carry_out(&r, send, transfer, error);
}

ab_status ab__transfer_to_host(ab__transfer *transfer, void *to, ab_error *error) {
  const uint64_t bytes = transfer->device.bytes;
  if (bytes == 0) return AB_OK;
  ab__pinned_pool *pool = pool_of(transfer);
  if (pool == NULL) return ab_error_set(error, AB_OOM, "no memory for a transfer");
  run r = {.to = to, .populates = ab__host_pages_fit(bytes)};
  run_init(&r, transfer, pool);
  if (!ab__pinned_possible(&r.claim)) return move_directly(transfer, to, 0, error);
  r.count = (int64_t)((bytes + AB__CHUNK_BYTES - 1) / AB__CHUNK_BYTES);
  const ab_status status = carry_out(&r, receive, transfer, error);
  transfer->report |= AB_REPORT_BLOCKED_HOST;
  return status;
}
