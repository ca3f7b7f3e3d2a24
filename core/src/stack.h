/* SPDX-License-Identifier: MIT
 * Stacks: what ab_stack() and ab_unstack() share, and the parts of a stacking under way. */
#ifndef AB__STACK_H
#define AB__STACK_H

#include "host_array.h"

/// A slice, or a whole array, as its backend describes it.
typedef struct ab__described {
  ab_array_info info;
  int64_t shape[AB_MAX_NDIM];
  int64_t strides[AB_MAX_NDIM];
} ab__described;

/// Describes. Returns: AB_OK; what describe() said; AB_INVALID_TENSOR.
ab_status ab__stack_describe(const ab_array *array, ab__described *described, ab_error *error);
/// 1 if only `array`'s own framework should work on it, see AB_STACK_LEAVE_LIVE.
int ab__stack_is_live(const ab_array *array, const ab_array_info *info, const ab_backend *target,
                      const ab_convert_options *convert, ab_error *error);
/// The part of the options that says where to.
uint32_t ab__stack_place_flags(const ab_convert_options *convert);
/// Checks what both calls are given; `convert` is then never NULL.
ab_status ab__stack_arguments(const ab_bridge *bridge, const ab_backend *target, const ab_stack_options *options,
                              const ab_convert_options **convert, ab_error *error);

/// One call of ab_stack().
typedef struct ab__stacking {
  ab_bridge *bridge;
  const ab_array *slices;
  uint64_t count;
  const ab_backend *target;
  const ab_stack_options *options;
  const ab_convert_options *convert;
  ab_error *error;
  ab__host host;
  int32_t ndim; /* of each slice */
  int64_t shape[AB_MAX_NDIM];
  DLDevice device; /* of the first slice */
  DLDataType first;
  uint64_t dtypes;  /* set of those that occur */
  DLDataType dtype; /* of the pivot */
  uint64_t slice_bytes;
  ab__host_array stack; /* what is handed over */
  int64_t extents[AB_MAX_NDIM], strides[AB_MAX_NDIM];
} ab__stacking;

/// Looks at every slice: fills in ndim, shape, device, first and dtypes. Returns: as ab_stack().
ab_status ab__stack_look(ab__stacking *stacking);
/// Decides the dtype that all slices become. Returns: AB_OK; AB_WOULD_CAST; AB_INVALID_ARGUMENT.
ab_status ab__stack_dtype(ab__stacking *stacking);
/// Copies every slice into the pivot, stack.tensor. Returns: AB_OK; what reading a slice said; AB_UNSUPPORTED no cast.
ab_status ab__stack_fill(ab__stacking *stacking);
/// Puts the number of the slice before what is said of it.
ab_status ab__stack_blame(ab_error *error, ab_status status, uint64_t index);

#endif
