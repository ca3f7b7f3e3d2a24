/* SPDX-License-Identifier: MIT */
#include "oom.h"

#include <errno.h>

#include "backend.h"

/* Failures that no exception carries: by domain and number. */
typedef struct signature {
  const char *domain;
  int64_t code;
  ab_status verdict;
} signature;

static const signature signatures[] = {
    {"errno", ENOMEM, AB_OOM},    {"cuda", 2, AB_OOM}, /* CUDA_ERROR_OUT_OF_MEMORY */
    {"hip", 2, AB_OOM},                                /* hipErrorOutOfMemory */
    {"opencl", -4, AB_OOM},                            /* CL_MEM_OBJECT_ALLOCATION_FAILURE */
    {"opencl", -5, AB_OOM},       /* CL_OUT_OF_RESOURCES: what some drivers say when a buffer is first used */
    {"opencl", -6, AB_OOM},       /* CL_OUT_OF_HOST_MEMORY */
    {"opencl", -61, AB_TOO_LARGE} /* CL_INVALID_BUFFER_SIZE */
};

static int is_verdict(ab_status status) { return status == AB_OOM || status == AB_TOO_LARGE; }

static ab_status judge_by_number(const ab_failure *failure) {
  if (failure->domain == NULL) return AB_OK;
  for (size_t index = 0; index < sizeof signatures / sizeof signatures[0]; index++)
    if (signatures[index].code == failure->code && strcmp(signatures[index].domain, failure->domain) == 0)
      return signatures[index].verdict;
  return AB_OK;
}

/* A failure with an object is read under the lock that guards it. AB_CANCELLED: the slot was asked to stop; nobody else
 * is asked then. The wish itself comes out through the release of the failure that carries it. */
static ab_status ask(const ab_backend *backend, const ab_failure *failure) {
  if (backend->vtable->is_oom == NULL) return AB_OK;
  void *token = NULL;
  if (failure->object != NULL && ab__backend_enter(backend, 0, &token, NULL) != AB_OK) return AB_OK;
  ab_error said; /* about a plugin that broke its contract: it has no verdict */
  ab_error_init(&said);
  ab_status verdict = backend->vtable->is_oom(backend->self, failure);
  if (failure->object != NULL) verdict = ab__slot_result(backend, "is_oom", verdict, &said);
  ab_error_clear(&said);
  ab__backend_leave(backend, token);
  return is_verdict(verdict) || verdict == AB_CANCELLED ? verdict : AB_OK;
}

ab_status ab_failure_judge(const ab_bridge *bridge, const ab_failure *failure) {
  if (bridge == NULL || failure == NULL || failure->struct_size == 0) return AB_OK;
  if (is_verdict(failure->status)) return failure->status;
  ab_status verdict = judge_by_number(failure);
  const uint32_t count = ab_bridge_backend_count(bridge);
  for (uint32_t index = 0; verdict == AB_OK && index < count; index++)
    verdict = ask(ab_bridge_backend_at(bridge, index), failure);
  return is_verdict(verdict) ? verdict : AB_OK;
}

ab_status ab__oom_judge(const ab_bridge *bridge, ab_status status, const ab_error *error) {
  if (is_verdict(status)) return status;
  if (status != AB_FRAMEWORK && status != AB_DRIVER) return AB_OK;
  return ab_failure_judge(bridge, &error->failure);
}
