/* SPDX-License-Identifier: MIT */
#include "backend.h"

#include "dtype.h"
#include "memory.h"

const char *ab_backend_name(const ab_backend *backend) { return backend->descriptor->name; }

const char *ab_backend_version(const ab_backend *backend) {
  return backend->descriptor->version != NULL ? backend->descriptor->version : "";
}

const char *ab_backend_path(const ab_backend *backend) { return backend->path; }

void ab__invocation_init(ab__invocation *invocation, const ab_backend *backend, uint32_t flags, const ab_stream *stream,
                         ab_error *error) {
  invocation->report = (ab_report){.struct_size = (uint32_t)sizeof(ab_report)};
  invocation->call = (ab_call){.struct_size = (uint32_t)sizeof(ab_call),
                               .flags = flags,
                               .self = backend->self,
                               .stream = stream,
                               .report = &invocation->report,
                               .error = error};
}

ab_status ab__backend_enter(const ab_backend *backend, int held, void **token, ab_error *error) {
  *token = NULL;
  const ab_runtime *runtime = &backend->bridge->runtime;
  if (held || backend->descriptor->lock == AB_LOCK_NONE || runtime->lock_enter == NULL) return AB_OK;
  if (!ab__bridge_ending(backend->bridge)) *token = runtime->lock_enter(runtime->self);
  if (*token == NULL) return ab_error_set(error, AB_ENDING, "%s", ab_status_text(AB_ENDING));
  return AB_OK;
}

void ab__backend_leave(const ab_backend *backend, void *token) {
  if (token != NULL) backend->bridge->runtime.lock_leave(backend->bridge->runtime.self, token);
}

/* Returns 1 if there was one: `error` is then about it. Inlined, its large frame would be every conversion's. */
static __attribute__((noinline)) int take_stray(const ab_backend *backend, const char *slot, ab_error *error) {
  const ab_runtime *runtime = &backend->bridge->runtime;
  if (backend->descriptor->lock == AB_LOCK_NONE || runtime->take_stray_error == NULL) return 0;
  ab_error stray;
  ab_error_init(&stray);
  if (!runtime->take_stray_error(runtime->self, &stray)) return 0;
  ab_error_set(error, stray.status == AB_CANCELLED ? AB_CANCELLED : AB_INTERNAL,
               "%s: %s() left an exception pending: %.400s", ab_backend_name(backend), slot, stray.text);
  ab_error_hint(error, "its plugin must take it with abpy_error() or abpy_clear()");
  ab_error_set_failure(error, &stray.failure);
  return 1;
}

static int goes_without_saying(ab_status status) {
  return status == AB_OK || status == AB_UNSUPPORTED || status == AB_WOULD_COPY;
}

__attribute__((noinline)) ab_status ab__slot_result(const ab_backend *backend, const char *slot, ab_status status,
                                                    ab_error *error) {
  if (take_stray(backend, slot, error)) return error->status;
  if (goes_without_saying(status) || error->text[0] != '\0') return status;
  return ab_error_set(error, status, "%s: %s() returned %s and said nothing%s", ab_backend_name(backend), slot,
                      ab_status_name(status),
                      backend->descriptor->runtime == AB_RUNTIME_PYTHON ? " (use abpy_error)" : " (use ab_fail)");
}

ab_status ab__backend_start(const ab_backend *backend, ab_error *error) {
  if (atomic_load_explicit(&backend->started, memory_order_acquire)) return AB_OK;
  if (backend->vtable->start != NULL) {
    ab__invocation run;
    ab__invocation_init(&run, backend, 0, NULL, error);
    const ab_status status = ab__slot_result(backend, "start", backend->vtable->start(&run.call), error);
    if (status != AB_OK) return status;
  }
  atomic_store_explicit(&((ab_backend *)backend)->started, 1, memory_order_release);
  return AB_OK;
}

/* ------------------------------------------------------------------ abilities */

static int same_device(DLDevice a, DLDevice b) { return a.device_type == b.device_type && a.device_id == b.device_id; }

static const ab__ability *remembered(const ab_backend *backend, DLDevice device, uint32_t slot) {
  const ab__ability *ability = atomic_load_explicit(&backend->abilities, memory_order_acquire);
  while (ability != NULL && !(same_device(ability->device, device) && ability->slot == slot)) ability = ability->next;
  return ability;
}

static uint64_t dtype_set(const ab_capabilities *stated) {
  uint64_t set = 0;
  for (uint32_t index = 0; index < stated->dtype_count; index++) {
    const int at = ab__dtype_index(stated->dtypes[index]);
    if (at >= 0) set |= UINT64_C(1) << at;
  }
  return set;
}

enum {
  KNOWN_CAPABILITIES = AB_ACCEPTS_BYTE_OFFSET | AB_ACCEPTS_EMPTY | AB_ACCEPTS_ZERO_DIM | AB_CARRIES_READ_ONLY |
                       AB_READS_HOST_LATER | AB_MAKES_IMMUTABLE
};

/* The most careful reading of what a newer plugin may have said. Returns 1 if it can be used at all. */
static int make_safe(ab_capabilities *stated) {
  if (stated->layout > AB_LAYOUT_C) stated->layout = AB_LAYOUT_C;
  if (stated->max_ndim > AB_MAX_NDIM) stated->max_ndim = AB_MAX_NDIM;
  if (stated->dtypes == NULL) stated->dtype_count = 0;
  const int power_of_two = (stated->alignment & (stated->alignment - 1)) == 0;
  return power_of_two && (stated->flags & 0xffff & ~(uint32_t)KNOWN_CAPABILITIES) == 0;
}

/* Takes `fresh`. Another thread may have been quicker; whoever came first stays, since its answer may be in use. */
static const ab__ability *remember(ab_backend *backend, ab__ability *fresh) {
  pthread_mutex_lock(&backend->ability_lock);
  const ab__ability *known = remembered(backend, fresh->device, fresh->slot);
  if (known == NULL) {
    fresh->next = atomic_load_explicit(&backend->abilities, memory_order_relaxed);
    atomic_store_explicit(&backend->abilities, fresh, memory_order_release);
  }
  pthread_mutex_unlock(&backend->ability_lock);
  if (known == NULL) return fresh;
  ab__deallocate(fresh);
  return known;
}

ab_status ab__backend_ability(const ab_backend *backend, DLDevice device, uint32_t slot, const ab__ability **ability,
                              ab_error *error) {
  const ab__ability *known = remembered(backend, device, slot);
  if (known != NULL) {
    *ability = known;
    return AB_OK;
  }
  ab_error said; /* "nothing there" is an answer, not an error of the conversion */
  ab_error_init(&said);
  ab__invocation run;
  ab__invocation_init(&run, backend, 0, NULL, &said);
  ab__ability *fresh = ab__allocate(sizeof *fresh);
  if (fresh == NULL) return ab_error_set(error, AB_OOM, "no memory for what %s can take", ab_backend_name(backend));
  *fresh = (ab__ability){.device = device, .slot = slot, .stated = {.struct_size = (uint32_t)sizeof(ab_capabilities)}};
  ab_status status = backend->vtable->capabilities(&run.call, device, slot, &fresh->stated);
  status = ab__slot_result(backend, "capabilities", status, &said);
  if (status != AB_OK && status != AB_UNSUPPORTED && status != AB_NO_DEVICE) {
    ab__deallocate(fresh);
    ab_error_clear(error);
    if (error != NULL) *error = said;
    else ab_error_clear(&said);
    return status;
  }
  snprintf(fresh->why_not, sizeof fresh->why_not, "%.*s", (int)sizeof fresh->why_not - 1,
           status != AB_OK ? said.text : "");
  ab_error_clear(&said);
  fresh->supported = make_safe(&fresh->stated) && status == AB_OK;
  fresh->dtypes = fresh->supported ? dtype_set(&fresh->stated) : 0;
  *ability = remember((ab_backend *)backend, fresh);
  return AB_OK;
}

/* ------------------------------------------------------------------ public: asking a backend */

/* What every public question needs: an error to write into, and the lock of the backend. */
typedef struct question {
  ab_error local; /* where the caller gave none */
  ab_error *error;
  void *token;
} question;

static ab_status question_begin(question *asked, const ab_backend *backend, ab_error *error) {
  ab_error_init(&asked->local);
  asked->error = error != NULL ? error : &asked->local;
  ab_error_clear(asked->error); /* of an earlier call */
  return ab__backend_enter(backend, 0, &asked->token, asked->error);
}

static ab_status question_end(question *asked, const ab_backend *backend, ab_status status) {
  ab__backend_leave(backend, asked->token);
  ab_error_clear(&asked->local);
  return status;
}

ab_status ab_backend_probe(const ab_backend *backend, ab_framework_info *info, ab_error *error) {
  if (backend->vtable->probe == NULL)
    return ab_error_set(error, AB_UNSUPPORTED, "the plugin of %s has no probe()", ab_backend_name(backend));
  question asked;
  ab_status status = question_begin(&asked, backend, error);
  if (status != AB_OK) return status;
  ab__invocation run;
  ab__invocation_init(&run, backend, 0, NULL, asked.error);
  status = ab__slot_result(backend, "probe", backend->vtable->probe(&run.call, info), asked.error);
  return question_end(&asked, backend, status);
}

ab_status ab_backend_start(const ab_backend *backend, ab_error *error) {
  question asked;
  const ab_status status = question_begin(&asked, backend, error);
  if (status != AB_OK) return status;
  return question_end(&asked, backend, ab__backend_start(backend, asked.error));
}

ab_status ab__backend_visit_devices(const ab_backend *backend, ab_device_visitor visit, void *context,
                                    ab_error *error) {
  if (backend->vtable->devices != NULL) {
    ab__invocation run;
    ab__invocation_init(&run, backend, 0, NULL, error);
    return ab__slot_result(backend, "devices", backend->vtable->devices(&run.call, visit, context), error);
  }
  const ab_device_info host = {
      .struct_size = (uint32_t)sizeof host, .flags = AB_DEVICE_DEFAULT, .device = {kDLCPU, 0}, .name = "host"};
  visit(context, &host);
  return AB_OK;
}

ab_status ab_backend_devices(const ab_backend *backend, ab_device_visitor visit, void *context, ab_error *error) {
  question asked;
  ab_status status = question_begin(&asked, backend, error);
  if (status != AB_OK) return status;
  status = ab__backend_start(backend, asked.error);
  if (status == AB_OK) status = ab__backend_visit_devices(backend, visit, context, asked.error);
  return question_end(&asked, backend, status);
}

ab_status ab_backend_capabilities(const ab_backend *backend, DLDevice device, uint32_t slot,
                                  ab_capabilities *capabilities, ab_error *error) {
  question asked;
  ab_status status = question_begin(&asked, backend, error);
  if (status != AB_OK) return status;
  const ab__ability *ability = NULL;
  status = ab__backend_start(backend, asked.error);
  if (status == AB_OK) status = ab__backend_ability(backend, device, slot, &ability, asked.error);
  if (status == AB_OK && !ability->supported)
    status = ab_error_set(asked.error, AB_UNSUPPORTED, "%s has nothing there%s%s", ab_backend_name(backend),
                          ability->why_not[0] != '\0' ? ": " : "", ability->why_not);
  if (status == AB_OK) ab_struct_fill(capabilities, &ability->stated, (uint32_t)sizeof ability->stated);
  return question_end(&asked, backend, status);
}
