/* SPDX-License-Identifier: MIT
 * Streams as the driver knows them, and those of our own. */
#include "device/cuda_internal.h"
#include "mutant.h"

#ifdef AB__HAS_CUDA

#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

const ab_stream *ab__cu_call_stream(const ab_call *call) {
  return call->stream != NULL && call->stream->kind != AB_STREAM_NONE ? call->stream : NULL;
}

/* ------------------------------------------------------------------ which one is meant */

static ab_status handle_of(const ab_stream *stream, CUstream *handle, ab_error *error) {
  switch (stream->kind) {
    case AB_STREAM_LEGACY:
      *handle = CU_STREAM_LEGACY;
      return AB_OK;
    case AB_STREAM_PER_THREAD:
      *handle = CU_STREAM_PER_THREAD;
      if (stream->thread == (uint64_t)syscall(SYS_gettid)) return AB_OK;
      return ab_error_set(error, AB_STREAM, "a per-thread default stream can be used on its own thread only");
    case AB_STREAM_HANDLE:
      *handle = ab__mutated(LEGACY_FOR_STREAM) ? CU_STREAM_LEGACY : (CUstream)stream->handle;
      if ((uintptr_t)stream->handle > (uintptr_t)CU_STREAM_PER_THREAD) return AB_OK;
      return ab_error_set(error, AB_STREAM, "%d is no handle of a CUDA stream: default streams have kinds of their own",
                          (int)(uintptr_t)stream->handle);
    default:
      return ab_error_set(error, AB_STREAM, "not a CUDA stream (kind %u)", (unsigned)stream->kind);
  }
}

static ab_status place_of(const ab_stream *stream, ab__cu_place *place, ab_error *error) {
  static const uint8_t nothing[sizeof stream->device_uuid];
  const int wrong = ab__mutated(WRONG_DEVICE);
  const DLDevice where = wrong ? (DLDevice){stream->device.device_type, 0} : stream->device;
  ab__cu_device *device = NULL;
  ab_status status = ab__cu_device_find(where, wrong ? nothing : stream->device_uuid, &device, error);
  if (status != AB_OK) return status;
  CUcontext context = NULL;
  status = ab__cu_primary(device, 0, &context, error);
  *place = (ab__cu_place){.device = device, .context = context};
  if (stream->native_context == NULL || (status != AB_OK && status != AB_UNSUPPORTED)) return status;
  if (status == AB_UNSUPPORTED) ab_error_clear(error);  // the device sleeps, but for this foreign context
  place->foreign = stream->native_context != context;
  place->context = stream->native_context;
  return AB_OK;
}

/* Default streams are of whatever context is current. */
static ab_status check_context(const ab_stream *stream, const ab__cu_place *place, CUstream handle, ab_error *error) {
  if (stream->kind != AB_STREAM_HANDLE) return AB_OK;
  CUcontext context = NULL;
  const CUresult code = ab__cu.cuStreamGetCtx(handle, &context);
  if (code != CUDA_SUCCESS) return ab__cu_failed_at(place, code, "cuStreamGetCtx", error);
  if (context == place->context) return AB_OK;
  return ab_error_set(error, AB_STREAM, "the stream belongs to another CUDA context than %s of cuda:%d",
                      place->foreign ? "the one that is given" : "the primary one", place->device->ordinal);
}

ab_status ab__cu_stream_enter(const ab_stream *stream, ab__cu_place *place, CUstream *handle, ab_error *error) {
  if (stream == NULL) return ab_error_set(error, AB_UNSUPPORTED, "the host is no CUDA stream");
  ab_status status = place_of(stream, place, error);
  if (status == AB_OK) status = handle_of(stream, handle, error);
  if (status == AB_OK) status = ab__cu_enter(place, error);
  if (status != AB_OK) return status;
  status = check_context(stream, place, *handle, error);
  if (status != AB_OK) ab__cu_leave(place);
  return status;
}

/* ------------------------------------------------------------------ captures */

static CUresult ask_capture(CUstream handle, CUstreamCaptureStatus *capture, uint64_t *id) {
  cuuint64_t number = 0;
  if (ab__cu.cuStreamGetCaptureInfo_v2 == NULL) return ab__cu.cuStreamIsCapturing(handle, capture);
  const CUresult code = ab__cu.cuStreamGetCaptureInfo_v2(handle, capture, &number, NULL, NULL, NULL);
  *id = number;
  return code;
}

ab_status ab__cu_stream_capture(const ab__cu_place *place, CUstream handle, int *captures, uint64_t *id,
                                ab_error *error) {
  CUstreamCaptureStatus capture = CU_STREAM_CAPTURE_STATUS_NONE;
  uint64_t number = 0;
  const CUresult code = ask_capture(handle, &capture, &number);
  // The legacy stream cannot be used while a stream that blocks with it captures; asking has broken nothing.
  const int implicit = code == CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  if (code != CUDA_SUCCESS && !implicit) return ab__cu_failed_at(place, code, "cuStreamGetCaptureInfo", error);
  *captures = implicit || capture != CU_STREAM_CAPTURE_STATUS_NONE;
  *id = !implicit && *captures ? number : 0;
  return AB_OK;
}

static ab_status check_uncaptured(const ab__cu_place *place, CUstream handle, ab_error *error) {
  int captures = 0;
  uint64_t id = 0;
  const ab_status status = ab__cu_stream_capture(place, handle, &captures, &id, error);
  if (status != AB_OK || !captures) return status;
  return ab_error_set(error, AB_STREAM, "a CUDA graph is being captured on this stream of cuda:%d",
                      place->device->ordinal);
}

ab_status ab__cu_stream_enter_uncaptured(const ab_stream *stream, ab__cu_place *place, CUstream *handle,
                                         ab_error *error) {
  ab_status status = ab__cu_stream_enter(stream, place, handle, error);
  if (status != AB_OK) return status;
  status = check_uncaptured(place, *handle, error);
  if (status != AB_OK) ab__cu_leave(place);
  return status;
}

/* ------------------------------------------------------------------ waiting, asking */

ab_status ab__cu_stream_await(const ab_call *call, ab__cu_place *place, CUstream handle) {
  const ab_status status = place->relaxed ? AB_OK : ab__cu_relax(place, call->error);
  if (status != AB_OK) return status;
  call->report->flags |= AB_REPORT_BLOCKED_HOST;
  const CUresult code = ab__cu.cuStreamSynchronize(handle);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(place, code, "cuStreamSynchronize", call->error);
}

/* All streams of the device's primary context. As with events of it, captures on non-blocking streams are not seen. */
static ab_status finish_context(const ab_call *call, const ab_stream *stream) {
  ab__cu_place place = {0};
  ab_status status = ab__cu_device_find(stream->device, stream->device_uuid, &place.device, call->error);
  if (status == AB_OK) status = ab__cu_primary(place.device, 0, &place.context, call->error);
  if (status == AB_OK) status = ab__cu_enter(&place, call->error);
  if (status != AB_OK) return status;
  status = check_uncaptured(&place, CU_STREAM_LEGACY, call->error);
  if (status == AB_OK) status = ab__cu_relax(&place, call->error);
  CUresult code = CUDA_SUCCESS;
  if (status == AB_OK) code = ab__cu.cuCtxSynchronize();
  ab__cu_leave(&place);
  if (status != AB_OK) return status;
  call->report->flags |= AB_REPORT_BLOCKED_HOST;
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(&place, code, "cuCtxSynchronize", call->error);
}

ab_status ab__cu_stream_finish(const ab_call *call) {
  const ab_stream *stream = ab__cu_call_stream(call);
  if (stream != NULL && stream->kind == AB_STREAM_UNKNOWN) return finish_context(call, stream);
  ab__cu_place place;
  CUstream handle = NULL;
  ab_status status = ab__cu_stream_enter_uncaptured(stream, &place, &handle, call->error);
  if (status != AB_OK) return status;
  status = ab__cu_stream_await(call, &place, handle);
  ab__cu_leave(&place);
  return status;
}

static ab_status ask_id(const ab__cu_place *place, CUstream handle, uint64_t *id, ab_error *error) {
  unsigned long long number = 0;
  if (ab__cu.cuStreamGetId == NULL) return AB_OK;
  const CUresult code = ab__cu.cuStreamGetId(handle, &number);
  if (code != CUDA_SUCCESS) return ab__cu_failed_at(place, code, "cuStreamGetId", error);
  *id = number;
  return AB_OK;
}

static ab_status ask_flags(const ab__cu_place *place, CUstream handle, unsigned *flags, ab_error *error) {
  const CUresult code = ab__cu.cuStreamGetFlags(handle, flags);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(place, code, "cuStreamGetFlags", error);
}

/* The default streams need no question: the driver refuses some while the legacy stream is implicitly captured. */
static ab_status ask_nature(const ab_stream *stream, const ab__cu_place *place, CUstream handle, unsigned *flags,
                            uint64_t *id, ab_error *error) {
  if (stream->kind != AB_STREAM_HANDLE) return AB_OK;
  const ab_status status = ask_flags(place, handle, flags, error);
  return status == AB_OK ? ask_id(place, handle, id, error) : status;
}

ab_status ab__cu_stream_state(const ab_call *call, ab_stream *stream) {
  ab__cu_place place;
  CUstream handle = NULL;
  ab_status status = ab__cu_stream_enter(stream, &place, &handle, call->error);
  if (status != AB_OK) return status;
  unsigned flags = 0;
  uint64_t id = stream->id, capture_id = 0;
  int captures = 0;
  status = ask_nature(stream, &place, handle, &flags, &id, call->error);
  if (status == AB_OK) status = ab__cu_stream_capture(&place, handle, &captures, &capture_id, call->error);
  ab__cu_leave(&place);
  if (status != AB_OK) return status;
  stream->flags &= ~(uint32_t)(AB_STREAM_NONBLOCKING | AB_STREAM_CAPTURING);
  if (flags & CU_STREAM_NON_BLOCKING) stream->flags |= AB_STREAM_NONBLOCKING;
  if (captures) stream->flags |= AB_STREAM_CAPTURING;
  stream->id = id;
  stream->capture_id = capture_id;
  return AB_OK;
}

/* ------------------------------------------------------------------ our own */

static ab_status create(const ab__cu_place *place, CUstream *handle, ab_error *error) {
  const CUresult code = ab__cu.cuStreamCreate(handle, CU_STREAM_NON_BLOCKING);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(place, code, "cuStreamCreate", error);
}

static void destroy(const ab__cu_place *place, CUstream handle) {
  const CUresult code = ab__cu.cuStreamDestroy_v2(handle);
  if (code != CUDA_SUCCESS) (void)ab__cu_failed_at(place, code, "cuStreamDestroy", NULL);
}

/* Another thread may have been faster: then its stream stays and ours goes. */
ab_status ab__cu_stream_own(const ab__cu_place *place, CUstream *handle, ab_error *error) {
  CUstream known = atomic_load(&place->device->stream);
  if (known == NULL) {
    CUstream made = NULL;
    const ab_status status = create(place, &made, error);
    if (status != AB_OK) return status;
    if (atomic_compare_exchange_strong(&place->device->stream, &known, made)) known = made;
    else destroy(place, made);
  }
  *handle = known;
  return AB_OK;
}

static void describe(const ab__cu_device *device, DLDevice as, CUstream handle, uint64_t id, ab_stream *stream) {
  *stream = (ab_stream){
      .struct_size = (uint32_t)sizeof *stream,
      .kind = AB_STREAM_HANDLE,
      .flags = AB_STREAM_NONBLOCKING | AB_STREAM_IMMORTAL,
      .handle = handle,
      .device = as,
      .id = id,
  };
  memcpy(stream->device_uuid, device->uuid, sizeof stream->device_uuid);
}

ab_status ab__cuda_stream_new(DLDevice device, ab_stream *stream, ab_error *error) {
  ab__cu_place place = {0};
  ab_status status = ab__cu_device_find(device, NULL, &place.device, error);
  if (status == AB_OK) status = ab__cu_primary(place.device, 1, &place.context, error);
  if (status == AB_OK) status = ab__cu_enter(&place, error);
  if (status != AB_OK) return status;
  CUstream handle = NULL;
  uint64_t id = 0;
  status = create(&place, &handle, error);
  if (status == AB_OK) {
    status = ask_id(&place, handle, &id, error);
    if (status != AB_OK) destroy(&place, handle);
  }
  ab__cu_leave(&place);
  if (status == AB_OK) describe(place.device, device, handle, id, stream);
  return status;
}

#endif /* AB__HAS_CUDA */
