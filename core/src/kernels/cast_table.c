/* SPDX-License-Identifier: MIT */
#include "simd.h"

#include "cast_table.h"

#include "dtype.h"
#include "narrow_float.h"
#include "saturate.h"

#define LOOP(from_type, to_type, expression)                     \
  for (int64_t i = 0; i < count; i++) {                          \
    from_type x;                                                 \
    memcpy(&x, from + i * (int64_t)sizeof(from_type), sizeof x); \
    const to_type y = (expression);                              \
    memcpy(to + i * (int64_t)sizeof(to_type), &y, sizeof y);     \
  }

#define KERNEL(name, from_type, to_type, expression)                                         \
  AB__KERNEL static void name(const char *restrict from, char *restrict to, int64_t count) { \
    LOOP(from_type, to_type, expression)                                                     \
  }

/* ------------------------------------------------------------------ native pairs */

#define CONVERT_bool(TO, to_type) ((to_type)(x != 0))
#define CONVERT_integer(TO, to_type) ((to_type)x)
#define CONVERT_float(TO, to_type) (ab__float_to_##TO(x))
#define CONVERT_double(TO, to_type) (ab__double_to_##TO(x))

/// X(FROM, type, kind)
#define SOURCE_MAP(X)          \
  X(BOOL, uint8_t, bool)       \
  X(UINT8, uint8_t, integer)   \
  X(UINT16, uint16_t, integer) \
  X(UINT32, uint32_t, integer) \
  X(UINT64, uint64_t, integer) \
  X(INT8, int8_t, integer)     \
  X(INT16, int16_t, integer)   \
  X(INT32, int32_t, integer)   \
  X(INT64, int64_t, integer)   \
  X(FLOAT32, float, float)     \
  X(FLOAT64, double, double)

/// X(FROM, type, kind, TO, type)
#define TARGET_MAP(X, FROM, from_type, kind) \
  X(FROM, from_type, kind, UINT8, uint8_t)   \
  X(FROM, from_type, kind, UINT16, uint16_t) \
  X(FROM, from_type, kind, UINT32, uint32_t) \
  X(FROM, from_type, kind, UINT64, uint64_t) \
  X(FROM, from_type, kind, INT8, int8_t)     \
  X(FROM, from_type, kind, INT16, int16_t)   \
  X(FROM, from_type, kind, INT32, int32_t)   \
  X(FROM, from_type, kind, INT64, int64_t)   \
  X(FROM, from_type, kind, FLOAT32, float)   \
  X(FROM, from_type, kind, FLOAT64, double)

#define DEFINE_NATIVE(FROM, from_type, kind, TO, to_type) \
  KERNEL(cast_##FROM##_##TO, from_type, to_type, CONVERT_##kind(TO, to_type))
#define DEFINE_SOURCE(FROM, from_type, kind)       \
  TARGET_MAP(DEFINE_NATIVE, FROM, from_type, kind) \
  KERNEL(cast_##FROM##_BOOL, from_type, uint8_t, x != 0)

SOURCE_MAP(DEFINE_SOURCE)

ab__cast_kernel ab__cast_native(int from, int to) {
#define NATIVE_ENTRY(FROM, from_type, kind, TO, to_type) [AB__DTYPE_##FROM][AB__DTYPE_##TO] = cast_##FROM##_##TO,
#define SOURCE_ENTRY(FROM, from_type, kind)       \
  TARGET_MAP(NATIVE_ENTRY, FROM, from_type, kind) \
  [AB__DTYPE_##FROM][AB__DTYPE_BOOL] = cast_##FROM##_BOOL,
  static const ab__cast_kernel table[AB__DTYPE_COUNT][AB__DTYPE_COUNT] = {SOURCE_MAP(SOURCE_ENTRY)};
  return table[from][to];
}

/* ------------------------------------------------------------------ narrow floats */

KERNEL(odd_FLOAT64, double, float, ab__float_to_odd(x))
KERNEL(odd_INT64, int64_t, float, ab__float_to_odd(ab__int64_to_odd(x)))
KERNEL(odd_UINT64, uint64_t, float, ab__float_to_odd(ab__uint64_to_odd(x)))
KERNEL(odd_INT32, int32_t, float, ab__float_to_odd((double)x))
KERNEL(odd_UINT32, uint32_t, float, ab__float_to_odd((double)x))

ab__cast_kernel ab__cast_to_odd(int from) {
  switch (from) {
    case AB__DTYPE_FLOAT64:
      return odd_FLOAT64;
    case AB__DTYPE_INT64:
      return odd_INT64;
    case AB__DTYPE_UINT64:
      return odd_UINT64;
    case AB__DTYPE_INT32:
      return odd_INT32;
    case AB__DTYPE_UINT32:
      return odd_UINT32;
    default:
      return ab__cast_native(from, AB__DTYPE_FLOAT32);  // exact
  }
}

KERNEL(widen_FLOAT16, uint16_t, float, ab__widen(x, ab__format_float16))
KERNEL(widen_BFLOAT16, uint16_t, float, ab__widen_bfloat16(x))
KERNEL(widen_E4M3FN, uint8_t, float, ab__widen(x, ab__format_float8_e4m3fn))
KERNEL(widen_E5M2, uint8_t, float, ab__widen(x, ab__format_float8_e5m2))
KERNEL(narrow_FLOAT16, float, uint16_t, (uint16_t)ab__narrow(x, ab__format_float16))
KERNEL(narrow_BFLOAT16, float, uint16_t, ab__narrow_bfloat16(x))
KERNEL(narrow_E4M3FN, float, uint8_t, (uint8_t)ab__narrow(x, ab__format_float8_e4m3fn))
KERNEL(narrow_E5M2, float, uint8_t, (uint8_t)ab__narrow(x, ab__format_float8_e5m2))

ab__cast_kernel ab__cast_widen(int from) {
  switch (from) {
    case AB__DTYPE_FLOAT16:
      return widen_FLOAT16;
    case AB__DTYPE_BFLOAT16:
      return widen_BFLOAT16;
    case AB__DTYPE_FLOAT8_E4M3FN:
      return widen_E4M3FN;
    case AB__DTYPE_FLOAT8_E5M2:
      return widen_E5M2;
    default:
      return NULL;
  }
}

ab__cast_kernel ab__cast_narrow(int to) {
  switch (to) {
    case AB__DTYPE_FLOAT16:
      return narrow_FLOAT16;
    case AB__DTYPE_BFLOAT16:
      return narrow_BFLOAT16;
    case AB__DTYPE_FLOAT8_E4M3FN:
      return narrow_E4M3FN;
    case AB__DTYPE_FLOAT8_E5M2:
      return narrow_E5M2;
    default:
      return NULL;
  }
}

/* ------------------------------------------------------------------ complex */

typedef struct complex64 {
  float real, imaginary;
} complex64;
typedef struct complex128 {
  double real, imaginary;
} complex128;

KERNEL(real_COMPLEX64, complex64, float, x.real)
KERNEL(real_COMPLEX128, complex128, double, x.real)
KERNEL(bool_COMPLEX64, complex64, uint8_t, (x.real != 0) | (x.imaginary != 0))
KERNEL(bool_COMPLEX128, complex128, uint8_t, (x.real != 0) | (x.imaginary != 0))
KERNEL(complex_FLOAT32, float, complex64, ((complex64){x, 0}))
KERNEL(complex_FLOAT64, double, complex128, ((complex128){x, 0}))

static void widen_COMPLEX64(const char *restrict from, char *restrict to, int64_t count) {
  cast_FLOAT32_FLOAT64(from, to, 2 * count);
}

static void narrow_COMPLEX128(const char *restrict from, char *restrict to, int64_t count) {
  cast_FLOAT64_FLOAT32(from, to, 2 * count);
}

ab__cast_kernel ab__cast_complex(int from, int to) {
  const int wide = from == AB__DTYPE_COMPLEX128;
  switch (to) {
    case AB__DTYPE_BOOL:
      return wide ? bool_COMPLEX128 : bool_COMPLEX64;
    case AB__DTYPE_FLOAT32:
      return wide ? NULL : real_COMPLEX64;
    case AB__DTYPE_FLOAT64:
      return wide ? real_COMPLEX128 : NULL;
    case AB__DTYPE_COMPLEX64:
      return wide ? narrow_COMPLEX128 : NULL;
    case AB__DTYPE_COMPLEX128:
      return wide ? NULL : widen_COMPLEX64;
    default:
      return NULL;
  }
}

ab__cast_kernel ab__cast_to_complex(int to) { return to == AB__DTYPE_COMPLEX64 ? complex_FLOAT32 : complex_FLOAT64; }
