/* SPDX-License-Identifier: MIT
 * Who holds what: figures of frameworks and of the process. */
#include "backend.h"
#include "live.h"
#include "process_memory.h"

static const uint64_t unknown = UINT64_MAX;

typedef struct survey {
  DLDevice device; /* device_type 0: all */
  ab_holding_visitor visit;
  void *context;
  ab_error *error;
  const ab_backend *backend;
  int seen;    /* devices shown of this backend */
  int stopped; /* `visit` wants no more */
  ab_status status;
} survey;

static void show(survey *now, ab_holding *holding) {
  if (now->stopped) return;
  holding->struct_size = (uint32_t)sizeof *holding;
  holding->to_driver = holding->to_pool = unknown;
  holding->clear_reason = "";
  now->stopped = now->visit(now->context, holding) != 0;
}

static ab_holding all_unknown(const ab_backend *backend, DLDevice device, const char *reason) {
  return (ab_holding){
      .backend = backend, .device = device, .in_use = unknown, .cached = unknown, .limit = unknown, .reason = reason};
}

static int wanted(const survey *now, DLDevice device) {
  if ((int)now->device.device_type == 0) return 1;
  return now->device.device_type == device.device_type && now->device.device_id == device.device_id;
}

static void show_figures(survey *now, DLDevice device) {
  ab_memory_info info = {.struct_size = (uint32_t)sizeof info};
  ab_status status = AB_UNSUPPORTED;
  ab_error_clear(now->error);
  if (now->backend->vtable->memory_info != NULL) {
    ab__invocation run;
    ab__invocation_init(&run, now->backend, 0, NULL, now->error);
    status = now->backend->vtable->memory_info(&run.call, device, &info);
    status = ab__slot_result(now->backend, "memory_info", status, now->error);
  } else {
    ab_error_set(now->error, status, "%s does not count its memory", ab_backend_name(now->backend));
  }
  if (status == AB_CANCELLED) now->status = status;
  ab_holding found = all_unknown(now->backend, device, now->error->text);
  if (status == AB_OK) {
    info.detail[sizeof info.detail - 1] = '\0';
    found.in_use = info.in_use;
    found.cached = info.cached;
    found.limit = info.limit;
    found.reason = info.detail;
  }
  show(now, &found);
}

static int visit_device(void *context, const ab_device_info *device) {
  survey *now = context;
  if (!wanted(now, device->device)) return 0;
  now->seen++;
  show_figures(now, device->device);
  return now->stopped || now->status != AB_OK;
}

static void show_idle(survey *now) {
  if ((int)now->device.device_type != 0) return; /* it holds nothing there, and nobody knows whether it could */
  ab_holding holding = all_unknown(now->backend, (DLDevice){(DLDeviceType)0, 0}, "it has touched no device yet");
  holding.flags = AB_HOLDING_IDLE;
  holding.in_use = holding.cached = 0;
  show(now, &holding);
}

static ab_status visit_backend(void *context, const ab_backend *backend, int idle) {
  survey *now = context;
  if (now->stopped) return AB_OK;
  now->backend = backend;
  now->seen = 0;
  if (idle) {
    show_idle(now);
    return AB_OK;
  }
  const ab_status status = ab__backend_visit_devices(backend, visit_device, now, now->error);
  if (now->status != AB_OK) return now->status;
  if (status == AB_OK || status == AB_CANCELLED || now->seen != 0) return status;
  const char *text = now->error->text[0] != '\0' ? now->error->text : "it does not list its devices";
  ab_holding holding = all_unknown(backend, (DLDevice){(DLDeviceType)0, 0}, text);
  show(now, &holding);
  return AB_OK;
}

static void show_process(survey *now) {
  const DLDevice host = {kDLCPU, 0};
  if (!wanted(now, host)) return;
  ab_holding holding = {.device = host,
                        .in_use = ab__process_resident(),
                        .cached = ab__process_cached(),
                        .limit = ab__process_limit(),
                        .reason = "all of the process, whoever took it; cached: what malloc keeps"};
  show(now, &holding);
}

ab_status ab_holdings(const ab_bridge *bridge, DLDevice device, ab_holding_visitor visit, void *context,
                      ab_error *error) {
  if (bridge == NULL || visit == NULL)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "a bridge and a visitor are needed");
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error);
  survey now = {.device = device, .visit = visit, .context = context, .error = error};
  show_process(&now);
  const ab_status status = ab__live_each(bridge, visit_backend, &now, error);
  ab_error_clear(&local);
  return status;
}
