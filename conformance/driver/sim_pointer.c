/* SPDX-License-Identifier: MIT
 * What an address is. */
#include <string.h>

#include "sim.h"

/// The answer to one question about one block, or about memory that the driver does not know.
typedef struct pointer_answer {
  uint64_t value;  ///< its first `size` bytes: every CUDA host is little-endian
  size_t size;     ///< 0: not simulated
} pointer_answer;

static int on_host(const sim_block *block) { return block->kind == SIM_PINNED || block->kind == SIM_REGISTERED; }

#define ANSWER(type, what) ((pointer_answer){(uint64_t)(what), sizeof(type)})

static pointer_answer answer(CUpointer_attribute attribute, const sim_block *block, CUdeviceptr address) {
  const int known = block != NULL;
  switch ((int)attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return ANSWER(CUcontext, known ? (uintptr_t)block->context_handle : 0);
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return ANSWER(unsigned, !known ? 0 : on_host(block) ? CU_MEMORYTYPE_HOST : CU_MEMORYTYPE_DEVICE);
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return ANSWER(CUdeviceptr, known ? address : 0);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      return ANSWER(void *, known && block->kind != SIM_DEVICE ? address : 0);
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      return ANSWER(unsigned long long, known ? block->version : 0);
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return ANSWER(unsigned, known && block->kind == SIM_MANAGED);
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return ANSWER(int, known ? block->device : CU_DEVICE_INVALID);
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return ANSWER(CUdeviceptr, known ? block->start : 0);
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return ANSWER(size_t, known ? block->bytes : 0);
    case CU_POINTER_ATTRIBUTE_MAPPED:
      return ANSWER(unsigned, known);
    default:
      return (pointer_answer){0, 0};
  }
}

static CUresult attribute_of(void *data, CUpointer_attribute attribute, CUdeviceptr address) {
  const sim_block *const block = sim__block_at(address);
  const pointer_answer known = answer(attribute, block, address);
  if (data == NULL || block == NULL || known.size == 0) return CUDA_ERROR_INVALID_VALUE;
  if (attribute == CU_POINTER_ATTRIBUTE_HOST_POINTER && block->kind == SIM_DEVICE) return CUDA_ERROR_INVALID_VALUE;
  memcpy(data, &known.value, known.size);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuPointerGetAttribute(void *data, CUpointer_attribute attribute, CUdeviceptr ptr) {
  SIM_CALL(cuPointerGetAttribute, 0, attribute_of(data, attribute, ptr));
}

/* Of unknown memory the real driver answers success and zeros here (the ordinal: CU_DEVICE_INVALID). */
static CUresult attributes_of(unsigned count, const CUpointer_attribute *attributes, void **data, CUdeviceptr address) {
  if (attributes == NULL || data == NULL) return CUDA_ERROR_INVALID_VALUE;
  const sim_block *const block = sim__block_at(address);
  for (unsigned i = 0; i < count; ++i)
    if (answer(attributes[i], block, address).size == 0) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < count; ++i) {
    const pointer_answer known = answer(attributes[i], block, address);
    memcpy(data[i], &known.value, known.size);
  }
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuPointerGetAttributes(unsigned int numAttributes, CUpointer_attribute *attributes, void **data,
                                        CUdeviceptr ptr) {
  SIM_CALL(cuPointerGetAttributes, 0, attributes_of(numAttributes, attributes, data, ptr));
}

static CUresult range_of(CUdeviceptr *start, size_t *bytes, CUdeviceptr address) {
  const sim_block *const block = sim__block_at(address);
  if (block == NULL) return CUDA_ERROR_NOT_FOUND;
  if (start != NULL) *start = block->start;
  if (bytes != NULL) *bytes = block->bytes;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuMemGetAddressRange(CUdeviceptr *pbase, size_t *psize, CUdeviceptr dptr) {
  SIM_CALL(cuMemGetAddressRange, SIM_CURRENT, range_of(pbase, psize, dptr));
}
