/* SPDX-License-Identifier: MIT
 * Where plugins are looked for: the list of places, in the order of discovery, and the files in a folder. */
#ifndef AB__PLACES_H
#define AB__PLACES_H

#include <arraybridge/arraybridge.h>

/* Who named a place, in the order of discovery. */
typedef enum ab__origin {
  AB__ORIGIN_API = 0,
  AB__ORIGIN_ENVIRONMENT,
  AB__ORIGIN_DISTRIBUTION,
  AB__ORIGIN_USER,
  AB__ORIGIN_LIBRARY
} ab__origin;

/// "api", "environment", … as in ab_trace_entry.place. Static storage.
const char *ab__origin_name(ab__origin origin);
/// 1 if somebody named the place, so that its absence is worth a line; 0 for the standard folders.
int ab__origin_is_explicit(ab__origin origin);

typedef struct ab__place {
  char *path;
  ab__origin origin;
} ab__place;

/* A list of paths. Zeroed: empty. */
typedef struct ab__places {
  ab__place *list;
  size_t count;
  size_t capacity;
} ab__places;

/// Appends the first `length` bytes of `path` (copies). Returns: AB_OK; AB_OOM, the list as it was.
ab_status ab__places_add(ab__places *places, ab__origin origin, const char *path, size_t length);
/// 1 if `path` is in the list, letter by letter.
int ab__places_has(const ab__places *places, const char *path);
/// Frees what the list owns and makes it empty.
void ab__places_free(ab__places *places);

/// Appends every place in the order of discovery: `added`, the environment, `announced`, the user's data folder, the
/// library's folder. Only with `environment` do variables count. Returns: AB_OK; AB_OOM.
ab_status ab__places_gather(ab__places *places, const ab__places *added, const ab__places *announced, int environment);
/// Appends the plugin files of `folder` (*.so, none hidden), sorted by name.
/// Returns: AB_OK; AB_OOM; AB_UNAVAILABLE with the system's reason.
ab_status ab__places_files(const char *folder, ab__origin origin, ab__places *files, ab_error *error);

#endif
