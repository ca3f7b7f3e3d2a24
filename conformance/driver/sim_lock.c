/* SPDX-License-Identifier: MIT
 * One lock for everything, and what each thread has. */
#include <pthread.h>
#include <string.h>

#include "sim.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t epoch = 1, threads;
static _Thread_local sim_thread thread;
static _Thread_local int inside;
int sim__pushed;

int sim__inside(void) { return inside; }

int sim__set_inside(int now) {
  const int before = inside;
  inside = now;
  return before;
}

int sim__lock(void) {
  if (inside != SIM_OUTSIDE) return inside;
  pthread_mutex_lock(&mutex);
  inside = SIM_IN_CALL;
  return SIM_OUTSIDE;
}

void sim__unlock(int before) {
  if (before != SIM_OUTSIDE) return;
  inside = SIM_OUTSIDE;
  pthread_mutex_unlock(&mutex);
}

/* The per-thread streams of threads that are gone would pile up. */
static void end_of_thread(void *data) {
  const int before = sim__lock();
  if (thread.epoch == epoch) sim__stream_forget_thread(thread.number);
  sim__unlock(before);
  (void)data;
}

static pthread_key_t key;
static void make_key(void) { pthread_key_create(&key, end_of_thread); }

static void note_end_of_thread(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, make_key);
  pthread_setspecific(key, &thread);
}

sim_thread *sim__thread(void) {
  if (thread.epoch == epoch) return &thread;
  memset(&thread, 0, sizeof thread);
  thread.epoch = epoch;
  thread.number = ++threads;
  thread.mode = CU_STREAM_CAPTURE_MODE_GLOBAL;
  note_end_of_thread();
  return &thread;
}

void sim__lock_reset(void) {
  pthread_mutex_init(&mutex, NULL); /* in a forked child a thread that is not there may hold it */
  ++epoch;
  sim__pushed = 0;
}
