/* SPDX-License-Identifier: MIT
 *
 * A private folder with copies of tests/fakes (AB_FAKES), so that the build folder's mode plays no part; bridges that
 * look there; and what their trace says. */
#ifndef PLUGIN_FOLDER_H
#define PLUGIN_FOLDER_H

#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge.h"
#include "check_main.h"

/* ------------------------------------------------------------------ files */

static char home[PATH_MAX];  // of one test; also HOME

/* "home/NAME" in one of a few buffers that are used in turn. */
static inline const char *at(const char *name) {
  static char buffers[8][PATH_MAX + 128];
  static unsigned turn;
  char *const buffer = buffers[turn++ % 8];
  snprintf(buffer, sizeof buffers[0], "%s/%s", home, name);
  return buffer;
}

static inline void write_file(const char *path, const void *bytes, size_t size) {
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ck_assert_int_ge(file, 0);
  ck_assert_int_eq(write(file, bytes, size), (ssize_t)size);
  ck_assert_int_eq(fchmod(file, 0644), 0);
  close(file);
}

static inline char *read_fake(const char *fake, size_t *size) {
  const char *folder = getenv("AB_FAKES");
  ck_assert_msg(folder != NULL, "AB_FAKES must name the folder of tests/fakes");
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%s.so", folder, fake);
  FILE *const file = fopen(path, "rb");
  ck_assert_msg(file != NULL, "cannot read %s", path);
  fseek(file, 0, SEEK_END);
  *size = (size_t)ftell(file);
  rewind(file);
  char *const bytes = malloc(*size);
  ck_assert_uint_eq(fread(bytes, 1, *size, file), *size);
  fclose(file);
  return bytes;
}

/* Copies a fake to "home/NAME". A new file every time: a loaded one must not be written. */
static inline const char *put(const char *fake, const char *name) {
  size_t size;
  char *const bytes = read_fake(fake, &size);
  const char *const path = at(name);
  unlink(path);
  write_file(path, bytes, size);
  free(bytes);
  return path;
}

static inline const char *put_text(const char *name) {
  const char *const path = at(name);
  write_file(path, "I am a text\n", 12);
  return path;
}

static inline const char *make_folder(const char *name) {
  const char *const path = at(name);
  ck_assert_int_eq(mkdir(path, 0700), 0);
  return path;
}

static inline void setup(void) {
  char made[] = "/tmp/ab_registry_XXXXXX";
  ck_assert_ptr_nonnull(mkdtemp(made));
  ck_assert_ptr_nonnull(realpath(made, home));
  setenv("HOME", home, 1);
  unsetenv("XDG_DATA_HOME");
  unsetenv("ARRAYBRIDGE_PLUGIN_PATH");
  unsetenv("ARRAYBRIDGE_TRUST_WRITABLE");
}

static inline int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk) {
  (void)status, (void)kind, (void)walk;
  return remove(path);
}

static inline void teardown(void) { nftw(home, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

/* ------------------------------------------------------------------ bridges and their trace */

static inline ab_bridge *bridge_of(const ab_bridge_options *options) {
  ab_bridge *bridge = NULL;
  ck_assert_int_eq(ab_bridge_new(options, &bridge, NULL), AB_OK);
  return bridge;
}

static inline ab_bridge *bridge_with(uint32_t flags) {
  return bridge_of(&(ab_bridge_options){.struct_size = sizeof(ab_bridge_options), .flags = flags});
}

static inline ab_bridge *bridge_at(const char *path) {
  ab_bridge *const bridge = bridge_with(0);
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  return bridge;
}

static inline void discover(ab_bridge *bridge) { ck_assert_int_eq(ab_bridge_discover(bridge, NULL), AB_OK); }

typedef struct line {
  ab_status status;
  char path[PATH_MAX], place[32], name[64], version[64], reason[AB_ERROR_TEXT], hint[AB_ERROR_HINT];
} line;

typedef struct trace {
  unsigned count;
  line lines[24];
} trace;

static inline int take_line(void *context, const ab_trace_entry *entry) {
  trace *const all = context;
  ck_assert_uint_lt(all->count, 24);
  line *const to = &all->lines[all->count++];
  to->status = entry->status;
  snprintf(to->path, sizeof to->path, "%s", entry->path);
  snprintf(to->place, sizeof to->place, "%s", entry->place);
  snprintf(to->name, sizeof to->name, "%s", entry->name);
  snprintf(to->version, sizeof to->version, "%s", entry->version);
  snprintf(to->reason, sizeof to->reason, "%s", entry->reason);
  snprintf(to->hint, sizeof to->hint, "%s", entry->hint);
  return 0;
}

static inline const trace *trace_of(const ab_bridge *bridge) {
  static trace all;
  all.count = 0;
  ab_bridge_trace(bridge, take_line, &all);
  return &all;
}

/* The one line about `path`. */
static inline const line *line_of(const ab_bridge *bridge, const char *path) {
  const trace *const all = trace_of(bridge);
  const line *found = NULL;
  for (unsigned i = 0; i < all->count; i++) {
    if (strcmp(all->lines[i].path, path) != 0) continue;
    ck_assert_msg(found == NULL, "two lines about %s", path);
    found = &all->lines[i];
  }
  ck_assert_msg(found != NULL, "no line about %s", path);
  return found;
}

static inline void assert_says(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) != NULL, "\"%s\" does not say \"%s\"", text, part);
}

static inline const ab_backend *backend_of(const ab_bridge *bridge, const char *name) {
  const ab_backend *backend = NULL;
  ck_assert_int_eq(ab_bridge_backend(bridge, name, &backend, NULL), AB_OK);
  return backend;
}

/* fake_create_calls of a file that is in memory; -1: it is not. */
static inline int create_calls(const char *path) {
  void *const module = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
  if (module == NULL) return -1;
  const int *const calls = dlsym(module, "fake_create_calls");
  ck_assert_ptr_nonnull(calls);
  dlclose(module);
  return *calls;
}

static inline void *discover_on_thread(void *bridge) {
  discover(bridge);
  return NULL;
}

#endif
