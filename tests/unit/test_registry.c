/* SPDX-License-Identifier: MIT
 *
 * Where plugins are looked for, which may be trusted, which load, and what is said about the others.
 * The plugins are copies of tests/fakes (AB_FAKES) in a private folder, so that the build folder's mode plays no part.
 */
#include <check.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <ltdl.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bridge.h"
#include "memory.h"
#include "places.h"
#include "trust.h"

/* ------------------------------------------------------------------ files */

static char home[PATH_MAX];  // of one test; also HOME

/* "home/NAME" in one of a few buffers that are used in turn. */
static const char *at(const char *name) {
  static char buffers[8][PATH_MAX + 128];
  static unsigned turn;
  char *const buffer = buffers[turn++ % 8];
  snprintf(buffer, sizeof buffers[0], "%s/%s", home, name);
  return buffer;
}

static void write_file(const char *path, const void *bytes, size_t size) {
  const int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  ck_assert_int_ge(file, 0);
  ck_assert_int_eq(write(file, bytes, size), (ssize_t)size);
  ck_assert_int_eq(fchmod(file, 0644), 0);
  close(file);
}

static char *read_fake(const char *fake, size_t *size) {
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
static const char *put(const char *fake, const char *name) {
  size_t size;
  char *const bytes = read_fake(fake, &size);
  const char *const path = at(name);
  unlink(path);
  write_file(path, bytes, size);
  free(bytes);
  return path;
}

static const char *put_text(const char *name) {
  const char *const path = at(name);
  write_file(path, "I am a text\n", 12);
  return path;
}

static const char *make_folder(const char *name) {
  const char *const path = at(name);
  ck_assert_int_eq(mkdir(path, 0700), 0);
  return path;
}

static void setup(void) {
  char made[] = "/tmp/ab_registry_XXXXXX";
  ck_assert_ptr_nonnull(mkdtemp(made));
  ck_assert_ptr_nonnull(realpath(made, home));
  setenv("HOME", home, 1);
  unsetenv("XDG_DATA_HOME");
  unsetenv("ARRAYBRIDGE_PLUGIN_PATH");
  unsetenv("ARRAYBRIDGE_TRUST_WRITABLE");
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *walk) {
  (void)status, (void)kind, (void)walk;
  return remove(path);
}

static void teardown(void) { nftw(home, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

/* ------------------------------------------------------------------ bridges and their trace */

static ab_bridge *bridge_of(const ab_bridge_options *options) {
  ab_bridge *bridge = NULL;
  ck_assert_int_eq(ab_bridge_new(options, &bridge, NULL), AB_OK);
  return bridge;
}

static ab_bridge *bridge_with(uint32_t flags) {
  return bridge_of(&(ab_bridge_options){.struct_size = sizeof(ab_bridge_options), .flags = flags});
}

static ab_bridge *bridge_at(const char *path) {
  ab_bridge *const bridge = bridge_with(0);
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  return bridge;
}

static void discover(ab_bridge *bridge) { ck_assert_int_eq(ab_bridge_discover(bridge, NULL), AB_OK); }

typedef struct line {
  ab_status status;
  char path[PATH_MAX], place[32], name[64], version[64], reason[AB_ERROR_TEXT], hint[AB_ERROR_HINT];
} line;

typedef struct trace {
  unsigned count;
  line lines[24];
} trace;

static int take_line(void *context, const ab_trace_entry *entry) {
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

static const trace *trace_of(const ab_bridge *bridge) {
  static trace all;
  all.count = 0;
  ab_bridge_trace(bridge, take_line, &all);
  return &all;
}

/* The one line about `path`. */
static const line *line_of(const ab_bridge *bridge, const char *path) {
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

static void assert_says(const char *text, const char *part) {
  ck_assert_msg(strstr(text, part) != NULL, "\"%s\" does not say \"%s\"", text, part);
}

static const ab_backend *backend_of(const ab_bridge *bridge, const char *name) {
  const ab_backend *backend = NULL;
  ck_assert_int_eq(ab_bridge_backend(bridge, name, &backend, NULL), AB_OK);
  return backend;
}

/* fake_create_calls of a file that is in memory; -1: it is not. */
static int create_calls(const char *path) {
  void *const module = dlopen(path, RTLD_LAZY | RTLD_NOLOAD);
  if (module == NULL) return -1;
  const int *const calls = dlsym(module, "fake_create_calls");
  ck_assert_ptr_nonnull(calls);
  dlclose(module);
  return *calls;
}

/* ------------------------------------------------------------------ loading */

START_TEST(a_good_plugin_is_loaded_and_traced) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const bridge = bridge_at(path);
  discover(bridge);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 1);
  const ab_backend *const backend = backend_of(bridge, "fake_good");
  ck_assert_ptr_eq(ab_bridge_backend_at(bridge, 0), backend);
  ck_assert_ptr_null(ab_bridge_backend_at(bridge, 1));
  ck_assert_str_eq(ab_backend_path(backend), path);
  ck_assert_ptr_eq(backend->bridge, bridge);
  ck_assert(backend->vtable->to_dlpack != NULL);
  ck_assert(backend->vtable->start == NULL);

  const line *const seen = line_of(bridge, path);
  ck_assert_int_eq(seen->status, AB_OK);
  ck_assert_str_eq(seen->place, "api");
  ck_assert_str_eq(seen->name, "fake_good");
  ck_assert_str_eq(seen->version, "1.2.3");
  ck_assert_str_eq(seen->reason, "");
  ck_assert_str_eq(seen->hint, "");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(backends_come_sorted_by_name) {
  put("fake_short_vtable", "1.so");
  put("fake_good", "2.so");
  put("fake_longer_vtable", "3.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 3);
  ck_assert_str_eq(ab_backend_name(ab_bridge_backend_at(bridge, 0)), "fake_good");
  ck_assert_str_eq(ab_backend_name(ab_bridge_backend_at(bridge, 1)), "fake_longer_vtable");
  ck_assert_str_eq(ab_backend_name(ab_bridge_backend_at(bridge, 2)), "fake_short_vtable");
  ab_bridge_free(bridge);
}
END_TEST

static const struct broken {
  const char *fake, *name;
  ab_status status;
  const char *reason, *hint;
} all_broken[] = {
    {"fake_newer_major", "", AB_INCOMPATIBLE, "built for interface 2.0, this core speaks 1.0: update arraybridge", ""},
    {"fake_unresolved_symbol", "", AB_UNAVAILABLE, "undefined symbol: symbol_that_no_library_defines", "ldd -r"},
    {"fake_create_fails", "fake_create_fails", AB_UNAVAILABLE, "the fake framework is not at home, call 1",
     "invite it"},
    {"fake_missing_slot", "fake_missing_slot", AB_INCOMPATIBLE, "capabilities()", ""},
    {"fake_lazy_binding", "", AB_REFUSED, "-z now", "-Wl,-z,now or arraybridge_add_plugin()"},
    {"fake_wrong_runtime_abi", "fake_wrong_runtime_abi", AB_INCOMPATIBLE, "needs Python", "Python package"},
    {"fake_bad_name", "", AB_INCOMPATIBLE, "\"Fake Bad-Name\"", ""},
    {"fake_no_descriptor", "", AB_INCOMPATIBLE, "does not export arraybridge_plugin", "AB_PLUGIN_DEFINE"},
    {"fake_short_descriptor", "", AB_INCOMPATIBLE, "its descriptor has", ""},
};
enum { BROKEN_COUNT = sizeof all_broken / sizeof all_broken[0] };

START_TEST(a_broken_plugin_is_skipped_alone_with_its_reason) {
  const struct broken *const expected = &all_broken[_i];
  const char *const path = put(expected->fake, "a_broken.so");
  put("fake_good", "b_good.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  const line *const seen = line_of(bridge, path);
  ck_assert_int_eq(seen->status, expected->status);
  ck_assert_str_eq(seen->name, expected->name);
  assert_says(seen->reason, expected->reason);
  assert_says(seen->hint, expected->hint);
  ck_assert_msg(strstr(seen->reason, path) == NULL, "the line names the path already: %s", seen->reason);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 1);
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_vtable_of_an_older_minor_ends_in_empty_slots) {
  ab_bridge *const bridge = bridge_at(put("fake_short_vtable", "short.so"));
  discover(bridge);
  const ab_plugin_vtable *const slots = backend_of(bridge, "fake_short_vtable")->vtable;
  ck_assert_uint_eq(slots->struct_size, sizeof *slots);
  ck_assert(slots->release != NULL);
  ck_assert(slots->probe == NULL);
  ck_assert(slots->start == NULL);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_vtable_of_a_later_minor_is_taken_as_far_as_known) {
  ab_bridge *const bridge = bridge_at(put("fake_longer_vtable", "longer.so"));
  discover(bridge);
  const ab_backend *const backend = backend_of(bridge, "fake_longer_vtable");
  ck_assert_uint_eq(backend->vtable->struct_size, sizeof(ab_plugin_vtable));
  ck_assert(backend->vtable->release != NULL);
  ck_assert_str_eq(ab_backend_version(backend), "9.8.7");
  ck_assert_int_eq(atomic_load(&backend->started), 0);  // what lies behind the slots was not overwritten
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(what_is_no_shared_library_is_called_so) {
  const char *const text = put_text("text.so");
  const char *const pipe = at("pipe.so");
  ck_assert_int_eq(mkfifo(pipe, 0600), 0);
  const char *const folder = make_folder("folder.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  const char *const paths[] = {text, pipe, folder};
  for (int i = 0; i < 3; i++) {
    const line *const seen = line_of(bridge, paths[i]);
    ck_assert_int_eq(seen->status, AB_INCOMPATIBLE);
    assert_says(seen->reason,
                i == 0 ? "not a shared library: no ELF file" : "not a shared library: not a regular file");
  }
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_file_that_is_cut_off_is_not_opened) {
  size_t size;
  char *const bytes = read_fake("fake_good", &size);
  const char *const path = at("half.so");
  write_file(path, bytes, 4096);  // the tables are there, what they point to is not
  ab_bridge *const bridge = bridge_at(path);
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_INCOMPATIBLE);
  assert_says(line_of(bridge, path)->reason, "cut off");
  free(bytes);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_file_for_another_machine_is_called_so) {
  size_t size;
  char *const bytes = read_fake("fake_good", &size);
  bytes[18] = 0x7f;  // e_machine
  bytes[19] = 0x7f;
  const char *const path = at("other.so");
  write_file(path, bytes, size);
  ab_bridge *const bridge = bridge_at(path);
  discover(bridge);
  assert_says(line_of(bridge, path)->reason, "another machine");
  free(bytes);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_refused_plugin_is_closed_and_a_loaded_one_stays) {
  const char *const refused = put("fake_newer_major", "refused.so");
  const char *const loaded = put("fake_good", "loaded.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ck_assert_int_eq(create_calls(refused), -1);
  ck_assert_int_eq(create_calls(loaded), 1);
  ab_bridge_free(bridge);
  ck_assert_int_eq(create_calls(loaded), 1);
}
END_TEST

START_TEST(a_loaded_plugin_is_resident_and_keeps_its_symbols_to_itself) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const bridge = bridge_at(path);
  discover(bridge);
  const lt_dlinterface_id interface = lt_dlinterface_register("test_registry", NULL);
  const lt_dlhandle handle = lt_dlhandle_iterate(interface, NULL);
  ck_assert_ptr_nonnull(handle);
  ck_assert_str_eq(lt_dlgetinfo(handle)->filename, path);
  ck_assert_int_eq(lt_dlgetinfo(handle)->is_resident, 1);
  ck_assert_int_eq(lt_dlgetinfo(handle)->is_symlocal, 1);
  ck_assert_ptr_null(dlsym(RTLD_DEFAULT, AB_PLUGIN_SYMBOL));
  lt_dlinterface_free(interface);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_failed_create_is_never_called_again) {
  const char *const path = put("fake_create_fails", "fails.so");
  const char *const twin = at("twin.so");  // the same file under another path
  ck_assert_int_eq(link(path, twin), 0);
  ab_bridge *const first = bridge_at(home);
  discover(first);
  discover(first);
  ab_bridge *const second = bridge_at(home);
  discover(second);
  ck_assert_int_eq(create_calls(path), 1);
  assert_says(line_of(first, path)->reason, "call 1");
  assert_says(line_of(first, twin)->reason, "call 1");
  assert_says(line_of(second, path)->reason, "call 1");
  assert_says(line_of(second, path)->hint, "once in a process");
  ab_bridge_free(first);
  ab_bridge_free(second);
}
END_TEST

START_TEST(a_second_bridge_gets_the_plugin_without_a_second_create) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const first = bridge_at(path);
  ab_bridge *const second = bridge_at(path);
  discover(first);
  discover(second);
  ck_assert_int_eq(create_calls(path), 1);
  const ab_backend *const backend = backend_of(second, "fake_good");
  ck_assert_ptr_ne(backend, backend_of(first, "fake_good"));
  ck_assert_ptr_eq(backend->bridge, second);
  ck_assert(backend->vtable->retain == backend_of(first, "fake_good")->vtable->retain);
  ab_bridge_free(first);
  ab_bridge_free(second);
}
END_TEST

/* ------------------------------------------------------------------ a language runtime */

static pthread_mutex_t runtime_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int runtime_held;
static atomic_int runtime_waiting, runtime_entered, runtime_left, runtime_is_ending;
static char outer_token, nested_token;

static void *enter(void *self) {
  (void)self;
  if (atomic_load(&runtime_is_ending)) return NULL;
  atomic_fetch_add(&runtime_entered, 1);
  if (runtime_held) return &nested_token;
  atomic_fetch_add(&runtime_waiting, 1);
  pthread_mutex_lock(&runtime_lock);
  atomic_fetch_sub(&runtime_waiting, 1);
  runtime_held = 1;
  return &outer_token;
}

static void leave(void *self, void *token) {
  (void)self;
  atomic_fetch_add(&runtime_left, 1);
  if (token == &nested_token) return;
  runtime_held = 0;
  pthread_mutex_unlock(&runtime_lock);
}

static void *let_go(void *self) {
  (void)self;
  ck_assert_int_eq(runtime_held, 1);
  runtime_held = 0;
  pthread_mutex_unlock(&runtime_lock);
  return &outer_token;
}

static void take_back(void *self, void *token) {
  (void)self, (void)token;
  pthread_mutex_lock(&runtime_lock);
  runtime_held = 1;
}

static int32_t is_held(void *self) {
  (void)self;
  return runtime_held;
}

static ab_runtime runtime_for(const char *abi) {
  return (ab_runtime){.struct_size = sizeof(ab_runtime),
                      .kind = AB_RUNTIME_PYTHON,
                      .abi = abi,
                      .lock_enter = enter,
                      .lock_leave = leave,
                      .blocking_begin = let_go,
                      .blocking_end = take_back,
                      .lock_held = is_held};
}

static int held_in_create;

static void note_lock(void *context, int level, const char *text) {
  (void)context, (void)level;
  if (strcmp(text, "fake_wrong_runtime_abi: create()") == 0) held_in_create = runtime_held;
}

static ab_bridge *bridge_with_runtime(const ab_runtime *runtime, const char *path) {
  ab_bridge *const bridge =
      bridge_of(&(ab_bridge_options){.struct_size = sizeof(ab_bridge_options), .runtime = runtime, .log = note_lock});
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  return bridge;
}

START_TEST(a_plugin_for_another_runtime_abi_is_refused) {
  const char *const path = put("fake_wrong_runtime_abi", "python.so");
  const ab_runtime runtime = runtime_for("abi3-3.11");
  ab_bridge *const bridge = bridge_with_runtime(&runtime, path);
  discover(bridge);
  const line *const seen = line_of(bridge, path);
  ck_assert_int_eq(seen->status, AB_INCOMPATIBLE);
  assert_says(seen->reason, "\"abi3-0.0\"");
  assert_says(seen->reason, "\"abi3-3.11\"");
  ck_assert_int_eq(atomic_load(&runtime_entered), 0);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(create_runs_under_the_lock_of_its_language) {
  const ab_runtime runtime = runtime_for("abi3-0.0");
  ab_bridge *const bridge = bridge_with_runtime(&runtime, put("fake_wrong_runtime_abi", "python.so"));
  discover(bridge);
  backend_of(bridge, "fake_wrong_runtime_abi");
  ck_assert_int_eq(held_in_create, 1);
  ck_assert_int_eq(runtime_held, 0);
  ck_assert_int_eq(atomic_load(&runtime_entered), atomic_load(&runtime_left));
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(create_is_not_called_while_the_runtime_ends) {
  const char *const path = put("fake_wrong_runtime_abi", "python.so");
  const ab_runtime runtime = runtime_for("abi3-0.0");
  ab_bridge *const bridge = bridge_with_runtime(&runtime, path);
  atomic_store(&runtime_is_ending, 1);
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_ENDING);
  atomic_store(&runtime_is_ending, 0);
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_OK);
  ck_assert_int_eq(create_calls(path), 1);
  ab_bridge_free(bridge);
}
END_TEST

static void *discover_on_thread(void *bridge) {
  discover(bridge);
  return NULL;
}

START_TEST(who_waits_for_a_discovery_lets_go_of_the_runtime) {
  const ab_runtime runtime = runtime_for("abi3-0.0");
  ab_bridge *const bridge = bridge_with_runtime(&runtime, put("fake_wrong_runtime_abi", "python.so"));
  void *const token = enter(NULL);
  pthread_t other;
  ck_assert_int_eq(pthread_create(&other, NULL, discover_on_thread, bridge), 0);
  while (atomic_load(&runtime_waiting) == 0) sched_yield();  // the other is about to call create()
  discover(bridge);
  ck_assert_int_eq(runtime_held, 1);
  leave(NULL, token);
  pthread_join(other, NULL);
  backend_of(bridge, "fake_wrong_runtime_abi");
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ no lock is held across create() */

static struct {
  ab_bridge *bridge;
  int calls;
  ab_status nested;
} talk;

static void talk_back(void *context, int level, const char *text) {
  (void)context, (void)level, (void)text;
  talk.calls++;
  (void)trace_of(talk.bridge);
  ck_assert_int_eq(ab_bridge_add_path(talk.bridge, home, NULL), AB_OK);
  talk.nested = ab_bridge_discover(talk.bridge, NULL);
}

START_TEST(create_may_call_the_core) {
  talk.bridge = bridge_of(&(ab_bridge_options){.struct_size = sizeof(ab_bridge_options), .log = talk_back});
  ck_assert_int_eq(ab_bridge_add_path(talk.bridge, put("fake_good", "good.so"), NULL), AB_OK);
  discover(talk.bridge);
  ck_assert_int_eq(talk.calls, 1);
  ck_assert_int_eq(talk.nested, AB_UNSUPPORTED);  // the outer one goes on
  backend_of(talk.bridge, "fake_good");
  ab_bridge_free(talk.bridge);
}
END_TEST

/* ------------------------------------------------------------------ places */

static void assert_place(const ab__places *places, size_t index, const char *origin, const char *path) {
  ck_assert_uint_lt(index, places->count);
  ck_assert_str_eq(ab__origin_name(places->list[index].origin), origin);
  ck_assert_str_eq(places->list[index].path, path);
}

static const char *beside_program(const char *name) {
  static char path[PATH_MAX + 64];
  const ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
  ck_assert_int_gt(length, 0);
  path[length] = '\0';
  strcpy(strrchr(path, '/') + 1, name);
  return path;
}

START_TEST(places_come_in_the_order_of_discovery) {
  ab__places added = {0}, announced = {0}, places = {0};
  ck_assert_int_eq(ab__places_add(&added, AB__ORIGIN_API, "/api", 4), AB_OK);
  ck_assert_int_eq(ab__places_add(&announced, AB__ORIGIN_DISTRIBUTION, "/announced", 10), AB_OK);
  setenv("ARRAYBRIDGE_PLUGIN_PATH", ":/one::/two:", 1);
  setenv("XDG_DATA_HOME", "/data", 1);
  ck_assert_int_eq(ab__places_gather(&places, &added, &announced, 1), AB_OK);
  ck_assert_uint_eq(places.count, 7);
  assert_place(&places, 0, "api", "/api");
  assert_place(&places, 1, "environment", "/one");
  assert_place(&places, 2, "environment", "/two");
  assert_place(&places, 3, "distribution", "/announced");
  assert_place(&places, 4, "user", "/data/arraybridge/plugins");
  assert_place(&places, 5, "library", beside_program("arraybridge/plugins"));
  assert_place(&places, 6, "library", beside_program("plugins"));
  ab__places_free(&places);
  ab__places_free(&added);
  ab__places_free(&announced);
}
END_TEST

START_TEST(a_relative_data_folder_is_ignored) {
  const ab__places none = {0};
  ab__places places = {0};
  setenv("XDG_DATA_HOME", "data", 1);
  ck_assert_int_eq(ab__places_gather(&places, &none, &none, 1), AB_OK);
  assert_place(&places, 0, "user", at(".local/share/arraybridge/plugins"));
  ab__places_free(&places);
  setenv("HOME", "home", 1);
  ck_assert_int_eq(ab__places_gather(&places, &none, &none, 1), AB_OK);
  assert_place(&places, 0, "library", beside_program("arraybridge/plugins"));
  ab__places_free(&places);
}
END_TEST

START_TEST(each_place_is_looked_at) {
  make_folder("api"), make_folder("environment"), make_folder("announced"), make_folder("arraybridge");
  make_folder("arraybridge/plugins");
  put("fake_good", "api/x.so");
  put("fake_short_vtable", "environment/x.so");
  put("fake_longer_vtable", "announced/x.so");
  put("fake_bad_name", "arraybridge/plugins/x.so");
  setenv("ARRAYBRIDGE_PLUGIN_PATH", at("environment"), 1);
  setenv("XDG_DATA_HOME", home, 1);
  ab_bridge *const bridge = bridge_at(at("api"));
  ck_assert_int_eq(ab_bridge_add_announced(bridge, at("announced"), NULL), AB_OK);
  discover(bridge);
  ck_assert_str_eq(line_of(bridge, at("api/x.so"))->place, "api");
  ck_assert_str_eq(line_of(bridge, at("environment/x.so"))->place, "environment");
  ck_assert_str_eq(line_of(bridge, at("announced/x.so"))->place, "distribution");
  ck_assert_str_eq(line_of(bridge, at("arraybridge/plugins/x.so"))->place, "user");
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 3);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(without_environment_its_places_are_not_looked_at) {
  make_folder("arraybridge"), make_folder("arraybridge/plugins");
  put("fake_good", "arraybridge/plugins/good.so");
  setenv("XDG_DATA_HOME", home, 1);
  setenv("ARRAYBRIDGE_PLUGIN_PATH", at("arraybridge/plugins"), 1);
  ab_bridge *const bridge = bridge_with(AB_BRIDGE_NO_ENVIRONMENT);
  discover(bridge);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 0);
  ck_assert_uint_eq(trace_of(bridge)->count, 0);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_folder_is_read_in_the_order_of_names) {
  put_text("b.so"), put_text("a.so"), put_text("c.so");
  put_text(".hidden.so"), put_text("notes.txt"), put_text(".so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  const trace *const all = trace_of(bridge);
  ck_assert_uint_eq(all->count, 4);
  ck_assert_str_eq(all->lines[0].path, home);
  ck_assert_int_eq(all->lines[0].status, AB_OK);
  assert_says(all->lines[0].reason, "3 plugin files");
  ck_assert_str_eq(all->lines[1].path, at("a.so"));
  ck_assert_str_eq(all->lines[2].path, at("b.so"));
  ck_assert_str_eq(all->lines[3].path, at("c.so"));
  ab_bridge_free(bridge);
}
END_TEST

static int take_one(void *context, const ab_trace_entry *entry) {
  (void)entry;
  return ++*(int *)context;
}

START_TEST(a_visitor_may_stop) {
  put_text("a.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  int lines = 0;
  ab_bridge_trace(bridge, take_one, &lines);
  ck_assert_int_eq(lines, 1);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_missing_place_is_traced_if_somebody_named_it) {
  setenv("ARRAYBRIDGE_PLUGIN_PATH", at("no_environment"), 1);
  setenv("XDG_DATA_HOME", at("no_data"), 1);
  ab_bridge *const bridge = bridge_at(at("no_api"));
  ck_assert_int_eq(ab_bridge_add_announced(bridge, at("no_distribution"), NULL), AB_OK);
  discover(bridge);
  ck_assert_uint_eq(trace_of(bridge)->count, 3);
  const char *const paths[] = {at("no_api"), at("no_environment"), at("no_distribution")};
  for (int i = 0; i < 3; i++) {
    const line *const seen = line_of(bridge, paths[i]);
    ck_assert_int_eq(seen->status, AB_UNAVAILABLE);
    assert_says(seen->reason, "No such file");
  }
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(an_empty_path_is_no_place) {
  ab_bridge *const bridge = bridge_with(0);
  ck_assert_int_eq(ab_bridge_add_path(bridge, "", NULL), AB_INVALID_ARGUMENT);
  ck_assert_int_eq(ab_bridge_add_announced(bridge, NULL, NULL), AB_INVALID_ARGUMENT);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(the_same_file_is_looked_at_once) {
  make_folder("real");
  const char *const real = put_text("real/text.so");
  ck_assert_int_eq(symlink("real", at("alias")), 0);
  ck_assert_int_eq(symlink("text.so", at("real/z_link.so")), 0);
  ab_bridge *const bridge = bridge_at(at("real"));
  ck_assert_int_eq(ab_bridge_add_path(bridge, at("alias"), NULL), AB_OK);
  ck_assert_int_eq(ab_bridge_add_path(bridge, at("alias/text.so"), NULL), AB_OK);
  setenv("ARRAYBRIDGE_PLUGIN_PATH", real, 1);
  discover(bridge);
  ck_assert_uint_eq(trace_of(bridge)->count, 2);
  ck_assert_int_eq(line_of(bridge, real)->status, AB_INCOMPATIBLE);
  ck_assert_str_eq(line_of(bridge, real)->place, "api");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_link_that_leads_nowhere_is_traced) {
  ck_assert_int_eq(symlink("nowhere", at("link.so")), 0);
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  assert_says(line_of(bridge, at("link.so"))->reason, "No such file");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(the_first_backend_of_a_name_wins) {
  const char *const first = put("fake_good", "a.so");
  const char *const second = put("fake_good", "b.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ck_assert_str_eq(ab_backend_path(backend_of(bridge, "fake_good")), first);
  const line *const seen = line_of(bridge, second);
  ck_assert_int_eq(seen->status, AB_UNSUPPORTED);
  char expected[PATH_MAX + 64];
  snprintf(expected, sizeof expected, "already provided by %s", first);
  ck_assert_str_eq(seen->reason, expected);
  ck_assert_int_eq(create_calls(second), -1);
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ discovering again */

START_TEST(a_loaded_plugin_is_not_loaded_again) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  const ab_backend *const backend = backend_of(bridge, "fake_good");
  discover(bridge);
  ck_assert_ptr_eq(backend_of(bridge, "fake_good"), backend);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 1);
  ck_assert_int_eq(create_calls(path), 1);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_OK);
  ck_assert_uint_eq(trace_of(bridge)->count, 2);
  ab_bridge_free(bridge);
}
END_TEST

static const char *const repairable[] = {"fake_newer_major", "fake_lazy_binding", "fake_bad_name",
                                         "fake_no_descriptor"};

START_TEST(a_repaired_plugin_is_found) {
  const char *const path = put(repairable[_i], "plugin.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 0);
  put("fake_good", "plugin.so");
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, path)->status, AB_OK);
  ck_assert_str_eq(line_of(bridge, path)->reason, "");
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_new_file_is_found_by_the_next_discovery) {
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  assert_says(line_of(bridge, home)->reason, "0 plugin files");
  put("fake_good", "good.so");
  discover(bridge);
  assert_says(line_of(bridge, home)->reason, "1 plugin files");
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ names that are not loaded */

START_TEST(an_unknown_name_is_answered_with_the_loaded_ones) {
  put("fake_good", "1.so"), put("fake_short_vtable", "2.so");
  ab_bridge *const bridge = bridge_at(home);
  ab_error error;
  ab_error_init(&error);
  const ab_backend *backend = NULL;
  ck_assert_int_eq(ab_bridge_backend(bridge, "nobody", &backend, &error), AB_NO_BACKEND);
  assert_says(error.text, "loaded: none");
  discover(bridge);
  ck_assert_int_eq(ab_bridge_backend(bridge, "nobody", &backend, &error), AB_NO_BACKEND);
  assert_says(error.text, "\"nobody\"");
  assert_says(error.text, "loaded: fake_good, fake_short_vtable");
  ck_assert_ptr_null(backend);
  ck_assert_int_eq(ab_bridge_backend(bridge, NULL, &backend, NULL), AB_INVALID_ARGUMENT);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_refused_name_is_answered_with_its_reason) {
  put("fake_create_fails", "1.so"), put_text("arraybridge_torch.so"), put("fake_good", "2.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  ab_error error;
  ab_error_init(&error);
  const ab_backend *backend = NULL;
  ck_assert_int_eq(ab_bridge_backend(bridge, "fake_create_fails", &backend, &error), AB_NO_BACKEND);
  assert_says(error.text, at("1.so"));
  assert_says(error.text, "not at home");
  assert_says(error.text, "loaded: fake_good");
  ck_assert_str_eq(error.hint, "invite it");
  ck_assert_int_eq(ab_bridge_backend(bridge, "torch", &backend, &error), AB_NO_BACKEND);
  assert_says(error.text, "not a shared library");
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ trust */

static const struct judged {
  uid_t owner;
  gid_t group;
  mode_t mode;
  ab_status expected;
  const char *reason, *hint;
} all_judged[] = {
    {1000, 1000, 0644, AB_OK, "", ""},
    {0, 0, 0755, AB_OK, "", ""},
    {1000, 1000, 0664, AB_OK, "", ""},  // one's own group
    {0, 0, 0775, AB_OK, "", ""},        // root's group
    {1000, 50, 0644, AB_OK, "", ""},
    {1000, 50, 0664, AB_REFUSED, "a foreign group may write /p (mode 0664)", "chmod g-w /p; "},
    {1000, 1000, 0666, AB_REFUSED, "others may write /p (mode 0666)", "chmod o-w /p; "},
    {0, 0, 01777, AB_REFUSED, "others may write /p (mode 1777)", "ARRAYBRIDGE_TRUST_WRITABLE=1"},
    {1001, 1000, 0644, AB_REFUSED, "user 1001 owns /p", "AB_BRIDGE_TRUST_WRITABLE"},
};
enum { JUDGED_COUNT = sizeof all_judged / sizeof all_judged[0] };

START_TEST(only_the_user_and_root_may_write_a_plugin) {
  const struct judged *const judged = &all_judged[_i];
  const struct stat status = {.st_uid = judged->owner, .st_gid = judged->group, .st_mode = S_IFREG | judged->mode};
  ab_error error;
  ab_error_init(&error);
  ck_assert_int_eq(ab__trust_judge("/p", &status, 1000, 1000, &error), judged->expected);
  assert_says(error.text, judged->reason);
  assert_says(error.hint, judged->hint);
}
END_TEST

static void assert_refused(const char *place, const char *file, const char *writable) {
  ab_bridge *const bridge = bridge_at(place);
  discover(bridge);
  const line *const seen = line_of(bridge, file);
  ck_assert_int_eq(seen->status, AB_REFUSED);
  assert_says(seen->reason, writable);
  assert_says(seen->reason, "others may write");
  assert_says(seen->hint, "chmod o-w");
  ck_assert_int_eq(create_calls(file), -1);
  ab_bridge_free(bridge);
}

START_TEST(a_file_that_others_may_write_is_refused) {
  const char *const path = put("fake_good", "good.so");
  ck_assert_int_eq(chmod(path, 0646), 0);
  assert_refused(home, path, path);
}
END_TEST

START_TEST(a_folder_that_others_may_write_is_refused) {
  const char *const folder = make_folder("open");
  const char *const path = put("fake_good", "open/good.so");
  ck_assert_int_eq(chmod(folder, 01777), 0);
  assert_refused(folder, path, folder);
  ab_bridge *const bridge = bridge_at(folder);
  discover(bridge);
  ck_assert_int_eq(line_of(bridge, folder)->status, AB_REFUSED);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_link_from_a_folder_that_others_may_write_is_refused) {
  const char *const folder = make_folder("open");
  const char *const path = put("fake_good", "good.so");
  ck_assert_int_eq(symlink("../good.so", at("open/link.so")), 0);
  ck_assert_int_eq(chmod(folder, 0707), 0);
  assert_refused(at("open/link.so"), path, folder);
}
END_TEST

START_TEST(a_writable_parent_of_the_folder_does_not_count) {
  make_folder("parent"), make_folder("parent/own");
  put("fake_good", "parent/own/good.so");
  ck_assert_int_eq(chmod(at("parent"), 01777), 0);
  ab_bridge *const bridge = bridge_at(at("parent/own"));
  discover(bridge);
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(writable_places_load_when_that_is_allowed) {
  const char *const path = put("fake_good", "good.so");
  ck_assert_int_eq(chmod(path, 0646), 0);
  const int by_flag = _i == 0;
  if (!by_flag) setenv("ARRAYBRIDGE_TRUST_WRITABLE", "1", 1);
  ab_bridge *const bridge = bridge_with(by_flag ? AB_BRIDGE_TRUST_WRITABLE : 0);
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  discover(bridge);
  backend_of(bridge, "fake_good");
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(elevated_the_environment_is_not_believed) {
  setenv("ARRAYBRIDGE_TRUST_WRITABLE", "1", 1);
  ck_assert_int_eq(ab__trust_of(0, 0).environment, 1);
  ck_assert_int_eq(ab__trust_of(0, 0).writable, 1);
  ck_assert_int_eq(ab__trust_of(0, 1).environment, 0);
  ck_assert_int_eq(ab__trust_of(0, 1).writable, 0);
  ck_assert_int_eq(ab__trust_of(AB_BRIDGE_NO_ENVIRONMENT, 0).environment, 0);
  ck_assert_int_eq(ab__trust_of(AB_BRIDGE_NO_ENVIRONMENT, 0).writable, 0);
  ck_assert_int_eq(ab__trust_of(AB_BRIDGE_TRUST_WRITABLE, 1).writable, 1);  // the program said so, not its user
  setenv("ARRAYBRIDGE_TRUST_WRITABLE", "0", 1);
  ck_assert_int_eq(ab__trust_of(0, 0).writable, 0);
}
END_TEST

/* ------------------------------------------------------------------ threads */

static atomic_int readers_stop, readers_rounds;

static int count_line(void *context, const ab_trace_entry *entry) {
  *(size_t *)context += strlen(entry->path) + strlen(entry->reason);
  return 0;
}

static void *read_backends(void *context) {
  const ab_bridge *const bridge = context;
  while (!atomic_load(&readers_stop)) {
    size_t letters = 0;
    ab_bridge_trace(bridge, count_line, &letters);
    const uint32_t count = ab_bridge_backend_count(bridge);
    for (uint32_t i = 0; i < count; i++) ck_assert_ptr_nonnull(ab_backend_name(ab_bridge_backend_at(bridge, i)));
    const ab_backend *backend;
    (void)ab_bridge_backend(bridge, "fake_good", &backend, NULL);
    atomic_fetch_add(&readers_rounds, 1);
  }
  return NULL;
}

START_TEST(readers_run_while_discovery_publishes) {
  ab_bridge *const bridge = bridge_at(home);
  pthread_t readers[2];
  for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_create(&readers[i], NULL, read_backends, bridge), 0);
  put("fake_good", "1.so"), put("fake_short_vtable", "2.so"), put("fake_longer_vtable", "3.so"), put_text("4.so");
  for (int round = 0; round < 20; round++) {
    discover(bridge);
    const int before = atomic_load(&readers_rounds);
    while (atomic_load(&readers_rounds) == before) sched_yield();
  }
  atomic_store(&readers_stop, 1);
  for (int i = 0; i < 2; i++) pthread_join(readers[i], NULL);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 3);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(discoveries_at_the_same_time_create_once) {
  const char *const path = put("fake_good", "good.so");
  const char *const failing = put("fake_create_fails", "fails.so");
  ab_bridge *const bridges[] = {bridge_at(home), bridge_at(home)};
  pthread_t threads[8];
  for (int i = 0; i < 8; i++)
    ck_assert_int_eq(pthread_create(&threads[i], NULL, discover_on_thread, bridges[i % 2]), 0);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  ck_assert_int_eq(create_calls(path), 1);
  ck_assert_int_eq(create_calls(failing), 1);
  for (int i = 0; i < 2; i++) {
    ck_assert_uint_eq(ab_bridge_backend_count(bridges[i]), 1);
    ab_bridge_free(bridges[i]);
  }
}
END_TEST

/* ------------------------------------------------------------------ out of memory */

/* Discovers in new bridges, each time with a later allocation failing, until one succeeds. Returns that one. */
static ab_bridge *discover_short_of_memory(const char *place) {
  const int64_t before = ab__allocation_count();
  for (int64_t nth = 1;; nth++) {
    ck_assert_int_lt(nth, 1000);
    ab_bridge *const bridge = bridge_at(place);
    ab__allocation_fail_at(nth);
    const ab_status status = ab_bridge_discover(bridge, NULL);
    ab__allocation_fail_at(-1);
    if (status == AB_OK) {
      ck_assert_int_gt(nth, 5);
      return bridge;
    }
    ck_assert_int_eq(status, AB_OOM);
    ck_assert_uint_eq(ab_bridge_backend_count(bridge), 0);
    ab_bridge_free(bridge);
    ck_assert_int_eq(ab__allocation_count(), before);
  }
}

START_TEST(no_memory_for_a_discovery_leaks_nothing) {
  put_text("a.so"), put("fake_newer_major", "b.so"), put("fake_lazy_binding", "c.so");
  setenv("ARRAYBRIDGE_PLUGIN_PATH", at("missing"), 1);
  const int64_t before = ab__allocation_count();
  ab_bridge_free(discover_short_of_memory(home));
  ck_assert_int_eq(ab__allocation_count(), before);
}
END_TEST

START_TEST(no_memory_for_a_plugin_leaks_nothing_and_asks_it_later) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const bridge = discover_short_of_memory(path);
  backend_of(bridge, "fake_good");
  ck_assert_int_eq(create_calls(path), 1);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_discovery_goes_on_where_memory_ran_out) {
  const char *const path = put("fake_good", "a.so");
  put_text("b.so"), put("fake_short_vtable", "c.so");
  ab_bridge *const bridge = bridge_at(home);
  ab_status status = AB_OOM;
  for (int64_t nth = 1; status == AB_OOM && nth < 1000; nth++) {
    ab__allocation_fail_at(nth);
    status = ab_bridge_discover(bridge, NULL);
    ab__allocation_fail_at(-1);
  }
  ck_assert_int_eq(status, AB_OK);
  ck_assert_uint_eq(ab_bridge_backend_count(bridge), 2);
  ck_assert_int_eq(create_calls(path), 1);
  ck_assert_uint_eq(trace_of(bridge)->count, 4);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(no_memory_for_a_place_is_said) {
  ab_bridge *const bridge = bridge_with(0);
  for (int64_t nth = 1; nth <= 2; nth++) {
    ab__allocation_fail_at(nth);
    ck_assert_int_eq(ab_bridge_add_path(bridge, home, NULL), AB_OOM);
    ab__allocation_fail_at(-1);
  }
  ck_assert_int_eq(ab_bridge_add_path(bridge, home, NULL), AB_OK);
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ */

static Suite *registry_suite(void) {
  Suite *const suite = suite_create("registry");
  TCase *const loading = tcase_create("loading");
  tcase_add_checked_fixture(loading, setup, teardown);
  tcase_add_test(loading, a_good_plugin_is_loaded_and_traced);
  tcase_add_test(loading, backends_come_sorted_by_name);
  tcase_add_loop_test(loading, a_broken_plugin_is_skipped_alone_with_its_reason, 0, BROKEN_COUNT);
  tcase_add_test(loading, a_vtable_of_an_older_minor_ends_in_empty_slots);
  tcase_add_test(loading, a_vtable_of_a_later_minor_is_taken_as_far_as_known);
  tcase_add_test(loading, what_is_no_shared_library_is_called_so);
  tcase_add_test(loading, a_file_that_is_cut_off_is_not_opened);
  tcase_add_test(loading, a_file_for_another_machine_is_called_so);
  tcase_add_test(loading, a_refused_plugin_is_closed_and_a_loaded_one_stays);
  tcase_add_test(loading, a_loaded_plugin_is_resident_and_keeps_its_symbols_to_itself);
  tcase_add_test(loading, a_failed_create_is_never_called_again);
  tcase_add_test(loading, a_second_bridge_gets_the_plugin_without_a_second_create);
  tcase_add_test(loading, a_plugin_for_another_runtime_abi_is_refused);
  tcase_add_test(loading, create_runs_under_the_lock_of_its_language);
  tcase_add_test(loading, create_is_not_called_while_the_runtime_ends);
  tcase_add_test(loading, create_may_call_the_core);
  suite_add_tcase(suite, loading);

  TCase *const places = tcase_create("places");
  tcase_add_checked_fixture(places, setup, teardown);
  tcase_add_test(places, places_come_in_the_order_of_discovery);
  tcase_add_test(places, a_relative_data_folder_is_ignored);
  tcase_add_test(places, each_place_is_looked_at);
  tcase_add_test(places, without_environment_its_places_are_not_looked_at);
  tcase_add_test(places, a_folder_is_read_in_the_order_of_names);
  tcase_add_test(places, a_visitor_may_stop);
  tcase_add_test(places, a_missing_place_is_traced_if_somebody_named_it);
  tcase_add_test(places, an_empty_path_is_no_place);
  tcase_add_test(places, the_same_file_is_looked_at_once);
  tcase_add_test(places, a_link_that_leads_nowhere_is_traced);
  tcase_add_test(places, the_first_backend_of_a_name_wins);
  tcase_add_test(places, a_loaded_plugin_is_not_loaded_again);
  tcase_add_loop_test(places, a_repaired_plugin_is_found, 0, sizeof repairable / sizeof repairable[0]);
  tcase_add_test(places, a_new_file_is_found_by_the_next_discovery);
  tcase_add_test(places, an_unknown_name_is_answered_with_the_loaded_ones);
  tcase_add_test(places, a_refused_name_is_answered_with_its_reason);
  suite_add_tcase(suite, places);

  TCase *const trust = tcase_create("trust");
  tcase_add_checked_fixture(trust, setup, teardown);
  tcase_add_loop_test(trust, only_the_user_and_root_may_write_a_plugin, 0, JUDGED_COUNT);
  tcase_add_test(trust, a_file_that_others_may_write_is_refused);
  tcase_add_test(trust, a_folder_that_others_may_write_is_refused);
  tcase_add_test(trust, a_link_from_a_folder_that_others_may_write_is_refused);
  tcase_add_test(trust, a_writable_parent_of_the_folder_does_not_count);
  tcase_add_loop_test(trust, writable_places_load_when_that_is_allowed, 0, 2);
  tcase_add_test(trust, elevated_the_environment_is_not_believed);
  suite_add_tcase(suite, trust);

  TCase *const limits = tcase_create("threads and memory");
  tcase_add_checked_fixture(limits, setup, teardown);
  tcase_add_test(limits, readers_run_while_discovery_publishes);
  tcase_add_test(limits, discoveries_at_the_same_time_create_once);
  tcase_add_test(limits, who_waits_for_a_discovery_lets_go_of_the_runtime);
  tcase_add_test(limits, no_memory_for_a_discovery_leaks_nothing);
  tcase_add_test(limits, no_memory_for_a_plugin_leaks_nothing_and_asks_it_later);
  tcase_add_test(limits, a_discovery_goes_on_where_memory_ran_out);
  tcase_add_test(limits, no_memory_for_a_place_is_said);
  suite_add_tcase(suite, limits);
  return suite;
}

int main(void) {
  SRunner *const runner = srunner_create(registry_suite());
  srunner_run_all(runner, CK_NORMAL);
  const int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
