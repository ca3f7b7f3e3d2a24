/* SPDX-License-Identifier: MIT
 *
 * parallel.h: runs the parts of one call on threads that are started for it. There is no pool: a pool does not survive
 * fork(), and whoever converts gigabytes can pay for a thread. A thread that comes too late finds nothing to do; it may
 * outlive the call, which is why the library is never unloaded (-z nodelete).
 */
#ifndef AB__PARALLEL_H
#define AB__PARALLEL_H

#include <stdint.h>

enum {
  AB__MAX_THREADS = 64,
  AB__PARALLEL_FROM = 4 << 20  ///< bytes; below this one thread is as fast
};

/// Does part `index` of `count`.
typedef void (*ab__part)(void *context, int64_t index, int64_t count);

/// How many parts a work of `bytes` with `splits` possible cuts is worth, at least 1.
int64_t ab__parallel_parts(uint64_t bytes, int64_t splits, uint32_t threads);
/// Runs each part once and returns when all are done; the caller works with the threads, and alone where none can be
/// had. Threads: any-thread.
void ab__parallel_run(ab__part part, void *context, int64_t count);

#endif /* AB__PARALLEL_H */
