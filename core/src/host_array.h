/* SPDX-License-Identifier: MIT
 * Arrays that belong to no framework: host memory behind a tensor. They have a backend of their own, so that bringing
 * any array to the host, and handing host memory to any framework, are conversions like all others. */
#ifndef AB__HOST_ARRAY_H
#define AB__HOST_ARRAY_H

#include "bridge.h"

/// One such array: what an ab_array of the host backend points to.
typedef struct ab__host_array {
  atomic_int references;
  uint32_t mutability;               ///< ab_mutability
  DLTensor view;                     ///< what it shows; strides never NULL
  DLManagedTensorVersioned *tensor;  ///< what keeps the memory; NULL: `whole` does, or there is none yet
  struct ab__host_array *whole;      ///< borrowed: whose part this is
} ab__host_array;

/// The backend of such arrays, for one call: lives on the caller's stack.
typedef struct ab__host {
  ab_backend backend;
} ab__host;

void ab__host_begin(ab__host *host, ab_bridge *bridge);
/// Forgets what was asked of it. Arrays of it may live on.
void ab__host_end(ab__host *host);

/// Gives an array over `tensor`. Takes `tensor` on success. Returns: AB_OK; AB_OOM.
ab_status ab__host_array_new(DLManagedTensorVersioned *tensor, uint32_t mutability, ab__host_array **array);
/// One reference less; NULL is fine. Threads: any-thread.
void ab__host_array_release(ab__host_array *array);

/// Brings `source` to the host: shares its memory where that can be read there, else copies. Gives `*array`.
/// `options`: threads and AB_CONVERT_LOCK_HELD count. Returns: as ab_convert().
ab_status ab__host_read(ab__host *host, const ab_array *source, const ab_convert_options *options,
                        ab__host_array **array, ab_error *error);

#endif
