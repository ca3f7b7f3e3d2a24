/* SPDX-License-Identifier: MIT
 *
 * transfer.h: moves elements between host memory and a device in pieces, through pinned chunks: while the device
 * fetches one, threads of ours fill the next ones. Memory that the device reaches by itself is moved without them, and
 * so is all memory where none can be pinned.
 */
#ifndef AB__TRANSFER_H
#define AB__TRANSFER_H

#include <arraybridge/plugin.h>

#include "kernels/copy.h"

enum {
  /// Arrays of fewer bytes go through their framework's own call. A guess: one chunk's way costs three driver calls and
  /// a thread's start, some 30 µs, in which a framework moves a quarter of a MiB. To be measured on a GPU.
  AB__STAGE_FROM = 1 << 20,
  /// What is moved without chunks goes in pieces of so many bytes, so that it can be cancelled: about 1 ms each at the
  /// 55 GB/s that were measured for pinned memory.
  AB__DIRECT_BYTES = 64 << 20,
  /// Threads that copy, unless the caller says otherwise: of 4, 8 and 16 the last was fastest both ways (FACTS.md).
  AB__TRANSFER_THREADS = 16
};

typedef struct ab__transfer {
  const ab_device_ops *ops;
  const ab_stream *stream;  ///< copies are enqueued there, from several threads: no PER_THREAD one
  ab_memory device;         ///< where on the device; `bytes`: how many
  uint32_t threads;         ///< 0: AB__TRANSFER_THREADS, or as many as there are cores
  uint64_t pinned_limit;    ///< bytes of chunks that there may be for the device; 0: AB__PINNED_BYTES
  /// Called on the calling thread, with bytes. Anything but 0 cancels. NULL: nobody listens.
  int (*progress)(void *context, uint64_t done, uint64_t total);
  void *progress_context;
  uint32_t report;  ///< AB_REPORT_* that came of it are added
} ab__transfer;

/// 1 if `ops` has all that a transfer needs.
int ab__transfer_possible(const ab_device_ops *ops);

/// Copies `from` to the device, compact, ordered on the stream. `from` is not read after this has returned.
/// Returns: AB_OK; AB_UNSUPPORTED no memory can be pinned, and it is not dense; AB_CANCELLED; AB_OOM; what the device
/// said. After a failure copies to the device may be on their way, on the stream.
ab_status ab__transfer_to_device(ab__transfer *transfer, const ab__strided *from, ab_error *error);

/// Copies the device's memory to `to`, fresh host memory, and waits for that. Returns: AB_OK; AB_CANCELLED; AB_OOM;
/// what the device said. After a failure nothing is on its way, as far as the device can tell.
ab_status ab__transfer_to_host(ab__transfer *transfer, void *to, ab_error *error);

#endif
