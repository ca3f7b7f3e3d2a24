/* SPDX-License-Identifier: MIT */
#include "live.h"

#include "backend.h"

/* What the framework's being in the process comes to: AB_FRAMEWORK_* flags. */
static ab_status look(const ab_backend *backend, uint32_t *flags, ab_error *error) {
  const int started = atomic_load_explicit(&backend->started, memory_order_acquire);
  *flags = started || backend->vtable->start == NULL ? AB_FRAMEWORK_IMPORTED : 0;
  if (backend->vtable->probe == NULL) return AB_OK;
  ab_framework_info info = {.struct_size = (uint32_t)sizeof info};
  ab__invocation run;
  ab__invocation_init(&run, backend, AB_CALL_NO_TEXT, NULL, error);
  const ab_status status = ab__slot_result(backend, "probe", backend->vtable->probe(&run.call, &info), error);
  if (status == AB_OK) *flags = info.flags | (started ? AB_FRAMEWORK_IMPORTED : 0);
  return status;
}

/* The framework may have been imported by the user, and hold gigabytes, before anything was converted with it: what is
 * left of start() is then quick, and allocates next to nothing. */
static ab_status visit_one(const ab_backend *backend, ab__live_visitor visit, void *context, ab_error *error) {
  void *token = NULL;
  if (ab__backend_enter(backend, 0, &token, error) != AB_OK) return AB_ENDING;
  uint32_t flags = 0;
  ab_status status = look(backend, &flags, error);
  if (status == AB_OK && (flags & AB_FRAMEWORK_IMPORTED)) {
    status = ab__backend_start(backend, error);
    if (status == AB_OK) status = visit(context, backend, (flags & AB_FRAMEWORK_IDLE) != 0);
  }
  ab__backend_leave(backend, token);
  return status;
}

ab_status ab__live_each(const ab_bridge *bridge, ab__live_visitor visit, void *context, ab_error *error) {
  const uint32_t count = ab_bridge_backend_count(bridge);
  for (uint32_t index = 0; index < count; index++) {
    const ab_status status = visit_one(ab_bridge_backend_at(bridge, index), visit, context, error);
    if (status == AB_CANCELLED || status == AB_ENDING) return status;
    ab_error_clear(error); /* of one backend; the others go on */
  }
  return AB_OK;
}
