/* SPDX-License-Identifier: MIT
 *
 * The parts of the simulated driver, for each other. Everything is under one lock: sim__enter() takes it for a driver
 * function, sim__lock() for a control function; what is named sim__ below runs with it held.
 *
 * Order of the parts: lock and fault and call (who may call what, and which calls fail on purpose); slots, devices,
 * contexts, streams, operations, blocks (the state); scheduler (what runs next); the files of driver functions.
 */
#ifndef SIM_H
#define SIM_H

#pragma GCC visibility push(default) /* the functions that cuda.h declares are what this library exports */
#include <arraybridge/conformance/driver.h>
#pragma GCC visibility pop

#include "sim_functions.h"

#define SIM_PRINTF(text, arguments) __attribute__((format(printf, text, arguments)))

typedef struct sim_context sim_context;
typedef struct sim_stream sim_stream;
typedef struct sim_operation sim_operation;
typedef struct sim_block sim_block;
typedef struct sim_capture sim_capture;
typedef struct sim_range sim_range;

/* ------------------------------------------------------------------ threads and the lock */

enum { SIM_STACK = 64 };

/// What a thread has. Belongs to the state of the reset number `epoch`; another one's is as good as none.
typedef struct sim_thread {
  uint64_t epoch;
  uint64_t number;  ///< from 1, never given twice
  int depth;
  struct {
    CUcontext handle;
    uint64_t id;  ///< of the context: the handle may have been given to another one since
    int pushed;   ///< by cuCtxPushCurrent or cuCtxCreate, so that somebody must pop it
  } stack[SIM_STACK];
  CUstreamCaptureMode mode;
} sim_thread;

/// What the calling thread is in the middle of: the lock is then held, by it or for it.
enum { SIM_OUTSIDE = 0, SIM_IN_CALL = 1, SIM_IN_KERNEL = 2, SIM_IN_CALLBACK = 3 };

/// Takes the lock, unless this thread is inside already. Gives what it was inside of, for sim__unlock().
int sim__lock(void);
void sim__unlock(int inside);
int sim__inside(void);
/// Says what the thread is in the middle of from now on; gives what it was.
int sim__set_inside(int inside);
sim_thread *sim__thread(void);
/// Makes every thread's state and the lock new.
void sim__lock_reset(void);
/// How many contexts all threads have pushed and not popped.
extern int sim__pushed;

/* ------------------------------------------------------------------ faults */

/// Notes a violation. The text begins with its kind.
void sim__fault(const char *format, ...) SIM_PRINTF(1, 2);
void sim__fault_reset(void);

/* ------------------------------------------------------------------ calls */

#define SIM_FUNCTION_ENUM(name) SIM_##name,
typedef enum sim_function_index { SIM_FUNCTIONS(SIM_FUNCTION_ENUM) SIM_FUNCTION_COUNT } sim_function_index;

/// What a driver function needs before it begins, and what it is.
enum {
  SIM_ANYTIME = 1u << 0,  ///< works before cuInit
  SIM_CURRENT = 1u << 1,  ///< needs a current context, and fails after a sticky error
  SIM_UNSAFE = 1u << 2,   ///< "potentially unsafe": forbidden to a thread during a capture, by its mode
  SIM_WAITS = 1u << 3     ///< synchronises
};

CUresult sim__enter(sim_function_index function, unsigned needs);
CUresult sim__leave(CUresult result);

/// The body of a driver function: `expression` under the lock, if the call may be made.
#define SIM_CALL(name, needs, expression)              \
  CUresult result_ = sim__enter(SIM_##name, (needs));  \
  if (result_ == CUDA_SUCCESS) result_ = (expression); \
  return sim__leave(result_)

/// The driver function that is being called, for texts.
const char *sim__caller(void);
void sim__count_wait(void);
void sim__set_initialized(void);
void sim__call_reset(void);
void sim__call_reseed(void);
/// Whether all later calls of a context fail after `result`.
int sim__sticky(CUresult result);

/* ------------------------------------------------------------------ slots of handles */

/// Indices given out, the one freed last first.
typedef struct sim_slots {
  int *freed;
  int freed_count;
  int fresh;
  int capacity;
} sim_slots;

/// -1: none left.
int sim__slot_take(sim_slots *slots);
void sim__slot_give(sim_slots *slots, int slot);
/// The index of `handle` in the table of `capacity` entries of `size` bytes; -1: it is no pointer into it.
int sim__slot_of(const void *table, size_t size, int capacity, const void *handle);

/* ------------------------------------------------------------------ devices */

typedef struct sim_device {
  uint64_t capacity;
  uint64_t used;
  CUresult error;  ///< the sticky one
  sim_context *primary;
  int retained;
  unsigned flags;
  sim_range *free_ranges;
  uint64_t free_bytes;
  char peers[SIM_MAX_DEVICES];
} sim_device;

/// NULL: no such device.
sim_device *sim__device(int ordinal);
int sim__device_count(void);
void sim__device_reset(int devices, uint64_t bytes);
int sim__version(void);

/* ------------------------------------------------------------------ contexts */

struct sim_context {
  sim_context *next;
  CUcontext handle;
  uint64_t id;
  int device;
  int primary;
  unsigned flags;
  sim_stream *legacy;
  struct sim_peer {
    uint64_t context;  ///< the id of a context whose memory may be used
    struct sim_peer *next;
  } * peers;
};

extern sim_context *sim__contexts;
/// The context behind a handle; NULL: none.
sim_context *sim__context(CUcontext handle);
/// The calling thread's; CUDA_ERROR_INVALID_CONTEXT without one, CUDA_ERROR_CONTEXT_IS_DESTROYED.
CUresult sim__current(sim_context **context);
sim_context *sim__current_or_null(void);
CUresult sim__context_new(int device, int primary, unsigned flags, sim_context **context);
/// Executes what is pending in it and takes everything that belongs to it away.
void sim__context_end(sim_context *context);
CUresult sim__context_push(sim_context *context, int pushed);
/// Whether operations of `from` may touch memory of `block`.
int sim__context_reaches(const sim_context *from, const sim_block *block);
void sim__context_reset(void);

/* ------------------------------------------------------------------ streams */

enum { SIM_CREATED, SIM_LEGACY, SIM_PER_THREAD };

struct sim_stream {
  sim_stream *next;
  CUstream handle;  ///< NULL once it is destroyed; the operations it has left still run
  uint64_t id;
  uint64_t thread;  ///< whose per-thread stream it is; 0: of a thread that has ended
  int kind;
  sim_context *context;
  unsigned flags;
  int priority;
  int weight;
  uint64_t enqueued;  ///< number of the newest operation
  sim_operation *head, *tail;
  sim_operation *last;  ///< the newest operation, pending or not; a reference
  sim_capture *capture;
  int captured_unjoined;  ///< captured work that the capture's first stream has not waited for
};

extern sim_stream *sim__streams;
/// The stream behind a handle, special ones of the current context and thread; CUDA_ERROR_INVALID_HANDLE.
CUresult sim__stream(CUstream handle, sim_stream **stream);
/// As sim__stream(); CUDA_ERROR_INVALID_HANDLE also for a stream of another context than the current one.
CUresult sim__stream_here(CUstream handle, sim_stream **stream);
int sim__stream_blocking(const sim_stream *stream);
sim_stream *sim__stream_new(sim_context *context, int kind, unsigned flags, int priority);
void sim__stream_end(sim_stream *stream);
/// Lets go of the streams of a thread that has ended.
void sim__stream_forget_thread(uint64_t thread);
/// Frees a destroyed stream, or that of an ended thread, with nothing left to run.
void sim__stream_collect(sim_stream *stream);
const char *sim__stream_name(const sim_stream *stream, char text[48]);
void sim__stream_reset(void);
uint64_t sim__new_id(void);

/* ------------------------------------------------------------------ operations */

enum { SIM_RANK_FREE = 0, SIM_RANK_WORK = 1, SIM_RANK_RECORD = 2 };

struct sim_operation {
  int references;
  uint64_t number;
  const char *name;
  int rank;
  int done;
  int gate;      ///< closed: cannot run
  int awaited;   ///< a stream waits for it
  int anywhere;  ///< may touch memory that its context cannot reach
  uint64_t mark;
  sim_stream *stream;
  sim_operation *next;
  sim_operation **after;
  int after_count;
  sim_block **touched;
  int touched_count;
  void (*execute)(sim_operation *operation);
  /* what execute() works with */
  void (*kernel)(void *data);
  void *data;
  sim_block *subject;  ///< what it allocates or frees: a reference
  CUdeviceptr to, from;
  void *staging;
  size_t bytes;
  unsigned value, width;
  CUstream handle;
};

sim_operation *sim__operation_new(const char *name, void (*execute)(sim_operation *operation));
sim_operation *sim__operation_keep(sim_operation *operation);
void sim__operation_drop(sim_operation *operation);
void sim__operation_after(sim_operation *operation, sim_operation *before);
void sim__operation_touch(sim_operation *operation, sim_block *block);
/// Puts `operation` at the end of `stream`, or into the capture that the stream is part of. Takes it in any case.
/// `*kept`, if not NULL: a reference to it; NULL if it was captured.
CUresult sim__enqueue(sim_stream *stream, sim_operation *operation, sim_operation **kept);
/// Runs `operation`, which is the head of its stream.
void sim__execute(sim_operation *operation);
/// The device of the operation that runs now or has run last.
int sim__running_device(void);

/* ------------------------------------------------------------------ the scheduler */

void sim__schedule_reseed(uint64_t seed);
void sim__schedule_reset(void);
/// Executes one operation. `wanted` is what is waited for, NULL: nothing. 0: none can run.
int sim__step(sim_operation *wanted, int poll);
/// Executes until `wanted` is done. CUDA_ERROR_TIMEOUT and a fault if that cannot be.
CUresult sim__wait(sim_operation *wanted);
CUresult sim__wait_stream(sim_stream *stream);
/// Waits for every operation that touches `block`.
CUresult sim__wait_block(sim_block *block);
CUresult sim__wait_context(sim_context *context);

/* ------------------------------------------------------------------ memory */

typedef enum sim_block_kind { SIM_DEVICE, SIM_MANAGED, SIM_PINNED, SIM_REGISTERED } sim_block_kind;
typedef enum sim_block_state { SIM_RESERVED, SIM_LIVE, SIM_DEAD } sim_block_state;

/// An allocation. One address may have been many blocks, one after the other.
struct sim_block {
  sim_block *next;
  int references;  ///< the list of live ones and the operations that touch it
  uint64_t version;
  sim_block_kind kind;
  sim_block_state state;
  int freeing;  ///< a cuMemFreeAsync is enqueued
  CUdeviceptr start;
  size_t bytes;
  uint64_t charged;
  int device;
  uint64_t context;  ///< id
  CUcontext context_handle;
  unsigned flags;
  int pending;  ///< operations that touch it and have not run
  int open;
  sim_range *range;
};

extern sim_block *sim__blocks;  ///< reserved and live ones
extern uint64_t sim__pinned_bytes;
extern int sim__may_wait;
/// The block that holds `address`; NULL: none.
sim_block *sim__block_at(CUdeviceptr address);
/// The block that holds `bytes` from `address`; NULL: none.
sim_block *sim__block_of(CUdeviceptr address, size_t bytes);
CUresult sim__block_new(sim_context *context, sim_block_kind kind, size_t bytes, uint64_t stream, sim_block **block);
CUresult sim__block_register(sim_context *context, void *memory, size_t bytes, unsigned flags);
/// Ends it: out of reach, charged to nobody, its range free for others. `stream`: the id of the stream that frees, or
/// 0.
void sim__block_end(sim_block *block, uint64_t stream);
sim_block *sim__block_keep(sim_block *block);
void sim__block_drop(sim_block *block);
void sim__block_open(sim_block *block);
void sim__block_close(sim_block *block);
/// 1 if an operation of `stream` may touch it now; 0 and a fault.
int sim__block_check(const sim_block *block, const sim_operation *operation);
const char *sim__block_name(const sim_block *block, char text[96]);
void sim__memory_reset(void);

/// Address space: NULL when the system has none left.
sim_range *sim__range_take(int device, size_t bytes, uint64_t stream);
void sim__range_give(int device, sim_range *range, uint64_t stream);
uint64_t sim__range_start(const sim_range *range);
/// 1 if a free range begins at `address`: it was freed before.
int sim__range_was_freed(CUdeviceptr address);
void sim__range_reset(void);
int sim__memory_protect(CUdeviceptr start, size_t bytes, int accessible);
/// Fills with SIM_POISON; of very large memory the two ends only.
void sim__memory_poison(CUdeviceptr start, size_t bytes);

/* ------------------------------------------------------------------ events */

struct CUevent_st {
  int live;
  unsigned flags;
  uint64_t context;  ///< id
  int device;
  sim_operation **records;  ///< what must be done: references
  int record_count;
  uint64_t capture;  ///< the id of the capture that it was recorded in, 0: none
  uint64_t captured_stream;
};

int sim__event_count(void);
/// Takes the events of a context away; 0: of all.
void sim__event_reset(uint64_t context);

/* ------------------------------------------------------------------ captures */

struct sim_capture {
  sim_capture *next;
  uint64_t id;
  uint64_t thread;
  sim_stream *origin;
  CUstreamCaptureMode mode;
  int valid;
};

extern sim_capture *sim__captures;
/// CUDA_SUCCESS, or the error (with a fault, captures invalidated) if this thread may not make an unsafe call now.
CUresult sim__capture_allows(void);
void sim__capture_invalidate(sim_capture *capture, const char *why);
/// Whether an operation on `stream` belongs to a capture (`*captured`), or may not be made because of one.
CUresult sim__capture_enqueue(sim_stream *stream, int *captured);
sim_capture *sim__capture_of(uint64_t id);
void sim__capture_forget(sim_stream *stream);
void sim__capture_reset(void);

#endif
