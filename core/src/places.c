/* SPDX-License-Identifier: MIT */
#include "places.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

static const char *const origin_names[] = {
    [AB__ORIGIN_API] = "api",   [AB__ORIGIN_ENVIRONMENT] = "environment", [AB__ORIGIN_DISTRIBUTION] = "distribution",
    [AB__ORIGIN_USER] = "user", [AB__ORIGIN_LIBRARY] = "library",
};

const char *ab__origin_name(ab__origin origin) { return origin_names[origin]; }

int ab__origin_is_explicit(ab__origin origin) { return origin <= AB__ORIGIN_DISTRIBUTION; }

/* ------------------------------------------------------------------ a list of paths */

static ab_status reserve_one(ab__places *places) {
  if (places->count < places->capacity) return AB_OK;
  const size_t capacity = places->capacity != 0 ? 2 * places->capacity : 8;
  ab__place *list = ab__allocate(capacity * sizeof *list);
  if (list == NULL) return AB_OOM;
  if (places->count != 0) memcpy(list, places->list, places->count * sizeof *list);
  ab__deallocate(places->list);
  places->list = list;
  places->capacity = capacity;
  return AB_OK;
}

ab_status ab__places_add(ab__places *places, ab__origin origin, const char *path, size_t length) {
  if (reserve_one(places) != AB_OK) return AB_OOM;
  char *copy = ab__allocate(length + 1);
  if (copy == NULL) return AB_OOM;
  memcpy(copy, path, length);
  copy[length] = '\0';
  places->list[places->count++] = (ab__place){.path = copy, .origin = origin};
  return AB_OK;
}

int ab__places_has(const ab__places *places, const char *path) {
  for (size_t i = 0; i < places->count; i++)
    if (strcmp(places->list[i].path, path) == 0) return 1;
  return 0;
}

void ab__places_free(ab__places *places) {
  for (size_t i = 0; i < places->count; i++) ab__deallocate(places->list[i].path);
  ab__deallocate(places->list);
  *places = (ab__places){0};
}

static ab_status append(ab__places *places, const ab__places *more) {
  ab_status status = AB_OK;
  for (size_t i = 0; status == AB_OK && i < more->count; i++)
    status = ab__places_add(places, more->list[i].origin, more->list[i].path, strlen(more->list[i].path));
  return status;
}

/* Appends the first `length` bytes of `folder`, a slash and `name`. */
static ab_status add_below(ab__places *places, ab__origin origin, const char *folder, size_t length, const char *name) {
  const size_t name_length = strlen(name);
  char *path = ab__allocate(length + 1 + name_length);
  if (path == NULL) return AB_OOM;
  memcpy(path, folder, length);
  path[length] = '/';
  memcpy(path + length + 1, name, name_length);
  const ab_status status = ab__places_add(places, origin, path, length + 1 + name_length);
  ab__deallocate(path);
  return status;
}

/* ------------------------------------------------------------------ the order of discovery */

static ab_status add_environment(ab__places *places) {
  const char *rest = getenv("ARRAYBRIDGE_PLUGIN_PATH");
  ab_status status = AB_OK;
  while (status == AB_OK && rest != NULL) {
    const char *colon = strchrnul(rest, ':');
    // An empty part would mean the current folder, which nobody asked for.
    if (colon != rest) status = ab__places_add(places, AB__ORIGIN_ENVIRONMENT, rest, (size_t)(colon - rest));
    rest = *colon == ':' ? colon + 1 : NULL;
  }
  return status;
}

static ab_status add_user(ab__places *places) {
  const char *data = getenv("XDG_DATA_HOME");
  // The XDG base directory specification has relative paths ignored.
  if (data != NULL && data[0] == '/')
    return add_below(places, AB__ORIGIN_USER, data, strlen(data), "arraybridge/plugins");
  const char *home = getenv("HOME");
  if (home == NULL || home[0] != '/') return AB_OK;
  return add_below(places, AB__ORIGIN_USER, home, strlen(home), ".local/share/arraybridge/plugins");
}

static ab_status add_library(ab__places *places) {
  static const char here;  // any address inside this library
  Dl_info library;
  char path[PATH_MAX];
  if (dladdr(&here, &library) == 0 || library.dli_fname == NULL || realpath(library.dli_fname, path) == NULL)
    return AB_OK;
  const size_t length = (size_t)(strrchr(path, '/') - path);
  const ab_status status = add_below(places, AB__ORIGIN_LIBRARY, path, length, "arraybridge/plugins");
  return status == AB_OK ? add_below(places, AB__ORIGIN_LIBRARY, path, length, "plugins") : status;
}

ab_status ab__places_gather(ab__places *places, const ab__places *added, const ab__places *announced, int environment) {
  ab_status status = append(places, added);
  if (status == AB_OK && environment) status = add_environment(places);
  if (status == AB_OK) status = append(places, announced);
  if (status == AB_OK && environment) status = add_user(places);
  if (status == AB_OK) status = add_library(places);
  return status;
}

/* ------------------------------------------------------------------ the files in a folder */

static int is_plugin_name(const char *name) {
  const size_t length = strlen(name);
  return name[0] != '.' && length > 3 && strcmp(name + length - 3, ".so") == 0;
}

static int by_path(const void *left, const void *right) {
  return strcmp(((const ab__place *)left)->path, ((const ab__place *)right)->path);
}

ab_status ab__places_files(const char *folder, ab__origin origin, ab__places *files, ab_error *error) {
  DIR *stream = opendir(folder);
  if (stream == NULL) return ab_error_set(error, AB_UNAVAILABLE, "cannot read %s: %s", folder, strerror(errno));
  const size_t first = files->count;
  const size_t length = strlen(folder);
  ab_status status = AB_OK;
  while (status == AB_OK) {
    errno = 0;  // readdir() says NULL at the end and on an error alike
    const struct dirent *entry = readdir(stream);
    if (entry == NULL) break;
    if (is_plugin_name(entry->d_name)) status = add_below(files, origin, folder, length, entry->d_name);
  }
  const int problem = errno;
  closedir(stream);
  if (status != AB_OK) return ab_error_set(error, status, "out of memory while reading %s", folder);
  if (problem != 0) return ab_error_set(error, AB_UNAVAILABLE, "cannot read %s: %s", folder, strerror(problem));
  // All share the folder, so the order of paths is that of names.
  if (files->count != first) qsort(files->list + first, files->count - first, sizeof *files->list, by_path);
  return AB_OK;
}
