/* SPDX-License-Identifier: MIT
 *
 * arraybridge/plugin.h: THE contract between the arraybridge core and a plugin.
 *
 * A plugin is a shared library that exports one constant, `arraybridge_plugin`. The core reads it before any
 * code of the plugin runs, then calls create() once, then slots of the vtable. The smallest real plugin is
 * sdk/template; docs/plugin-author.md walks through it.
 *
 * The plugin's duties
 *   1. A slot it does not have is NULL. Only the slots marked REQUIRED must be there.
 *   2. A slot that cannot do what it is asked for returns AB_UNSUPPORTED with a text that says why.
 *      That is no error: the core asks the next route. It has then taken nothing.
 *   3. It never lets its framework see a tensor that the framework cannot take: capabilities() tells the core
 *      what may arrive, and a check costs less than an abort.
 *   4. Exceptions and signals stay inside. What the framework raised goes into `call->error->failure`.
 *   5. Keeps the rules for in- and out-structs at the top of types.h.
 *   6. Nothing of its framework is loaded or imported by create(); start() is the place.
 *   7. Deleters (DLManagedTensorVersioned.deleter): run exactly once, on any thread, perhaps with locks of
 *      another framework held, perhaps after the language runtime has begun to end. They take no lock and call
 *      no framework; what must be done under a lock is done by services->tensor_new or tensor_guard with
 *      AB_TENSOR_DROP_NEEDS_LOCK, or goes to services->defer_release.
 *   8. No exception of the language is pending when a slot is entered, and none is left pending. What asks the
 *      program to stop (KeyboardInterrupt, SystemExit) is AB_CANCELLED with the failure's object.
 *
 * The core's duties
 *   1. Calls a slot only when the lock of the descriptor is held (`AB_LOCK_PYTHON`: the GIL; on a free-threaded
 *      interpreter: an attached thread), except where a slot's text says otherwise. It holds no lock of its own.
 *      Slots, start() included, may run on several threads at once, also for one array; create() runs once in a
 *      process. `services` and its `core` outlive every bridge.
 *   2. Calls start() successfully before every other slot except recognizes, probe and is_oom.
 *   3. Checks every tensor that to_dlpack() and to_host() give before another plugin sees it: shape, strides
 *      (never NULL afterwards), alignment, dtype, device; its extent, where describe() named the memory's range.
 *   4. Hands to from_dlpack() only what capabilities() said it takes, in memory that stays valid until the
 *      deleter has run.
 *   5. Never unloads a plugin whose create() succeeded.
 *   6. Calls recognizes() only with objects of the descriptor's runtime.
 *   7. Goes to the next route after AB_UNSUPPORTED and AB_WOULD_COPY; every other status ends the conversion, except
 *      that AB_OOM, and AB_FRAMEWORK whose failure some backend's is_oom() accepts, may lead to another attempt.
 *   8. Gives a tensor to from_dlpack() with the device number of the receiver.
 *
 * Binary interface: 1.0. A plugin built against 1.x loads in every 1.y. Slots and fields are only appended.
 */
#ifndef ARRAYBRIDGE_PLUGIN_H
#define ARRAYBRIDGE_PLUGIN_H

#include <arraybridge/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { AB_ABI_MAJOR = 1, AB_ABI_MINOR = 0 };

/// The language runtime a plugin needs.
typedef enum ab_runtime_kind { AB_RUNTIME_NONE = 0, AB_RUNTIME_PYTHON = 1 } ab_runtime_kind;

/// The lock its slots need.
typedef enum ab_lock_kind { AB_LOCK_NONE = 0, AB_LOCK_PYTHON = 1 } ab_lock_kind;

/// What a plugin declares about itself.
enum {
  AB_PLUGIN_MAIN_INTERPRETER_ONLY = 1u << 0,  ///< refuses to serve subinterpreters
  AB_PLUGIN_DELETER_ANY_THREAD = 1u << 1,     ///< the deleters of its own tensors may run on any thread
  AB_PLUGIN_DELETER_IN_CALLBACK = 1u << 2,    ///< its framework runs foreign deleters inside driver callbacks
  AB_PLUGIN_RELEASES_BEFORE_DONE = 1u << 3,   ///< its framework may run a foreign deleter while work is pending
  AB_PLUGIN_OWN_CONTEXT = 1u << 4,            ///< uses a device context of its own, not the primary one
  AB_PLUGIN_ALLOC_STREAM_KEYED = 1u << 5,     ///< its allocator reuses a block on the stream that allocated it
  AB_PLUGIN_UNVERSIONED_ONLY = 1u << 6        ///< its framework takes and gives only capsules without a version
};

/* ------------------------------------------------------------------ what the core offers */

/// Operations on devices of one kind, from the core to plugins and, for a device the core does not know, from
/// a plugin to the core. Every function takes an ab_call whose `self` is ab_device_ops.self; it answers AB_UNSUPPORTED
/// for a device that is not its own. NULL slots are allowed.
/// Threads: any-thread; the core takes `lock` first.
typedef struct ab_device_ops {
  uint32_t struct_size;
  uint32_t lock;  ///< ab_lock_kind
  void *self;
  const char *name;  ///< "host", "opencl", "cuda", …
  /// Loads what this kind of device needs, so that other libraries cannot disturb it. Idempotent.
  ab_status (*prepare)(const ab_call *call);
  /// Gives memory, ordered-after call->stream. In `memory`: device, native_context, flags and bytes say what is wanted;
  /// handle and offset are written.
  ab_status (*allocate)(const ab_call *call, ab_memory *memory);
  /// Takes `memory` back, ordered-after call->stream.
  ab_status (*deallocate)(const ab_call *call, const ab_memory *memory);
  /// Copies from->bytes; either side may be the host. Ordered on call->stream; with NULL host-complete.
  ab_status (*copy)(const ab_call *call, const ab_memory *to, const ab_memory *from);
  /// Gives device memory that is the host memory `host`, which stays the owner. Undone by unwrap.
  ab_status (*wrap)(const ab_call *call, const ab_memory *host, ab_memory *device);
  ab_status (*unwrap)(const ab_call *call, const ab_memory *device);
  /// Gives a host address for device memory. Undone by unmap.
  ab_status (*map)(const ab_call *call, const ab_memory *device, ab_memory *host);
  ab_status (*unmap)(const ab_call *call, const ab_memory *host);
  /// Records the work enqueued on call->stream so far. Gives `*event`. AB_STREAM on a stream that captures. Of kind
  /// AB_STREAM_UNKNOWN, the stream stands for every stream of its device's context; AB_UNSUPPORTED where no event can.
  ab_status (*event_record)(const ab_call *call, void **event);
  /// Makes call->stream wait for `event`; the host does not wait. With a NULL stream the host waits.
  ab_status (*event_wait)(const ab_call *call, void *event);
  /// Asks whether `event` has come to pass: *done is 0 or 1. Never waits for the device.
  ab_status (*event_query)(const ab_call *call, void *event, int32_t *done);
  /// Takes `event`.
  void (*event_release)(const ab_call *call, void *event);
  /// Blocks until all work enqueued on call->stream is done. Kind AB_STREAM_UNKNOWN: as for event_record.
  ab_status (*stream_finish)(const ab_call *call);
  /// Brings flags, id and capture_id of `stream` up to date.
  ab_status (*stream_state)(const ab_call *call, ab_stream *stream);
} ab_device_ops;

typedef enum ab_log_level { AB_LOG_DEBUG = 0, AB_LOG_INFO = 1, AB_LOG_WARNING = 2, AB_LOG_ERROR = 3 } ab_log_level;

/// What the core offers a plugin. Valid as long as the process. Every function takes `core` first.
/// Threads: any-thread, no lock needed, unless said otherwise.
typedef struct ab_services {
  uint32_t struct_size;
  uint16_t abi_major;  ///< of the core
  uint16_t abi_minor;
  void *core;
  const char *plugin_path;  ///< the file this plugin was loaded from

  /// Writes one line to the host's log callback.
  void (*log)(void *core, int32_t level, const char *text);
  /// Memory from the core's allocator; NULL when there is none. 64-byte aligned.
  void *(*allocate)(void *core, uint64_t bytes);
  /// Takes `memory` from allocate(); NULL is fine.
  void (*deallocate)(void *core, void *memory);

  /// Gives an empty tensor with room for `ndim` shape and stride values, flags 0, byte_offset 0, device host.
  /// The caller fills dl_tensor.data, .device, .dtype, the values of .shape and of .strides (in elements), and .flags.
  /// `drop(owner)` runs exactly once, after the tensor's deleter was called: at once, on whatever thread that is; with
  /// AB_TENSOR_DROP_NEEDS_LOCK under the runtime's lock: at once if the thread has it, else from the deferred-release
  /// queue (nothing is allocated for that): with the next conversion, with drain(), or soon if it holds back much; and
  /// never after the runtime has begun to end.
  /// Takes `owner` on success.
  ab_status (*tensor_new)(void *core, int32_t ndim, uint32_t flags, void *owner, void (*drop)(void *owner),
                          DLManagedTensorVersioned **tensor);
  /// Gives a tensor around a framework-made one whose deleter must not run just anywhere: flags as for tensor_new.
  /// Takes `inner` on success.
  ab_status (*tensor_guard)(void *core, DLManagedTensorVersioned *inner, uint32_t flags,
                            DLManagedTensorVersioned **outer);
  /// Translates: gives a versioned tensor that owns the old one. Takes `old` on success; NULL strides are filled in.
  ab_status (*tensor_upgrade)(void *core, DLManagedTensor *old, DLManagedTensorVersioned **tensor);
  /// Translates: gives an old tensor that owns the versioned one. Takes `tensor` on success. The read-only flag is
  /// lost: the core has made sure that it is not set, unless capabilities() said AB_CARRIES_READ_ONLY.
  ab_status (*tensor_downgrade)(void *core, DLManagedTensorVersioned *tensor, DLManagedTensor **old);
  /// Takes an `old` from tensor_downgrade that nobody has consumed; gives back the tensor it was made from.
  DLManagedTensorVersioned *(*tensor_downgrade_undo)(void *core, DLManagedTensor *old);

  /// Pushes `release(data)` on the deferred-release queue. It runs later, once, under the runtime's lock, after at
  /// least the work that was enqueued before this call on the `stream_count` streams (copied and retained) is done.
  /// `bytes` is what it holds back, for bounds. Takes no lock and calls no driver; legal inside driver callbacks and
  /// deleters. After the runtime has begun to end nothing runs (a leak on purpose). What finds no memory for its node
  /// is leaked, too; tensor_new has its node built in.
  void (*defer_release)(void *core, void (*release)(void *data), void *data, const ab_stream *streams,
                        uint32_t stream_count, uint64_t bytes);
  /// Runs what is due in the deferred-release queue. Needs the runtime's lock.
  void (*drain)(void *core);

  /// Takes the runtime's lock (for Python: the GIL), held or not. Gives a token for lock_leave; a dummy if there is no
  /// runtime. NULL: the runtime is ending and the lock must not be taken. Never from a deleter or a driver callback.
  void *(*lock_enter)(void *core);
  void (*lock_leave)(void *core, void *token);
  /// 1 if the calling thread has the runtime's lock now; 0 if not, or if it cannot be told.
  int32_t (*lock_held)(void *core);
  /// Lets go of the runtime's lock around work that takes long; gives a token for blocking_end.
  void *(*blocking_begin)(void *core);
  void (*blocking_end)(void *core, void *token);
  /// The key under which the runtime knows the object's type (for Python: its type object). Borrowed.
  void *(*type_key)(void *core, void *object);
  /// 1 after the language runtime has begun to end.
  int32_t (*runtime_ending)(void *core);

  /// The core's operations for a kind of device; NULL if it has none.
  const ab_device_ops *(*device_ops)(void *core, int32_t device_type);
  /// The core's name of a dtype ("bfloat16"); NULL if it has none. Static storage.
  const char *(*dtype_name)(void *core, DLDataType dtype);
} ab_services;

/// Flags of tensor_new and tensor_guard.
enum { AB_TENSOR_DROP_NEEDS_LOCK = 1u << 0 };

/* ------------------------------------------------------------------ what the plugin offers */

/// The vtable. `array` is the framework's object (for Python: a PyObject pointer); slots borrow it.
/// A slot that gives an array gives one reference, which release() takes back.
/// Every slot, unless it says otherwise: Threads: any-thread with the descriptor's lock held. Returns: AB_OK;
/// AB_UNSUPPORTED; AB_WOULD_COPY under AB_CALL_NEVER_COPY; AB_OOM and AB_TOO_LARGE where it can tell; AB_UNAVAILABLE;
/// AB_NO_DEVICE; AB_DRIVER; AB_STREAM; AB_CANCELLED; AB_FRAMEWORK with the framework's own failure.
typedef struct ab_plugin_vtable {
  uint32_t struct_size;
  uint32_t reserved;

  /* The seven core functions. */

  /// Gives a tensor that shares the array's memory; the framework's pending work on it is ordered-before the next work
  /// on call->stream (NULL: host-complete). AB_UNSUPPORTED when this array cannot be shared as it is (sparse, conjugate
  /// view, ragged, byte order, strides that are no whole elements). The core takes mutability from describe(), not from
  /// the tensor's read-only flag. Optional: without it only to_host() is used.
  ab_status (*to_dlpack)(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
  /// Takes `tensor` on success (its deleter then runs once, when the framework lets go) and gives the framework's array
  /// sharing it. The input is ready on call->stream, and the array is used ordered-after it. AB_UNSUPPORTED when the
  /// framework cannot represent this tensor: it is then untouched, still the caller's.
  /// `*consumed` (never NULL, 0 on entry) is set to 1 when the framework has taken the tensor although the slot fails;
  /// the core reads it for every status but AB_OK. The deleter may run before the slot returns.
  /// The read-only flag is set only if capabilities() said AB_CARRIES_READ_ONLY, then for AB_READ_ONLY and AB_IMMUTABLE
  /// sources: the array must not be writable.
  /// Optional: without it only from_host() is used.
  ab_status (*from_dlpack)(const ab_call *call, DLManagedTensorVersioned *tensor, DLDevice device, int32_t *consumed,
                           void **array);
  /// Gives a host tensor with the array's exact dtype and values, after all pending writes to it; call->stream is not
  /// used. It may share or copy; the report says. Resolves what to_dlpack() refuses (conjugate views, device memory,
  /// shards). Optional.
  ab_status (*to_host)(const ab_call *call, void *array, DLManagedTensorVersioned **tensor);
  /// Borrows the host tensor `tensor` (C-contiguous, 64-byte aligned, native byte order) and gives an array on `device`
  /// with its own copy, ordered-before later work on call->stream. The tensor's memory is not read after the slot has
  /// returned. Optional.
  ab_status (*from_host)(const ab_call *call, const DLTensor *tensor, DLDevice device, void **array);
  /// AB_OOM if the failure is this framework's out-of-memory (exact types first, then anchored texts), AB_TOO_LARGE if
  /// it says "larger than one allocation may be", AB_OK if it is neither. Must not fail. Optional.
  /// Threads: any-thread, with the lock if failure->object is not NULL.
  ab_status (*is_oom)(void *self, const ab_failure *failure);
  /// Returns what the framework caches on `device` (device_type 0: everywhere). `*to_driver`: bytes that went back to
  /// the driver or the system; `*to_pool`: bytes that only the framework's own pool can use again. Both may be
  /// UINT64_MAX, "cannot be known". `flags`: AB_CLEAR_*. Called twice each time: with AB_CLEAR_PLANS, and after every
  /// backend's turn with AB_CLEAR_PINNED alone; the bytes of both are added up. A failure is shown to the user and ends
  /// nothing (AB_CANCELLED does). Optional.
  ab_status (*clear_cache)(const ab_call *call, DLDevice device, uint32_t flags, uint64_t *to_driver,
                           uint64_t *to_pool);
  /// Gives a new stream of the framework on `device`, with one reference that stream->release gives back. Optional.
  ab_status (*make_stream)(const ab_call *call, DLDevice device, ab_stream *stream);

  /* Life of an array. REQUIRED: recognizes, describe, capabilities, retain, release. */

  /// REQUIRED; not called for AB_RUNTIME_NONE: return 0. 1 if `object` is an array of this framework. `*holds_for_type`
  /// (0 on entry) is set to 1 if the answer
  /// holds for every object of the same type, so that the core may remember it; never for subclasses, tracers and
  /// symbolic tensors. Imports nothing, must not fail, runs before start().
  int32_t (*recognizes)(void *self, void *object, int32_t *holds_for_type);
  /// REQUIRED. Fills `info` (shape and strides point to storage for AB_MAX_NDIM values).
  /// Does not touch elements and, unless AB_CALL_WANT_TENSOR is set, waits for no device. An array that cannot be
  /// converted at all is AB_OK with AB_INFO_NOT_CONVERTIBLE and `why_not`, so that plan() can say so.
  ab_status (*describe)(const ab_call *call, void *array, ab_array_info *info);
  /// REQUIRED. What from_dlpack() or from_host() takes (`slot`: AB_SLOT_*) for arrays on `device`; AB_UNSUPPORTED when
  /// it has no arrays there or not this slot. The core asks once per device and slot and keeps the answer, so it must
  /// not depend on the thread or on settings of the process.
  ab_status (*capabilities)(const ab_call *call, DLDevice device, uint32_t slot, ab_capabilities *capabilities);
  /// REQUIRED. One more reference to `array`.
  void (*retain)(void *self, void *array);
  /// REQUIRED. One reference less.
  void (*release)(void *self, void *array);

  /* The framework. All optional. */

  /// Tells what is known without importing: installed, imported, version. Runs before start().
  ab_status (*probe)(const ab_call *call, ab_framework_info *info);
  /// Brings the framework to life (imports it). Called until it has once succeeded; AB_UNAVAILABLE with the reason
  /// when it is not installed.
  ab_status (*start)(const ab_call *call);
  /// Shows each device, the default one first. NULL: one device, the host, cpu:0.
  ab_status (*devices)(const ab_call *call, ab_device_visitor visit, void *context);

  /* Streams. All optional; NULL for frameworks on the host. Slots with a stream parameter do not use call->stream. */

  /// The stream on which the calling thread's next work on `device` would go. Gives no reference.
  ab_status (*current_stream)(const ab_call *call, DLDevice device, ab_stream *stream);
  /// The same without taking a lock, calling a driver or waiting, for deleters; AB_UNSUPPORTED if that cannot be told.
  ab_status (*peek_stream)(void *self, DLDevice device, ab_stream *stream);
  /// Gives the framework's own object for a stream that somebody else made (which it retains).
  ab_status (*adopt_stream)(const ab_call *call, const ab_stream *stream, void **object);
  /// Takes `object` from adopt_stream back.
  void (*drop_stream)(void *self, void *object);
  /// Makes `object` and its device current for this thread; borrows it. Gives `*token` for exit_stream.
  ab_status (*enter_stream)(const ab_call *call, void *object, void **token);
  /// Takes `token`, always; what was current before is current again. On the thread that entered, last in first out.
  void (*exit_stream)(void *self, void *token);
  /// The stream that must be ready before from_dlpack(). The core orders the producer before it and passes just this
  /// value as call->stream of the from_dlpack() that follows on this thread. Gives no reference.
  ab_status (*import_stream)(const ab_call *call, DLDevice device, ab_stream *stream);
  /// Tells the framework's allocator that `stream` works on the array's memory. An optimisation.
  ab_status (*mark_use)(const ab_call *call, void *array, const ab_stream *stream);
  /// Makes `stream` wait for the framework's work on `device`; the host does not wait. `scope`: how much is asked
  /// (AB_SCOPE_*); `*covered`: how much of it was reached.
  ab_status (*fence)(const ab_call *call, DLDevice device, uint32_t scope, const ab_stream *stream, uint32_t *covered);
  /// Blocks until the framework's work on `device` is done; `scope` and `*covered` as for fence.
  ab_status (*finish)(const ab_call *call, DLDevice device, uint32_t scope, uint32_t *covered);

  /* Further abilities. All optional. */

  /// Operations for devices of this framework that the core does not know; NULL where it has none.
  const ab_device_ops *(*device_ops)(const ab_call *call, int32_t device_type);
  /// Gives an array of the same framework and device with another dtype, rounded to nearest even, out-of-range as the
  /// framework does it; the policies of the caller have been applied before. Ordered as the framework's own work.
  /// Reserved: the core of 0.9 never calls it, and changes dtypes on the host.
  ab_status (*cast)(const ab_call *call, void *array, DLDataType dtype, void **result);
  /// Gives an uninitialised array (dtype, ndim and shape as `like`) and a tensor through which the core writes it
  /// before anyone else uses it. AB_UNSUPPORTED where arrays cannot be written. Called for large transfers from the
  /// host to a device that the core can copy to by itself, never for host memory and OpenCL.
  ab_status (*empty)(const ab_call *call, const DLTensor *like, DLDevice device, void **array,
                     DLManagedTensorVersioned **writable);
  /// What the framework holds on `device`.
  ab_status (*memory_info)(const ab_call *call, DLDevice device, ab_memory_info *info);
} ab_plugin_vtable;

/// Flags of clear_cache.
enum {
  AB_CLEAR_PINNED = 1u << 0,  ///< pinned host pools, too
  AB_CLEAR_PLANS = 1u << 1    ///< plan caches (FFT) of the calling thread, too
};

/// What create() gives.
typedef struct ab_plugin {
  uint32_t struct_size;
  uint32_t reserved;
  void *self;                      ///< handed back in ab_call.self
  const ab_plugin_vtable *vtable;  ///< valid as long as the process
} ab_plugin;

/// The descriptor: data, readable before any code of the plugin runs.
typedef struct ab_plugin_descriptor {
  uint32_t struct_size;
  uint16_t abi_major;       ///< AB_ABI_MAJOR it was built with
  uint16_t abi_minor;       ///< AB_ABI_MINOR it was built with
  const char *name;         ///< of the backend: lower case, [a-z0-9_], 1 … 63 characters
  const char *version;      ///< of the plugin
  const char *licence;      ///< SPDX
  uint32_t runtime;         ///< ab_runtime_kind
  uint32_t lock;            ///< ab_lock_kind
  const char *runtime_abi;  ///< "abi3-3.11", "cp314t"; "" if the runtime is AB_RUNTIME_NONE
  uint32_t flags;           ///< AB_PLUGIN_*
  uint32_t reserved;
  /// Makes the plugin ready without touching its framework. `services` stays valid. On failure the plugin is
  /// skipped and the text of `error` shown; nothing else of it is called.
  ab_status (*create)(const ab_services *services, ab_plugin *plugin, ab_error *error);
} ab_plugin_descriptor;

/// The symbol each plugin exports.
#define AB_PLUGIN_SYMBOL "arraybridge_plugin"
/// `AB_PLUGIN_DEFINE = { … };` defines it; in C++ `extern "C" { AB_PLUGIN_DEFINE = { … }; }`.
#define AB_PLUGIN_DEFINE                                          \
  extern AB_EXPORT const ab_plugin_descriptor arraybridge_plugin; \
  AB_EXPORT const ab_plugin_descriptor arraybridge_plugin

#ifdef __cplusplus
}
#endif

#endif /* ARRAYBRIDGE_PLUGIN_H */
