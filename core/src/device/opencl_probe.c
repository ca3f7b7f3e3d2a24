/* SPDX-License-Identifier: MIT
 *
 * Does a kernel see what the host writes, and the host what a kernel writes, with no transfer between?
 *
 * A real kernel answers, not a fill or copy command: those may be done by the host itself or by a copy engine that
 * keeps another view of memory. Tried are the three states in which we share: host memory wrapped and never mapped,
 * wrapped and mapped, the device's own buffer mapped. A driver may give misaligned host memory a shadow copy
 * (Intel's does below 4096), so the wrapped states are tried with memory of rising alignment until one passes.
 */
#include "device/opencl_internal.h"

#ifdef AB__HAS_OPENCL

#include "memory.h"

enum { PROBE_ELEMENTS = 5 * 1024, PROBE_BYTES = PROBE_ELEMENTS * 4, PROBE_PAGE = 4096 };

static const char *source =
    "__kernel void arraybridge_probe(__global uint *x, uint count, uint addend) {\n"
    "  for (uint i = get_global_id(0); i < count; i += get_global_size(0)) x[i] = x[i] * 3u + addend;\n"
    "}\n";

/* Host memory of exactly this alignment; its length is a multiple of `granularity` and of nothing larger. */
static const struct {
  uint32_t offset;  // from a page boundary, bytes
  uint32_t bytes;
  uint32_t alignment;
  uint32_t granularity;
} classes[] = {
    {4, PROBE_BYTES - 4, 1, 1},
    {64, PROBE_BYTES - 64, 64, 64},
    {PROBE_PAGE, PROBE_BYTES - 64, PROBE_PAGE, 64},
    {PROBE_PAGE, PROBE_BYTES, PROBE_PAGE, PROBE_PAGE},
};

typedef struct probe {
  const ab__cl_context *record;
  cl_program program;
  cl_kernel kernel;
  cl_uint addend;
  ab_error *error;
} probe;

/* ------------------------------------------------------------------ one exchange */

/* The host writes, the kernel computes, the host looks. Returns AB_OK, AB_UNSUPPORTED (not seen), or the failure. */
static ab_status exchange(probe *self, cl_mem buffer, volatile cl_uint *memory, size_t count) {
  const size_t items = 16, group = 4;  // always the same: PoCL compiles a kernel anew for each group size
  const cl_uint addend = ++self->addend, elements = (cl_uint)count;
  for (size_t index = 0; index < count; index++) memory[index] = (cl_uint)index ^ (addend << 16);
  cl_int code = ab__cl.clSetKernelArg(self->kernel, 0, sizeof buffer, &buffer);
  if (code == CL_SUCCESS) code = ab__cl.clSetKernelArg(self->kernel, 1, sizeof elements, &elements);
  if (code == CL_SUCCESS) code = ab__cl.clSetKernelArg(self->kernel, 2, sizeof addend, &addend);
  if (code != CL_SUCCESS) return ab__cl_failed(self->error, code, "clSetKernelArg (coherence probe)");
  code = ab__cl.clEnqueueNDRangeKernel(self->record->queue, self->kernel, 1, NULL, &items, &group, 0, NULL, NULL);
  if (code == CL_SUCCESS) code = ab__cl.clFinish(self->record->queue);
  if (code != CL_SUCCESS) return ab__cl_failed(self->error, code, "clEnqueueNDRangeKernel (coherence probe)");
  for (size_t index = 0; index < count; index++)
    if (memory[index] != ((cl_uint)index ^ (addend << 16)) * 3u + addend) return AB_UNSUPPORTED;
  return AB_OK;
}

/* Two exchanges, so that a copy made at the first use does not pass; `expected`, if not NULL, is where it must map. */
static ab_status exchange_mapped(probe *self, cl_mem buffer, size_t bytes, const void *expected) {
  const cl_command_queue queue = self->record->queue;
  cl_int code = CL_SUCCESS;
  void *memory =
      ab__cl.clEnqueueMapBuffer(queue, buffer, CL_TRUE, CL_MAP_READ | CL_MAP_WRITE, 0, bytes, 0, NULL, NULL, &code);
  if (memory == NULL) return ab__cl_failed(self->error, code, "clEnqueueMapBuffer (coherence probe)");
  ab_status status = expected == NULL || memory == expected ? AB_OK : AB_UNSUPPORTED;
  if (status == AB_OK) status = exchange(self, buffer, memory, bytes / sizeof(cl_uint));
  if (status == AB_OK) status = exchange(self, buffer, memory, bytes / sizeof(cl_uint));
  code = ab__cl.clEnqueueUnmapMemObject(queue, buffer, memory, 0, NULL, NULL);
  if (code == CL_SUCCESS) code = ab__cl.clFinish(queue);
  if (code != CL_SUCCESS && status == AB_OK)
    status = ab__cl_failed(self->error, code, "clEnqueueUnmapMemObject (coherence probe)");
  return status;
}

static ab_status try_wrapped(probe *self, unsigned char *memory, size_t bytes) {
  cl_int code = CL_SUCCESS;
  cl_mem buffer =
      ab__cl.clCreateBuffer(self->record->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, bytes, memory, &code);
  if (buffer == NULL && code == CL_INVALID_HOST_PTR) return AB_UNSUPPORTED;  // a driver that insists on alignment
  if (buffer == NULL) return ab__cl_failed(self->error, code, "clCreateBuffer (coherence probe)");
  volatile cl_uint *elements = (volatile cl_uint *)(void *)memory;
  ab_status status = exchange(self, buffer, elements, bytes / sizeof(cl_uint));
  if (status == AB_OK) status = exchange(self, buffer, elements, bytes / sizeof(cl_uint));
  if (status == AB_OK) status = exchange_mapped(self, buffer, bytes, memory);
  ab__cl.clReleaseMemObject(buffer);
  return status;
}

static ab_status try_own(probe *self) {
  cl_int code = CL_SUCCESS;
  cl_mem buffer = ab__cl.clCreateBuffer(self->record->context, CL_MEM_READ_WRITE, PROBE_BYTES, NULL, &code);
  if (buffer == NULL) return ab__cl_failed(self->error, code, "clCreateBuffer (coherence probe)");
  const ab_status status = exchange_mapped(self, buffer, PROBE_BYTES, NULL);
  ab__cl.clReleaseMemObject(buffer);
  return status;
}

/* ------------------------------------------------------------------ the verdict */

static ab_status try_classes(probe *self, uint64_t *alignment, uint64_t *granularity) {
  void *block = ab__allocate(PROBE_BYTES + 3 * PROBE_PAGE);
  if (block == NULL) return ab_error_set(self->error, AB_OOM, "no memory for the OpenCL coherence probe");
  unsigned char *page = (unsigned char *)(((uintptr_t)block + PROBE_PAGE - 1) / PROBE_PAGE * PROBE_PAGE);
  ab_status status = AB_UNSUPPORTED;
  for (size_t index = 0; index < sizeof classes / sizeof *classes && status == AB_UNSUPPORTED; index++) {
    status = try_wrapped(self, page + classes[index].offset, classes[index].bytes);
    if (status != AB_OK) continue;
    *alignment = classes[index].alignment;
    *granularity = classes[index].granularity;
  }
  ab__deallocate(block);
  return status;
}

/* A device without a compiler gets no verdict but "not coherent": it would be asked again at each conversion. */
static ab_status build(probe *self) {
  cl_int code = CL_SUCCESS;
  self->program = ab__cl.clCreateProgramWithSource(self->record->context, 1, &source, NULL, &code);
  if (self->program == NULL) return ab__cl_failed(self->error, code, "clCreateProgramWithSource (coherence probe)");
  code = ab__cl.clBuildProgram(self->program, 1, &self->record->device, "", NULL, NULL);
  if (code != CL_SUCCESS) goto failed;
  self->kernel = ab__cl.clCreateKernel(self->program, "arraybridge_probe", &code);
  if (self->kernel != NULL) return AB_OK;

failed:
  return ab__cl_failed(self->error, code, "clBuildProgram (coherence probe)") == AB_OOM ? AB_OOM : AB_UNSUPPORTED;
}

ab_status ab__cl_probe(const ab__cl_context *record, uint64_t *alignment, uint64_t *granularity, ab_error *error) {
  probe self = {.record = record, .error = error};
  ab_status status = build(&self);
  if (status == AB_OK) status = try_own(&self);
  if (status == AB_OK) status = try_classes(&self, alignment, granularity);
  if (self.kernel != NULL) ab__cl.clReleaseKernel(self.kernel);
  if (self.program != NULL) ab__cl.clReleaseProgram(self.program);
  return status;
}

#endif /* AB__HAS_OPENCL */
