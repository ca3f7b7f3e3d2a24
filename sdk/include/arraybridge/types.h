/* SPDX-License-Identifier: MIT
 *
 * arraybridge/types.h: what a plugin and the core both speak of: status, error, stream, array description.
 *
 * Rules of this header, and of plugin.h and arraybridge.h:
 *   - Every struct that crosses a library boundary starts with `uint32_t struct_size`. Structs only grow at their end.
 *     In-struct: the writer sets struct_size to the size it knows; the reader uses a field only if AB_HAS_FIELD.
 *     Out-struct: the CALLER sets struct_size to the size of its storage and zeroes the rest; the filler writes only
 *     fields for which AB_HAS_FIELD holds, one by one or through ab_struct_fill(), and leaves struct_size alone.
 *     A field left zero means "not said".
 *   - ab_stream, ab_memory and ab_failure have reserved room instead: their size is fixed for all of 1.x, so they
 *     may be copied by value and stand in arrays.
 *   - Flags: bits 0-15 must be understood, bits 16-31 may be ignored. Whoever meets an unknown low bit takes the safe
 *     way: a call is UNSUPPORTED, a description NOT_SHAREABLE, a capability not used, a plugin refused.
 *     An unknown enum value is read as the most careful one: layout C, mutability READ_ONLY, stream UNKNOWN.
 *   - Integers have a fixed width. Strings are UTF-8 and end with NUL.
 *   - Ownership is said in five words: borrows, copies, takes, gives, shares.
 *   - An out-parameter is written only on success, unless its text says otherwise.
 */
#ifndef ARRAYBRIDGE_TYPES_H
#define ARRAYBRIDGE_TYPES_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <dlpack/dlpack.h>

#if !defined(DLPACK_MAJOR_VERSION) || DLPACK_MAJOR_VERSION < 1 || \
    (DLPACK_MAJOR_VERSION == 1 && DLPACK_MINOR_VERSION < 3)
#error "arraybridge needs dlpack.h 1.3 or later: set -DDLPACK_INCLUDE_DIR"
#endif

#ifdef __cplusplus
extern "C" {
#endif

#if defined(_WIN32)
#define AB_EXPORT __declspec(dllexport)
#else
#define AB_EXPORT __attribute__((visibility("default")))
#endif

#if defined(__GNUC__)
#define AB_PRINTF(format_index, first_argument) __attribute__((format(printf, format_index, first_argument)))
#else
#define AB_PRINTF(format_index, first_argument)
#endif

/// True if the struct `pointer` was written by someone who knew `field`. Compare sizes with >=, never with ==.
#define AB_HAS_FIELD(pointer, type, field) \
  ((pointer)->struct_size >= offsetof(type, field) + sizeof(((type *)0)->field))

/// Fills the out-struct `to` from `from`, which is `from_size` bytes large; to->struct_size stays.
static inline void ab_struct_fill(void *to, const void *from, uint32_t from_size) {
  uint32_t size = 0;
  memcpy(&size, to, sizeof size);
  if (from_size < size) size = from_size;
  if (size > sizeof size) memcpy((char *)to + sizeof size, (const char *)from + sizeof size, size - sizeof size);
}

/// The largest number of dimensions that is handled. NumPy allows 64, every other framework fewer.
#define AB_MAX_NDIM 64

/* ------------------------------------------------------------------ status */

/// Every status: name, number, what it means. One list yields codes, names and texts.
#define AB_STATUS_MAP(X)                                                      \
  X(OK, 0, "success")                                                         \
  X(UNSUPPORTED, 1, "this way cannot carry the array; ask the next one")      \
  X(WOULD_COPY, 2, "a copy would be needed, and copies are forbidden")        \
  X(WOULD_CAST, 3, "the dtype would change, and the casting rule forbids it") \
  X(INVALID_ARGUMENT, 4, "an argument is out of its range")                   \
  X(INVALID_TENSOR, 5, "a tensor contradicts itself or its memory")           \
  X(NOT_RECOGNIZED, 6, "no loaded backend owns this object")                  \
  X(NO_BACKEND, 7, "no backend of that name is loaded")                       \
  X(UNAVAILABLE, 8, "the framework is not installed or cannot be imported")   \
  X(NO_DEVICE, 9, "no such device")                                           \
  X(OOM, 10, "out of memory")                                                 \
  X(TOO_LARGE, 11, "larger than one allocation may be; split it")             \
  X(FRAMEWORK, 12, "the framework reported an error")                         \
  X(DRIVER, 13, "a device driver reported an error")                          \
  X(STREAM, 14, "a stream cannot be used so")                                 \
  X(REFUSED, 15, "refused for safety")                                        \
  X(INCOMPATIBLE, 16, "built for another binary interface")                   \
  X(CANCELLED, 17, "cancelled by the caller")                                 \
  X(ENDING, 18, "the language runtime is ending")                             \
  X(INTERNAL, 19, "a defect in arraybridge or in a plugin")

typedef int32_t ab_status;

enum {
#define AB_STATUS_CODE(name, number, text) AB_##name = (number),
  AB_STATUS_MAP(AB_STATUS_CODE)
#undef AB_STATUS_CODE
};

/* ------------------------------------------------------------------ errors */

/// What a framework or driver reported, kept whole so that nothing is lost on the way to the user. Fixed size in 1.x.
typedef struct ab_failure {
  uint32_t struct_size;
  ab_status status;    ///< the reporter's own reading of it; AB_FRAMEWORK if it has none
  const char *domain;  ///< "python", "opencl", "cuda", "errno", or a plugin's name; static storage
  void *object;        ///< "python": an owned reference to the exception instance; NULL in other domains
  int64_t code;        ///< the number it has in its domain, 0 if none
  const char *text;    ///< one line of text, valid until `release`; may be NULL
  void *owner;         ///< for `release`
  /// Gives up `object` and `text`. Threads: any-thread, no lock needed: an implementation that needs a lock it does
  /// not have uses services->defer_release. NULL if there is nothing to give up.
  void (*release)(struct ab_failure *self);
  uint64_t reserved[4];
} ab_failure;

enum { AB_ERROR_TEXT = 768, AB_ERROR_HINT = 384 };

/// A caller-owned error. Initialise it with ab_error_init(), give up what it owns with ab_error_clear().
typedef struct ab_error {
  uint32_t struct_size;
  ab_status status;
  ab_failure failure;        ///< owned; `failure.struct_size == 0` says there is none
  char text[AB_ERROR_TEXT];  ///< what failed, with which value
  char hint[AB_ERROR_HINT];  ///< what the user can do; may be empty
} ab_error;

/// Makes `error` empty without touching its text buffers.
static inline void ab_error_init(ab_error *error) {
  error->struct_size = (uint32_t)sizeof(ab_error);
  error->status = AB_OK;
  error->failure.struct_size = 0;
  error->text[0] = '\0';
  error->hint[0] = '\0';
}

/// Releases what `error` owns and makes it empty. NULL is fine.
static inline void ab_error_clear(ab_error *error) {
  if (error == NULL) return;
  if (error->failure.struct_size != 0 && error->failure.release != NULL) error->failure.release(&error->failure);
  error->failure.struct_size = 0;
  error->status = AB_OK;
  error->text[0] = '\0';
  error->hint[0] = '\0';
}

/// Writes status and text into `error` (NULL is fine: then nothing is formatted) and returns `status`.
/// Keeps a failure that is already there.
static inline ab_status ab_error_set(ab_error *error, ab_status status, const char *format, ...) AB_PRINTF(3, 4);
static inline ab_status ab_error_set(ab_error *error, ab_status status, const char *format, ...) {
  if (error == NULL) return status;
  error->status = status;
  error->hint[0] = '\0';
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->text, sizeof error->text, format, arguments);
  va_end(arguments);
  return status;
}

/// Takes `failure` and puts it in place of the one that is there. NULL `error`: releases it at once.
static inline void ab_error_set_failure(ab_error *error, ab_failure *failure) {
  if (error == NULL) {
    if (failure->release != NULL) failure->release(failure);
    return;
  }
  if (error->failure.struct_size != 0 && error->failure.release != NULL) error->failure.release(&error->failure);
  error->failure = *failure;
  memset(failure, 0, sizeof *failure);
}

/// Adds what the user can do about it. NULL `error` is fine.
static inline void ab_error_hint(ab_error *error, const char *format, ...) AB_PRINTF(2, 3);
static inline void ab_error_hint(ab_error *error, const char *format, ...) {
  if (error == NULL) return;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error->hint, sizeof error->hint, format, arguments);
  va_end(arguments);
}

/* ------------------------------------------------------------------ streams */

/// What a stream is. A stream is never a bare integer: 0, 1 and 2 mean different things in different libraries.
typedef enum ab_stream_kind {
  AB_STREAM_NONE = 0,        ///< no stream: the host itself; work is complete when a call returns
  AB_STREAM_LEGACY = 1,      ///< the device's legacy default stream
  AB_STREAM_PER_THREAD = 2,  ///< the calling thread's default stream
  AB_STREAM_HANDLE = 3,      ///< a stream object of the driver (CUstream, hipStream_t)
  AB_STREAM_CL_QUEUE = 4,    ///< an OpenCL command queue
  AB_STREAM_UNKNOWN = 5      ///< the framework orders its work itself and does not say on which stream
} ab_stream_kind;

enum {
  AB_STREAM_NONBLOCKING = 1u << 0,  ///< the legacy stream does not wait for it, nor it for the legacy stream
  AB_STREAM_CAPTURING = 1u << 1,    ///< a graph was being captured on it at the time of the call
  AB_STREAM_IMMORTAL = 1u << 2,     ///< never destroyed
  AB_STREAM_BORROWED = 1u << 3      ///< lifetime unknown (a user's integer): not to be touched after the call
};

/// A stream of one device. Fixed size in 1.x, copied by value; whoever keeps a copy beyond a call calls `retain` first
/// (unless IMMORTAL), and keeps no BORROWED one. A PER_THREAD stream is only meaningful on its own `thread`: recorded
/// or waited on elsewhere it is AB_STREAM.
typedef struct ab_stream {
  uint32_t struct_size;
  uint32_t kind;   ///< ab_stream_kind
  uint32_t flags;  ///< AB_STREAM_NONBLOCKING …
  uint32_t reserved0;
  void *handle;             ///< AB_STREAM_HANDLE, AB_STREAM_CL_QUEUE: the driver's object; else NULL
  DLDevice device;          ///< as the framework numbers it
  uint8_t device_uuid[16];  ///< which device that really is; all zero if unknown
  void *native_context;     ///< CUcontext, cl_context; NULL: the primary context of the device
  uint64_t id;              ///< the driver's unique id, by which a recycled handle is known; 0 if unknown
  uint64_t thread;          ///< AB_STREAM_PER_THREAD: whose; the system's thread id
  uint64_t capture_id;      ///< with AB_STREAM_CAPTURING: which capture; 0 if unknown
  void *owner;              ///< what keeps the stream alive; for retain and release
  void (*retain)(struct ab_stream *self);   ///< Threads: any-thread, no lock, no driver call. May be NULL, see flags
  void (*release)(struct ab_stream *self);  ///< Threads: any-thread, no lock, no driver call. May be NULL, see flags
  uint64_t reserved[4];
} ab_stream;

/// A place in the memory of a device. Fixed size in 1.x.
typedef struct ab_memory {
  uint32_t struct_size;
  uint32_t flags;           ///< AB_MEMORY_*
  DLDevice device;          ///< as the owner of the operations numbers it
  uint8_t device_uuid[16];  ///< all zero if unknown
  void *native_context;     ///< cl_context, CUcontext; NULL: the primary one
  void *handle;             ///< an address, or an object of the driver (cl_mem)
  uint64_t offset;          ///< from the handle, bytes
  uint64_t bytes;           ///< how many
  uint64_t reserved[4];
} ab_memory;

enum {
  AB_MEMORY_PINNED = 1u << 0,   ///< host memory the device can reach directly
  AB_MEMORY_MANAGED = 1u << 1,  ///< moves between host and device by itself
  AB_MEMORY_HANDLE = 1u << 2    ///< `handle` is an object, not an address
};

/* ------------------------------------------------------------------ one call and its report */

/// What a step really did. The core hands in a zeroed one; a plugin sets what applies.
enum {
  AB_REPORT_SHARED = 1u << 0,             ///< the result uses the source's memory
  AB_REPORT_COPIED = 1u << 1,             ///< bytes were copied; see `bytes_copied`
  AB_REPORT_BLOCKED_HOST = 1u << 2,       ///< the host waited for a device
  AB_REPORT_GRADIENT_DETACHED = 1u << 3,  ///< the source takes part in autograd; the result does not
  AB_REPORT_CONJ_RESOLVED = 1u << 4,      ///< a lazy conjugate was computed (a copy)
  AB_REPORT_NEG_RESOLVED = 1u << 5,       ///< a lazy negation was computed (a copy)
  AB_REPORT_ALIASES_MUTABLE = 1u << 6,    ///< a writable source is shared with a target that may read it later
  AB_REPORT_CAST = 1u << 7,               ///< the dtype was changed, as the caller allowed
  AB_REPORT_HOST_FALLBACK = 1u << 8       ///< an accelerator was asked for by number; there is none, the host was used
};

typedef struct ab_report {
  uint32_t struct_size;
  uint32_t flags;         ///< AB_REPORT_*
  uint64_t bytes_copied;  ///< by this step
  const char *detail;     ///< one line in static storage; may be NULL
} ab_report;

/// Flags of a call. A slot that may copy (to_dlpack, to_host, from_dlpack) and meets an unknown flag below bit 16
/// returns AB_UNSUPPORTED (AB_CALL_UNDERSTOOD tells); others need not look. Flags from bit 16 up may be ignored.
enum {
  AB_CALL_MUST_UNDERSTAND = 0x0000ffff,
  AB_CALL_NEVER_COPY = 1u << 0,    ///< fail with AB_WOULD_COPY rather than copy the array's elements
  AB_CALL_WANT_TENSOR = 1u << 16,  ///< describe() may give the tensor at once, see ab_array_info.tensor
  AB_CALL_NO_TEXT = 1u << 17,      ///< nobody reads error->text: status and failure are enough
  AB_CALL_WANT_REPORT = 1u << 18,  ///< somebody reads GRADIENT flags and `detail`; without it they may be left out
  AB_CALL_ORDERED = 1u << 19       ///< the core has ordered producer and consumer already: share without waiting
};
#define AB_CALL_UNDERSTOOD(call, known) (((call)->flags & AB_CALL_MUST_UNDERSTAND & ~(uint32_t)(known)) == 0)

/// The first parameter of every slot that works. Lives only during the call.
typedef struct ab_call {
  uint32_t struct_size;
  uint32_t flags;  ///< AB_CALL_*
  void *self;      ///< what the plugin's create() put into ab_plugin.self
  /// The stream that order is promised to, on the device of the slot's device argument or array. NULL: the host;
  /// everything is complete when the slot returns. Its kind is never UNKNOWN.
  const ab_stream *stream;
  ab_report *report;  ///< never NULL, zeroed
  ab_error *error;    ///< never NULL, empty
  /// For work that takes long: called with what is done and what there is, bytes. Returns 0 to go on; anything else
  /// cancels (AB_CANCELLED). NULL: nobody listens.
  int (*progress)(void *context, uint64_t done, uint64_t total);
  void *progress_context;
} ab_call;

/// The usual way for a slot to fail: `return ab_fail(call, AB_UNSUPPORTED, "sparse tensors have no strides");`
#define ab_fail(call, status, ...) \
  ab_error_set(((call)->flags & AB_CALL_NO_TEXT) ? NULL : (call)->error, (status), __VA_ARGS__)

/* ------------------------------------------------------------------ arrays, described */

typedef enum ab_mutability {
  AB_MUTABLE = 0,    ///< may be written through the array
  AB_IMMUTABLE = 1,  ///< the framework never writes it; nobody has said that others must not
  AB_READ_ONLY = 2   ///< must not be written: a read-only view, a read-only map
} ab_mutability;

enum {
  AB_INFO_HOST_ACCESSIBLE = 1u << 0,  ///< the elements are in memory that the host reads by address
  AB_INFO_BYTE_SWAPPED = 1u << 1,     ///< elements are in the other byte order (complex: each half)
  AB_INFO_GRADIENT = 1u << 2,         ///< takes part in autograd
  AB_INFO_NOT_SHAREABLE = 1u << 3,    ///< to_dlpack() will refuse; `why_not` says why
  AB_INFO_NOT_CONVERTIBLE =
      1u << 4,                   ///< not even to_host() can help (traced, deleted, object dtype); `why_not` says why
  AB_INFO_CONJUGATED = 1u << 5,  ///< lazily conjugated: the bytes are not the values; `data` must be NULL
  AB_INFO_NEGATED = 1u << 6,     ///< lazily negated: the bytes are not the values; `data` must be NULL
  AB_INFO_NOT_PLAIN = 1u << 7    ///< a variable, a sharded array …: not shared; to_host() gives its value
};

/// What an array is, without touching its elements. (An out-struct; `shape` and `strides` come filled in.)
typedef struct ab_array_info {
  uint32_t struct_size;
  uint32_t flags;       ///< AB_INFO_*
  DLDataType dtype;     ///< the logical dtype, lanes 1; bfloat16 and float8 by their own codes. bits 0: DLPack has none
  DLDevice device;      ///< where the elements are; device_type 0: on several devices
  int32_t ndim;         ///< 0 … AB_MAX_NDIM; an array of more dimensions is NOT_CONVERTIBLE, its shape unwritten
  uint32_t mutability;  ///< ab_mutability
  int64_t *shape;       ///< the caller's storage for AB_MAX_NDIM values, elements
  int64_t *strides;     ///< the caller's storage for AB_MAX_NDIM values, in BYTES, any sign
  /// The element at index (0, …, 0), if dtype, shape, strides and BYTE_SWAPPED say fully what the bytes mean, and no
  /// device work on them is pending; the core may copy from it while it holds a reference to the array. NULL if empty,
  /// unknown, not an address, or lazily conjugated or negated.
  void *data;
  const void *range_begin;  ///< start of the host memory the elements lie in; NULL: not said
  uint64_t range_bytes;     ///< its length, bytes: what reaches out of it is refused; 0: not said
  const char *why_not;      ///< static storage; see the flags. A text with values goes to call->error, status AB_OK
  /// With AB_CALL_WANT_TENSOR a plugin for which describing costs as much as exporting may do what to_dlpack() does,
  /// under its whole contract, and give the tensor here; host memory only. The tensor may then stand for dtype, ndim,
  /// shape, strides and data, which need not be written. Gives: the caller releases it. NULL otherwise.
  DLManagedTensorVersioned *tensor;
  uint8_t device_uuid[16];  ///< all zero if unknown
  void *native_context;     ///< cl_context, CUcontext; NULL: unknown or the primary one
} ab_array_info;

/* ------------------------------------------------------------------ backends, described */

typedef enum ab_layout {
  AB_LAYOUT_ANY = 0,               ///< any strides: negative, zero, overlapping
  AB_LAYOUT_NON_NEGATIVE = 1,      ///< any strides but negative ones
  AB_LAYOUT_PERMUTED_COMPACT = 2,  ///< dense, in any order of axes
  AB_LAYOUT_C = 3                  ///< dense, last axis fastest
} ab_layout;

enum {
  AB_ACCEPTS_BYTE_OFFSET = 1u << 0,  ///< DLTensor.byte_offset other than 0
  AB_ACCEPTS_EMPTY = 1u << 1,        ///< arrays without elements
  AB_ACCEPTS_ZERO_DIM = 1u << 2,     ///< 0-d arrays
  AB_CARRIES_READ_ONLY = 1u << 3,    ///< keeps the read-only flag, which AB_READ_ONLY and AB_IMMUTABLE memory then
                                     ///< arrives with: the array it makes cannot be written
  AB_READS_HOST_LATER = 1u << 4,     ///< may read imported host memory after from_dlpack() has returned
  AB_MAKES_IMMUTABLE = 1u << 5       ///< its arrays are immutable by convention
};

/// The slot that capabilities are asked for.
enum { AB_SLOT_FROM_DLPACK = 0, AB_SLOT_FROM_HOST = 1 };

/// What from_dlpack() or from_host() of one backend takes on one device. (An out-struct.)
typedef struct ab_capabilities {
  uint32_t struct_size;
  uint32_t flags;            ///< AB_ACCEPTS_*, AB_CARRIES_READ_ONLY, AB_READS_HOST_LATER
  const DLDataType *dtypes;  ///< static storage: dtypes that the framework can hold, exactly
  uint32_t dtype_count;
  uint32_t layout;           ///< ab_layout: what from_dlpack() takes
  int32_t max_ndim;          ///< at most AB_MAX_NDIM
  uint32_t alignment;        ///< of the first element, bytes, a power of two; 1: any; 0: the size of one element
  uint64_t max_bytes;        ///< largest single array; 0: no limit known
  uint64_t tensor_devices;   ///< set of DLDeviceType bits that a tensor may be on; 0: that of the device only
  uint32_t plugin_flags;     ///< the AB_PLUGIN_* facts that hold on this device; the descriptor has their union
  int32_t min_ndim;          ///< at least; 0: any
  DLPackVersion dlpack_max;  ///< newest version understood by the framework itself; 0.0: the core's
} ab_capabilities;

/// One device of a framework.
typedef struct ab_device_info {
  uint32_t struct_size;
  uint32_t flags;         ///< AB_DEVICE_*
  DLDevice device;        ///< as the framework numbers it
  uint8_t uuid[16];       ///< all zero if it has none
  const char *name;       ///< valid during the visit
  void *native_context;   ///< cl_context or CUcontext; NULL if none
  void *native_device;    ///< cl_device_id or NULL
  void *native_queue;     ///< cl_command_queue of the framework, if it shows it; or NULL
  uint64_t memory_bytes;  ///< size of its memory; 0 if unknown
  uint64_t domain;        ///< kDLExtDev: devices are the same only if uuid or domain is equal and not zero
} ab_device_info;

enum {
  AB_DEVICE_DEFAULT = 1u << 0,        ///< where the framework puts new arrays now
  AB_DEVICE_UNIFIED_MEMORY = 1u << 1  ///< host and device use the same memory
};

/// How much of a framework's work fence() and finish() mean, and reached.
enum {
  AB_SCOPE_CURRENT = 1u << 0,        ///< the calling thread's current stream
  AB_SCOPE_COMPUTE_ORDER = 1u << 1,  ///< what the framework orders by itself (JAX)
  AB_SCOPE_CONTEXT = 1u << 2         ///< every stream of the context
};

/// Called once for each device. Returns 0 to go on, anything else to stop.
typedef int (*ab_device_visitor)(void *context, const ab_device_info *device);

/// What is known of a framework without importing it.
typedef struct ab_framework_info {
  uint32_t struct_size;
  uint32_t flags;    ///< AB_FRAMEWORK_*
  char version[64];  ///< of the framework; empty if unknown
  char detail[256];  ///< why it cannot be used, or what to know about it; may be empty
} ab_framework_info;

/// What a framework holds on one device, bytes; UINT64_MAX: cannot be known. (An out-struct.)
typedef struct ab_memory_info {
  uint32_t struct_size;
  uint32_t reserved;
  uint64_t in_use;   ///< by live arrays
  uint64_t cached;   ///< kept by its allocator for later
  uint64_t limit;    ///< the most it may take
  char detail[256];  ///< why something cannot be known; may be empty
} ab_memory_info;

enum {
  AB_FRAMEWORK_INSTALLED = 1u << 0,  ///< can be imported, as far as one can tell without doing so
  AB_FRAMEWORK_IMPORTED = 1u << 1,   ///< the process has imported it
  AB_FRAMEWORK_IDLE = 1u << 2  ///< … and it has touched no device yet: asking for its devices would be the first
};

#ifdef __cplusplus
}
#endif

#endif /* ARRAYBRIDGE_TYPES_H */
