/* SPDX-License-Identifier: MIT
 *
 * saturate.h: floating point to integer, defined everywhere: truncated, the nearest integer that exists where that is
 * none, and 0 for NaN. Written so that loops over them become vector code.
 */
#ifndef AB__SATURATE_H
#define AB__SATURATE_H

#include <stdint.h>

// Clamping first keeps the conversion itself unconditional, which is what lets it become vector code.
#define AB__CLAMP(float_type, x, low, high) \
  float_type y = (x) > (low) ? (x) : (low); \
  y = y < (high) ? y : (high);              \
  y = (low) == 0 || (x) == (x) ? y : 0 /* NaN, which the first line has made `low` */

// All of `type` is in int32_t, and its ends are floats.
#define AB__SATURATE_SMALL(float_type, name, NAME, type, low, high) \
  static inline type ab__##name##_to_##NAME(float_type x) {         \
    AB__CLAMP(float_type, x, low, high);                            \
    return (type)(int32_t)y;                                        \
  }

// 64 bits have no vector conversion before AVX-512; branches that are never taken cost less than clamping.
#define AB__SATURATE_LONG(float_type, name, NAME, type, low, beyond, least, greatest) \
  static inline type ab__##name##_to_##NAME(float_type x) {                           \
    if (x >= (beyond)) return (greatest);                                             \
    if (x > (low)) return (type)x;                                                    \
    return x == x ? (least) : 0;                                                      \
  }

#define AB__SATURATE(float_type, name)                                                         \
  AB__SATURATE_SMALL(float_type, name, UINT8, uint8_t, 0, 255)                                 \
  AB__SATURATE_SMALL(float_type, name, UINT16, uint16_t, 0, 65535)                             \
  AB__SATURATE_SMALL(float_type, name, INT8, int8_t, -128, 127)                                \
  AB__SATURATE_SMALL(float_type, name, INT16, int16_t, -32768, 32767)                          \
  AB__SATURATE_LONG(float_type, name, UINT64, uint64_t, 0, 0x1p64f, 0, UINT64_MAX)             \
  AB__SATURATE_LONG(float_type, name, INT64, int64_t, -0x1p63f, 0x1p63f, INT64_MIN, INT64_MAX) \
  static inline float ab__##name##_to_FLOAT32(float_type x) { return (float)x; }               \
  static inline double ab__##name##_to_FLOAT64(float_type x) { return (double)x; }

AB__SATURATE(float, float)
AB__SATURATE(double, double)
AB__SATURATE_SMALL(double, double, INT32, int32_t, -0x1p31, 2147483647.0)

static inline int32_t ab__float_to_INT32(float x) {
  AB__CLAMP(float, x, -0x1p31f, 0x1.fffffep30f);  // the largest float below 2^31 is not yet INT32_MAX
  const int32_t whole = (int32_t)y;
  return x >= 0x1p31f ? INT32_MAX : whole;
}

// Shifted by 2^31 where that is exact, since vectors convert to signed integers only.
static inline uint32_t ab__float_to_UINT32(float x) {
  AB__CLAMP(float, x, 0, 0x1.fffffep31f);
  const float shift = y >= 0x1p31f ? 0x1p31f : 0;
  const uint32_t top = y >= 0x1p31f ? 0x80000000u : 0;
  const uint32_t whole = (uint32_t)(int32_t)(y - shift) ^ top;
  return x >= 0x1p32f ? UINT32_MAX : whole;
}

static inline uint32_t ab__double_to_UINT32(double x) {
  AB__CLAMP(double, x, 0, 4294967295.0);
  const double shift = y >= 0x1p31 ? 0x1p31 : 0;
  const uint32_t whole = (uint32_t)(int32_t)(y - shift);
  return whole + (uint32_t)(int32_t)(shift * 0x1p-1) * 2;
}

#endif /* AB__SATURATE_H */
