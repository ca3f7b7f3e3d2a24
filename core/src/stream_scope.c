/* SPDX-License-Identifier: MIT
 * Scopes of a stream: the work of one framework goes to one stream for a while. Events order it after the work of all
 * who own its arguments, and their next work after it; the host waits for nobody. */
#include "device/device.h"
#include "memory.h"
#include "mutant.h"
#include "release.h"
#include "route.h"
#include "stream_event.h"
#include "stream_pool.h"

enum { MAX_CALLERS = 16 };

/* A framework whose arrays come in or go out, and the stream that the calling code works on with it. */
typedef struct caller {
  const ab_backend *backend;
  ab_stream stream; /* retained; of kind UNKNOWN: it orders its work itself; NONE: it has no streams */
} caller;

struct ab_stream_scope {
  ab_stream_scope *outer; /* of this thread */
  ab_bridge *bridge;
  DLDevice device;
  const ab_device_ops *ops;
  ab__pooled *leased; /* NULL: the stream was given */
  ab_stream stream;   /* given: retained */
  void *adopted;
  int kept; /* the pool keeps `adopted` */
  void *token;
  uint32_t count;
  caller callers[MAX_CALLERS]; /* the first one does the work */
};

static _Thread_local ab_stream_scope *innermost;

static const ab_backend *worker(const ab_stream_scope *scope) { return scope->callers[0].backend; }

static void tell(const ab_stream_scope *scope, const ab_backend *backend, const char *what) {
  const ab_bridge *bridge = scope->bridge;
  if (bridge->log == NULL) return;
  char text[256];
  snprintf(text, sizeof text, "stream scope of %s: %s %s", ab_backend_name(worker(scope)), ab_backend_name(backend),
           what);
  bridge->log(bridge->log_context, AB_LOG_DEBUG, text);
}

/* ------------------------------------------------------------------ who takes part */

static ab_status ask_stream(const ab_stream_scope *scope, const ab_backend *backend, ab_stream *stream,
                            ab_error *error) {
  void *token = NULL;
  ab_status status = ab__backend_enter(backend, ab__bridge_lock_held(scope->bridge), &token, error);
  if (status != AB_OK) return status;
  status = ab__backend_start(backend, error);
  if (status == AB_OK) status = ab__stream_current(backend, scope->device, AB_CALL_NO_TEXT, stream, error);
  if (status == AB_OK) ab__stream_keep(stream); /* before the lock goes: who holds it may drop it then */
  ab__backend_leave(backend, token);
  return status;
}

static ab_status join(ab_stream_scope *scope, const ab_backend *backend, ab_error *error) {
  for (uint32_t i = 0; i < scope->count; i++)
    if (scope->callers[i].backend == backend) return AB_OK;
  if (scope->count == MAX_CALLERS)
    return ab_error_set(error, AB_UNSUPPORTED, "a scope takes arrays of %d frameworks", (int)MAX_CALLERS);
  caller *made = &scope->callers[scope->count];
  const ab_status status = ask_stream(scope, backend, &made->stream, error);
  if (status != AB_OK) return status;
  made->backend = backend;
  scope->count++;
  return AB_OK;
}

static int is_here(const ab_stream_scope *scope, const ab_array_info *info) {
  const int type = (int)info->device.device_type;
  return (type == kDLCUDA || type == kDLCUDAManaged) && info->device.device_id == scope->device.device_id;
}

/* An array that cannot be described is the conversion's to complain about. */
static ab_status join_owner(ab_stream_scope *scope, const ab_array *array, ab_error *error) {
  int64_t shape[AB_MAX_NDIM], strides[AB_MAX_NDIM];
  ab_array_info info = {.struct_size = (uint32_t)sizeof info, .shape = shape, .strides = strides};
  const ab_status status = ab_array_describe(array, shape, strides, &info, error);
  if (status == AB_CANCELLED || status == AB_ENDING) return status;
  ab_error_clear(error);
  return status == AB_OK && is_here(scope, &info) ? join(scope, array->backend, error) : AB_OK;
}

static ab_status join_owners(ab_stream_scope *scope, const ab_array *arguments, uint32_t count, ab_error *error) {
  ab_status status = AB_OK;
  for (uint32_t i = 0; status == AB_OK && i < count; i++) {
    if (arguments[i].backend == NULL || arguments[i].object == NULL) continue;
    status = join_owner(scope, &arguments[i], error);
  }
  return status;
}

/* ------------------------------------------------------------------ order */

static int has_stream(const caller *at) {
  return at->stream.kind != AB_STREAM_NONE && at->stream.kind < AB_STREAM_UNKNOWN;
}

static int is_elsewhere(const ab_stream_scope *scope, const caller *at) {
  return has_stream(at) && !ab__stream_same(&at->stream, &scope->stream);
}

static ab_status refuse_captures(const ab_stream_scope *scope, ab_error *error) {
  const int own = ab__stream_captures(scope->ops, &scope->stream);
  for (uint32_t i = 0; i < scope->count; i++) {
    const caller *at = &scope->callers[i];
    if (!is_elsewhere(scope, at) || (!own && !ab__stream_captures(scope->ops, &at->stream))) continue;
    ab_error_set(error, AB_STREAM, "%s stream is being captured into a graph, and %s works on another one",
                 own ? "the given" : ab_backend_name(at->backend), ab_backend_name(own ? at->backend : worker(scope)));
    ab_error_hint(error, "enter the stream before the capture begins, or let all work on one stream");
    return AB_STREAM;
  }
  return AB_OK;
}

/* One that orders its work itself is asked to make our stream wait. */
static ab_status follow_unknown(const ab_stream_scope *scope, const ab_backend *backend, ab_error *error) {
  if (backend->vtable->fence == NULL) {
    tell(scope, backend, "shows no stream and has no fence: what it exports is in order, nothing else");
    return AB_OK;
  }
  void *token = NULL;
  ab_status status = ab__backend_enter(backend, ab__bridge_lock_held(scope->bridge), &token, error);
  if (status != AB_OK) return status;
  ab__invocation run;
  ab__invocation_init(&run, backend, 0, NULL, error);
  uint32_t covered = 0;
  const uint32_t all = AB_SCOPE_CURRENT | AB_SCOPE_COMPUTE_ORDER;
  status = backend->vtable->fence(&run.call, scope->device, all, &scope->stream, &covered);
  status = ab__slot_result(backend, "fence", status, error);
  ab__backend_leave(backend, token);
  if (status != AB_UNSUPPORTED) return status;
  tell(scope, backend, "shows no stream and cannot be fenced: what it exports is in order, nothing else");
  ab_error_clear(error);
  return AB_OK;
}

static ab_status wait_for_callers(const ab_stream_scope *scope, ab_error *error) {
  ab_status status = AB_OK;
  if (ab__mutated(NO_WAIT_ON_SCOPE_ENTRY)) return AB_OK;
  for (uint32_t i = 0; status == AB_OK && i < scope->count; i++) {
    const caller *at = &scope->callers[i];
    if (at->stream.kind >= AB_STREAM_UNKNOWN) status = follow_unknown(scope, at->backend, error);
    else if (is_elsewhere(scope, at)) status = ab__stream_follow(scope->ops, &at->stream, &scope->stream, error);
  }
  return status;
}

static int is_caller(const ab_stream_scope *scope, const ab_stream *stream) {
  for (uint32_t i = 0; i < scope->count; i++)
    if (ab__stream_same(&scope->callers[i].stream, stream)) return 1;
  return 0;
}

/* One that is being captured does nothing now. Where no event covers a whole context, the host waits. */
static ab_status follow_reader(const ab_stream_scope *scope, const ab_stream *reader, ab_error *error) {
  ab_status status = ab__stream_follow(scope->ops, reader, &scope->stream, error);
  if (status != AB_STREAM && status != AB_UNSUPPORTED) return status;
  ab_error_clear(error);
  if (status == AB_STREAM || scope->ops->stream_finish == NULL) return AB_OK;
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call call = ab__device_call(scope->ops, reader, &report, error);
  return scope->ops->stream_finish(&call);
}

/* Memory that was allocated on this stream in an earlier scope, and read on another one since, is given out again by
 * the framework's allocator without a thought. */
static ab_status wait_for_readers(const ab_stream_scope *scope, ab_error *error) {
  ab_stream readers[AB__POOL_READERS];
  ab_status status = AB_OK;
  const uint32_t count = scope->leased != NULL ? ab__pooled_readers(scope->leased, readers) : 0;
  for (uint32_t i = 0; i < count; i++) {
    const int waits = status == AB_OK && !is_caller(scope, &readers[i]) && !ab__mutated(NO_WAIT_FOR_READERS);
    if (waits) status = follow_reader(scope, &readers[i], error);
    ab__stream_let_go(&readers[i]);
  }
  return status;
}

/* What orders itself makes later imports wait, if it says on which stream. */
static void lead_unknown(const ab_stream_scope *scope, const ab_backend *backend, ab_error *error) {
  void *token = NULL;
  ab_stream ready = {.struct_size = (uint32_t)sizeof ready};
  ab_status status = AB_UNSUPPORTED;
  if (backend->vtable->import_stream != NULL &&
      ab__backend_enter(backend, ab__bridge_lock_held(scope->bridge), &token, error) == AB_OK) {
    ab__invocation run;
    ab__invocation_init(&run, backend, 0, NULL, error);
    status = backend->vtable->import_stream(&run.call, scope->device, &ready);
    status = ab__slot_result(backend, "import_stream", status, error);
    const int usable = status == AB_OK && ready.kind != AB_STREAM_NONE && ready.kind < AB_STREAM_UNKNOWN;
    status = usable ? ab__stream_follow(scope->ops, &scope->stream, &ready, error) : AB_UNSUPPORTED;
    ab__backend_leave(backend, token);
  }
  if (status == AB_OK) return;
  ab_error_clear(error);
  tell(scope, backend, "cannot be made to wait: what it imports is in order, nothing else");
}

/* One event for all; the first failure is told, and nobody is left out for it. */
static ab_status make_callers_wait(const ab_stream_scope *scope, void *event, ab_error *error) {
  ab_status status = AB_OK;
  ab_error later;
  ab_error_init(&later);
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  for (uint32_t i = 0; i < scope->count; i++) {
    const caller *at = &scope->callers[i];
    if (ab__mutated(NO_WAIT_ON_SCOPE_EXIT) || (ab__mutated(EXIT_OF_ONE_CALLER_ONLY) && i > 0)) break;
    if (!is_elsewhere(scope, at)) continue;
    const ab_call call = ab__device_call(scope->ops, &at->stream, &report, status == AB_OK ? error : &later);
    const ab_status waited = scope->ops->event_wait(&call, event);
    if (status == AB_OK) status = waited;
    ab_error_clear(&later);
  }
  return status;
}

static ab_status lead_callers(const ab_stream_scope *scope, ab_error *error) {
  ab_report report = {.struct_size = (uint32_t)sizeof report};
  const ab_call recording = ab__device_call(scope->ops, &scope->stream, &report, error);
  void *event = NULL;
  ab_status status = scope->ops->event_record(&recording, &event);
  if (status != AB_OK) return status;
  status = make_callers_wait(scope, event, error);
  scope->ops->event_release(&recording, event);
  for (uint32_t i = 0; status == AB_OK && i < scope->count; i++)
    if (scope->callers[i].stream.kind >= AB_STREAM_UNKNOWN) lead_unknown(scope, scope->callers[i].backend, error);
  return status;
}

/* ------------------------------------------------------------------ which stream */

static ab_status take_stream(ab_stream_scope *scope, const ab_stream *given, ab_error *error) {
  if (given == NULL) {
    const ab_status status = ab__pool_lease(scope->device, &scope->leased, error);
    if (status == AB_OK) scope->stream = *ab__pooled_stream(scope->leased);
    return status;
  }
  if (given->kind == AB_STREAM_NONE || given->kind >= AB_STREAM_UNKNOWN)
    return ab_error_set(error, AB_STREAM, "no framework can work on a stream of kind %u", given->kind);
  if (given->device.device_type != scope->device.device_type || given->device.device_id != scope->device.device_id)
    return ab_error_set(error, AB_STREAM, "the stream is one of device %d, the work is on device %d",
                        given->device.device_id, scope->device.device_id);
  scope->stream = *given;
  ab__stream_keep(&scope->stream);
  return AB_OK;
}

static void leave_stream(ab_stream_scope *scope) {
  if (scope->leased != NULL) ab__pool_return(scope->leased);
  else ab__stream_let_go(&scope->stream);
}

/* Gives scope->adopted. Needs the lock. */
static ab_status adopt(ab_stream_scope *scope, ab_call *call) {
  const ab_backend *backend = worker(scope);
  if (scope->leased != NULL) scope->adopted = ab__pooled_adopted(scope->leased, backend);
  scope->kept = scope->adopted != NULL;
  if (scope->kept) return AB_OK;
  ab_stream shown = scope->stream; /* whoever gave it has it for as long as the scope lasts */
  if (shown.flags & AB_STREAM_BORROWED)
    shown.flags = (shown.flags & ~(uint32_t)AB_STREAM_BORROWED) | AB_STREAM_IMMORTAL;
  ab_status status = backend->vtable->adopt_stream(call, &shown, &scope->adopted);
  status = ab__slot_result(backend, "adopt_stream", status, call->error);
  if (status == AB_OK && scope->leased != NULL) scope->kept = ab__pooled_adopt(scope->leased, backend, scope->adopted);
  return status;
}

static void drop_adopted(const ab_stream_scope *scope) {
  const ab_backend *backend = worker(scope);
  if (!scope->kept && scope->adopted != NULL && backend->vtable->drop_stream != NULL)
    backend->vtable->drop_stream(backend->self, scope->adopted);
}

static ab_status make_current(ab_stream_scope *scope, ab_error *error) {
  const ab_backend *backend = worker(scope);
  void *token = NULL;
  ab_status status = ab__backend_enter(backend, ab__bridge_lock_held(scope->bridge), &token, error);
  if (status != AB_OK) return status;
  ab__invocation run;
  ab__invocation_init(&run, backend, 0, NULL, error);
  status = adopt(scope, &run.call);
  if (status == AB_OK) {
    status = backend->vtable->enter_stream(&run.call, scope->adopted, &scope->token);
    status = ab__slot_result(backend, "enter_stream", status, error);
    if (status != AB_OK) drop_adopted(scope);
  }
  ab__backend_leave(backend, token);
  return status;
}

static ab_status make_former_current(const ab_stream_scope *scope, ab_error *error) {
  const ab_backend *backend = worker(scope);
  void *token = NULL;
  ab_status status = ab__backend_enter(backend, ab__bridge_lock_held(scope->bridge), &token, error);
  if (status != AB_OK) return status; /* the runtime is ending, and the thread with it */
  backend->vtable->exit_stream(backend->self, scope->token);
  status = ab__slot_result(backend, "exit_stream", AB_OK, error);
  drop_adopted(scope);
  ab__backend_leave(backend, token);
  return status;
}

/* ------------------------------------------------------------------ entering */

int ab_backend_takes_streams(const ab_backend *backend) {
  const ab_plugin_vtable *slots = backend->vtable;
  return slots->current_stream != NULL && slots->adopt_stream != NULL && slots->enter_stream != NULL &&
         slots->exit_stream != NULL;
}

static void forget(ab_stream_scope *scope) {
  for (uint32_t i = 0; i < scope->count; i++) ab__stream_let_go(&scope->callers[i].stream);
  ab__deallocate(scope);
}

/* With a stream: all waits, and it is current. */
static ab_status begin(ab_stream_scope *scope, ab_error *error) {
  ab_status status = refuse_captures(scope, error);
  if (status == AB_OK) status = wait_for_callers(scope, error);
  if (status == AB_OK) status = wait_for_readers(scope, error);
  return status == AB_OK ? make_current(scope, error) : status;
}

/* Work that is being captured stays on its stream, unless another one is asked for. So does the work of a framework
 * that shows no stream. */
static int stays(const ab_stream_scope *scope, const ab_stream *given) {
  const caller *body = &scope->callers[0];
  if (given != NULL) return 0;
  return !has_stream(body) || ab__stream_captures(scope->ops, &body->stream);
}

/* AB_OK with `*entered` 0: there is nothing to enter. */
static ab_status enter(ab_stream_scope *scope, const ab_stream *given, const ab_array *arguments, uint32_t count,
                       int *entered, ab_error *error) {
  if (stays(scope, given)) return AB_OK;
  ab_status status = join_owners(scope, arguments, count, error);
  if (status == AB_OK) status = take_stream(scope, given, error);
  if (status != AB_OK) return status;
  status = begin(scope, error);
  *entered = status == AB_OK;
  if (status != AB_OK) leave_stream(scope);
  const int not_ours =
      status == AB_UNSUPPORTED || status == AB_UNAVAILABLE; /* built without CUDA: theirs may have it */
  if (!not_ours || given != NULL) return status;
  tell(scope, worker(scope), "stays on its own stream");
  ab_error_clear(error);
  return AB_OK;
}

static ab_status new_scope(ab_bridge *bridge, const ab_backend *backend, DLDevice device, ab_stream_scope **scope,
                           ab_error *error) {
  ab_stream_scope *made = ab__allocate_zeroed(sizeof *made);
  if (made == NULL) return ab_error_set(error, AB_OOM, "no memory for a stream scope");
  made->bridge = bridge;
  made->device = device;
  made->ops = ab__stream_ops(device);
  const ab_status status = join(made, backend, error);
  if (status == AB_OK) *scope = made;
  else ab__deallocate(made);
  return status;
}

ab_status ab_stream_scope_enter(ab_bridge *bridge, const ab_backend *backend, DLDevice device, const ab_stream *stream,
                                const ab_array *arguments, uint32_t count, ab_stream_scope **scope, ab_error *error) {
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error);
  if (bridge == NULL || backend == NULL || scope == NULL || (arguments == NULL && count != 0))
    return ab_error_set(error, AB_INVALID_ARGUMENT, "a bridge, a backend and a place for the scope are needed");
  *scope = NULL;
  if (ab__is_host(device)) return AB_OK;
  if (device.device_type != kDLCUDA || !ab_backend_takes_streams(backend)) {
    if (stream == NULL) return AB_OK;
    return ab_error_set(error, AB_UNSUPPORTED, "%s cannot be given a stream %s", ab_backend_name(backend),
                        device.device_type != kDLCUDA ? "of such a device" : "to work on: it orders its work itself");
  }
  ab_stream_scope *made = NULL;
  ab_status status = new_scope(bridge, backend, device, &made, error);
  if (status != AB_OK) return status;
  int entered = 0;
  status = enter(made, stream, arguments, count, &entered, error);
  if (!entered) {
    forget(made);
  } else {
    made->outer = innermost;
    *scope = innermost = made;
  }
  ab_error_clear(&local);
  return status;
}

/* ------------------------------------------------------------------ within, and leaving */

const ab_stream *ab_stream_scope_stream(const ab_stream_scope *scope) { return scope != NULL ? &scope->stream : NULL; }

/* Its allocator is told that the caller's stream will use what was allocated on ours. */
static ab_status mark(const ab_stream_scope *scope, const ab_array *array, ab_error *error) {
  const ab_backend *backend = array->backend;
  if (backend != worker(scope) || backend->vtable->mark_use == NULL || !is_elsewhere(scope, &scope->callers[0]))
    return AB_OK;
  void *token = NULL;
  ab_status status = ab__backend_enter(backend, ab__bridge_lock_held(scope->bridge), &token, error);
  if (status != AB_OK) return status;
  ab__invocation run;
  ab__invocation_init(&run, backend, AB_CALL_NO_TEXT, NULL, error);
  status = backend->vtable->mark_use(&run.call, array->object, &scope->callers[0].stream);
  status = ab__slot_result(backend, "mark_use", status, error);
  ab__backend_leave(backend, token);
  if (status != AB_UNSUPPORTED) return status;
  ab_error_clear(error);
  return AB_OK;
}

ab_status ab_stream_scope_add(ab_stream_scope *scope, const ab_array *array, ab_error *error) {
  ab_error local;
  ab_error_init(&local);
  if (error == NULL) error = &local;
  ab_error_clear(error);
  if (array == NULL || array->backend == NULL || array->object == NULL)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "an array is needed");
  if (scope == NULL) return AB_OK;
  ab_status status = join_owner(scope, array, error);
  if (status == AB_OK) status = mark(scope, array, error);
  ab_error_clear(&local);
  return status;
}

/* What its allocator has taken on our stream may be in use on the caller's from now on. */
static void note_reader(const ab_stream_scope *scope) {
  const int keyed = (worker(scope)->descriptor->flags & AB_PLUGIN_ALLOC_STREAM_KEYED) != 0;
  if (keyed && scope->leased != NULL && is_elsewhere(scope, &scope->callers[0]))
    ab__pooled_add_reader(scope->leased, &scope->callers[0].stream);
}

ab_status ab_stream_scope_exit(ab_stream_scope *scope, ab_error *error) {
  ab_error local, first;
  ab_error_init(&local);
  ab_error_init(&first);
  if (error == NULL) error = &local;
  ab_error_clear(error);
  if (scope == NULL) return AB_OK;
  if (scope != innermost)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "stream scopes end on their own thread, the last one first");
  innermost = scope->outer;
  ab_status status = ab__bridge_ending(scope->bridge) ? AB_ENDING : lead_callers(scope, error);
  if (status != AB_ENDING) {
    const ab_status back = make_former_current(scope, status == AB_OK ? error : &first);
    if (status == AB_OK) status = back;
    note_reader(scope);
  }
  leave_stream(scope);
  forget(scope);
  ab_error_clear(&first);
  ab_error_clear(&local);
  return status == AB_ENDING ? AB_OK : status;
}
