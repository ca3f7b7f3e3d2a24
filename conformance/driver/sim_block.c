/* SPDX-License-Identifier: MIT
 * Blocks: what was allocated, and what becomes of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { GRANULE = 512 };

static uint64_t versions;
static uint64_t pinned_limit = UINT64_MAX;
sim_block *sim__blocks;
uint64_t sim__pinned_bytes;
int sim__may_wait;

static int on_device(const sim_block *block) { return block->kind == SIM_DEVICE || block->kind == SIM_MANAGED; }

sim_block *sim__block_at(CUdeviceptr address) {
  for (sim_block *block = sim__blocks; block != NULL; block = block->next)
    if (address >= block->start && address - block->start < block->bytes) return block;
  return NULL;
}

sim_block *sim__block_of(CUdeviceptr address, size_t bytes) {
  sim_block *const block = sim__block_at(address);
  return block != NULL && bytes <= block->bytes - (address - block->start) ? block : NULL;
}

sim_block *sim__block_keep(sim_block *block) {
  ++block->references;
  return block;
}

void sim__block_drop(sim_block *block) {
  if (--block->references == 0) free(block);
}

const char *sim__block_name(const sim_block *block, char text[96]) {
  static const char *const kinds[] = {"device", "managed", "pinned", "registered"};
  snprintf(text, 96, "block %llu (%zu bytes of %s memory at %#llx, device %d)", (unsigned long long)block->version,
           block->bytes, kinds[block->kind], block->start, block->device);
  return text;
}

/* ------------------------------------------------------------------ while an operation runs */

void sim__block_open(sim_block *block) {
  if (block->kind == SIM_DEVICE && block->open++ == 0) sim__memory_protect(block->start, block->bytes, 1);
}

void sim__block_close(sim_block *block) {
  if (block->kind == SIM_DEVICE && --block->open == 0 && block->state != SIM_DEAD)
    sim__memory_protect(block->start, block->bytes, 0);
}

/* An allocation is "touched" by its own operation, too, which makes it live. */
int sim__block_check(const sim_block *block, const sim_operation *operation) {
  char name[96], on[48];
  const char *kind = NULL;
  if (block->state == SIM_DEAD) kind = "use after free";
  else if (block->state == SIM_RESERVED) kind = "use before allocation";
  else if (!operation->anywhere && !sim__context_reaches(operation->stream->context, block))
    kind = block->device != operation->stream->context->device ? "wrong device" : "wrong context";
  if (kind == NULL) return 1;
  sim__fault("%s: %s on %s touches %s", kind, operation->name, sim__stream_name(operation->stream, on),
             sim__block_name(block, name));
  return 0;
}

/* ------------------------------------------------------------------ beginning and ending */

static int charge(sim_block *block) {
  if (!on_device(block)) {
    if (block->bytes > pinned_limit || sim__pinned_bytes > pinned_limit - block->bytes) return 0;
    sim__pinned_bytes += block->bytes;
    return 1;
  }
  sim_device *const device = sim__device(block->device);
  if (block->bytes > device->capacity) return 0;
  block->charged = (block->bytes + GRANULE - 1) / GRANULE * GRANULE;
  if (device->used + block->charged > device->capacity) return 0;
  device->used += block->charged;
  return 1;
}

static void discharge(const sim_block *block) {
  if (on_device(block)) sim__device(block->device)->used -= block->charged;
  else sim__pinned_bytes -= block->bytes;
}

static sim_block *block_of_kind(const sim_context *context, sim_block_kind kind, size_t bytes) {
  sim_block *const block = calloc(1, sizeof *block);
  if (block == NULL) return NULL;
  *block = (sim_block){.references = 1,
                       .kind = kind,
                       .state = SIM_LIVE,
                       .bytes = bytes,
                       .device = context->device,
                       .context = context->id,
                       .context_handle = context->handle};
  return block;
}

static void list(sim_block *block) {
  block->version = ++versions;
  block->next = sim__blocks;
  sim__blocks = block;
}

static void unlist(const sim_block *block) {
  sim_block **at = &sim__blocks;
  while (*at != block) at = &(*at)->next;
  *at = block->next;
}

static CUresult take_range(sim_block *block, uint64_t stream) {
  block->range = sim__range_take(block->device, block->bytes, stream);
  if (block->range == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  block->start = sim__range_start(block->range);
  sim__memory_protect(block->start, block->bytes, 1);
  sim__memory_poison(block->start, block->bytes);
  if (block->kind == SIM_DEVICE) sim__memory_protect(block->start, block->bytes, 0);
  return CUDA_SUCCESS;
}

CUresult sim__block_new(sim_context *context, sim_block_kind kind, size_t bytes, uint64_t stream, sim_block **block) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  sim_block *const made = block_of_kind(context, kind, bytes);
  if (made == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  if (!charge(made)) return free(made), CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = take_range(made, stream);
  if (result != CUDA_SUCCESS) {
    discharge(made);
    free(made);
    return result;
  }
  list(made);
  *block = made;
  return CUDA_SUCCESS;
}

static int overlaps(CUdeviceptr start, size_t bytes) {
  for (const sim_block *block = sim__blocks; block != NULL; block = block->next)
    if (start < block->start + block->bytes && block->start < start + bytes) return 1;
  return 0;
}

CUresult sim__block_register(sim_context *context, void *memory, size_t bytes, unsigned flags) {
  const CUdeviceptr start = (uintptr_t)memory;
  if (memory == NULL || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (overlaps(start, bytes)) return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  sim_block *const block = block_of_kind(context, SIM_REGISTERED, bytes);
  if (block == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  if (!charge(block)) return free(block), CUDA_ERROR_OUT_OF_MEMORY;
  block->start = start;
  block->flags = flags;
  list(block);
  return CUDA_SUCCESS;
}

void sim__block_end(sim_block *block, uint64_t stream) {
  unlist(block);
  discharge(block);
  block->state = SIM_DEAD;
  if (block->range != NULL) { /* poisoned when it is taken again; until then nobody can read it */
    sim__memory_protect(block->start, block->bytes, 0);
    sim__range_give(block->device, block->range, stream);
  }
  sim__block_drop(block);
}

void sim__memory_reset(void) {
  while (sim__blocks != NULL) sim__block_end(sim__blocks, 0);
  sim__range_reset();
  sim__pinned_bytes = 0;
  sim__may_wait = 0;
  pinned_limit = UINT64_MAX;
}

/* ------------------------------------------------------------------ controls */

SIM_API void sim_pinned_limit(uint64_t bytes) {
  const int inside = sim__lock();
  pinned_limit = bytes;
  sim__unlock(inside);
}

SIM_API uint64_t sim_pinned(void) {
  const int inside = sim__lock();
  const uint64_t bytes = sim__pinned_bytes;
  sim__unlock(inside);
  return bytes;
}

SIM_API void sim_free_may_wait(int may) {
  const int inside = sim__lock();
  sim__may_wait = may;
  sim__unlock(inside);
}

SIM_API int sim_read(CUdeviceptr address, void *to, size_t bytes) {
  const int inside = sim__lock();
  sim_block *const block = sim__block_of(address, bytes);
  if (block != NULL) {
    sim__block_open(block);
    memcpy(to, (const void *)(uintptr_t)address, bytes);
    sim__block_close(block);
  }
  sim__unlock(inside);
  return block != NULL;
}

SIM_API int sim_write(CUdeviceptr address, const void *from, size_t bytes) {
  const int inside = sim__lock();
  sim_block *const block = sim__block_of(address, bytes);
  if (block != NULL) {
    sim__block_open(block);
    memcpy((void *)(uintptr_t)address, from, bytes);
    sim__block_close(block);
  }
  sim__unlock(inside);
  return block != NULL;
}
