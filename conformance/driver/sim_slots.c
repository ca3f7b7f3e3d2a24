/* SPDX-License-Identifier: MIT
 * Which places of a table of handles are taken. */
#include <stdlib.h>

#include "sim.h"

int sim__slot_take(sim_slots *slots) {
  if (slots->freed_count > 0) return slots->freed[--slots->freed_count];
  return slots->fresh < slots->capacity ? slots->fresh++ : -1;
}

void sim__slot_give(sim_slots *slots, int slot) { slots->freed[slots->freed_count++] = slot; }

int sim__slot_of(const void *table, size_t size, int capacity, const void *handle) {
  const uintptr_t begin = (uintptr_t)table, at = (uintptr_t)handle;
  if (at < begin || at >= begin + size * (size_t)capacity || (at - begin) % size != 0) return -1;
  return (int)((at - begin) / size);
}
