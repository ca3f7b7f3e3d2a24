/* SPDX-License-Identifier: MIT
 *
 * arraybridge/conformance/driver.h: the controls of the simulated CUDA driver.
 *
 * The simulated driver is a shared library with the name and the entry points of the real one (libcuda.so.1, cu*). It
 * has devices, contexts, streams, events and memory, and no hardware. It is an adversary: whatever a program forgot to
 * order, it does in the wrong order; whatever was freed too early is overwritten. What a real GPU gets wrong now and
 * then goes wrong here every time, and again with the same seed. Results from it are simulated results: say so.
 *
 * How it behaves
 *   1. Nothing runs when it is enqueued. A stream is a first-in-first-out list of operations. One operation at a time
 *      runs, on the calling thread, and only inside a call that asks or waits: cuEventQuery and cuStreamQuery run at
 *      most one (of some stream, which may not help), the synchronising calls as many as they need. Nothing sleeps.
 *   2. Which operation runs next is the scheduler's choice, among all that are allowed to: sim_policy().
 *   3. Device memory cannot be touched by the host: a program that tries dies. It is open to an operation while that
 *      runs. Freed memory is out of reach; a fresh block is full of SIM_POISON (beyond 64 MiB: its two ends). Each
 * operation checks every block that it touches when it EXECUTES: freed, not yet allocated, of another context, of a
 * device without peer access: a fault.
 *   4. A freed block is what the next allocation from another stream gets.
 *   5. Handles of destroyed streams and events are given out again at once; ids (cuStreamGetId) never.
 *   6. Host functions (cuLaunchHostFunc) run on a thread of their own, which may not call the driver, while the thread
 *      that waits blocks: a lock that it holds, and the host function wants, hangs both, as it may on a real device.
 *   7. Errors are those of the real driver. A fault (sim_fault) is reported besides: a call that no program should make
 *      (a double free, a device call inside a callback, a query during a capture), or a mistake that a real device
 *      would answer with wrong numbers.
 *
 * Names: `sim_` and none of the project's own prefix, since this file is about CUDA and not about arraybridge.
 * Threads: any-thread, unless said otherwise. One lock is held during each call, operations and host functions
 * included; the order in which threads make their calls is up to them, everything else follows from the seed.
 * Since: 1.0, all of it. Experimental: this header may change in every release.
 */
#ifndef ARRAYBRIDGE_CONFORMANCE_DRIVER_H
#define ARRAYBRIDGE_CONFORMANCE_DRIVER_H

#include <cuda.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SIM_API __attribute__((visibility("default")))
#else
#define SIM_API
#endif

enum {
  SIM_MAX_DEVICES = 16,
  SIM_POISON = 0xDB  ///< each byte of memory that nobody has written since it was allocated
};

/* ------------------------------------------------------------------ starting anew */

/// Makes all state new: `devices` devices (at most SIM_MAX_DEVICES) of `bytes_per_device` bytes, no context, no stream,
/// no memory, cuInit not called, every setting of this header at its default. Handles from before are invalid.
/// Without it there is one device of 1 GiB. Also makes the driver usable in a forked child.
/// No other thread may be inside the driver.
SIM_API void sim_reset(uint64_t seed, int devices, uint64_t bytes_per_device);

/// Begins another schedule in the same process: a new seed, no fault, counters at zero, no failure arranged.
/// Contexts, streams, events, memory, pending operations and settings stay.
SIM_API void sim_reseed(uint64_t seed);

/// What cuDriverGetVersion answers (default: the CUDA_VERSION this was built with). Below 12050 cuCtxRecordEvent and
/// cuCtxWaitEvent answer CUDA_ERROR_NOT_SUPPORTED and cuGetProcAddress does not find them.
SIM_API void sim_driver_version(int version);

/* ------------------------------------------------------------------ operations */

/// Enqueues a kernel on `stream`: run(context) is called when the scheduler executes it, on whatever thread waits then.
/// The `count` blocks that hold the addresses `touched` (anywhere inside) are then checked, and can be read and written
/// by address while run() runs. If a check fails, run() is not called. run() must not call the driver.
/// Ownership: copies `touched`; borrows `context` until the kernel has executed.
/// Returns: as cuLaunchKernel; CUDA_ERROR_INVALID_VALUE and a fault for an address that is in no block.
SIM_API CUresult sim_launch(CUstream stream, void (*run)(void *context), void *context, const CUdeviceptr *touched,
                            int count);

/// Closes a gate in `stream`: what is enqueued later waits until sim_let_go(). A device that is busy for as long as a
/// test likes: a call that waits for it is a deadlock (a fault, and CUDA_ERROR_TIMEOUT from the call, even if another
/// thread would have opened the gate), and so a call that should not wait is found out.
SIM_API CUresult sim_hold(CUstream stream);
/// Opens all gates in `stream`. CUDA_ERROR_INVALID_VALUE if there is none.
SIM_API CUresult sim_let_go(CUstream stream);

/* ------------------------------------------------------------------ the scheduler */

/// Which of the operations that are allowed to run goes first. Before all of them: weights (sim_weight).
typedef enum sim_policy_kind {
  /// Frees first, then the stream that was enqueued to last, so that a consumer that does not wait reads before its
  /// producer has written; events that no stream waits for last, so that releases wait as long as possible. The
  /// default.
  SIM_CONSUMERS_FIRST = 0,
  /// The stream that was enqueued to longest ago: a consumer is late, what it reads may be gone.
  SIM_PRODUCERS_FIRST = 1,
  /// A wait executes only what it cannot do without, a poll first everything that does not help.
  SIM_ONLY_NEEDED = 2,
  /// Any, by the seed.
  SIM_RANDOM = 3,
  /// One of the four above for each operation, by the seed. For random schedules.
  SIM_MIXED = 4
} sim_policy_kind;

SIM_API void sim_policy(sim_policy_kind policy);
/// Streams of a greater weight go first, whatever the policy. 0 in the beginning.
SIM_API CUresult sim_weight(CUstream stream, int weight);
/// Executes one operation. Returns 1, or 0 if none can run.
SIM_API int sim_step(void);
/// Executes operations until none can run.
SIM_API void sim_run_all(void);

/* ------------------------------------------------------------------ what was found */

/// The first violation since sim_reset(), sim_reseed() or sim_fault_clear(); NULL if there was none. It begins with its
/// kind: "use after free: …", "double free: …", "deadlock: …", "capture: …", "callback: …", "wrong device: …", ….
/// Ownership: the text is the driver's, valid until one of these three is called.
SIM_API const char *sim_fault(void);
/// How many violations there were, the first included.
SIM_API uint64_t sim_faults(void);
SIM_API void sim_fault_clear(void);

/// 1 if no operation is pending on any stream.
SIM_API int sim_idle(void);
/// Counts what is left over: memory (pinned and registered included), created streams and events, retains of primary
/// contexts, own contexts, contexts pushed and not popped, captures. Writes a list to `text` (`size` bytes, NULL is
/// fine).
SIM_API int sim_leaks(char *text, size_t size);
/// 1 if this schedule was right: no fault, nothing pending. Leaks are for the end: sim_leaks().
SIM_API int sim_check(void);

/// How often the driver function `name` was called ("cuMemAlloc" or "cuMemAlloc_v2", the same); NULL: all together.
/// Failed calls count.
SIM_API uint64_t sim_calls(const char *name);
/// How many calls have waited for the device or may do so on a real one: the synchronising functions, synchronous
/// copies, cuMemFree, cuMemFreeHost, cuMemHostUnregister, asynchronous copies from the device to pageable memory.
SIM_API uint64_t sim_waits(void);
/// The name of the driver function `index`, without its version; NULL past the last one.
SIM_API const char *sim_function(int index);

/* ------------------------------------------------------------------ failures on purpose */

/// The `nth` driver call from now, of whatever function (cuGetErrorName, too), fails with `with`, once, and has no
/// effect; 0: none.
/// Of the sticky errors (CUDA_ERROR_ILLEGAL_ADDRESS, CUDA_ERROR_LAUNCH_FAILED, …) every later call that needs the
/// context of the same device fails, too.
SIM_API void sim_fail_at(uint64_t nth, CUresult with);
/// As sim_fail_at(), but counts only calls of the function `name`.
SIM_API void sim_fail_call(const char *name, uint64_t nth, CUresult with);
/// Called by a kernel while it runs: the device goes wrong. The driver call that executed the kernel answers `with`,
/// and if that is sticky all later ones that need a context of the device.
SIM_API void sim_raise(CUresult with);
/// As if the process had begun to end: every later call answers CUDA_ERROR_DEINITIALIZED.
SIM_API void sim_deinitialize(void);

/* ------------------------------------------------------------------ devices and memory */

/// Sets how much memory `device` has; what is allocated stays, even if that is more.
SIM_API void sim_capacity(int device, uint64_t bytes);
/// Bytes of `device` that are allocated now: until a free executes, not until it is enqueued.
SIM_API uint64_t sim_used(int device);
/// Sets how much pinned and registered memory there may be (default: no limit).
SIM_API void sim_pinned_limit(uint64_t bytes);
SIM_API uint64_t sim_pinned(void);
/// Says whether `device` can reach the memory of `peer` (default: no).
SIM_API void sim_peer(int device, int peer, int can);
/// Whether cuMemFree, cuMemFreeHost and cuMemHostUnregister may be called while an operation on the block is pending:
/// 0 (the default): a fault, since no document promises that they wait; 1: they wait in silence. They wait either way.
SIM_API void sim_free_may_wait(int may);
/// Copies `bytes` of the memory at `address` to `to` as it is now: no operation, no order, no call counted. 0 if that
/// is not inside one live block.
SIM_API int sim_read(CUdeviceptr address, void *to, size_t bytes);
/// The other way round.
SIM_API int sim_write(CUdeviceptr address, const void *from, size_t bytes);

/* ------------------------------------------------------------------ contexts, threads, captures */

/// How often the primary context of `device` is retained now.
SIM_API int sim_retained(int device);
/// How many contexts are on the stack of the calling thread.
SIM_API int sim_context_depth(void);
/// The device of the calling thread's current context, -1 without one.
SIM_API int sim_current_device(void);
/// 1 on a thread that runs a host function.
SIM_API int sim_in_callback(void);
/// Begins and ends a capture on `stream` as a framework does. What is captured does not run.
SIM_API CUresult sim_begin_capture(CUstream stream, CUstreamCaptureMode mode);
SIM_API CUresult sim_end_capture(CUstream stream);

#ifdef __cplusplus
}
#endif

#endif
