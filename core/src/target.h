/* SPDX-License-Identifier: MIT
 * Targets: on which device of the target backend the array shall be, and on which stream it must be ready. */
#ifndef AB__TARGET_H
#define AB__TARGET_H

#include "route.h"

/// Fills at->device, at->take and at->push. `report` may be added to. Returns: AB_OK; AB_NO_DEVICE; what a slot said.
ab_status ab__target_device(ab__situation *at, const ab_convert_options *options, uint32_t *report, ab_error *error);

/// *ordered: NULL on the host, else `stream`, filled in. Returns: AB_OK; AB_STREAM; what a slot said.
ab_status ab__target_stream(const ab__situation *at, const ab_convert_options *options, ab_stream *stream,
                            const ab_stream **ordered, ab_error *error);

/// The driver's objects behind a device of a backend.
typedef struct ab__native {
  void *context;
  void *device;
} ab__native;
ab_status ab__target_native(const ab_backend *target, DLDevice device, ab__native *native, ab_error *error);

#endif
