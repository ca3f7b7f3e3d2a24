/* SPDX-License-Identifier: MIT
 * Copies from, to and between CUDA devices. */
#include "device/cuda_internal.h"

#ifdef AB__HAS_CUDA

/// One end of a copy.
typedef struct side {
  uintptr_t address;
  int host;
  ab__cu_device *device;  // not of the host
  CUcontext context;
  int foreign;
} side;

typedef struct copy {
  side to, from;
  size_t bytes;
} copy;

/* ------------------------------------------------------------------ the two ends */

/* The host, pinned or not, is reached by its address; managed memory is reached like a device's own. */
static ab_status find_side(const ab_memory *memory, side *found, ab_error *error) {
  const DLDeviceType type = memory->device.device_type;
  *found = (side){.address = (uintptr_t)memory->handle + memory->offset, .host = type == kDLCPU || type == kDLCUDAHost};
  if (memory->flags & AB_MEMORY_HANDLE)
    return ab_error_set(error, AB_UNSUPPORTED, "an object of another driver cannot be copied by CUDA");
  if (found->host) return AB_OK;
  ab_status status = ab__cu_device_find(memory->device, memory->device_uuid, &found->device, error);
  if (status == AB_OK) status = ab__cu_primary(found->device, 1, &found->context, error);
  if (status != AB_OK || memory->native_context == NULL) return status;
  found->foreign = memory->native_context != found->context;
  found->context = memory->native_context;
  return AB_OK;
}

static ab_status find_sides(const ab_memory *to, const ab_memory *from, copy *work, ab_error *error) {
  ab_status status = find_side(to, &work->to, error);
  if (status == AB_OK) status = find_side(from, &work->from, error);
  if (status != AB_OK) return status;
  if (work->to.host && work->from.host) return ab_error_set(error, AB_UNSUPPORTED, "neither side is a CUDA device");
  if (to->bytes < from->bytes)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "%llu bytes do not fit into %llu", (unsigned long long)from->bytes,
                        (unsigned long long)to->bytes);
  work->bytes = (size_t)from->bytes;
  return AB_OK;
}

static int uses(const copy *work, CUcontext context) {
  return (!work->to.host && work->to.context == context) || (!work->from.host && work->from.context == context);
}

/* ------------------------------------------------------------------ where it runs */

static ab_status check_stream(const copy *work, const ab__cu_place *place, ab_error *error) {
  if (uses(work, place->context)) return AB_OK;
  return ab_error_set(error, AB_STREAM, "the copy is ordered on a stream of cuda:%d, and neither side is there",
                      place->device->ordinal);
}

/* A stream of ours; in a foreign context, where nothing of ours may stay, the default one. */
static ab_status enter_own(const copy *work, ab__cu_place *place, CUstream *handle, ab_error *error) {
  const side *at = work->to.host ? &work->from : &work->to;
  *place = (ab__cu_place){.device = at->device, .context = at->context, .foreign = at->foreign};
  const ab_status status = ab__cu_enter(place, error);
  if (status != AB_OK) return status;
  *handle = CU_STREAM_LEGACY;
  const ab_status made = place->foreign ? AB_OK : ab__cu_stream_own(place, handle, error);
  if (made != AB_OK) ab__cu_leave(place);
  return made;
}

static ab_status enter(const ab_call *call, const copy *work, ab__cu_place *place, CUstream *handle) {
  const ab_stream *stream = ab__cu_call_stream(call);
  if (stream == NULL) return enter_own(work, place, handle, call->error);
  ab_status status = ab__cu_stream_enter_uncaptured(stream, place, handle, call->error);
  if (status != AB_OK) return status;
  status = check_stream(work, place, call->error);
  if (status != AB_OK) ab__cu_leave(place);
  return status;
}

/* ------------------------------------------------------------------ peers */

static ab_status ask_peer(const ab__cu_place *place, const ab__cu_device *peer, int *can, ab_error *error) {
  const CUresult code = ab__cu.cuDeviceCanAccessPeer(can, place->device->handle, peer->handle);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(place, code, "cuDeviceCanAccessPeer", error);
}

/* Asks once that the device at `place` reaches the memory of `peer`. Where that is not to be had the driver's own copy
 * goes through the host: no error. */
static ab_status enable_peer(ab__cu_place *place, const side *peer, ab_error *error) {
  const uint64_t bit = UINT64_C(1) << (peer->device->ordinal & 63);
  if (place->foreign || peer->foreign || peer->device == place->device) return AB_OK;
  if (atomic_load(&place->device->peers) & bit) return AB_OK;
  int can = 0;
  ab_status status = ask_peer(place, peer->device, &can, error);
  if (status == AB_OK && can) {
    const CUresult code = ab__cu.cuCtxEnablePeerAccess(peer->context, 0);
    const int refused = code == CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED || code == CUDA_ERROR_TOO_MANY_PEERS ||
                        code == CUDA_ERROR_PEER_ACCESS_UNSUPPORTED || code == CUDA_ERROR_NOT_SUPPORTED;
    if (code != CUDA_SUCCESS && !refused) status = ab__cu_failed_at(place, code, "cuCtxEnablePeerAccess", error);
  }
  if (status == AB_OK) atomic_fetch_or(&place->device->peers, bit);
  return status;
}

/* ------------------------------------------------------------------ copying */

static ab_status copy_peers(const copy *work, ab__cu_place *place, CUstream handle, ab_error *error) {
  const side *peer = place->context == work->to.context ? &work->from : &work->to;
  const ab_status status = enable_peer(place, peer, error);
  if (status != AB_OK) return status;
  const CUresult code = ab__cu.cuMemcpyPeerAsync(work->to.address, work->to.context, work->from.address,
                                                 work->from.context, work->bytes, handle);
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(place, code, "cuMemcpyPeerAsync", error);
}

static ab_status enqueue(const copy *work, ab__cu_place *place, CUstream handle, ab_error *error) {
  const side *to = &work->to, *from = &work->from;
  const char *call = "cuMemcpyDtoDAsync";
  CUresult code;
  if (from->host) {
    call = "cuMemcpyHtoDAsync";
    code = ab__cu.cuMemcpyHtoDAsync_v2(to->address, (const void *)from->address, work->bytes, handle);
  } else if (to->host) {
    call = "cuMemcpyDtoHAsync";
    code = ab__cu.cuMemcpyDtoHAsync_v2((void *)to->address, from->address, work->bytes, handle);
  } else if (to->context == from->context) {
    code = ab__cu.cuMemcpyDtoDAsync_v2(to->address, from->address, work->bytes, handle);
  } else {
    return copy_peers(work, place, handle, error);
  }
  return code == CUDA_SUCCESS ? AB_OK : ab__cu_failed_at(place, code, call, error);
}

/* A wait that fails is tried again without a word: the caller may free what the device still copies. */
static ab_status complete(const ab_call *call, ab__cu_place *place, CUstream handle) {
  const ab_status status = ab__cu_stream_await(call, place, handle);
  if (status != AB_OK && ab__cu_fault_check(place->device, NULL) == AB_OK) (void)ab__cu.cuStreamSynchronize(handle);
  return status;
}

ab_status ab__cu_copy(const ab_call *call, const ab_memory *to, const ab_memory *from) {
  copy work;
  ab_status status = find_sides(to, from, &work, call->error);
  if (status != AB_OK || work.bytes == 0) return status;
  ab__cu_place place;
  CUstream handle = NULL;
  status = enter(call, &work, &place, &handle);
  if (status != AB_OK) return status;
  status = enqueue(&work, &place, handle, call->error);
  if (status == AB_OK && ab__cu_call_stream(call) == NULL) status = complete(call, &place, handle);
  ab__cu_leave(&place);
  return status;
}

#endif /* AB__HAS_CUDA */
