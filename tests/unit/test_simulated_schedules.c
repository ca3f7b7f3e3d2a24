/* SPDX-License-Identifier: MIT
 * Random schedules of simulated frameworks on a simulated driver: make, fill, hand over, use, drop, go to another
 * stream or thread, in any order. Each array has one value for as long as anybody holds it; a kernel that finds another
 * one when it executes has run too early, or too late.
 *   AB_SCHEDULES  how many; AB_SEED  the first one's seed. Each is a schedule of its own: seed, seed + 1, … */
#include <sys/wait.h>

#include "mutant.h"
#include "simulated_world.h"

#ifdef __SANITIZE_ADDRESS__
enum { SCHEDULES = 1000 }; /* each takes ten times as long */
#else
enum { SCHEDULES = 10000 };
#endif
enum { ITEMS = 12, STEPS = 60, LARGEST = 2 };

typedef struct item {
  int framework; /* -1: none */
  ab_array array;
  uint32_t value;
  CUstream home; /* what its memory is waited for anyway */
  struct {
    int framework, device, stream;
    uint32_t elements;
  } from; /* who owns the memory, and where it was allocated */
} item;

typedef struct world {
  item items[ITEMS];
  int captures_broken;
  item dropped; /* the last one: its memory is what comes next if nobody waits */
  uint64_t random;
  uint32_t next_value;
  char log[STEPS * 512];
} world;

static world w;

/* ------------------------------------------------------------------ chance: splitmix64 */

static uint64_t random_bits(void) {
  uint64_t z = w.random += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static int below(int count) { return (int)(random_bits() % (uint64_t)count); }

static void say(const char *format, ...) AB_PRINTF(1, 2);
static void say(const char *format, ...) {
  const size_t used = strlen(w.log);
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(w.log + used, sizeof w.log - used, format, arguments);
  va_end(arguments);
}

/* ------------------------------------------------------------------ what can happen */

static void go_to(int framework, int device, int stream) {
  frameworks[framework]->use(device, stream);
  say(" %s on %d/%d", names[framework], device, stream);
}

static void go_somewhere(int framework, int device) { go_to(framework, device, below(SIM_STREAMS)); }

static item *some_item(void) {
  const int first = below(ITEMS);
  for (int i = 0; i < ITEMS; i++) {
    item *it = &w.items[(first + i) % ITEMS];
    if (it->framework >= 0) return it;
  }
  return NULL;
}

static item *free_place(void) {
  for (int i = 0; i < ITEMS; i++)
    if (w.items[i].framework < 0) return &w.items[i];
  return NULL;
}

/* Often where memory has just been dropped: an allocator gives it out again at once. */
static item *produce(void) {
  item *to = free_place();
  if (to == NULL) return NULL;
  *to = (item){.value = ++w.next_value};
  to->from.framework = below(FRAMEWORKS);
  to->from.device = below(DEVICES);
  to->from.stream = below(SIM_STREAMS);
  to->from.elements = (uint32_t)(1 + below(LARGEST));
  if (w.dropped.value != 0 && below(4) != 0) to->from = w.dropped.from;
  to->framework = to->from.framework;
  say("\n produce %u by", to->value);
  if (below(2)) ab_bridge_drain(bridge);
  go_to(to->framework, to->from.device, to->from.stream);
  const sim_framework *f = frameworks[to->framework];
  sim_array *made = f->make(to->from.elements);
  ck_assert_ptr_nonnull(made);
  to->array = (ab_array){backends[to->framework], made};
  to->home = f->current();
  f->fill(made, to->value);
  return to;
}

/* A stream that no conversion has named is declared, as users must. */
static void declare(item *it) {
  const sim_framework *f = frameworks[it->framework];
  const CUstream now = f->current();
  if (now == it->home || it->framework == ORDERED) return;
  ab_stream stream = {.struct_size = sizeof stream};
  stream.kind = now == CU_STREAM_LEGACY ? AB_STREAM_LEGACY : AB_STREAM_HANDLE;
  stream.handle = now == CU_STREAM_LEGACY ? NULL : (void *)now;
  stream.flags = AB_STREAM_IMMORTAL;
  stream.device = (DLDevice){kDLCUDA, f->device_of(it->array.object)};
  const ab_status status = ab_array_record_stream(&it->array, &stream, NULL);
  ck_assert(status == AB_OK || status == AB_UNSUPPORTED); /* its own memory */
}

static void consume(item *it) {
  if (it == NULL) return;
  const sim_framework *f = frameworks[it->framework];
  say("\n consume %u by", it->value);
  go_somewhere(it->framework, f->device_of(it->array.object));
  declare(it);
  f->expect(it->array.object, it->value);
}

static item *convert(item *from) {
  item *to = free_place();
  if (from == NULL || to == NULL) return NULL;
  const int target = (from->framework + 1 + below(FRAMEWORKS - 1)) % FRAMEWORKS;
  const int device = frameworks[from->framework]->device_of(from->array.object);
  say("\n convert %u from", from->value);
  go_somewhere(from->framework, device);
  declare(from);
  frameworks[from->framework]->expect(from->array.object, from->value); /* its current stream has it, as a user's */
  say(" to");
  go_somewhere(target, device);
  const ab_array made = convert_to(target, &from->array, NULL);
  *to = *from;
  to->framework = target;
  to->array = made;
  to->home = frameworks[target]->current();
  if (below(2)) frameworks[target]->expect(made.object, to->value);
  return to;
}

static void drop_one(item *it) {
  say("\n drop %u by", it->value);
  go_somewhere(it->framework, frameworks[it->framework]->device_of(it->array.object));
  w.dropped = *it;
  ab_array_release(&it->array);
  it->framework = -1;
}

static void drop_all(uint32_t value) {
  for (int i = 0; i < ITEMS; i++)
    if (w.items[i].framework >= 0 && w.items[i].value == value) drop_one(&w.items[i]);
}

/* One array, or all that share its memory. */
static void drop(void) {
  item *it = some_item();
  if (it == NULL) return;
  const uint32_t value = it->value;
  drop_one(it);
  if (below(2)) return;
  drop_all(value);
}

static void let_things_happen(void) {
  for (int i = below(8); i > 0; i--) {
    (void)sim_step();
    ab_bridge_drain(bridge);
  }
}

/* The shortest way to a reuse that is too early: nobody keeps anything, and the next array is of the same size. */
static void relay(void) {
  item *source = produce();
  item *result = convert(source);
  if (result == NULL) return;
  frameworks[result->framework]->expect(result->array.object, result->value);
  for (int i = below(3); i > 0; i--) consume(result);
  drop_one(source);
  drop_one(result);
  let_things_happen();
  (void)produce();
}

static void *drop_on_thread(void *value) {
  say("\n (a thread)");
  drop_all(*(const uint32_t *)value);
  for (int i = below(24); i > 0; i--) ab_bridge_drain(bridge);
  for (int i = 0; i < 2; i++) (void)produce();
  return NULL;
}

static void on_thread(void *(*what)(void *), void *context) {
  pthread_t thread;
  ck_assert_int_eq(pthread_create(&thread, NULL, what, context), 0);
  pthread_join(thread, NULL);
}

/* A decorated function of `body`, on an array of whoever: it reads it, may write to it, and makes another one. */
static void run_body(item *source, int body, int writes, item *result) {
  const sim_framework *f = frameworks[body];
  const int at_home = body == source->framework;
  ab_array taken = at_home ? source->array : convert_to(body, &source->array, NULL);
  f->expect(taken.object, source->value);
  if (writes) f->fill(taken.object, source->value = ++w.next_value);
  const int device = f->device_of(taken.object);
  const int again = w.dropped.value != 0 && w.dropped.from.device == device;
  *result = (item){.framework = body, .value = ++w.next_value, .from = {.framework = body, .device = device}};
  result->from.elements = again ? w.dropped.from.elements : (uint32_t)(1 + below(LARGEST));
  result->array = (ab_array){backends[body], f->make(result->from.elements)};
  ck_assert_ptr_nonnull(result->array.object);
  f->fill(result->array.object, result->value);
  if (!at_home) ab_array_release(&taken);
  /* Whoever else has borrowed memory may drop it meanwhile. */
  if (at_home && body != source->from.framework && below(2)) on_thread(drop_on_thread, &(uint32_t){source->value});
}

/* Afterwards those who called go on at once, each on its own stream, with what the function has read and made. */
static item *call_with(item *source, int body, int fresh) {
  item *result = free_place();
  if (source == NULL || result == NULL) return NULL;
  const sim_framework *owner = frameworks[source->framework];
  const int device = owner->device_of(source->array.object);
  say("\n call with %u of", source->value);
  go_somewhere(source->framework, device);
  declare(source);
  if (!fresh || below(2)) owner->expect(source->array.object, source->value); /* its current stream has it */
  else owner->fill(source->array.object, source->value);
  say(" by");
  if (body != source->framework) go_somewhere(body, device);
  ab_error error;
  ab_error_init(&error);
  ab_stream_scope *scope = NULL;
  const ab_status entered = ab_stream_scope_enter(bridge, backends[body], (DLDevice){kDLCUDA, device}, NULL,
                                                  &source->array, 1, &scope, &error);
  ck_assert_msg(entered == AB_OK, "%s", error.text);
  ck_assert((scope != NULL) == (body != ORDERED));
  const int writes = fresh && body != ORDERED && source->framework != ORDERED && below(2);
  run_body(source, body, writes, result);
  if (below(2)) ck_assert_int_eq(ab_stream_scope_add(scope, &result->array, NULL), AB_OK);
  ck_assert_int_eq(ab_stream_scope_exit(scope, NULL), AB_OK);
  result->home = frameworks[body]->current();
  result->from.stream = 1;
  if (source->framework >= 0) owner->expect(source->array.object, source->value);
  frameworks[body]->expect(result->array.object, result->value);
  say(" made %u%s", result->value, writes ? " and wrote" : "");
  return result;
}

static item *call(void) {
  const int fresh = below(2); /* nobody else has it */
  return call_with(fresh ? produce() : some_item(), below(FRAMEWORKS), fresh);
}

static void call_with_borrowed(void) {
  item *source = convert(produce());
  if (source != NULL) (void)call_with(source, source->framework, 0);
}

/* What a function has made is memory of its stream, and so is what the next one makes. */
static void call_again(void) {
  item *made = call();
  if (made != NULL) drop_one(made);
  (void)call();
}

/* Somebody captures a graph on a stream of his own; what is drained meanwhile must not break it. Draws nothing, so that
 * the schedules stay what they were. */
static void drain_in_capture(void) {
  const sim_framework *f = frameworks[(w.random >> 8) % FRAMEWORKS];
  const CUstream stream = f->aside((int)((w.random >> 16) % DEVICES)); /* no schedule uses it otherwise */
  say("\n drain while a graph is captured");
  if (sim_begin_capture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL) != CUDA_SUCCESS) return;
  ab_bridge_drain(bridge);
  if (sim_end_capture(stream) != CUDA_SUCCESS) w.captures_broken++;
}

static void step(void) {
  switch (below(16)) {
    case 0:
    case 1:
      (void)produce();
      break;
    case 2:
    case 3:
      (void)convert(some_item());
      break;
    case 4:
    case 5:
      consume(some_item());
      break;
    case 6:
    case 7:
      drop();
      (void)produce();
      break;
    case 8:
    case 9:
      relay();
      break;
    case 10:
      (void)call();
      break;
    case 11:
      call_again();
      break;
    case 12:
    case 13:
      call_with_borrowed();
      break;
    default:
      for (int i = below(8); i > 0; i--) (void)sim_step();
      if ((w.random >> 61) == 0) drain_in_capture();
  }
}

static void *step_on_thread(void *nothing) {
  say("\n (a thread)");
  step();
  return nothing;
}

static void hand_off(void) { on_thread(step_on_thread, NULL); }

/* ------------------------------------------------------------------ a schedule */

static void empty(void) {
  for (int i = 0; i < ITEMS; i++) {
    if (w.items[i].framework < 0) continue;
    ab_array_release(&w.items[i].array);
    w.items[i].framework = -1;
  }
  settle_all();
}

/* NULL, or what went wrong. */
static const char *run_schedule(uint64_t seed) {
  sim_reseed(seed);
  sim_policy(SIM_MIXED);
  w.random = seed;
  w.log[0] = '\0';
  w.dropped.value = 0;
  w.captures_broken = 0;
  for (int i = 0; i < FRAMEWORKS; i++) frameworks[i]->begin();
  for (int i = 0; i < ITEMS; i++) w.items[i].framework = -1;
  for (int i = 0; i < STEPS && what_is_wrong() == NULL; i++) {
    if (below(6) == 0) hand_off();
    else step();
  }
  empty();
  if (what_is_wrong() != NULL) return what_is_wrong();
  if (w.captures_broken != 0) return "a capture was broken";
  if (!sim_idle()) return "operations are pending after the end";
  uint64_t count = 0, bytes = 0;
  ab_bridge_pending(bridge, &count, &bytes);
  if (count != 0) return "memory is never given back";
  for (int i = 0; i < FRAMEWORKS; i++)
    if (frameworks[i]->alive() != 0) return "arrays are never given back";
  return NULL;
}

static uint64_t number(const char *name, uint64_t otherwise) {
  const char *text = getenv(name);
  return text != NULL ? strtoull(text, NULL, 0) : otherwise;
}

START_TEST(no_random_schedule_sees_a_wrong_element) {
  open_world();
  const uint64_t first = number("AB_SEED", 1), count = number("AB_SCHEDULES", SCHEDULES);
  for (uint64_t seed = first; seed < first + count; seed++) {
    const char *wrong = run_schedule(seed);
    ck_assert_msg(wrong == NULL, "seed %llu: %s%s", (unsigned long long)seed, wrong, w.log);
  }
}
END_TEST

/* Each mistake in a process of its own: some crash, which is being found as well. */
static const char *const mistakes[] = {
#define MISTAKE(name, text) text,
    AB__MUTANTS(MISTAKE)
#undef MISTAKE
};

START_TEST(a_mistake_is_found_within_a_hundred_schedules) {
  fflush(NULL);
  const pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    open_world();
    ab__mutated_by = (ab__mutant)_i;
    for (uint64_t seed = 1; seed <= number("AB_MUTANT_SCHEDULES", 100); seed++) {
      const char *wrong = run_schedule(seed);
      if (wrong == NULL) continue;
      printf("%s: found by schedule %llu: %s\n", mistakes[_i], (unsigned long long)seed, wrong);
      fflush(stdout);
      _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert_msg(!WIFEXITED(status) || WEXITSTATUS(status) != 0, "not found: %s", mistakes[_i]);
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("simulated_schedules");
  TCase *const tests = unit_case(suite, "simulated_schedules", setup, teardown);
  tcase_add_test(tests, no_random_schedule_sees_a_wrong_element);
  tcase_add_loop_test(tests, a_mistake_is_found_within_a_hundred_schedules, 1,
                      AB__MUTANT_OOM_WITHOUT_DRAINING); /* this and the next: test_simulated_transfer.c */
  return suite;
}
