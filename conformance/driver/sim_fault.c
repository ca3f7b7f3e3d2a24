/* SPDX-License-Identifier: MIT
 * The first violation, and how many there were. */
#include <stdarg.h>
#include <stdio.h>

#include "sim.h"

static char first[512];
static uint64_t count;

void sim__fault(const char *format, ...) {
  if (count++ != 0) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(first, sizeof first, format, arguments);
  va_end(arguments);
}

void sim__fault_reset(void) { count = 0; }

SIM_API const char *sim_fault(void) {
  const int inside = sim__lock();
  const char *const text = count == 0 ? NULL : first;
  sim__unlock(inside);
  return text;
}

SIM_API uint64_t sim_faults(void) {
  const int inside = sim__lock();
  const uint64_t faults = count;
  sim__unlock(inside);
  return faults;
}

SIM_API void sim_fault_clear(void) {
  const int inside = sim__lock();
  sim__fault_reset();
  sim__unlock(inside);
}
