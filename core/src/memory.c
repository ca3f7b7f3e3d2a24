/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

enum { HUGE_PAGE = 2 << 20, HUGE_FROM = 4 << 20 };

/* Compiled only into the objects that the unit tests link: two locked instructions are a tenth of a conversion. */
#ifdef AB__WATCH_ALLOCATIONS
static atomic_int_least64_t allocations_until_failure;  // 0 or less: none fails
static atomic_int_least64_t live_allocations;

static int must_fail(void) {
  if (atomic_load_explicit(&allocations_until_failure, memory_order_relaxed) <= 0) return 0;
  return atomic_fetch_sub_explicit(&allocations_until_failure, 1, memory_order_relaxed) == 1;
}

static void *counted(void *memory) {
  if (memory != NULL) atomic_fetch_add_explicit(&live_allocations, 1, memory_order_relaxed);
  return memory;
}

static void forgotten(void) { atomic_fetch_sub_explicit(&live_allocations, 1, memory_order_relaxed); }

void ab__allocation_fail_at(int64_t nth) {
  atomic_store_explicit(&allocations_until_failure, nth, memory_order_relaxed);
}

int64_t ab__allocation_count(void) { return atomic_load_explicit(&live_allocations, memory_order_relaxed); }
#else
static int must_fail(void) { return 0; }
static void *counted(void *memory) { return memory; }
static void forgotten(void) {}
#endif

void *ab__allocate(size_t bytes) {
  if (must_fail()) return NULL;
  return counted(malloc(bytes != 0 ? bytes : 1));
}

void *ab__allocate_zeroed(size_t bytes) {
  if (must_fail()) return NULL;
  return counted(calloc(1, bytes != 0 ? bytes : 1));
}

void *ab__allocate_aligned(size_t bytes) {
  if (must_fail()) return NULL;
  uint64_t rounded;
  if (!ab__add_size(bytes != 0 ? bytes : 1, AB__ALIGNMENT - 1, &rounded) || rounded > PTRDIFF_MAX) return NULL;
  rounded &= ~(uint64_t)(AB__ALIGNMENT - 1);
  const int huge = rounded >= HUGE_FROM;
  void *memory = NULL;
  if (posix_memalign(&memory, huge ? HUGE_PAGE : AB__ALIGNMENT, (size_t)rounded) != 0) return NULL;
#ifdef MADV_HUGEPAGE
  // Page faults cost more than the copy that follows. A kernel without huge pages refuses, and that is fine.
  if (huge) (void)madvise(memory, (size_t)rounded, MADV_HUGEPAGE);
#endif
  return counted(memory);
}

void ab__deallocate(void *memory) {
  if (memory == NULL) return;
  forgotten();
  free(memory);
}
