/* SPDX-License-Identifier: MIT
 * Address space for blocks. The host may not touch it, except while an operation runs that says what it touches. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "sim.h"

enum { PAGE = 4096, WHOLE = 64 << 20, END = 1 << 20, KEPT = 256 << 20 };

struct sim_range {
  sim_range *next;
  uint64_t start;
  size_t bytes;
  uint64_t freed_by;  ///< the id of a stream, 0: none
};

uint64_t sim__range_start(const sim_range *range) { return range->start; }

int sim__memory_protect(CUdeviceptr start, size_t bytes, int accessible) {
  const size_t pages = (bytes + PAGE - 1) / PAGE * PAGE;
  return mprotect((void *)(uintptr_t)start, pages, accessible ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void sim__memory_poison(CUdeviceptr start, size_t bytes) {
  char *const memory = (char *)(uintptr_t)start;
  if (bytes <= WHOLE) {
    memset(memory, SIM_POISON, bytes);
    return;
  }
  memset(memory, SIM_POISON, END);
  memset(memory + bytes - END, SIM_POISON, END);
}

static void unmap(sim_range *range) {
  munmap((void *)(uintptr_t)range->start, range->bytes);
  free(range);
}

static void unmap_free(sim_device *device) {
  while (device->free_ranges != NULL) {
    sim_range *const range = device->free_ranges;
    device->free_ranges = range->next;
    unmap(range);
  }
  device->free_bytes = 0;
}

static int fits(const sim_range *range, size_t bytes) { return range->bytes >= bytes && range->bytes / 4 <= bytes; }

/* The range freed last by another stream than `stream`, else any that fits. */
static sim_range **free_range(sim_device *device, size_t bytes, uint64_t stream) {
  sim_range **own = NULL;
  for (sim_range **at = &device->free_ranges; *at != NULL; at = &(*at)->next) {
    if (!fits(*at, bytes)) continue;
    if ((*at)->freed_by != stream) return at;
    if (own == NULL) own = at;
  }
  return own;
}

static sim_range *map(size_t bytes) {
  sim_range *const range = calloc(1, sizeof *range);
  void *const memory = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (range == NULL || memory == MAP_FAILED) {
    if (memory != MAP_FAILED) munmap(memory, bytes);
    free(range);
    return NULL;
  }
  range->start = (uintptr_t)memory;
  range->bytes = bytes;
  return range;
}

sim_range *sim__range_take(int ordinal, size_t bytes, uint64_t stream) {
  sim_device *const device = sim__device(ordinal);
  const size_t pages = (bytes + PAGE - 1) / PAGE * PAGE;
  sim_range **const at = free_range(device, pages, stream);
  if (at == NULL) return map(pages);
  sim_range *const range = *at;
  *at = range->next;
  device->free_bytes -= range->bytes;
  return range;
}

void sim__range_give(int ordinal, sim_range *range, uint64_t stream) {
  sim_device *const device = sim__device(ordinal);
  if (device->free_bytes + range->bytes > KEPT) unmap_free(device);
  range->freed_by = stream;
  range->next = device->free_ranges;
  device->free_ranges = range;
  device->free_bytes += range->bytes;
}

int sim__range_was_freed(CUdeviceptr address) {
  for (int i = 0; i < sim__device_count(); ++i)
    for (const sim_range *range = sim__device(i)->free_ranges; range != NULL; range = range->next)
      if (range->start == address) return 1;
  return 0;
}

void sim__range_reset(void) {
  for (int i = 0; i < sim__device_count(); ++i) unmap_free(sim__device(i));
}
