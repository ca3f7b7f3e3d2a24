/* SPDX-License-Identifier: MIT
 * Arrays as the public API sees them: whose they are, what they are, giving them back. */
#include "backend.h"
#include "detect.h"
#include "tensor.h"

ab_status ab_detect(ab_bridge *bridge, void *object, const ab_backend **backend, ab_error *error) {
  if (bridge == NULL || object == NULL) return ab_error_set(error, AB_INVALID_ARGUMENT, "no bridge or no object");
  const ab_backend *known = ab__detect_known(bridge, object); /* reading an object's type needs no lock */
  if (known != NULL) {
    *backend = known;
    return AB_OK;
  }
  if (ab__bridge_ending(bridge)) return ab_error_set(error, AB_ENDING, "%s", ab_status_text(AB_ENDING));
  const ab_runtime *runtime = &bridge->runtime;
  const int held = ab__bridge_lock_held(bridge);
  void *token = held || ab__bridge_ending(bridge) ? NULL : runtime->lock_enter(runtime->self);
  if (!held && token == NULL) return ab_error_set(error, AB_ENDING, "%s", ab_status_text(AB_ENDING));
  ab_error local;
  ab_error_init(&local);
  const ab_backend *found = NULL;
  const ab_status status = ab__detect_backend(bridge, object, &found, error != NULL ? error : &local);
  ab_error_clear(&local);
  if (token != NULL) runtime->lock_leave(runtime->self, token);
  if (status != AB_OK) return status;
  if (found == NULL) return ab_error_set(error, AB_NOT_RECOGNIZED, "%s", ab_status_text(AB_NOT_RECOGNIZED));
  *backend = found;
  return AB_OK;
}

const ab_backend *ab_detect_type(const ab_bridge *bridge, const void *type) {
  return bridge != NULL && type != NULL ? ab__detect_type(bridge, type) : NULL;
}

void ab_array_release(ab_array *array) {
  if (array == NULL || array->backend == NULL) return;
  const ab_backend *backend = array->backend;
  const int too_late = backend->descriptor->lock != AB_LOCK_NONE && ab__bridge_ending(backend->bridge);
  void *token = NULL;
  if (!too_late && ab__backend_enter(backend, ab__bridge_lock_held(backend->bridge), &token, NULL) == AB_OK) {
    backend->vtable->release(backend->self, array->object);
    ab__backend_leave(backend, token);
  }
  *array = (ab_array){0};
}

ab_status ab_array_describe(const ab_array *array, int64_t *shape, int64_t *strides, ab_array_info *info,
                            ab_error *error) {
  if (array == NULL || array->backend == NULL || shape == NULL || strides == NULL || info == NULL)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "an array and room for its description are needed");
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error); /* of an earlier call */
  void *token = NULL;
  ab_status status = ab__backend_enter(array->backend, ab__bridge_lock_held(array->backend->bridge), &token, error);
  if (status != AB_OK) return status;
  status = ab__backend_start(array->backend, error);
  ab__invocation run;
  ab__invocation_init(&run, array->backend, AB_CALL_WANT_REPORT, NULL, error);
  info->shape = shape;
  info->strides = strides;
  if (status == AB_OK) {
    status = array->backend->vtable->describe(&run.call, array->object, info);
    status = ab__slot_result(array->backend, "describe", status, error);
  }
  ab__backend_leave(array->backend, token);
  ab_error_clear(&local);
  return status;
}
