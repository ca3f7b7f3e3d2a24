/* SPDX-License-Identifier: MIT
 *
 * dtype.h: the table of dtypes. Every dtype that the library carries is one line of AB__DTYPE_MAP.
 */
#ifndef AB__DTYPE_H
#define AB__DTYPE_H

#include <arraybridge/arraybridge.h>

#define AB__BIT(name) (UINT64_C(1) << AB__DTYPE_##name)

/* What a dtype may become without losing a value ("safe"). The sets nest; NumPy's table, which counts 64-bit integers
 * to float64 as safe. ml_dtypes allows (u)int8 to float8 as well, but that loses values, so we don't. */
#define AB__SAFE_COMPLEX128 AB__BIT(COMPLEX128)
#define AB__SAFE_COMPLEX64 (AB__BIT(COMPLEX64) | AB__SAFE_COMPLEX128)
#define AB__SAFE_FLOAT64 (AB__BIT(FLOAT64) | AB__SAFE_COMPLEX128)
#define AB__SAFE_FLOAT32 (AB__BIT(FLOAT32) | AB__SAFE_COMPLEX64 | AB__SAFE_FLOAT64)
#define AB__SAFE_FLOAT16 (AB__BIT(FLOAT16) | AB__SAFE_FLOAT32)
#define AB__SAFE_BFLOAT16 (AB__BIT(BFLOAT16) | AB__SAFE_FLOAT32)
#define AB__SAFE_FLOAT8 (AB__SAFE_FLOAT16 | AB__SAFE_BFLOAT16) /* and itself */
#define AB__SAFE_INT64 (AB__BIT(INT64) | AB__SAFE_FLOAT64)
#define AB__SAFE_INT32 (AB__BIT(INT32) | AB__SAFE_INT64)
#define AB__SAFE_INT16 (AB__BIT(INT16) | AB__SAFE_FLOAT32 | AB__SAFE_INT32)
#define AB__SAFE_INT8 (AB__BIT(INT8) | AB__SAFE_FLOAT8 | AB__SAFE_INT16)
#define AB__SAFE_UINT64 (AB__BIT(UINT64) | AB__SAFE_FLOAT64)
#define AB__SAFE_UINT32 (AB__BIT(UINT32) | AB__SAFE_INT64 | AB__SAFE_UINT64)
#define AB__SAFE_UINT16 (AB__BIT(UINT16) | AB__SAFE_INT32 | AB__SAFE_FLOAT32 | AB__SAFE_UINT32)
#define AB__SAFE_UINT8 (AB__BIT(UINT8) | AB__SAFE_FLOAT8 | AB__SAFE_INT16 | AB__SAFE_UINT16)
#define AB__SAFE_BOOL (~AB__BIT(FLOAT8_E8M0FNU)) /* which has no zero */

/// X(NAME, "name", DLPack code, bits, log2 of bytes, kind, safe casts).
/// Kinds are ordered as NumPy's: bool, unsigned, signed, floating point, complex.
#define AB__DTYPE_MAP(X)                                                                       \
  X(BOOL, "bool", kDLBool, 8, 0, 0, AB__SAFE_BOOL)                                             \
  X(UINT8, "uint8", kDLUInt, 8, 0, 1, AB__SAFE_UINT8)                                          \
  X(UINT16, "uint16", kDLUInt, 16, 1, 1, AB__SAFE_UINT16)                                      \
  X(UINT32, "uint32", kDLUInt, 32, 2, 1, AB__SAFE_UINT32)                                      \
  X(UINT64, "uint64", kDLUInt, 64, 3, 1, AB__SAFE_UINT64)                                      \
  X(INT8, "int8", kDLInt, 8, 0, 2, AB__SAFE_INT8)                                              \
  X(INT16, "int16", kDLInt, 16, 1, 2, AB__SAFE_INT16)                                          \
  X(INT32, "int32", kDLInt, 32, 2, 2, AB__SAFE_INT32)                                          \
  X(INT64, "int64", kDLInt, 64, 3, 2, AB__SAFE_INT64)                                          \
  X(FLOAT16, "float16", kDLFloat, 16, 1, 3, AB__SAFE_FLOAT16)                                  \
  X(BFLOAT16, "bfloat16", kDLBfloat, 16, 1, 3, AB__SAFE_BFLOAT16)                              \
  X(FLOAT32, "float32", kDLFloat, 32, 2, 3, AB__SAFE_FLOAT32)                                  \
  X(FLOAT64, "float64", kDLFloat, 64, 3, 3, AB__SAFE_FLOAT64)                                  \
  X(COMPLEX64, "complex64", kDLComplex, 64, 3, 4, AB__SAFE_COMPLEX64)                          \
  X(COMPLEX128, "complex128", kDLComplex, 128, 4, 4, AB__SAFE_COMPLEX128)                      \
  X(FLOAT8_E4M3FN, "float8_e4m3fn", kDLFloat8_e4m3fn, 8, 0, 3, AB__SAFE_FLOAT8)                \
  X(FLOAT8_E5M2, "float8_e5m2", kDLFloat8_e5m2, 8, 0, 3, AB__SAFE_FLOAT8)                      \
  X(FLOAT8_E3M4, "float8_e3m4", kDLFloat8_e3m4, 8, 0, 3, AB__SAFE_FLOAT8)                      \
  X(FLOAT8_E4M3, "float8_e4m3", kDLFloat8_e4m3, 8, 0, 3, AB__SAFE_FLOAT8)                      \
  X(FLOAT8_E4M3B11FNUZ, "float8_e4m3b11fnuz", kDLFloat8_e4m3b11fnuz, 8, 0, 3, AB__SAFE_FLOAT8) \
  X(FLOAT8_E4M3FNUZ, "float8_e4m3fnuz", kDLFloat8_e4m3fnuz, 8, 0, 3, AB__SAFE_FLOAT8)          \
  X(FLOAT8_E5M2FNUZ, "float8_e5m2fnuz", kDLFloat8_e5m2fnuz, 8, 0, 3, AB__SAFE_FLOAT8)          \
  X(FLOAT8_E8M0FNU, "float8_e8m0fnu", kDLFloat8_e8m0fnu, 8, 0, 3, AB__SAFE_BFLOAT16)

/// The dense index of a dtype. From AB__DTYPE_FLOAT8_E3M4 on they are carried but not computed with.
enum {
#define AB__DTYPE_INDEX(NAME, text, code, bits, log2_bytes, kind, safe) AB__DTYPE_##NAME,
  AB__DTYPE_MAP(AB__DTYPE_INDEX)
#undef AB__DTYPE_INDEX
      AB__DTYPE_COUNT,
  AB__DTYPE_CARRIED_ONLY = AB__DTYPE_FLOAT8_E3M4
};

_Static_assert(AB__DTYPE_COUNT <= 64, "a uint64_t must hold a set of dtypes");

/// 0 … AB__DTYPE_COUNT - 1, or -1 if it is none of ours (lanes other than 1 included). Constant time, two loads.
int ab__dtype_index(DLDataType dtype);
/// The dtype of an index, which must be in range.
DLDataType ab__dtype_at(int index);

#endif /* AB__DTYPE_H */
