/* SPDX-License-Identifier: MIT */
#include "process_memory.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__GLIBC__)
#define HAS_MALLOC_TRIM 1
#define HAS_MALLINFO2 __GLIBC_PREREQ(2, 33)
#else
#define HAS_MALLOC_TRIM 0
#define HAS_MALLINFO2 0
#endif

/* The first bytes of a file, as text; 0: it cannot be read. */
static int read_start(const char *path, char *text, size_t size) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t length = read(file, text, size - 1);
  close(file);
  if (length <= 0) return 0;
  text[length] = '\0';
  return 1;
}

uint64_t ab__process_resident(void) {
  char text[128];
  if (!read_start("/proc/self/statm", text, sizeof text)) return UINT64_MAX;
  char *rest = NULL;
  strtoull(text, &rest, 10); /* the size of the address space */
  return strtoull(rest, NULL, 10) * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t ab__process_cached(void) {
#if HAS_MALLINFO2
  return mallinfo2().fordblks;
#else
  return UINT64_MAX;
#endif
}

static uint64_t machine_memory(void) {
  const long pages = sysconf(_SC_PHYS_PAGES);
  const long size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
}

static uint64_t address_space(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return limit.rlim_cur;
}

/* Containers have one control group and see it at the root. "max" is no number. */
static uint64_t control_group(void) {
  static const char *const files[] = {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
  for (size_t index = 0; index < sizeof files / sizeof files[0]; index++) {
    char text[64];
    if (!read_start(files[index], text, sizeof text)) continue;
    if (text[0] < '0' || text[0] > '9') return UINT64_MAX;
    return strtoull(text, NULL, 10);
  }
  return UINT64_MAX;
}

static uint64_t least(uint64_t a, uint64_t b) { return a < b ? a : b; }

uint64_t ab__process_limit(void) { return least(least(machine_memory(), address_space()), control_group()); }

uint64_t ab__process_trim(void) {
#if HAS_MALLOC_TRIM
  const uint64_t before = ab__process_resident();
  malloc_trim(0);
  const uint64_t after = ab__process_resident();
  if (before == UINT64_MAX || after == UINT64_MAX) return UINT64_MAX;
  return before > after ? before - after : 0;
#else
  return UINT64_MAX;
#endif
}
