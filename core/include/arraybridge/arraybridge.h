/* SPDX-License-Identifier: MIT
 *
 * arraybridge/arraybridge.h: the public API of libarraybridge.
 *
 * A first conversion, in C:
 *
 *     ab_error error; ab_error_init(&error);
 *     ab_bridge *bridge = NULL;
 *     ab_bridge_new(NULL, &bridge, &error);
 *     ab_bridge_add_path(bridge, "/opt/plugins", &error);
 *     ab_bridge_discover(bridge, &error);
 *     const ab_backend *target = NULL;
 *     ab_bridge_backend(bridge, "ring", &target, &error);
 *     ab_array source = …, result = {0};
 *     ab_convert(bridge, &source, target, NULL, &result, &error);
 *
 * Every function that can fail takes an `ab_error *` last, which may be NULL. Threads: any-thread for all functions,
 * unless said otherwise; a bridge may be used by many threads at once.
 */
#ifndef ARRAYBRIDGE_ARRAYBRIDGE_H
#define ARRAYBRIDGE_ARRAYBRIDGE_H

#include <arraybridge/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#ifndef AB_API
#define AB_API AB_EXPORT
#endif

#define AB_VERSION "0.9.0"

typedef struct ab_bridge ab_bridge;    ///< the loaded plugins and everything that belongs to them
typedef struct ab_backend ab_backend;  ///< one loaded plugin; lives as long as the process

/// The version of the library in use: "0.9.0". Static storage.
AB_API const char *ab_version(void);
/// "UNSUPPORTED" for AB_UNSUPPORTED; "UNKNOWN" for a number that is no status. Static storage.
AB_API const char *ab_status_name(ab_status status);
/// One sentence about a status. Static storage.
AB_API const char *ab_status_text(ab_status status);

/* ------------------------------------------------------------------ dtypes */

/// The name of a dtype: "float32", "bfloat16", "float8_e4m3fn"; NULL if it is none of ours. Static storage.
AB_API const char *ab_dtype_name(DLDataType dtype);
/// The dtype of a name. Returns: AB_OK; AB_INVALID_ARGUMENT.
AB_API ab_status ab_dtype_parse(const char *name, DLDataType *dtype, ab_error *error);
/// Size of one element, bytes; 0 if it is none of ours.
AB_API uint32_t ab_dtype_size(DLDataType dtype);

/// NumPy's words for what a change of dtype may do.
typedef enum ab_casting {
  AB_CASTING_NO = 0,
  AB_CASTING_SAFE = 1,       ///< every value survives
  AB_CASTING_SAME_KIND = 2,  ///< within a kind (float64 to float32), or safe
  AB_CASTING_UNSAFE = 3      ///< anything
} ab_casting;

/// 1 if `from` may become `to` under `casting`.
AB_API int ab_dtype_can_cast(DLDataType from, DLDataType to, ab_casting casting);

/* ------------------------------------------------------------------ a language runtime */

/// What a language gives the core, so that the core knows no language. All functions but `self` may be NULL.
typedef struct ab_runtime {
  uint32_t struct_size;
  uint32_t kind;    ///< ab_runtime_kind of plugin.h: 0 none, 1 Python
  const char *abi;  ///< what plugins must match: "abi3-3.11", "cp314t"
  void *self;
  /// Takes the lock from any thread, held or not. Gives a token; NULL: ending, not taken.
  void *(*lock_enter)(void *self);
  void (*lock_leave)(void *self, void *token);
  /// Lets go of the lock, which the calling thread holds; gives a token. NULL: nothing was let go.
  void *(*blocking_begin)(void *self);
  void (*blocking_end)(void *self, void *token);
  /// The type of an object the caller holds. Borrowed. No lock needed.
  void *(*type_key)(void *self, void *object);
  /// References to objects and types. Need the lock.
  void (*retain)(void *self, void *object);
  void (*release)(void *self, void *object);
  /// Collects garbage. Needs the lock.
  void (*collect_garbage)(void *self);
  /// Asks for ab_bridge_drain() to be called soon on a thread that has the lock. No lock needed; lock-free.
  void (*request_drain)(void *self);
  /// 1 if the calling thread has the lock now; 0 if not or if it cannot be told. No lock needed.
  int32_t (*lock_held)(void *self);
  /// 1 after the runtime has begun to end. No lock needed.
  int32_t (*ending)(void *self);
  /// Takes the exception that a slot has left pending: 1, with its text and its failure in `error`, whose status is
  /// AB_CANCELLED if it asks the program to stop, else AB_INTERNAL. 0: there is none. Needs the lock.
  int32_t (*take_stray_error)(void *self, ab_error *error);
} ab_runtime;

/* ------------------------------------------------------------------ the bridge */

typedef void (*ab_log_function)(void *context, int level, const char *text);

typedef struct ab_bridge_options {
  uint32_t struct_size;
  uint32_t flags;             ///< AB_BRIDGE_*
  const ab_runtime *runtime;  ///< borrowed, must outlive the bridge; NULL: plugins of no language only
  ab_log_function log;        ///< NULL: nothing is logged
  void *log_context;
} ab_bridge_options;

enum {
  AB_BRIDGE_NO_ENVIRONMENT = 1u << 0,  ///< ignore ARRAYBRIDGE_PLUGIN_PATH and the user's data folder
  AB_BRIDGE_TRUST_WRITABLE = 1u << 1   ///< load plugins from places that others may write
};

/// Makes a bridge without plugins. Ownership: gives `*bridge`. Returns: AB_OK; AB_OOM; AB_INVALID_ARGUMENT.
AB_API ab_status ab_bridge_new(const ab_bridge_options *options, ab_bridge **bridge, ab_error *error);
/// Frees a bridge; NULL is fine. Plugins stay in memory. The caller knows that no array of it is in use.
/// Backends, and what their plugins hold of the bridge, stay for ever.
AB_API void ab_bridge_free(ab_bridge *bridge);

/// Adds a plugin file or a folder of plugins, looked at by the next discovery before the standard places.
AB_API ab_status ab_bridge_add_path(ab_bridge *bridge, const char *path, ab_error *error);
/// Adds a path announced by an installed distribution: looked at after the environment's.
AB_API ab_status ab_bridge_add_announced(ab_bridge *bridge, const char *path, ab_error *error);
/// Looks at every place and loads every good plugin not yet loaded. A bad one is skipped, with its reason in the
/// trace. Returns: AB_OK, also when nothing was found; AB_OOM.
AB_API ab_status ab_bridge_discover(ab_bridge *bridge, ab_error *error);

/// One file or folder that discovery looked at.
typedef struct ab_trace_entry {
  uint32_t struct_size;
  ab_status status;     ///< AB_OK: loaded. Otherwise why not
  const char *path;     ///< valid during the visit, as are the other strings
  const char *place;    ///< "api", "environment", "distribution", "user", "library"
  const char *name;     ///< of the backend, as far as it was learnt; else ""
  const char *version;  ///< of the plugin; else ""
  const char *reason;   ///< one line; "" if loaded
  const char *hint;     ///< what to do; may be ""
} ab_trace_entry;
typedef int (*ab_trace_visitor)(void *context, const ab_trace_entry *entry);
/// Shows every file and folder looked at so far, in order.
AB_API void ab_bridge_trace(const ab_bridge *bridge, ab_trace_visitor visit, void *context);

/// Finds a loaded backend. Borrowed. Returns: AB_OK; AB_NO_BACKEND with the names that would work.
AB_API ab_status ab_bridge_backend(const ab_bridge *bridge, const char *name, const ab_backend **backend,
                                   ab_error *error);
/// Number of loaded backends, and each by its place, in the order of their names. Borrowed; NULL past the end.
AB_API uint32_t ab_bridge_backend_count(const ab_bridge *bridge);
AB_API const ab_backend *ab_bridge_backend_at(const ab_bridge *bridge, uint32_t index);

/// Runs the deferred releases that are due. Waits for no device. Needs the runtime's lock.
AB_API void ab_bridge_drain(ab_bridge *bridge);
/// Waits for the devices that work on memory whose release is deferred, then releases it. Needs the runtime's lock,
/// and lets go of it while it waits.
AB_API void ab_bridge_settle(ab_bridge *bridge);
/// Deferred releases that wait: their number and the bytes they hold back.
AB_API void ab_bridge_pending(const ab_bridge *bridge, uint64_t *count, uint64_t *bytes);
/// Marks the end of the language runtime: from now on nothing is released through it.
AB_API void ab_bridge_end(ab_bridge *bridge);
/// Prepares drivers so that libraries imported later cannot disturb them (OpenCL vendor libraries are opened with
/// their own symbols first). Idempotent. Takes tens of milliseconds where there is something to do.
AB_API ab_status ab_bridge_prepare(ab_bridge *bridge, ab_error *error);

/// One OpenCL vendor library named on this machine. Strings are valid during the visit.
typedef struct ab_vendor {
  uint32_t struct_size;
  int32_t loaded;    ///< in the process now
  int32_t isolated;  ///< … opened by ab_bridge_prepare(), its symbols kept apart from everybody else's
  int32_t reserved;
  const char *path;     ///< the .icd file, or the environment variable that names the library
  const char *library;  ///< what it says; empty if it cannot be read
} ab_vendor;
typedef int (*ab_vendor_visitor)(void *context, const ab_vendor *vendor);
/// Shows each OpenCL vendor library without opening any. Returns: AB_OK; AB_UNAVAILABLE built without OpenCL headers.
AB_API ab_status ab_vendors(ab_vendor_visitor visit, void *context, ab_error *error);

/* ------------------------------------------------------------------ backends */

AB_API const char *ab_backend_name(const ab_backend *backend);
AB_API const char *ab_backend_version(const ab_backend *backend);  ///< of the plugin
AB_API const char *ab_backend_path(const ab_backend *backend);
/// What is known of the framework without importing it.
AB_API ab_status ab_backend_probe(const ab_backend *backend, ab_framework_info *info, ab_error *error);
/// Brings the framework to life; then its devices can be shown. Returns: AB_OK; AB_UNAVAILABLE; AB_FRAMEWORK.
AB_API ab_status ab_backend_start(const ab_backend *backend, ab_error *error);
/// Shows each device, the default one first; the host alone for a plugin without devices().
AB_API ab_status ab_backend_devices(const ab_backend *backend, ab_device_visitor visit, void *context, ab_error *error);
/// What from_dlpack (AB_SLOT_FROM_DLPACK) or from_host (AB_SLOT_FROM_HOST) of the backend takes on `device`.
AB_API ab_status ab_backend_capabilities(const ab_backend *backend, DLDevice device, uint32_t slot,
                                         ab_capabilities *capabilities, ab_error *error);

/* ------------------------------------------------------------------ arrays */

/// One array: an object and who owns its type. Zeroed: empty. Moving zeroes the source.
typedef struct ab_array {
  const ab_backend *backend;
  void *object;
} ab_array;

/// Finds the backend that owns `object`, an object of the bridge's runtime. Borrows `object`. Returns: AB_OK;
/// AB_NOT_RECOGNIZED; AB_INTERNAL a plugin's recognizes() left an exception pending; AB_CANCELLED; AB_ENDING.
AB_API ab_status ab_detect(ab_bridge *bridge, void *object, const ab_backend **backend, ab_error *error);

/// Gives the backend that owns every object of a type (a key of the runtime's type_key), if ab_detect() has met one and
/// its plugin said so; NULL otherwise. The answer holds for good, and the type stays alive.
///
/// Ownership: borrows `type`.    Threads: any-thread, no lock needed.    Since: 1.0
AB_API const ab_backend *ab_detect_type(const ab_bridge *bridge, const void *type);
/// Declares that work on `stream`, which no conversion has named, uses the array's memory: it is given back only after
/// what has been enqueued there until the array is dropped. For an array that was made by a conversion, or whose
/// framework can be told (torch's record_stream).
///
/// Ownership: borrows both.    Threads: any-thread; takes the runtime's lock. Not from deleters.
/// Returns: AB_OK; AB_INVALID_ARGUMENT host memory; AB_STREAM; AB_UNSUPPORTED nobody could be told.
/// Since: 1.0
AB_API ab_status ab_array_record_stream(const ab_array *array, const ab_stream *stream, ab_error *error);
/// Releases the reference that `array` owns and zeroes it; an empty one and NULL are fine.
AB_API void ab_array_release(ab_array *array);
/// Describes an array. `shape` and `strides` (bytes) have room for AB_MAX_NDIM values; `info` points to them.
AB_API ab_status ab_array_describe(const ab_array *array, int64_t *shape, int64_t *strides, ab_array_info *info,
                                   ab_error *error);

/* ------------------------------------------------------------------ conversion */

typedef enum ab_copy_rule { AB_COPY_IF_NEEDED = 0, AB_COPY_ALWAYS = 1, AB_COPY_NEVER = 2 } ab_copy_rule;

enum {
  AB_CONVERT_LOCK_HELD = 1u << 0,       ///< the caller holds the runtime's lock; saves taking it
  AB_CONVERT_COPY_IMMUTABLE = 1u << 1,  ///< `immutable="copy"`: copy arrays that are immutable by convention
  AB_CONVERT_COPY_MUTABLE = 1u << 2,    ///< `mutable="copy"`: copy arrays that can be written
  AB_CONVERT_DEVICE_GIVEN = 1u << 3,    ///< `device` says where, exactly
  AB_CONVERT_DEVICE_KIND =
      1u << 4,  ///< with DEVICE_GIVEN: `device.device_id` is not given; the target's default of that kind
  AB_CONVERT_ACCELERATOR = 1u << 5,  ///< `accelerator` is given: the older `gpu_id`
  AB_CONVERT_NAN_GIVEN = 1u << 6,    ///< `nan` is given
  /// Copy an array that can be written where the target may read it after the call has returned, or makes arrays that
  /// are immutable by convention, so that whoever writes to it next changes nothing. (A hand-over otherwise, told as
  /// AB_REPORT_ALIASES_MUTABLE.)
  AB_CONVERT_COPY_LATE_READS = 1u << 7,
  /// `release="context"`: device memory goes back only after all streams of its context are done with what was enqueued
  /// before the drop, those included that nobody has named. Breaks captures; needs driver 12.5, else the host waits.
  AB_CONVERT_RELEASE_CONTEXT = 1u << 8,
  AB_CONVERT_NO_RECOVERY = 1u << 16  ///< out-of-memory is reported at once: the caller has a recovery of its own
};

/// How values become those of another dtype. What does not fit the rule is an error (AB_WOULD_CAST) that names the
/// first such value and its index.
///
/// Integers, bool included, are never stretched: where the target is an integer they saturate under CLIP, UNIT and
/// MINMAX. A floating-point target takes plain values under every rule (EXACT: if none changes) and keeps NaN and
/// infinities. To bool is "is not zero" under CLIP and WRAP, EXACT wants 0 and 1, UNIT and MINMAX have no range there.
/// Complex numbers become real ones under EXACT only, and only if their imaginary parts are zero.
typedef enum ab_scaling {
  AB_SCALING_NONE = 0,   ///< the plain cast that `casting` allows
  AB_SCALING_CLIP = 1,   ///< round to nearest even, saturate; infinities as well
  AB_SCALING_UNIT = 2,   ///< [0, 1] to [0, max] unsigned, negative ones saturate; [-1, 1] to [min, max] signed; rounded
                         ///< to nearest even once; beyond [-1, 1] is an error
  AB_SCALING_EXACT = 3,  ///< an error if any value would change; the sign of a zero and the bits of a NaN do not count
  AB_SCALING_MINMAX = 4,  ///< (x - least) / (greatest - least) to the full range, truncated; an image of one value is
                          ///< truncated and saturates
  AB_SCALING_WRAP = 5     ///< truncate, then modulo 2^bits
} ab_scaling;

/// What a conversion with a scaling has done to values.
typedef struct ab_scale_report {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t saturated;   ///< values that lay beyond the target's range and became its end
  uint64_t overflowed;  ///< finite values too large for the target, an infinity now (float8_e4m3fn: NaN)
} ab_scale_report;

enum { AB_MAX_STEPS = 8, AB_STEP_REASON = 320 };

typedef enum ab_step_kind {
  AB_STEP_SAME = 0,      ///< the array is already at home: returned as it is
  AB_STEP_EXCHANGE = 1,  ///< DLPack: shares memory
  AB_STEP_WRAP = 2,      ///< host memory becomes a device buffer, shared
  AB_STEP_MAP = 3,       ///< a device buffer is mapped to the host, shared
  AB_STEP_PIVOT = 4,     ///< the core's own copy in host memory
  AB_STEP_TO_HOST = 5,   ///< the source framework, or the core for it, brings it to the host
  AB_STEP_FROM_HOST = 6  ///< the target framework, or the core for it, copies it from the host
} ab_step_kind;

/// "exchange", "wrap", "map", "pivot", "to_host", "from_host", "same". Static storage.
AB_API const char *ab_step_name(ab_step_kind kind);

/// One way that was considered, taken or refused.
typedef struct ab_step {
  uint32_t kind;     ///< ab_step_kind
  uint32_t refused;  ///< 1: considered and not taken; `reason` says why
  uint64_t bytes;    ///< copied by this step
  char reason[AB_STEP_REASON];
} ab_step;

/// What a conversion will do (ab_plan) or did (ab_convert_options.record).
typedef struct ab_record {
  uint32_t struct_size;
  uint32_t flags;  ///< AB_REPORT_*
  const ab_backend *source;
  const ab_backend *target;
  DLDevice source_device;
  DLDevice target_device;
  DLDataType source_dtype;
  DLDataType target_dtype;
  uint64_t bytes;  ///< size of the array's elements
  uint64_t bytes_copied;
  double seconds;       ///< 0 in a plan
  uint32_t step_count;  ///< refused ways first, as they were tried, then those taken
  uint32_t step_size;   ///< sizeof(ab_step) of whoever reserved the record
  ab_step steps[AB_MAX_STEPS];
} ab_record;

typedef struct ab_convert_options {
  uint32_t struct_size;
  uint32_t flags;           ///< AB_CONVERT_*
  DLDevice device;          ///< with AB_CONVERT_DEVICE_GIVEN
  int32_t accelerator;      ///< with AB_CONVERT_ACCELERATOR: which of the target framework's accelerators
  uint32_t copy;            ///< ab_copy_rule
  uint32_t casting;         ///< ab_casting
  DLDataType dtype;         ///< bits 0: keep the source's
  const ab_stream *stream;  ///< the consumer's; NULL: the target framework's current one
  ab_record *record;        ///< filled in if not NULL, on failure as well; its struct_size must be set
  uint32_t threads;         ///< for copies on the host; 0: as many as there are cores, 4 at most, and 16 at most where
                            ///< they fill or empty what a device transfers
  uint32_t scaling;         ///< ab_scaling; anything but NONE needs `dtype`, and `casting` is not asked
  double nan;               ///< with AB_CONVERT_NAN_GIVEN: what stands in the result in place of NaN
  ab_scale_report *scaled;  ///< filled in if not NULL, on success; its struct_size must be set
  uint32_t max_retries;     ///< after out-of-memory, see ab_recover(); 0: the default, 2
  uint32_t reserved;
  /// Pinned host memory that transfers may keep for each device, bytes; 0: the default, 64 MiB; less than 2 MiB: none,
  /// and the driver copies by itself. Given back by ab_release_pools().
  uint64_t pinned_limit;
  /// For transfers between host and device that take long: called on the calling thread, without the runtime's lock
  /// unless a plugin calls it, with what is done and what there is, bytes. Returns 0 to go on; anything else cancels
  /// (AB_CANCELLED). NULL: nobody listens.
  int (*progress)(void *context, uint64_t done, uint64_t total);
  void *progress_context;
} ab_convert_options;

/// Hands `source` to the backend `target`, sharing memory where that is possible.
///
/// Ownership: borrows `source`; gives `*result`, release it with ab_array_release(). If source and target backend
/// and device are the same and nothing is to be changed, `*result` is the same object.
/// Threads: any-thread.    Stream: `*result` is ordered-after options->stream.
/// Returns: AB_OK; AB_UNSUPPORTED no way leads there; AB_WOULD_COPY under AB_COPY_NEVER; AB_WOULD_CAST; AB_NO_DEVICE;
/// AB_OOM after all attempts of ab_recover(); AB_TOO_LARGE; AB_UNAVAILABLE; AB_FRAMEWORK.
/// Since: 1.0
AB_API ab_status ab_convert(ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                            const ab_convert_options *options, ab_array *result, ab_error *error);

/// Says what ab_convert() would do, without touching elements. `record` is filled in: every way refused, and why,
/// then the steps that would be taken. Returns: as ab_convert(); the record is valid in each case.
AB_API ab_status ab_plan(ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                         const ab_convert_options *options, ab_record *record, ab_error *error);

/* ------------------------------------------------------------------ streams */

/// The work of one framework on one stream for a while, as that of a decorated function.
typedef struct ab_stream_scope ab_stream_scope;

/// 1 if streams can be given to a framework: if its plugin has what ab_stream_scope_enter() needs.
AB_API int ab_backend_takes_streams(const ab_backend *backend);

/// Makes a stream the one that `backend` works on, on the calling thread and `device`: `stream`, or if that is NULL one
/// of ours, which the thread keeps while it has a scope of this device, and gets again if it can. It first waits for
/// the callers' current streams: of `backend`, and of each framework that owns one of the `count` arguments on the
/// device. Where there is nothing to enter `*scope` is NULL, which the functions below take as well: on the host, and,
/// without a `stream`, on devices other than CUDA's, for frameworks that order their work themselves (they are left to
/// it), and while the framework's current stream is being captured.
///
/// Ownership: borrows `arguments`; retains `stream`, of kind BORROWED it must last as long as the scope; gives
/// `*scope`.
/// Threads: any-thread; scopes of a thread end last in first out.    Stream: ordered-after the callers' streams.
/// Returns: AB_OK; AB_STREAM one of the streams is being captured, or `stream` is of another device; AB_UNSUPPORTED the
/// framework cannot be given `stream`; AB_NO_DEVICE; AB_UNAVAILABLE; AB_OOM; what the driver or a slot said. On failure
/// the current streams are what they were.
/// Since: 1.0
AB_API ab_status ab_stream_scope_enter(ab_bridge *bridge, const ab_backend *backend, DLDevice device,
                                       const ab_stream *stream, const ab_array *arguments, uint32_t count,
                                       ab_stream_scope **scope, ab_error *error);
/// The scope's stream; NULL for NULL. Borrowed until the scope ends.
AB_API const ab_stream *ab_stream_scope_stream(const ab_stream_scope *scope);
/// Says that `array` leaves the scope, a result: its framework's current stream is one more that waits when the scope
/// ends, and where it is the scope's own framework its allocator is told who will use the memory.
///
/// Ownership: borrows `array`.    Threads: the scope's.    Returns: AB_OK; what a slot said.    Since: 1.0
AB_API ab_status ab_stream_scope_add(ab_stream_scope *scope, const ab_array *array, ab_error *error);
/// Ends a scope: the stream that was current before is so again, and the current streams of all who took part, as they
/// were at the entry, wait for the scope's. Events, no waiting of the host. NULL is fine.
///
/// Ownership: takes `scope`, also on failure, but for AB_INVALID_ARGUMENT.    Threads: the scope's.
/// Returns: AB_OK; AB_INVALID_ARGUMENT another thread's, or not the last one entered; AB_STREAM the scope's stream is
/// being captured; what the driver said: then somebody may not wait.    Since: 1.0
AB_API ab_status ab_stream_scope_exit(ab_stream_scope *scope, ab_error *error);

/* ------------------------------------------------------------------ looking at values */

enum {
  AB_SURVEY_UNIT_ONLY = 1u << 0,  ///< stop at the first value that is not within [-1, 1], NaN included
  AB_SURVEY_LOCK_HELD = 1u << 1   ///< the caller holds the runtime's lock; saves taking it
};

/// A number of any real dtype, kept exactly.
typedef struct ab_number {
  uint32_t kind;  ///< the code of the dtype it is from: kDLBool, kDLUInt: `u`; kDLInt: `i`; all others: `f`
  uint32_t reserved;
  union {
    uint64_t u;
    int64_t i;
    double f;
  } as;
} ab_number;

/// What is in an array. (An out-struct.)
typedef struct ab_survey_report {
  uint32_t struct_size;
  int32_t ndim;                    ///< of the array, and of `first_nan`
  uint64_t count;                  ///< elements looked at: all of them, unless it stopped early
  uint64_t numbers;                ///< those that are neither NaN nor infinite
  ab_number minimum;               ///< of these numbers; meaningless if there are none
  ab_number maximum;               ///< likewise
  uint64_t nan_count;              ///< NaN
  uint64_t infinite_count;         ///< infinities of either sign
  int32_t fractional;              ///< 1: some number is not whole
  int32_t stopped;                 ///< 1: UNIT_ONLY met a value outside [-1, 1]; all else is then of what came before
  int64_t first_nan[AB_MAX_NDIM];  ///< index of the first NaN, if nan_count is not 0
} ab_survey_report;

/// Looks at every value of an array once, where it is on the host, else in a copy that its framework brings there.
/// Complex arrays are AB_UNSUPPORTED. `threads` as in ab_convert_options.
///
/// Ownership: borrows `source`.    Threads: any-thread.    Stream: the host waits for pending work on the array.
/// Returns: AB_OK; AB_UNSUPPORTED; AB_INVALID_ARGUMENT; what the framework said.
/// Since: 1.0
AB_API ab_status ab_survey(ab_bridge *bridge, const ab_array *source, uint32_t flags, uint32_t threads,
                           ab_survey_report *report, ab_error *error);

/* ------------------------------------------------------------------ out of memory */

/// Says what a failure is: every loaded backend is asked whether it knows it, since one framework may die of another's
/// error. What is not an object of a language (an error of a driver, of the system) is read by its domain and code.
///
/// Ownership: borrows `failure`.    Threads: any-thread; takes the runtime's lock where it must.
/// Returns: AB_OOM; AB_TOO_LARGE if one allocation may not be that large, whatever is free; AB_OK if it is neither.
/// Since: 1.0
AB_API ab_status ab_failure_judge(const ab_bridge *bridge, const ab_failure *failure);

/// Flags of ab_recovery.
enum {
  AB_RECOVERY_SLICEWISE = 1u << 0,     ///< the work can be done in parts; `batch` says how many slices at a time
  AB_RECOVERY_HOST_ALLOWED = 1u << 1,  ///< the work may be done on the host in the end
  AB_RECOVERY_ONCE = 1u << 2,          ///< what has run must not run again
  AB_RECOVERY_ON_HOST = 1u << 3        ///< set by ab_recover(): HOST has been the answer
};

/// What comes after out-of-memory.
typedef enum ab_recovery_action {
  AB_RECOVERY_RAISE = 0,  ///< nothing is left to try: report the failure
  AB_RECOVERY_RETRY = 1,  ///< once more, unchanged
  AB_RECOVERY_HALVE = 2,  ///< once more, `batch` slices at a time
  AB_RECOVERY_HOST = 3    ///< once more, on the host
} ab_recovery_action;

enum { AB_CLEAR_FAILURE = 192 };

/// What may be done about one piece of work, and how far that has come. The caller sets the first five and leaves the
/// rest zero; then it is ab_recover()'s.
typedef struct ab_recovery {
  uint32_t struct_size;
  uint32_t flags;        ///< AB_RECOVERY_*
  DLDevice device;       ///< where memory ran out; device_type 0: everywhere
  uint32_t max_retries;  ///< how often unchanged work is repeated
  uint32_t batch;        ///< with SLICEWISE: slices at a time; halved by ab_recover(), rounded up, down to 1
  uint32_t retries;      ///< how often RETRY was the answer
  uint32_t halvings;     ///< how often HALVE was the answer
  uint64_t to_driver;    ///< what all clean-ups gave back to drivers and the system, as far as it is known, bytes
  uint64_t to_pool;      ///< what they gave back to pools of frameworks, bytes
  char failure[AB_CLEAR_FAILURE];  ///< what a clear_cache() that failed said last; may be empty
} ab_recovery;

/// Decides what comes next after a piece of work has failed, and makes room for it: runs the deferred releases,
/// collects the language's garbage, and clears the caches of every live backend on the device, pinned pools last. At
/// most `max_retries` times RETRY, then HALVE while `batch` is above 1, then HOST once, then RAISE; AB_TOO_LARGE is
/// never retried unchanged. `verdict`: of ab_failure_judge(); anything but AB_OOM and AB_TOO_LARGE is RAISE, at once.
/// The caller has dropped its references to what the failed work made.
///
/// Threads: any-thread; takes the runtime's lock where it must.
/// Returns: AB_OK with `*action`; AB_INVALID_ARGUMENT; AB_CANCELLED the program was asked to stop; AB_ENDING.
/// Since: 1.0
AB_API ab_status ab_recover(ab_bridge *bridge, ab_recovery *recovery, ab_status verdict, ab_recovery_action *action,
                            ab_error *error);

enum {
  AB_HOLDING_CLEARED = 1u << 0,  ///< its caches were cleared; `to_driver`, `to_pool` and `clear_reason` say with what
                                 ///< success
  AB_HOLDING_IDLE = 1u << 1      ///< the framework is imported and has touched no device: it holds nothing
};

/// What one backend holds on one device, bytes; UINT64_MAX: cannot be known. Pointers are valid during the visit.
typedef struct ab_holding {
  uint32_t struct_size;
  uint32_t flags;             ///< AB_HOLDING_*
  const ab_backend *backend;  ///< NULL: the process itself, its host memory
  DLDevice device;            ///< device_type 0: every device of the backend
  uint64_t in_use;            ///< by live arrays
  uint64_t cached;            ///< kept by its allocator for later
  uint64_t limit;             ///< the most it may take
  uint64_t to_driver;         ///< went back to the driver or the system
  uint64_t to_pool;           ///< went back to the framework's own pool: only it can use them again
  const char *reason;         ///< why something cannot be known; may be empty
  const char *clear_reason;   ///< why clearing gives nothing back; may be empty
} ab_holding;

/// Called once for each. Returns 0 to go on, anything else to stop.
typedef int (*ab_holding_visitor)(void *context, const ab_holding *holding);

/// Shows what the process and each live backend hold on `device` (device_type 0: everywhere). Live is a backend whose
/// framework the process has imported; none is imported for this, and no device is touched that is not in use. Who has
/// touched none (AB_HOLDING_IDLE) is shown only where all devices are.
///
/// Threads: any-thread; takes the runtime's lock where it must.
/// Returns: AB_OK; AB_INVALID_ARGUMENT; AB_CANCELLED the program was asked to stop; AB_ENDING.
/// Since: 1.0
AB_API ab_status ab_holdings(const ab_bridge *bridge, DLDevice device, ab_holding_visitor visit, void *context,
                             ab_error *error);
/// Clears the caches of each live backend on `device` (device_type 0: everywhere), pinned pools last, and shows one
/// holding for each: what that gave back, and `in_use`, `cached` and `limit` UINT64_MAX. `visit` may be NULL. A backend
/// that cannot clear is no error. Runs no deferred releases and collects no garbage: ab_recover() does.
///
/// Threads: any-thread; takes the runtime's lock where it must.
/// Returns: AB_OK; AB_INVALID_ARGUMENT; AB_CANCELLED the program was asked to stop; AB_ENDING.
/// Since: 1.0
AB_API ab_status ab_caches_clear(const ab_bridge *bridge, DLDevice device, ab_holding_visitor visit, void *context,
                                 ab_error *error);

/// Gives back the pinned host memory that transfers between host and devices have kept for the next ones, of the whole
/// process; waits for those that are on their way. ab_recover() does that as well. `*bytes`, if not NULL: how much.
///
/// Threads: any-thread; lets go of the runtime's lock if the thread has it.
/// Returns: AB_OK; AB_INVALID_ARGUMENT; AB_ENDING.
/// Since: 1.0
AB_API ab_status ab_release_pools(ab_bridge *bridge, uint64_t *bytes, ab_error *error);

/* ------------------------------------------------------------------ stacks */

enum {
  AB_STACK_LEAVE_LIVE = 1u << 0,  ///< do nothing, with AB_REFUSED, where only the framework itself should stack: arrays
                                  ///< of the target's that take part in autograd or are being traced, and arrays on an
                                  ///< accelerator that need not leave it
  AB_STACK_NDIM_GIVEN = 1u << 1   ///< `slice_ndim` is given; another number of axes is AB_INVALID_ARGUMENT
};

/// How slices make up a stack. Zero but for `struct_size`: one axis of slices, each of any number of axes.
typedef struct ab_stack_options {
  uint32_t struct_size;
  uint32_t flags;                     ///< AB_STACK_*
  const ab_convert_options *convert;  ///< where to, dtype, record …; NULL: defaults
  int32_t slice_ndim;                 ///< with AB_STACK_NDIM_GIVEN: axes of each slice
  int32_t leading;                    ///< axes before those of a slice; 0: one
  const int64_t *extents;             ///< ab_stack(): of the leading axes, `leading` values whose product is the number
                                      ///< of slices. NULL: one axis
} ab_stack_options;

/// Copies `count` slices, arrays of any backends, into one 64-byte-aligned allocation and hands that to `target`, which
/// shares it where it can. Slices follow each other in the order of the leading axes, last one fastest.
///
/// All must have one shape. Slices of several dtypes become the smallest dtype that holds the values of all; where
/// there is none, or under a `dtype` that `casting` forbids, it is AB_WOULD_CAST. A slice that cannot be used is named
/// by its index. A device that is not given is the first slice's if that is an array of the target's.
///
/// Ownership: borrows `slices`; gives `*result`, release it with ab_array_release().
/// Threads: any-thread.    Stream: the host waits for pending work on the slices; `*result` as of ab_convert().
/// Returns: AB_OK; AB_INVALID_ARGUMENT no slices, or shapes that do not fit; AB_WOULD_COPY under AB_COPY_NEVER;
/// AB_REFUSED see AB_STACK_LEAVE_LIVE; else as ab_convert().
/// Since: 1.0
AB_API ab_status ab_stack(ab_bridge *bridge, const ab_array *slices, uint64_t count, const ab_backend *target,
                          const ab_stack_options *options, ab_array *result, ab_error *error);

/// Hands each slice of `source`, an array that can be read on the host, to `target`: as a view of its memory where the
/// target can share it, else as a copy. `count` is the product of the first options->leading extents, known from
/// ab_array_describe(); `slices` has room for as many.
///
/// Ownership: borrows `source`, whose memory shared slices keep alive; gives each of `slices`.
/// Threads: any-thread.    Stream: the host waits for pending work on `source`; slices as of ab_convert().
/// Returns: AB_OK; AB_INVALID_ARGUMENT; AB_REFUSED see AB_STACK_LEAVE_LIVE; else as ab_convert(). On failure none is
/// given.
/// Since: 1.0
AB_API ab_status ab_unstack(ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                            const ab_stack_options *options, ab_array *slices, uint64_t count, ab_error *error);

#ifdef __cplusplus
}
#endif

#endif /* ARRAYBRIDGE_ARRAYBRIDGE_H */
