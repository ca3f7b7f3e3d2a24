/* SPDX-License-Identifier: MIT */
#include "lease.h"

#include "backend.h"
#include "fork.h"
#include "memory.h"
#include "mutant.h"
#include "release.h"
#include "stream_pool.h"
#include "tensor.h"

typedef struct declared {
  struct declared *next;
  ab__wait wait;
} declared;

typedef struct lease {
  DLManagedTensorVersioned tensor; /* what the borrower sees; its shape and strides are the inner one's */
  DLManagedTensorVersioned *inner;
  ab_bridge *bridge;
  const ab_backend *borrower;
  DLDevice device;
  const ab_device_ops *ops;
  ab__release_node node;
  ab__wait at_conversion, at_drop, of_context;
  struct lease *next, *previous; /* in the table */
  declared *declared;            /* changed under the table's lock */
  uintptr_t begin;
  uint64_t bytes;
  uint64_t since;   /* when it began, as far as streams of ours are concerned */
  ab__wait *leased; /* streams of ours that have been leased since */
} lease;

/* All leases whose memory has not gone back. */
static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;
static lease *table;

static void enlist(lease *self) {
  pthread_mutex_lock(&table_lock);
  self->next = table;
  if (table != NULL) table->previous = self;
  table = self;
  pthread_mutex_unlock(&table_lock);
}

static void strike_out(lease *self) {
  pthread_mutex_lock(&table_lock);
  if (self->previous != NULL) self->previous->next = self->next;
  else table = self->next;
  if (self->next != NULL) self->next->previous = self->previous;
  pthread_mutex_unlock(&table_lock);
}

/* ------------------------------------------------------------------ the end of a lease */

static void give_back(void *data) {
  lease *self = data;
  DLManagedTensorVersioned *inner = self->inner;
  for (declared *next, *at = self->declared; at != NULL; at = next) {
    next = at->next;
    ab__deallocate(at);
  }
  ab__deallocate(self->leased);
  ab__deallocate(self);
  ab__tensor_delete(inner);
}

/* Work that the borrower orders by itself (JAX) is on no stream that we know: its own fence makes ours wait for it. */
static void fence(lease *self) {
  const ab_backend *borrower = self->borrower;
  if (ab__mutated(NO_FENCE)) return;
  if (!(borrower->descriptor->flags & AB_PLUGIN_RELEASES_BEFORE_DONE) || borrower->vtable->finish == NULL) return;
  ab_error error;
  ab_error_init(&error);
  ab__invocation run;
  ab__invocation_init(&run, borrower, AB_CALL_NO_TEXT, NULL, &error);
  uint32_t covered = 0;
  const ab_stream *marker = self->at_conversion.ops != NULL ? &self->at_conversion.stream : NULL;
  ab_status status = AB_UNSUPPORTED;
  if (borrower->vtable->fence != NULL && marker != NULL)
    status = borrower->vtable->fence(&run.call, self->device, AB_SCOPE_COMPUTE_ORDER, marker, &covered);
  status = ab__slot_result(borrower, "fence", status, &error);
  if (status == AB_OK && (covered & AB_SCOPE_COMPUTE_ORDER)) return;
  ab_error_clear(&error);
  status = borrower->vtable->finish(&run.call, self->device, AB_SCOPE_COMPUTE_ORDER, &covered);
  (void)ab__slot_result(borrower, "finish", status, &error);
  ab_error_clear(&error);
}

static void add_context(lease *self) {
  const ab_stream all = {
      .struct_size = (uint32_t)sizeof all, .kind = AB_STREAM_UNKNOWN, .device = self->inner->dl_tensor.device};
  ab__wait_init(&self->of_context, self->ops, &all);
  ab__release_add_wait(&self->node, &self->of_context);
}

/* Decorated functions may have worked on the memory on any stream that we have leased meanwhile. */
static void add_leased(lease *self) {
  ab_stream streams[AB__POOL_STREAMS];
  const uint32_t count = ab__pool_leased_since(self->inner->dl_tensor.device, self->since, streams);
  if (count == 0 || ab__mutated(NO_WAIT_FOR_LEASED)) return;
  self->leased = ab__allocate_zeroed(count * sizeof *self->leased);
  if (self->leased == NULL) {
    if (self->of_context.ops == NULL) add_context(self);
    return;
  }
  for (uint32_t i = 0; i < count; i++) {
    ab__wait_init(&self->leased[i], self->ops, &streams[i]);
    ab__release_add_wait(&self->node, &self->leased[i]);
  }
}

/* With the lock, before the events are recorded. From here on nobody can declare a stream any more. */
static void before(ab__release_node *node) {
  lease *self = node->data;
  fence(self);
  strike_out(self);
  for (declared *at = self->declared; at != NULL; at = at->next) ab__release_add_wait(node, &at->wait);
  add_leased(self);
}

/* Any thread, perhaps inside a driver's callback: nothing but a look at the thread's own stream, and a push. */
static void lease_delete(DLManagedTensorVersioned *tensor) {
  lease *self = (lease *)tensor;
  ab_bridge *bridge = self->bridge;
  if (ab__bridge_ending(bridge)) return; /* a leak on purpose */
  const ab_plugin_vtable *slots = self->borrower->vtable;
  ab_stream now = {.struct_size = (uint32_t)sizeof now};
  if (slots->peek_stream != NULL && slots->peek_stream(self->borrower->self, self->device, &now) == AB_OK &&
      now.kind != AB_STREAM_NONE && now.kind < AB_STREAM_UNKNOWN) {
    ab__wait_init(&self->at_drop, self->ops, &now);
    ab__release_add_wait(&self->node, &self->at_drop);
  }
  if (ab__mutated(CALL_IN_CALLBACK)) ab__release_record(&self->node);
  if (ab__mutated(FREED_AT_RETURN)) return;
  if (ab__release_push_node(bridge->release, &self->node)) ab__bridge_request_drain(bridge);
}

/* ------------------------------------------------------------------ its begin */

/* Where the elements lie, as addresses. A layout that overflows has been refused before. */
static void note_range(lease *self) {
  const DLTensor *t = &self->inner->dl_tensor;
  const uint32_t itemsize = ((uint32_t)t->dtype.bits * t->dtype.lanes + 7) / 8;
  int64_t lowest = 0, highest = itemsize;
  for (int32_t axis = 0; axis < t->ndim; axis++) {
    const int64_t reach = t->shape[axis] > 0 ? (t->shape[axis] - 1) * t->strides[axis] * (int64_t)itemsize : 0;
    if (reach < 0) lowest += reach;
    else highest += reach;
  }
  self->begin = (uintptr_t)t->data + (uintptr_t)t->byte_offset + (uintptr_t)lowest;
  self->bytes = (uint64_t)(highest - lowest);
}

static void add_streams(lease *self, const ab__loan *loan) {
  if (loan->stream != NULL) {
    ab__wait_init(&self->at_conversion, loan->ops, loan->stream);
    ab__release_add_wait(&self->node, &self->at_conversion);
  }
  if (loan->whole_context) add_context(self);
}

ab_status ab__lease_new(const ab__loan *loan, DLManagedTensorVersioned **tensor) {
  lease *self = ab__allocate_zeroed(sizeof *self);
  if (self == NULL) return AB_OOM;
  self->inner = *tensor;
  self->tensor = **tensor;
  self->tensor.manager_ctx = self;
  self->tensor.deleter = lease_delete;
  self->bridge = loan->bridge;
  self->borrower = loan->borrower;
  self->device = loan->device;
  self->ops = loan->ops;
  self->since = ab__pool_now();
  note_range(self);
  self->node = (ab__release_node){.fn = give_back, .data = self, .bytes = self->bytes, .before = before};
  add_streams(self, loan);
  enlist(self);
  if (ab__mutated(EVENT_AT_EXPORT)) ab__release_record(&self->node);
  if (ab__mutated(FREED_AT_RETURN)) (void)ab__release_push_node(self->bridge->release, &self->node);
  *tensor = &self->tensor;
  return AB_OK;
}

/* ------------------------------------------------------------------ streams declared later */

static int holds(const lease *self, uintptr_t address) { return address - self->begin < self->bytes; }

ab_status ab__lease_declare(const void *address, const ab_stream *stream, uint32_t *found) {
  ab_status status = AB_OK;
  uint32_t count = 0;
  pthread_mutex_lock(&table_lock);
  for (lease *self = table; self != NULL && status == AB_OK; self = self->next) {
    if (!holds(self, (uintptr_t)address)) continue;
    declared *made = ab__allocate(sizeof *made);
    if (made == NULL) {
      status = AB_OOM;
      continue;
    }
    ab__wait_init(&made->wait, self->ops, stream);
    made->next = self->declared;
    self->declared = made;
    count++;
  }
  pthread_mutex_unlock(&table_lock);
  if (status == AB_OK) *found = count;
  return status;
}

void ab__lease_fork(ab__fork_step step) { ab__fork_lock(&table_lock, step); }
