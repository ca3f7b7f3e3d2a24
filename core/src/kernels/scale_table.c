/* SPDX-License-Identifier: MIT */
#include "simd.h"

#include "scale_table.h"

#include <math.h>
#include <string.h>

#include "dtype.h"
#include "saturate.h"

// Where a value begins to saturate, once it is rounded to nearest even: ends of ranges are even below, odd above.
#define LOW_EDGE(float_type, low) ((float_type)((low)-0.5L))
#define HIGH_EDGE(float_type, high) ((float_type)((high) + 0.5L))

/// X(NAME, type, lowest, highest, 1 if signed)
#define SMALL_MAP(X)                     \
  X(UINT8, uint8_t, 0, UINT8_MAX, 0)     \
  X(UINT16, uint16_t, 0, UINT16_MAX, 0)  \
  X(INT8, int8_t, INT8_MIN, INT8_MAX, 1) \
  X(INT16, int16_t, INT16_MIN, INT16_MAX, 1)
#define LARGE_MAP(X)                         \
  X(UINT32, uint32_t, 0, UINT32_MAX, 0)      \
  X(UINT64, uint64_t, 0, UINT64_MAX, 0)      \
  X(INT32, int32_t, INT32_MIN, INT32_MAX, 1) \
  X(INT64, int64_t, INT64_MIN, INT64_MAX, 1)

#define LOAD(type, x, from) \
  type x;                   \
  memcpy(&x, (from) + i * (int64_t)sizeof x, sizeof x)
#define STORE(y, to) memcpy((to) + i * (int64_t)sizeof(y), &(y), sizeof(y))

/* ------------------------------------------------------------------ rounding */

// Added to 1.5 times the power of two whose last bit is 1, a small number is rounded by the hardware, and its integer
// is what the bits have grown by: no instruction for rounding is needed, which SSE2 does not have. What is too large,
// or NaN, grows them by more than any small number does, as an unsigned difference.
static inline uint32_t float_rounded_bits(float x) {
  const float shifted = x + 0x1.8p23f;
  uint32_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  return bits - 0x4b400000u;
}

static inline uint64_t double_rounded_bits(double x) {
  const double shifted = x + 0x1.8p52;
  uint64_t bits;
  memcpy(&bits, &shifted, sizeof bits);
  return bits - UINT64_C(0x4338000000000000);
}

// Of any size: from 2^23 (2^52) on, all are whole.
static inline float float_rounded(float x) {
  const float ruler = copysignf(0x1p23f, x), rounded = (x + ruler) - ruler;
  return fabsf(x) < 0x1p23f ? rounded : x;
}

static inline double double_rounded(double x) {
  const double ruler = copysign(0x1p52, x), rounded = (x + ruler) - ruler;
  return fabs(x) < 0x1p52 ? rounded : x;
}

/* ------------------------------------------------------------------ clip */

#define CLIP(float_type, name, NAME, type, low, high, convert)                                              \
  AB__KERNEL static int64_t clip_##name##_##NAME(const char *restrict from, char *restrict to, int64_t n) { \
    uint32_t outside = 0;                                                                                   \
    for (int64_t i = 0; i < n; i++) {                                                                       \
      LOAD(float_type, x, from);                                                                            \
      outside += !((x >= LOW_EDGE(float_type, low)) & (x < HIGH_EDGE(float_type, high)));                   \
      const type y = (type)convert;                                                                         \
      STORE(y, to);                                                                                         \
    }                                                                                                       \
    return outside;                                                                                         \
  }

#define AT_MOST(x, high) ((x) < (high) ? (x) : (high))
#define AT_LEAST(x, low) ((x) > (low) ? (x) : (low))
// As long as all values fit, there is nothing to clamp and nothing to count: one loop looks, and does the work already.
#define CLIP_FITTING(float_type, name, NAME, type, low, high, bits_type, bits_of)                          \
  AB__KERNEL static int64_t fit_##name##_##NAME(const char *restrict from, char *restrict to, int64_t n) { \
    bits_type seen = 0;                                                                                    \
    for (int64_t i = 0; i < n; i++) {                                                                      \
      LOAD(float_type, x, from);                                                                           \
      const bits_type rounded = bits_of(x);                                                                \
      seen |= rounded - (bits_type)(low);                                                                  \
      const type y = (type)rounded;                                                                        \
      STORE(y, to);                                                                                        \
    }                                                                                                      \
    return seen <= (bits_type)(high) - (bits_type)(low) ? 0 : clip_##name##_##NAME(from, to, n);           \
  }
#define CLIP_SMALL(NAME, type, low, high, is_signed)                                                                 \
  CLIP(float, FLOAT32, NAME, type, low, high, float_rounded_bits(AT_MOST(AT_LEAST(x, (float)(low)), (float)(high)))) \
  CLIP(double, FLOAT64, NAME, type, low, high,                                                                       \
       double_rounded_bits(AT_MOST(AT_LEAST(x, (double)(low)), (double)(high))))                                     \
  CLIP_FITTING(float, FLOAT32, NAME, type, low, high, uint32_t, float_rounded_bits)                                  \
  CLIP_FITTING(double, FLOAT64, NAME, type, low, high, uint64_t, double_rounded_bits)
#define CLIP_LARGE(NAME, type, low, high, is_signed)                                 \
  CLIP(float, FLOAT32, NAME, type, low, high, ab__float_to_##NAME(float_rounded(x))) \
  CLIP(double, FLOAT64, NAME, type, low, high, ab__double_to_##NAME(double_rounded(x)))

SMALL_MAP(CLIP_SMALL)
LARGE_MAP(CLIP_LARGE)

/* ------------------------------------------------------------------ integers that saturate */

// Compared in the source's type: an end that does not exist there is replaced by the source's own.
#define CLIP_INTEGER(NAME, type, low, high, is_signed, FROM, from_type, from_low, from_high)                    \
  AB__KERNEL static int64_t clip_##FROM##_##NAME(const char *restrict from, char *restrict to, int64_t count) { \
    const from_type least = (from_type)AT_LEAST((int64_t)(low), (int64_t)(from_low));                           \
    const from_type greatest = (from_type)AT_MOST((uint64_t)(high), (uint64_t)(from_high));                     \
    uint32_t outside = 0;                                                                                       \
    for (int64_t i = 0; i < count; i++) {                                                                       \
      LOAD(from_type, x, from);                                                                                 \
      from_type y = AT_LEAST(x, least);                                                                         \
      y = AT_MOST(y, greatest);                                                                                 \
      outside += y != x;                                                                                        \
      const type z = (type)y;                                                                                   \
      STORE(z, to);                                                                                             \
    }                                                                                                           \
    return outside;                                                                                             \
  }

#define TARGETS_OF(X, ...)                                \
  X(UINT8, uint8_t, 0, UINT8_MAX, 0, __VA_ARGS__)         \
  X(UINT16, uint16_t, 0, UINT16_MAX, 0, __VA_ARGS__)      \
  X(UINT32, uint32_t, 0, UINT32_MAX, 0, __VA_ARGS__)      \
  X(UINT64, uint64_t, 0, UINT64_MAX, 0, __VA_ARGS__)      \
  X(INT8, int8_t, INT8_MIN, INT8_MAX, 1, __VA_ARGS__)     \
  X(INT16, int16_t, INT16_MIN, INT16_MAX, 1, __VA_ARGS__) \
  X(INT32, int32_t, INT32_MIN, INT32_MAX, 1, __VA_ARGS__) \
  X(INT64, int64_t, INT64_MIN, INT64_MAX, 1, __VA_ARGS__)
#define CLIP_FROM(FROM, from_type, from_low, from_high, is_signed) \
  TARGETS_OF(CLIP_INTEGER, FROM, from_type, from_low, from_high)

SMALL_MAP(CLIP_FROM)
LARGE_MAP(CLIP_FROM)

ab__scale_kernel ab__scale_clip(int from, int to) {
#define CLIP_ENTRY(NAME, type, low, high, is_signed, FROM) [AB__DTYPE_##FROM][AB__DTYPE_##NAME] = clip_##FROM##_##NAME,
#define CLIP_ENTRIES(FROM, from_type, from_low, from_high, is_signed) TARGETS_OF(CLIP_ENTRY, FROM)
#define FIT_ENTRIES(NAME, type, low, high, is_signed)         \
  [AB__DTYPE_FLOAT32][AB__DTYPE_##NAME] = fit_FLOAT32_##NAME, \
  [AB__DTYPE_FLOAT64][AB__DTYPE_##NAME] = fit_FLOAT64_##NAME,
#define LARGE_ENTRIES(NAME, type, low, high, is_signed)        \
  [AB__DTYPE_FLOAT32][AB__DTYPE_##NAME] = clip_FLOAT32_##NAME, \
  [AB__DTYPE_FLOAT64][AB__DTYPE_##NAME] = clip_FLOAT64_##NAME,
  static const ab__scale_kernel table[AB__DTYPE_COUNT][AB__DTYPE_COUNT] = {
      SMALL_MAP(CLIP_ENTRIES) LARGE_MAP(CLIP_ENTRIES) SMALL_MAP(FIT_ENTRIES) LARGE_MAP(LARGE_ENTRIES)};
  return table[from][to];
}

/* ------------------------------------------------------------------ unit */

// In float64 the product of float32 and 16 bits is exact, and so are ties. All other results are off by 2^-21 at most,
// so that only the neighbourhood of a tie is in doubt.
#define UNIT(float_type, FROM, tells, NAME, type, is_signed)                                                    \
  AB__KERNEL static int64_t unit_##FROM##_##NAME(const char *restrict from, char *restrict to, int64_t count) { \
    const double full = (double)((UINT64_C(1) << (8 * sizeof(type))) - 1);                                      \
    const double scale = (is_signed) ? full / 2 : full, shift = (is_signed) ? -0.5 : 0;                         \
    const double low = (is_signed) ? -1 : 0;                                                                    \
    uint64_t unsettled = 0;                                                                                     \
    for (int64_t i = 0; i < count; i++) {                                                                       \
      LOAD(float_type, x, from);                                                                                \
      const double y = (double)x * scale + shift, error = fabs(y - ((y + 0x1.8p52) - 0x1.8p52));                \
      unsettled += !((x >= low) & (x <= 1) & ((tells) | (error < 0.5 - 0x1p-20)));                              \
      const type z = (type)double_rounded_bits(y);                                                              \
      STORE(z, to);                                                                                             \
    }                                                                                                           \
    return (int64_t)unsettled;                                                                                  \
  }
#define UNIT_MAP(X)      \
  X(UINT8, uint8_t, 0)   \
  X(UINT16, uint16_t, 0) \
  X(UINT32, uint32_t, 0) \
  X(INT8, int8_t, 1)     \
  X(INT16, int16_t, 1)   \
  X(INT32, int32_t, 1)
#define UNIT_BOTH(NAME, type, is_signed)                                         \
  UNIT(float, FLOAT32, !(is_signed) && sizeof(type) <= 2, NAME, type, is_signed) \
  UNIT(double, FLOAT64, 0, NAME, type, is_signed)

UNIT_MAP(UNIT_BOTH)

ab__scale_kernel ab__scale_unit(int from, int to) {
#define UNIT_ENTRY(NAME, type, is_signed)                      \
  [AB__DTYPE_FLOAT32][AB__DTYPE_##NAME] = unit_FLOAT32_##NAME, \
  [AB__DTYPE_FLOAT64][AB__DTYPE_##NAME] = unit_FLOAT64_##NAME,
  static const ab__scale_kernel table[AB__DTYPE_COUNT][AB__DTYPE_COUNT] = {UNIT_MAP(UNIT_ENTRY)};
  return table[from][to];
}

/* ------------------------------------------------------------------ minmax */

// In float64, of which even the ends of 64-bit integers are made exactly by saturating.
#define STRETCH(FROM, float_type, NAME, type, low, high)                                                \
  AB__KERNEL static void stretch_##FROM##_##NAME(const ab__stretch *stretch, const char *restrict from, \
                                                 char *restrict to, int64_t count) {                    \
    const double shrink = stretch->shrink, least = stretch->least, range = stretch->range;              \
    const double span = (double)(high) - (double)(low), lowest = (double)(low);                         \
    for (int64_t i = 0; i < count; i++) {                                                               \
      LOAD(float_type, x, from);                                                                        \
      const type y = ab__double_to_##NAME(((double)x * shrink - least) / range * span + lowest);        \
      STORE(y, to);                                                                                     \
    }                                                                                                   \
  }
// What lies within the image lies within the target: nothing has to saturate.
#define STRETCH_SMALL(NAME, type, low, high, is_signed)                                               \
  AB__KERNEL static void stretch_narrow_##NAME(const ab__stretch *stretch, const char *restrict from, \
                                               char *restrict to, int64_t count) {                    \
    const float least = (float)stretch->least, range = (float)stretch->range;                         \
    for (int64_t i = 0; i < count; i++) {                                                             \
      LOAD(float, x, from);                                                                           \
      const float whole = (x - least) / range * (float)((high) - (low));                              \
      const type y = (type)(int32_t)((is_signed) ? whole + (float)(low) : whole);                     \
      STORE(y, to);                                                                                   \
    }                                                                                                 \
  }
#define STRETCH_ANY(NAME, type, low, high, is_signed) \
  STRETCH(FLOAT32, float, NAME, type, low, high)      \
  STRETCH(FLOAT64, double, NAME, type, low, high)

SMALL_MAP(STRETCH_SMALL)
SMALL_MAP(STRETCH_ANY)
LARGE_MAP(STRETCH_ANY)

ab__stretch_kernel ab__scale_stretch(int from, int to) {
#define STRETCH_ENTRY(NAME, type, low, high, is_signed)           \
  [AB__DTYPE_FLOAT32][AB__DTYPE_##NAME] = stretch_FLOAT32_##NAME, \
  [AB__DTYPE_FLOAT64][AB__DTYPE_##NAME] = stretch_FLOAT64_##NAME,
  static const ab__stretch_kernel table[AB__DTYPE_COUNT][AB__DTYPE_COUNT] = {SMALL_MAP(STRETCH_ENTRY)
                                                                                 LARGE_MAP(STRETCH_ENTRY)};
  return table[from][to];
}

ab__stretch_kernel ab__scale_stretch_float(int to) {
#define NARROW_ENTRY(NAME, type, low, high, is_signed) [AB__DTYPE_##NAME] = stretch_narrow_##NAME,
  static const ab__stretch_kernel table[AB__DTYPE_COUNT] = {SMALL_MAP(NARROW_ENTRY)};
  return table[to];
}

/* ------------------------------------------------------------------ looking */

#define COUNT(name, type, condition)                                        \
  AB__KERNEL static int64_t name(const char *from, int64_t count) {         \
    int64_t found = 0;                                                      \
    for (int64_t done = 0; done < count; done += AB__SCALE_CHUNK) {         \
      const int64_t rest = count - done;                                    \
      const int64_t size = rest < AB__SCALE_CHUNK ? rest : AB__SCALE_CHUNK; \
      const char *run = from + done * (int64_t)sizeof(type);                \
      uint32_t some = 0;                                                    \
      for (int64_t i = 0; i < size; i++) {                                  \
        LOAD(type, x, run);                                                 \
        some += (condition);                                                \
      }                                                                     \
      found += some;                                                        \
    }                                                                       \
    return found;                                                           \
  }

// The difference tells what a limit of low - 1 could not: int64 has no such neighbour in float64.
#define TRUNCATES_OUTSIDE(float_type, low, high) (!((x - (float_type)(low) > -1) & (x < (float_type)((high) + 1.0L))))
#define OUTSIDE(NAME, type, low, high, is_signed)                           \
  COUNT(outside_FLOAT32_##NAME, float, TRUNCATES_OUTSIDE(float, low, high)) \
  COUNT(outside_FLOAT64_##NAME, double, TRUNCATES_OUTSIDE(double, low, high))

SMALL_MAP(OUTSIDE)
LARGE_MAP(OUTSIDE)

ab__count_kernel ab__scale_outside(int from, int to) {
#define OUTSIDE_ENTRY(NAME, type, low, high, is_signed)           \
  [AB__DTYPE_FLOAT32][AB__DTYPE_##NAME] = outside_FLOAT32_##NAME, \
  [AB__DTYPE_FLOAT64][AB__DTYPE_##NAME] = outside_FLOAT64_##NAME,
  static const ab__count_kernel table[AB__DTYPE_COUNT][AB__DTYPE_COUNT] = {SMALL_MAP(OUTSIDE_ENTRY)
                                                                               LARGE_MAP(OUTSIDE_ENTRY)};
  return table[from][to];
}

COUNT(nans_FLOAT32, float, x != x)
COUNT(nans_FLOAT64, double, x != x)

ab__count_kernel ab__scale_nans(int from) { return from == AB__DTYPE_FLOAT32 ? nans_FLOAT32 : nans_FLOAT64; }

// All bits of the exponent set; float8_e4m3fn has no infinities, and one NaN.
COUNT(not_finite_FLOAT16, uint16_t, (x & 0x7c00) == 0x7c00)
COUNT(not_finite_BFLOAT16, uint16_t, (x & 0x7f80) == 0x7f80)
COUNT(not_finite_FLOAT32, uint32_t, (x & 0x7f800000u) == 0x7f800000u)
COUNT(not_finite_FLOAT64, uint64_t, (x & UINT64_C(0x7ff0000000000000)) == UINT64_C(0x7ff0000000000000))
COUNT(not_finite_E4M3FN, uint8_t, (x & 0x7f) == 0x7f)
COUNT(not_finite_E5M2, uint8_t, (x & 0x7c) == 0x7c)

// A number is what either half is; of two infinite halves one number has become infinite.
typedef struct narrow_pair {
  uint32_t real, imaginary;
} narrow_pair;
typedef struct wide_pair {
  uint64_t real, imaginary;
} wide_pair;
#define ALL_SET(half, bits) ((((half) & (bits)) == (bits)))
COUNT(not_finite_COMPLEX64, narrow_pair, ALL_SET(x.real, 0x7f800000u) | ALL_SET(x.imaginary, 0x7f800000u))
COUNT(not_finite_COMPLEX128, wide_pair,
      ALL_SET(x.real, UINT64_C(0x7ff0000000000000)) | ALL_SET(x.imaginary, UINT64_C(0x7ff0000000000000)))

ab__count_kernel ab__scale_not_finite(int from) {
  static const ab__count_kernel table[AB__DTYPE_COUNT] = {
      [AB__DTYPE_FLOAT16] = not_finite_FLOAT16,      [AB__DTYPE_BFLOAT16] = not_finite_BFLOAT16,
      [AB__DTYPE_FLOAT32] = not_finite_FLOAT32,      [AB__DTYPE_FLOAT64] = not_finite_FLOAT64,
      [AB__DTYPE_FLOAT8_E4M3FN] = not_finite_E4M3FN, [AB__DTYPE_FLOAT8_E5M2] = not_finite_E5M2,
      [AB__DTYPE_COMPLEX64] = not_finite_COMPLEX64,  [AB__DTYPE_COMPLEX128] = not_finite_COMPLEX128,
  };
  return table[from];
}

#define DIFFER(name, type, same)                                                \
  AB__KERNEL static int64_t name(const char *a, const char *b, int64_t count) { \
    int64_t found = 0;                                                          \
    for (int64_t i = 0; i < count; i++) {                                       \
      LOAD(type, x, a);                                                         \
      LOAD(type, y, b);                                                         \
      found += !(same);                                                         \
    }                                                                           \
    return found;                                                               \
  }

DIFFER(differ_1, uint8_t, x == y)
DIFFER(differ_2, uint16_t, x == y)
DIFFER(differ_4, uint32_t, x == y)
DIFFER(differ_8, uint64_t, x == y)
DIFFER(differ_FLOAT32, float, (x == y) | ((x != x) & (y != y)))
DIFFER(differ_FLOAT64, double, (x == y) | ((x != x) & (y != y)))

static int64_t differ_COMPLEX64(const char *a, const char *b, int64_t n) { return differ_FLOAT32(a, b, 2 * n); }
static int64_t differ_COMPLEX128(const char *a, const char *b, int64_t n) { return differ_FLOAT64(a, b, 2 * n); }

ab__differ_kernel ab__scale_differ(int dtype) {
  static const ab__differ_kernel table[AB__DTYPE_COUNT] = {
      [AB__DTYPE_BOOL] = differ_1,
      [AB__DTYPE_UINT8] = differ_1,
      [AB__DTYPE_UINT16] = differ_2,
      [AB__DTYPE_UINT32] = differ_4,
      [AB__DTYPE_UINT64] = differ_8,
      [AB__DTYPE_INT8] = differ_1,
      [AB__DTYPE_INT16] = differ_2,
      [AB__DTYPE_INT32] = differ_4,
      [AB__DTYPE_INT64] = differ_8,
      [AB__DTYPE_FLOAT32] = differ_FLOAT32,
      [AB__DTYPE_FLOAT64] = differ_FLOAT64,
      [AB__DTYPE_COMPLEX64] = differ_COMPLEX64,
      [AB__DTYPE_COMPLEX128] = differ_COMPLEX128,
  };
  return table[dtype];
}
