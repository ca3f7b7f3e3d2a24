/* SPDX-License-Identifier: MIT
 * Finding libOpenCL, and what its error codes mean. */
#include "device/opencl_internal.h"
#include "fork.h"

#ifdef AB__HAS_OPENCL

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>
#ifdef __linux__
#include <link.h>
#endif

enum { LOADER_PATH = 4096 };

ab__cl_table ab__cl;

static pthread_mutex_t table_lock = PTHREAD_MUTEX_INITIALIZER;  // the publication of ab__cl
static atomic_int table_ready;
static atomic_int ended;
static atomic_int user_pid;  // the process that first used OpenCL; 0: nobody yet

/* ------------------------------------------------------------------ life of the process */

ab_status ab__cl_fork_check(ab_error *error) {
  const int pid = atomic_load_explicit(&user_pid, memory_order_relaxed);
  if (pid == 0 || pid == (int)getpid()) return AB_OK;
  ab_error_set(error, AB_DRIVER, "OpenCL was used before fork() in process %d; a forked child cannot use it", pid);
  ab_error_hint(error, "start worker processes with multiprocessing's \"spawn\" or \"forkserver\"");
  return AB_DRIVER;
}

int ab__cl_gone(void) { return atomic_load(&ended) || ab__cl_fork_check(NULL) != AB_OK; }

void ab__opencl_end(void) { atomic_store(&ended, 1); }

/* ------------------------------------------------------------------ opening */

#ifdef __linux__
static int is_loader(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size;
  const char *slash = strrchr(info->dlpi_name, '/');
  const char *name = slash != NULL ? slash + 1 : info->dlpi_name;
  if (strncmp(name, "libOpenCL", strlen("libOpenCL")) != 0 || strlen(info->dlpi_name) >= LOADER_PATH) return 0;
  strcpy(context, info->dlpi_name);
  return 1;
}

/* The framework's own loader, if it has brought one (the wheel bundles libOpenCL-88843b43.so.1.0.0). */
static void *open_resident(void) {
  char path[LOADER_PATH];
  if (dl_iterate_phdr(is_loader, path) == 0) return NULL;
  return dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NOLOAD);
}
#else
static void *open_resident(void) { return NULL; }
#endif

/* Returns the name of the first function that is missing, NULL if there are all. */
static const char *fill(void *library, ab__cl_table *table) {
  void *symbol;
#define FILL(name)                  \
  symbol = dlsym(library, #name);   \
  if (symbol == NULL) return #name; \
  memcpy(&table->name, &symbol, sizeof symbol);
  AB__CL_FUNCTIONS(FILL)
#undef FILL
  return NULL;
}

static ab_status open_table(ab__cl_table *table, ab_error *error) {
  void *library = open_resident();
  if (library == NULL) library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    const char *reason = dlerror();
    ab_error_set(error, AB_UNAVAILABLE, "cannot open libOpenCL.so.1: %s", reason != NULL ? reason : "no reason given");
    ab_error_hint(error, "install an OpenCL loader (Debian: ocl-icd-libopencl1)");
    return AB_UNAVAILABLE;
  }
  const char *missing = fill(library, table);
  if (missing == NULL) return AB_OK;  // the handle is kept for ever
  dlclose(library);
  return ab_error_set(error, AB_UNAVAILABLE, "libOpenCL is older than OpenCL 1.2: it lacks %s", missing);
}

static void publish(const ab__cl_table *table) {
  pthread_mutex_lock(&table_lock);
  if (!atomic_load(&table_ready)) {
    ab__cl = *table;
    atomic_store(&user_pid, (int)getpid());
    atomic_store_explicit(&table_ready, 1, memory_order_release);
  }
  pthread_mutex_unlock(&table_lock);
}

void ab__opencl_table_fork(ab__fork_step step) { ab__fork_lock(&table_lock, step); }

ab_status ab__cl_open(ab_error *error) {
  if (atomic_load_explicit(&table_ready, memory_order_acquire)) return ab__cl_fork_check(error);
  ab__cl_table table;
  const ab_status status = open_table(&table, error);
  if (status == AB_OK) publish(&table);
  return status;
}

/* ------------------------------------------------------------------ errors */

#define NAMED(code) \
  { code, #code }
static const struct {
  cl_int code;
  const char *name;
} names[] = {
    NAMED(CL_DEVICE_NOT_FOUND),
    NAMED(CL_DEVICE_NOT_AVAILABLE),
    NAMED(CL_COMPILER_NOT_AVAILABLE),
    NAMED(CL_MEM_OBJECT_ALLOCATION_FAILURE),
    NAMED(CL_OUT_OF_RESOURCES),
    NAMED(CL_OUT_OF_HOST_MEMORY),
    NAMED(CL_PROFILING_INFO_NOT_AVAILABLE),
    NAMED(CL_MEM_COPY_OVERLAP),
    NAMED(CL_BUILD_PROGRAM_FAILURE),
    NAMED(CL_MAP_FAILURE),
    NAMED(CL_MISALIGNED_SUB_BUFFER_OFFSET),
    NAMED(CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST),
    NAMED(CL_INVALID_VALUE),
    NAMED(CL_INVALID_DEVICE_TYPE),
    NAMED(CL_INVALID_PLATFORM),
    NAMED(CL_INVALID_DEVICE),
    NAMED(CL_INVALID_CONTEXT),
    NAMED(CL_INVALID_QUEUE_PROPERTIES),
    NAMED(CL_INVALID_COMMAND_QUEUE),
    NAMED(CL_INVALID_HOST_PTR),
    NAMED(CL_INVALID_MEM_OBJECT),
    NAMED(CL_INVALID_BINARY),
    NAMED(CL_INVALID_BUILD_OPTIONS),
    NAMED(CL_INVALID_PROGRAM),
    NAMED(CL_INVALID_PROGRAM_EXECUTABLE),
    NAMED(CL_INVALID_KERNEL_NAME),
    NAMED(CL_INVALID_KERNEL_DEFINITION),
    NAMED(CL_INVALID_KERNEL),
    NAMED(CL_INVALID_ARG_INDEX),
    NAMED(CL_INVALID_ARG_VALUE),
    NAMED(CL_INVALID_ARG_SIZE),
    NAMED(CL_INVALID_KERNEL_ARGS),
    NAMED(CL_INVALID_WORK_DIMENSION),
    NAMED(CL_INVALID_WORK_GROUP_SIZE),
    NAMED(CL_INVALID_WORK_ITEM_SIZE),
    NAMED(CL_INVALID_GLOBAL_OFFSET),
    NAMED(CL_INVALID_EVENT_WAIT_LIST),
    NAMED(CL_INVALID_EVENT),
    NAMED(CL_INVALID_OPERATION),
    NAMED(CL_INVALID_BUFFER_SIZE),
    NAMED(CL_INVALID_GLOBAL_WORK_SIZE),
    NAMED(CL_INVALID_PROPERTY),
};
#undef NAMED

static const char *code_name(cl_int code) {
  for (size_t index = 0; index < sizeof names / sizeof *names; index++)
    if (names[index].code == code) return names[index].name;
  return "unknown OpenCL error";
}

static ab_status code_status(cl_int code) {
  switch (code) {
    case CL_MEM_OBJECT_ALLOCATION_FAILURE:
    case CL_OUT_OF_RESOURCES:
    case CL_OUT_OF_HOST_MEMORY:
      return AB_OOM;
    case CL_INVALID_BUFFER_SIZE:
      return AB_TOO_LARGE;
    default:
      return AB_DRIVER;
  }
}

ab_status ab__cl_failed(ab_error *error, cl_int code, const char *call) {
  const ab_status status = code_status(code);
  if (error == NULL) return status;
  ab_error_clear(error);
  error->failure = (ab_failure){
      .struct_size = (uint32_t)sizeof(ab_failure),
      .status = status,
      .domain = "opencl",
      .code = code,
      .text = code_name(code),
  };
  return ab_error_set(error, status, "%s: %s (%d)", call, code_name(code), (int)code);
}

#endif /* AB__HAS_OPENCL */
