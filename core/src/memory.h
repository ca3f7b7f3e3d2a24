/* SPDX-License-Identifier: MIT
 *
 * memory.h: the one seam through which the core allocates, and checked arithmetic for sizes.
 * A test can make any single allocation fail; nothing else in core/ calls malloc.
 */
#ifndef AB__MEMORY_H
#define AB__MEMORY_H

#include <stddef.h>
#include <stdint.h>

enum { AB__ALIGNMENT = 64 };  ///< of ab__allocate_aligned(), bytes: a cache line and the widest vector register

/// Allocates `bytes` (0: a unique pointer), aligned for any scalar. Gives; NULL: out of memory. Threads: any-thread.
void *ab__allocate(size_t bytes);
/// As ab__allocate(), aligned to AB__ALIGNMENT, from 32 MiB on to 2 MiB; from 4 MiB on huge pages are asked for.
void *ab__allocate_aligned(size_t bytes);
/// As ab__allocate(), with all bytes zero.
void *ab__allocate_zeroed(size_t bytes);
/// Takes memory from any of the three. NULL is fine. Threads: any-thread.
void ab__deallocate(void *memory);

/// For tests, only in objects compiled with AB__WATCH_ALLOCATIONS: the `nth` of the allocations that follow returns
/// NULL; 1 is the next one. -1: none (as at start).
void ab__allocation_fail_at(int64_t nth);
/// Likewise: allocations that are alive now.
int64_t ab__allocation_count(void);

/// Multiplies. Returns 1 and writes `*result`; 0 on overflow, `*result` untouched.
static inline int ab__multiply_size(uint64_t a, uint64_t b, uint64_t *result) {
  uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return 0;
  *result = product;
  return 1;
}

/// Adds. Returns 1 and writes `*result`; 0 on overflow, `*result` untouched.
static inline int ab__add_size(uint64_t a, uint64_t b, uint64_t *result) {
  uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return 0;
  *result = sum;
  return 1;
}

#endif /* AB__MEMORY_H */
