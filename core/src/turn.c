/* SPDX-License-Identifier: MIT */
#include "turn.h"

#include "fork.h"

static struct {
  pthread_mutex_t lock;
  pthread_cond_t free;
  int taken;
} turn = {.lock = PTHREAD_MUTEX_INITIALIZER, .free = PTHREAD_COND_INITIALIZER};

static _Thread_local int ours; /* this thread has the turn */

/* Returns 1 if the turn is ours now, 0 if another thread has it. */
static int try_enter(void) {
  pthread_mutex_lock(&turn.lock);
  if (!turn.taken) turn.taken = ours = 1;
  pthread_mutex_unlock(&turn.lock);
  return ours;
}

static void wait_and_enter(void) {
  pthread_mutex_lock(&turn.lock);
  while (turn.taken) pthread_cond_wait(&turn.free, &turn.lock);
  turn.taken = ours = 1;
  pthread_mutex_unlock(&turn.lock);
}

ab_status ab__turn_enter(const ab_bridge *bridge, ab_error *error) {
  if (ours) return ab_error_set(error, AB_UNSUPPORTED, "a discovery is running on this thread already");
  if (try_enter()) return AB_OK;
  const ab_runtime *const runtime = &bridge->runtime;
  const int holds = runtime->lock_enter != NULL && runtime->blocking_begin != NULL && ab__bridge_lock_held(bridge);
  void *const token = holds ? runtime->blocking_begin(runtime->self) : NULL;
  wait_and_enter();
  if (token != NULL && runtime->blocking_end != NULL) runtime->blocking_end(runtime->self, token);
  return AB_OK;
}

void ab__turn_leave(void) {
  pthread_mutex_lock(&turn.lock);
  turn.taken = ours = 0;
  pthread_cond_signal(&turn.free);
  pthread_mutex_unlock(&turn.lock);
}

void ab__turn_fork(ab__fork_step step) {
  if (step == AB__FORK_IN_CHILD) {
    turn.taken = ours;
    turn.free = (pthread_cond_t)PTHREAD_COND_INITIALIZER;  // who waited is not in the child
  }
  ab__fork_lock(&turn.lock, step);
}
