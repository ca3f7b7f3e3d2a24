/* SPDX-License-Identifier: MIT
 * A conversion under way, and going one way of it: fetch, hold, deliver. */
#ifndef AB__CONVERSION_H
#define AB__CONVERSION_H

#include "record.h"
#include "route.h"

typedef struct ab__conversion {
  ab_bridge *bridge;
  void *source;
  const ab_convert_options *options;
  ab_record *record;
  ab_error *error;
  uint32_t report; /* AB_REPORT_* gathered */
  ab__situation at;
  ab_array_info info;
  int64_t shape[AB_MAX_NDIM];
  int64_t strides[AB_MAX_NDIM];
} ab__conversion;

/// The flags every call of a slot in this conversion carries.
static inline uint32_t ab__conversion_call_flags(const ab__conversion *c) {
  return c->record != NULL ? AB_CALL_WANT_REPORT : 0;
}

/// Goes one way. `stream`: the consumer's, NULL on the host. Gives `*object`. A way that fails leaves no trace but the
/// error. Returns: AB_OK; AB_UNSUPPORTED and AB_WOULD_COPY: try the next way; others end the conversion.
ab_status ab__conversion_go(ab__conversion *c, const ab__way *way, const ab_stream *stream, void **object);

#endif
