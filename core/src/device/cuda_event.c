/* SPDX-License-Identifier: MIT
 *
 * Events. Those of a primary context are kept for the next user, never destroyed: letting go of one calls no driver,
 * and a stream that was told to wait for one is not disturbed when it is recorded again. Those of a foreign context are
 * made and destroyed each time, since it may go away with all that is in it.
 */
#include "device/cuda_internal.h"

#ifdef AB__HAS_CUDA

#include "memory.h"

enum { EVENTS_MAX = 1 << 16 };  // of one device; more are a leak somewhere

struct ab__cu_event {
  ab__cu_event *next;
  CUevent handle;
  ab__cu_device *device;
  CUcontext context;
  int foreign;
};

/* ------------------------------------------------------------------ the pool */

static ab__cu_event *take_idle(ab__cu_device *device) {
  pthread_mutex_lock(&device->events_lock);
  ab__cu_event *event = device->events;
  if (event != NULL) device->events = event->next;
  pthread_mutex_unlock(&device->events_lock);
  return event;
}

static void put_idle(ab__cu_event *event) {
  ab__cu_device *device = event->device;
  pthread_mutex_lock(&device->events_lock);
  event->next = device->events;
  device->events = event;
  pthread_mutex_unlock(&device->events_lock);
}

/* Counts one event more or one less; 0 if there are too many. */
static int count_events(ab__cu_device *device, int change) {
  pthread_mutex_lock(&device->events_lock);
  const int fits = change < 0 || device->event_count < EVENTS_MAX;
  if (fits) device->event_count += change;
  pthread_mutex_unlock(&device->events_lock);
  return fits;
}

static ab_status create(const ab__cu_place *place, ab__cu_event *event, ab_error *error) {
  const CUresult code = ab__cu.cuEventCreate(&event->handle, CU_EVENT_DISABLE_TIMING);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(place, code, "cuEventCreate", error);
}

static ab_status make(const ab__cu_place *place, ab__cu_event **made, ab_error *error) {
  if (!count_events(place->device, +1))
    return ab_error_set(error, AB_OOM, "%d CUDA events of cuda:%d are in use", (int)EVENTS_MAX, place->device->ordinal);
  ab__cu_event *event = ab__allocate(sizeof *event);
  ab_status status = event != NULL ? AB_OK : ab_error_set(error, AB_OOM, "no memory for a CUDA event");
  if (event != NULL) {
    *event = (ab__cu_event){.device = place->device, .context = place->context, .foreign = place->foreign};
    status = create(place, event, error);
  }
  if (status == AB_OK) {
    *made = event;
    return AB_OK;
  }
  ab__deallocate(event);
  (void)count_events(place->device, -1);
  return status;
}

static ab_status take(const ab__cu_place *place, ab__cu_event **event, ab_error *error) {
  *event = place->foreign ? NULL : take_idle(place->device);
  return *event != NULL ? AB_OK : make(place, event, error);
}

/* The event's own context may be gone, and the event with it: then the driver says so, and that is fine. */
static void destroy(const ab__cu_event *event) {
  CUcontext primary = atomic_load(&event->device->primary);
  ab__cu_place place = {
      .device = event->device, .context = primary != NULL ? primary : event->context, .foreign = event->foreign};
  if (ab__cu_enter(&place, NULL) != AB_OK) return;
  (void)ab__cu.cuEventDestroy_v2(event->handle);
  ab__cu_leave(&place);
}

static void give_back(ab__cu_event *event) {
  if (!event->foreign) {
    put_idle(event);
    return;
  }
  destroy(event);
  (void)count_events(event->device, -1);
  ab__deallocate(event);
}

/* ------------------------------------------------------------------ recording */

static ab_status record(const ab__cu_place *place, CUstream handle, ab__cu_event **event, ab_error *error) {
  const ab_status status = take(place, event, error);
  if (status != AB_OK) return status;
  const CUresult code = ab__cu.cuEventRecord((*event)->handle, handle);
  if (code == CUDA_SUCCESS) return AB_OK;
  give_back(*event);
  return ab__cu_failed_at(place, code, "cuEventRecord", error);
}

static ab_status record_stream(const ab_call *call, void **event) {
  ab__cu_place place;
  CUstream handle = NULL;
  ab_status status = ab__cu_stream_enter_uncaptured(ab__cu_call_stream(call), &place, &handle, call->error);
  if (status != AB_OK) return status;
  ab__cu_event *recorded = NULL;
  status = record(&place, handle, &recorded, call->error);
  ab__cu_leave(&place);
  if (status == AB_OK) *event = recorded;
  return status;
}

static ab_status too_old(ab_error *error) {
  return ab_error_set(error, AB_UNSUPPORTED, "waiting for a whole CUDA context needs driver 12.5 or later");
}

static ab_status record_context(const ab__cu_place *place, ab__cu_event **event, ab_error *error) {
  const ab_status status = take(place, event, error);
  if (status != AB_OK) return status;
  const CUresult code = ab__cu.cuCtxRecordEvent(place->context, (*event)->handle);
  if (code == CUDA_SUCCESS) return AB_OK;
  give_back(*event);
  if (code == CUDA_ERROR_NOT_SUPPORTED) return too_old(error);
  const ab_status failed = ab__cu_failed_at(place, code, "cuCtxRecordEvent", error);
  return failed == AB_STREAM ? ab_error_set(error, AB_UNSUPPORTED, "a stream of the CUDA context captures") : failed;
}

ab_status ab__cuda_event_record_context(DLDevice device, const uint8_t uuid[16], void **event, ab_error *error) {
  ab__cu_place place = {0};
  ab_status status = ab__cu_device_find(device, uuid, &place.device, error);
  if (status == AB_OK && ab__cu.cuCtxRecordEvent == NULL) status = too_old(error);
  if (status == AB_OK) status = ab__cu_primary(place.device, 0, &place.context, error);
  if (status == AB_OK) status = ab__cu_enter(&place, error);
  if (status != AB_OK) return status;
  int captures = 0;
  uint64_t id = 0;
  ab__cu_event *recorded = NULL;
  status = ab__cu_stream_capture(&place, CU_STREAM_LEGACY, &captures, &id, error);
  if (status == AB_OK && captures)
    status = ab_error_set(error, AB_UNSUPPORTED, "a stream of the CUDA context captures");
  if (status == AB_OK) status = record_context(&place, &recorded, error);
  ab__cu_leave(&place);
  if (status == AB_OK) *event = recorded;
  return status;
}

ab_status ab__cu_event_record(const ab_call *call, void **event) {
  const ab_stream *stream = ab__cu_call_stream(call);
  if (stream == NULL || stream->kind != AB_STREAM_UNKNOWN) return record_stream(call, event);
  return ab__cuda_event_record_context(stream->device, stream->device_uuid, event, call->error);
}

/* ------------------------------------------------------------------ waiting and asking */

/* Enters where `event` lives, in the mode in which asking breaks no capture. */
static ab_status enter(const ab__cu_event *event, ab__cu_place *place, ab_error *error) {
  *place = (ab__cu_place){.device = event->device, .context = event->context, .foreign = event->foreign};
  ab_status status = ab__cu_open(error);
  if (status == AB_OK) status = ab__cu_fault_check(event->device, error);
  if (status == AB_OK) status = ab__cu_enter(place, error);
  if (status != AB_OK) return status;
  status = ab__cu_relax(place, error);
  if (status != AB_OK) ab__cu_leave(place);
  return status;
}

static ab_status await(const ab_call *call, const ab__cu_event *event) {
  ab__cu_place place;
  const ab_status status = enter(event, &place, call->error);
  if (status != AB_OK) return status;
  call->report->flags |= AB_REPORT_BLOCKED_HOST;
  const CUresult code = ab__cu.cuEventSynchronize(event->handle);
  ab__cu_leave(&place);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(&place, code, "cuEventSynchronize", call->error);
}

ab_status ab__cu_event_wait(const ab_call *call, void *event) {
  const ab_stream *stream = ab__cu_call_stream(call);
  if (stream == NULL) return await(call, event);
  ab__cu_place place;
  CUstream handle = NULL;
  const ab_status status = ab__cu_stream_enter_uncaptured(stream, &place, &handle, call->error);
  if (status != AB_OK) return status;
  const CUresult code = ab__cu.cuStreamWaitEvent(handle, ((const ab__cu_event *)event)->handle, CU_EVENT_WAIT_DEFAULT);
  ab__cu_leave(&place);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(&place, code, "cuStreamWaitEvent", call->error);
}

ab_status ab__cu_event_query(const ab_call *call, void *event, int32_t *done) {
  ab__cu_place place;
  const ab_status status = enter(event, &place, call->error);
  if (status != AB_OK) return status;
  const CUresult code = ab__cu.cuEventQuery(((const ab__cu_event *)event)->handle);
  ab__cu_leave(&place);
  if (code != CUDA_SUCCESS && code != CUDA_ERROR_NOT_READY)
    return ab__cu_failed_at(&place, code, "cuEventQuery", call->error);
  *done = code == CUDA_SUCCESS;
  return AB_OK;
}

void ab__cu_event_release(const ab_call *call, void *event) {
  (void)call;
  if (event != NULL && !ab__cu_gone()) give_back(event);
}

#endif /* AB__HAS_CUDA */
