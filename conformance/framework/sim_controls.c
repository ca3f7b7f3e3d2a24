/* SPDX-License-Identifier: MIT
 * What a test does with a framework: the work that it enqueues, and the value that it expects. */
#include <stdio.h>

#include "sim_framework.h"

static char first_wrong[256];
static atomic_int wrongs;

static const char *wrong(void) { return atomic_load(&wrongs) != 0 ? first_wrong : NULL; }

static void begin(void) {
  atomic_store(&wrongs, 0);
  sim_streams_begin();
}

static void end(void) {
  sim_pool_clear(-1);
  sim_streams_end();
}

typedef struct job {
  CUdeviceptr address;
  uint32_t elements;
  uint32_t value;
  int write;
} job;

static void complain(const job *work, uint32_t at, uint32_t found) {
  if (atomic_fetch_add(&wrongs, 1) != 0) return;
  snprintf(first_wrong, sizeof first_wrong, "%s: element %u of %u was %u in place of %u", SIM_NAME, at, work->elements,
           found, work->value);
}

static void run(void *context) {
  job *work = context;
  uint32_t *values = (uint32_t *)(uintptr_t)work->address; /* open while an operation runs */
  uint32_t at = 0;
  for (; at < work->elements && (work->write || values[at] == work->value); at++)
    if (work->write) values[at] = work->value;
  if (at < work->elements) complain(work, at, values[at]);
  free(work);
}

static void enqueue(sim_array *array, CUstream stream, uint32_t value, int write) {
  job *work = malloc(sizeof *work);
  if (work == NULL) abort();
  *work = (job){.address = array->address, .elements = array->elements, .value = value, .write = write};
  sim_enter(array->device);
  if (sim_launch(stream, run, work, &array->address, 1) != CUDA_SUCCESS) free(work);
  sim_leave();
}

/* A framework's own work is in order, also when its user has gone to another stream in between. Not so where a stream
 * was entered: nobody but who did that orders it after what was current, and what is current again after it. */
static CUstream working(sim_array *array) {
  CUstream stream = sim_current(array->device);
  if (sim_entered(array->device)) return stream;
  if (stream != array->used_on) {
    sim_enter(array->device);
    sim_order(array->used_on, stream);
    sim_leave();
    array->used_on = stream;
  }
  return stream;
}

static void fill(sim_array *array, uint32_t value) { enqueue(array, working(array), value, 1); }
static void expect(sim_array *array, uint32_t value) { enqueue(array, working(array), value, 0); }

static void expect_aside(sim_array *array, uint32_t value) {
  sim_enter(array->device);
  sim_order(sim_current(array->device), sim_aside(array->device));
  sim_leave();
  enqueue(array, sim_aside(array->device), value, 0);
}

static sim_array *make(uint32_t elements) { return sim_array_new(sim_thread_device(), elements); }
static CUstream current(void) { return sim_current(sim_thread_device()); }
static CUdeviceptr address(const sim_array *array) { return array->address; }
static int device_of(const sim_array *array) { return array->device; }

AB_EXPORT const sim_framework simulated_framework;
const sim_framework simulated_framework = {.struct_size = (uint32_t)sizeof simulated_framework,
                                           .name = SIM_NAME,
                                           .begin = begin,
                                           .end = end,
                                           .use = sim_use,
                                           .make = make,
                                           .drop = sim_array_drop,
                                           .fill = fill,
                                           .expect = expect,
                                           .expect_aside = expect_aside,
                                           .aside = sim_aside,
                                           .current = current,
                                           .wrong = wrong,
                                           .alive = sim_alive,
                                           .address = address,
                                           .device_of = device_of};
