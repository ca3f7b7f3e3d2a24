/* SPDX-License-Identifier: MIT
 *
 * arraybridge/conformance/framework.h: the controls of the simulated frameworks.
 *
 * A simulated framework is an array library for the simulated driver, and a plugin for arraybridge. Its arrays are
 * flat, of uint32. There are several, each a file of its own, since frameworks differ in what matters for order:
 *   sim_keyed     current stream per thread; an allocator that reuses a block on the stream that allocated it
 *   sim_callback  the same, and drops what it has borrowed inside a host function of the driver
 *   sim_ordered   orders its work by itself on a stream that it tells nobody; has a stream that must be ready before an
 *                 import; drops what it has borrowed while its work is pending
 * None of them waits for another by itself. Results are simulated results: say so.
 *
 * Threads: any-thread. What a thread sets with use() is its own.
 * Since: 1.0, all of it. Experimental: this header may change in every release.
 */
#ifndef ARRAYBRIDGE_CONFORMANCE_FRAMEWORK_H
#define ARRAYBRIDGE_CONFORMANCE_FRAMEWORK_H

#include <arraybridge/conformance/driver.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { SIM_STREAMS = 4 };  ///< of each device: 0 is the legacy default stream, the others are non-blocking

typedef struct sim_array sim_array;

typedef struct sim_framework {
  uint32_t struct_size;
  const char *name;
  /// After sim_reset(): takes the primary context of each device and makes streams there. Twice is fine.
  void (*begin)(void);
  /// Gives everything back; no array may be alive and nothing pending.
  void (*end)(void);
  /// The device and the stream of this thread's next work. sim_ordered knows only the device.
  void (*use)(int device, int stream);
  /// An array on this thread's device, allocated on its stream; NULL: out of memory. Nothing is in it yet.
  sim_array *(*make)(uint32_t elements);
  /// One reference less. The last one frees, in the framework's way.
  void (*drop)(sim_array *array);
  /// Enqueues: each element becomes `value`.
  void (*fill)(sim_array *array, uint32_t value);
  /// Enqueues: each element must be `value` when this executes; what is wrong is kept for wrong().
  void (*expect)(sim_array *array, uint32_t value);
  /// The same on a stream that the framework uses without telling anybody; ordered after its current one.
  void (*expect_aside)(sim_array *array, uint32_t value);
  /// That stream.
  CUstream (*aside)(int device);
  /// The stream of this thread's next work.
  CUstream (*current)(void);
  /// What was first found wrong since begin(); NULL: nothing.
  const char *(*wrong)(void);
  /// Arrays alive.
  int (*alive)(void);
  /// The address of the first element.
  CUdeviceptr (*address)(const sim_array *array);
  int (*device_of)(const sim_array *array);
} sim_framework;

/// What each of the files exports besides the plugin.
#define SIM_FRAMEWORK_SYMBOL "simulated_framework"

#ifdef __cplusplus
}
#endif

#endif
