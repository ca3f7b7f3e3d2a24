/* SPDX-License-Identifier: MIT
 *
 * parallel.h: runs the parts of one call on threads that live only during that call. There is no pool: a pool does
 * not survive fork(), and whoever converts gigabytes can pay for a thread.
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
/// Runs all parts and returns when they are done; the caller runs the first one, and those for which no thread could
/// be had. Threads: any-thread.
void ab__parallel_run(ab__part part, void *context, int64_t count);

#endif /* AB__PARALLEL_H */
