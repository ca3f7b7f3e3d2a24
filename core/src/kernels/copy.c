/* SPDX-License-Identifier: MIT
 *
 * One copy is: a plan (axes without what is trivial, merged where memory is contiguous), cut along one axis for the
 * threads; then rows along the destination's fastest axis, or tiles where the source's fastest axis is another one.
 * Elements are loaded and stored with memcpy, since either side may be misaligned; compilers make one move of it.
 */
#include "simd.h"

#include "copy.h"

#include <arraybridge/types.h>

#include "parallel.h"

enum { CACHE_LINE = 64, MAX_AXES = AB_MAX_NDIM + 1 };

/* ------------------------------------------------------------------ elements */

typedef struct pair {
  uint64_t first, second;
} pair;

static inline uint8_t same_1(uint8_t x) { return x; }
static inline uint16_t same_2(uint16_t x) { return x; }
static inline uint32_t same_4(uint32_t x) { return x; }
static inline uint64_t same_8(uint64_t x) { return x; }
static inline pair same_16(pair x) { return x; }
static inline uint16_t swap_2(uint16_t x) { return __builtin_bswap16(x); }
static inline uint32_t swap_4(uint32_t x) { return __builtin_bswap32(x); }
static inline uint64_t swap_8(uint64_t x) { return __builtin_bswap64(x); }
static inline uint64_t swap_4_4(uint64_t x) {
  const uint64_t reversed = __builtin_bswap64(x);
  return reversed << 32 | reversed >> 32;
}
static inline pair swap_8_8(pair x) { return (pair){__builtin_bswap64(x.first), __builtin_bswap64(x.second)}; }

/// X(name, type of one element, itemsize, swap unit)
#define ELEMENT_MAP(X)        \
  X(same_1, uint8_t, 1, 0)    \
  X(same_2, uint16_t, 2, 0)   \
  X(same_4, uint32_t, 4, 0)   \
  X(same_8, uint64_t, 8, 0)   \
  X(same_16, pair, 16, 0)     \
  X(swap_2, uint16_t, 2, 2)   \
  X(swap_4, uint32_t, 4, 4)   \
  X(swap_8, uint64_t, 8, 8)   \
  X(swap_4_4, uint64_t, 8, 4) \
  X(swap_8_8, pair, 16, 8)

/* ------------------------------------------------------------------ rows and tiles */

/// Steps in bytes, `from` in the source and `to` in the destination.
typedef struct axis {
  int64_t count, from, to;
} axis;

typedef void (*row_kernel)(const char *restrict from, char *restrict to, axis row, int64_t itemsize);
/// `near` is the source's fastest axis, `row` the destination's.
typedef void (*tile_kernel)(const char *restrict from, char *restrict to, axis near, axis row, int64_t itemsize);

#define COPY_ROW(element, type, from_step, to_step)                \
  for (int64_t i = 0; i < row.count; i++) {                        \
    type value;                                                    \
    memcpy(&value, from + i * (int64_t)(from_step), sizeof value); \
    value = element(value);                                        \
    memcpy(to + i * (int64_t)(to_step), &value, sizeof value);     \
  }

// Steps written out as constants make vector code of these loops; 2 to 4 are channels and every second pixel.
#define DEFINE_ROW(element, type, itemsize_, unit)                                                             \
  AB__KERNEL static void row_##element(const char *restrict from, char *restrict to, axis row, int64_t size) { \
    (void)size;                                                                                                \
    enum { SIZE = sizeof(type) };                                                                              \
    if (row.to != SIZE) {                                                                                      \
      COPY_ROW(element, type, row.from, row.to)                                                                \
    } else if (row.from == SIZE) {                                                                             \
      COPY_ROW(element, type, SIZE, SIZE)                                                                      \
    } else if (row.from == -SIZE) {                                                                            \
      COPY_ROW(element, type, -SIZE, SIZE)                                                                     \
    } else if (row.from == 0) {                                                                                \
      COPY_ROW(element, type, 0, SIZE)                                                                         \
    } else if (row.from == 2 * SIZE) {                                                                         \
      COPY_ROW(element, type, 2 * SIZE, SIZE)                                                                  \
    } else if (row.from == 3 * SIZE) {                                                                         \
      COPY_ROW(element, type, 3 * SIZE, SIZE)                                                                  \
    } else if (row.from == 4 * SIZE) {                                                                         \
      COPY_ROW(element, type, 4 * SIZE, SIZE)                                                                  \
    } else {                                                                                                   \
      COPY_ROW(element, type, row.from, SIZE)                                                                  \
    }                                                                                                          \
  }

// A block is a cache line in each direction and goes through a buffer: rows a power of two apart share a few cache
// sets, and would otherwise push each other out before their lines are used up.
#define DEFINE_TILE(element, type, itemsize_, unit)                                                          \
  static void load_##element(const char *restrict from, axis near, axis row, type *restrict block) {         \
    enum { SIZE = sizeof(type), EDGE = CACHE_LINE / SIZE };                                                  \
    for (int64_t j = 0; j < row.count; j++) {                                                                \
      const char *line = from + j * row.from;                                                                \
      if (near.from == SIZE && near.count == EDGE) {                                                         \
        memcpy(block + j * EDGE, line, CACHE_LINE);                                                          \
      } else {                                                                                               \
        for (int64_t i = 0; i < near.count; i++) memcpy(block + j * EDGE + i, line + i * near.from, SIZE);   \
      }                                                                                                      \
    }                                                                                                        \
  }                                                                                                          \
  static void store_##element(const type *restrict block, char *restrict to, axis near, axis row) {          \
    enum { SIZE = sizeof(type), EDGE = CACHE_LINE / SIZE };                                                  \
    if (row.to == SIZE && row.count == EDGE) {                                                               \
      for (int64_t i = 0; i < near.count; i++) {                                                             \
        type line[EDGE];                                                                                     \
        for (int64_t j = 0; j < EDGE; j++) line[j] = element(block[j * EDGE + i]);                           \
        memcpy(to + i * near.to, line, CACHE_LINE);                                                          \
      }                                                                                                      \
      return;                                                                                                \
    }                                                                                                        \
    for (int64_t i = 0; i < near.count; i++) {                                                               \
      for (int64_t j = 0; j < row.count; j++) {                                                              \
        const type value = element(block[j * EDGE + i]);                                                     \
        memcpy(to + i * near.to + j * row.to, &value, SIZE);                                                 \
      }                                                                                                      \
    }                                                                                                        \
  }                                                                                                          \
  static void tile_##element(const char *restrict from, char *restrict to, axis near, axis row, int64_t s) { \
    (void)s;                                                                                                 \
    enum { EDGE = CACHE_LINE / sizeof(type) };                                                               \
    type block[EDGE * EDGE];                                                                                 \
    for (int64_t j = 0; j < row.count; j += EDGE) {                                                          \
      const axis part = {row.count - j < EDGE ? row.count - j : EDGE, row.from, row.to};                     \
      for (int64_t i = 0; i < near.count; i += EDGE) {                                                       \
        const axis line = {near.count - i < EDGE ? near.count - i : EDGE, near.from, near.to};               \
        load_##element(from + i * near.from + j * row.from, line, part, block);                              \
        store_##element(block, to + i * near.to + j * row.to, line, part);                                   \
      }                                                                                                      \
    }                                                                                                        \
  }

ELEMENT_MAP(DEFINE_ROW)
ELEMENT_MAP(DEFINE_TILE)

static void row_any(const char *restrict from, char *restrict to, axis row, int64_t itemsize) {
  for (int64_t i = 0; i < row.count; i++) memcpy(to + i * row.to, from + i * row.from, (size_t)itemsize);
}

static void tile_any(const char *restrict from, char *restrict to, axis near, axis row, int64_t itemsize) {
  const int64_t edge = itemsize < CACHE_LINE ? CACHE_LINE / itemsize : 1;
  for (int64_t j = 0; j < row.count; j += edge) {
    const axis part = {row.count - j < edge ? row.count - j : edge, row.from, row.to};
    for (int64_t i = 0; i < near.count; i++)
      row_any(from + i * near.from + j * row.from, to + i * near.to + j * row.to, part, itemsize);
  }
}

typedef struct kernel {
  row_kernel row;
  tile_kernel tile;
  uint32_t itemsize;
  uint32_t swap_unit;
} kernel;

static const kernel kernels[] = {
#define KERNEL_ROW(element, type, itemsize_, unit) {row_##element, tile_##element, (itemsize_), (unit)},
    ELEMENT_MAP(KERNEL_ROW)
#undef KERNEL_ROW
};
static const kernel kernel_any = {row_any, tile_any, 0, 0};
enum { KERNEL_COUNT = sizeof kernels / sizeof kernels[0] };

static const kernel *find_kernel(int64_t itemsize, uint32_t swap_unit) {
  for (int i = 0; i < KERNEL_COUNT; i++)
    if (kernels[i].itemsize == itemsize && kernels[i].swap_unit == swap_unit) return &kernels[i];
  return &kernel_any;
}

/* ------------------------------------------------------------------ the plan */

/// Axes from slowest to fastest in the destination.
typedef struct plan {
  const char *from;
  char *to;
  int64_t itemsize;
  uint32_t swap_unit;
  int ndim;
  axis axes[MAX_AXES];
} plan;

static int64_t magnitude(int64_t step) { return step < 0 ? -step : step; }

static void insert_axis(plan *work, int at, axis added) {
  memmove(&work->axes[at + 1], &work->axes[at], (size_t)(work->ndim - at) * sizeof(axis));
  work->axes[at] = added;
  work->ndim++;
}

static axis remove_axis(plan *work, int at) {
  const axis removed = work->axes[at];
  work->ndim--;
  memmove(&work->axes[at], &work->axes[at + 1], (size_t)(work->ndim - at) * sizeof(axis));
  return removed;
}

// Keeps the order of equal steps, so a compact destination keeps the order of its axes.
static int place_of(const plan *work, axis added) {
  int at = work->ndim;
  while (at > 0 && magnitude(work->axes[at - 1].to) < magnitude(added.to)) at--;
  return at;
}

static void merge_axes(plan *work) {
  for (int i = work->ndim - 1; i > 0; i--) {
    axis *outer = &work->axes[i - 1];
    const axis inner = work->axes[i];
    if (outer->from != inner.from * inner.count || outer->to != inner.to * inner.count) continue;
    *outer = (axis){outer->count * inner.count, inner.from, inner.to};
    remove_axis(work, i);
  }
}

/// Returns 0 if there is no element.
static int make_plan(const ab__strided *source, void *destination, const int64_t *to_strides, plan *work) {
  work->from = source->data;
  work->to = destination;
  work->itemsize = source->itemsize;
  work->swap_unit = source->swap_unit > 1 ? source->swap_unit : 0;
  work->ndim = 0;  // the axes stay uninitialised: most of their 1.5 KiB is never used
  for (int i = 0; i < source->ndim; i++)
    if (source->shape[i] == 0) return 0;
  int64_t compact = source->itemsize;
  for (int i = source->ndim - 1; i >= 0; i--) {
    const axis added = {source->shape[i], source->strides[i], to_strides != NULL ? to_strides[i] : compact};
    compact *= added.count;
    if (added.count == 1) continue;
    insert_axis(work, to_strides != NULL ? place_of(work, added) : 0, added);
  }
  if (work->swap_unit != 0 && find_kernel(work->itemsize, work->swap_unit) == &kernel_any) {
    const int64_t unit = work->swap_unit;  // an odd size: its units become the elements of one more axis
    insert_axis(work, work->ndim, (axis){work->itemsize / unit, unit, unit});
    work->itemsize = unit;
  }
  merge_axes(work);
  return 1;
}

static int source_fastest(const plan *work) {
  int fastest = work->ndim - 1;
  for (int i = work->ndim - 1; i >= 0; i--) {
    const int64_t step = magnitude(work->axes[i].from);
    if (step != 0 && step < magnitude(work->axes[fastest].from)) fastest = i;
  }
  return fastest;
}

/// Where the row's elements share a cache line the rows do as well as tiles, and large elements need neither.
static int wants_tiles(const plan *work, int fastest) {
  if (fastest == work->ndim - 1 || work->itemsize >= CACHE_LINE) return 0;
  return magnitude(work->axes[work->ndim - 1].from) >= CACHE_LINE;
}

/// Goes to the next index of the axes before `ndim`, last one fastest. Returns 0 after the last index.
static int advance(const plan *work, int ndim, int64_t *index, const char **from, char **to) {
  for (int i = ndim - 1; i >= 0; i--) {
    const axis current = work->axes[i];
    *from += current.from;
    *to += current.to;
    if (++index[i] < current.count) return 1;
    index[i] = 0;
    *from -= current.from * current.count;
    *to -= current.to * current.count;
  }
  return 0;
}

static void execute(plan *work) {
  if (work->ndim > 0 && work->swap_unit == 0) {
    const axis last = work->axes[work->ndim - 1];
    if (last.from == work->itemsize && last.to == work->itemsize) {
      work->itemsize *= last.count;  // one memcpy for the whole run
      work->ndim--;
    }
  }
  if (work->ndim == 0) work->axes[work->ndim++] = (axis){1, 0, 0};
  const kernel *element = find_kernel(work->itemsize, work->swap_unit);
  const int fastest = source_fastest(work);
  const int tiled = wants_tiles(work, fastest);
  const axis near = tiled ? remove_axis(work, fastest) : (axis){1, 0, 0};
  const axis row = remove_axis(work, work->ndim - 1);
  int64_t index[MAX_AXES];
  for (int i = 0; i < work->ndim; i++) index[i] = 0;
  const char *from = work->from;
  char *to = work->to;
  do {
    if (tiled) element->tile(from, to, near, row, work->itemsize);
    else element->row(from, to, row, work->itemsize);
  } while (advance(work, work->ndim, index, &from, &to));
}

/* ------------------------------------------------------------------ threads */

typedef struct split {
  const plan *whole;
  int axis;
} split;

static void execute_part(void *context, int64_t index, int64_t count) {
  const split *cut = context;
  plan part = *cut->whole;
  axis *shared = &part.axes[cut->axis];
  const int64_t share = shared->count / count, rest = shared->count % count;
  const int64_t begin = index * share + (index < rest ? index : rest);
  shared->count = share + (index < rest);
  part.from += begin * shared->from;
  part.to += begin * shared->to;
  execute(&part);
}

static int longest_axis(const plan *work) {
  int longest = 0;
  for (int i = 1; i < work->ndim; i++)
    if (work->axes[i].count > work->axes[longest].count) longest = i;
  return longest;
}

void ab__copy_strided(const ab__strided *source, void *destination, const int64_t *destination_strides,
                      uint32_t threads) {
  plan work;
  if (!make_plan(source, destination, destination_strides, &work)) return;
  uint64_t bytes = (uint64_t)work.itemsize;
  for (int i = 0; i < work.ndim; i++) bytes *= (uint64_t)work.axes[i].count;
  if (work.ndim == 0 || bytes < AB__PARALLEL_FROM || threads < 2) {
    execute(&work);
    return;
  }
  // The slowest axis gives each thread memory of its own; if it is short, the longest one does.
  split cut = {&work, work.axes[0].count >= 4 * (int64_t)threads ? 0 : longest_axis(&work)};
  ab__parallel_run(execute_part, &cut, ab__parallel_parts(bytes, work.axes[cut.axis].count, threads));
}

void ab__copy_to_compact(const ab__strided *source, void *destination, uint32_t threads) {
  ab__copy_strided(source, destination, NULL, threads);
}
