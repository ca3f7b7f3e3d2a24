/* SPDX-License-Identifier: MIT */
#include "registry.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "fork.h"
#include "memory.h"
#include "places.h"
#include "plugin_file.h"
#include "release.h"
#include "trust.h"
#include "turn.h"

/* What became of one file or folder. Not changed once it is in the trace, and kept while a visitor looks at it. */
typedef struct verdict {
  unsigned users; /* guarded by registry->lock */
  ab__origin origin;
  char name[64];
  char version[64];
  ab_error error; /* status, reason and hint */
  char path[];
} verdict;

/* The loaded backends by name. Never changed once readers can see it; an older list stays until the registry goes. */
typedef struct backend_list {
  struct backend_list *older;
  uint32_t count;
  const ab_backend *at[];
} backend_list;

struct ab__registry {
  ab_bridge *bridge;
  ab__registry *next;   /* in `registries` */
  pthread_mutex_t lock; /* guards what follows; of `backends`, the writers */
  ab__places added;
  ab__places announced;
  verdict **trace;
  uint32_t trace_count;
  uint32_t trace_capacity;
  _Atomic(backend_list *) backends; /* NULL: none loaded */
};

/* ------------------------------------------------------------------ verdicts */

static verdict *verdict_new(const char *path, ab__origin origin) {
  const size_t bytes = strlen(path) + 1;
  verdict *made = ab__allocate_zeroed(sizeof *made + bytes);
  if (made == NULL) return NULL;
  made->users = 1;
  made->origin = origin;
  ab_error_init(&made->error);
  memcpy(made->path, path, bytes);
  return made;
}

static void verdict_release_locked(verdict *entry) {
  if (--entry->users == 0) ab__deallocate(entry);
}

/* Takes the verdict's status from `status`; a failure object that a plugin left behind is not kept. */
static void verdict_close(verdict *entry, ab_status status) {
  ab_failure *const failure = &entry->error.failure;
  if (failure->struct_size != 0 && failure->release != NULL) failure->release(failure);
  *failure = (ab_failure){0};
  entry->error.status = status;
}

/* Makes room for one more, so that after a plugin was created nothing is left that could fail. */
static ab_status trace_reserve(ab__registry *registry) {
  if (registry->trace_count < registry->trace_capacity) return AB_OK;
  const uint32_t capacity = registry->trace_capacity != 0 ? 2 * registry->trace_capacity : 16;
  verdict **const bigger = ab__allocate(capacity * sizeof *bigger);
  if (bigger == NULL) return AB_OOM;
  pthread_mutex_lock(&registry->lock);
  if (registry->trace_count != 0) memcpy(bigger, registry->trace, registry->trace_count * sizeof *bigger);
  verdict **const smaller = registry->trace;
  registry->trace = bigger;
  registry->trace_capacity = capacity;
  pthread_mutex_unlock(&registry->lock);
  ab__deallocate(smaller);
  return AB_OK;
}

/* Takes `entry`. It replaces an earlier verdict on the same path: the file may have been repaired. */
static void trace_put_locked(ab__registry *registry, verdict *entry) {
  uint32_t index = 0;
  while (index < registry->trace_count && strcmp(registry->trace[index]->path, entry->path) != 0) index++;
  if (index < registry->trace_count) verdict_release_locked(registry->trace[index]);
  else registry->trace_count++;
  registry->trace[index] = entry;
}

static void trace_put(ab__registry *registry, verdict *entry) {
  pthread_mutex_lock(&registry->lock);
  trace_put_locked(registry, entry);
  pthread_mutex_unlock(&registry->lock);
}

static verdict *trace_borrow(ab__registry *registry, uint32_t index) {
  pthread_mutex_lock(&registry->lock);
  verdict *const entry = index < registry->trace_count ? registry->trace[index] : NULL;
  if (entry != NULL) entry->users++;
  pthread_mutex_unlock(&registry->lock);
  return entry;
}

static void trace_give_back(ab__registry *registry, verdict *entry) {
  pthread_mutex_lock(&registry->lock);
  verdict_release_locked(entry);
  pthread_mutex_unlock(&registry->lock);
}

void ab_bridge_trace(const ab_bridge *bridge, ab_trace_visitor visit, void *context) {
  ab__registry *const registry = bridge->registry;
  int stop = 0;
  for (uint32_t index = 0; !stop; index++) {
    verdict *const entry = trace_borrow(registry, index);
    if (entry == NULL) return;
    const ab_trace_entry shown = {.struct_size = (uint32_t)sizeof shown,
                                  .status = entry->error.status,
                                  .path = entry->path,
                                  .place = ab__origin_name(entry->origin),
                                  .name = entry->name,
                                  .version = entry->version,
                                  .reason = entry->error.text,
                                  .hint = entry->error.hint};
    stop = visit(context, &shown);
    trace_give_back(registry, entry);
  }
}

/* ------------------------------------------------------------------ the loaded backends */

static const backend_list *backends_of(const ab_bridge *bridge) {
  static const backend_list none;
  const backend_list *const list = atomic_load_explicit(&bridge->registry->backends, memory_order_acquire);
  return list != NULL ? list : &none;
}

static const ab_backend *find_by_name(const backend_list *list, const char *name) {
  for (uint32_t i = 0; i < list->count; i++)
    if (strcmp(ab_backend_name(list->at[i]), name) == 0) return list->at[i];
  return NULL;
}

static int is_loaded_from(const backend_list *list, const char *path) {
  for (uint32_t i = 0; i < list->count; i++)
    if (strcmp(ab_backend_path(list->at[i]), path) == 0) return 1;
  return 0;
}

static backend_list *backend_list_room(const backend_list *list) {
  return ab__allocate_zeroed(sizeof *list + (list->count + 1) * sizeof list->at[0]);
}

/* Takes `room`, from backend_list_room(): fills it with what is loaded and `backend`, and shows it to the readers. */
static void backends_publish_locked(ab__registry *registry, backend_list *room, const ab_backend *backend) {
  const backend_list *const now = backends_of(registry->bridge);
  uint32_t before = 0;
  while (before < now->count && strcmp(ab_backend_name(now->at[before]), ab_backend_name(backend)) < 0) before++;
  for (uint32_t i = 0; i < before; i++) room->at[i] = now->at[i];
  room->at[before] = backend;
  for (uint32_t i = before; i < now->count; i++) room->at[i + 1] = now->at[i];
  room->count = now->count + 1;
  room->older = atomic_load_explicit(&registry->backends, memory_order_relaxed);
  atomic_store_explicit(&registry->backends, room, memory_order_release);
}

uint32_t ab_bridge_backend_count(const ab_bridge *bridge) { return backends_of(bridge)->count; }

const ab_backend *ab_bridge_backend_at(const ab_bridge *bridge, uint32_t index) {
  const backend_list *const list = backends_of(bridge);
  return index < list->count ? list->at[index] : NULL;
}

/* ------------------------------------------------------------------ a name that is not loaded */

static void join_names(const backend_list *list, char *text, size_t size) {
  size_t used = 0;
  for (uint32_t i = 0; i < list->count && used < size; i++)
    used += (size_t)snprintf(text + used, size - used, "%s%s", i == 0 ? "" : ", ", ab_backend_name(list->at[i]));
  if (list->count == 0) snprintf(text, size, "none");
}

/* 1 if a file of that path would usually hold the backend `name`: one that cannot be opened does not tell its name. */
static int sounds_like(const char *path, const char *name) {
  const char *const slash = strrchr(path, '/');
  const char *stem = slash != NULL ? slash + 1 : path;
  if (strncmp(stem, "lib", 3) == 0) stem += 3;
  if (strncmp(stem, "arraybridge_", 12) == 0) stem += 12;
  const size_t length = strlen(name);
  return strncmp(stem, name, length) == 0 && strcmp(stem + length, ".so") == 0;
}

/* The first file of that name that was not loaded; give it back. NULL: there is none. */
static verdict *borrow_refused(ab__registry *registry, const char *name) {
  verdict *entry;
  for (uint32_t index = 0; (entry = trace_borrow(registry, index)) != NULL; index++) {
    const int is_it = strcmp(entry->name, name) == 0 || (entry->name[0] == '\0' && sounds_like(entry->path, name));
    if (is_it && entry->error.status != AB_OK) return entry;
    trace_give_back(registry, entry);
  }
  return NULL;
}

static ab_status no_backend(const ab_bridge *bridge, const char *name, ab_error *error) {
  char names[256];
  join_names(backends_of(bridge), names, sizeof names);
  verdict *const refused = borrow_refused(bridge->registry, name);
  if (refused == NULL) {
    ab_error_set(error, AB_NO_BACKEND, "no backend \"%.63s\" is loaded; loaded: %s", name, names);
    ab_error_hint(error, "`arraybridge doctor` shows every file that was looked at");
    return AB_NO_BACKEND;
  }
  ab_error_set(error, AB_NO_BACKEND, "no backend \"%.63s\" is loaded: %.160s: %.200s; loaded: %s", name, refused->path,
               refused->error.text, names);
  ab_error_hint(error, "%s", refused->error.hint);
  trace_give_back(bridge->registry, refused);
  return AB_NO_BACKEND;
}

ab_status ab_bridge_backend(const ab_bridge *bridge, const char *name, const ab_backend **backend, ab_error *error) {
  if (name == NULL) return ab_error_set(error, AB_INVALID_ARGUMENT, "the backend's name is missing");
  const ab_backend *const found = find_by_name(backends_of(bridge), name);
  if (found == NULL) return no_backend(bridge, name, error);
  *backend = found;
  return AB_OK;
}

/* ------------------------------------------------------------------ discovery */

typedef struct discovery {
  ab__registry *registry;
  ab__trust trust;
  ab__places places;
  ab__places seen; /* real paths looked at */
  int oom;         /* a plugin found no memory; the others get their chance first */
} discovery;

/* Finds the real path. Returns: AB_OK, with `*first` 1 if this discovery has not seen it yet; AB_OOM; AB_UNAVAILABLE
 * with errno. */
static ab_status resolve(discovery *self, const ab__place *found, char *real, int *first) {
  if (realpath(found->path, real) == NULL) return AB_UNAVAILABLE;
  *first = !ab__places_has(&self->seen, real);
  return *first ? ab__places_add(&self->seen, found->origin, real, strlen(real)) : AB_OK;
}

static ab_status note_missing(discovery *self, const ab__place *found, int problem) {
  verdict *const entry = verdict_new(found->path, found->origin);
  if (entry == NULL || trace_reserve(self->registry) != AB_OK) {
    ab__deallocate(entry);
    return AB_OOM;
  }
  ab_error_set(&entry->error, AB_UNAVAILABLE, "cannot look at it: %s", strerror(problem));
  struct stat link;
  if (lstat(found->path, &link) == 0 && S_ISLNK(link.st_mode))
    ab_error_hint(&entry->error, "a link that leads nowhere: repair it, or remove it");
  else ab_error_hint(&entry->error, "correct the path, or take it out of where it is named");
  trace_put(self->registry, entry);
  return AB_OK;
}

static ab_status check_name(const ab__registry *registry, const char *name, ab_error *error) {
  const ab_backend *const first = find_by_name(backends_of(registry->bridge), name);
  if (first == NULL) return AB_OK;
  ab_error_set(error, AB_UNSUPPORTED, "already provided by %s", ab_backend_path(first));
  ab_error_hint(error, "the first one found wins: remove one, or put the wanted one first in ARRAYBRIDGE_PLUGIN_PATH");
  return AB_UNSUPPORTED;
}

/* Opens and checks the file, and asks it for its backend. What is wrong goes into `entry`. */
static ab_status load(ab__registry *registry, verdict *entry, const ab_backend **backend) {
  ab__plugin_file file = {0};
  ab_status status = ab__plugin_file_open(entry->path, &file, &entry->error);
  if (status != AB_OK) return status;
  status = ab__plugin_file_check(&file, &entry->error);
  if (status == AB_OK) {
    snprintf(entry->name, sizeof entry->name, "%s", file.descriptor->name);
    snprintf(entry->version, sizeof entry->version, "%s", file.descriptor->version);
    status = check_name(registry, entry->name, &entry->error);
  }
  if (status == AB_OK) status = ab__plugin_file_check_runtime(&file, registry->bridge, &entry->error);
  if (status == AB_OK) return ab__plugin_file_create(&file, registry->bridge, entry->path, backend, &entry->error);
  ab__plugin_file_close(&file);
  return status;
}

/* A link is as good as the file it leads to and the folder it lies in. */
static ab_status check_trust(const ab__trust *trust, const char *found, verdict *entry) {
  const ab_status status = ab__trust_check(trust, entry->path, &entry->error);
  if (status != AB_OK || strcmp(found, entry->path) == 0) return status;
  return ab__trust_check(trust, found, &entry->error);
}

/* Everything that may run out of memory comes first; then the plugin has its say, and nothing more can fail. */
static ab_status judge_file(discovery *self, const ab__place *found, const char *real) {
  ab__registry *const registry = self->registry;
  if (is_loaded_from(backends_of(registry->bridge), real)) return AB_OK;
  verdict *const entry = verdict_new(real, found->origin);
  backend_list *const room = backend_list_room(backends_of(registry->bridge));
  if (entry == NULL || room == NULL || trace_reserve(registry) != AB_OK) {
    ab__deallocate(entry);
    ab__deallocate(room);
    return AB_OOM;
  }
  const ab_backend *backend = NULL;
  ab_status status = check_trust(&self->trust, found->path, entry);
  if (status == AB_OK) status = load(registry, entry, &backend);
  if (status != AB_OK && entry->error.hint[0] == '\0') ab_error_hint(&entry->error, "repair the plugin, or remove it");
  if (backend != NULL) ab_error_set(&entry->error, AB_OK, "%s", "");  // create() may have left a remark
  if (status == AB_OOM) self->oom = 1;
  verdict_close(entry, status);
  pthread_mutex_lock(&registry->lock);  // a forked child has the backend and its verdict, or neither
  if (backend != NULL) backends_publish_locked(registry, room, backend);
  trace_put_locked(registry, entry);
  pthread_mutex_unlock(&registry->lock);
  if (backend == NULL) ab__deallocate(room);
  return AB_OK;
}

static ab_status look_at_file(discovery *self, const ab__place *found) {
  char real[PATH_MAX];
  int first = 0;
  const ab_status status = resolve(self, found, real, &first);
  if (status == AB_UNAVAILABLE) return note_missing(self, found, errno);
  return status == AB_OK && first ? judge_file(self, found, real) : status;
}

static ab_status judge_folder(discovery *self, const ab__place *found, const char *real, ab__places *files) {
  verdict *const entry = verdict_new(real, found->origin);
  ab_status status = entry != NULL ? trace_reserve(self->registry) : AB_OOM;
  if (status == AB_OK) status = ab__places_files(real, found->origin, files, &entry->error);
  if (status == AB_OOM) {
    ab__deallocate(entry);
    return AB_OOM;
  }
  if (status == AB_OK) status = ab__trust_check_folder(&self->trust, real, &entry->error);
  if (status == AB_OK)
    ab_error_set(&entry->error, AB_OK, "a folder with %zu plugin file%s", files->count, files->count == 1 ? "" : "s");
  verdict_close(entry, status);
  trace_put(self->registry, entry);
  return AB_OK;
}

static ab_status look_at_folder(discovery *self, const ab__place *found, const char *real) {
  ab__places files = {0};
  ab_status status = judge_folder(self, found, real, &files);
  // Also in a folder that others may write, each file is named: its user will ask for it by name.
  for (size_t i = 0; status == AB_OK && i < files.count; i++) status = look_at_file(self, &files.list[i]);
  ab__places_free(&files);
  return status;
}

static int is_folder(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static ab_status look_at_place(discovery *self, const ab__place *place) {
  char real[PATH_MAX];
  int first = 0;
  const ab_status status = resolve(self, place, real, &first);
  if (status == AB_UNAVAILABLE) {
    const int absent = errno == ENOENT || errno == ENOTDIR;
    return absent && !ab__origin_is_explicit(place->origin) ? AB_OK : note_missing(self, place, errno);
  }
  if (status != AB_OK || !first) return status;
  return is_folder(real) ? look_at_folder(self, place, real) : judge_file(self, place, real);
}

static ab_status gather(discovery *self) {
  ab__registry *const registry = self->registry;
  pthread_mutex_lock(&registry->lock);
  const ab_status status =
      ab__places_gather(&self->places, &registry->added, &registry->announced, self->trust.environment);
  pthread_mutex_unlock(&registry->lock);
  return status;
}

ab_status ab_bridge_discover(ab_bridge *bridge, ab_error *error) {
  ab_status status = ab__turn_enter(bridge, error);
  if (status != AB_OK) return status;
  discovery run = {.registry = bridge->registry, .trust = ab__trust_of(bridge->flags, ab__trust_elevated())};
  status = gather(&run);
  for (size_t i = 0; status == AB_OK && i < run.places.count; i++) status = look_at_place(&run, &run.places.list[i]);
  ab__places_free(&run.places);
  ab__places_free(&run.seen);
  ab__turn_leave();
  if (status == AB_OK && run.oom) status = AB_OOM;
  return status == AB_OK ? AB_OK : ab_error_set(error, status, "out of memory while looking for plugins");
}

/* ------------------------------------------------------------------ places, and the registry itself */

static ab_status add_place(ab__registry *registry, ab__places *list, ab__origin origin, const char *path,
                           ab_error *error) {
  if (path == NULL || path[0] == '\0') return ab_error_set(error, AB_INVALID_ARGUMENT, "the path is empty");
  pthread_mutex_lock(&registry->lock);
  const ab_status status = ab__places_has(list, path) ? AB_OK : ab__places_add(list, origin, path, strlen(path));
  pthread_mutex_unlock(&registry->lock);
  return status == AB_OK ? AB_OK : ab_error_set(error, status, "out of memory while adding %s", path);
}

ab_status ab_bridge_add_path(ab_bridge *bridge, const char *path, ab_error *error) {
  return add_place(bridge->registry, &bridge->registry->added, AB__ORIGIN_API, path, error);
}

ab_status ab_bridge_add_announced(ab_bridge *bridge, const char *path, ab_error *error) {
  return add_place(bridge->registry, &bridge->registry->announced, AB__ORIGIN_DISTRIBUTION, path, error);
}

static ab__registry *registries;
static pthread_mutex_t registries_lock = PTHREAD_MUTEX_INITIALIZER;

static void enlist(ab__registry *registry) {
  pthread_mutex_lock(&registries_lock);
  registry->next = registries;
  registries = registry;
  pthread_mutex_unlock(&registries_lock);
}

static void strike_out(ab__registry *registry) {
  pthread_mutex_lock(&registries_lock);
  ab__registry **link = &registries;
  while (*link != registry) link = &(*link)->next;
  *link = registry->next;
  pthread_mutex_unlock(&registries_lock);
}

static void fork_one(ab__registry *registry, ab__fork_step step) {
  if (step == AB__FORK_BEFORE) pthread_mutex_lock(&registry->lock);
  const backend_list *const list = atomic_load(&registry->backends);  // does not change while the lock is held
  for (uint32_t i = 0; list != NULL && i < list->count; i++)
    ab__fork_lock(&((ab_backend *)list->at[i])->ability_lock, step);
  ab__detect_fork(registry->bridge->detect, step);
  if (step == AB__FORK_IN_CHILD) ab__release_fork(registry->bridge->release);
  if (step != AB__FORK_BEFORE) pthread_mutex_unlock(&registry->lock);
}

void ab__registry_fork(ab__fork_step step) {
  if (step == AB__FORK_BEFORE) pthread_mutex_lock(&registries_lock);
  for (ab__registry *registry = registries; registry != NULL; registry = registry->next) fork_one(registry, step);
  if (step != AB__FORK_BEFORE) pthread_mutex_unlock(&registries_lock);
}

ab__registry *ab__registry_new(ab_bridge *bridge) {
  ab__registry *const registry = ab__fork_watch() ? ab__allocate_zeroed(sizeof *registry) : NULL;
  if (registry == NULL) return NULL;
  registry->bridge = bridge;
  pthread_mutex_init(&registry->lock, NULL);
  enlist(registry);
  return registry;
}

void ab__registry_free(ab__registry *registry) {
  if (registry == NULL) return;
  strike_out(registry);
  for (backend_list *list = atomic_load(&registry->backends); list != NULL;) {
    backend_list *const older = list->older;
    ab__deallocate(list);
    list = older;
  }
  for (uint32_t i = 0; i < registry->trace_count; i++) ab__deallocate(registry->trace[i]);
  ab__deallocate(registry->trace);
  ab__places_free(&registry->added);
  ab__places_free(&registry->announced);
  pthread_mutex_destroy(&registry->lock);
  ab__deallocate(registry);
}
