/* SPDX-License-Identifier: MIT */
#include "simd.h"

#include "range_table.h"

#include <math.h>
#include <string.h>

#include "dtype.h"

#define LOAD(type, x, from, i) \
  type x;                      \
  memcpy(&x, (from) + (i) * (int64_t)sizeof x, sizeof x)

/* ------------------------------------------------------------------ integers */

#define INTEGER_MAP(X)                 \
  X(BOOL, uint8_t, kDLBool, u, x != 0) \
  X(UINT8, uint8_t, kDLUInt, u, x)     \
  X(UINT16, uint16_t, kDLUInt, u, x)   \
  X(UINT32, uint32_t, kDLUInt, u, x)   \
  X(UINT64, uint64_t, kDLUInt, u, x)   \
  X(INT8, int8_t, kDLInt, i, x)        \
  X(INT16, int16_t, kDLInt, i, x)      \
  X(INT32, int32_t, kDLInt, i, x)      \
  X(INT64, int64_t, kDLInt, i, x)

#define INTEGER(NAME, type, code, member, value)                                                               \
  AB__KERNEL static int64_t range_##NAME(const char *from, int64_t count, ab_number *least, ab_number *most) { \
    LOAD(type, first, from, 0);                                                                                \
    type low = first, high = first;                                                                            \
    for (int64_t i = 0; i < count; i++) {                                                                      \
      LOAD(type, x, from, i);                                                                                  \
      low = x < low ? x : low;                                                                                 \
      high = x > high ? x : high;                                                                              \
    }                                                                                                          \
    type x = low;                                                                                              \
    *least = (ab_number){.kind = (code), .as.member = (value)};                                                \
    x = high;                                                                                                  \
    *most = (ab_number){.kind = (code), .as.member = (value)};                                                 \
    return 0;                                                                                                  \
  }

INTEGER_MAP(INTEGER)

/* ------------------------------------------------------------------ floating point */

// A minimum of floats is no reduction to a compiler, since its order matters to NaN. So many lanes are kept apart, and
// the few that are left over take part as copies of the last element.
enum { LANES = 32 };

#define REAL(NAME, type, count_type)                                                                           \
  AB__KERNEL static int64_t range_##NAME(const char *from, int64_t count, ab_number *least, ab_number *most) { \
    type low[LANES], high[LANES];                                                                              \
    count_type odd[LANES];                                                                                     \
    for (int j = 0; j < LANES; j++) {                                                                          \
      LOAD(type, x, from, j < count ? j : 0);                                                                  \
      low[j] = high[j] = x;                                                                                    \
      odd[j] = 0;                                                                                              \
    }                                                                                                          \
    const int64_t whole = count - count % LANES;                                                               \
    for (int64_t i = 0; i < whole; i += LANES) {                                                               \
      for (int j = 0; j < LANES; j++) {                                                                        \
        LOAD(type, x, from, i + j);                                                                            \
        low[j] = x < low[j] ? x : low[j];                                                                      \
        high[j] = x > high[j] ? x : high[j];                                                                   \
        odd[j] += !(x - x == 0);                                                                               \
      }                                                                                                        \
    }                                                                                                          \
    int64_t found = 0;                                                                                         \
    type lowest = low[0], highest = high[0];                                                                   \
    for (int j = 0; j < LANES; j++) {                                                                          \
      lowest = low[j] < lowest ? low[j] : lowest;                                                              \
      highest = high[j] > highest ? high[j] : highest;                                                         \
      found += (int64_t)odd[j];                                                                                \
    }                                                                                                          \
    for (int64_t i = whole; i < count; i++) {                                                                  \
      LOAD(type, x, from, i);                                                                                  \
      lowest = x < lowest ? x : lowest;                                                                        \
      highest = x > highest ? x : highest;                                                                     \
      found += !(x - x == 0);                                                                                  \
    }                                                                                                          \
    *least = (ab_number){.kind = kDLFloat, .as.f = (double)lowest};                                            \
    *most = (ab_number){.kind = kDLFloat, .as.f = (double)highest};                                            \
    return found;                                                                                              \
  }

REAL(FLOAT32, float, uint32_t)
REAL(FLOAT64, double, uint64_t)

ab__range_kernel ab__range_ends(int dtype) {
#define RANGE_ENTRY(NAME, type, code, member, value) [AB__DTYPE_##NAME] = range_##NAME,
  static const ab__range_kernel table[AB__DTYPE_COUNT] = {
      INTEGER_MAP(RANGE_ENTRY)[AB__DTYPE_FLOAT32] = range_FLOAT32, [AB__DTYPE_FLOAT64] = range_FLOAT64};
  return table[dtype];
}

// From 2^23 (2^52) on, all are whole.
#define FRACTION(NAME, type, magnitude, copy_sign, ruler)                  \
  AB__KERNEL static int fraction_##NAME(const char *from, int64_t count) { \
    uint32_t found = 0;                                                    \
    for (int64_t i = 0; i < count; i++) {                                  \
      LOAD(type, x, from, i);                                              \
      const type shift = copy_sign(ruler, x);                              \
      found += (magnitude(x) < (ruler)) & ((x + shift) - shift != x);      \
    }                                                                      \
    return found != 0;                                                     \
  }

FRACTION(FLOAT32, float, fabsf, copysignf, 0x1p23f)
FRACTION(FLOAT64, double, fabs, copysign, 0x1p52)

int ab__range_has_fraction(int dtype, const char *from, int64_t count) {
  return dtype == AB__DTYPE_FLOAT32 ? fraction_FLOAT32(from, count) : fraction_FLOAT64(from, count);
}
