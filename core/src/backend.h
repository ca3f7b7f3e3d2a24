/* SPDX-License-Identifier: MIT
 * Calling a backend: the call structure, the lock, start(), and what it said of its abilities. */
#ifndef AB__BACKEND_H
#define AB__BACKEND_H

#include "bridge.h"

/// A call to `backend` with its report; points into itself, so it is not copied.
typedef struct ab__invocation {
  ab_call call;
  ab_report report;
} ab__invocation;

/// Prepares a call. `error` is not NULL.
void ab__invocation_init(ab__invocation *invocation, const ab_backend *backend, uint32_t flags, const ab_stream *stream,
                         ab_error *error);

/// Takes the lock that `backend`'s slots need, unless `held` says the caller has it. Gives a token for
/// ab__backend_leave; 0 for success. Returns: AB_OK; AB_ENDING.
ab_status ab__backend_enter(const ab_backend *backend, int held, void **token, ab_error *error);
void ab__backend_leave(const ab_backend *backend, void *token);

/// What a slot really came to: `status`, unless it left an exception of the language pending (AB_INTERNAL, or
/// AB_CANCELLED if that asks the program to stop). A failure without a text gets one. Needs the lock.
ab_status ab__slot_result(const ab_backend *backend, const char *slot, ab_status status, ab_error *error);

/// Brings the framework to life once. Needs the lock.
ab_status ab__backend_start(const ab_backend *backend, ab_error *error);

/// Shows each device of a backend that is started; one without devices() has the host, and nothing else. Needs the
/// lock.
ab_status ab__backend_visit_devices(const ab_backend *backend, ab_device_visitor visit, void *context, ab_error *error);

/// What the backend's slot (AB_SLOT_*) takes on `device`, asked once; *ability points to the answer kept, whose
/// `supported` may be 0. Needs the lock. Returns: AB_OK; what capabilities() failed with.
ab_status ab__backend_ability(const ab_backend *backend, DLDevice device, uint32_t slot, const ab__ability **ability,
                              ab_error *error);

#endif
