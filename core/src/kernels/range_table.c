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

#define INTEGER(NAME, type, code, member, value)                                                           \
  AB__KERNEL static int range_##NAME(const char *from, int64_t count, ab_number *least, ab_number *most) { \
    LOAD(type, first, from, 0);                                                                            \
    type low = first, high = first;                                                                        \
    for (int64_t i = 0; i < count; i++) {                                                                  \
      LOAD(type, x, from, i);                                                                              \
      low = x < low ? x : low;                                                                             \
      high = x > high ? x : high;                                                                          \
    }                                                                                                      \
    type x = low;                                                                                          \
    *least = (ab_number){.kind = (code), .as.member = (value)};                                            \
    x = high;                                                                                              \
    *most = (ab_number){.kind = (code), .as.member = (value)};                                             \
    return 0;                                                                                              \
  }

INTEGER_MAP(INTEGER)

/* ------------------------------------------------------------------ floating point */

// A minimum of floats is no reduction to a compiler, since its order matters to NaN. As integers they are ordered alike
// once the bits below the sign of negative ones are turned, and NaN and infinities lie beyond all others.
#define REAL(NAME, type, key_type, infinity)                                                               \
  static inline key_type key_##NAME(key_type bits) {                                                       \
    const key_type below_sign = (key_type)((UINT64_C(1) << (8 * sizeof(key_type) - 1)) - 1);               \
    return bits < 0 ? bits ^ below_sign : bits;                                                            \
  }                                                                                                        \
  static inline ab_number real_##NAME(key_type key) {                                                      \
    const key_type bits = key_##NAME(key);                                                                 \
    type value;                                                                                            \
    memcpy(&value, &bits, sizeof value);                                                                   \
    return (ab_number){.kind = kDLFloat, .as.f = (double)value};                                           \
  }                                                                                                        \
  AB__KERNEL static int range_##NAME(const char *from, int64_t count, ab_number *least, ab_number *most) { \
    LOAD(key_type, first, from, 0);                                                                        \
    key_type low = key_##NAME(first), high = low;                                                          \
    for (int64_t i = 0; i < count; i++) {                                                                  \
      LOAD(key_type, bits, from, i);                                                                       \
      const key_type key = key_##NAME(bits);                                                               \
      low = key < low ? key : low;                                                                         \
      high = key > high ? key : high;                                                                      \
    }                                                                                                      \
    *least = real_##NAME(low);                                                                             \
    *most = real_##NAME(high);                                                                             \
    return high >= (infinity) || low < -(infinity);                                                        \
  }

REAL(FLOAT32, float, int32_t, INT32_C(0x7f800000))
REAL(FLOAT64, double, int64_t, INT64_C(0x7ff0000000000000))

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
