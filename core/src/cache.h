/* SPDX-License-Identifier: MIT
 * What frameworks and malloc keep for later, and making them give it back. */
#ifndef AB__CACHE_H
#define AB__CACHE_H

#include "bridge.h"

/// What clearing gave back altogether, as far as it is known, bytes; and what the first that failed said.
typedef struct ab__returned {
  uint64_t to_driver;
  uint64_t to_pool;
  char failure[AB_CLEAR_FAILURE];
} ab__returned;

/// As ab_caches_clear(); adds to `returned` what came of it. `visit` may be NULL.
ab_status ab__caches_clear(const ab_bridge *bridge, DLDevice device, ab__returned *returned, ab_holding_visitor visit,
                           void *context, ab_error *error);

#endif
