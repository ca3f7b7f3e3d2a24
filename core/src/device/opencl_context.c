/* SPDX-License-Identifier: MIT
 * What is known of each context that a framework showed us, with a queue of ours in it. */
#include "device/opencl_internal.h"

#ifdef AB__HAS_OPENCL

#include <pthread.h>

#include "memory.h"

static pthread_mutex_t contexts_lock = PTHREAD_MUTEX_INITIALIZER;  // the list below
static ab__cl_context *contexts;                                   // only grows

static ab__cl_context *find(cl_context context, cl_device_id device) {
  ab__cl_context *record = contexts;
  while (record != NULL &&
         !(record->context == context && (device != NULL ? record->device == device : record->first_device)))
    record = record->next;
  return record;
}

static ab__cl_context *find_locked(cl_context context, cl_device_id device) {
  pthread_mutex_lock(&contexts_lock);
  ab__cl_context *record = find(context, device);
  pthread_mutex_unlock(&contexts_lock);
  return record;
}

/* ------------------------------------------------------------------ making one */

static ab_status choose_device(ab__cl_context *record, cl_device_id wanted, ab_error *error) {
  enum { DEVICES = 64 };
  cl_device_id devices[DEVICES];
  size_t bytes = 0;
  const cl_int code = ab__cl.clGetContextInfo(record->context, CL_CONTEXT_DEVICES, sizeof devices, devices, &bytes);
  if (code != CL_SUCCESS) return ab__cl_failed(error, code, "clGetContextInfo(CL_CONTEXT_DEVICES)");
  if (bytes < sizeof *devices) return ab_error_set(error, AB_DRIVER, "the OpenCL context has no device");
  record->device = wanted != NULL ? wanted : devices[0];
  record->first_device = record->device == devices[0];
  record->only_device = bytes == sizeof *devices;
  return AB_OK;
}

static ab_status ask_device(ab__cl_context *record, ab_error *error) {
  cl_bool unified = CL_FALSE;
  cl_ulong max_bytes = 0;
  cl_int code = ab__cl.clGetDeviceInfo(record->device, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, NULL);
  if (code != CL_SUCCESS) return ab__cl_failed(error, code, "clGetDeviceInfo(CL_DEVICE_HOST_UNIFIED_MEMORY)");
  code = ab__cl.clGetDeviceInfo(record->device, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof max_bytes, &max_bytes, NULL);
  if (code != CL_SUCCESS) return ab__cl_failed(error, code, "clGetDeviceInfo(CL_DEVICE_MAX_MEM_ALLOC_SIZE)");
  record->unified = unified != CL_FALSE;
  record->max_bytes = max_bytes;
  return AB_OK;
}

static ab_status make(cl_context context, cl_device_id device, ab__cl_context **made, ab_error *error) {
  ab__cl_context *record = ab__allocate_zeroed(sizeof *record);
  if (record == NULL) return ab_error_set(error, AB_OOM, "no memory for the record of an OpenCL context");
  record->context = context;
  ab_status status = choose_device(record, device, error);
  if (status == AB_OK) status = ask_device(record, error);
  if (status != AB_OK) goto done;
  cl_int code = CL_SUCCESS;
  record->queue = ab__cl.clCreateCommandQueue(context, record->device, 0, &code);  // in order; keeps the context alive
  if (record->queue == NULL) status = ab__cl_failed(error, code, "clCreateCommandQueue");

done:
  if (status == AB_OK) *made = record;
  else ab__deallocate(record);
  return status;
}

/* Another thread may have been faster: then its record stays and ours goes. */
static ab__cl_context *insert(ab__cl_context *record, cl_device_id device) {
  pthread_mutex_lock(&contexts_lock);
  ab__cl_context *earlier = find(record->context, device);
  if (earlier == NULL) {
    record->next = contexts;
    contexts = record;
  }
  pthread_mutex_unlock(&contexts_lock);
  if (earlier == NULL) return record;
  ab__cl.clReleaseCommandQueue(record->queue);
  ab__deallocate(record);
  return earlier;
}

ab_status ab__cl_context_get(cl_context context, cl_device_id device, ab__cl_context **record, ab_error *error) {
  ab__cl_context *found = find_locked(context, device);
  if (found == NULL) {
    const ab_status status = make(context, device, &found, error);
    if (status != AB_OK) return status;
    ab__cl.clRetainContext(context);  // its address must not be used again while it is our key
    found = insert(found, device);
  }
  *record = found;
  return AB_OK;
}

ab_status ab__cl_context_of(cl_mem buffer, ab__cl_context **record, ab_error *error) {
  cl_context context = NULL;
  const cl_int code = ab__cl.clGetMemObjectInfo(buffer, CL_MEM_CONTEXT, sizeof context, &context, NULL);
  if (code != CL_SUCCESS) return ab__cl_failed(error, code, "clGetMemObjectInfo(CL_MEM_CONTEXT)");
  return ab__cl_context_get(context, NULL, record, error);
}

/* ------------------------------------------------------------------ coherence */

/* A verdict reached for the same device in another context. */
static const ab__cl_context *find_verdict(cl_device_id device) {
  pthread_mutex_lock(&contexts_lock);
  const ab__cl_context *record = contexts;
  while (record != NULL &&
         !(record->device == device && atomic_load_explicit(&record->verdict, memory_order_acquire) != AB__CL_UNPROBED))
    record = record->next;
  pthread_mutex_unlock(&contexts_lock);
  return record;
}

static ab_status settle(ab__cl_context *record, uint64_t alignment, uint64_t granularity, ab__cl_verdict verdict) {
  pthread_mutex_lock(&contexts_lock);
  if (atomic_load_explicit(&record->verdict, memory_order_relaxed) == AB__CL_UNPROBED) {
    record->alignment = alignment;
    record->granularity = granularity;
    atomic_store_explicit(&record->verdict, verdict, memory_order_release);
  }
  pthread_mutex_unlock(&contexts_lock);
  return AB_OK;
}

static ab_status reach_verdict(ab__cl_context *record, ab_error *error) {
  const ab__cl_context *known = find_verdict(record->device);
  if (known != NULL) return settle(record, known->alignment, known->granularity, (ab__cl_verdict)known->verdict);
  uint64_t alignment = 0, granularity = 0;
  const ab_status status = ab__cl_probe(record, &alignment, &granularity, error);
  if (status == AB_OK) return settle(record, alignment, granularity, AB__CL_COHERENT);
  if (status == AB_UNSUPPORTED) return settle(record, 0, 0, AB__CL_INCOHERENT);
  return status;
}

ab_status ab__cl_context_coherent(ab__cl_context *record, ab_error *error) {
  if (!record->unified)
    return ab_error_set(error, AB_UNSUPPORTED, "this OpenCL device has memory of its own, apart from the host's");
  if (!record->only_device) return ab_error_set(error, AB_UNSUPPORTED, "the OpenCL context spans several devices");
  if (atomic_load_explicit(&record->verdict, memory_order_acquire) == AB__CL_UNPROBED) {
    const ab_status status = reach_verdict(record, error);
    if (status != AB_OK) return status;
  }
  if (atomic_load_explicit(&record->verdict, memory_order_acquire) == AB__CL_COHERENT) return AB_OK;
  return ab_error_set(error, AB_UNSUPPORTED,
                      "host and OpenCL device do not see each other's writes (found by trying, once per process)");
}

#endif /* AB__HAS_OPENCL */
