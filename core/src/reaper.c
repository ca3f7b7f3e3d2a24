/* SPDX-License-Identifier: MIT */
#include "reaper.h"

#include <signal.h>
#include <stdlib.h>
#include <time.h>

#include "memory.h"
#include "release.h"

/* Memory that a device is done with is kept this long at most; asking costs 150 ns each time. */
enum { TICK_NS = 20 * 1000 * 1000 };

typedef struct watch {
  const ab_bridge *bridge;
  ab__release *queue;
  atomic_int *running;
} watch;

static void ask(const watch *at) {
  if (at->bridge->runtime.request_drain != NULL) ab__bridge_request_drain(at->bridge);
  else if (at->bridge->runtime.lock_enter == NULL) ab__release_drain(at->queue, AB__DRAIN_DUE);
}

static void *reap(void *context) {
  watch at = *(watch *)context;
  ab__deallocate(context);
  const struct timespec tick = {.tv_nsec = TICK_NS};
  do {
    nanosleep(&tick, NULL);
    if (ab__bridge_ending(at.bridge)) return NULL; /* and never again */
    if (ab__release_waiting(at.queue)) ask(&at);
  } while (ab__release_waiting(at.queue));
  atomic_store(at.running, 0);
  return NULL;
}

/* Signals are for the program's own threads. */
static int start(watch *at) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return 0;
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread;
  const int started = pthread_create(&thread, &attributes, reap, at) == 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  pthread_attr_destroy(&attributes);
  return started;
}

void ab__reaper_watch(const ab_bridge *bridge, ab__release *queue, atomic_int *running) {
  if (bridge == NULL || ab__bridge_ending(bridge) || atomic_exchange(running, 1)) return;
  watch *at = ab__allocate(sizeof *at);
  if (at != NULL) *at = (watch){bridge, queue, running};
  if (at != NULL && start(at)) return;
  ab__deallocate(at);
  atomic_store(running, 0);
}
