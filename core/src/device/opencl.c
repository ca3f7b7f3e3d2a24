/* SPDX-License-Identifier: MIT
 * The table of device operations, and what stands in for all of it where OpenCL cannot be built. */
#include "device/opencl.h"

#include "device/opencl_internal.h"
#include "fork.h"

static ab_status opencl_prepare(const ab_call *call) { return ab__opencl_prepare(call->error); }

#ifdef AB__HAS_OPENCL

static ab_status opencl_stream_finish(const ab_call *call) {
  if (call->stream == NULL || call->stream->kind != AB_STREAM_CL_QUEUE)
    return ab_fail(call, AB_UNSUPPORTED, "not an OpenCL command queue");
  const ab_status status = ab__cl_open(call->error);
  if (status != AB_OK) return status;
  const cl_int code = ab__cl.clFinish(call->stream->handle);
  return code == CL_SUCCESS ? AB_OK : ab__cl_failed(call->error, code, "clFinish");
}

/* The locks of a child that may use OpenCL, since its parent has not: the others were never taken there. */
void ab__opencl_fork(ab__fork_step step) {
  ab__opencl_table_fork(step);
  ab__opencl_vendors_fork(step);
}

#else

#define opencl_stream_finish NULL

static ab_status unavailable(ab_error *error) {
  return ab_error_set(error, AB_UNAVAILABLE, "arraybridge was built without OpenCL headers");
}

ab_status ab__opencl_prepare(ab_error *error) { return unavailable(error); }

ab_status ab__opencl_visit_vendors(ab__opencl_vendor_visitor visit, void *context, ab_error *error) {
  (void)visit;
  (void)context;
  return unavailable(error);
}

ab_status ab__opencl_sharing(void *cl_context, void *cl_device_id, ab__opencl_limits *limits, ab_error *error) {
  (void)cl_context;
  (void)cl_device_id;
  (void)limits;
  return unavailable(error);
}

ab_status ab__opencl_wrap(void *cl_context, void *cl_device_id, DLDevice device, DLManagedTensorVersioned *host,
                          DLManagedTensorVersioned **wrapped, ab_error *error) {
  (void)cl_context;
  (void)cl_device_id;
  (void)device;
  (void)host;
  (void)wrapped;
  return unavailable(error);
}

ab_status ab__opencl_can_wrap(void *cl_context, void *cl_device_id, const void *data, uint32_t itemsize, uint64_t bytes,
                              ab_error *error) {
  (void)cl_context;
  (void)cl_device_id;
  (void)data;
  (void)itemsize;
  (void)bytes;
  return unavailable(error);
}

ab_status ab__opencl_map(DLManagedTensorVersioned *device_tensor, DLManagedTensorVersioned **host, ab_error *error) {
  (void)device_tensor;
  (void)host;
  return unavailable(error);
}

ab_status ab__opencl_read(DLManagedTensorVersioned *device_tensor, void *host_destination, uint64_t bytes,
                          ab_error *error) {
  (void)device_tensor;
  (void)host_destination;
  (void)bytes;
  return unavailable(error);
}

void ab__opencl_drain(void) {}
void ab__opencl_end(void) {}
void ab__opencl_fork(ab__fork_step step) { (void)step; }

#endif

const ab_device_ops ab__opencl_ops = {
    .struct_size = (uint32_t)sizeof(ab_device_ops),
    .name = "opencl",
    .prepare = opencl_prepare,
    .stream_finish = opencl_stream_finish,
};
