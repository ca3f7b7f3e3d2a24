/* SPDX-License-Identifier: MIT
 * Device memory on loan: a tensor whose owner gets it back when the borrower's work on it is done, not before. */
#ifndef AB__LEASE_H
#define AB__LEASE_H

#include "bridge.h"

/// What a lease is made of.
typedef struct ab__loan {
  ab_bridge *bridge;
  const ab_backend *borrower;
  DLDevice device;  ///< as the borrower numbers it
  const ab_device_ops *ops;
  const ab_stream *stream;  ///< what the borrower works on; NULL: not known
  int whole_context;        ///< wait for every stream of the context
} ab__loan;

/// Puts a lease around `*tensor`: once the borrower drops it, the deferred-release queue waits for the stream of the
/// loan, for the current one of the thread that drops, and for those declared, and then releases `*tensor`.
/// Ownership: takes `*tensor` and gives the lease in its place, on success only. Returns: AB_OK; AB_OOM.
ab_status ab__lease_new(const ab__loan *loan, DLManagedTensorVersioned **tensor);

/// Declares that `stream` works on the memory at `address`: every lease that holds it waits for that stream, too.
/// `*found`: how many do. Takes a lock; not for deleters. Returns: AB_OK; AB_OOM.
ab_status ab__lease_declare(const void *address, const ab_stream *stream, uint32_t *found);

#endif
