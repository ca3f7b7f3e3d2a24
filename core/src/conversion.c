/* SPDX-License-Identifier: MIT */
#include "conversion.h"

#include "device/opencl.h"
#include "lease.h"
#include "memory.h"
#include "mutant.h"
#include "order.h"
#include "pivot.h"
#include "staging.h"
#include "target.h"

/* Copies below this many bytes are quicker than letting go of the runtime's lock and taking it again. */
enum { BLOCKING_BYTES = 1 << 18 };

/* ------------------------------------------------------------------ what a tensor must be */

static void strides_in_bytes(const DLTensor *t, int64_t itemsize, int64_t *strides) {
  for (int32_t axis = 0; axis < t->ndim; axis++) strides[axis] = t->strides[axis] * itemsize;
}

static ab_status layout_of_tensor(const ab__conversion *c, const DLTensor *t, ab__layout *layout) {
  int64_t strides[AB_MAX_NDIM];
  strides_in_bytes(t, c->at.itemsize, strides);
  return ab__layout_of(t->ndim, t->shape, strides, c->at.itemsize, layout);
}

static int same_kind_of_device(DLDevice a, DLDevice b) {
  return ab__is_host(a) ? ab__is_host(b) : a.device_type == b.device_type;
}

ab_status ab__conversion_check_range(const ab__conversion *c, const char *gave, const void *data,
                                     const ab__layout *layout) {
  const ab_array_info *info = &c->info;
  if (info->range_bytes == 0 || info->range_begin == NULL || data == NULL) return AB_OK;
  uint64_t before = 0, behind = 0;
  ab__layout_overrun(layout, data, info->range_begin, info->range_bytes, &before, &behind);
  if (before == 0 && behind == 0) return AB_OK;
  return ab_error_set(c->error, AB_INVALID_TENSOR,
                      "%s: %s that reaches %llu bytes %s the memory that describe() named (%llu bytes)",
                      ab_backend_name(c->at.source), gave, (unsigned long long)(behind != 0 ? behind : before),
                      behind != 0 ? "past" : "before", (unsigned long long)info->range_bytes);
}

static void write_strides(const int64_t *strides, int32_t ndim, char *text, size_t size) {
  size_t used = 0;
  for (int32_t axis = 0; axis < ndim && used < size; axis++)
    used += (size_t)snprintf(text + used, size - used, "%s%lld", axis == 0 ? "" : ", ", (long long)strides[axis]);
}

/* 1 if the tensor's strides times `unit` are the described ones, on every axis that somebody steps along. */
static int strides_match(const ab__conversion *c, const DLTensor *t, int64_t unit) {
  for (int32_t axis = 0; axis < t->ndim; axis++)
    if (t->shape[axis] != 1 && t->strides[axis] * unit != c->strides[axis]) return 0;
  return 1;
}

/* The two units are easily mixed up, and whoever follows the wrong strides reads other memory. */
static ab_status strides_differ(const ab__conversion *c, const char *slot, const DLTensor *t) {
  char given[96] = "", described[96] = "";
  write_strides(t->strides, t->ndim, given, sizeof given);
  write_strides(c->strides, t->ndim, described, sizeof described);
  const int same_numbers = strides_match(c, t, 1);
  char advice[48] = "they must mean the same";
  if (same_numbers && c->at.layout.fractional) snprintf(advice, sizeof advice, "describe() counts bytes");
  else if (same_numbers) snprintf(advice, sizeof advice, "%s() counts elements", slot);
  return ab_error_set(c->error, AB_INVALID_TENSOR,
                      "%s: %s() gave strides (%s) in elements, describe() (%s) in bytes; %s",
                      ab_backend_name(c->at.source), slot, given, described, advice);
}

/* Two descriptions of one memory. Another address is other memory: a copy, or a view that begins elsewhere. Strides of
 * no whole elements no tensor can have, unless they are elements by mistake. */
static int contradicts_strides(const ab__conversion *c, const DLTensor *t) {
  if (c->info.data == NULL || t->data != c->info.data || !ab__is_host(t->device) || c->at.layout.empty) return 0;
  return c->at.layout.fractional ? strides_match(c, t, 1) : !strides_match(c, t, c->at.itemsize);
}

/* A copy lies anywhere. to_host() need not say that it made one, so that is told by where it lies. */
static int in_described_range(const ab__conversion *c, const DLTensor *t) {
  return (uintptr_t)t->data - (uintptr_t)c->info.range_begin < c->info.range_bytes;
}

static ab_status check_memory(const ab__conversion *c, const char *slot, int shares, const DLTensor *t) {
  if (contradicts_strides(c, t)) return strides_differ(c, slot, t);
  if (c->info.range_bytes == 0 || !ab__is_host(t->device) || !(shares || in_described_range(c, t))) return AB_OK;
  ab__layout layout;
  if (layout_of_tensor(c, t, &layout) != AB_OK)
    return ab_error_set(c->error, AB_INVALID_TENSOR, "%s: %s() gave strides that overflow",
                        ab_backend_name(c->at.source), slot);
  char gave[48];
  snprintf(gave, sizeof gave, "%s() gave a tensor", slot);
  return ab__conversion_check_range(c, gave, t->data, &layout);
}

/* `device`: where the tensor must lie. Frameworks die of memory that is not where they look for it. `shares`: it must
 * be the array's own memory. */
static ab_status check_described(const ab__conversion *c, const char *slot, DLDevice device, int shares,
                                 DLManagedTensorVersioned **tensor) {
  const DLTensor *t = &(*tensor)->dl_tensor;
  const int same = t->ndim == c->info.ndim && t->dtype.code == c->info.dtype.code &&
                   t->dtype.bits == c->info.dtype.bits &&
                   (t->ndim == 0 || memcmp(t->shape, c->shape, (size_t)t->ndim * sizeof(int64_t)) == 0);
  ab_status status = AB_OK;
  if (!same || !same_kind_of_device(device, t->device))
    status = ab_error_set(c->error, AB_INVALID_TENSOR, "%s gave another %s than it had described",
                          ab_backend_name(c->at.source), same ? "device" : "dtype or shape");
  else status = check_memory(c, slot, shares, t);
  if (status == AB_OK) return AB_OK;
  ab__tensor_delete(*tensor);
  *tensor = NULL;
  return status;
}

/* What a slot gave goes on being the core's only if the slot has really succeeded. */
static ab_status slot_gave(const ab__conversion *c, const char *slot, ab_status status,
                           DLManagedTensorVersioned **tensor) {
  const ab_status result = ab__slot_result(c->at.source, slot, status, c->error);
  if (status == AB_OK && result != AB_OK) {
    ab__tensor_delete(*tensor);
    *tensor = NULL;
  }
  return result;
}

/* ------------------------------------------------------------------ fetch */

void *ab__conversion_blocking_begin(const ab__conversion *c, uint64_t bytes) {
  const ab_runtime *runtime = &c->bridge->runtime;
  const int worth_it = c->locked && bytes >= BLOCKING_BYTES && runtime->blocking_begin != NULL;
  return worth_it ? runtime->blocking_begin(runtime->self) : NULL;
}

void ab__conversion_blocking_end(const ab__conversion *c, void *token) {
  if (token != NULL) c->bridge->runtime.blocking_end(c->bridge->runtime.self, token);
}

static ab_status fetch_shared(ab__conversion *c, const ab_stream *stream, DLManagedTensorVersioned **tensor) {
  if (c->info.tensor != NULL) {
    *tensor = c->info.tensor;
    c->info.tensor = NULL;
    return AB_OK;
  }
  if (c->at.source->vtable->to_dlpack == NULL || (c->info.flags & AB_INFO_NOT_SHAREABLE)) return AB_UNSUPPORTED;
  int ordered = 0;
  if (stream != NULL) {
    const ab_status before = ab__order_before(c, ab__order_ops(c), stream, &ordered);
    if (before != AB_OK) return before;
  }
  ab__invocation run;
  ab__invocation_init(&run, c->at.source, ab__conversion_call_flags(c) | (ordered ? AB_CALL_ORDERED : 0), stream,
                      c->error);
  DLManagedTensorVersioned *given = NULL;
  ab_status status = c->at.source->vtable->to_dlpack(&run.call, c->source, &given);
  status = slot_gave(c, "to_dlpack", status, &given);
  if (status == AB_OK) status = ab__tensor_adopt(&given, c->error);
  const int shares = (run.report.flags & AB_REPORT_COPIED) == 0;
  if (status == AB_OK) status = check_described(c, "to_dlpack", c->info.device, shares, &given);
  if (status != AB_OK) return status;
  *tensor = given;
  c->report |= run.report.flags & ~(uint32_t)AB_REPORT_SHARED;
  return AB_OK;
}

/* A core built without OpenCL, or a machine without its loader, leaves the frameworks' own copies. */
static ab_status without_opencl(ab_status status) { return status == AB_UNAVAILABLE ? AB_UNSUPPORTED : status; }

static ab_status fetch_mapped(ab__conversion *c, DLManagedTensorVersioned **tensor) {
  DLManagedTensorVersioned *device = NULL;
  ab_status status = fetch_shared(c, NULL, &device);
  if (status != AB_OK) return status;
  void *token = ab__conversion_blocking_begin(c, BLOCKING_BYTES); /* maps wait for the device */
  status = without_opencl(ab__opencl_map(device, tensor, c->error));
  ab__conversion_blocking_end(c, token);
  if (status != AB_OK) ab__tensor_delete(device);
  return status;
}

/* For slots that may take long. */
static void let_follow(const ab__conversion *c, ab__invocation *run) {
  run->call.progress = c->options->progress;
  run->call.progress_context = c->options->progress_context;
}

/* Through pinned memory of the core's. AB_UNSUPPORTED: the framework is to do it. */
static ab_status fetch_staged(ab__conversion *c, DLManagedTensorVersioned **tensor) {
  if (!ab__staging_fetches(c)) return AB_UNSUPPORTED;
  ab__staging staging;
  DLManagedTensorVersioned *there = NULL;
  const uint32_t report = c->report;
  ab_status status = ab__staging_begin(c, c->at.source, c->info.device, &staging);
  if (status == AB_OK) status = fetch_shared(c, &staging.stream, &there);
  if (status == AB_OK) status = ab__staging_fetch(c, &staging, &there->dl_tensor, tensor);
  ab__tensor_delete(there);
  if (status == AB_OK) ab__record_step(c->record, AB_STEP_TO_HOST, c->at.bytes);
  else c->report = report;
  return status;
}

static ab_status fetch_to_host(ab__conversion *c, DLManagedTensorVersioned **tensor) {
  const ab_status staged = fetch_staged(c, tensor);
  if (staged != AB_UNSUPPORTED && staged != AB_WOULD_COPY) return staged;
  ab_error_clear(c->error);
  ab__invocation run;
  ab__invocation_init(&run, c->at.source, ab__conversion_call_flags(c), NULL, c->error);
  let_follow(c, &run);
  DLManagedTensorVersioned *given = NULL;
  ab_status status = c->at.source->vtable->to_host(&run.call, c->source, &given);
  status = slot_gave(c, "to_host", status, &given);
  if (status == AB_OK) status = ab__tensor_adopt(&given, c->error);
  if (status == AB_OK) status = check_described(c, "to_host", (DLDevice){kDLCPU, 0}, 0, &given);
  if (status != AB_OK) return status;
  *tensor = given;
  const int copied = (run.report.flags & AB_REPORT_COPIED) != 0;
  c->report |= run.report.flags & ~(uint32_t)AB_REPORT_SHARED;
  if (copied) (*tensor)->flags |= DLPACK_FLAG_BITMASK_IS_COPIED;
  else (*tensor)->flags &= ~(uint64_t)DLPACK_FLAG_BITMASK_IS_COPIED;
  ab__record_step(c->record, AB_STEP_TO_HOST, copied ? c->at.bytes : 0);
  return AB_OK;
}

int ab__conversion_pushes_as_it_is(const ab__conversion *c) {
  return c->info.data != NULL && ((uintptr_t)c->info.data & (AB__ALIGNMENT - 1)) == 0 && c->at.layout.dense_c &&
         !c->at.layout.empty && !(c->info.flags & AB_INFO_BYTE_SWAPPED) && !ab__conversion_casts(c);
}

/* Strides that are no whole elements cannot be shared, and a plugin says so. One that does not has perhaps counted
 * elements where bytes are meant: its own to_dlpack() knows. */
static ab_status doubt_strides(ab__conversion *c) {
  if (!c->at.layout.fractional || c->at.layout.empty || c->info.tensor != NULL) return AB_OK;
  const uint32_t report = c->report;
  DLManagedTensorVersioned *shown = NULL;
  const ab_status status = fetch_shared(c, NULL, &shown);
  ab__tensor_delete(shown);
  c->report = report;
  if (status != AB_UNSUPPORTED && status != AB_WOULD_COPY) return status;
  ab_error_clear(c->error);
  return AB_OK;
}

/* The described bytes are enough, unless only the tensor knows them. from_host() reads and keeps nothing: it may look
 * at the array's own memory, through a tensor that owns none. */
static ab_status fetch_described(ab__conversion *c, const ab__way *way, DLManagedTensorVersioned **tensor) {
  if (c->info.data == NULL && !c->at.layout.empty) return fetch_shared(c, NULL, tensor);
  const ab_status status = doubt_strides(c);
  if (status != AB_OK) return status;
  if (way->deliver != AB__DELIVER_PUSH || !ab__conversion_pushes_as_it_is(c)) return AB_OK;
  DLManagedTensorVersioned *made = NULL;
  if (ab__tensor_new(NULL, c->info.ndim, 0, NULL, NULL, &made) != AB_OK)
    return ab_error_set(c->error, AB_OOM, "no memory for the description of a tensor");
  made->dl_tensor.data = c->info.data;
  made->dl_tensor.dtype = c->info.dtype;
  int64_t step = 1;
  for (int32_t axis = c->info.ndim - 1; axis >= 0; step *= c->shape[axis--]) {
    made->dl_tensor.shape[axis] = c->shape[axis];
    made->dl_tensor.strides[axis] = step;
  }
  *tensor = made;
  return AB_OK;
}

static ab_status fetch(ab__conversion *c, const ab__way *way, const ab_stream *stream,
                       DLManagedTensorVersioned **tensor) {
  switch (way->fetch) {
    case AB__FETCH_SHARE:
      return fetch_shared(c, stream, tensor);
    case AB__FETCH_MAP: {
      const ab_status status = fetch_mapped(c, tensor);
      if (status == AB_OK && way->hold != AB__HOLD_SHARE) ab__record_step(c->record, AB_STEP_MAP, 0);
      return status;
    }
    case AB__FETCH_TO_HOST:
      return fetch_to_host(c, tensor);
    default:
      return fetch_described(c, way, tensor);
  }
}

/* ------------------------------------------------------------------ hold */

/* What is to be copied from: the tensor, else the described bytes. `strides`: storage for its own, bytes. */
static ab__view view_of(const ab__conversion *c, const DLManagedTensorVersioned *tensor, int64_t *strides) {
  if (tensor == NULL)
    return (ab__view){.data = c->info.data,
                      .ndim = c->info.ndim,
                      .shape = c->shape,
                      .strides = c->strides,
                      .dtype = c->info.dtype,
                      .swapped = (c->info.flags & AB_INFO_BYTE_SWAPPED) != 0};
  const DLTensor *t = &tensor->dl_tensor;
  strides_in_bytes(t, ab_dtype_size(t->dtype), strides);
  return (ab__view){.data = t->data, .ndim = t->ndim, .shape = t->shape, .strides = strides, .dtype = t->dtype};
}

static ab_status copy_out(ab__conversion *c, DLManagedTensorVersioned **tensor) {
  int64_t strides[AB_MAX_NDIM];
  const ab__view view = view_of(c, *tensor, strides);
  DLManagedTensorVersioned *pivot = NULL;
  void *token = ab__conversion_blocking_begin(c, c->at.bytes);
  const ab__pivot_policy policy = ab__pivot_policy_of(c->options);
  const ab_status status = ab__pivot_copy(&view, c->at.dtype, &policy, &pivot, c->error);
  ab__conversion_blocking_end(c, token);
  if (status != AB_OK) return status;
  ab__tensor_delete(*tensor);
  *tensor = pivot;
  ab__record_step(c->record, AB_STEP_PIVOT, ab__conversion_copied_bytes(c));
  if (ab__conversion_casts(c)) c->report |= AB_REPORT_CAST;
  c->report |= AB_REPORT_COPIED;
  return AB_OK;
}

/* A fresh tensor from the source framework stands for a copy: only its form must fit. */
static int tensor_fits(const ab__conversion *c, const ab__way *way, const DLManagedTensorVersioned *tensor) {
  ab__layout layout;
  if (layout_of_tensor(c, &tensor->dl_tensor, &layout) != AB_OK) return 0;
  const int fresh = (tensor->flags & DLPACK_FLAG_BITMASK_IS_COPIED) != 0;
  if (way->deliver == AB__DELIVER_PUSH)
    return layout.dense_c && ((uintptr_t)tensor->dl_tensor.data & (AB__ALIGNMENT - 1)) == 0 && !ab__conversion_casts(c);
  ab__situation at = c->at;
  ab_array_info info = c->info;
  at.info = &info;
  info.flags &= ~(uint32_t)AB_INFO_BYTE_SWAPPED; /* a tensor is in native order */
  if (fresh) {
    info.mutability = AB_MUTABLE;
    at.copy = AB_COPY_IF_NEEDED;
    at.flags = 0;
  }
  return !ab__share_refused(&at, tensor->dl_tensor.data, &layout, NULL);
}

/* 1 if the tensor is just the memory that was described, so that what was decided holds for it. */
static int is_as_described(const ab__conversion *c, const DLTensor *t) {
  return c->info.data != NULL && c->info.data == t->data && strides_match(c, t, c->at.itemsize);
}

static ab_status hold(ab__conversion *c, const ab__way *way, DLManagedTensorVersioned **tensor) {
  if (way->deliver == AB__DELIVER_FILL && !ab__conversion_casts(c)) return AB_OK; /* any memory can be copied from */
  if (way->hold == AB__HOLD_COPY || *tensor == NULL) return copy_out(c, tensor);
  if (way->hold == AB__HOLD_FIT) return tensor_fits(c, way, *tensor) ? AB_OK : copy_out(c, tensor);
  /* Shared as planned; what only the real tensor shows (its address, its strides) is looked at here. */
  if (!ab__is_host((*tensor)->dl_tensor.device) || is_as_described(c, &(*tensor)->dl_tensor)) return AB_OK;
  ab__layout layout;
  ab_status status = layout_of_tensor(c, &(*tensor)->dl_tensor, &layout);
  if (status != AB_OK) return status;
  ab_step why = {.reason = ""};
  if (!ab__share_refused(&c->at, (*tensor)->dl_tensor.data, &layout, &why)) return AB_OK;
  return ab_error_set(c->error, AB_UNSUPPORTED, "%s", why.reason);
}

/* ------------------------------------------------------------------ deliver */

static int is_fresh(const ab__way *way, const DLManagedTensorVersioned *tensor) {
  return way->hold != AB__HOLD_SHARE && (tensor->flags & DLPACK_FLAG_BITMASK_IS_COPIED);
}

/* The flag is for targets that can keep it. What is immutable by convention is handed to them read-only, too. */
static void mark_read_only(const ab__conversion *c, int fresh, DLManagedTensorVersioned *tensor) {
  tensor->flags &= ~(uint64_t)DLPACK_FLAG_BITMASK_READ_ONLY;
  if (!fresh && c->info.mutability != AB_MUTABLE && (c->at.take->stated.flags & AB_CARRIES_READ_ONLY))
    tensor->flags |= DLPACK_FLAG_BITMASK_READ_ONLY;
}

int ab__conversion_wrap_refused(ab__conversion *c, const ab__way *way, ab_step *why) {
  if (way->deliver != AB__DELIVER_WRAP || way->hold != AB__HOLD_SHARE || c->info.data == NULL) return 0;
  ab__native native;
  ab_status status = ab__target_native(c->at.target, c->at.device, &native, c->error);
  if (status == AB_OK)
    status = ab__opencl_can_wrap(native.context, native.device, c->info.data, c->at.itemsize, c->at.bytes, c->error);
  if (status == AB_OK) return 0;
  snprintf(why->reason, sizeof why->reason, "%.*s", AB_STEP_REASON - 1, c->error->text);
  ab_error_clear(c->error);
  return 1;
}

static ab_status wrap(ab__conversion *c, DLManagedTensorVersioned **tensor) {
  ab__native native;
  ab_status status = ab__target_native(c->at.target, c->at.device, &native, c->error);
  if (status != AB_OK) return status;
  DLManagedTensorVersioned *wrapped = NULL;
  status = without_opencl(ab__opencl_wrap(native.context, native.device, c->at.device, *tensor, &wrapped, c->error));
  if (status != AB_OK) return status;
  *tensor = wrapped;
  ab__record_step(c->record, AB_STEP_WRAP, 0);
  return AB_OK;
}

/* As slot_gave(), for the array that a target has made. */
static ab_status slot_made(const ab__conversion *c, const char *slot, ab_status status, void *made) {
  const ab_status result = ab__slot_result(c->at.target, slot, status, c->error);
  if (status == AB_OK && result != AB_OK && made != NULL) c->at.target->vtable->release(c->at.target->self, made);
  return result;
}

static ab_status gave_nothing(const ab__conversion *c) {
  return ab_error_set(c->error, AB_INTERNAL, "%s said that it made an array, and gave none",
                      ab_backend_name(c->at.target));
}

static ab_status import(ab__conversion *c, const ab_stream *stream, DLManagedTensorVersioned **tensor,
                        ab_report *report, void **object) {
  if (ab__is_host((*tensor)->dl_tensor.device)) (*tensor)->dl_tensor.device = c->at.device;
  ab__invocation run;
  ab__invocation_init(&run, c->at.target, ab__conversion_call_flags(c), stream, c->error);
  int32_t consumed = 0;
  void *made = NULL;
  ab_status status = c->at.target->vtable->from_dlpack(&run.call, *tensor, c->at.device, &consumed, &made);
  if (status == AB_OK || consumed) *tensor = NULL;
  status = slot_made(c, "from_dlpack", status, made);
  if (status != AB_OK) return status;
  if (made == NULL) return gave_nothing(c);
  *report = run.report;
  *object = made;
  return AB_OK;
}

static ab_status push(ab__conversion *c, const ab_stream *stream, const DLManagedTensorVersioned *tensor,
                      void **object) {
  ab__invocation run;
  ab__invocation_init(&run, c->at.target, ab__conversion_call_flags(c), stream, c->error);
  let_follow(c, &run);
  void *made = NULL;
  ab_status status = c->at.target->vtable->from_host(&run.call, &tensor->dl_tensor, c->at.device, &made);
  status = slot_made(c, "from_host", status, made);
  if (status != AB_OK) return status;
  if (made == NULL) return gave_nothing(c);
  *object = made;
  c->report |= (run.report.flags & ~(uint32_t)AB_REPORT_SHARED) | AB_REPORT_COPIED;
  ab__record_step(c->record, AB_STEP_FROM_HOST, ab__conversion_copied_bytes(c));
  return AB_OK;
}

static ab_status fill(ab__conversion *c, const ab_stream *stream, const DLManagedTensorVersioned *tensor,
                      void **object) {
  int64_t strides[AB_MAX_NDIM];
  const ab__view view = view_of(c, tensor, strides);
  const ab_status status = ab__staging_fill(c, stream, &view, object);
  if (status == AB_OK) ab__record_step(c->record, AB_STEP_FROM_HOST, ab__conversion_copied_bytes(c));
  return status;
}

uint32_t ab__conversion_aliasing(const ab__conversion *c) {
  const uint32_t later = AB_READS_HOST_LATER | AB_MAKES_IMMUTABLE;
  const int told = c->info.mutability == AB_MUTABLE && (c->at.take->stated.flags & later) != 0;
  return told ? AB_REPORT_ALIASES_MUTABLE : 0;
}

/* What the import amounts to. A framework may have copied where the core had meant it to share; it says so. */
static void note_import(ab__conversion *c, const ab__way *way, int fresh, const ab_report *report) {
  const int copied = (report->flags & (AB_REPORT_COPIED | AB_REPORT_SHARED)) == AB_REPORT_COPIED;
  const int shared = !fresh && !copied;
  c->report |= report->flags & ~(uint32_t)AB_REPORT_SHARED;
  if (shared) c->report |= AB_REPORT_SHARED | ab__conversion_aliasing(c);
  const uint64_t bytes = copied ? ab__conversion_copied_bytes(c) : 0;
  const int mapped = way->fetch == AB__FETCH_MAP && !fresh;
  if (way->deliver == AB__DELIVER_DIRECT) ab__record_step(c->record, mapped ? AB_STEP_MAP : AB_STEP_EXCHANGE, bytes);
}

/* Device memory goes back to its framework when the work of the one that borrowed it is done. */
static ab_status lend(ab__conversion *c, const ab_stream *stream, DLManagedTensorVersioned **tensor) {
  if (ab__is_host((*tensor)->dl_tensor.device)) return AB_OK;
  const ab__loan loan = {.bridge = c->bridge,
                         .borrower = c->at.target,
                         .device = c->at.device,
                         .ops = ab__order_ops(c),
                         .stream = ab__mutated(EVENT_ON_PRODUCER) ? NULL : stream,
                         .whole_context = (c->options->flags & AB_CONVERT_RELEASE_CONTEXT) != 0};
  if (loan.ops == NULL || ab__lease_new(&loan, tensor) == AB_OK) return AB_OK;
  return ab_error_set(c->error, AB_OOM, "no memory for the description of a tensor");
}

static ab_status deliver(ab__conversion *c, const ab__way *way, const ab_stream *stream,
                         DLManagedTensorVersioned **tensor, void **object) {
  if (way->deliver == AB__DELIVER_PUSH) return push(c, stream, *tensor, object);
  if (way->deliver == AB__DELIVER_FILL) return fill(c, stream, *tensor, object);
  const int fresh = is_fresh(way, *tensor);
  mark_read_only(c, fresh, *tensor);
  ab_status status = way->deliver == AB__DELIVER_WRAP ? wrap(c, tensor) : lend(c, stream, tensor);
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  if (status == AB_OK) status = import(c, stream, tensor, &report, object);
  if (status == AB_OK) note_import(c, way, fresh, &report);
  return status;
}

ab_status ab__conversion_go(ab__conversion *c, const ab__way *way, const ab_stream *stream, void **object) {
  const uint32_t mark = c->record != NULL ? c->record->step_count : 0;
  const uint32_t report = c->report;
  const int came_with_tensor = c->info.tensor != NULL;
  DLManagedTensorVersioned *tensor = NULL;
  ab_status status = fetch(c, way, stream, &tensor);
  if (status == AB_OK) status = hold(c, way, &tensor);
  if (status == AB_OK) status = deliver(c, way, stream, &tensor, object);
  ab__tensor_delete(tensor);
  if (status == AB_OK) return AB_OK;
  if (came_with_tensor && c->info.tensor == NULL) c->info.data = NULL; /* the tensor, which is gone, had kept it */
  ab__record_rewind(c->record, mark);
  c->report = report;
  return status;
}
