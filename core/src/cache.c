/* SPDX-License-Identifier: MIT */
#include "cache.h"

#include <string.h>

#include "backend.h"
#include "live.h"
#include "process_memory.h"

static const uint64_t unknown = UINT64_MAX;

/* One time round: flags for clear_cache(), and where the answers go. */
typedef struct round {
  DLDevice device;
  uint32_t flags; /* AB_CLEAR_* */
  ab__returned *returned;
  ab_holding_visitor visit;
  void *context;
  ab_error *error;
  int stopped; /* `visit` wants no more */
} round;

static void add_known(uint64_t *sum, uint64_t bytes) {
  if (bytes != unknown) *sum += bytes;
}

static void show(round *now, const ab_backend *backend, uint64_t to_driver, uint64_t to_pool, const char *reason) {
  if (now->visit == NULL || now->stopped) return;
  const ab_holding holding = {.struct_size = (uint32_t)sizeof holding,
                              .flags = AB_HOLDING_CLEARED,
                              .backend = backend,
                              .device = now->device,
                              .in_use = unknown,
                              .cached = unknown,
                              .limit = unknown,
                              .to_driver = to_driver,
                              .to_pool = to_pool,
                              .reason = "",
                              .clear_reason = reason};
  now->stopped = now->visit(now->context, &holding) != 0;
}

/* The second round, for pinned pools, is shown only where it gave something. */
static int worth_showing(const round *now, uint64_t to_driver, uint64_t to_pool) {
  if (!(now->flags & AB_CLEAR_PINNED)) return 1;
  return (to_driver != 0 && to_driver != unknown) || (to_pool != 0 && to_pool != unknown);
}

/* What cannot be cleared is no failure: it gives back nothing. */
static void note_failure(ab__returned *returned, const ab_backend *backend, const char *text) {
  if (returned->failure[0] != '\0') return;
  const int most = (int)sizeof returned->failure - 1;
  const size_t name = strlen(ab_backend_name(backend));
  const int named = strncmp(text, ab_backend_name(backend), name) == 0 && (text[name] == '.' || text[name] == ':');
  if (named) snprintf(returned->failure, sizeof returned->failure, "%.*s", most, text);
  else snprintf(returned->failure, sizeof returned->failure, "%s: %.*s", ab_backend_name(backend), most - 64, text);
}

static ab_status clear_one(void *context, const ab_backend *backend, int idle) {
  round *now = context;
  uint64_t to_driver = 0;
  uint64_t to_pool = 0;
  ab_status status = AB_OK;
  if (!idle && backend->vtable->clear_cache == NULL)
    status =
        ab_error_set(now->error, AB_UNSUPPORTED, "%s cannot be told to give memory back", ab_backend_name(backend));
  if (!idle && status == AB_OK) {
    ab__invocation run;
    ab__invocation_init(&run, backend, 0, NULL, now->error);
    status = backend->vtable->clear_cache(&run.call, now->device, now->flags, &to_driver, &to_pool);
    status = ab__slot_result(backend, "clear_cache", status, now->error);
  }
  if (status == AB_CANCELLED) return status;
  if (status == AB_OK) {
    add_known(&now->returned->to_driver, to_driver);
    add_known(&now->returned->to_pool, to_pool);
  } else {
    to_driver = to_pool = status == AB_UNSUPPORTED ? 0 : unknown;
    if (status != AB_UNSUPPORTED) note_failure(now->returned, backend, now->error->text);
  }
  if (worth_showing(now, to_driver, to_pool))
    show(now, backend, to_driver, to_pool, status == AB_OK ? "" : now->error->text);
  return AB_OK;
}

static void trim_process(round *now) {
  now->flags = 0;
  const uint64_t to_system = ab__process_trim();
  add_known(&now->returned->to_driver, to_system);
  now->device = (DLDevice){kDLCPU, 0};
  show(now, NULL, to_system, 0, to_system == unknown ? "this C library cannot be told to give memory back" : "");
}

/* Pinned memory last: it takes a second a gigabyte to get again, and a copy to a device may be waiting for it. */
ab_status ab__caches_clear(const ab_bridge *bridge, DLDevice device, ab__returned *returned, ab_holding_visitor visit,
                           void *context, ab_error *error) {
  round now = {.device = device,
               .flags = AB_CLEAR_PLANS,
               .returned = returned,
               .visit = visit,
               .context = context,
               .error = error};
  ab_status status = ab__live_each(bridge, clear_one, &now, error);
  now.flags = AB_CLEAR_PINNED;
  if (status == AB_OK) status = ab__live_each(bridge, clear_one, &now, error);
  if (status == AB_OK && ((int)device.device_type == 0 || device.device_type == kDLCPU)) trim_process(&now);
  return status;
}

ab_status ab_caches_clear(const ab_bridge *bridge, DLDevice device, ab_holding_visitor visit, void *context,
                          ab_error *error) {
  if (bridge == NULL) return ab_error_set(error, AB_INVALID_ARGUMENT, "a bridge is needed");
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error);
  ab__returned returned = {0};
  const ab_status status = ab__caches_clear(bridge, device, &returned, visit, context, error);
  ab_error_clear(&local);
  return status;
}
