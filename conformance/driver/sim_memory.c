/* SPDX-License-Identifier: MIT
 * Allocating and freeing: at once, and in the order of a stream. */
#include "sim.h"

static CUresult allocate(CUdeviceptr *address, size_t bytes, sim_block_kind kind) {
  if (address == NULL) return CUDA_ERROR_INVALID_VALUE;
  sim_block *block = NULL;
  const CUresult result = sim__block_new(sim__current_or_null(), kind, bytes, 0, &block);
  if (result == CUDA_SUCCESS) *address = block->start;
  return result;
}

CUresult CUDAAPI cuMemAlloc(CUdeviceptr *dptr, size_t bytesize) {
  SIM_CALL(cuMemAlloc, SIM_CURRENT | SIM_UNSAFE, allocate(dptr, bytesize, SIM_DEVICE));
}

CUresult CUDAAPI cuMemAllocManaged(CUdeviceptr *dptr, size_t bytesize, unsigned int flags) {
  SIM_CALL(cuMemAllocManaged, SIM_CURRENT | SIM_UNSAFE,
           flags != CU_MEM_ATTACH_GLOBAL && flags != CU_MEM_ATTACH_HOST ? CUDA_ERROR_INVALID_VALUE
                                                                        : allocate(dptr, bytesize, SIM_MANAGED));
}

/* The block that begins at `address` and may be freed. */
static CUresult block_to_free(CUdeviceptr address, int pinned, sim_block **block) {
  sim_block *const found = sim__block_at(address);
  if (found != NULL && found->start == address && !found->freeing && found->kind != SIM_REGISTERED &&
      (found->kind == SIM_PINNED) == pinned) {
    *block = found;
    return CUDA_SUCCESS;
  }
  const int again = found != NULL ? found->freeing : sim__range_was_freed(address);
  sim__fault("%s: %s of %#llx", again ? "double free" : "free of unknown memory", sim__caller(), address);
  return CUDA_ERROR_INVALID_VALUE;
}

static CUresult settle(sim_block *block) {
  if (block->pending > 0 && !sim__may_wait) {
    char name[96];
    sim__fault("free while pending: %s of %s, which %d operations still touch", sim__caller(),
               sim__block_name(block, name), block->pending);
  }
  return sim__wait_block(block);
}

static CUresult free_now(CUdeviceptr address, int pinned) {
  if (address == 0) return CUDA_SUCCESS;
  sim_block *block = NULL;
  CUresult result = block_to_free(address, pinned, &block);
  if (result == CUDA_SUCCESS) result = settle(block);
  if (result == CUDA_SUCCESS) sim__block_end(block, 0);
  return result;
}

CUresult CUDAAPI cuMemFree(CUdeviceptr dptr) {
  SIM_CALL(cuMemFree, SIM_CURRENT | SIM_UNSAFE | SIM_WAITS, free_now(dptr, 0));
}

/* ------------------------------------------------------------------ in the order of a stream */

static void begin_block(sim_operation *operation) {
  sim_block *const block = operation->subject;
  if (block->state == SIM_RESERVED) block->state = SIM_LIVE;
}

static CUresult allocate_async(CUdeviceptr *address, size_t bytes, CUstream handle) {
  sim_stream *stream = NULL;
  CUresult result = address == NULL ? CUDA_ERROR_INVALID_VALUE : sim__stream_here(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (stream->capture != NULL) return CUDA_ERROR_NOT_SUPPORTED;
  sim_block *block = NULL;
  result = sim__block_new(stream->context, SIM_DEVICE, bytes, stream->id, &block);
  if (result != CUDA_SUCCESS) return result;
  block->state = SIM_RESERVED;
  sim_operation *const operation = sim__operation_new("cuMemAllocAsync", begin_block);
  operation->subject = sim__block_keep(block);
  result = sim__enqueue(stream, operation, NULL);
  if (result == CUDA_SUCCESS) {
    *address = block->start;
    return CUDA_SUCCESS;
  }
  sim__block_end(block, 0);
  return result;
}

CUresult CUDAAPI cuMemAllocAsync(CUdeviceptr *dptr, size_t bytesize, CUstream hStream) {
  SIM_CALL(cuMemAllocAsync, SIM_CURRENT, allocate_async(dptr, bytesize, hStream));
}

static void end_block(sim_operation *operation) {
  sim_block *const block = operation->subject;
  char name[96];
  if (block->state == SIM_RESERVED)
    sim__fault("free before allocation: cuMemFreeAsync of %s", sim__block_name(block, name));
  if (block->state != SIM_DEAD) sim__block_end(block, operation->stream->id);
}

static CUresult free_async(CUdeviceptr address, CUstream handle) {
  sim_stream *stream = NULL;
  sim_block *block = NULL;
  CUresult result = sim__stream_here(handle, &stream);
  if (result == CUDA_SUCCESS) result = block_to_free(address, 0, &block);
  if (result != CUDA_SUCCESS) return result;
  if (stream->capture != NULL) return CUDA_ERROR_NOT_SUPPORTED;
  if (!sim__context_reaches(stream->context, block)) {
    char name[96];
    sim__fault("wrong context: cuMemFreeAsync of %s", sim__block_name(block, name));
    return CUDA_ERROR_INVALID_VALUE;
  }
  sim_operation *const operation = sim__operation_new("cuMemFreeAsync", end_block);
  operation->rank = SIM_RANK_FREE;
  operation->subject = sim__block_keep(block);
  result = sim__enqueue(stream, operation, NULL);
  if (result == CUDA_SUCCESS) block->freeing = 1;
  return result;
}

CUresult CUDAAPI cuMemFreeAsync(CUdeviceptr dptr, CUstream hStream) {
  SIM_CALL(cuMemFreeAsync, SIM_CURRENT, free_async(dptr, hStream));
}

/* ------------------------------------------------------------------ pinned and registered host memory */

static CUresult allocate_host(void **memory, size_t bytes, unsigned flags) {
  const unsigned known = CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED;
  if (memory == NULL || (flags & ~known) != 0) return CUDA_ERROR_INVALID_VALUE;
  sim_block *block = NULL;
  const CUresult result = sim__block_new(sim__current_or_null(), SIM_PINNED, bytes, 0, &block);
  if (result != CUDA_SUCCESS) return result;
  block->flags = flags;
  *memory = (void *)(uintptr_t)block->start;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostAlloc(void **pp, size_t bytesize, unsigned int Flags) {
  SIM_CALL(cuMemHostAlloc, SIM_CURRENT | SIM_UNSAFE, allocate_host(pp, bytesize, Flags));
}

CUresult CUDAAPI cuMemAllocHost(void **pp, size_t bytesize) {
  SIM_CALL(cuMemAllocHost, SIM_CURRENT | SIM_UNSAFE, allocate_host(pp, bytesize, 0));
}

CUresult CUDAAPI cuMemFreeHost(void *p) {
  SIM_CALL(cuMemFreeHost, SIM_CURRENT | SIM_UNSAFE | SIM_WAITS, free_now((uintptr_t)p, 1));
}

CUresult CUDAAPI cuMemHostRegister(void *p, size_t bytesize, unsigned int Flags) {
  SIM_CALL(cuMemHostRegister, SIM_CURRENT | SIM_UNSAFE,
           sim__block_register(sim__current_or_null(), p, bytesize, Flags));
}

static CUresult unregister(void *memory) {
  sim_block *const block = sim__block_at((uintptr_t)memory);
  if (block == NULL || block->kind != SIM_REGISTERED || block->start != (uintptr_t)memory)
    return CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  const CUresult result = settle(block);
  if (result == CUDA_SUCCESS) sim__block_end(block, 0);
  return result;
}

CUresult CUDAAPI cuMemHostUnregister(void *p) {
  SIM_CALL(cuMemHostUnregister, SIM_CURRENT | SIM_UNSAFE | SIM_WAITS, unregister(p));
}

static sim_block *host_block(const void *memory) {
  sim_block *const block = sim__block_at((uintptr_t)memory);
  return block != NULL && (block->kind == SIM_PINNED || block->kind == SIM_REGISTERED) ? block : NULL;
}

static CUresult device_pointer(CUdeviceptr *address, void *memory, unsigned flags) {
  if (address == NULL || flags != 0 || host_block(memory) == NULL) return CUDA_ERROR_INVALID_VALUE;
  *address = (uintptr_t)memory;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostGetDevicePointer(CUdeviceptr *pdptr, void *p, unsigned int Flags) {
  SIM_CALL(cuMemHostGetDevicePointer, SIM_CURRENT, device_pointer(pdptr, p, Flags));
}

static CUresult host_flags(unsigned *flags, const void *memory) {
  const sim_block *const block = host_block(memory);
  if (flags == NULL || block == NULL) return CUDA_ERROR_INVALID_VALUE;
  *flags = block->flags;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemHostGetFlags(unsigned int *pFlags, void *p) {
  SIM_CALL(cuMemHostGetFlags, SIM_CURRENT, host_flags(pFlags, p));
}
