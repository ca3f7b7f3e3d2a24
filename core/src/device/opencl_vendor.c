/* SPDX-License-Identifier: MIT
 *
 * The vendor libraries that OpenCL loaders will open, and opening them first.
 *
 * Where they are named, as ocl-icd and the Khronos loader document it: OCL_ICD_FILENAMES (libraries, colon-separated);
 * OCL_ICD_VENDORS (a folder, a .icd file, or a library), else OPENCL_VENDOR_PATH (a folder), else /etc/OpenCL/vendors.
 * Under elevated privileges all three variables are ignored.
 */
#include "device/opencl_internal.h"
#include "fork.h"

#ifdef AB__HAS_OPENCL

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { VENDOR_PATH = 4096, VENDORS_OPENED = 32 };

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define UNDER_SANITIZER 1
#endif

// The sanitizers' runtimes abort on RTLD_DEEPBIND: their own functions would not be found first.
#if defined(RTLD_DEEPBIND) && !defined(UNDER_SANITIZER)
static const int open_flags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#else
static const int open_flags = RTLD_NOW | RTLD_LOCAL;
#endif

static pthread_mutex_t opened_lock = PTHREAD_MUTEX_INITIALIZER;  // the two below
static void *opened[VENDORS_OPENED];                             // handles, kept for ever
static size_t opened_count;
static atomic_int prepared;

typedef void (*library_visitor)(void *context, const char *path, const char *library);

static const char *variable(const char *name) {
#if defined(__linux__)
  const char *value = secure_getenv(name);
#else
  const char *value = getenv(name);
#endif
  return value != NULL && value[0] != '\0' ? value : NULL;
}

static int has_suffix(const char *text, const char *suffix) {
  const size_t length = strlen(text), tail = strlen(suffix);
  return length > tail && strcmp(text + length - tail, suffix) == 0;
}

/* ------------------------------------------------------------------ where they are named */

static int read_first_line(const char *path, char *line, int capacity) {
  line[0] = '\0';
  FILE *file = fopen(path, "r");
  if (file == NULL) return 0;
  const int found = fgets(line, capacity, file) != NULL;
  fclose(file);
  if (!found) line[0] = '\0';
  size_t length = strlen(line);
  while (length > 0 && strchr(" \t\r\n", line[length - 1]) != NULL) line[--length] = '\0';
  return found;
}

static void visit_file(const char *path, library_visitor visit, void *context) {
  char library[VENDOR_PATH];
  (void)read_first_line(path, library, sizeof library);
  visit(context, path, library);
}

static void visit_folder(const char *folder, library_visitor visit, void *context) {
  DIR *files = opendir(folder);
  if (files == NULL) return;
  for (const struct dirent *entry = readdir(files); entry != NULL; entry = readdir(files)) {
    char path[VENDOR_PATH];
    if (!has_suffix(entry->d_name, ".icd")) continue;
    if (snprintf(path, sizeof path, "%s/%s", folder, entry->d_name) >= (int)sizeof path) continue;
    visit_file(path, visit, context);
  }
  closedir(files);
}

static void visit_named(const char *folder, const char *named, library_visitor visit, void *context) {
  struct stat status;
  char path[VENDOR_PATH];
  if (stat(named, &status) == 0 && S_ISDIR(status.st_mode)) {
    visit_folder(named, visit, context);
  } else if (!has_suffix(named, ".icd")) {
    visit(context, "OCL_ICD_VENDORS", named);
  } else if (strchr(named, '/') == NULL && snprintf(path, sizeof path, "%s/%s", folder, named) < (int)sizeof path &&
             stat(path, &status) == 0) {
    visit_file(path, visit, context);
  } else {
    visit_file(named, visit, context);
  }
}

static void visit_list(const char *list, library_visitor visit, void *context) {
  while (*list != '\0') {
    char library[VENDOR_PATH];
    const size_t length = strcspn(list, ":");
    if (length > 0 && length < sizeof library) {
      memcpy(library, list, length);
      library[length] = '\0';
      visit(context, "OCL_ICD_FILENAMES", library);
    }
    list += length + (list[length] == ':');
  }
}

static void visit_libraries(library_visitor visit, void *context) {
  const char *list = variable("OCL_ICD_FILENAMES");
  const char *named = variable("OCL_ICD_VENDORS");
  const char *folder = variable("OPENCL_VENDOR_PATH");
  if (folder == NULL) folder = "/etc/OpenCL/vendors";
  if (list != NULL) visit_list(list, visit, context);
  if (named != NULL) visit_named(folder, named, visit, context);
  else visit_folder(folder, visit, context);
}

/* ------------------------------------------------------------------ opening them */

/* The handle of a library that is in the process already, else NULL. Adds no reference. */
static void *resident(const char *library) {
  void *handle = library[0] != '\0' ? dlopen(library, RTLD_LAZY | RTLD_LOCAL | RTLD_NOLOAD) : NULL;
  if (handle != NULL) dlclose(handle);
  return handle;
}

static int is_opened(const void *handle) {
  int found = 0;
  pthread_mutex_lock(&opened_lock);
  for (size_t index = 0; index < opened_count; index++) found |= opened[index] == handle;
  pthread_mutex_unlock(&opened_lock);
  return found;
}

static void remember(void *handle) {
  if (is_opened(handle)) return;
  pthread_mutex_lock(&opened_lock);
  if (opened_count < VENDORS_OPENED) opened[opened_count++] = handle;
  pthread_mutex_unlock(&opened_lock);
}

void ab__opencl_vendors_fork(ab__fork_step step) { ab__fork_lock(&opened_lock, step); }

typedef struct preparation {
  int loaded;
  int named;
  char reason[AB_ERROR_TEXT / 2];
} preparation;

static void open_vendor(void *context, const char *path, const char *library) {
  preparation *self = context;
  self->named++;
  if (library[0] == '\0') {
    snprintf(self->reason, sizeof self->reason, "%s names no library", path);
    return;
  }
  if (resident(library) != NULL) {
    self->loaded++;
    return;
  }
  void *handle = dlopen(library, open_flags);
  if (handle != NULL) {
    remember(handle);
    self->loaded++;
    return;
  }
  const char *reason = dlerror();
  snprintf(self->reason, sizeof self->reason, "%s: %s", path, reason != NULL ? reason : "cannot be opened");
}

ab_status ab__opencl_prepare(ab_error *error) {
  if (ab__cl_fork_check(error) != AB_OK) return AB_DRIVER;
  if (atomic_load(&prepared)) return AB_OK;
  preparation work = {0};
  visit_libraries(open_vendor, &work);
  if (work.loaded > 0) {
    atomic_store(&prepared, 1);
    return AB_OK;
  }
  if (work.named == 0) ab_error_set(error, AB_UNAVAILABLE, "no OpenCL driver is installed: no .icd file names one");
  else ab_error_set(error, AB_UNAVAILABLE, "none of %d OpenCL drivers can be opened: %s", work.named, work.reason);
  ab_error_hint(error, "install a driver (on the CPU: pocl-opencl-icd)");
  return AB_UNAVAILABLE;
}

typedef struct visitation {
  ab__opencl_vendor_visitor visit;
  void *context;
} visitation;

static void show_vendor(void *context, const char *path, const char *library) {
  const visitation *self = context;
  const void *handle = resident(library);
  const ab__opencl_vendor vendor = {
      .path = path,
      .library = library,
      .loaded = handle != NULL,
      .opened_by_us = handle != NULL && is_opened(handle),
  };
  self->visit(self->context, &vendor);
}

ab_status ab__opencl_visit_vendors(ab__opencl_vendor_visitor visit, void *context, ab_error *error) {
  if (ab__cl_fork_check(error) != AB_OK) return AB_DRIVER;
  visitation self = {visit, context};
  visit_libraries(show_vendor, &self);
  return AB_OK;
}

#endif /* AB__HAS_OPENCL */
