/* SPDX-License-Identifier: MIT
 * One plugin file: opened, its descriptor checked, its create() called. */
#ifndef AB__PLUGIN_FILE_H
#define AB__PLUGIN_FILE_H

#include "bridge.h"

/* A file that is open, and of which only static constructors have run. Zeroed: none. */
typedef struct ab__plugin_file {
  void *module; /* of dlopen() */
  const ab_plugin_descriptor *descriptor;
} ab__plugin_file;

/// Opens the file at `path` and finds its descriptor, unread. Gives `*file`.
/// Returns: AB_OK; AB_UNAVAILABLE it cannot be opened; AB_INCOMPATIBLE it is no plugin for this machine;
/// AB_REFUSED it was linked without -z now.
ab_status ab__plugin_file_open(const char *path, ab__plugin_file *file, ab_error *error);
/// Closes a file whose create() was not called.
void ab__plugin_file_close(ab__plugin_file *file);

/// Reads the descriptor's fixed part: after AB_OK its name and version may be used. Returns: AB_OK; AB_INCOMPATIBLE.
ab_status ab__plugin_file_check(const ab__plugin_file *file, ab_error *error);
/// Asks whether `bridge` offers the language runtime that the plugin needs. Returns: AB_OK; AB_INCOMPATIBLE.
ab_status ab__plugin_file_check_runtime(const ab__plugin_file *file, const ab_bridge *bridge, ab_error *error);

/// Makes a backend of `bridge` from the file: calls create(), under the runtime's lock if the descriptor says so,
/// unless the process has called it before; then its outcome of that time holds. Gives `*backend`, which lives as long
/// as the process. Ownership: takes `file`, always: it stays open once create() was called, else it is closed. Returns:
/// AB_OK; AB_OOM; AB_INCOMPATIBLE a required slot is missing; AB_ENDING; what create() returned. Threads: one at a
/// time, which is up to the caller. `error` is empty and not NULL.
ab_status ab__plugin_file_create(ab__plugin_file *file, ab_bridge *bridge, const char *path, const ab_backend **backend,
                                 ab_error *error);

#endif
