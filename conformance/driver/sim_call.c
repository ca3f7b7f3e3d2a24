/* SPDX-License-Identifier: MIT
 * What every driver function passes through: who may call, how often it happened, and which call fails on purpose. */
#include <string.h>
#include <unistd.h>

#include "sim.h"

#define SIM_FUNCTION_NAME(name) #name,
static const char *const names[] = {SIM_FUNCTIONS(SIM_FUNCTION_NAME)};

static uint64_t counts[SIM_FUNCTION_COUNT], waits;
static struct {
  uint64_t nth;
  CUresult with;
  int function;  ///< -1: any
} failure;
static _Atomic pid_t initialized; /* by which process; read before the lock is taken */
static const char *caller = "";
static CUresult raised; /* by a kernel that this call has executed */
static int ended;

const char *sim__caller(void) { return caller; }
void sim__count_wait(void) { ++waits; }
void sim__set_initialized(void) { initialized = getpid(); }

void sim__call_reseed(void) {
  memset(counts, 0, sizeof counts);
  waits = 0;
  failure.nth = 0;
}

void sim__call_reset(void) {
  sim__call_reseed();
  initialized = 0;
  raised = CUDA_SUCCESS;
  ended = 0;
}

int sim__sticky(CUresult result) {
  switch (result) {
    case CUDA_ERROR_ECC_UNCORRECTABLE:
    case CUDA_ERROR_ILLEGAL_ADDRESS:
    case CUDA_ERROR_LAUNCH_TIMEOUT:
    case CUDA_ERROR_ASSERT:
    case CUDA_ERROR_HARDWARE_STACK_ERROR:
    case CUDA_ERROR_ILLEGAL_INSTRUCTION:
    case CUDA_ERROR_MISALIGNED_ADDRESS:
    case CUDA_ERROR_INVALID_ADDRESS_SPACE:
    case CUDA_ERROR_INVALID_PC:
    case CUDA_ERROR_LAUNCH_FAILED:
      return 1;
    default:
      return 0;
  }
}

/* The failure that was arranged for this call, CUDA_SUCCESS if none was. */
static CUresult fails_on_purpose(sim_function_index function) {
  if (failure.nth == 0) return CUDA_SUCCESS;
  if (failure.function >= 0 && failure.function != (int)function) return CUDA_SUCCESS;
  if (--failure.nth != 0) return CUDA_SUCCESS;
  const sim_context *const context = sim__current_or_null();
  if (context != NULL && sim__sticky(failure.with)) sim__device(context->device)->error = failure.with;
  return failure.with;
}

static CUresult may_begin(unsigned needs) {
  if (ended) return CUDA_ERROR_DEINITIALIZED;
  if (initialized == 0 && !(needs & SIM_ANYTIME)) return CUDA_ERROR_NOT_INITIALIZED;
  if (needs & SIM_CURRENT) {
    sim_context *context = NULL;
    const CUresult result = sim__current(&context);
    if (result != CUDA_SUCCESS) return result;
    const CUresult error = sim__device(context->device)->error;
    if (error != CUDA_SUCCESS) return error;
  }
  return needs & SIM_UNSAFE ? sim__capture_allows() : CUDA_SUCCESS;
}

/* A kernel, a host function, a child of the process: the lock is held elsewhere, and no call is right. */
static CUresult refused(sim_function_index function, unsigned needs) {
  const int inside = sim__inside();
  if (inside == SIM_IN_CALLBACK && (function == SIM_cuGetErrorName || function == SIM_cuGetErrorString))
    return CUDA_SUCCESS;
  if (inside == SIM_IN_CALLBACK || inside == SIM_IN_KERNEL) {
    ++counts[function];
    sim__fault("callback: %s was called inside a %s", names[function],
               inside == SIM_IN_KERNEL ? "kernel" : "host function");
    return CUDA_ERROR_NOT_PERMITTED;
  }
  if (initialized != 0 && initialized != getpid() && !(needs & SIM_ANYTIME && function != SIM_cuInit))
    return CUDA_ERROR_NOT_INITIALIZED;
  return CUDA_SUCCESS;
}

static _Thread_local int before_entry;
static _Thread_local int refused_entry;

CUresult sim__enter(sim_function_index function, unsigned needs) {
  CUresult result = refused(function, needs);
  refused_entry = result != CUDA_SUCCESS;
  if (refused_entry) return result;
  before_entry = sim__lock();
  caller = names[function];
  ++counts[function];
  if (needs & SIM_WAITS) ++waits;
  result = fails_on_purpose(function);
  return result == CUDA_SUCCESS ? may_begin(needs) : result;
}

CUresult sim__leave(CUresult result) {
  if (!refused_entry) {
    if (raised != CUDA_SUCCESS && (result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY)) result = raised;
    raised = CUDA_SUCCESS;
    sim__unlock(before_entry);
  }
  refused_entry = 0;
  return result;
}

/* The function `name` with or without a version; -1: unknown. */
static int function_named(const char *name) {
  for (int i = 0; i < SIM_FUNCTION_COUNT; ++i) {
    const size_t size = strlen(names[i]);
    if (strncmp(name, names[i], size) != 0) continue;
    if (name[size] == '\0' || name[size] == '_') return i;
  }
  return -1;
}

SIM_API uint64_t sim_calls(const char *name) {
  const int inside = sim__lock();
  const int function = name == NULL ? -1 : function_named(name);
  uint64_t calls = 0;
  for (int i = 0; i < SIM_FUNCTION_COUNT; ++i) calls += name == NULL || i == function ? counts[i] : 0;
  sim__unlock(inside);
  return calls;
}

SIM_API uint64_t sim_waits(void) {
  const int inside = sim__lock();
  const uint64_t result = waits;
  sim__unlock(inside);
  return result;
}

SIM_API const char *sim_function(int index) { return index < 0 || index >= SIM_FUNCTION_COUNT ? NULL : names[index]; }

static void fail(int function, uint64_t nth, CUresult with) {
  const int inside = sim__lock();
  failure.function = function;
  failure.nth = nth;
  failure.with = with;
  sim__unlock(inside);
}

SIM_API void sim_fail_at(uint64_t nth, CUresult with) { fail(-1, nth, with); }

SIM_API void sim_fail_call(const char *name, uint64_t nth, CUresult with) {
  const int function = function_named(name);
  fail(function, function < 0 ? 0 : nth, with);
}

SIM_API void sim_raise(CUresult with) {
  const int inside = sim__lock();
  raised = with;
  if (sim__sticky(with)) sim__device(sim__running_device())->error = with;
  sim__unlock(inside);
}

SIM_API void sim_deinitialize(void) {
  const int inside = sim__lock();
  ended = 1;
  sim__unlock(inside);
}
