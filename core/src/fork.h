/* SPDX-License-Identifier: MIT
 *
 * fork.h: what a forked child finds. It has the forking thread alone, so a lock that another thread held stays locked
 * for ever, and what that thread was changing stays half changed.
 *
 * Locks that are held for a few lines are taken before every fork and let go of on both sides. Everywhere else each is
 * held alone; only a fork holds them all, in this order:
 *   registries       (registry.c)        the list of all registries
 *   registry->lock   (registry.c)        of each
 *   ability_lock     (backend.c)         of each backend that is loaded
 *   detect->lock     (detect.c)          of each bridge
 *   ltdl_lock        (plugin_file.c)     libltdl is not thread-safe
 *   turn.lock        (turn.c)            whose turn it is; a turn of a thread that is gone is free again
 *   table_lock       (opencl_loader.c)
 *   opened_lock      (opencl_vendor.c)
 *   driver_lock      (cuda_driver.c)
 *   table_lock       (lease.c)           leases that have not ended
 *   lock             (pinned_pool.c)     pools of pinned chunks
 *   pool_lock        (stream_pool.c)     which streams of ours are leased
 * The other locks of OpenCL and CUDA are out of a child's reach: ab__cl_open() and ab__cu_open() refuse once the parent
 * has used them.
 * What is free of locks is whole at any moment.
 */
#ifndef AB__FORK_H
#define AB__FORK_H

#include <pthread.h>

typedef enum ab__fork_step { AB__FORK_BEFORE, AB__FORK_IN_PARENT, AB__FORK_IN_CHILD } ab__fork_step;

/// Takes `lock` before the fork, lets go of it after.
static inline void ab__fork_lock(pthread_mutex_t *lock, ab__fork_step step) {
  if (step == AB__FORK_BEFORE) pthread_mutex_lock(lock);
  else pthread_mutex_unlock(lock);
}

/// Has every fork() of this process from now on do the above. Returns 0 if there is no memory for that.
/// Threads: any-thread; the first call counts.
int ab__fork_watch(void);

/* ------------------------------------------------------------------ who takes part */

void ab__registry_fork(ab__fork_step step);
void ab__plugin_file_fork(ab__fork_step step);
struct ab__detect;
void ab__detect_fork(struct ab__detect *detect, ab__fork_step step);
void ab__turn_fork(ab__fork_step step);
void ab__opencl_fork(ab__fork_step step);
void ab__opencl_table_fork(ab__fork_step step);
void ab__opencl_vendors_fork(ab__fork_step step);
void ab__cuda_fork(ab__fork_step step);
void ab__lease_fork(ab__fork_step step);
void ab__pinned_fork(ab__fork_step step);
void ab__stream_pool_fork(ab__fork_step step);

#endif
