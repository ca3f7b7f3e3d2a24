/* SPDX-License-Identifier: MIT
 * What the files of a simulated framework share. Each framework is compiled from all of them, with its traits. */
#ifndef SIM_FRAMEWORK_INTERNAL_H
#define SIM_FRAMEWORK_INTERNAL_H

#include <arraybridge/conformance/framework.h>
#include <arraybridge/plugin.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

/* The traits: SIM_NAME; SIM_ORDERED, SIM_CALLBACK: 0 or 1. */

struct sim_array {
  atomic_int references;
  int device;
  uint32_t elements;
  CUdeviceptr address;
  CUstream made_on; /* own memory: where it was allocated */
  CUstream used_on; /* the last other stream that worked on it */
  CUstream known;   /* on which others may have been told that it is: its allocation's, or the one outside a scope */
  DLManagedTensorVersioned *borrowed;
};

extern const ab_services *sim_services;
extern int sim_devices;
extern uint8_t sim_uuids[SIM_MAX_DEVICES][16];

/// Work of a framework is done in the device's primary context, whatever is current; what was is current again.
void sim_enter(int device);
void sim_leave(void);

CUstream sim_stream(int device, int number);
CUstream sim_current(int device);  ///< this thread's
CUstream sim_ready(int device);    ///< SIM_ORDERED: must be ready before an import
void sim_streams_begin(void);
void sim_streams_end(void);
int sim_thread_device(void);
void sim_use(int device, int stream);
CUstream sim_aside(int device);
/// Makes `later` wait for what is on `earlier` now.
void sim_order(CUstream earlier, CUstream later);
void sim_describe_stream(int device, CUstream handle, ab_stream *stream);
CUstream sim_handle_of(const ab_stream *stream);
/// This thread's current device and stream become others, and back.
void sim_push_stream(int device, CUstream stream);
void sim_pop_stream(void);
/// 1 if this thread's current stream was entered: then order with what is outside is up to whoever entered it.
int sim_entered(int device);
CUstream sim_outside(int device);  ///< the current stream but for what was entered

CUdeviceptr sim_allocate(int device, CUstream stream, uint64_t bytes);
void sim_free(int device, CUstream stream, CUdeviceptr address, uint64_t bytes);
uint64_t sim_pool_clear(int device);

sim_array *sim_array_new(int device, uint32_t elements);
sim_array *sim_array_borrow(int device, DLManagedTensorVersioned *tensor);
void sim_array_drop(sim_array *array);
int sim_alive(void);

#endif
