/* SPDX-License-Identifier: MIT
 *
 * cuda.h: memory, streams and events of CUDA devices.
 *
 * The driver (libcuda.so.1) is opened by the first question about a CUDA device, never before. Work goes to a device's
 * primary context, which the frameworks share; the core makes no context of its own. A device that nobody uses is woken
 * by allocating on it, copying to or from it and making a stream on it, by nothing else. Whatever a function answers,
 * the calling thread's current context is afterwards what it was before. Built without cuda.h, or on a system without
 * the driver, every function answers AB_UNAVAILABLE with one reason.
 *
 * All functions: Threads: any-thread, no lock needed; no lock is held across a driver call. In a child forked after
 * CUDA was used they answer AB_DRIVER, at the end of the process AB_ENDING. Returns, besides what each says: AB_OOM,
 * AB_NO_DEVICE, AB_STREAM (the driver's capture errors) or AB_DRIVER, with a failure of domain "cuda". After an error
 * that a context does not survive the device is left alone: each call answers AB_DRIVER and what happened, without
 * asking the driver again.
 */
#ifndef AB__CUDA_H
#define AB__CUDA_H

#include <arraybridge/plugin.h>

/// For kDLCUDA, kDLCUDAHost (pinned host memory) and kDLCUDAManaged. A stream or event is used in its own context: the
/// primary one, or the foreign one that `native_context` names. Nothing is done on a stream that captures: AB_STREAM.
///
/// allocate    device memory, from the driver's pool if there is a stream; with AB_MEMORY_PINNED and kDLCUDAHost pinned
///             host memory. Keep the ab_memory as it is for deallocate: `reserved` says how it was made.
/// copy        host and device either way, within a device, between devices; with a NULL stream on a stream of ours.
/// wrap        registers host memory for all devices: pinned until unwrap, at the same address. `device` comes with a
///             device whose context does it, and becomes kDLCUDAHost.
/// event_*     an event of a primary context goes back to a pool: event_release makes no driver call then.
extern const ab_device_ops ab__cuda_ops;

/// 1 once the driver has been opened by us.
int ab__cuda_loaded(void);

/// Marks the end of the process: from now on no driver is called, and what is released leaks on purpose.
void ab__cuda_end(void);

/// Asks the driver whether `bytes` bytes at `address` are what a tensor on `device` says: memory of that kind, on that
/// device, in its primary context, within one allocation where its extent is known. `uuid`: all zero or NULL if
/// unknown, else it decides which device is meant. Nothing is asked for 0 bytes.
/// Returns: AB_OK; AB_UNSUPPORTED it is in a foreign context; AB_INVALID_TENSOR it is not so.
ab_status ab__cuda_check_pointer(const void *address, uint64_t bytes, DLDevice device, const uint8_t uuid[16],
                                 ab_error *error);

/// Says whether all of this host memory is pinned or registered: `*pinned` is 0 or 1. 0 as long as the driver has not
/// been opened, which this does not do, and in a forked child: host conversions go on there.
ab_status ab__cuda_pinned(const void *address, uint64_t bytes, int *pinned, ab_error *error);

/// Asks the driver how much memory a device has, and how much of it is free, bytes.
/// Returns: AB_OK; AB_UNSUPPORTED nobody uses the device, so it is not asked.
ab_status ab__cuda_memory_info(DLDevice device, uint64_t *free_bytes, uint64_t *total_bytes, ab_error *error);

/// Records the work on all streams of a device's primary context so far. Gives `*event`, as event_record does.
/// Captures on streams that do not block with the legacy stream cannot be seen beforehand and are broken by this.
/// Returns: AB_OK; AB_UNSUPPORTED below driver 12.5, while a stream captures, or if nobody uses the device.
ab_status ab__cuda_event_record_context(DLDevice device, const uint8_t uuid[16], void **event, ab_error *error);

/// Makes a non-blocking stream that is never destroyed. Wakes the device. Gives `*stream`, AB_STREAM_IMMORTAL.
ab_status ab__cuda_stream_new(DLDevice device, ab_stream *stream, ab_error *error);

#endif /* AB__CUDA_H */
