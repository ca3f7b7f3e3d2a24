/* SPDX-License-Identifier: MIT */
#include "staging.h"

#include "device/device.h"
#include "memory.h"
#include "pinned_pool.h"
#include "release.h"
#include "stream_event.h"
#include "transfer.h"

/* ------------------------------------------------------------------ operations and streams */

static int not_theirs(ab_status status) { return status == AB_UNSUPPORTED || status == AB_UNAVAILABLE; }

static const ab_device_ops *ops_for(const ab__conversion *c, const ab_backend *backend, DLDevice device) {
  const ab_device_ops *ops = ab__device_ops(device.device_type);
  if (ab__transfer_possible(ops)) return ops;
  if (backend->vtable->device_ops == NULL) return NULL;
  ab__invocation run;
  ab__invocation_init(&run, backend, AB_CALL_NO_TEXT, NULL, c->error);
  ops = backend->vtable->device_ops(&run.call, (int32_t)device.device_type);
  return ab__transfer_possible(ops) ? ops : NULL;
}

static ab_status ask_framework(const ab__conversion *c, const ab_backend *backend, DLDevice device,
                               ab__staging *staging) {
  const ab_stream *stream = &staging->framework;
  const uint32_t flags = ab__conversion_call_flags(c);
  const ab_status status = ab__stream_current(backend, device, flags, &staging->framework, c->error);
  staging->told = status == AB_OK && stream->kind != AB_STREAM_NONE && stream->kind < AB_STREAM_UNKNOWN;
  return status;
}

/* The framework's own stream needs no events; but one that belongs to a thread cannot be used by ours. */
static ab_status choose_stream(const ab__conversion *c, DLDevice device, ab__staging *staging) {
  if (staging->told && staging->framework.kind != AB_STREAM_PER_THREAD) {
    staging->stream = staging->framework;
    return AB_OK;
  }
  const uint8_t *uuid = staging->told ? staging->framework.device_uuid : c->info.device_uuid;
  ab__pinned_pool *pool = ab__pinned_pool_of(staging->ops, device, uuid);
  if (pool == NULL) return ab_error_set(c->error, AB_OOM, "no memory for a transfer");
  return ab__pinned_pool_stream(pool, &staging->stream, c->error);
}

/* What a capture notes is done when the graph runs, when the host memory may hold anything. */
static ab_status refuse_capture(const ab__conversion *c, const ab_backend *backend, const ab__staging *staging,
                                const ab_stream *stream) {
  if (staging->ops->stream_state == NULL) return AB_OK;
  ab_stream now = *stream;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call call = ab__device_call(staging->ops, stream, &report, c->error);
  const ab_status status = staging->ops->stream_state(&call, &now);
  if (status != AB_OK || !(now.flags & AB_STREAM_CAPTURING)) return status;
  ab_error_set(c->error, AB_STREAM,
               "%s's stream is being captured into a graph: nothing is copied between host and "
               "device then",
               ab_backend_name(backend));
  ab_error_hint(c->error, "convert before the capture begins");
  return AB_STREAM;
}

ab_status ab__staging_begin(const ab__conversion *c, const ab_backend *backend, DLDevice device, ab__staging *staging) {
  *staging = (ab__staging){.ops = ops_for(c, backend, device)};
  if (staging->ops == NULL) return ab_error_set(c->error, AB_UNSUPPORTED, "nobody has operations for the device");
  ab_status status = ask_framework(c, backend, device, staging);
  if (status == AB_OK && staging->told) status = refuse_capture(c, backend, staging, &staging->framework);
  if (status == AB_OK) status = choose_stream(c, device, staging);
  if (!not_theirs(status)) return status;
  if (c->error->text[0] == '\0') ab_error_set(c->error, status, "%s", ab_status_text(status));
  return c->error->status = AB_UNSUPPORTED; /* the driver is not there: the framework may know better */
}

/* Makes `later` (NULL: the host) wait for all that is on `earlier`. */
static ab_status wait_for(const ab__staging *staging, const ab_stream *earlier, const ab_stream *later,
                          ab_error *error) {
  if (later != NULL && ab__stream_same(earlier, later)) return AB_OK;
  return ab__stream_follow(staging->ops, earlier, later, error);
}

static ab__transfer transfer_of(const ab__conversion *c, const ab__staging *staging, const DLTensor *there,
                                uint64_t bytes) {
  ab__transfer made = {.ops = staging->ops,
                       .stream = &staging->stream,
                       .device = {.struct_size = (uint32_t)sizeof made.device,
                                  .device = there->device,
                                  .handle = there->data,
                                  .offset = there->byte_offset,
                                  .bytes = bytes},
                       .threads = c->options->threads,
                       .pinned_limit = c->options->pinned_limit,
                       .progress = c->options->progress,
                       .progress_context = c->options->progress_context};
  memcpy(made.device.device_uuid, staging->stream.device_uuid, sizeof made.device.device_uuid);
  return made;
}

/* The runtime's other threads go on meanwhile, unless the operations need its lock. */
static void *let_go(const ab__conversion *c, const ab__staging *staging, uint64_t bytes) {
  return staging->ops->lock == AB_LOCK_NONE ? ab__conversion_blocking_begin(c, bytes) : NULL;
}

/* ------------------------------------------------------------------ to the host */

int ab__staging_fetches(const ab__conversion *c) {
  const ab_array_info *info = &c->info;
  const uint32_t unfit = AB_INFO_NOT_SHAREABLE | AB_INFO_NOT_PLAIN;
  return !ab__is_host(info->device) && info->device.device_type != kDLOpenCL && c->at.bytes >= AB__STAGE_FROM &&
         (info->flags & unfit) == 0 && c->at.layout.dense && !c->at.layout.negative &&
         c->at.source->vtable->to_dlpack != NULL;
}

/* Laid out as `there` is. */
static ab_status host_tensor(const DLTensor *there, uint64_t bytes, DLManagedTensorVersioned **tensor,
                             ab_error *error) {
  void *memory = ab__allocate_aligned((size_t)bytes);
  if (memory == NULL)
    return ab_error_set(error, AB_OOM, "no host memory for a copy of %llu bytes", (unsigned long long)bytes);
  DLManagedTensorVersioned *made = NULL;
  if (ab__tensor_new(NULL, there->ndim, 0, memory, ab__deallocate, &made) != AB_OK) {
    ab__deallocate(memory);
    return ab_error_set(error, AB_OOM, "no host memory for the description of a tensor");
  }
  made->flags = DLPACK_FLAG_BITMASK_IS_COPIED;
  made->dl_tensor.data = memory;
  made->dl_tensor.dtype = there->dtype;
  for (int32_t axis = 0; axis < there->ndim; axis++) {
    made->dl_tensor.shape[axis] = there->shape[axis];
    made->dl_tensor.strides[axis] = there->strides[axis];
  }
  *tensor = made;
  return AB_OK;
}

/* What describe() said of the layout is not what to_dlpack() need give. */
static int is_dense(const DLTensor *there, int in_order) {
  const uint32_t itemsize = ab_dtype_size(there->dtype);
  int64_t strides[AB_MAX_NDIM];
  for (int32_t axis = 0; axis < there->ndim; axis++) strides[axis] = there->strides[axis] * (int64_t)itemsize;
  ab__layout layout;
  if (ab__layout_of(there->ndim, there->shape, strides, itemsize, &layout) != AB_OK) return 0;
  return in_order ? layout.dense_c : layout.dense && !layout.negative;
}

ab_status ab__staging_fetch(ab__conversion *c, const ab__staging *staging, const DLTensor *there,
                            DLManagedTensorVersioned **tensor) {
  if (!is_dense(there, 0)) return ab_error_set(c->error, AB_UNSUPPORTED, "its memory is not dense");
  DLManagedTensorVersioned *made = NULL;
  ab_status status = host_tensor(there, c->at.bytes, &made, c->error);
  if (status != AB_OK) return status;
  ab__transfer transfer = transfer_of(c, staging, there, c->at.bytes);
  void *token = let_go(c, staging, c->at.bytes);
  status = ab__transfer_to_host(&transfer, made->dl_tensor.data, c->error);
  ab__conversion_blocking_end(c, token);
  c->report |= transfer.report;
  if (status == AB_OK) *tensor = made;
  else ab__tensor_delete(made);
  return status;
}

/* ------------------------------------------------------------------ to the device */

/// An array of the target's, not filled yet.
typedef struct vessel {
  void *array;
  DLManagedTensorVersioned *writable;
} vessel;

static void vessel_end(const ab__conversion *c, vessel *made) {
  ab__tensor_delete(made->writable);
  if (made->array != NULL) c->at.target->vtable->release(c->at.target->self, made->array);
}

static ab_status check_vessel(const ab__conversion *c, const vessel *made, const DLTensor *like) {
  if (made->array == NULL || made->writable == NULL)
    return ab_error_set(c->error, AB_INTERNAL, "%s said that it made an array, and gave none",
                        ab_backend_name(c->at.target));
  const DLTensor *t = &made->writable->dl_tensor;
  const int same = t->ndim == like->ndim && t->dtype.code == like->dtype.code && t->dtype.bits == like->dtype.bits &&
                   t->device.device_type == c->at.device.device_type &&
                   (t->ndim == 0 || memcmp(t->shape, like->shape, (size_t)t->ndim * sizeof(int64_t)) == 0);
  if (!same)
    return ab_error_set(c->error, AB_INVALID_TENSOR, "%s: empty() gave an array of another dtype, shape or device",
                        ab_backend_name(c->at.target));
  if (t->data != NULL && is_dense(t, 1)) return AB_OK;
  return ab_error_set(c->error, AB_UNSUPPORTED, "%s has no dense memory for it", ab_backend_name(c->at.target));
}

static ab_status make_vessel(const ab__conversion *c, const ab__staging *staging, const ab__view *view, vessel *made) {
  DLTensor like = {.device = c->at.device, .ndim = view->ndim, .dtype = view->dtype};
  like.shape = (int64_t *)view->shape; /* DLPack's fields are not const */
  ab__invocation run;
  ab__invocation_init(&run, c->at.target, ab__conversion_call_flags(c), &staging->stream, c->error);
  ab_status status = c->at.target->vtable->empty(&run.call, &like, c->at.device, &made->array, &made->writable);
  const int gave = status == AB_OK;
  status = ab__slot_result(c->at.target, "empty", status, c->error);
  if (!gave) *made = (vessel){NULL, NULL};
  if (status == AB_OK && made->writable != NULL) status = ab__tensor_adopt(&made->writable, c->error);
  if (status == AB_OK) status = check_vessel(c, made, &like);
  return status;
}

/* Nobody may use the memory, or get it from the framework's allocator, before the copies are done. */
static ab_status order_after(const ab__staging *staging, const ab_stream *consumer, ab_error *error) {
  ab_status status = wait_for(staging, &staging->stream, &staging->framework, error);
  if (status == AB_OK) status = wait_for(staging, &staging->stream, consumer, error);
  return status;
}

/* After a failure: copies may be on their way into memory that is about to be dropped. */
static void order_drop(const ab__staging *staging) {
  ab_error error;
  ab_error_init(&error);
  if (wait_for(staging, &staging->stream, &staging->framework, &error) != AB_OK &&
      staging->ops->stream_finish != NULL) {
    ab_report report = {.struct_size = (uint32_t)sizeof report};
    const ab_call call = ab__device_call(staging->ops, &staging->stream, &report, &error);
    (void)staging->ops->stream_finish(&call);
  }
  ab_error_clear(&error);
}

/* Without the runtime's lock. */
static ab_status pour(ab__conversion *c, const ab__staging *staging, const ab_stream *consumer, const ab__view *view,
                      const DLTensor *there) {
  const ab__strided from = ab__pivot_strided(view);
  ab__transfer transfer = transfer_of(c, staging, there, ab__conversion_copied_bytes(c));
  /* What the framework's own work has left in the order of its stream concerns memory that it gives out again. */
  ab_status status = wait_for(staging, &staging->framework, &staging->stream, c->error);
  if (status == AB_OK) status = ab__transfer_to_device(&transfer, &from, c->error);
  if (status == AB_OK) status = order_after(staging, consumer, c->error);
  if (status != AB_OK) order_drop(staging);
  c->report |= transfer.report | (consumer == NULL ? AB_REPORT_BLOCKED_HOST : 0);
  return status;
}

ab_status ab__staging_fill(ab__conversion *c, const ab_stream *consumer, const ab__view *view, void **object) {
  ab__staging staging;
  ab_status status = ab__staging_begin(c, c->at.target, c->at.device, &staging);
  if (status == AB_OK && !staging.told)
    status = ab_error_set(c->error, AB_UNSUPPORTED, "%s does not tell its stream", ab_backend_name(c->at.target));
  if (status == AB_OK && consumer != NULL && !ab__stream_same(consumer, &staging.framework))
    status = refuse_capture(c, c->at.target, &staging, consumer);
  if (status != AB_OK) return status;
  vessel made = {NULL, NULL};
  const uint32_t report = c->report;
  status = make_vessel(c, &staging, view, &made);
  if (status == AB_OK) {
    void *token = let_go(c, &staging, c->at.bytes);
    status = pour(c, &staging, consumer, view, &made.writable->dl_tensor);
    ab__conversion_blocking_end(c, token);
  }
  if (status != AB_OK) {
    c->report = report;
    vessel_end(c, &made);
    return not_theirs(status) ? AB_UNSUPPORTED : status;
  }
  ab__tensor_delete(made.writable);
  *object = made.array;
  c->report |= AB_REPORT_COPIED;
  return AB_OK;
}
