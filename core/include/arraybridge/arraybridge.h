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

#define AB_VERSION "0.1.0"

typedef struct ab_bridge ab_bridge;    ///< the loaded plugins and everything that belongs to them
typedef struct ab_backend ab_backend;  ///< one loaded plugin; lives as long as the process

/// The version of the library in use: "0.1.0". Static storage.
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

/// Runs the deferred releases that are due. Needs the runtime's lock.
AB_API void ab_bridge_drain(ab_bridge *bridge);
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
/// AB_NOT_RECOGNIZED.
AB_API ab_status ab_detect(ab_bridge *bridge, void *object, const ab_backend **backend, ab_error *error);
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
  AB_CONVERT_ACCELERATOR = 1u << 5  ///< `accelerator` is given: the older `gpu_id`
};

enum { AB_MAX_STEPS = 8, AB_STEP_REASON = 320 };

typedef enum ab_step_kind {
  AB_STEP_SAME = 0,      ///< the array is already at home: returned as it is
  AB_STEP_EXCHANGE = 1,  ///< DLPack: shares memory
  AB_STEP_WRAP = 2,      ///< host memory becomes a device buffer, shared
  AB_STEP_MAP = 3,       ///< a device buffer is mapped to the host, shared
  AB_STEP_PIVOT = 4,     ///< the core's own copy in host memory
  AB_STEP_TO_HOST = 5,   ///< the source framework brings it to the host
  AB_STEP_FROM_HOST = 6  ///< the target framework copies it from the host
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
  uint32_t threads;         ///< for copies on the host; 0: as many as there are cores, 4 at most
  uint32_t reserved;
} ab_convert_options;

/// Hands `source` to the backend `target`, sharing memory where that is possible.
///
/// Ownership: borrows `source`; gives `*result`, release it with ab_array_release(). If source and target backend
/// and device are the same and nothing is to be changed, `*result` is the same object.
/// Threads: any-thread.    Stream: `*result` is ordered-after options->stream.
/// Returns: AB_OK; AB_UNSUPPORTED no way leads there; AB_WOULD_COPY under AB_COPY_NEVER; AB_WOULD_CAST; AB_NO_DEVICE;
/// AB_OOM; AB_UNAVAILABLE; AB_FRAMEWORK.
/// Since: 1.0
AB_API ab_status ab_convert(ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                            const ab_convert_options *options, ab_array *result, ab_error *error);

/// Says what ab_convert() would do, without touching elements. `record` is filled in: every way refused, and why,
/// then the steps that would be taken. Returns: as ab_convert(); the record is valid in each case.
AB_API ab_status ab_plan(ab_bridge *bridge, const ab_array *source, const ab_backend *target,
                         const ab_convert_options *options, ab_record *record, ab_error *error);

#ifdef __cplusplus
}
#endif

#endif /* ARRAYBRIDGE_ARRAYBRIDGE_H */
