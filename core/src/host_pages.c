/* SPDX-License-Identifier: MIT */
#include "host_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
  PAGE = 4096,           /* the smallest there is: where pages are larger some are touched more than once */
  TEXT = 8192,           /* of a file of the system */
  PATH = 1024,           /* of a control group */
  CHECK_FROM = 64 << 20, /* reading the files takes longer than populating less */
  POPULATE_WRITE = 23    /* MADV_POPULATE_WRITE of Linux 5.14; older headers lack the name */
};

/* ------------------------------------------------------------------ what is left */

/* The first bytes of a file, as text; 0: it cannot be read. */
static int read_text(const char *path, char *text, size_t size) {
  const int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  const ssize_t length = read(file, text, size - 1);
  close(file);
  if (length <= 0) return 0;
  text[length] = '\0';
  return 1;
}

/* The number in the line that begins with `name`; UINT64_MAX: there is none. */
static uint64_t number_after(const char *text, const char *name) {
  const size_t length = strlen(name);
  for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
    line += *line == '\n';
    if (strncmp(line, name, length) == 0) return strtoull(line + length, NULL, 10);
    if (*line == '\0') break;
  }
  return UINT64_MAX;
}

static uint64_t machine_left(void) {
  char text[TEXT];
  if (!read_text("/proc/meminfo", text, sizeof text)) return UINT64_MAX;
  const uint64_t kibibytes = number_after(text, "MemAvailable:");
  return kibibytes == UINT64_MAX ? UINT64_MAX : kibibytes * 1024;
}

/* A version of control groups: where its files are and what they are called. */
typedef struct control_groups {
  const char *line; /* of /proc/self/cgroup, up to the path */
  const char *root, *limit, *used;
  const char *inactive, *active; /* pages of files, which go when memory is wanted */
} control_groups;

static const control_groups versions[] = {
    {"0::", "/sys/fs/cgroup", "memory.max", "memory.current", "inactive_file ", "active_file "},
    {":memory:", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file ",
     "total_active_file "},
};

static int read_of_group(const control_groups *groups, const char *path, const char *file, char *text, size_t size) {
  char name[PATH + 128];
  snprintf(name, sizeof name, "%s%s/%s", groups->root, path, file);
  return read_text(name, text, size);
}

static uint64_t known(uint64_t number) { return number == UINT64_MAX ? 0 : number; }

/* What one control group has left; UINT64_MAX: it has no limit ("max"), or is not to be seen. */
static uint64_t group_left(const control_groups *groups, const char *path) {
  char text[TEXT];
  if (!read_of_group(groups, path, groups->limit, text, sizeof text) || text[0] < '0' || text[0] > '9')
    return UINT64_MAX;
  const uint64_t limit = strtoull(text, NULL, 10);
  if (!read_of_group(groups, path, groups->used, text, sizeof text)) return UINT64_MAX;
  const uint64_t used = strtoull(text, NULL, 10);
  uint64_t files = 0;
  if (read_of_group(groups, path, "memory.stat", text, sizeof text))
    files = known(number_after(text, groups->inactive)) + known(number_after(text, groups->active));
  const uint64_t kept = used > files ? used - files : 0;
  return limit > kept ? limit - kept : 0;
}

/* Each group above has a say, up to the root (of the container, which is called "/" there). */
static uint64_t groups_left(const control_groups *groups, char *path) {
  uint64_t least = UINT64_MAX;
  for (;;) {
    if (strcmp(path, "/") == 0) path[0] = '\0';
    const uint64_t left = group_left(groups, path);
    if (left < least) least = left;
    char *end = strrchr(path, '/');
    if (end == NULL) return least;
    *end = '\0';
  }
}

static uint64_t control_group_left(void) {
  char text[TEXT];
  if (!read_text("/proc/self/cgroup", text, sizeof text)) return UINT64_MAX;
  uint64_t least = UINT64_MAX;
  for (size_t index = 0; index < sizeof versions / sizeof versions[0]; index++) {
    const char *found = strstr(text, versions[index].line);
    if (found == NULL) continue;
    char path[PATH];
    snprintf(path, sizeof path, "%s", found + strlen(versions[index].line));
    path[strcspn(path, "\n")] = '\0';
    const uint64_t left = groups_left(&versions[index], path);
    if (left < least) least = left;
  }
  return least;
}

int ab__host_pages_fit(uint64_t bytes) {
  return bytes < CHECK_FROM || (bytes <= control_group_left() && bytes <= machine_left());
}

/* ------------------------------------------------------------------ making them be there */

static void touch(char *begin, const char *end) {
  for (volatile char *page = begin; page < end; page += PAGE) *page = 0;
}

void ab__host_pages_populate(void *begin, uint64_t bytes) {
  static atomic_int unknown; /* this system has no such advice */
  char *const first = (char *)(((uintptr_t)begin + PAGE - 1) & ~(uintptr_t)(PAGE - 1));
  char *const end = (char *)(((uintptr_t)begin + bytes) & ~(uintptr_t)(PAGE - 1));
  if (first >= end) return;
  if (!atomic_load_explicit(&unknown, memory_order_relaxed)) {
    if (madvise(first, (size_t)(end - first), POPULATE_WRITE) == 0 || errno != EINVAL) return;
    atomic_store_explicit(&unknown, 1, memory_order_relaxed);
  }
  touch(first, end);
}
