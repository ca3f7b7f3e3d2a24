/* SPDX-License-Identifier: MIT
 * Why a scaling cannot be: between these dtypes at all, or for one element. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "dtype.h"
#include "kernels/cast.h"
#include "kernels/scale.h"
#include "kernels/scale_value.h"

enum { INDEX_TEXT = 256, VALUE_TEXT = 64 };

static const char *const words[] = {"none", "clip", "unit", "exact", "minmax", "wrap"};

static int is_integer(DLDataType dtype) { return dtype.code == kDLInt || dtype.code == kDLUInt; }

/* ------------------------------------------------------------------ the pair */

static int nan_refused(const ab__scale_rule *rule, DLDataType to, ab_error *error) {
  if (!rule->nan_given || !(is_integer(to) || to.code == kDLBool)) return 0;
  const ab__integer type = is_integer(to) ? ab__integer_of(to) : (ab__integer){0, 1, 0, 1};
  if (ab__integer_holds(&type, rule->nan)) return 0;
  ab_error_set(error, AB_INVALID_ARGUMENT, "nan=%.17g is no value of %s, and it is to stand in the result", rule->nan,
               ab_dtype_name(to));
  ab_error_hint(error, "pass a whole number from %lld to %llu", (long long)type.lowest,
                (unsigned long long)type.highest);
  return 1;
}

int ab__scale_refused(const ab__scale_rule *rule, DLDataType from, DLDataType to, ab_error *error) {
  const char *word = words[rule->scaling];
  if (from.code == kDLComplex && to.code != kDLComplex && rule->scaling != AB_SCALING_EXACT) {
    ab_error_set(error, AB_WOULD_CAST,
                 "%s would lose its imaginary part as %s, and scaling=\"%s\" has no rule for that", ab_dtype_name(from),
                 ab_dtype_name(to), word);
    ab_error_hint(error, "take its real part or its magnitude first");
    return 1;
  }
  const int stretches = rule->scaling == AB_SCALING_UNIT || rule->scaling == AB_SCALING_MINMAX;
  if (to.code == kDLBool && from.code != kDLBool && stretches) {
    ab_error_set(error, AB_WOULD_CAST, "bool has no range that scaling=\"%s\" could fill", word);
    ab_error_hint(error, "pass scaling=\"clip\" for \"is not zero\", or compare with a threshold first");
    return 1;
  }
  return nan_refused(rule, to, error);
}

/* ------------------------------------------------------------------ one element */

/* One element as compact memory in native order, and its index as Python writes it. */
static void fetch(const ab__strided *source, int64_t place, char *element, char index[INDEX_TEXT]) {
  int64_t at[AB_MAX_NDIM];
  const char *from = source->data;
  for (int i = source->ndim - 1; i >= 0; i--) {
    at[i] = place % source->shape[i];
    place /= source->shape[i];
    from += at[i] * source->strides[i];
  }
  const ab__strided one = {from, 0, NULL, NULL, source->itemsize, source->swap_unit};
  ab__copy_to_compact(&one, element, 1);
  int used = snprintf(index, INDEX_TEXT, "(");
  for (int i = 0; i < source->ndim && used < INDEX_TEXT - 32; i++)
    used += snprintf(index + used, (size_t)(INDEX_TEXT - used), i == 0 ? "%lld" : ", %lld", (long long)at[i]);
  snprintf(index + used, (size_t)(INDEX_TEXT - used), source->ndim == 1 ? ",)" : ")");
}

static void cast_one(const char *from, DLDataType dtype, int to, void *result) {
  const int index = ab__dtype_index(dtype);
  if (index == to) {
    memcpy(result, from, dtype.bits / 8);
    return;
  }
  const ab__cast cast = ab__cast_make(index, to);
  ab__cast_run(&cast, from, result, 1);
}

/* The shortest digits that name the value. */
static void write_real(double value, int digits, char text[VALUE_TEXT]) {
  if (isnan(value)) {
    snprintf(text, VALUE_TEXT, "NaN");
    return;
  }
  for (int precision = 6; precision <= digits; precision++) {
    snprintf(text, VALUE_TEXT, "%.*g", precision, value);
    const double read = strtod(text, NULL);
    if (digits == 9 ? (float)read == (float)value : read == value) return;
  }
}

static void write_value(const char *element, DLDataType dtype, char text[VALUE_TEXT]) {
  double real[2] = {0, 0};
  int64_t signed_value = 0;
  uint64_t unsigned_value = 0;
  switch (dtype.code) {
    case kDLInt:
      cast_one(element, dtype, AB__DTYPE_INT64, &signed_value);
      snprintf(text, VALUE_TEXT, "%lld", (long long)signed_value);
      return;
    case kDLUInt:
    case kDLBool:
      cast_one(element, dtype, AB__DTYPE_UINT64, &unsigned_value);
      snprintf(text, VALUE_TEXT, "%llu", (unsigned long long)unsigned_value);
      return;
    case kDLComplex:
      cast_one(element, dtype, AB__DTYPE_COMPLEX128, real);
      snprintf(text, VALUE_TEXT, "(%.9g%+.9gj)", real[0], real[1]);
      return;
    default:
      cast_one(element, dtype, AB__DTYPE_FLOAT64, real);
      write_real(real[0], dtype.bits == 64 ? 17 : 9, text);
  }
}

static int is_real(DLDataType dtype) { return dtype.code != kDLComplex && dtype.code != kDLBool && !is_integer(dtype); }

ab_status ab__scale_explain(const ab__strided *source, DLDataType from, DLDataType to, const ab__scale_rule *rule,
                            int64_t fault, ab_error *error) {
  _Alignas(16) char element[16];
  char index[INDEX_TEXT], value[VALUE_TEXT];
  fetch(source, fault, element, index);
  write_value(element, from, value);
  double real = 0;
  if (is_real(from)) cast_one(element, from, AB__DTYPE_FLOAT64, &real);
  const char *target = ab_dtype_name(to);
  const int no_number = isnan(real) || isinf(real);
  if (no_number && !(isinf(real) && rule->scaling == AB_SCALING_EXACT) && !is_real(to) && to.code != kDLComplex) {
    ab_error_set(error, AB_WOULD_CAST, "%s at index %s has no value in %s under scaling=\"%s\"", value, index, target,
                 words[rule->scaling]);
    ab_error_hint(error, isinf(real)
                             ? "pass nan=0, or what else shall stand in its place; scaling=\"clip\" saturates it"
                             : "pass nan=0, or what else shall stand in its place");
    return AB_WOULD_CAST;
  }
  if (rule->scaling == AB_SCALING_UNIT) {
    ab_error_set(error, AB_WOULD_CAST, "%s at index %s is outside [-1, 1], the range of scaling=\"unit\"", value,
                 index);
    ab_error_hint(error, "pass scaling=\"clip\" to keep values, or \"minmax\" to stretch the image to the full range");
    return AB_WOULD_CAST;
  }
  ab_error_set(error, AB_WOULD_CAST, "%s at index %s does not exist in %s, and scaling=\"exact\" changes no value",
               value, index, target);
  ab_error_hint(error, "pass scaling=\"clip\" to round and saturate");
  return AB_WOULD_CAST;
}
