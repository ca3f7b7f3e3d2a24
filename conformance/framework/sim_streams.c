/* SPDX-License-Identifier: MIT */
#include "sim_framework.h"

int sim_devices;
uint8_t sim_uuids[SIM_MAX_DEVICES][16];

static CUcontext contexts[SIM_MAX_DEVICES];
static CUstream streams[SIM_MAX_DEVICES][SIM_STREAMS], asides[SIM_MAX_DEVICES], ready[SIM_MAX_DEVICES];

enum { DEPTH = 8 };
static _Thread_local int thread_device, thread_stream;
static _Thread_local struct {
  CUstream stream;
  int device, former_device;
} pushed[DEPTH];
static _Thread_local int depth;

void sim_enter(int device) { cuCtxPushCurrent(contexts[device]); }

void sim_leave(void) {
  CUcontext left;
  cuCtxPopCurrent(&left);
}

void sim_streams_begin(void) {
  if (sim_devices != 0) return;
  cuInit(0);
  cuDeviceGetCount(&sim_devices);
  for (int device = 0; device < sim_devices; device++) {
    CUuuid uuid;
    cuDeviceGetUuid(&uuid, device);
    memcpy(sim_uuids[device], uuid.bytes, sizeof sim_uuids[device]);
    cuDevicePrimaryCtxRetain(&contexts[device], device);
    sim_enter(device);
    for (int number = 1; number < SIM_STREAMS; number++)
      cuStreamCreate(&streams[device][number], CU_STREAM_NON_BLOCKING);
    cuStreamCreate(&asides[device], CU_STREAM_NON_BLOCKING);
    cuStreamCreate(&ready[device], CU_STREAM_NON_BLOCKING);
    sim_leave();
  }
}

void sim_streams_end(void) {
  for (int device = 0; device < sim_devices; device++) {
    sim_enter(device);
    for (int number = 1; number < SIM_STREAMS; number++) cuStreamDestroy(streams[device][number]);
    cuStreamDestroy(asides[device]);
    cuStreamDestroy(ready[device]);
    sim_leave();
    cuDevicePrimaryCtxRelease(device);
  }
  sim_devices = 0;
}

/* The legacy stream is written 1, which no setting of a compiler changes. */
CUstream sim_stream(int device, int number) { return number == 0 ? CU_STREAM_LEGACY : streams[device][number]; }
CUstream sim_aside(int device) { return asides[device]; }
CUstream sim_ready(int device) { return ready[device]; }
int sim_thread_device(void) { return thread_device; }

CUstream sim_outside(int device) { return sim_stream(device, SIM_ORDERED ? 1 : thread_stream); }

CUstream sim_current(int device) {
  for (int at = depth; at > 0; at--)
    if (pushed[at - 1].device == device) return pushed[at - 1].stream;
  return sim_outside(device);
}

int sim_entered(int device) {
  int at = depth;
  while (at > 0 && pushed[at - 1].device != device) at--;
  return at > 0;
}

void sim_use(int device, int stream) {
  thread_device = device;
  thread_stream = stream;
}

void sim_push_stream(int device, CUstream stream) {
  if (depth == DEPTH) abort();
  pushed[depth].stream = stream;
  pushed[depth].device = device;
  pushed[depth++].former_device = thread_device;
  thread_device = device;
}

void sim_pop_stream(void) { thread_device = pushed[--depth].former_device; }

void sim_order(CUstream earlier, CUstream later) {
  if (earlier == later) return;
  CUevent event;
  cuEventCreate(&event, CU_EVENT_DISABLE_TIMING);
  cuEventRecord(event, earlier);
  cuStreamWaitEvent(later, event, 0);
  cuEventDestroy(event);
}

void sim_describe_stream(int device, CUstream handle, ab_stream *stream) {
  *stream = (ab_stream){.struct_size = (uint32_t)sizeof *stream, .device = {kDLCUDA, device}};
  memcpy(stream->device_uuid, sim_uuids[device], sizeof stream->device_uuid);
  const int legacy = handle == CU_STREAM_LEGACY || handle == NULL;
  stream->kind = legacy ? AB_STREAM_LEGACY : AB_STREAM_HANDLE;
  stream->flags = AB_STREAM_IMMORTAL | (legacy ? 0 : AB_STREAM_NONBLOCKING);
  stream->handle = legacy ? NULL : (void *)handle;
}

CUstream sim_handle_of(const ab_stream *stream) {
  return stream->kind == AB_STREAM_LEGACY ? CU_STREAM_LEGACY : (CUstream)stream->handle;
}
