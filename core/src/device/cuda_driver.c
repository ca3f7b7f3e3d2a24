/* SPDX-License-Identifier: MIT
 * Opening the CUDA driver, and what the life of the process does to it. */
#include "device/cuda_internal.h"
#include "fork.h"

#ifdef AB__HAS_CUDA

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { REASON = 512 };

ab__cu_table ab__cu;

static pthread_mutex_t driver_lock = PTHREAD_MUTEX_INITIALIZER;  // the publication of all below
static atomic_int table_ready;                                   // ab__cu is filled
static atomic_int devices_ready;                                 // … and the driver is initialised
static ab__cu_device *devices;
static int device_count;
static atomic_int refused;  // there is no driver that could be used; `reason` says why, constant then
static char reason[REASON];
static atomic_int ended;
static atomic_int user_pid;  // the process that first initialised the driver; 0: nobody yet

/* ------------------------------------------------------------------ life of the process */

static ab_status fork_check(ab_error *error) {
  const int pid = atomic_load_explicit(&user_pid, memory_order_relaxed);
  if (pid == 0 || pid == (int)getpid()) return AB_OK;
  ab_error_set(error, AB_DRIVER, "CUDA was used before fork() in process %d; a forked child cannot use it", pid);
  ab_error_hint(error, "start worker processes with multiprocessing's \"spawn\" or \"forkserver\"");
  return AB_DRIVER;
}

static ab_status alive(ab_error *error) {
  if (atomic_load(&ended)) return ab_error_set(error, AB_ENDING, "the process ends: CUDA is left alone");
  return fork_check(error);
}

int ab__cu_gone(void) { return alive(NULL) != AB_OK; }

void ab__cuda_end(void) { atomic_store(&ended, 1); }

int ab__cuda_loaded(void) { return atomic_load_explicit(&devices_ready, memory_order_acquire); }

void ab__cuda_fork(ab__fork_step step) { ab__fork_lock(&driver_lock, step); }

/* ------------------------------------------------------------------ refusing for good */

static ab_status refusal(ab_error *error) {
  ab_error_set(error, AB_UNAVAILABLE, "no CUDA: %s", reason);
  ab_error_hint(error,
                "install NVIDIA's driver, or see that this process may use it (CUDA_VISIBLE_DEVICES, container)");
  return AB_UNAVAILABLE;
}

static ab_status refuse(ab_error *error, const char *why, const char *detail) {
  pthread_mutex_lock(&driver_lock);
  if (!atomic_load(&refused)) {
    snprintf(reason, sizeof reason, "%.*s%.*s", (int)sizeof reason / 2, why, (int)sizeof reason / 2 - 1, detail);
    atomic_store_explicit(&refused, 1, memory_order_release);
  }
  pthread_mutex_unlock(&driver_lock);
  return refusal(error);
}

/* ------------------------------------------------------------------ opening */

/* Returns the name of the first function that is missing, NULL if there are all that must be. */
static const char *fill(void *library, ab__cu_table *table) {
  void *symbol;
#define FILL(name)                  \
  symbol = dlsym(library, #name);   \
  if (symbol == NULL) return #name; \
  memcpy(&table->name, &symbol, sizeof symbol);
  AB__CU_FUNCTIONS(FILL)
#undef FILL
#define FILL(name, parameters)    \
  symbol = dlsym(library, #name); \
  memcpy(&table->name, &symbol, sizeof symbol);
  AB__CU_OPTIONAL_FUNCTIONS(FILL)
#undef FILL
  return NULL;
}

static void publish_table(const ab__cu_table *table) {
  pthread_mutex_lock(&driver_lock);
  if (!atomic_load(&table_ready)) {
    ab__cu = *table;
    atomic_store_explicit(&table_ready, 1, memory_order_release);
  }
  pthread_mutex_unlock(&driver_lock);
}

static ab_status open_table(ab_error *error) {
  if (atomic_load_explicit(&table_ready, memory_order_acquire)) return AB_OK;
  void *library = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    const char *said = dlerror();
    return refuse(error, "", said != NULL ? said : "libcuda.so.1 cannot be opened");
  }
  ab__cu_table table;
  const char *missing = fill(library, &table);
  if (missing == NULL) {
    publish_table(&table);
    return AB_OK;  // the handle is kept for ever
  }
  dlclose(library);
  return refuse(error, "the driver is older than CUDA 11.4: libcuda.so.1 lacks ", missing);
}

/* What asking again cannot change. */
static int is_final(CUresult code) {
  return code == CUDA_ERROR_NO_DEVICE || code == CUDA_ERROR_STUB_LIBRARY || code == CUDA_ERROR_SYSTEM_DRIVER_MISMATCH ||
         code == CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE;
}

static ab_status initialise(ab_error *error) {
  int nobody = 0;
  atomic_compare_exchange_strong(&user_pid, &nobody, (int)getpid());  // a fork from here on finds a driver in use
  const CUresult code = ab__cu.cuInit(0);
  if (code == CUDA_SUCCESS) return AB_OK;
  ab_error said;
  ab_error_init(&said);
  const ab_status status = ab__cu_failed(NULL, code, "cuInit", error != NULL ? error : &said);
  if (is_final(code)) return refuse(error, error != NULL ? error->text : said.text, "");
  if (code == CUDA_ERROR_NOT_INITIALIZED)  // the driver's answer in a child whose parent has used it
    ab_error_hint(error, "if CUDA was used before fork(): start worker processes with \"spawn\" or \"forkserver\"");
  return status;
}

/* Another thread may have been faster: then its devices stay and ours go. */
static void publish_devices(ab__cu_device *made, int count) {
  pthread_mutex_lock(&driver_lock);
  const int first = !atomic_load(&devices_ready);
  if (first) {
    devices = made;
    device_count = count;
    atomic_store_explicit(&devices_ready, 1, memory_order_release);
  }
  pthread_mutex_unlock(&driver_lock);
  if (!first) ab__cu_devices_free(made, count);
}

static ab_status open_driver(ab_error *error) {
  ab_status status = open_table(error);
  if (status == AB_OK) status = initialise(error);
  ab__cu_device *made = NULL;
  int count = 0;
  if (status == AB_OK) status = ab__cu_devices_make(&made, &count, error);
  if (status == AB_OK) publish_devices(made, count);
  return status;
}

ab_status ab__cu_open(ab_error *error) {
  if (atomic_load_explicit(&refused, memory_order_acquire)) return refusal(error);  // in a forked child as well
  const ab_status status = alive(error);
  if (status != AB_OK || ab__cuda_loaded()) return status;
  return open_driver(error);
}

ab__cu_device *ab__cu_devices(int *count) {
  *count = device_count;
  return devices;
}

#endif /* AB__HAS_CUDA */
