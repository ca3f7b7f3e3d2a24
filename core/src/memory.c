/* SPDX-License-Identifier: MIT */
#include "memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

/* glibc hands memory of up to 32 MiB out again without giving it back first, so its pages are there already: that is
 * worth more than the place of a huge page, and asking for an alignment of 2 MiB would rule it out (the request is then
 * always larger than what was last freed, and so above the threshold that freeing has set). */
enum { PAGE = 4096, HUGE_PAGE = 2 << 20, HUGE_FROM = 4 << 20, HUGE_ALIGNED_FROM = 32 << 20 };

static void advise_huge(void *memory, uint64_t bytes) {
#ifdef MADV_HUGEPAGE
  // Page faults cost more than the copy that follows. A kernel without huge pages refuses, and that is fine.
  const uintptr_t begin = ((uintptr_t)memory + PAGE - 1) & ~(uintptr_t)(PAGE - 1);
  const uintptr_t end = ((uintptr_t)memory + bytes) & ~(uintptr_t)(PAGE - 1);
  (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
  (void)memory;
  (void)bytes;
#endif
}

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
  const size_t alignment = rounded >= HUGE_ALIGNED_FROM ? HUGE_PAGE : AB__ALIGNMENT;
  void *memory = NULL;
  if (posix_memalign(&memory, alignment, (size_t)rounded) != 0) return NULL;
  if (rounded >= HUGE_FROM) advise_huge(memory, rounded);
  return counted(memory);
}

void ab__deallocate(void *memory) {
  if (memory == NULL) return;
  forgotten();
  free(memory);
}
