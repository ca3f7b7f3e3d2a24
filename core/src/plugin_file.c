/* SPDX-License-Identifier: MIT */
#include "plugin_file.h"

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <ltdl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backend.h"
#include "fork.h"
#include "memory.h"
#include "registry.h"

/* ------------------------------------------------------------------ before it is opened */

#if defined(__x86_64__)
#define MACHINE EM_X86_64
#elif defined(__aarch64__)
#define MACHINE EM_AARCH64
#elif defined(__powerpc64__)
#define MACHINE EM_PPC64
#elif defined(__riscv)
#define MACHINE EM_RISCV
#elif defined(__s390x__)
#define MACHINE EM_S390
#endif

static int is_of_this_machine(const ElfW(Ehdr) * header) {
  const unsigned char word = sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32;
  const unsigned char order = __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ ? ELFDATA2LSB : ELFDATA2MSB;
  if (header->e_ident[EI_CLASS] != word || header->e_ident[EI_DATA] != order) return 0;
#ifdef MACHINE
  return header->e_machine == MACHINE;
#else
  return 1;  // dlopen() will tell
#endif
}

/* A file that is still being copied has its tables and lacks its end; touching that end kills the process. */
static int is_whole(int descriptor, const ElfW(Ehdr) * header, off_t size) {
  for (unsigned i = 0; i < header->e_phnum; i++) {
    ElfW(Phdr) part;
    const uint64_t place = header->e_phoff + (uint64_t)i * sizeof part;
    if (pread(descriptor, &part, sizeof part, (off_t)place) != (ssize_t)sizeof part) return 0;
    uint64_t end;
    if (!ab__add_size(part.p_offset, part.p_filesz, &end) || end > (uint64_t)size) return 0;
  }
  return 1;
}

static ab_status check_header(int descriptor, const char *path, ab_error *error) {
  struct stat status;
  if (fstat(descriptor, &status) != 0)
    return ab_error_set(error, AB_UNAVAILABLE, "cannot look at %s: %s", path, strerror(errno));
  if (!S_ISREG(status.st_mode)) return ab_error_set(error, AB_INCOMPATIBLE, "not a shared library: not a regular file");

  ElfW(Ehdr) header;
  const ssize_t got = pread(descriptor, &header, sizeof header, 0);
  if (got < SELFMAG || memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return ab_error_set(error, AB_INCOMPATIBLE, "not a shared library: no ELF file");
  if (got != (ssize_t)sizeof header) return ab_error_set(error, AB_INCOMPATIBLE, "the file is cut off: %zd bytes", got);
  if (!is_of_this_machine(&header))
    return ab_error_set(error, AB_INCOMPATIBLE, "built for another machine (ELF machine %u)",
                        (unsigned)header.e_machine);
  if (header.e_type != ET_DYN || header.e_phentsize != sizeof(ElfW(Phdr)))
    return ab_error_set(error, AB_INCOMPATIBLE, "not a shared library: ELF type %u", (unsigned)header.e_type);
  if (is_whole(descriptor, &header, status.st_size)) return AB_OK;
  ab_error_set(error, AB_INCOMPATIBLE, "the file is cut off: %lld bytes", (long long)status.st_size);
  ab_error_hint(error, "copy it again; if it is being copied, discover again afterwards");
  return AB_INCOMPATIBLE;
}

static ab_status check_elf(const char *path, ab_error *error) {
  // A FIFO named like a plugin would block open() for ever.
  const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) return ab_error_set(error, AB_UNAVAILABLE, "cannot open %s: %s", path, strerror(errno));
  const ab_status status = check_header(descriptor, path, error);
  close(descriptor);
  return status;
}

/* ------------------------------------------------------------------ opening */

static void hint_for_loader(const char *reason, ab_error *error) {
  if (strstr(reason, "undefined symbol: Py") != NULL || strstr(reason, "undefined symbol: _Py") != NULL)
    ab_error_hint(error, "it needs Python: discover it from a Python process");
  else if (strstr(reason, "undefined symbol") != NULL)
    ab_error_hint(error, "link the plugin with the library that defines it; ldd -r shows what is missing");
  else if (strstr(reason, "cannot open shared object file") != NULL)
    ab_error_hint(error, "install the library that the plugin needs; ldd shows which");
}

/* libltdl calls everything "file not found". dlopen() itself knows the reason. */
static ab_status open_module(const char *path, void **module, ab_error *error) {
  void *const opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (opened != NULL) {
    *module = opened;
    return AB_OK;
  }
  const char *reason = dlerror();
  if (reason == NULL) reason = "dlopen() failed without a reason";
  const size_t length = strlen(path);
  if (strncmp(reason, path, length) == 0 && strncmp(reason + length, ": ", 2) == 0) reason += length + 2;
  ab_error_set(error, AB_UNAVAILABLE, "%s", reason);
  hint_for_loader(reason, error);
  return AB_UNAVAILABLE;
}

/* Bound lazily, a missing symbol would show at the first call of a slot, and kill the process there. */
static int binds_now(void *module) {
  struct link_map *map = NULL;
  if (dlinfo(module, RTLD_DI_LINKMAP, &map) != 0 || map == NULL || map->l_ld == NULL) return 0;
  for (const ElfW(Dyn) *entry = map->l_ld; entry->d_tag != DT_NULL; entry++) {
    if (entry->d_tag == DT_BIND_NOW) return 1;
    if (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_BIND_NOW) != 0) return 1;
    if (entry->d_tag == DT_FLAGS_1 && (entry->d_un.d_val & DF_1_NOW) != 0) return 1;
  }
  return 0;
}

static ab_status find_descriptor(ab__plugin_file *file, ab_error *error) {
  file->descriptor = dlsym(file->module, AB_PLUGIN_SYMBOL);
  if (file->descriptor == NULL) {
    ab_error_set(error, AB_INCOMPATIBLE, "no arraybridge plugin: it does not export " AB_PLUGIN_SYMBOL);
    ab_error_hint(error, "define it with AB_PLUGIN_DEFINE (in C++ inside extern \"C\")");
    return AB_INCOMPATIBLE;
  }
  if (binds_now(file->module)) return AB_OK;
  ab_error_set(error, AB_REFUSED, "linked without -z now: a missing symbol would end the process at its first use");
  ab_error_hint(error, "link it with -Wl,-z,now or arraybridge_add_plugin()");
  return AB_REFUSED;
}

ab_status ab__plugin_file_open(const char *path, ab__plugin_file *file, ab_error *error) {
  ab__plugin_file opened = {0};
  ab_status status = check_elf(path, error);
  if (status == AB_OK) status = open_module(path, &opened.module, error);
  if (status != AB_OK) return status;
  status = find_descriptor(&opened, error);
  if (status == AB_OK) *file = opened;
  else ab__plugin_file_close(&opened);
  return status;
}

void ab__plugin_file_close(ab__plugin_file *file) {
  if (file->module != NULL) dlclose(file->module);
  *file = (ab__plugin_file){0};
}

/* ------------------------------------------------------------------ the descriptor */

static ab_status incompatible_major(const ab_plugin_descriptor *descriptor, ab_error *error) {
  const int newer = descriptor->abi_major > AB_ABI_MAJOR;
  ab_error_set(error, AB_INCOMPATIBLE, "built for interface %u.%u, this core speaks %u.%u: %s",
               (unsigned)descriptor->abi_major, (unsigned)descriptor->abi_minor, (unsigned)AB_ABI_MAJOR,
               (unsigned)AB_ABI_MINOR, newer ? "update arraybridge" : "update the plugin");
  ab_error_hint(error, "%s", newer ? "update arraybridge" : "update the plugin");
  return AB_INCOMPATIBLE;
}

static int is_backend_name(const char *name) {
  if (name == NULL) return 0;
  const size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_");
  return length >= 1 && length <= 63 && name[length] == '\0';
}

ab_status ab__plugin_file_check(const ab__plugin_file *file, ab_error *error) {
  const ab_plugin_descriptor *const descriptor = file->descriptor;
  // Another major may have moved everything behind these two fields.
  if (AB_HAS_FIELD(descriptor, ab_plugin_descriptor, abi_minor) && descriptor->abi_major != AB_ABI_MAJOR)
    return incompatible_major(descriptor, error);
  if (!AB_HAS_FIELD(descriptor, ab_plugin_descriptor, create))
    return ab_error_set(error, AB_INCOMPATIBLE,
                        "its descriptor has %u bytes, that of interface 1.0 has %zu; set .struct_size = sizeof "
                        "arraybridge_plugin",
                        (unsigned)descriptor->struct_size, offsetof(ab_plugin_descriptor, create) + sizeof(void *));
  if (!is_backend_name(descriptor->name))
    return ab_error_set(error, AB_INCOMPATIBLE, "its name is \"%.80s\"; a name is 1 to 63 of [a-z0-9_]",
                        descriptor->name != NULL ? descriptor->name : "");
  if (descriptor->version == NULL || descriptor->licence == NULL || descriptor->runtime_abi == NULL)
    return ab_error_set(error, AB_INCOMPATIBLE, "its descriptor lacks version, licence or runtime_abi");
  if (descriptor->create == NULL) return ab_error_set(error, AB_INCOMPATIBLE, "its descriptor has no create()");
  return AB_OK;
}

ab_status ab__plugin_file_check_runtime(const ab__plugin_file *file, const ab_bridge *bridge, ab_error *error) {
  const ab_plugin_descriptor *const descriptor = file->descriptor;
  if (descriptor->runtime > AB_RUNTIME_PYTHON || descriptor->lock > AB_LOCK_PYTHON)
    return ab_error_set(error, AB_INCOMPATIBLE, "needs language runtime %u and lock %u, which this core does not know",
                        (unsigned)descriptor->runtime, (unsigned)descriptor->lock);
  const int needs_python = descriptor->runtime == AB_RUNTIME_PYTHON || descriptor->lock == AB_LOCK_PYTHON;
  if (!needs_python) return AB_OK;
  // It touches Python's objects, and would be called without the GIL.
  if (descriptor->runtime == AB_RUNTIME_PYTHON && descriptor->lock == AB_LOCK_NONE)
    return ab_error_set(error, AB_INCOMPATIBLE, "a Python plugin needs .lock = AB_LOCK_PYTHON");
  if (bridge->runtime.kind != AB_RUNTIME_PYTHON) {
    ab_error_set(error, AB_INCOMPATIBLE, "needs Python, and this bridge has no Python runtime");
    ab_error_hint(error, "use it through the Python package, or give ab_bridge_options.runtime");
    return AB_INCOMPATIBLE;
  }
  const char *offered = bridge->runtime.abi != NULL ? bridge->runtime.abi : "";
  if (descriptor->runtime == AB_RUNTIME_NONE || strcmp(descriptor->runtime_abi, offered) == 0) return AB_OK;
  ab_error_set(error, AB_INCOMPATIBLE, "built for the Python interface \"%.40s\", this process has \"%.40s\"",
               descriptor->runtime_abi, offered);
  ab_error_hint(error, "install the build of this plugin for \"%.40s\"", offered);
  return AB_INCOMPATIBLE;
}

/* ------------------------------------------------------------------ create() */

/* A backend whose create() was called, and what came of it. The plugin may keep `services` and call them from a
 * deleter at any time, so it is never freed; the list is how the process knows whom it has asked. */
typedef struct asked_plugin {
  ab_backend backend;
  ab_plugin plugin;
  ab_status status;
  char reason[AB_ERROR_TEXT];
  struct asked_plugin *next;
} asked_plugin;

static _Atomic(asked_plugin *) asked_plugins;

static void remember(asked_plugin *plugin) {
  plugin->next = atomic_load(&asked_plugins);
  while (!atomic_compare_exchange_weak(&asked_plugins, &plugin->next, plugin)) continue;
}

static const asked_plugin *find_asked(const ab_plugin_descriptor *descriptor) {
  const asked_plugin *plugin = atomic_load(&asked_plugins);
  while (plugin != NULL && plugin->backend.descriptor != descriptor) plugin = plugin->next;
  return plugin;
}

static asked_plugin *new_plugin(const ab__plugin_file *file, ab_bridge *bridge, const char *path) {
  asked_plugin *const plugin = ab__allocate_zeroed(sizeof *plugin);
  if (plugin == NULL) return NULL;
  const size_t bytes = strlen(path) + 1;
  ab_backend *const backend = &plugin->backend;
  backend->path = ab__allocate(bytes);
  if (backend->path == NULL) {
    ab__deallocate(plugin);
    return NULL;
  }
  memcpy(backend->path, path, bytes);
  backend->descriptor = file->descriptor;
  backend->vtable = &backend->slots;
  backend->bridge = bridge;
  pthread_mutex_init(&backend->ability_lock, NULL);
  ab__services_init(backend);
  plugin->plugin.struct_size = (uint32_t)sizeof plugin->plugin;
  return plugin;
}

static void free_plugin(asked_plugin *plugin) {
  pthread_mutex_destroy(&plugin->backend.ability_lock);
  ab__deallocate(plugin->backend.path);
  ab__deallocate(plugin);
}

static pthread_mutex_t ltdl_lock = PTHREAD_MUTEX_INITIALIZER;  // libltdl is not thread-safe

static ab_status open_resident_locked(const char *path, ab_error *error) {
  static int initialised;
  lt_dladvise advise = NULL;
  lt_dlhandle handle = NULL;
  if (!initialised && lt_dlinit() == 0) initialised = 1;
  if (initialised && lt_dladvise_init(&advise) == 0) {
    if (lt_dladvise_local(&advise) == 0 && lt_dladvise_resident(&advise) == 0) handle = lt_dlopenadvise(path, advise);
    lt_dladvise_destroy(&advise);
  }
  if (handle != NULL) return AB_OK;
  const char *reason = lt_dlerror();
  return ab_error_set(error, AB_UNAVAILABLE, "libltdl: %s", reason != NULL ? reason : "no reason given");
}

void ab__plugin_file_fork(ab__fork_step step) { ab__fork_lock(&ltdl_lock, step); }

/* The module is open already, so no code of it runs under the lock. */
static ab_status open_resident(const char *path, ab_error *error) {
  pthread_mutex_lock(&ltdl_lock);
  const ab_status status = open_resident_locked(path, error);
  pthread_mutex_unlock(&ltdl_lock);
  return status;
}

static ab_status take_vtable(ab_backend *backend, const ab_plugin *plugin, ab_error *error) {
  if (plugin->vtable == NULL) return ab_error_set(error, AB_INCOMPATIBLE, "create() gave no vtable");
  if (plugin->vtable->struct_size < sizeof(uint64_t))
    return ab_error_set(error, AB_INCOMPATIBLE,
                        "its vtable has %u bytes, that of interface 1.0 has %zu; set .struct_size = sizeof vtable",
                        (unsigned)plugin->vtable->struct_size, sizeof(ab_plugin_vtable));
  const size_t theirs = plugin->vtable->struct_size;
  const size_t shared = theirs < sizeof backend->slots ? theirs : sizeof backend->slots;
  // Whole slots only: half a pointer is none.
  memcpy(&backend->slots, plugin->vtable, shared - shared % sizeof(void *));
  backend->slots.struct_size = (uint32_t)sizeof backend->slots;
  backend->self = plugin->self;
  return AB_OK;
}

static ab_status check_slots(const ab_plugin_vtable *slots, ab_error *error) {
  const char *const missing = slots->recognizes == NULL     ? "recognizes"
                              : slots->describe == NULL     ? "describe"
                              : slots->capabilities == NULL ? "capabilities"
                              : slots->retain == NULL       ? "retain"
                              : slots->release == NULL      ? "release"
                                                            : NULL;
  if (missing == NULL) return AB_OK;
  return ab_error_set(error, AB_INCOMPATIBLE, "its vtable lacks the required slot %s()", missing);
}

/* Calls create() and looks at what it gave. Nothing of the core is locked: create() may call every service. */
static ab_status call_create(asked_plugin *asked, ab_error *error) {
  ab_backend *const backend = &asked->backend;
  ab_status status = backend->descriptor->create(&backend->services, &asked->plugin, error);
  if (status != AB_OK && error->text[0] == '\0')
    ab_error_set(error, status, "create() returned %s and said nothing; let it call ab_error_set(error, …)",
                 ab_status_name(status));
  status = ab__slot_result(backend, "create", status, error);
  if (status == AB_OK) status = take_vtable(backend, &asked->plugin, error);
  if (status == AB_OK) status = check_slots(&backend->slots, error);
  return status;
}

/* Returns 1 if create() was called: then `plugin` belongs to the list, whatever came of it. */
static int ask(asked_plugin *plugin, ab_error *error) {
  const ab_bridge *const bridge = plugin->backend.bridge;
  const ab_runtime *const runtime = &bridge->runtime;
  const int locks = plugin->backend.descriptor->lock == AB_LOCK_PYTHON && runtime->lock_enter != NULL;
  void *const token = locks && !ab__bridge_ending(bridge) ? runtime->lock_enter(runtime->self) : NULL;
  if (locks && token == NULL) {
    plugin->status = ab_error_set(error, AB_ENDING, "the language runtime is ending");
    return 0;
  }
  plugin->status = call_create(plugin, error);
  snprintf(plugin->reason, sizeof plugin->reason, "%s", error->text);
  remember(plugin);
  if (locks && runtime->lock_leave != NULL) runtime->lock_leave(runtime->self, token);
  return 1;
}

/* Takes what create() gave to another bridge of this process, or said to this one. Returns as ask(). */
static int follow(asked_plugin *plugin, const asked_plugin *earlier, ab_error *error) {
  plugin->plugin = earlier->plugin;
  plugin->status = earlier->status;
  if (plugin->status != AB_OK) {
    ab_error_set(error, plugin->status, "%s", earlier->reason);
    ab_error_hint(error, "a plugin is asked once in a process: after a repair start a new one");
    return 0;
  }
  plugin->status = take_vtable(&plugin->backend, &plugin->plugin, error);
  remember(plugin);
  return 1;
}

ab_status ab__plugin_file_create(ab__plugin_file *file, ab_bridge *bridge, const char *path, const ab_backend **backend,
                                 ab_error *error) {
  const asked_plugin *const earlier = find_asked(file->descriptor);
  asked_plugin *const plugin = new_plugin(file, bridge, path);
  ab_status status = plugin != NULL ? AB_OK : ab_error_set(error, AB_OOM, "out of memory while loading %s", path);
  if (status == AB_OK && earlier == NULL) status = open_resident(path, error);

  int kept = 0;
  if (status == AB_OK) {
    kept = earlier != NULL ? follow(plugin, earlier, error) : ask(plugin, error);
    status = plugin->status;
  }
  if (status == AB_OK) *backend = &plugin->backend;
  if (kept) {
    *file = (ab__plugin_file){0};  // open for ever
    return status;
  }
  if (plugin != NULL) free_plugin(plugin);
  ab__plugin_file_close(file);
  return status;
}
