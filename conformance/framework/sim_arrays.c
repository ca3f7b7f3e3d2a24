/* SPDX-License-Identifier: MIT
 * Arrays and their memory. The allocator is the one of torch and CuPy in small: a freed block is reused at once, by
 * what is allocated on the same stream. */
#include "sim_framework.h"

typedef struct block {
  struct block *next;
  CUdeviceptr address;
  uint64_t bytes;
  int device;
  CUstream stream;
} block;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of the pool; held across nothing else */
static block *pool;
static atomic_int alive;

static CUdeviceptr from_pool(int device, CUstream stream, uint64_t bytes) {
  CUdeviceptr address = 0;
  pthread_mutex_lock(&lock);
  for (block **link = &pool; *link != NULL; link = &(*link)->next) {
    block *at = *link;
    if (at->device != device || at->stream != stream || at->bytes != bytes) continue;
    address = at->address;
    *link = at->next;
    free(at);
    break;
  }
  pthread_mutex_unlock(&lock);
  return address;
}

CUdeviceptr sim_allocate(int device, CUstream stream, uint64_t bytes) {
  CUdeviceptr address = from_pool(device, stream, bytes);
  if (address != 0) return address;
  sim_enter(device);
  if (cuMemAlloc(&address, bytes) != CUDA_SUCCESS) address = 0;
  sim_leave();
  return address;
}

void sim_free(int device, CUstream stream, CUdeviceptr address, uint64_t bytes) {
  block *made = malloc(sizeof *made);
  if (made == NULL) abort();
  pthread_mutex_lock(&lock);
  *made = (block){.next = pool, .address = address, .bytes = bytes, .device = device, .stream = stream};
  pool = made;
  pthread_mutex_unlock(&lock);
}

uint64_t sim_pool_clear(int device) {
  pthread_mutex_lock(&lock);
  block *taken = NULL;
  for (block **link = &pool; *link != NULL;) {
    block *at = *link;
    if (device >= 0 && at->device != device) {
      link = &at->next;
      continue;
    }
    *link = at->next;
    at->next = taken;
    taken = at;
  }
  pthread_mutex_unlock(&lock);
  uint64_t bytes = 0;
  for (block *next; taken != NULL; taken = next) {
    next = taken->next;
    bytes += taken->bytes;
    sim_enter(taken->device);
    cuStreamSynchronize(taken->stream);
    cuMemFree(taken->address);
    sim_leave();
    free(taken);
  }
  return bytes;
}

/* ------------------------------------------------------------------ arrays */

static sim_array *new_array(int device, uint32_t elements, CUdeviceptr address) {
  sim_array *made = calloc(1, sizeof *made);
  if (made == NULL) abort();
  atomic_init(&made->references, 1);
  made->device = device;
  made->elements = elements;
  made->address = address;
  atomic_fetch_add(&alive, 1);
  return made;
}

sim_array *sim_array_new(int device, uint32_t elements) {
  CUstream stream = sim_current(device);
  const CUdeviceptr address = sim_allocate(device, stream, (uint64_t)elements * sizeof(uint32_t));
  if (address == 0) return NULL;
  sim_array *made = new_array(device, elements, address);
  made->made_on = stream;
  made->used_on = made->known = sim_outside(device);
  return made;
}

sim_array *sim_array_borrow(int device, DLManagedTensorVersioned *tensor) {
  const DLTensor *t = &tensor->dl_tensor;
  const CUdeviceptr address = (CUdeviceptr)(uintptr_t)t->data + t->byte_offset;
  sim_array *made = new_array(device, t->ndim > 0 ? (uint32_t)t->shape[0] : 1, address);
  made->borrowed = tensor;
  made->made_on = sim_current(device);
  made->used_on = made->known = sim_outside(device);
  return made;
}

static void delete_tensor(void *tensor) {
  DLManagedTensorVersioned *borrowed = tensor;
  if (borrowed->deleter != NULL) borrowed->deleter(borrowed);
}

/* Nobody waits for work that is pending on borrowed memory: that is for its owner to do. */
static void give_back(sim_array *array) {
#if SIM_CALLBACK
  sim_enter(array->device);
  cuLaunchHostFunc(sim_current(array->device), delete_tensor, array->borrowed);
  sim_leave();
#else
  delete_tensor(array->borrowed);
#endif
}

void sim_array_drop(sim_array *array) {
  if (atomic_fetch_sub(&array->references, 1) != 1) return;
  if (array->borrowed != NULL) {
    give_back(array);
  } else {
    /* What its user did on another stream is in order before the block is used anew. What was handed out of a scope is
     * not: whoever enters the stream again has to know who reads. */
    sim_enter(array->device);
    if (array->used_on != array->known) sim_order(array->used_on, array->made_on);
    sim_leave();
    sim_free(array->device, array->made_on, array->address, (uint64_t)array->elements * sizeof(uint32_t));
  }
  free(array);
  atomic_fetch_sub(&alive, 1);
}

int sim_alive(void) { return atomic_load(&alive); }
