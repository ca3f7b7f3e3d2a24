/* SPDX-License-Identifier: MIT
 *
 * scale_value.h: one value at a time, in exact arithmetic: what the loops of scale_table.h leave unsettled.
 */
#ifndef AB__SCALE_VALUE_H
#define AB__SCALE_VALUE_H

#include <arraybridge/arraybridge.h>

/// An integer dtype.
typedef struct ab__integer {
  int is_signed;
  uint32_t bits;
  int64_t lowest;
  uint64_t highest;
} ab__integer;

/// `dtype`: kDLInt or kDLUInt.
ab__integer ab__integer_of(DLDataType dtype);
/// 1 if `value` is a whole number in the range of `type`.
int ab__integer_holds(const ab__integer *type, double value);
/// The lowest bits of a `value` that ab__integer_holds().
uint64_t ab__integer_bits(const ab__integer *type, double value);

typedef enum ab__verdict {
  AB__VERDICT_FINE,
  AB__VERDICT_SATURATED,
  AB__VERDICT_NONE  ///< there is no such value under the rule
} ab__verdict;

/// Scales one number by any rule but MINMAX. *bits: the result in its lowest bits, two's complement. NaN has none.
ab__verdict ab__scale_value(ab_scaling scaling, double x, const ab__integer *type, uint64_t *bits);

/// 1 if a floating-point number of `mantissa` bits, hidden one included, and of at most `largest` holds `magnitude`.
int ab__mantissa_holds(uint64_t magnitude, uint32_t mantissa, uint64_t largest);

#endif /* AB__SCALE_VALUE_H */
