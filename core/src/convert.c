/* SPDX-License-Identifier: MIT
 * The one file that knows the order of things: describe, decide, try one way after the other, record. */
#include "conversion.h"
#include "dtype.h"
#include "hint.h"
#include "kernels/scale.h"
#include "oom.h"
#include "quick.h"
#include "recovery.h"
#include "release.h"
#include "target.h"

static const ab_convert_options no_options = {.struct_size = (uint32_t)sizeof(ab_convert_options)};

/* ------------------------------------------------------------------ describe */

/* The tensor that came with the description says it all; what it says replaces the rest. */
static ab_status describe_from_tensor(ab__conversion *c) {
  const ab_status status = ab__tensor_adopt(&c->info.tensor, c->error);
  if (status != AB_OK) return status;
  const DLTensor *t = &c->info.tensor->dl_tensor;
  if (!ab__is_host(t->device) || !ab__is_host(c->info.device))
    return ab_error_set(c->error, AB_INVALID_TENSOR, "%s described an array by a tensor that is not on the host",
                        ab_backend_name(c->at.source));
  c->info.dtype = t->dtype;
  c->info.ndim = t->ndim;
  c->info.data = t->data;
  const int64_t itemsize = ab_dtype_size(t->dtype);
  for (int32_t axis = 0; axis < t->ndim; axis++) {
    c->shape[axis] = t->shape[axis];
    c->strides[axis] = t->strides[axis] * itemsize;
  }
  return AB_OK;
}

static ab_status measure(ab__conversion *c) {
  ab_array_info *info = &c->info;
  c->at.itemsize = ab_dtype_size(info->dtype);
  if (info->flags & AB_INFO_NOT_CONVERTIBLE) return AB_OK;
  if (c->at.itemsize == 0 || info->ndim < 0 || info->ndim > AB_MAX_NDIM)
    return ab_error_set(c->error, AB_INVALID_TENSOR, "%s described dtype code %u of %u bits in %d dimensions",
                        ab_backend_name(c->at.source), info->dtype.code, info->dtype.bits, (int)info->ndim);
  if (!ab__tensor_bytes(info->ndim, c->shape, c->at.itemsize, &c->at.bytes) ||
      ab__layout_of(info->ndim, c->shape, c->strides, c->at.itemsize, &c->at.layout) != AB_OK)
    return ab_error_set(c->error, AB_INVALID_TENSOR, "%s described a shape that overflows",
                        ab_backend_name(c->at.source));
  if (!ab__is_host(info->device)) return AB_OK;
  return ab__conversion_check_range(c, "describe() gave an array", info->data, &c->at.layout);
}

enum {
  KNOWN_INFO = AB_INFO_HOST_ACCESSIBLE | AB_INFO_BYTE_SWAPPED | AB_INFO_GRADIENT | AB_INFO_NOT_SHAREABLE |
               AB_INFO_NOT_CONVERTIBLE | AB_INFO_CONJUGATED | AB_INFO_NEGATED | AB_INFO_NOT_PLAIN
};

/* Bytes that are not the values, or that mean something we do not know, are neither shared nor read. */
static void keep_from_bytes(ab__conversion *c) {
  const uint32_t lazy = AB_INFO_CONJUGATED | AB_INFO_NEGATED;
  if ((c->info.flags & (lazy | (0xffff & ~(uint32_t)KNOWN_INFO))) == 0) return;
  c->info.flags |= AB_INFO_NOT_SHAREABLE;
  c->info.data = NULL;
  if (c->info.why_not == NULL) c->info.why_not = "its bytes are not its values";
  ab__tensor_delete(c->info.tensor);
  c->info.tensor = NULL;
}

/* Asks the source; what it says is not yet looked at. */
static ab_status describe(ab__conversion *c, uint32_t flags) {
  ab__invocation run;
  ab__invocation_init(&run, c->at.source, ab__conversion_call_flags(c) | flags, NULL, c->error);
  memset(&c->info, 0, sizeof c->info);
  c->info.struct_size = (uint32_t)sizeof c->info;
  c->info.shape = c->shape;
  c->info.strides = c->strides;
  const ab_status status = c->at.source->vtable->describe(&run.call, c->source, &c->info);
  if (status != AB_OK) return ab__slot_result(c->at.source, "describe", status, c->error);
  c->report |= run.report.flags & ~(uint32_t)AB_REPORT_SHARED; /* the core's to say */
  return AB_OK;
}

static ab_status understand(ab__conversion *c) {
  if (c->info.tensor != NULL) {
    const ab_status status = describe_from_tensor(c);
    if (status != AB_OK) return status;
  }
  keep_from_bytes(c);
  return measure(c);
}

/* ------------------------------------------------------------------ decide */

static ab_status not_convertible(const ab__conversion *c) {
  if (c->error->text[0] != '\0') c->error->status = AB_UNSUPPORTED;
  else ab__hint_not_convertible(&c->info, c->error);
  return AB_UNSUPPORTED;
}

static ab_status dtype_missing(ab__conversion *c, const ab__ability *ability) {
  const char *have = ab_dtype_name(c->at.dtype);
  const char *target = ab_backend_name(c->at.target);
  const DLDataType near = ab__nearest_dtype(ability, c->at.dtype, AB_CASTING_SAME_KIND);
  ab_error_set(c->error, AB_WOULD_CAST, "%s does not exist in %s", have, target);
  if (near.bits != 0 && c->options->scaling != AB_SCALING_NONE) /* which casts by itself: scale() has no casting= */
    ab_error_hint(c->error, "pass dtype=\"%s\", the nearest that it has", ab_dtype_name(near));
  else if (near.bits != 0) ab__hint_cast(c->at.dtype, near, ab_dtype_name(near), c->error);
  else if (c->at.dtype.code == kDLComplex)
    ab_error_hint(c->error, "pass its real and its imaginary part one by one: x.real, x.imag");
  return AB_WOULD_CAST;
}

/* With a scaling the caller has said what becomes of values, and casting is not asked. */
static ab_status decide_scaling(const ab__conversion *c) {
  const ab__scale_rule rule = {(ab_scaling)c->options->scaling, (c->options->flags & AB_CONVERT_NAN_GIVEN) != 0,
                               c->options->nan};
  if (!ab__conversion_casts(c) || !ab__scale_refused(&rule, c->info.dtype, c->at.dtype, c->error)) return AB_OK;
  return c->error->status;
}

/* The dtype that is wanted, and whether the casting rule lets it be. */
static ab_status decide_dtype(ab__conversion *c) {
  const ab__ability *ability = c->at.take->supported ? c->at.take : c->at.push;
  const DLDataType have = c->info.dtype;
  c->at.dtype = c->options->dtype.bits != 0 ? c->options->dtype : have;
  if (c->options->dtype.bits == 0) {
    const int index = ab__dtype_index(have);
    if ((c->at.take->dtypes | c->at.push->dtypes) >> index & 1) return AB_OK;
    if (c->options->casting == AB_CASTING_NO) return dtype_missing(c, ability);
    const DLDataType near = ab__nearest_dtype(ability, have, (ab_casting)c->options->casting);
    if (near.bits == 0) return dtype_missing(c, ability);
    c->at.dtype = near;
    return AB_OK;
  }
  if (ab__dtype_index(c->at.dtype) < 0 || c->at.dtype.lanes != 1)
    return ab_error_set(c->error, AB_INVALID_ARGUMENT, "the dtype asked for is unknown");
  if (!((c->at.take->dtypes | c->at.push->dtypes) >> ab__dtype_index(c->at.dtype) & 1))
    return dtype_missing(c, ability);
  if (c->options->scaling != AB_SCALING_NONE) return decide_scaling(c);
  if (ab_dtype_can_cast(have, c->at.dtype, (ab_casting)c->options->casting)) return AB_OK;
  ab_error_set(c->error, AB_WOULD_CAST, "%s would become %s", ab_dtype_name(have), ab_dtype_name(c->at.dtype));
  ab__hint_cast(have, c->at.dtype, NULL, c->error);
  return AB_WOULD_CAST;
}

/* What no way can mend: the target cannot hold such an array at all. */
static ab_status decide_shape(ab__conversion *c) {
  if (!ab__ability_refuses(&c->at, c->at.take, NULL) || !ab__ability_refuses(&c->at, c->at.push, NULL)) return AB_OK;
  ab_step why = {.reason = ""};
  const ab__ability *ability = c->at.take->supported ? c->at.take : c->at.push;
  ab__ability_refuses(&c->at, ability, &why);
  ab_error_set(c->error, AB_UNSUPPORTED, "%s", why.reason);
  ab__hint_shape(&c->at, ability, c->error);
  return AB_UNSUPPORTED;
}

static ab_status decide(ab__conversion *c) {
  if (c->info.flags & AB_INFO_NOT_CONVERTIBLE) return not_convertible(c);
  ab_status status = ab__target_device(&c->at, c->options, &c->report, c->error);
  if (status == AB_OK) status = decide_dtype(c);
  if (status == AB_OK) status = decide_shape(c);
  return status;
}

/* ------------------------------------------------------------------ trying */

/* Under copy=False, and when nothing worked, the reason of the first way that made sense is the one to tell. */
static ab_status explain(ab__conversion *c, const char *first_reason) {
  if (c->error->text[0] != '\0' && c->at.copy != AB_COPY_NEVER) {
    if (c->error->status == AB_OK) c->error->status = AB_UNSUPPORTED;
    return c->error->status;
  }
  ab_step why = {.reason = ""};
  for (int index = 0; index < AB__WAY_COUNT && why.reason[0] == '\0' && first_reason[0] == '\0'; index++)
    if (!ab__way_is_foreign(&c->at, &ab__ways[index])) ab__way_refused(&c->at, &ab__ways[index], &why);
  const char *reason = first_reason[0] != '\0' ? first_reason : why.reason;
  if (c->at.copy == AB_COPY_NEVER) {
    ab_error_set(c->error, AB_WOULD_COPY, "a copy would be needed: %s",
                 reason[0] != '\0' ? reason : "no way shares its memory");
    ab_error_hint(c->error, "pass copy=None to allow it");
    return AB_WOULD_COPY;
  }
  return ab_error_set(c->error, AB_UNSUPPORTED, "no way leads from %s to %s: %s", ab_backend_name(c->at.source),
                      ab_backend_name(c->at.target), reason[0] != '\0' ? reason : "they share no device");
}

static int goes_on(ab_status status) { return status == AB_UNSUPPORTED || status == AB_WOULD_COPY; }

static void note_refusal(ab__conversion *c, const ab__way *way, const char *reason, char *first_reason) {
  ab__record_refused(c->record, way->kind, reason);
  if (first_reason[0] == '\0') snprintf(first_reason, AB_STEP_REASON, "%.*s", AB_STEP_REASON - 1, reason);
}

static ab_status try_ways(ab__conversion *c, void **object) {
  char first_reason[AB_STEP_REASON];
  first_reason[0] = '\0';
  ab_stream stream;
  const ab_stream *ordered = NULL;
  ab_status status = ab__target_stream(&c->at, c->options, &stream, &ordered, c->error);
  if (status != AB_OK) return status;
  for (int index = 0; index < AB__WAY_COUNT; index++) {
    const ab__way *way = &ab__ways[index];
    if (ab__way_is_foreign(&c->at, way)) continue;
    if (c->record == NULL) {
      if (ab__way_refused(&c->at, way, NULL)) continue;
    } else {
      ab_step why = {.reason = ""};
      if (ab__way_refused(&c->at, way, &why)) {
        note_refusal(c, way, why.reason, first_reason);
        continue;
      }
    }
    ab_error_clear(c->error);
    status = ab__conversion_go(c, way, ordered, object);
    if (!goes_on(status)) return status;
    note_refusal(c, way, c->error->text[0] != '\0' ? c->error->text : ab_status_text(status), first_reason);
  }
  return explain(c, first_reason);
}

/* Nothing is to be changed: the array is at home. */
static int stays(const ab__conversion *c) {
  const ab_convert_options *options = c->options;
  if (c->at.source != c->at.target || options->copy == AB_COPY_ALWAYS) return 0;
  if (c->info.flags & AB_INFO_NOT_PLAIN) return 0;
  if ((options->flags & AB_CONVERT_COPY_IMMUTABLE) && c->info.mutability != AB_MUTABLE) return 0;
  if ((options->flags & AB_CONVERT_COPY_MUTABLE) && c->info.mutability == AB_MUTABLE) return 0;
  return c->at.device.device_type == c->info.device.device_type && c->at.device.device_id == c->info.device.device_id &&
         c->at.dtype.code == c->info.dtype.code && c->at.dtype.bits == c->info.dtype.bits;
}

/* Asked for nothing but a framework that the array is already in: not even described. */
static int plainly_stays(const ab__conversion *c) {
  const ab_convert_options *o = c->options;
  const uint32_t changes = ~(uint32_t)(AB_CONVERT_LOCK_HELD | AB_CONVERT_COPY_LATE_READS | AB_CONVERT_NO_RECOVERY);
  return c->at.source == c->at.target && o->copy != AB_COPY_ALWAYS && o->dtype.bits == 0 && (o->flags & changes) == 0;
}

static void give_same(const ab__conversion *c, ab_array *result) {
  c->at.source->vtable->retain(c->at.source->self, c->source);
  *result = (ab_array){.backend = c->at.target, .object = c->source};
}

/* Somebody wants to read what there was to it; that the array cannot be described does not matter. */
static void record_same(ab__conversion *c) {
  memset(&c->info, 0, sizeof c->info);
  ab_status status = ab__backend_start(c->at.source, c->error);
  if (status == AB_OK) status = ab__slot_result(c->at.source, "describe", describe(c, 0), c->error);
  if (status == AB_OK) (void)understand(c);
  ab__tensor_delete(c->info.tensor);
  ab_error_clear(c->error);
  c->at.device = c->info.device;
  c->at.dtype = c->info.dtype;
  ab__record_ends(c->record, &c->at);
  ab__record_step(c->record, AB_STEP_SAME, 0);
  c->record->flags = AB_REPORT_SHARED;
}

static ab_status start_both(ab__conversion *c) {
  const ab_status status = ab__backend_start(c->at.source, c->error);
  return status == AB_OK ? ab__backend_start(c->at.target, c->error) : status;
}

static ab_status settle(ab__conversion *c) {
  ab_status status = ab__slot_result(c->at.source, "describe", AB_OK, c->error);
  if (status == AB_OK) status = understand(c);
  if (status == AB_OK) status = decide(c);
  if (status == AB_OK || c->at.take != NULL) ab__record_ends(c->record, &c->at);
  return status;
}

/* What any way does to such an array, so that the plan and the record say the same. */
static void note_description(ab__conversion *c) {
  if (c->info.flags & AB_INFO_GRADIENT) c->report |= AB_REPORT_GRADIENT_DETACHED;
  if (c->info.flags & AB_INFO_CONJUGATED) c->report |= AB_REPORT_CONJ_RESOLVED;
  if (c->info.flags & AB_INFO_NEGATED) c->report |= AB_REPORT_NEG_RESOLVED;
}

/* The long way: everything is weighed. */
static ab_status convert_described(ab__conversion *c, ab_array *result) {
  ab_status status = settle(c);
  void *object = NULL;
  if (status == AB_OK && stays(c)) {
    ab__record_step(c->record, AB_STEP_SAME, 0);
    c->report |= AB_REPORT_SHARED;
    give_same(c, result);
  } else if (status == AB_OK) {
    status = try_ways(c, &object);
    if (status == AB_OK) *result = (ab_array){.backend = c->at.target, .object = object};
    if (status == AB_OK) note_description(c);
  }
  ab__tensor_delete(c->info.tensor);
  if (c->record != NULL) c->record->flags = c->report;
  return status;
}

static ab_status convert_locked(ab__conversion *c, ab_array *result) {
  if (c->locked && ab__release_waiting(c->bridge->release)) ab_bridge_drain(c->bridge);
  if (plainly_stays(c)) {
    if (c->record != NULL) record_same(c);
    give_same(c, result);
    return AB_OK;
  }
  const uint32_t share = c->at.source != c->at.target && c->at.copy != AB_COPY_ALWAYS ? AB_CALL_WANT_TENSOR : 0;
  ab_status status = start_both(c);
  if (status == AB_OK) status = describe(c, share);
  if (status == AB_OK && c->info.tensor != NULL) {
    void *object = NULL;
    if (ab__quick_exchange(c, &status, &object)) {
      if (status == AB_OK) *result = (ab_array){.backend = c->at.target, .object = object};
      ab__tensor_delete(c->info.tensor);
      return status;
    }
    status = AB_OK;
    if (c->info.tensor == NULL) status = describe(c, share); /* the target has consumed it and failed */
  }
  if (status == AB_OK) return convert_described(c, result);
  ab__tensor_delete(c->info.tensor);
  return status;
}

/* ------------------------------------------------------------------ planning */

static void plan_way(ab__conversion *c, const ab__way *way) {
  ab_record *record = c->record;
  const uint64_t copied = ab__conversion_copied_bytes(c);
  const int casts = ab__conversion_casts(c);
  const int any_form = way->deliver == AB__DELIVER_FILL;
  const int does_not_fit = way->fetch == AB__FETCH_READ && !any_form && !ab__conversion_pushes_as_it_is(c);
  const int pivots = way->hold == AB__HOLD_COPY || (way->hold == AB__HOLD_FIT && (casts || does_not_fit));
  if (way->fetch == AB__FETCH_TO_HOST) ab__record_step(record, AB_STEP_TO_HOST, c->at.bytes);
  if (way->fetch == AB__FETCH_MAP && way->hold != AB__HOLD_SHARE) ab__record_step(record, AB_STEP_MAP, 0);
  if (pivots) ab__record_step(record, AB_STEP_PIVOT, copied);
  if (way->deliver == AB__DELIVER_WRAP) ab__record_step(record, AB_STEP_WRAP, 0);
  else if (way->deliver == AB__DELIVER_PUSH || any_form) ab__record_step(record, AB_STEP_FROM_HOST, copied);
  else ab__record_step(record, way->kind == AB_STEP_MAP ? AB_STEP_MAP : AB_STEP_EXCHANGE, 0);
  const int copies = way->hold != AB__HOLD_SHARE;
  c->report |= copies ? AB_REPORT_COPIED : AB_REPORT_SHARED | ab__conversion_aliasing(c);
  if (casts) c->report |= AB_REPORT_CAST;
  note_description(c);
}

static ab_status plan_ways(ab__conversion *c) {
  char first_reason[AB_STEP_REASON];
  first_reason[0] = '\0';
  for (int index = 0; index < AB__WAY_COUNT; index++) {
    const ab__way *way = &ab__ways[index];
    ab_step why = {.reason = ""};
    if (ab__way_is_foreign(&c->at, way)) continue;
    if (!ab__way_refused(&c->at, way, &why) && !ab__conversion_wrap_refused(c, way, &why)) {
      plan_way(c, way);
      return AB_OK;
    }
    note_refusal(c, way, why.reason, first_reason);
  }
  return explain(c, first_reason);
}

static ab_status plan_locked(ab__conversion *c) {
  if (plainly_stays(c)) {
    record_same(c);
    return AB_OK;
  }
  ab_status status = start_both(c);
  if (status == AB_OK) status = describe(c, 0);
  if (status == AB_OK) status = settle(c);
  if (status == AB_OK && stays(c)) {
    ab__record_step(c->record, AB_STEP_SAME, 0);
    c->report |= AB_REPORT_SHARED;
  } else if (status == AB_OK) {
    status = plan_ways(c);
  }
  ab__tensor_delete(c->info.tensor); /* nobody asked for one */
  c->record->flags = c->report;
  return status;
}

/* ------------------------------------------------------------------ public */

static void conversion_init(ab__conversion *c, ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                            const ab_convert_options *options, ab_record *record, ab_error *error) {
  c->bridge = bridge;
  c->source = source->object;
  c->options = options;
  c->record = record;
  c->error = error;
  c->report = 0;
  c->locked = 0;
  c->info.tensor = NULL;
  c->at.source = source->backend;
  c->at.target = target;
  c->at.info = &c->info;
  c->at.take = NULL;
  c->at.push = NULL;
  c->at.flags = options->flags;
  c->at.copy = options->copy;
  c->at.bytes = 0;
  c->at.dtype = (DLDataType){0, 0, 0};
  c->at.device = (DLDevice){kDLCPU, 0};
  if (options->scaled != NULL) options->scaled->saturated = options->scaled->overflowed = 0;
  ab__record_begin(record);
  if (record == NULL) return;
  record->source = c->at.source;
  record->target = c->at.target;
}

enum {
  KNOWN_OPTIONS = AB_CONVERT_LOCK_HELD | AB_CONVERT_COPY_IMMUTABLE | AB_CONVERT_COPY_MUTABLE | AB_CONVERT_DEVICE_GIVEN |
                  AB_CONVERT_DEVICE_KIND | AB_CONVERT_ACCELERATOR | AB_CONVERT_COPY_LATE_READS | AB_CONVERT_NAN_GIVEN |
                  AB_CONVERT_RELEASE_CONTEXT
};

static ab_status check_arguments(const ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                                 const ab_convert_options *options, const ab_record *record, ab_error *error) {
  if (bridge == NULL || source == NULL || source->backend == NULL || source->object == NULL || target == NULL)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "a bridge, a source and a target are needed");
  if (source->backend->bridge != bridge || target->bridge != bridge)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "source and target are of another bridge");
  if (ab__bridge_ending(bridge)) return ab_error_set(error, AB_ENDING, "%s", ab_status_text(AB_ENDING));
  if (options->struct_size < sizeof(ab_convert_options))
    return ab_error_set(error, AB_INVALID_ARGUMENT, "ab_convert_options.struct_size is too small");
  if (options->copy > AB_COPY_NEVER || options->casting > AB_CASTING_UNSAFE)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "copy or casting is out of range");
  if (options->scaling > AB_SCALING_WRAP) return ab_error_set(error, AB_INVALID_ARGUMENT, "scaling is out of range");
  if (options->scaling != AB_SCALING_NONE && options->dtype.bits == 0)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "scaling needs a dtype to scale to");
  if (options->scaled != NULL && options->scaled->struct_size < sizeof(ab_scale_report))
    return ab_error_set(error, AB_INVALID_ARGUMENT, "ab_scale_report.struct_size is too small");
  if (options->flags & 0xffff & ~(uint32_t)KNOWN_OPTIONS)
    return ab_error_set(error, AB_UNSUPPORTED, "flags 0x%x: an option of a newer version", options->flags);
  if (record != NULL && record->struct_size < sizeof(ab_record))
    return ab_error_set(error, AB_INVALID_ARGUMENT, "ab_record.struct_size is too small");
  return AB_OK;
}

/* One runtime, one lock: whoever of the two needs it, it is the same. */
static ab_status enter(const ab_backend *source, const ab_backend *target, const ab_convert_options *options,
                       void **token, ab_error *error) {
  const ab_backend *needy = source->descriptor->lock != AB_LOCK_NONE ? source : target;
  return ab__backend_enter(needy, (options->flags & AB_CONVERT_LOCK_HELD) != 0, token, error);
}

/* Without a lock of its own to hold, a conversion knows only what the runtime can tell. */
static int has_lock(const ab__conversion *c) {
  return (c->options->flags & AB_CONVERT_LOCK_HELD) || c->at.source->descriptor->lock != AB_LOCK_NONE ||
         c->at.target->descriptor->lock != AB_LOCK_NONE || ab__bridge_lock_held(c->bridge);
}

/* Status and error agree, whatever a plugin has left behind. */
static ab_status finish(ab_status status, ab_error *error) {
  if (status == AB_OK) {
    if (error->status != AB_OK || error->text[0] != '\0' || error->failure.struct_size != 0) ab_error_clear(error);
    return AB_OK;
  }
  if (status < AB_OK || status > AB_INTERNAL)
    return ab_error_set(error, AB_INTERNAL, "a plugin returned the unknown status %d", (int)status);
  if (error->text[0] == '\0') ab_error_set(error, status, "%s", ab_status_text(status));
  error->status = status;
  return status;
}

/* Two ends on the host: then the caches of devices are none of its business. */
static DLDevice short_of_memory(const ab__conversion *c) {
  const int host = ab__is_host(c->info.device) && ab__is_host(c->at.device);
  return host ? c->at.device : (DLDevice){(DLDeviceType)0, 0};
}

/* After a failure: as long as it is out-of-memory and something is left to try, makes room and converts again. Each
 * attempt is a conversion without recovery of its own, so that the way of those that succeed stays as it is. The
 * failure of an attempt is given up before room is made, since it may hold what should be freed. */
__attribute__((noinline, cold)) static ab_status recover(const ab__conversion *c, ab_status status, ab_array *result) {
  const ab_array source = {c->at.source, c->source};
  const uint32_t most = c->options->max_retries;
  ab_convert_options once = *c->options;
  once.flags |= AB_CONVERT_NO_RECOVERY;
  ab_recovery state = {.struct_size = (uint32_t)sizeof state,
                       .device = short_of_memory(c),
                       .max_retries = most != 0 ? most : AB__DEFAULT_RETRIES};
  for (;;) {
    const ab_status verdict = ab__oom_judge(c->bridge, status, c->error);
    if (verdict == AB_OK) return status;
    c->error->status = verdict;
    const ab_recovery_action action = ab__recovery_next(&state, verdict);
    if (action == AB_RECOVERY_RAISE || (c->options->flags & AB_CONVERT_NO_RECOVERY)) return verdict;
    ab_error_clear(c->error);
    status = ab__recovery_go(c->bridge, &state, action, c->error);
    if (status != AB_OK) return finish(status, c->error);
    status = ab_convert(c->bridge, &source, c->at.target, &once, result, c->error);
    if (status == AB_OK) return AB_OK;
  }
}

ab_status ab_convert(ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                     const ab_convert_options *options, ab_array *result, ab_error *error) {
  ab_error local;
  if (error == NULL) {
    ab_error_init(&local);
    error = &local;
  } else {
    ab_error_clear(error); /* of an earlier call */
  }
  if (options == NULL) options = &no_options;
  ab_status status = check_arguments(bridge, source, target, options, options->record, error);
  if (status == AB_OK && result == NULL) status = ab_error_set(error, AB_INVALID_ARGUMENT, "no place for the result");
  if (status != AB_OK) return status;
  void *token = NULL;
  status = enter(source->backend, target, options, &token, error);
  if (status != AB_OK) return status;
  const double start = options->record != NULL ? ab__record_clock() : 0;
  ab__conversion c;
  conversion_init(&c, bridge, source, target, options, options->record, error);
  c.locked = has_lock(&c);
  status = finish(convert_locked(&c, result), error);
  if (status != AB_OK) status = recover(&c, status, result);
  if (options->record != NULL) options->record->seconds = ab__record_clock() - start;
  if (error == &local) ab_error_clear(&local);
  ab__backend_leave(source->backend, token);
  return status;
}

ab_status ab_plan(ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                  const ab_convert_options *options, ab_record *record, ab_error *error) {
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error);
  if (options == NULL) options = &no_options;
  ab_status status = check_arguments(bridge, source, target, options, record, error);
  if (status == AB_OK && record == NULL) status = ab_error_set(error, AB_INVALID_ARGUMENT, "a record is needed");
  if (status != AB_OK) return status;
  void *token = NULL;
  status = enter(source->backend, target, options, &token, error);
  if (status != AB_OK) return status;
  ab__conversion c;
  conversion_init(&c, bridge, source, target, options, record, error);
  status = finish(plan_locked(&c), error);
  ab__backend_leave(source->backend, token);
  ab_error_clear(&local);
  return status;
}
