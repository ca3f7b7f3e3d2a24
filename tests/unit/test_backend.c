/* SPDX-License-Identifier: MIT
 * Asking a backend once, finding whose an object is, and conversions under the lock of a language. */
#include <check.h>

#include "backend.h"
#include "detect.h"
#include "release.h"
#include "toy.h"

/* ------------------------------------------------------------------ a language with a lock that is one */

static pthread_mutex_t the_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int depth;
static atomic_int blocking, blocked_total, wrong_unlocks, drains_asked, is_ending;

static void *lock_enter(void *self) {
  if (atomic_load(&is_ending)) return NULL;
  if (depth++ == 0) pthread_mutex_lock(&the_lock);
  return self;
}

static void lock_leave(void *self, void *token) {
  if (self != token || depth == 0) atomic_fetch_add(&wrong_unlocks, 1);
  if (--depth == 0) pthread_mutex_unlock(&the_lock);
}

static void *blocking_begin(void *self) {
  if (depth != 1) atomic_fetch_add(&wrong_unlocks, 1);
  if (depth == 0) return NULL;
  atomic_fetch_add(&blocking, 1);
  atomic_fetch_add(&blocked_total, 1);
  depth = 0;
  pthread_mutex_unlock(&the_lock);
  return self;
}

static void blocking_end(void *self, void *token) {
  if (self != token || depth != 0) atomic_fetch_add(&wrong_unlocks, 1);
  pthread_mutex_lock(&the_lock);
  depth = 1;
  atomic_fetch_sub(&blocking, 1);
}

static int has_lock(void) { return depth > 0; }

static int32_t lock_held(void *self) {
  (void)self;
  return has_lock();
}

static int32_t ending(void *self) {
  (void)self;
  return atomic_load(&is_ending);
}

static void request_drain(void *self) {
  (void)self;
  atomic_fetch_add(&drains_asked, 1);
}

/* Types are whatever an object's first word points to. */
typedef struct type {
  int references;
} type;
typedef struct thing {
  type *type;
} thing;

static void *type_key(void *self, void *object) {
  (void)self;
  return ((thing *)object)->type;
}

static void type_retain(void *self, void *object) {
  (void)self;
  ((type *)object)->references++;
}

static void type_release(void *self, void *object) {
  (void)self;
  ((type *)object)->references--;
}

static int the_self;
static ab_runtime runtime;
static ab_bridge *bridge;
static toy left, right;
static ab_error error;
static int64_t before;

static void setup(void) {
  runtime = (ab_runtime){.struct_size = sizeof runtime,
                         .kind = AB_RUNTIME_PYTHON,
                         .abi = "test",
                         .self = &the_self,
                         .lock_enter = lock_enter,
                         .lock_leave = lock_leave,
                         .blocking_begin = blocking_begin,
                         .blocking_end = blocking_end,
                         .type_key = type_key,
                         .retain = type_retain,
                         .release = type_release,
                         .request_drain = request_drain,
                         .lock_held = lock_held,
                         .ending = ending};
  const ab_bridge_options options = {
      .struct_size = sizeof options, .flags = AB_BRIDGE_NO_ENVIRONMENT, .runtime = &runtime};
  ck_assert_int_eq(ab_bridge_new(&options, &bridge, NULL), AB_OK);
  before = ab__allocation_count();
  toy_init(&left, bridge, "left");
  toy_init(&right, bridge, "right");
  left.has_lock = right.has_lock = has_lock;
  ab_error_init(&error);
}

static void teardown(void) {
  ck_assert_int_eq(depth, 0);
  ck_assert_int_eq(atomic_load(&blocking), 0);
  ck_assert_int_eq(atomic_load(&wrong_unlocks), 0);
  ck_assert_int_eq(atomic_load(&left.unlocked) + atomic_load(&right.unlocked), 0);
  toy_end(&left);
  toy_end(&right);
  ab_error_clear(&error);
}

/* For tests that leave nothing behind on purpose. */
static void expect_nothing_left(void) {
  toy_forget(&left);
  toy_forget(&right);
  ck_assert_int_eq(atomic_load(&left.deleted), atomic_load(&left.exported));
  ck_assert_int_eq(atomic_load(&left.arrays) + atomic_load(&right.arrays), 0);
  ck_assert_int_eq(ab__allocation_count(), before);
}

static const DLDataType f32 = {kDLFloat, 32, 1};

/* ------------------------------------------------------------------ abilities */

START_TEST(each_device_and_slot_is_asked_once) {
  enum { DEVICES = 40 };
  const ab__ability *known[DEVICES][2];
  right.places = TOY_EXT;
  right.accelerators = DEVICES;
  right.can[0].max_ndim = 3;
  right.can[1].max_ndim = 4;
  void *token = lock_enter(&the_self);
  for (int round = 0; round < 2; round++)
    for (int id = 0; id < DEVICES; id++)
      for (uint32_t slot = 0; slot < 2; slot++) {
        const ab__ability *found = NULL;
        ck_assert_int_eq(ab__backend_ability(&right.backend, (DLDevice){kDLExtDev, id}, slot, &found, &error), AB_OK);
        if (round == 0) known[id][slot] = found;
        ck_assert_ptr_eq(found, known[id][slot]);
      }
  for (int id = 0; id < DEVICES; id++) /* no later answer took the place of an earlier one */
    for (uint32_t slot = 0; slot < 2; slot++) {
      ck_assert_int_eq(known[id][slot]->device.device_id, id);
      ck_assert_uint_eq(known[id][slot]->slot, slot);
      ck_assert_int_eq(known[id][slot]->stated.max_ndim, slot == 0 ? 3 : 4);
    }
  ck_assert_int_eq(atomic_load(&right.capabilities.calls), 2 * DEVICES);
  lock_leave(&the_self, token);
  expect_nothing_left();
}
END_TEST

static const ab__ability *ability(void) {
  const ab__ability *found = NULL;
  toy_forget(&right);
  void *token = lock_enter(&the_self);
  ck_assert_int_eq(ab__backend_ability(&right.backend, (DLDevice){kDLCPU, 0}, AB_SLOT_FROM_DLPACK, &found, &error),
                   AB_OK);
  lock_leave(&the_self, token);
  return found;
}

START_TEST(what_a_newer_plugin_says_is_read_carefully) {
  ck_assert_int_eq(ability()->supported, 1);
  right.can[0].layout = 9;
  right.can[0].max_ndim = 1000;
  right.can[0].flags |= 1u << 20; /* may be ignored */
  ck_assert_uint_eq(ability()->stated.layout, AB_LAYOUT_C);
  ck_assert_int_eq(ability()->stated.max_ndim, AB_MAX_NDIM);
  ck_assert_int_eq(ability()->supported, 1);
  right.can[0].alignment = 1u << 30; /* never less than was asked for */
  ck_assert_uint_eq(ability()->stated.alignment, 1u << 30);
  right.can[0].alignment = 48; /* no power of two */
  ck_assert_int_eq(ability()->supported, 0);
  right.can[0].alignment = 0;
  right.can[0].flags |= 1u << 10; /* must be understood */
  ck_assert_int_eq(ability()->supported, 0);
  right.can[0].flags = 0;
  right.can[0].dtypes = NULL;
  ck_assert_uint_eq(ability()->dtypes, 0);
}
END_TEST

START_TEST(nothing_there_is_an_answer_that_leaves_no_error) {
  right.places = 0;
  ab_error_set(&error, AB_OK, "a remark of describe()");
  ck_assert_int_eq(ability()->supported, 0);
  ck_assert_str_eq(error.text, "a remark of describe()");
  const ab__ability *found = NULL;
  toy_forget(&right);
  right.capabilities.failures = 1;
  right.capabilities.status = AB_DRIVER;
  right.capabilities.text = "the driver is gone";
  right.sets_failure = 1;
  void *token = lock_enter(&the_self);
  ck_assert_int_eq(ab__backend_ability(&right.backend, (DLDevice){kDLCPU, 0}, 0, &found, &error), AB_DRIVER);
  lock_leave(&the_self, token);
  ck_assert_str_eq(error.text, "the driver is gone");
  ck_assert_str_eq(error.failure.domain, "toy");
  ck_assert_ptr_null(found);
  ab_error_clear(&error);
  ck_assert_int_eq(atomic_load(&right.failures_alive), 0);
  expect_nothing_left();
}
END_TEST

enum { THREADS = 8 };

static void *ask_for_all(void *seen) {
  const ab__ability **found = seen;
  for (int id = 0; id < 32; id++)
    ab__backend_ability(&right.backend, (DLDevice){kDLExtDev, id}, AB_SLOT_FROM_HOST, &found[id], NULL);
  return NULL;
}

START_TEST(threads_that_ask_at_once_agree) {
  static const ab__ability *found[THREADS][32];
  pthread_t threads[THREADS];
  right.places = TOY_EXT;
  right.accelerators = 32;
  right.has_lock = NULL; /* several attached threads, as on a free-threaded interpreter */
  for (int index = 0; index < THREADS; index++) pthread_create(&threads[index], NULL, ask_for_all, found[index]);
  for (int index = 0; index < THREADS; index++) pthread_join(threads[index], NULL);
  for (int index = 1; index < THREADS; index++) ck_assert_mem_eq(found[index], found[0], sizeof found[0]);
  expect_nothing_left();
}
END_TEST

/* ------------------------------------------------------------------ the public questions */

START_TEST(a_backend_starts_once_it_can) {
  right.start.failures = 1;
  right.start.status = AB_UNAVAILABLE;
  right.start.text = "not installed";
  ab_error_set(&error, AB_OOM, "of an earlier call");
  ck_assert_int_eq(ab_backend_start(&right.backend, &error), AB_UNAVAILABLE);
  ck_assert_str_eq(error.text, "not installed");
  ck_assert_int_eq(ab_backend_start(&right.backend, NULL), AB_OK);
  ck_assert_int_eq(ab_backend_start(&right.backend, &error), AB_OK);
  ck_assert_str_eq(error.text, "");
  ck_assert_int_eq(atomic_load(&right.start.calls), 2);
}
END_TEST

static int count_device(void *context, const ab_device_info *device) {
  (void)device;
  return ++*(int *)context == 2;
}

START_TEST(a_backend_answers_questions) {
  int seen = 0;
  right.accelerators = 3;
  right.places |= TOY_EXT;
  ck_assert_int_eq(ab_backend_devices(&right.backend, count_device, &seen, NULL), AB_OK);
  ck_assert_int_eq(seen, 2); /* the visitor has stopped it */
  ab_capabilities small = {.struct_size = offsetof(ab_capabilities, dtypes), .dtype_count = 99};
  const DLDevice ext2 = {kDLExtDev, 2}, ext3 = {kDLExtDev, 3};
  ck_assert_int_eq(ab_backend_capabilities(&right.backend, ext2, AB_SLOT_FROM_HOST, &small, NULL), AB_OK);
  ck_assert_uint_eq(small.flags, right.can[1].flags);
  ck_assert_uint_eq(small.dtype_count, 99); /* not the caller's to have */
  ck_assert_int_eq(ab_backend_capabilities(&right.backend, ext3, AB_SLOT_FROM_HOST, &small, &error), AB_UNSUPPORTED);
  ck_assert_str_ne(error.text, "");
  ab_framework_info info = {.struct_size = sizeof info};
  ck_assert_int_eq(ab_backend_probe(&right.backend, &info, NULL), AB_UNSUPPORTED);
  right.backend.slots.devices = NULL;
  ck_assert_int_eq(ab_backend_devices(&right.backend, count_device, &seen, NULL), AB_UNSUPPORTED);
  ck_assert_str_eq(ab_backend_name(&right.backend), "right");
}
END_TEST

START_TEST(a_runtime_that_ends_stops_everything) {
  toy_array *source = toy_array_new(&left, f32, 0, NULL);
  const ab_array array = {.backend = &left.backend, .object = source};
  ab_array result = {0};
  thing object = {NULL};
  const ab_backend *found = NULL;
  atomic_store(&is_ending, 1);
  ck_assert_int_eq(ab_backend_start(&left.backend, &error), AB_ENDING);
  ck_assert_int_eq(ab_convert(bridge, &array, &right.backend, NULL, &result, &error), AB_ENDING);
  ck_assert_int_eq(ab_detect(bridge, &object, &found, &error), AB_ENDING);
  atomic_store(&is_ending, 0);
  ab_bridge_end(bridge);
  ck_assert_int_eq(ab_convert(bridge, &array, &right.backend, NULL, &result, &error), AB_ENDING);
  ck_assert_int_eq(ab_detect(bridge, &object, &found, &error), AB_ENDING);
  ck_assert_int_eq(atomic_load(&left.describe.calls), 0);
  toy_array_release(source);
}
END_TEST

/* ------------------------------------------------------------------ conversions under the lock */

/* `large`: beyond what is worth letting go of the lock for. */
static toy_array *square(int large) {
  const int64_t shape[] = {large ? 512 : 4, large ? 256 : 4};
  return toy_array_new(&left, f32, 2, shape);
}

typedef struct worker {
  pthread_t thread;
  int number;
  int failed;
} worker;

static int convert_once(toy_array *source, uint32_t copy, uint32_t flags) {
  ab_record record = {.struct_size = sizeof record};
  const ab_convert_options options = {.struct_size = sizeof options, .copy = copy, .record = &record, .flags = flags};
  const ab_array array = {.backend = &left.backend, .object = source};
  ab_array result = {0};
  if (ab_convert(bridge, &array, &right.backend, &options, &result, NULL) != AB_OK) return 1;
  const toy_array *made = result.object;
  int failed = memcmp(made->data, source->data, (size_t)toy_count(source) * 4) != 0;
  failed |= (made->data == source->data) != (copy != AB_COPY_ALWAYS);
  ab_array_release(&result);
  return failed;
}

static void *work(void *context) {
  worker *self = context;
  toy_array *source = square(self->number % 2);
  for (int round = 0; round < 50; round++) {
    self->failed |= convert_once(source, round % 2 ? AB_COPY_ALWAYS : AB_COPY_IF_NEEDED, 0);
    if (round % 7 != 0) continue;
    void *token = lock_enter(&the_self);
    self->failed |= convert_once(source, AB_COPY_ALWAYS, AB_CONVERT_LOCK_HELD);
    lock_leave(&the_self, token);
  }
  toy_array_release(source);
  return NULL;
}

START_TEST(eight_threads_convert_at_once) {
  worker workers[THREADS];
  for (int index = 0; index < THREADS; index++) {
    workers[index] = (worker){.number = index};
    pthread_create(&workers[index].thread, NULL, work, &workers[index]);
  }
  for (int index = 0; index < THREADS; index++) {
    pthread_join(workers[index].thread, NULL);
    ck_assert_int_eq(workers[index].failed, 0);
  }
  ck_assert_int_eq(atomic_load(&blocked_total), THREADS / 2 * (25 + 8)); /* the large copies, and only they */
  ck_assert_int_eq(atomic_load(&left.start.calls) >= 1, 1);
  expect_nothing_left();
}
END_TEST

static void *release_elsewhere(void *tensor) {
  DLManagedTensorVersioned *memory = tensor;
  memory->deleter(memory);
  return NULL;
}

/* The right toy lets go of its memory on a thread of its own, without the lock. */
static void let_go_elsewhere(ab_array *result) {
  toy_array *made = result->object;
  pthread_t thread;
  pthread_create(&thread, NULL, release_elsewhere, made->memory);
  pthread_join(thread, NULL);
  made->memory = NULL;
  ab_array_release(result);
}

static uint64_t pending(void) {
  uint64_t count = 0, bytes = 0;
  ab_bridge_pending(bridge, &count, &bytes);
  return count;
}

static ab_array converted(toy_array *source) {
  const ab_array array = {.backend = &left.backend, .object = source};
  ab_array result = {0};
  ck_assert_int_eq(ab_convert(bridge, &array, &right.backend, NULL, &result, NULL), AB_OK);
  return result;
}

START_TEST(deleters_of_other_threads_wait_for_the_next_conversion) {
  left.drops_need_lock = 1;
  toy_array *source = square(0);
  for (int index = 0; index < 3; index++) {
    ab_array result = converted(source);
    let_go_elsewhere(&result);
    ck_assert_uint_eq(pending(), 1);
    ck_assert_int_eq(atomic_load(&left.deleted), index);
  }
  ab_array last = converted(source); /* drains */
  ck_assert_uint_eq(pending(), 0);
  ck_assert_int_eq(atomic_load(&left.deleted), 3);
  ab_array_release(&last); /* under the lock: at once */
  ck_assert_int_eq(atomic_load(&left.deleted), 4);
  ck_assert_uint_eq(pending(), 0);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

static void *let_go_of_many(void *context) {
  DLManagedTensorVersioned **tensors = context;
  for (int index = 0; index < 64; index++) tensors[index]->deleter(tensors[index]);
  return NULL;
}

START_TEST(deleters_race_with_conversions_that_drain) {
  left.drops_need_lock = 1;
  toy_array *source = square(0);
  static DLManagedTensorVersioned *tensors[4][64];
  pthread_t threads[4];
  for (int thread = 0; thread < 4; thread++)
    for (int index = 0; index < 64; index++) {
      ab_array result = converted(source);
      tensors[thread][index] = ((toy_array *)result.object)->memory;
      ((toy_array *)result.object)->memory = NULL;
      ab_array_release(&result);
    }
  for (int thread = 0; thread < 4; thread++) pthread_create(&threads[thread], NULL, let_go_of_many, tensors[thread]);
  for (int round = 0; round < 200; round++) ck_assert_int_eq(convert_once(source, AB_COPY_IF_NEEDED, 0), 0);
  for (int thread = 0; thread < 4; thread++) pthread_join(threads[thread], NULL);
  void *token = lock_enter(&the_self);
  ab_bridge_drain(bridge);
  lock_leave(&the_self, token);
  ck_assert_uint_eq(pending(), 0);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

START_TEST(backends_without_a_lock_leave_the_lock_alone) {
  left.drops_need_lock = 1;
  toy_array *source = square(1);
  ab_array result = converted(source);
  let_go_elsewhere(&result);
  ck_assert_uint_eq(pending(), 1);
  left.descriptor.lock = right.descriptor.lock = AB_LOCK_NONE;
  left.has_lock = right.has_lock = NULL;
  const int blocked = atomic_load(&blocked_total);
  ck_assert_int_eq(convert_once(source, AB_COPY_ALWAYS, 0),
                   0); /* this thread has no lock to let go of, nor to drain under */
  ck_assert_int_eq(atomic_load(&blocked_total), blocked);
  ck_assert_uint_eq(pending(), 1);
  void *token = lock_enter(&the_self);
  ck_assert_int_eq(convert_once(source, AB_COPY_ALWAYS, 0), 0); /* now it has */
  lock_leave(&the_self, token);
  ck_assert_int_eq(atomic_load(&blocked_total), blocked + 1);
  ck_assert_uint_eq(pending(), 0);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

START_TEST(one_backend_that_needs_the_lock_is_enough) {
  toy_array *source = square(1);
  left.descriptor.lock = AB_LOCK_NONE;
  ck_assert_int_eq(convert_once(source, AB_COPY_ALWAYS, 0), 0);
  left.descriptor.lock = AB_LOCK_PYTHON;
  right.descriptor.lock = AB_LOCK_NONE;
  right.has_lock = NULL;
  ck_assert_int_eq(convert_once(source, AB_COPY_ALWAYS, 0), 0);
  ck_assert_int_eq(atomic_load(&blocked_total), 2);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

static void *volatile kept[4]; /* for LeakSanitizer to find: the leaks are on purpose */

START_TEST(after_the_end_nothing_is_released_through_the_runtime) {
  left.drops_need_lock = 1;
  toy_array *source = square(0);
  ab_array one = converted(source), two = converted(source), three = converted(source);
  kept[0] = source;
  kept[1] = ((toy_array *)two.object)->memory;
  kept[2] = two.object;
  kept[3] = three.object;
  let_go_elsewhere(&one);
  ck_assert_uint_eq(pending(), 1);
  ab_bridge_end(bridge);
  let_go_elsewhere(&two);
  void *token = lock_enter(&the_self); /* not even by a thread that has the lock */
  ab_bridge_drain(bridge);
  ab_array_release(&three);
  lock_leave(&the_self, token);
  ck_assert_ptr_null(three.object);
  ck_assert_int_eq(atomic_load(&left.deleted), 0);
  ck_assert_int_eq(atomic_load(&right.arrays), 2); /* two and three: release() was not called */
  ck_assert_uint_eq(pending(), 1);                 /* leaked on purpose */
}
END_TEST

START_TEST(an_array_of_a_backend_without_a_lock_is_released_after_the_end) {
  right.descriptor.lock = left.descriptor.lock = AB_LOCK_NONE;
  left.has_lock = right.has_lock = NULL;
  toy_array *source = square(0);
  ab_array result = converted(source);
  ab_bridge_end(bridge);
  ab_array_release(&result);
  ck_assert_int_eq(atomic_load(&left.deleted), 1);
  toy_array_release(source);
  expect_nothing_left();
}
END_TEST

/* ------------------------------------------------------------------ tensors of the core's own making */

START_TEST(adoption_settles_strides_that_mean_nothing) {
  static float data[4];
  DLManagedTensorVersioned *tensor = NULL;
  ck_assert_int_eq(ab__tensor_new(NULL, 3, 0, NULL, NULL, &tensor), AB_OK);
  DLTensor *t = &tensor->dl_tensor;
  t->data = data;
  t->dtype = f32;
  const int64_t shape[] = {1, 4, 1}, strides[] = {INT64_MIN, 1, INT64_MAX};
  memcpy(t->shape, shape, sizeof shape);
  memcpy(t->strides, strides, sizeof strides);
  ck_assert_int_eq(ab__tensor_adopt(&tensor, NULL), AB_OK);
  t = &tensor->dl_tensor;
  ck_assert_int_eq(t->strides[0], 4);
  ck_assert_int_eq(t->strides[1], 1);
  ck_assert_int_eq(t->strides[2], 1);
  t->strides = NULL; /* a plugin that says "compact" */
  ck_assert_int_eq(ab__tensor_adopt(&tensor, NULL), AB_OK);
  ck_assert_ptr_nonnull(tensor->dl_tensor.strides);
  ck_assert_int_eq(tensor->dl_tensor.strides[1], 1);
  ab__tensor_delete(tensor);
  expect_nothing_left();
}
END_TEST

/* ------------------------------------------------------------------ whose is it */

static const ab_plugin_descriptor python_descriptor = {.struct_size = sizeof python_descriptor,
                                                       .name = "fake_good",
                                                       .version = "1",
                                                       .licence = "MIT",
                                                       .runtime = AB_RUNTIME_PYTHON,
                                                       .lock = AB_LOCK_PYTHON,
                                                       .runtime_abi = "test"};
static ab_backend *fake;
static int asked, says, holds;

static int32_t recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  (void)object;
  asked++;
  ck_assert_int_eq(*holds_for_type, 0);
  *holds_for_type = holds;
  return says;
}

/* A loaded plugin that now pretends to be of the test's language. */
static ab_backend *load(const char *name) {
  const char *folder = getenv("AB_FAKES");
  ck_assert_msg(folder != NULL, "AB_FAKES must name the folder of fake plugins");
  char path[4096];
  snprintf(path, sizeof path, "%s/%s.so", folder, name);
  bridge->flags |= AB_BRIDGE_TRUST_WRITABLE;
  ck_assert_int_eq(ab_bridge_add_path(bridge, path, NULL), AB_OK);
  ck_assert_int_eq(ab_bridge_discover(bridge, NULL), AB_OK);
  const ab_backend *found = NULL;
  ck_assert_msg(ab_bridge_backend(bridge, name, &found, &error) == AB_OK, "%s", error.text);
  ((ab_backend *)found)->descriptor = &python_descriptor;
  ((ab_backend *)found)->slots.recognizes = recognizes;
  return (ab_backend *)found;
}

static void load_fake(void) {
  fake = load("fake_good");
  asked = 0;
  says = holds = 1;
}

static const ab_backend *detect(type *of) {
  thing object = {of};
  const ab_backend *found = NULL;
  const ab_status status = ab_detect(bridge, &object, &found, NULL);
  ck_assert(status == AB_OK || (status == AB_NOT_RECOGNIZED && found == NULL));
  return found;
}

START_TEST(a_type_is_asked_about_once_and_kept_alive) {
  load_fake();
  type one = {0}, two = {0};
  for (int round = 0; round < 3; round++) ck_assert_ptr_eq(detect(&one), fake);
  ck_assert_int_eq(asked, 1);
  ck_assert_int_eq(one.references, 1); /* or its address would be reused for another */
  says = 0;
  for (int round = 0; round < 3; round++) ck_assert_ptr_null(detect(&two));
  ck_assert_int_eq(asked, 4); /* a "no" is not remembered: another plugin may come */
  ck_assert_int_eq(two.references, 0);
  ck_assert_ptr_eq(detect(&one), fake);
}
END_TEST

START_TEST(an_answer_for_one_object_is_not_remembered) {
  load_fake();
  type one = {0};
  holds = 0;
  for (int round = 0; round < 3; round++) ck_assert_ptr_eq(detect(&one), fake);
  ck_assert_int_eq(asked, 3);
  ck_assert_int_eq(one.references, 0);
  says = 0;
  ck_assert_ptr_null(detect(&one));
}
END_TEST

static int32_t denies_for_the_type(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  (void)object;
  *holds_for_type = 1;
  return 0;
}

START_TEST(the_denial_of_one_plugin_does_not_hold_for_the_next) {
  load_fake();
  ab_backend *second = load("fake_longer_vtable");
  fake->slots.recognizes = denies_for_the_type;
  type one = {0};
  holds = 0;
  for (int round = 0; round < 2; round++) ck_assert_ptr_eq(detect(&one), second);
  ck_assert_int_eq(asked, 2);
  ck_assert_int_eq(one.references, 0);
}
END_TEST

START_TEST(a_full_cache_still_answers_right) {
  enum { TYPES = 2000 };
  load_fake();
  type *types = calloc(TYPES, sizeof(type) * 4);
  for (int round = 0; round < 2; round++)
    for (int index = 0; index < TYPES; index++) ck_assert_ptr_eq(detect(&types[4 * index]), fake);
  int kept = 0;
  for (int index = 0; index < TYPES; index++) {
    const int references = types[4 * index].references;
    ck_assert(references == 0 || references == 1);
    kept += references;
  }
  ck_assert_int_gt(kept, 128);
  ck_assert_int_le(kept, 256);
  ck_assert_int_eq(asked, TYPES + (TYPES - kept));
  free(types);
}
END_TEST

START_TEST(a_plugin_of_another_language_is_not_asked) {
  load_fake();
  type one = {0};
  ab_plugin_descriptor plain = python_descriptor;
  plain.runtime = AB_RUNTIME_NONE; /* it would take the object for a struct of its own */
  fake->descriptor = &plain;
  ck_assert_ptr_null(detect(&one));
  ck_assert_int_eq(asked, 0);
  fake->descriptor = &python_descriptor;
}
END_TEST

static void *detect_many(void *types) {
  for (int round = 0; round < 200; round++)
    for (int index = 0; index < 32; index++) {
      thing object = {(type *)types + index};
      const ab_backend *found = NULL;
      if (ab_detect(bridge, &object, &found, NULL) != AB_OK || found != fake) return types;
    }
  return NULL;
}

START_TEST(threads_detect_at_once) {
  load_fake();
  static type types[32];
  pthread_t threads[THREADS];
  for (int index = 0; index < THREADS; index++) pthread_create(&threads[index], NULL, detect_many, types);
  for (int index = 0; index < THREADS; index++) {
    void *failed = NULL;
    pthread_join(threads[index], &failed);
    ck_assert_ptr_null(failed);
  }
  for (int index = 0; index < 32; index++) ck_assert_int_le(types[index].references, 1);
}
END_TEST

#define ADD(test) tcase_add_test(tests, test)

int main(void) {
  Suite *suite = suite_create("backend");
  TCase *tests = tcase_create("backend");
  tcase_add_checked_fixture(tests, setup, teardown);
  ADD(each_device_and_slot_is_asked_once);
  ADD(what_a_newer_plugin_says_is_read_carefully);
  ADD(nothing_there_is_an_answer_that_leaves_no_error);
  ADD(threads_that_ask_at_once_agree);
  ADD(a_backend_starts_once_it_can);
  ADD(a_backend_answers_questions);
  ADD(a_runtime_that_ends_stops_everything);
  ADD(eight_threads_convert_at_once);
  ADD(deleters_of_other_threads_wait_for_the_next_conversion);
  ADD(deleters_race_with_conversions_that_drain);
  ADD(backends_without_a_lock_leave_the_lock_alone);
  ADD(one_backend_that_needs_the_lock_is_enough);
  ADD(after_the_end_nothing_is_released_through_the_runtime);
  ADD(an_array_of_a_backend_without_a_lock_is_released_after_the_end);
  ADD(adoption_settles_strides_that_mean_nothing);
  ADD(a_type_is_asked_about_once_and_kept_alive);
  ADD(an_answer_for_one_object_is_not_remembered);
  ADD(the_denial_of_one_plugin_does_not_hold_for_the_next);
  ADD(a_full_cache_still_answers_right);
  ADD(a_plugin_of_another_language_is_not_asked);
  ADD(threads_detect_at_once);
  suite_add_tcase(suite, tests);
  SRunner *runner = srunner_create(suite);
  srunner_run_all(runner, CK_ENV);
  const int failed = srunner_ntests_failed(runner);
  srunner_free(runner);
  return failed != 0;
}
