/* SPDX-License-Identifier: MIT
 *
 * Buffers as host memory. Each buffer is mapped once, however many host tensors look at it: overlapping maps for
 * writing are undefined in OpenCL. The last host tensor's end unmaps.
 *
 * Waking the driver's thread for that takes PoCL 27 us, where mapping takes 34 and pyclesperanto's get() 40. So a few
 * small buffers linger, mapped and unused, and are unmapped together when a later mapping has the driver awake. They
 * cannot stay mapped until the framework destroys them: in PoCL a mapping keeps its buffer alive.
 *
 * A mapping is BUSY while a thread maps or unmaps it, or lists or unlists its range; that thread holds no lock
 * meanwhile, and who wants to map the same buffer waits until it is done. Only mappers wait, and the thread they wait
 * for needs nothing of theirs.
 */
#include "device/opencl_internal.h"

#ifdef AB__HAS_OPENCL

#include <pthread.h>

#include "memory.h"
#include "tensor.h"

enum { BUCKETS = 1024, LINGERING = 16, LINGERING_TRIM = 8, LINGERING_BYTES = 256 << 10 };

typedef struct mapping {
  struct mapping *next;  // in its bucket
  cl_mem buffer;         // one reference is ours once it is mapped
  cl_command_queue queue;
  void *memory;  // NULL until it is mapped
  size_t bytes;
  uint64_t users;  // host tensors
  int busy;
  int claimed;  // the range is in the list of ranges, by us
} mapping;

/* What one host tensor owns. */
typedef struct view {
  struct view *next;  // in the list of what is put off
  mapping *shared;
  DLManagedTensorVersioned *device_tensor;
} view;

static pthread_mutex_t mappings_lock = PTHREAD_MUTEX_INITIALIZER;  // down to lingering_count
static pthread_cond_t mappings_changed = PTHREAD_COND_INITIALIZER;
static mapping *mappings[BUCKETS];
static mapping *lingering[LINGERING];  // no users, not busy
static size_t lingering_count;

static _Atomic(view *) put_off;  // a stack; pushed by anybody, taken whole
static _Thread_local int callback_depth;

void ab__cl_callback_enter(void) { callback_depth++; }
void ab__cl_callback_leave(void) { callback_depth--; }

/* ------------------------------------------------------------------ the mappings; all need the lock */

static mapping **bucket_of(cl_mem buffer) { return &mappings[((uintptr_t)buffer >> 4) % BUCKETS]; }

static mapping *find(cl_mem buffer) {
  mapping *found = *bucket_of(buffer);
  while (found != NULL && found->buffer != buffer) found = found->next;
  return found;
}

static void insert(mapping *added) {
  mapping **bucket = bucket_of(added->buffer);
  added->next = *bucket;
  *bucket = added;
}

static void remove_mapping(mapping *gone) {
  mapping **link = bucket_of(gone->buffer);
  while (*link != gone) link = &(*link)->next;
  *link = gone->next;
}

static void stop_lingering(const mapping *used) {
  size_t place = 0;
  while (place < lingering_count && lingering[place] != used) place++;
  if (place < lingering_count) lingering[place] = lingering[--lingering_count];
}

static mapping *find_idle(cl_mem buffer) {
  mapping *found = find(buffer);
  while (found != NULL && found->busy) {
    pthread_cond_wait(&mappings_changed, &mappings_lock);
    found = find(buffer);
  }
  return found;
}

/* ------------------------------------------------------------------ one mapping */

/* Gives the buffer's mapping with one more user, or inserts `fresh`. `*first`: it is busy, the caller's to make ready.
 */
static mapping *find_or_insert(cl_mem buffer, mapping *fresh, int *first) {
  pthread_mutex_lock(&mappings_lock);
  mapping *found = find_idle(buffer);
  if (found == NULL) {
    insert(fresh);
    found = fresh;
  }
  *first = found->users++ == 0;
  if (*first) {
    stop_lingering(found);
    found->busy = 1;
  }
  pthread_mutex_unlock(&mappings_lock);
  return found;
}

static void settle(mapping *self) {
  pthread_mutex_lock(&mappings_lock);
  self->busy = 0;
  pthread_cond_broadcast(&mappings_changed);
  pthread_mutex_unlock(&mappings_lock);
}

/* Does not block: the command is enqueued and flushed. Takes the busy mapping. */
static void discard(mapping *self) {
  if (self->memory != NULL) {
    ab__cl.clEnqueueUnmapMemObject(self->queue, self->buffer, self->memory, 0, NULL, NULL);
    ab__cl.clFlush(self->queue);
  }
  pthread_mutex_lock(&mappings_lock);
  remove_mapping(self);
  pthread_cond_broadcast(&mappings_changed);
  pthread_mutex_unlock(&mappings_lock);
  if (self->memory != NULL) ab__cl.clReleaseMemObject(self->buffer);
  ab__deallocate(self);
}

static ab_status map(mapping *self, ab_error *error) {
  cl_int code = CL_SUCCESS;
  void *memory = ab__cl.clEnqueueMapBuffer(self->queue, self->buffer, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0,
                                           self->bytes, 0, NULL, NULL, &code);
  if (memory == NULL) return ab__cl_failed(error, code, "clEnqueueMapBuffer");
  ab__cl.clRetainMemObject(self->buffer);
  self->memory = memory;
  return AB_OK;
}

/* Lists the range. It is there already if the buffer is one of our own wrapped ones. */
static ab_status list_range(mapping *self, ab_error *error) {
  const ab_status status = ab__cl_range_claim(self->memory, self->bytes);
  self->claimed = status == AB_OK;
  if (status == AB_OOM) return ab_error_set(error, AB_OOM, "no memory for the list of OpenCL buffers");
  return AB_OK;
}

/* Gives the mapping of `buffer` with one more user. */
static ab_status acquire(const ab__cl_context *record, cl_mem buffer, size_t bytes, mapping **acquired,
                         ab_error *error) {
  mapping *fresh = ab__allocate_zeroed(sizeof *fresh);
  if (fresh == NULL) return ab_error_set(error, AB_OOM, "no memory for the record of a mapped OpenCL buffer");
  fresh->buffer = buffer;
  fresh->queue = record->queue;
  fresh->bytes = bytes;
  int first = 0;
  mapping *found = find_or_insert(buffer, fresh, &first);
  if (found != fresh) ab__deallocate(fresh);
  ab_status status = AB_OK;
  if (first) {
    if (found->memory == NULL) status = map(found, error);
    if (status == AB_OK) status = list_range(found, error);
    if (status == AB_OK) settle(found);
    else discard(found);
  }
  if (status == AB_OK) *acquired = found;
  return status;
}

/* One user less. A wrapped buffer of ours never lingers: its host memory would stay taken. */
static void release(mapping *self) {
  pthread_mutex_lock(&mappings_lock);
  const int last = --self->users == 0;
  if (last) self->busy = 1;
  pthread_mutex_unlock(&mappings_lock);
  if (!last) return;
  int lingers = 0;
  if (self->claimed) {
    ab__cl_range_drop(self->memory);
    pthread_mutex_lock(&mappings_lock);
    lingers = self->bytes <= LINGERING_BYTES && lingering_count < LINGERING;
    if (lingers) {
      lingering[lingering_count++] = self;
      self->busy = 0;
      pthread_cond_broadcast(&mappings_changed);
    }
    pthread_mutex_unlock(&mappings_lock);
  }
  if (!lingers) discard(self);
}

/* Unmaps what lingers if there are at least `least`. */
static void trim(size_t least) {
  mapping *unused[LINGERING];
  pthread_mutex_lock(&mappings_lock);
  const size_t count = lingering_count >= least ? lingering_count : 0;
  for (size_t index = 0; index < count; index++) {
    unused[index] = lingering[index];
    unused[index]->busy = 1;
  }
  if (count > 0) lingering_count = 0;
  pthread_mutex_unlock(&mappings_lock);
  for (size_t index = 0; index < count; index++) discard(unused[index]);
}

/* ------------------------------------------------------------------ the end of a host tensor */

static void view_end(view *self) {
  release(self->shared);
  ab__tensor_delete(self->device_tensor);
  ab__deallocate(self);
}

static void put_off_view(view *self) {
  self->next = atomic_load(&put_off);
  while (!atomic_compare_exchange_weak(&put_off, &self->next, self)) {
  }
}

/* Inside a callback the driver may hold locks that the framework's deleter needs as well. */
static void view_drop(void *owner) {
  view *self = owner;
  if (self->shared == NULL || ab__cl_gone()) return;  // never finished; or a leak on purpose
  if (callback_depth > 0) put_off_view(self);
  else view_end(self);
}

void ab__cl_pay(void) {
  if (atomic_load_explicit(&put_off, memory_order_relaxed) == NULL || callback_depth > 0 || ab__cl_gone()) return;
  view *waiting = atomic_exchange(&put_off, NULL);
  while (waiting != NULL) {
    view *next = waiting->next;
    view_end(waiting);
    waiting = next;
  }
}

void ab__opencl_drain(void) {
  if (callback_depth > 0 || ab__cl_gone()) return;
  ab__cl_pay();
  trim(1);
}

/* ------------------------------------------------------------------ the host tensor */

/* Bytes from the tensor's first element to the end of its last one. */
static ab_status extent_of(const DLTensor *tensor, uint64_t *extent, ab_error *error) {
  const uint64_t itemsize = ((uint64_t)tensor->dtype.bits * tensor->dtype.lanes + 7) / 8;
  uint64_t bytes = 0;
  if (!ab__tensor_bytes(tensor->ndim, tensor->shape, (uint32_t)itemsize, &bytes))
    return ab_error_set(error, AB_INVALID_TENSOR, "the tensor's extents are negative or overflow");
  if (bytes == 0) return ab_error_set(error, AB_UNSUPPORTED, "an empty tensor has no OpenCL buffer to map");
  if (tensor->strides == NULL) {
    *extent = bytes;
    return AB_OK;
  }
  uint64_t last = 0;
  for (int32_t axis = 0; axis < tensor->ndim; axis++) {
    uint64_t steps = 0;
    if (tensor->shape[axis] > 1 && tensor->strides[axis] < 0)
      return ab_error_set(error, AB_UNSUPPORTED, "an OpenCL tensor with negative strides");
    if (tensor->shape[axis] > 1 &&
        (!ab__multiply_size((uint64_t)(tensor->shape[axis] - 1), (uint64_t)tensor->strides[axis], &steps) ||
         !ab__add_size(last, steps, &last)))
      return ab_error_set(error, AB_INVALID_TENSOR, "the tensor's strides overflow");
  }
  if (!ab__multiply_size(last, itemsize, extent) || !ab__add_size(*extent, itemsize, extent))
    return ab_error_set(error, AB_INVALID_TENSOR, "the tensor's strides overflow");
  return AB_OK;
}

static ab_status check(const DLTensor *tensor, size_t *buffer_bytes, ab_error *error) {
  uint64_t extent = 0, end = 0;
  if (tensor->device.device_type != kDLOpenCL)
    return ab_error_set(error, AB_UNSUPPORTED, "not an OpenCL tensor: device type %d", (int)tensor->device.device_type);
  const ab_status status = extent_of(tensor, &extent, error);
  if (status != AB_OK) return status;
  if (tensor->data == NULL) return ab_error_set(error, AB_INVALID_TENSOR, "the OpenCL tensor has no buffer");
  const cl_int code = ab__cl.clGetMemObjectInfo(tensor->data, CL_MEM_SIZE, sizeof *buffer_bytes, buffer_bytes, NULL);
  if (code != CL_SUCCESS) return ab__cl_failed(error, code, "clGetMemObjectInfo(CL_MEM_SIZE)");
  if (!ab__add_size(tensor->byte_offset, extent, &end) || end > *buffer_bytes)
    return ab_error_set(error, AB_INVALID_TENSOR, "the tensor reaches beyond its OpenCL buffer of %zu bytes",
                        *buffer_bytes);
  return AB_OK;
}

static void describe(const DLManagedTensorVersioned *from, void *memory, DLManagedTensorVersioned *to) {
  const DLTensor *source = &from->dl_tensor;
  DLTensor *target = &to->dl_tensor;
  to->flags = from->flags & DLPACK_FLAG_BITMASK_READ_ONLY;
  target->data = (unsigned char *)memory + source->byte_offset;
  target->dtype = source->dtype;
  int64_t step = 1;
  for (int32_t axis = source->ndim - 1; axis >= 0; axis--) {
    target->shape[axis] = source->shape[axis];
    target->strides[axis] = source->strides != NULL ? source->strides[axis] : step;
    step *= source->shape[axis];
  }
}

/* Mapping is the last thing that can fail, so that `device_tensor` is taken only on success. */
static ab_status view_new(const ab__cl_context *record, DLManagedTensorVersioned *device_tensor, size_t bytes,
                          DLManagedTensorVersioned **host, ab_error *error) {
  const DLTensor *source = &device_tensor->dl_tensor;
  DLManagedTensorVersioned *tensor = NULL;
  view *self = ab__allocate_zeroed(sizeof *self);
  if (self == NULL) return ab_error_set(error, AB_OOM, "no memory for the view of an OpenCL buffer");
  ab_status status = ab__tensor_new(NULL, source->ndim, 0, self, view_drop, &tensor);
  if (status != AB_OK) ab_error_set(error, status, "no memory for a tensor");
  else status = acquire(record, source->data, bytes, &self->shared, error);
  if (status != AB_OK) {
    ab__tensor_delete(tensor);
    ab__deallocate(self);
    return status;
  }
  self->device_tensor = device_tensor;
  describe(device_tensor, self->shared->memory, tensor);
  *host = tensor;
  return AB_OK;
}

ab_status ab__opencl_map(DLManagedTensorVersioned *device_tensor, DLManagedTensorVersioned **host, ab_error *error) {
  size_t bytes = 0;
  ab__cl_context *record = NULL;
  ab_status status = ab__cl_open(error);
  if (status != AB_OK) return status;
  ab__cl_pay();
  status = check(&device_tensor->dl_tensor, &bytes, error);
  if (status == AB_OK) status = ab__cl_context_of(device_tensor->dl_tensor.data, &record, error);
  if (status == AB_OK) status = ab__cl_context_coherent(record, error);
  if (status == AB_OK) status = view_new(record, device_tensor, bytes, host, error);
  if (status == AB_OK) trim(LINGERING_TRIM);  // now, while the driver's thread is awake
  return status;
}

#endif /* AB__HAS_OPENCL */
