/* SPDX-License-Identifier: MIT
 * A language with a lock that is one, and two toys in it. */
#ifndef TOY_LANGUAGE_H
#define TOY_LANGUAGE_H

#include "check_main.h"
#include "toy.h"

enum { THREADS = 8 };

static pthread_mutex_t the_lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local int depth;
static atomic_int blocking, blocked_total, wrong_unlocks, drains_asked, is_ending;

static inline void *lock_enter(void *self) {
  if (atomic_load(&is_ending)) return NULL;
  if (depth++ == 0) pthread_mutex_lock(&the_lock);
  return self;
}

static inline void lock_leave(void *self, void *token) {
  if (self != token || depth == 0) atomic_fetch_add(&wrong_unlocks, 1);
  if (--depth == 0) pthread_mutex_unlock(&the_lock);
}

static inline void *blocking_begin(void *self) {
  if (depth != 1) atomic_fetch_add(&wrong_unlocks, 1);
  if (depth == 0) return NULL;
  atomic_fetch_add(&blocking, 1);
  atomic_fetch_add(&blocked_total, 1);
  depth = 0;
  pthread_mutex_unlock(&the_lock);
  return self;
}

static inline void blocking_end(void *self, void *token) {
  if (self != token || depth != 0) atomic_fetch_add(&wrong_unlocks, 1);
  pthread_mutex_lock(&the_lock);
  depth = 1;
  atomic_fetch_sub(&blocking, 1);
}

static inline int has_lock(void) { return depth > 0; }

static inline int32_t lock_held(void *self) {
  (void)self;
  return has_lock();
}

static inline int32_t ending(void *self) {
  (void)self;
  return atomic_load(&is_ending);
}

static inline void request_drain(void *self) {
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

static inline void *type_key(void *self, void *object) {
  (void)self;
  return ((thing *)object)->type;
}

static inline void type_retain(void *self, void *object) {
  (void)self;
  ((type *)object)->references++;
}

static inline void type_release(void *self, void *object) {
  (void)self;
  ((type *)object)->references--;
}

static int the_self;
static ab_runtime runtime;
static ab_bridge *bridge;
static toy left, right;
static ab_error error;
static int64_t before;

static inline void setup(void) {
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

static inline void teardown(void) {
  ck_assert_int_eq(depth, 0);
  ck_assert_int_eq(atomic_load(&blocking), 0);
  ck_assert_int_eq(atomic_load(&wrong_unlocks), 0);
  ck_assert_int_eq(atomic_load(&left.unlocked) + atomic_load(&right.unlocked), 0);
  toy_end(&left);
  toy_end(&right);
  ab_error_clear(&error);
}

/* For tests that leave nothing behind on purpose. */
static inline void expect_nothing_left(void) {
  toy_forget(&left);
  toy_forget(&right);
  ck_assert_int_eq(atomic_load(&left.deleted), atomic_load(&left.exported));
  ck_assert_int_eq(atomic_load(&left.arrays) + atomic_load(&right.arrays), 0);
  ck_assert_int_eq(ab__allocation_count(), before);
}

static const DLDataType f32 = {kDLFloat, 32, 1};

#endif
