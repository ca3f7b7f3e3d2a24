/* SPDX-License-Identifier: MIT */
#include "recovery.h"

#include "cache.h"
#include "mutant.h"
#include "pinned_pool.h"

ab_recovery_action ab__recovery_next(const ab_recovery *recovery, ab_status verdict) {
  if (verdict != AB_OOM && verdict != AB_TOO_LARGE) return AB_RECOVERY_RAISE;
  if (recovery->flags & AB_RECOVERY_ONCE) return AB_RECOVERY_RAISE;
  if (recovery->flags & AB_RECOVERY_ON_HOST) return AB_RECOVERY_RAISE; /* the last thing to try has been tried */
  if (verdict == AB_OOM && recovery->retries < recovery->max_retries) return AB_RECOVERY_RETRY;
  if ((recovery->flags & AB_RECOVERY_SLICEWISE) && recovery->batch > 1) return AB_RECOVERY_HALVE;
  return recovery->flags & AB_RECOVERY_HOST_ALLOWED ? AB_RECOVERY_HOST : AB_RECOVERY_RAISE;
}

/* ------------------------------------------------------------------ making room */

/* Garbage may owe releases, so they are run before and after; what devices still work on is waited for. */
static ab_status release_and_collect(ab_bridge *bridge, ab_error *error) {
  const ab_runtime *runtime = &bridge->runtime;
  const int takes = runtime->lock_enter != NULL && !ab__bridge_lock_held(bridge);
  void *const token = takes ? runtime->lock_enter(runtime->self) : NULL;
  if (takes && token == NULL) return ab_error_set(error, AB_ENDING, "%s", ab_status_text(AB_ENDING));
  if (!ab__mutated(OOM_WITHOUT_DRAINING)) ab_bridge_drain(bridge);
  if (runtime->collect_garbage != NULL) runtime->collect_garbage(runtime->self);
  if (!ab__mutated(OOM_WITHOUT_DRAINING)) ab_bridge_settle(bridge);
  if (takes && runtime->lock_leave != NULL) runtime->lock_leave(runtime->self, token);
  return AB_OK;
}

/* The core's own pinned memory, with the runtime's lock let go of: the device may have to finish a transfer first. */
static uint64_t release_pools(const ab_bridge *bridge) {
  const ab_runtime *runtime = &bridge->runtime;
  const int lets_go = runtime->blocking_begin != NULL && ab__bridge_lock_held(bridge);
  void *const token = lets_go ? runtime->blocking_begin(runtime->self) : NULL;
  const uint64_t bytes = ab__pinned_trim(NULL, 0);
  if (token != NULL) runtime->blocking_end(runtime->self, token);
  return bytes;
}

static ab_status make_room(ab_bridge *bridge, ab_recovery *recovery, ab_error *error) {
  if (ab__bridge_ending(bridge)) return ab_error_set(error, AB_ENDING, "%s", ab_status_text(AB_ENDING));
  ab_status status = release_and_collect(bridge, error);
  ab__returned returned = {0};
  if (status == AB_OK) returned.to_driver = release_pools(bridge);
  if (status == AB_OK) status = ab__caches_clear(bridge, recovery->device, &returned, NULL, NULL, error);
  recovery->to_driver += returned.to_driver;
  recovery->to_pool += returned.to_pool;
  if (returned.failure[0] != '\0') snprintf(recovery->failure, sizeof recovery->failure, "%s", returned.failure);
  return status;
}

ab_status ab__recovery_go(ab_bridge *bridge, ab_recovery *recovery, ab_recovery_action action, ab_error *error) {
  const ab_status status = make_room(bridge, recovery, error);
  if (status != AB_OK) return status;
  if (action == AB_RECOVERY_RETRY) recovery->retries++;
  if (action == AB_RECOVERY_HOST) recovery->flags |= AB_RECOVERY_ON_HOST;
  if (action == AB_RECOVERY_HALVE) {
    recovery->batch -= recovery->batch / 2;
    recovery->halvings++;
  }
  return AB_OK;
}

/* ------------------------------------------------------------------ public */

enum {
  KNOWN_FLAGS = AB_RECOVERY_SLICEWISE | AB_RECOVERY_HOST_ALLOWED | AB_RECOVERY_ONCE | AB_RECOVERY_ON_HOST,
  MUST_UNDERSTAND = 0xffff
};

ab_status ab_recover(ab_bridge *bridge, ab_recovery *recovery, ab_status verdict, ab_recovery_action *action,
                     ab_error *error) {
  if (bridge == NULL || recovery == NULL || action == NULL || recovery->struct_size < sizeof *recovery)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "a bridge, an ab_recovery and a place for the answer are needed");
  if (recovery->flags & MUST_UNDERSTAND & ~(uint32_t)KNOWN_FLAGS)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "ab_recovery.flags 0x%x: of a newer version", recovery->flags);
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error);
  const ab_recovery_action next = ab__recovery_next(recovery, verdict);
  const ab_status status = next != AB_RECOVERY_RAISE ? ab__recovery_go(bridge, recovery, next, error) : AB_OK;
  if (status == AB_OK) *action = next;
  else if (error->text[0] == '\0') ab_error_set(error, status, "%s", ab_status_text(status)); /* keeps the failure */
  ab_error_clear(&local);
  return status;
}

ab_status ab_release_pools(ab_bridge *bridge, uint64_t *bytes, ab_error *error) {
  if (bridge == NULL) return ab_error_set(error, AB_INVALID_ARGUMENT, "a bridge is needed");
  if (ab__bridge_ending(bridge)) return ab_error_set(error, AB_ENDING, "%s", ab_status_text(AB_ENDING));
  const uint64_t given_back = release_pools(bridge);
  if (bytes != NULL) *bytes = given_back;
  return AB_OK;
}
