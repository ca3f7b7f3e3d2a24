/* SPDX-License-Identifier: MIT */
#include "target.h"

#include "hint.h"

static const DLDevice the_host = {kDLCPU, 0};

static ab_status abilities(ab__situation *at, DLDevice device, ab_error *error) {
  at->device = device;
  ab_status status = ab__backend_ability(at->target, device, AB_SLOT_FROM_DLPACK, &at->take, error);
  if (status == AB_OK) status = ab__backend_ability(at->target, device, AB_SLOT_FROM_HOST, &at->push, error);
  return status;
}

static int usable(const ab__situation *at) { return at->take->supported || at->push->supported; }

/* ------------------------------------------------------------------ looking through the devices */

typedef struct search {
  int32_t type;        /* 0: any */
  int32_t id;          /* -1: any */
  int32_t accelerator; /* -1: not asked; else how many more to pass */
  int found;
  int count; /* accelerators seen */
  DLDevice device;
  ab__native native;
} search;

static int look(void *context, const ab_device_info *info) {
  search *s = context;
  const int host = info->device.device_type == kDLCPU;
  if (!host) s->count++;
  if (s->found) return 0;
  if (s->accelerator >= 0 && (host || s->accelerator-- > 0)) return 0;
  if (s->type != 0 && (int32_t)info->device.device_type != s->type) return 0;
  if (s->id >= 0 && info->device.device_id != s->id) return 0;
  s->found = 1;
  s->device = info->device;
  s->native = (ab__native){.context = info->native_context, .device = info->native_device};
  return 0;
}

static ab_status find(const ab_backend *backend, search *s, ab_error *error) {
  if (backend->vtable->devices == NULL) return AB_OK;
  const ab_status status = ab__backend_visit_devices(backend, look, s, error);
  if (status != AB_UNSUPPORTED) return status;
  ab_error_clear(error);
  return AB_OK;
}

ab_status ab__target_native(const ab_backend *target, DLDevice device, ab__native *native, ab_error *error) {
  search s = {.type = (int32_t)device.device_type, .id = device.device_id, .accelerator = -1};
  const ab_status status = find(target, &s, error);
  if (status != AB_OK) return status;
  if (!s.found || s.native.context == NULL)
    return ab_error_set(error, AB_UNSUPPORTED, "%s does not show the context of its device %d",
                        target->descriptor->name, device.device_id);
  *native = s.native;
  return AB_OK;
}

/* ------------------------------------------------------------------ which device */

static ab_status no_device(const ab__situation *at, DLDevice device, ab_error *error) {
  ab_error_set(error, AB_NO_DEVICE, "%s has no arrays on %s:%d", at->target->descriptor->name,
               ab__device_word((int)device.device_type), device.device_id);
  ab__hint_devices(at->target, error);
  return AB_NO_DEVICE;
}

static ab_status exact_device(ab__situation *at, const ab_convert_options *options, ab_error *error) {
  DLDevice device = options->device;
  if (options->flags & AB_CONVERT_DEVICE_KIND) device.device_id = 0;
  if ((options->flags & AB_CONVERT_DEVICE_KIND) && device.device_type != kDLCPU) {
    search s = {.type = (int32_t)device.device_type, .id = -1, .accelerator = -1};
    const ab_status status = find(at->target, &s, error);
    if (status != AB_OK) return status;
    if (s.found) device = s.device;
  }
  const ab_status status = abilities(at, device, error);
  if (status != AB_OK) return status;
  return usable(at) ? AB_OK : no_device(at, device, error);
}

static ab_status default_device(ab__situation *at, ab_error *error) {
  search s = {.id = -1, .accelerator = -1};
  ab_status status = find(at->target, &s, error);
  if (status != AB_OK) return status;
  status = abilities(at, s.found ? s.device : the_host, error);
  if (status != AB_OK) return status;
  return usable(at) ? AB_OK : no_device(at, at->device, error);
}

/* Stay where the data is if the target can use that memory; else the host; else the target's default device. */
static ab_status nearest_device(ab__situation *at, ab_error *error) {
  const DLDevice here = at->info->device;
  const int elsewhere = here.device_type == kDLCPU && at->source != at->target; /* host memory is host memory */
  if (here.device_type != 0 && !elsewhere) {
    const ab_status status = abilities(at, here, error);
    if (status != AB_OK || usable(at)) return status;
  }
  const ab_status status = abilities(at, the_host, error);
  if (status != AB_OK || usable(at)) return status;
  return default_device(at, error);
}

static ab_status accelerator(ab__situation *at, const ab_convert_options *options, uint32_t *report, ab_error *error) {
  if (options->accelerator < 0)
    return ab_error_set(error, AB_NO_DEVICE, "gpu_id=%d: numbers start at 0", options->accelerator);
  search s = {.id = -1, .accelerator = options->accelerator};
  ab_status status = find(at->target, &s, error);
  if (status != AB_OK) return status;
  if (s.found) {
    status = abilities(at, s.device, error);
    return status != AB_OK || usable(at) ? status : no_device(at, s.device, error);
  }
  if (s.count > 0) {
    ab_error_set(error, AB_NO_DEVICE, "gpu_id=%d: %s has %d accelerator%s", options->accelerator,
                 at->target->descriptor->name, s.count, s.count == 1 ? "" : "s");
    ab__hint_devices(at->target, error);
    return AB_NO_DEVICE;
  }
  *report |= AB_REPORT_HOST_FALLBACK;
  status = abilities(at, the_host, error);
  return status != AB_OK || usable(at) ? status : no_device(at, the_host, error);
}

ab_status ab__target_device(ab__situation *at, const ab_convert_options *options, uint32_t *report, ab_error *error) {
  if (options->flags & AB_CONVERT_DEVICE_GIVEN) return exact_device(at, options, error);
  if (options->flags & AB_CONVERT_ACCELERATOR) return accelerator(at, options, report, error);
  return nearest_device(at, error);
}

/* ------------------------------------------------------------------ which stream */

ab_status ab__target_stream(const ab__situation *at, const ab_convert_options *options, ab_stream *stream,
                            const ab_stream **ordered, ab_error *error) {
  *ordered = NULL;
  const int type = (int)at->device.device_type;
  if (ab__is_host(at->device) || type == kDLOpenCL) return AB_OK; /* an OpenCL export finishes its own queue */
  if (options->stream != NULL) {
    if (options->stream->kind >= AB_STREAM_UNKNOWN)
      return ab_error_set(error, AB_STREAM, "work cannot be ordered on a stream of kind %u", options->stream->kind);
    *ordered = options->stream->kind != AB_STREAM_NONE ? options->stream : NULL;
    return AB_OK;
  }
  const ab_plugin_vtable *slots = at->target->vtable;
  ab__invocation run;
  ab__invocation_init(&run, at->target, 0, NULL, error);
  memset(stream, 0, sizeof *stream);
  stream->struct_size = (uint32_t)sizeof *stream;
  ab_status status = AB_UNSUPPORTED;
  if (slots->import_stream != NULL) status = slots->import_stream(&run.call, at->device, stream);
  else if (slots->current_stream != NULL) status = slots->current_stream(&run.call, at->device, stream);
  const char *slot = slots->import_stream != NULL ? "import_stream" : "current_stream";
  status = ab__slot_result(at->target, slot, status, error);
  if (status != AB_OK && status != AB_UNSUPPORTED) return status;
  ab_error_clear(error);
  const int usable_kind = stream->kind != AB_STREAM_NONE && stream->kind < AB_STREAM_UNKNOWN;
  if (status == AB_OK && usable_kind) *ordered = stream; /* else host-complete */
  return AB_OK;
}
