/* SPDX-License-Identifier: MIT
 *
 * What a forked child can do while other threads of its parent were inside the core. A child that hangs is ended by
 * its alarm. What the threads do allocates nothing: the allocator of the sanitizers does not survive such a fork.
 */
#include <sched.h>
#include <sys/wait.h>

#include "backend.h"
#include "plugin_folder.h"
#include "release.h"

enum { CHILD_SECONDS = 20, FORKS = 200 };

typedef int work(ab_bridge *bridge);

/* 1 if work() returned 1 in a child. */
static int works_in_a_child(work *run, ab_bridge *bridge) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(CHILD_SECONDS);
    _exit(run(bridge) == 1 ? 0 : 1);
  }
  int status = 1;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static int has_backend(const ab_bridge *bridge) {
  const ab_backend *found;
  return ab_bridge_backend(bridge, "fake_good", &found, NULL) == AB_OK;
}

static int take_no_line(void *context, const ab_trace_entry *entry) {
  *(unsigned *)context += entry->status == AB_OK;
  return 0;
}

static unsigned good_lines(const ab_bridge *bridge) {
  unsigned count = 0;
  ab_bridge_trace(bridge, take_no_line, &count);
  return count;
}

static int discovers(ab_bridge *bridge) {
  return ab_bridge_discover(bridge, NULL) == AB_OK && has_backend(bridge) && good_lines(bridge) == 1;
}

/* ------------------------------------------------------------------ in the middle of a discovery */

static pid_t parent;
static atomic_int in_create, may_go_on;

/* create() of fake_good logs, and so waits here; in a child it does not. */
static void wait_in_create(void *context, int level, const char *text) {
  (void)context, (void)level, (void)text;
  atomic_fetch_add(&in_create, 1);
  while (getpid() == parent && !atomic_load(&may_go_on)) sched_yield();
}

static ab_bridge *bridge_that_waits(const char *path) {
  parent = getpid();
  ab_bridge *const bridge =
      bridge_of(&(ab_bridge_options){.struct_size = sizeof(ab_bridge_options), .log = wait_in_create});
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  return bridge;
}

START_TEST(a_child_discovers_what_another_thread_was_discovering) {
  const char *const path = put("fake_good", "good.so");
  ab_bridge *const bridge = bridge_that_waits(path);
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, discover_on_thread, bridge), 0);
  while (atomic_load(&in_create) == 0) sched_yield();
  ck_assert(works_in_a_child(discovers, bridge));
  atomic_store(&may_go_on, 1);
  pthread_join(thread, NULL);
  ck_assert(has_backend(bridge));
  ck_assert_int_eq(create_calls(path), 1);
  ab_bridge_free(bridge);
}
END_TEST

START_TEST(a_child_discovers_though_others_waited_for_their_turn) {
  ab_bridge *const bridge = bridge_that_waits(put("fake_good", "good.so"));
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, discover_on_thread, bridge), 0);
  while (atomic_load(&in_create) == 0) sched_yield();
  for (int round = 0; round < FORKS / 10; round++) ck_assert(works_in_a_child(discovers, bridge));
  atomic_store(&may_go_on, 1);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  ck_assert(has_backend(bridge));
  ab_bridge_free(bridge);
}
END_TEST

static int is_child;

static void fork_in_create(void *context, int level, const char *text) {
  (void)level, (void)text;
  const pid_t child = fork();
  is_child = child == 0;
  if (is_child) alarm(CHILD_SECONDS);
  else *(pid_t *)context = child;
}

START_TEST(a_discovery_that_forks_goes_on_in_both) {
  pid_t child = 0;
  ab_bridge *const bridge = bridge_of(
      &(ab_bridge_options){.struct_size = sizeof(ab_bridge_options), .log = fork_in_create, .log_context = &child});
  const char *const path = put("fake_good", "good.so");
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  const ab_status status = ab_bridge_discover(bridge, NULL);
  const int found = status == AB_OK && has_backend(bridge) && discovers(bridge);
  if (is_child) _exit(found ? 0 : 1);
  int ended = 1;
  ck_assert_int_eq(waitpid(child, &ended, 0), child);
  ck_assert_int_eq(ended, 0);
  ck_assert_int_eq(found, 1);
  ab_bridge_free(bridge);
}
END_TEST

/* ------------------------------------------------------------------ under the locks */

static atomic_int stop;
static const ab_backend *good;

static void *look_and_add(void *context) {
  ab_bridge *const bridge = context;
  while (!atomic_load(&stop)) {
    (void)good_lines(bridge);
    (void)ab_bridge_add_path(bridge, home, NULL);  // again
  }
  return NULL;
}

static int looks_and_adds(ab_bridge *bridge) {
  return good_lines(bridge) == 2 && ab_bridge_add_path(bridge, home, NULL) == AB_OK &&
         ab_bridge_discover(bridge, NULL) == AB_OK;
}

/* As remember() of backend.c, which does it too seldom for a test. */
static void *lock_abilities(void *context) {
  (void)context;
  pthread_mutex_t *const lock = &((ab_backend *)good)->ability_lock;
  while (!atomic_load(&stop)) {
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
  }
  return NULL;
}

static int asks_for_an_ability(ab_bridge *bridge) {
  (void)bridge;
  const ab__ability *found;
  return ab__backend_ability(good, (DLDevice){kDLExtDev, 1}, AB_SLOT_FROM_HOST, &found, NULL) == AB_OK;
}

/* Forks again and again while two threads run `busy`. */
static void fork_beside(void *(*busy)(void *), work *run) {
  put("fake_good", "good.so");
  ab_bridge *const bridge = bridge_at(home);
  discover(bridge);
  good = backend_of(bridge, "fake_good");
  pthread_t threads[2];
  for (int i = 0; i < 2; i++) ck_assert_int_eq(pthread_create(&threads[i], NULL, busy, bridge), 0);
  int failed = 0;
  for (int round = 0; round < FORKS && failed == 0; round++) failed += !works_in_a_child(run, bridge);
  atomic_store(&stop, 1);
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  ck_assert_int_eq(failed, 0);
  ab_bridge_free(bridge);
}

START_TEST(a_child_finds_the_registry_unlocked) { fork_beside(look_and_add, looks_and_adds); }
END_TEST

START_TEST(a_child_finds_the_abilities_unlocked) { fork_beside(lock_abilities, asks_for_an_ability); }
END_TEST

/* ------------------------------------------------------------------ what waits to be released */

enum { NODES = 64 };

typedef struct debt {
  ab__release_node node;
  atomic_int waits;
} debt;

static void pay(void *data) { atomic_store(&((debt *)data)->waits, 0); }

static void *push_and_drain(void *context) {
  static debt all[2][NODES];
  static atomic_int threads;
  debt *const own = all[atomic_fetch_add(&threads, 1)];
  ab__release *const queue = ((const ab_bridge *)context)->release;
  while (!atomic_load(&stop)) {
    for (int i = 0; i < NODES; i++) {
      if (atomic_exchange(&own[i].waits, 1)) continue;  // the other thread is about to pay it
      own[i].node = (ab__release_node){.fn = pay, .data = &own[i], .bytes = 64};
      (void)ab__release_push_node(queue, &own[i].node);
    }
    ab__release_drain(queue, AB__DRAIN_DUE);
  }
  ab__release_drain(queue, AB__DRAIN_DUE);
  return NULL;
}

static int drains_all(ab_bridge *bridge) {
  uint64_t count = 1, bytes = 1;
  ab_bridge_drain(bridge);
  ab_bridge_pending(bridge, &count, &bytes);
  return count == 0 && bytes == 0;
}

START_TEST(a_child_counts_only_what_it_can_release) { fork_beside(push_and_drain, drains_all); }
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("fork");
  TCase *const tests = unit_case(suite, "fork", setup, teardown);
  tcase_add_test(tests, a_child_discovers_what_another_thread_was_discovering);
  tcase_add_test(tests, a_child_discovers_though_others_waited_for_their_turn);
  tcase_add_test(tests, a_discovery_that_forks_goes_on_in_both);
  tcase_add_test(tests, a_child_finds_the_registry_unlocked);
  tcase_add_test(tests, a_child_finds_the_abilities_unlocked);
  tcase_add_test(tests, a_child_counts_only_what_it_can_release);
  return suite;
}
