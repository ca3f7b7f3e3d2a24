/* SPDX-License-Identifier: MIT
 *
 * narrow_float.h: float16, bfloat16 and float8 as bits, without branches so that loops over them become vector code.
 */
#ifndef AB__NARROW_FLOAT_H
#define AB__NARROW_FLOAT_H

#include <stdint.h>
#include <string.h>

static inline uint32_t ab__float_bits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static inline float ab__float_of(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

/// How a format with an IEEE layout differs from others. `mantissa` and `exponent` in bits.
typedef struct ab__narrow_format {
  uint32_t mantissa, exponent;
  uint32_t largest;   ///< the largest magnitude that is no overflow: infinity, or the largest number
  uint32_t overflow;  ///< what overflow gives
  uint32_t nan;       ///< without sign
  uint32_t payload;   ///< bits of a NaN that come from the source's
} ab__narrow_format;

static const ab__narrow_format ab__format_float16 = {10, 5, 0x7c00, 0x7c00, 0x7e00, 0x3ff};
static const ab__narrow_format ab__format_float8_e5m2 = {2, 5, 0x7c, 0x7c, 0x7e, 0};
static const ab__narrow_format ab__format_float8_e4m3fn = {3, 4, 0x7e, 0x7f, 0x7f, 0};

/// Rounds to nearest even. `format` is to be a constant, so that all but a few instructions fold away.
static inline uint32_t ab__narrow(float value, ab__narrow_format format) {
  const uint32_t bias = (1u << (format.exponent - 1)) - 1, shift = 23 - format.mantissa;
  const uint32_t bits = ab__float_bits(value), magnitude = bits & 0x7fffffffu;
  const uint32_t rounding = (1u << (shift - 1)) - 1 + (magnitude >> shift & 1);
  const uint32_t normal = ((magnitude + rounding) >> shift) - ((127 - bias) << format.mantissa);
  // Added to a float whose last bit is the format's smallest number, a value is rounded to that by the hardware.
  const uint32_t ruler = (127 + 24 - bias - format.mantissa) << 23;
  const uint32_t subnormal = ab__float_bits(ab__float_of(magnitude) + ab__float_of(ruler)) - ruler;
  uint32_t result = magnitude < (128 - bias) << 23 ? subnormal : normal;
  result = result > format.largest ? format.overflow : result;
  const uint32_t nan = format.nan | (magnitude >> shift & format.payload);
  result = magnitude > 0x7f800000u ? nan : result;
  return result | bits >> 31 << (format.exponent + format.mantissa);
}

static inline float ab__widen(uint32_t narrow, ab__narrow_format format) {
  const uint32_t bias = (1u << (format.exponent - 1)) - 1, shift = 23 - format.mantissa;
  const uint32_t width = format.exponent + format.mantissa, code = narrow & ((1u << width) - 1);
  const uint32_t top = ((1u << format.exponent) - 1) << format.mantissa, rebias = (127 - bias) << 23;
  const uint32_t normal = (code << shift) + rebias;
  const uint32_t least = (128 - bias) << 23;  // the format's smallest normal number
  const uint32_t subnormal = ab__float_bits(ab__float_of((code << shift) + least) - ab__float_of(least));
  const int has_infinity = format.largest == format.overflow;
  const uint32_t special = has_infinity ? 0x7f800000u | code << shift : 0x7fc00000u;
  uint32_t bits = code < 1u << format.mantissa ? subnormal : normal;
  bits = code >= (has_infinity ? top : format.nan) ? special : bits;
  return ab__float_of(bits | narrow >> width << 31);
}

static inline uint16_t ab__narrow_bfloat16(float value) {
  const uint32_t bits = ab__float_bits(value);
  const uint32_t rounded = (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? bits >> 16 | 0x40 : rounded);
}

static inline float ab__widen_bfloat16(uint16_t narrow) { return ab__float_of((uint32_t)narrow << 16); }

/// Rounds to odd: truncates, and sets the last bit if anything was cut off. So nothing is lost that a later rounding
/// to 22 bits or fewer has to know.
static inline float ab__float_to_odd(double value) {
  const float nearest = (float)value;
  const uint32_t bits = ab__float_bits(nearest);
  const double back = (double)nearest;
  const double magnitude = value < 0 ? -value : value, rounded = back < 0 ? -back : back;
  const uint32_t odd = rounded > magnitude ? bits - 1 : bits + 1;
  const int inexact = (rounded > magnitude) | (rounded < magnitude);  // false for NaN
  return ab__float_of((bits & 1) == 0 && inexact ? odd : bits);
}

/// As ab__float_to_odd(): an integer of more than 53 bits loses its last ones, but not that there were any.
static inline double ab__uint64_to_odd(uint64_t value) {
  const uint64_t sticky = (value & ~UINT64_C(0x7ff)) | (uint64_t)((value & 0x7ff) != 0) << 11;
  return (double)(value >> 53 != 0 ? sticky : value);
}

static inline double ab__int64_to_odd(int64_t value) {
  const double magnitude = ab__uint64_to_odd(value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
  return value < 0 ? -magnitude : magnitude;
}

#endif /* AB__NARROW_FLOAT_H */
