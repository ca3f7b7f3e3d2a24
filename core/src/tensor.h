/* SPDX-License-Identifier: MIT
 * Tensors: making, translating, checking, and what their layout is. */
#ifndef AB__TENSOR_H
#define AB__TENSOR_H

#include "bridge.h"

/// Gives a tensor of our own with room for `ndim` values of shape and strides; drop(owner) runs after its deleter was
/// called: at once, or with AB_TENSOR_DROP_NEEDS_LOCK under the lock of the bridge's runtime (`bridge` may else be
/// NULL).
ab_status ab__tensor_new(ab_bridge *bridge, int32_t ndim, uint32_t flags, void *owner, void (*drop)(void *owner),
                         DLManagedTensorVersioned **tensor);
/// Gives a tensor of our own around a foreign one; `flags` as above, for the foreign deleter.
ab_status ab__tensor_guard(ab_bridge *bridge, DLManagedTensorVersioned *inner, uint32_t flags,
                           DLManagedTensorVersioned **outer);
/// Gives a versioned tensor that owns the old one. Takes `old` on success.
ab_status ab__tensor_upgrade(DLManagedTensor *old, DLManagedTensorVersioned **tensor);
/// Gives an old tensor that owns the versioned one. Takes `tensor` on success.
ab_status ab__tensor_downgrade(DLManagedTensorVersioned *tensor, DLManagedTensor **old);

/// Takes an `old` from downgrade; gives back the tensor it was made from.
DLManagedTensorVersioned *ab__tensor_downgrade_undo(DLManagedTensor *old);

/// Runs the deleter; NULL is fine.
void ab__tensor_delete(DLManagedTensorVersioned *tensor);

/// Makes an incoming tensor safe: checks it against itself and makes it one of ours (strides never NULL, host byte
/// offset folded into the address). Takes `*tensor` in every case: on failure it is deleted and set to NULL.
ab_status ab__tensor_adopt(DLManagedTensorVersioned **tensor, ab_error *error);

/// Elements of `ndim` extents times `itemsize`, bytes. Returns 0 on overflow or a negative extent.
int ab__tensor_bytes(int32_t ndim, const int64_t *shape, uint32_t itemsize, uint64_t *bytes);

/// What strides (bytes) amount to.
typedef struct ab__layout {
  int dense_c;      ///< C-contiguous
  int dense;        ///< dense in some order of axes
  int negative;     ///< some stride of an axis with more than one index is negative
  int fractional;   ///< some such stride is no whole number of elements
  int empty;        ///< no elements
  int64_t lowest;   ///< offset of the lowest byte from element 0, bytes, <= 0
  int64_t highest;  ///< offset behind the highest byte, bytes
} ab__layout;

/// Classifies. Returns: AB_OK; AB_INVALID_TENSOR when an extent is negative or an offset overflows.
ab_status ab__layout_of(int32_t ndim, const int64_t *shape, const int64_t *strides, uint32_t itemsize,
                        ab__layout *layout);

/// How many bytes of a layout, whose element 0 is at `data`, lie before and behind the `bytes` from `begin` on.
void ab__layout_overrun(const ab__layout *layout, const void *data, const void *begin, uint64_t bytes, uint64_t *before,
                        uint64_t *behind);

#endif
