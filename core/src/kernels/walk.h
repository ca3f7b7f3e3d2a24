/* SPDX-License-Identifier: MIT
 *
 * walk.h: shows the elements of any strided array as compact runs in native byte order, in C order, on several threads.
 * A source that is such a run already is shown where it lies; others are gathered block by block into scratch memory.
 */
#ifndef AB__WALK_H
#define AB__WALK_H

#include <string.h>

#include "kernels/copy.h"

/// Sees `count` elements, the first of which is number `first` in C order. Returns 0 to go on; anything else ends this
/// part of the walk, not the others.
typedef int (*ab__walk_visitor)(void *context, int64_t part, const char *elements, int64_t first, int64_t count);

typedef struct ab__walk {
  const ab__strided *source;
  ab__walk_visitor see;  ///< called by several threads at once, by each with its own `part`, in order within it
  void *context;
  uint32_t threads;  ///< at most so many work on it, the caller included; 0 and 1: the caller alone
  int64_t scratch;   ///< bytes that a block is gathered into; each part has its own
} ab__walk;

/// Element `i` of a run of doubles (`is_double`) or floats.
static inline double ab__walk_real(int is_double, const char *elements, int64_t i) {
  float narrow;
  double wide;
  if (is_double) {
    memcpy(&wide, elements + i * (int64_t)sizeof wide, sizeof wide);
    return wide;
  }
  memcpy(&narrow, elements + i * (int64_t)sizeof narrow, sizeof narrow);
  return (double)narrow;
}

/// Number of elements of a strided array.
int64_t ab__walk_elements(const ab__strided *source);
/// Into how many parts, at most AB__MAX_THREADS, the walk is cut: each sees a run of elements of its own, in order.
int64_t ab__walk_parts(const ab__walk *walk);
/// Goes through all elements in `parts` parts, as many as ab__walk_parts() said. Scratch memory that is refused is
/// replaced by a little of each thread's stack: slower, but it works. Threads: any-thread.
void ab__walk_go(const ab__walk *walk, int64_t parts);

#endif /* AB__WALK_H */
