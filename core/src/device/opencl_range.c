/* SPDX-License-Identifier: MIT
 *
 * The host memory that is an OpenCL buffer now. Two live buffers in one range would each be free to write it back.
 * A sorted array: ranges never overlap, so that both their begins and their ends ascend.
 */
#include "device/opencl_internal.h"

#ifdef AB__HAS_OPENCL

#include <pthread.h>
#include <string.h>

#include "memory.h"

typedef struct range {
  uintptr_t begin;
  uintptr_t end;  // behind the last byte
} range;

static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;  // all below
static range *ranges;
static size_t range_count;
static size_t range_capacity;

/* The first range that ends behind `address`. */
static size_t first_behind(uintptr_t address) {
  size_t low = 0, high = range_count;
  while (low < high) {
    const size_t middle = low + (high - low) / 2;
    if (ranges[middle].end > address) high = middle;
    else low = middle + 1;
  }
  return low;
}

static int make_room(void) {
  if (range_count < range_capacity) return 1;
  const size_t capacity = range_capacity != 0 ? 2 * range_capacity : 64;
  range *grown = ab__allocate(capacity * sizeof *grown);
  if (grown == NULL) return 0;
  if (range_count != 0) memcpy(grown, ranges, range_count * sizeof *grown);
  ab__deallocate(ranges);
  ranges = grown;
  range_capacity = capacity;
  return 1;
}

static ab_status claim(uintptr_t begin, uintptr_t end) {
  const size_t place = first_behind(begin);
  if (place < range_count && ranges[place].begin < end) return AB_UNSUPPORTED;
  if (!make_room()) return AB_OOM;
  memmove(&ranges[place + 1], &ranges[place], (range_count - place) * sizeof *ranges);
  ranges[place] = (range){begin, end};
  range_count++;
  return AB_OK;
}

ab_status ab__cl_range_claim(const void *begin, uint64_t bytes) {
  pthread_mutex_lock(&ranges_lock);
  const ab_status status = claim((uintptr_t)begin, (uintptr_t)begin + (uintptr_t)bytes);
  pthread_mutex_unlock(&ranges_lock);
  return status;
}

int ab__cl_range_taken(const void *begin, uint64_t bytes) {
  pthread_mutex_lock(&ranges_lock);
  const size_t place = first_behind((uintptr_t)begin);
  const int taken = place < range_count && ranges[place].begin < (uintptr_t)begin + (uintptr_t)bytes;
  pthread_mutex_unlock(&ranges_lock);
  return taken;
}

void ab__cl_range_drop(const void *begin) {
  pthread_mutex_lock(&ranges_lock);
  const size_t place = first_behind((uintptr_t)begin);
  if (place < range_count && ranges[place].begin == (uintptr_t)begin) {
    range_count--;
    memmove(&ranges[place], &ranges[place + 1], (range_count - place) * sizeof *ranges);
  }
  pthread_mutex_unlock(&ranges_lock);
}

#endif /* AB__HAS_OPENCL */
