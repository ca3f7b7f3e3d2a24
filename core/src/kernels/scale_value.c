/* SPDX-License-Identifier: MIT */
#include "kernels/scale_value.h"

#include <math.h>

__extension__ typedef unsigned __int128 wide;
__extension__ typedef __int128 signed_wide;

enum { DOUBLE_DIGITS = 53 };

ab__integer ab__integer_of(DLDataType dtype) {
  const int is_signed = dtype.code == kDLInt;
  const uint64_t all = UINT64_MAX >> (64 - dtype.bits), highest = is_signed ? all >> 1 : all;
  return (ab__integer){is_signed, dtype.bits, is_signed ? -(int64_t)highest - 1 : 0, highest};
}

// 2^k, one above the highest.
static double beyond(const ab__integer *type) { return ldexp(1, (int)type->bits - type->is_signed); }

int ab__integer_holds(const ab__integer *type, double value) {
  return value >= (double)type->lowest && value < beyond(type) && !(trunc(value) < value || trunc(value) > value);
}

uint64_t ab__integer_bits(const ab__integer *type, double value) {
  return type->is_signed ? (uint64_t)(int64_t)value : (uint64_t)value;
}

/* ------------------------------------------------------------------ clip, exact */

static ab__verdict saturated(const ab__integer *type, int negative, uint64_t *bits) {
  *bits = negative ? (uint64_t)type->lowest : type->highest;
  return AB__VERDICT_SATURATED;
}

static double rounded_to_even(double x) {
  const double ruler = copysign(0x1p52, x);
  return fabs(x) < 0x1p52 ? (x + ruler) - ruler : x;
}

static ab__verdict clip(double x, const ab__integer *type, uint64_t *bits) {
  const double rounded = rounded_to_even(x);
  if (!ab__integer_holds(type, rounded)) return saturated(type, x < 0, bits);
  *bits = ab__integer_bits(type, rounded);
  return AB__VERDICT_FINE;
}

static ab__verdict exact(double x, const ab__integer *type, uint64_t *bits) {
  if (!ab__integer_holds(type, x)) return AB__VERDICT_NONE;
  *bits = ab__integer_bits(type, x);
  return AB__VERDICT_FINE;
}

/* ------------------------------------------------------------------ unit */

// numerator / 2^places, rounded to nearest even. `places` > 0, and both numerator and 2^places fit with a bit to spare.
static int64_t divided(signed_wide numerator, int places) {
  const signed_wide whole = numerator >> places;  // towards minus infinity
  const signed_wide rest = numerator - whole * ((signed_wide)1 << places), half = (signed_wide)1 << (places - 1);
  return (int64_t)(uint64_t)(wide)(whole + (rest > half || (rest == half && (whole & 1))));
}

// x = digits / 2^places with 53 digits, exactly; |x| <= 1, so places >= 52.
static uint64_t digits_of(double x, int *places) {
  int exponent = 0;
  const double fraction = frexp(fabs(x), &exponent);
  *places = DOUBLE_DIGITS - exponent;
  return (uint64_t)ldexp(fraction, DOUBLE_DIGITS);
}

// x · (2^bits - 1), and for signed types (x · (2^bits - 1) - 1) / 2. What is below 2^-3 decides nothing but its sign.
static ab__verdict unit(double x, const ab__integer *type, uint64_t *bits) {
  if (!(x >= -1 && x <= 1)) return AB__VERDICT_NONE;
  if (!type->is_signed && x * (double)type->highest < -0.5) return saturated(type, 1, bits);
  if (!type->is_signed && x < 0) x = 0; /* rounded, as any number is */
  int places = 0;
  const wide product = (wide)digits_of(x, &places) * (UINT64_MAX >> (64 - type->bits));
  const int tiny = places > DOUBLE_DIGITS + 64 + 3;
  if (!type->is_signed) {
    *bits = tiny ? 0 : (uint64_t)divided((signed_wide)product, places);
  } else if (tiny) {
    *bits = x < 0 ? (uint64_t)-1 : 0;
  } else {
    const signed_wide numerator = x < 0 ? -(signed_wide)product : (signed_wide)product;
    *bits = (uint64_t)divided(numerator - ((signed_wide)1 << places), places + 1);
  }
  return AB__VERDICT_FINE;
}

/* ------------------------------------------------------------------ wrap */

static ab__verdict wrap(double x, uint64_t *bits) {
  if (isinf(x)) return AB__VERDICT_NONE;
  int exponent = 0;
  const uint64_t digits = (uint64_t)ldexp(frexp(fabs(x), &exponent), DOUBLE_DIGITS);
  const int shift = exponent - DOUBLE_DIGITS;
  const uint64_t magnitude = shift >= 64 ? 0 : shift >= 0 ? digits << shift : shift <= -64 ? 0 : digits >> -shift;
  *bits = x < 0 ? 0 - magnitude : magnitude;
  return AB__VERDICT_FINE;
}

/* ------------------------------------------------------------------ the value */

ab__verdict ab__scale_value(ab_scaling scaling, double x, const ab__integer *type, uint64_t *bits) {
  if (isnan(x)) return AB__VERDICT_NONE;
  switch (scaling) {
    case AB_SCALING_UNIT:
      return unit(x, type, bits);
    case AB_SCALING_EXACT:
      return exact(x, type, bits);
    case AB_SCALING_WRAP:
      return wrap(x, bits);
    default:
      return clip(x, type, bits);
  }
}

int ab__mantissa_holds(uint64_t magnitude, uint32_t mantissa, uint64_t largest) {
  if (magnitude == 0) return 1;
  const uint64_t odd = magnitude >> __builtin_ctzll(magnitude);
  return magnitude <= largest && (mantissa >= 64 || odd >> mantissa == 0);
}
