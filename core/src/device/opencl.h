/* SPDX-License-Identifier: MIT
 *
 * opencl.h: host memory as OpenCL buffers, and OpenCL buffers as host memory.
 *
 * The context is always the framework's own; the core makes none. libOpenCL is opened at run time. Built without
 * OpenCL headers, or on a system without dlopen(), every function returns AB_UNAVAILABLE.
 *
 * All functions: Threads: any-thread, no lock needed. In a child forked after OpenCL was used they return AB_DRIVER.
 * A driver's error code becomes AB_OOM (-4, -5, -6), AB_TOO_LARGE (-61) or AB_DRIVER, with a failure of domain
 * "opencl".
 */
#ifndef AB__OPENCL_H
#define AB__OPENCL_H

#include <arraybridge/plugin.h>

/// What sharing asks of host memory on one device.
typedef struct ab__opencl_limits {
  uint64_t alignment;    ///< of the first byte, bytes; 1: that of the dtype is enough
  uint64_t granularity;  ///< the length is a multiple of this, bytes
  uint64_t max_bytes;    ///< largest single buffer
} ab__opencl_limits;

/// One vendor library, as `doctor` shows it. Strings are valid during the visit.
typedef struct ab__opencl_vendor {
  const char *path;     ///< the .icd file, or the name of the environment variable that names the library
  const char *library;  ///< what it says; empty if the file cannot be read
  int loaded;           ///< in the process now
  int opened_by_us;     ///< … because ab__opencl_prepare() opened it, with its symbols kept apart
} ab__opencl_vendor;

typedef void (*ab__opencl_vendor_visitor)(void *context, const ab__opencl_vendor *vendor);

/// Opens every vendor library so that symbols of libraries loaded before or after cannot take the place of its own:
/// TensorFlow's global LLVM symbols crash PoCL otherwise. A library that is already loaded is left alone. Idempotent;
/// nothing is ever closed.
/// Returns: AB_OK when at least one is loaded; AB_UNAVAILABLE with the reasons.
ab_status ab__opencl_prepare(ab_error *error);

/// Shows each vendor library without opening any.
ab_status ab__opencl_visit_vendors(ab__opencl_vendor_visitor visit, void *context, ab_error *error);

/// Says what ab__opencl_wrap() and ab__opencl_map() ask for on this device. The first call for a device runs the
/// coherence probe: a kernel is built and run (100 ms on PoCL, once per process and device).
/// `cl_device_id` NULL: the context's only device.
/// Returns: AB_OK; AB_UNSUPPORTED with the reason when host and device do not see each other's writes.
ab_status ab__opencl_sharing(void *cl_context, void *cl_device_id, ab__opencl_limits *limits, ab_error *error);

/// Makes a buffer of `cl_context` out of the memory of `host` (kDLCPU, C-contiguous, not read-only). The buffer's
/// DLTensor.data is the cl_mem; `device` is what the tensor shall say.
/// Ownership: takes `host` on success only; its deleter runs once, when the driver no longer uses the memory, maybe on
/// a thread of the driver: it must wait for no lock (pyclesperanto waits for its queue with the GIL held).
/// Gives `*wrapped`; its deleter releases the one reference to the cl_mem.
/// Stream: what the host wrote before the call is seen by every kernel enqueued after it.
/// Returns: AB_OK; AB_UNSUPPORTED with the reason: empty, read-only, not contiguous, device without unified memory or
/// coherence, alignment, size, or another live buffer or mapping in the same range; AB_OOM; AB_TOO_LARGE; AB_DRIVER.
ab_status ab__opencl_wrap(void *cl_context, void *cl_device_id, DLDevice device, DLManagedTensorVersioned *host,
                          DLManagedTensorVersioned **wrapped, ab_error *error);

/// Says whether ab__opencl_wrap() would take C-contiguous host memory now: alignment, size, and no live buffer in the
/// range. Returns: as ab__opencl_wrap().
ab_status ab__opencl_can_wrap(void *cl_context, void *cl_device_id, const void *data, uint32_t itemsize, uint64_t bytes,
                              ab_error *error);

/// Makes host memory out of a buffer by mapping it. A buffer is mapped once, however many tensors share the mapping.
/// The work that wrote the buffer must be done: the framework's own export has waited for it.
/// Ownership: takes `device_tensor` on success only; gives `*host`, whose deleter gives the mapping up and runs the
/// deleter of `device_tensor`. It never blocks; inside one of our own callbacks it is put off, see ab__opencl_drain().
/// Up to 16 buffers of at most 256 KiB stay mapped, and so allocated, until a later call or ab__opencl_drain().
/// Stream: host-complete. Later kernels and later writes of the host are unordered.
/// Returns: AB_OK; AB_UNSUPPORTED with the reason: empty, not an OpenCL tensor, no coherence; AB_OOM; AB_DRIVER.
ab_status ab__opencl_map(DLManagedTensorVersioned *device_tensor, DLManagedTensorVersioned **host, ab_error *error);

/// Copies the first `bytes` bytes of the tensor to the host, blocking. Needs no coherence.
/// The work that wrote the buffer must be done.
/// Ownership: borrows both.    Stream: host-complete.
ab_status ab__opencl_read(DLManagedTensorVersioned *device_tensor, void *host_destination, uint64_t bytes,
                          ab_error *error);

/// Pays what is owed: deleters put off inside a driver callback (every function above does that first), and unmapping
/// of small buffers that linger. For memory recovery and for tests.
void ab__opencl_drain(void);

/// Marks the end of the process: from now on every deleter leaks on purpose and touches no driver.
void ab__opencl_end(void);

extern const ab_device_ops ab__opencl_ops;

#endif /* AB__OPENCL_H */
