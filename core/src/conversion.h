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
  int locked;      /* this thread has the runtime's lock */
  uint32_t report; /* AB_REPORT_* gathered */
  ab__situation at;
  ab_array_info info;
  int64_t shape[AB_MAX_NDIM];
  int64_t strides[AB_MAX_NDIM];
} ab__conversion;

/// The flags every call of a slot in this conversion carries.
static inline uint32_t ab__conversion_call_flags(const ab__conversion *c) {
  return (c->record != NULL ? AB_CALL_WANT_REPORT : 0) | (c->at.copy == AB_COPY_NEVER ? AB_CALL_NEVER_COPY : 0);
}

/// 1 if the dtype changes on the way.
static inline int ab__conversion_casts(const ab__conversion *c) {
  return c->at.dtype.code != c->info.dtype.code || c->at.dtype.bits != c->info.dtype.bits;
}

/// What one copy of the elements comes to, bytes.
static inline uint64_t ab__conversion_copied_bytes(const ab__conversion *c) {
  return c->at.bytes / c->at.itemsize * ab_dtype_size(c->at.dtype);
}

/// AB_REPORT_ALIASES_MUTABLE if sharing is to be told with it, else 0.
uint32_t ab__conversion_aliasing(const ab__conversion *c);
/// 1 if the described memory is what from_host() takes, so that no copy of the core's is needed before.
int ab__conversion_pushes_as_it_is(const ab__conversion *c);

/// Whether an array at `data` lies in the memory that describe() named, if it named any. `gave`: who said otherwise,
/// "to_dlpack() gave a tensor". Returns: AB_OK; AB_INVALID_TENSOR.
ab_status ab__conversion_check_range(const ab__conversion *c, const char *gave, const void *data,
                                     const ab__layout *layout);

/// For a plan: 1 if the OpenCL layer would refuse to wrap the described memory; the reason is written to `why`.
int ab__conversion_wrap_refused(ab__conversion *c, const ab__way *way, ab_step *why);

/// Lets go of the runtime's lock around work on so many bytes, if this thread has it and it is worth it. Gives a token.
void *ab__conversion_blocking_begin(const ab__conversion *c, uint64_t bytes);
void ab__conversion_blocking_end(const ab__conversion *c, void *token);

/// Goes one way. `stream`: the consumer's, NULL on the host. Gives `*object`. A way that fails leaves no trace but the
/// error. Returns: AB_OK; AB_UNSUPPORTED and AB_WOULD_COPY: try the next way; others end the conversion.
ab_status ab__conversion_go(ab__conversion *c, const ab__way *way, const ab_stream *stream, void **object);

#endif
