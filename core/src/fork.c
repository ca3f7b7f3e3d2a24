/* SPDX-License-Identifier: MIT */
#include "fork.h"

static void take_step(ab__fork_step step) {
  ab__registry_fork(step);
  ab__plugin_file_fork(step);
  ab__turn_fork(step);
  ab__opencl_fork(step);
  ab__cuda_fork(step);
  ab__lease_fork(step);
  ab__pinned_fork(step);
  ab__stream_pool_fork(step);
}

static void before(void) { take_step(AB__FORK_BEFORE); }
static void in_parent(void) { take_step(AB__FORK_IN_PARENT); }
static void in_child(void) { take_step(AB__FORK_IN_CHILD); }

static int watched;

static void watch(void) { watched = pthread_atfork(before, in_parent, in_child) == 0; }

int ab__fork_watch(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, watch);
  return watched;
}
