/* SPDX-License-Identifier: MIT
 * Copies and fills. */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

/// One copy, as it was asked for.
typedef struct copy_request {
  CUdeviceptr to, from;
  size_t bytes;
  int to_host, from_host;  ///< may be memory that the driver does not know
  CUstream stream;
  int waits;
} copy_request;

static void run_copy(sim_operation *operation) {
  const void *const from = operation->staging != NULL ? operation->staging : (const void *)(uintptr_t)operation->from;
  memmove((void *)(uintptr_t)operation->to, from, operation->bytes);
}

/* The block at one end of a copy. NULL is pageable host memory, where that may be. */
static CUresult find_end(CUdeviceptr address, size_t bytes, int host, sim_block **block) {
  *block = sim__block_of(address, bytes);
  if (*block != NULL || (host && sim__block_at(address) == NULL)) return CUDA_SUCCESS;
  sim__fault("unknown memory: %s of %zu bytes at %#llx, which are in no block (freed?)", sim__caller(), bytes, address);
  return CUDA_ERROR_INVALID_VALUE;
}

/* Pageable memory is read when the copy is enqueued, as the real driver stages it. */
static sim_operation *copy_operation(const copy_request *request, sim_block *to, sim_block *from) {
  sim_operation *const operation = sim__operation_new(sim__caller(), run_copy);
  operation->to = request->to;
  operation->from = request->from;
  operation->bytes = request->bytes;
  if (to != NULL) sim__operation_touch(operation, to);
  if (from != NULL) {
    sim__operation_touch(operation, from);
    return operation;
  }
  operation->staging = malloc(request->bytes);
  if (operation->staging == NULL) abort();
  memcpy(operation->staging, (const void *)(uintptr_t)request->from, request->bytes);
  return operation;
}

static CUresult enqueue_copy(const copy_request *request, sim_stream *stream) {
  sim_block *to = NULL, *from = NULL;
  CUresult result = find_end(request->to, request->bytes, request->to_host, &to);
  if (result == CUDA_SUCCESS) result = find_end(request->from, request->bytes, request->from_host, &from);
  if (result != CUDA_SUCCESS) return result;
  sim_operation *operation = NULL;
  result = sim__enqueue(stream, copy_operation(request, to, from), &operation);
  if (operation == NULL) return result;
  /* To pageable memory the real driver returns only when the copy is complete. */
  if (!request->waits && to == NULL) sim__count_wait();
  if (request->waits || to == NULL) result = sim__wait(operation);
  sim__operation_drop(operation);
  return result;
}

static CUresult copy(const copy_request *request) {
  if (request->bytes == 0) return CUDA_SUCCESS;
  sim_stream *stream = NULL;
  const CUresult result = sim__stream_here(request->stream, &stream);
  return result == CUDA_SUCCESS ? enqueue_copy(request, stream) : result;
}

#define COPY(...) copy(&(copy_request){__VA_ARGS__})

enum { WAITING = SIM_CURRENT | SIM_UNSAFE | SIM_WAITS };

CUresult CUDAAPI cuMemcpy(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount) {
  SIM_CALL(cuMemcpy, WAITING, COPY(dst, src, ByteCount, 1, 1, CU_STREAM_LEGACY, 1));
}

CUresult CUDAAPI cuMemcpyAsync(CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream) {
  SIM_CALL(cuMemcpyAsync, SIM_CURRENT, COPY(dst, src, ByteCount, 1, 1, hStream, 0));
}

CUresult CUDAAPI cuMemcpyHtoD(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount) {
  SIM_CALL(cuMemcpyHtoD, WAITING, COPY(dstDevice, (uintptr_t)srcHost, ByteCount, 0, 1, CU_STREAM_LEGACY, 1));
}

CUresult CUDAAPI cuMemcpyDtoH(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount) {
  SIM_CALL(cuMemcpyDtoH, WAITING, COPY((uintptr_t)dstHost, srcDevice, ByteCount, 1, 0, CU_STREAM_LEGACY, 1));
}

/* Of all synchronous copies only this one does not wait for itself on a real device. */
CUresult CUDAAPI cuMemcpyDtoD(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount) {
  SIM_CALL(cuMemcpyDtoD, WAITING, COPY(dstDevice, srcDevice, ByteCount, 0, 0, CU_STREAM_LEGACY, 0));
}

CUresult CUDAAPI cuMemcpyHtoDAsync(CUdeviceptr dstDevice, const void *srcHost, size_t ByteCount, CUstream hStream) {
  SIM_CALL(cuMemcpyHtoDAsync, SIM_CURRENT, COPY(dstDevice, (uintptr_t)srcHost, ByteCount, 0, 1, hStream, 0));
}

CUresult CUDAAPI cuMemcpyDtoHAsync(void *dstHost, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
  SIM_CALL(cuMemcpyDtoHAsync, SIM_CURRENT, COPY((uintptr_t)dstHost, srcDevice, ByteCount, 1, 0, hStream, 0));
}

CUresult CUDAAPI cuMemcpyDtoDAsync(CUdeviceptr dstDevice, CUdeviceptr srcDevice, size_t ByteCount, CUstream hStream) {
  SIM_CALL(cuMemcpyDtoDAsync, SIM_CURRENT, COPY(dstDevice, srcDevice, ByteCount, 0, 0, hStream, 0));
}

/* ------------------------------------------------------------------ between devices */

/* The block at one end of a peer copy, which must lie in the context that the caller names. */
static CUresult find_peer(CUdeviceptr address, size_t bytes, CUcontext handle, sim_block **block) {
  const sim_context *const context = sim__context(handle);
  if (context == NULL) return CUDA_ERROR_INVALID_CONTEXT;
  const CUresult result = find_end(address, bytes, 0, block);
  if (result != CUDA_SUCCESS || (*block)->context == context->id) return result;
  char name[96];
  sim__fault("wrong context: %s of %s", sim__caller(), sim__block_name(*block, name));
  return CUDA_ERROR_INVALID_VALUE;
}

static CUresult copy_peer(const copy_request *request, CUcontext to_context, CUcontext from_context) {
  if (request->bytes == 0) return CUDA_SUCCESS;
  sim_stream *stream = NULL;
  sim_block *to = NULL, *from = NULL;
  CUresult result = sim__stream_here(request->stream, &stream);
  if (result == CUDA_SUCCESS) result = find_peer(request->to, request->bytes, to_context, &to);
  if (result == CUDA_SUCCESS) result = find_peer(request->from, request->bytes, from_context, &from);
  if (result != CUDA_SUCCESS) return result;
  sim_operation *operation = sim__operation_new(sim__caller(), run_copy);
  operation->to = request->to;
  operation->from = request->from;
  operation->bytes = request->bytes;
  operation->anywhere = 1; /* the driver goes through the host where the devices cannot reach each other */
  sim__operation_touch(operation, to);
  sim__operation_touch(operation, from);
  result = sim__enqueue(stream, operation, &operation);
  if (operation == NULL) return result;
  if (request->waits) result = sim__wait(operation);
  sim__operation_drop(operation);
  return result;
}

CUresult CUDAAPI cuMemcpyPeer(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext,
                              size_t ByteCount) {
  SIM_CALL(
      cuMemcpyPeer, WAITING,
      copy_peer(&(copy_request){dstDevice, srcDevice, ByteCount, 0, 0, CU_STREAM_LEGACY, 1}, dstContext, srcContext));
}

CUresult CUDAAPI cuMemcpyPeerAsync(CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice,
                                   CUcontext srcContext, size_t ByteCount, CUstream hStream) {
  SIM_CALL(cuMemcpyPeerAsync, SIM_CURRENT,
           copy_peer(&(copy_request){dstDevice, srcDevice, ByteCount, 0, 0, hStream, 0}, dstContext, srcContext));
}

/* ------------------------------------------------------------------ fills */

static void run_fill(sim_operation *operation) {
  char *const to = (char *)(uintptr_t)operation->to;
  for (size_t at = 0; at < operation->bytes; at += operation->width)
    memcpy(to + at, &operation->value, operation->width); /* little-endian, as every CUDA host is */
}

static CUresult fill(CUdeviceptr to, unsigned value, unsigned width, size_t count, CUstream handle) {
  if (count == 0) return CUDA_SUCCESS;
  if (to % width != 0 || count > SIZE_MAX / width) return CUDA_ERROR_INVALID_VALUE;
  sim_stream *stream = NULL;
  sim_block *block = NULL;
  CUresult result = sim__stream_here(handle, &stream);
  if (result == CUDA_SUCCESS) result = find_end(to, count * width, 0, &block);
  if (result != CUDA_SUCCESS) return result;
  sim_operation *const operation = sim__operation_new(sim__caller(), run_fill);
  operation->to = to;
  operation->bytes = count * width;
  operation->value = value;
  operation->width = width;
  sim__operation_touch(operation, block);
  return sim__enqueue(stream, operation, NULL);
}

/* The fills without a stream do not wait either, on a real device: for device memory they are only enqueued. */
CUresult CUDAAPI cuMemsetD8(CUdeviceptr dstDevice, unsigned char uc, size_t N) {
  SIM_CALL(cuMemsetD8, WAITING, fill(dstDevice, uc, 1, N, CU_STREAM_LEGACY));
}

CUresult CUDAAPI cuMemsetD8Async(CUdeviceptr dstDevice, unsigned char uc, size_t N, CUstream hStream) {
  SIM_CALL(cuMemsetD8Async, SIM_CURRENT, fill(dstDevice, uc, 1, N, hStream));
}

CUresult CUDAAPI cuMemsetD16(CUdeviceptr dstDevice, unsigned short us, size_t N) {
  SIM_CALL(cuMemsetD16, WAITING, fill(dstDevice, us, 2, N, CU_STREAM_LEGACY));
}

CUresult CUDAAPI cuMemsetD16Async(CUdeviceptr dstDevice, unsigned short us, size_t N, CUstream hStream) {
  SIM_CALL(cuMemsetD16Async, SIM_CURRENT, fill(dstDevice, us, 2, N, hStream));
}

CUresult CUDAAPI cuMemsetD32(CUdeviceptr dstDevice, unsigned int ui, size_t N) {
  SIM_CALL(cuMemsetD32, WAITING, fill(dstDevice, ui, 4, N, CU_STREAM_LEGACY));
}

CUresult CUDAAPI cuMemsetD32Async(CUdeviceptr dstDevice, unsigned int ui, size_t N, CUstream hStream) {
  SIM_CALL(cuMemsetD32Async, SIM_CURRENT, fill(dstDevice, ui, 4, N, hStream));
}
