/* SPDX-License-Identifier: MIT
 * Sharing memory with OpenCL, on a real device (PoCL). Without an OpenCL platform: "SKIP: …" and exit code 77. */
#include "check_main.h"
#include "device/opencl_internal.h"

#ifndef AB__HAS_OPENCL
Suite *unit_suite(void) {
  printf("SKIP: built without OpenCL headers\n");
  return NULL;
}
#else

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "memory.h"

enum { SIDE = 16, ELEMENTS = SIDE * SIDE, BYTES = ELEMENTS * 4 };

/* ------------------------------------------------------------------ a framework with one context */

static struct framework {
  __typeof__(&clGetPlatformIDs) get_platforms;
  __typeof__(&clGetDeviceIDs) get_devices;
  __typeof__(&clCreateContext) create_context;
  __typeof__(&clEnqueueFillBuffer) fill;
  cl_device_id device;
  cl_context context;
  cl_command_queue queue;
} framework;

static void *symbol(void *library, const char *name) { return library != NULL ? dlsym(library, name) : NULL; }

/* NULL: ready; else why there is no device. */
static const char *framework_start(void) {
  void *library = dlopen("libOpenCL.so.1", RTLD_NOW | RTLD_LOCAL), *found;
#define TAKE(member, name)                                        \
  if ((found = symbol(library, name)) == NULL) return "no " name; \
  memcpy(&framework.member, &found, sizeof found)
  TAKE(get_platforms, "clGetPlatformIDs");
  TAKE(get_devices, "clGetDeviceIDs");
  TAKE(create_context, "clCreateContext");
  TAKE(fill, "clEnqueueFillBuffer");
#undef TAKE
  cl_platform_id platform;
  if (framework.get_platforms(1, &platform, NULL) != CL_SUCCESS) return "no OpenCL platform";
  if (framework.get_devices(platform, CL_DEVICE_TYPE_ALL, 1, &framework.device, NULL) != CL_SUCCESS)
    return "no OpenCL device";
  cl_int code = CL_SUCCESS;
  framework.context = framework.create_context(NULL, 1, &framework.device, NULL, NULL, &code);
  if (code != CL_SUCCESS) return "no OpenCL context";
  if (ab__cl_open(NULL) != AB_OK) return "libOpenCL cannot be opened";
  framework.queue = ab__cl.clCreateCommandQueue(framework.context, framework.device, 0, &code);
  return code == CL_SUCCESS ? NULL : "no OpenCL queue";
}

static void setup(void) {
  ck_assert_int_eq(ab__opencl_prepare(NULL), AB_OK);
  ck_assert_ptr_null(framework_start());
}

static void fill(cl_mem buffer, cl_uint value) {
  ck_assert_int_eq(framework.fill(framework.queue, buffer, &value, sizeof value, 0, BYTES, 0, NULL, NULL), CL_SUCCESS);
  ck_assert_int_eq(ab__cl.clFinish(framework.queue), CL_SUCCESS);
}

/* ------------------------------------------------------------------ tensors that count their deaths */

typedef struct counted {
  DLManagedTensorVersioned tensor;
  int64_t shape[2];
  int64_t strides[2];
  atomic_int deaths;
  cl_mem buffer;                      // released at death, if not NULL
  DLManagedTensorVersioned *dragged;  // deleted at death, if not NULL
} counted;

static void counted_delete(DLManagedTensorVersioned *tensor) {
  counted *self = (counted *)tensor;
  if (self->dragged != NULL) self->dragged->deleter(self->dragged);
  if (self->buffer != NULL) ab__cl.clReleaseMemObject(self->buffer);
  atomic_fetch_add(&self->deaths, 1);
}

static void counted_init(counted *self, void *data, DLDeviceType type) {
  memset(self, 0, sizeof *self);
  self->shape[0] = self->shape[1] = SIDE;
  self->strides[0] = SIDE;
  self->strides[1] = 1;
  self->tensor.version = (DLPackVersion){DLPACK_MAJOR_VERSION, DLPACK_MINOR_VERSION};
  self->tensor.deleter = counted_delete;
  self->tensor.dl_tensor = (DLTensor){
      .data = data,
      .device = {type, 0},
      .ndim = 2,
      .dtype = {kDLUInt, 32, 1},
      .shape = self->shape,
      .strides = self->strides,
  };
}

static void counted_buffer(counted *self, cl_uint value) {
  cl_int code = CL_SUCCESS;
  cl_mem buffer = ab__cl.clCreateBuffer(framework.context, CL_MEM_READ_WRITE, BYTES, NULL, &code);
  ck_assert_int_eq(code, CL_SUCCESS);
  fill(buffer, value);
  counted_init(self, buffer, kDLOpenCL);
  self->buffer = buffer;
}

static ab_status wrap(counted *host, DLManagedTensorVersioned **wrapped, ab_error *error) {
  return ab__opencl_wrap(framework.context, framework.device, (DLDevice){kDLOpenCL, 3}, &host->tensor, wrapped, error);
}

/* The driver may still hold a buffer for a moment after its last command. */
static void await_death(counted *self) {
  const time_t end = time(NULL) + 20;
  while (atomic_load(&self->deaths) == 0 && time(NULL) < end) sched_yield();
  ck_assert_int_eq(atomic_load(&self->deaths), 1);
}

static cl_uint memory[4 * ELEMENTS] __attribute__((aligned(64)));

/* ------------------------------------------------------------------ vendors */

static void count_vendors(void *context, const ab__opencl_vendor *vendor) {
  int *counts = context;
  counts[0]++;
  counts[1] += vendor->loaded;
  counts[2] += vendor->opened_by_us;
}

START_TEST(prepare_opens_the_vendor_libraries_and_says_so) {
  int before[3] = {0}, after[3] = {0};
  ck_assert_int_eq(ab__opencl_visit_vendors(count_vendors, before, NULL), AB_OK);
  ck_assert_int_ge(before[0], 1);
  ck_assert_int_eq(before[1], 0);
  ck_assert_int_eq(ab__opencl_prepare(NULL), AB_OK);
  ck_assert_int_eq(ab__opencl_prepare(NULL), AB_OK);
  ck_assert_int_eq(ab__opencl_visit_vendors(count_vendors, after, NULL), AB_OK);
  ck_assert_int_ge(after[1], 1);
  ck_assert_int_eq(after[1], after[2]);
}
END_TEST

START_TEST(prepare_leaves_a_loaded_vendor_library_alone) {
  ck_assert_ptr_null(framework_start());  // the loader opens them
  int counts[3] = {0};
  ck_assert_int_eq(ab__opencl_prepare(NULL), AB_OK);
  ck_assert_int_eq(ab__opencl_visit_vendors(count_vendors, counts, NULL), AB_OK);
  ck_assert_int_ge(counts[1], 1);
  ck_assert_int_eq(counts[2], 0);
}
END_TEST

START_TEST(prepare_without_vendors_is_unavailable) {
  char folder[] = "/tmp/arraybridge-vendors-XXXXXX";
  ab_error error;
  ab_error_init(&error);
  ck_assert_ptr_nonnull(mkdtemp(folder));
  setenv("OCL_ICD_VENDORS", folder, 1);
  ck_assert_int_eq(ab__opencl_prepare(&error), AB_UNAVAILABLE);
  ck_assert_ptr_nonnull(strstr(error.text, "no OpenCL driver"));
  setenv("OCL_ICD_VENDORS", "libarraybridge-no-such-driver.so", 1);
  ck_assert_int_eq(ab__opencl_prepare(&error), AB_UNAVAILABLE);
  ck_assert_ptr_nonnull(strstr(error.text, "libarraybridge-no-such-driver.so"));
  rmdir(folder);
}
END_TEST

START_TEST(prepare_reads_a_named_icd_file) {
  setenv("OCL_ICD_VENDORS", "pocl.icd", 1);
  int counts[3] = {0};
  ck_assert_int_eq(ab__opencl_visit_vendors(count_vendors, counts, NULL), AB_OK);
  ck_assert_int_eq(counts[0], 1);
}
END_TEST

/* ------------------------------------------------------------------ wrapping */

START_TEST(wrap_shares_host_memory_with_the_device) {
  setup();
  counted host;
  DLManagedTensorVersioned *wrapped = NULL;
  counted_init(&host, memory, kDLCPU);
  ck_assert_int_eq(wrap(&host, &wrapped, NULL), AB_OK);
  ck_assert_int_eq(wrapped->dl_tensor.device.device_type, kDLOpenCL);
  ck_assert_int_eq(wrapped->dl_tensor.device.device_id, 3);
  ck_assert_int_eq(wrapped->dl_tensor.strides[0], SIDE);
  fill(wrapped->dl_tensor.data, 7);
  ck_assert_uint_eq(memory[0], 7);
  ck_assert_uint_eq(memory[ELEMENTS - 1], 7);
  memory[5] = 9;
  cl_uint seen[ELEMENTS];
  ck_assert_int_eq(ab__opencl_read(wrapped, seen, sizeof seen, NULL), AB_OK);
  ck_assert_uint_eq(seen[5], 9);
  ck_assert_int_eq(atomic_load(&host.deaths), 0);
  wrapped->deleter(wrapped);
  await_death(&host);
}
END_TEST

START_TEST(wrapped_memory_outlives_the_tensor_while_the_driver_uses_it) {
  setup();
  counted host;
  DLManagedTensorVersioned *wrapped = NULL;
  counted_init(&host, memory, kDLCPU);
  ck_assert_int_eq(wrap(&host, &wrapped, NULL), AB_OK);
  cl_mem buffer = wrapped->dl_tensor.data;
  ab__cl.clRetainMemObject(buffer);
  wrapped->deleter(wrapped);
  ck_assert_int_eq(atomic_load(&host.deaths), 0);
  ab__cl.clReleaseMemObject(buffer);
  await_death(&host);
}
END_TEST

static void refused(counted *host, const char *why) {
  DLManagedTensorVersioned *wrapped = NULL;
  ab_error error;
  ab_error_init(&error);
  ck_assert_int_eq(wrap(host, &wrapped, &error), AB_UNSUPPORTED);
  ck_assert_msg(strstr(error.text, why) != NULL, "%s", error.text);
  ck_assert_ptr_null(wrapped);
  ck_assert_int_eq(atomic_load(&host->deaths), 0);
}

START_TEST(wrap_refuses_what_cannot_be_shared_and_takes_nothing) {
  setup();
  counted host;
  counted_init(&host, memory, kDLCPU);
  host.shape[0] = 0;
  refused(&host, "empty");
  counted_init(&host, memory, kDLCPU);
  host.strides[0] = SIDE + 1;
  refused(&host, "contiguous");
  counted_init(&host, memory, kDLCPU);
  host.tensor.flags = DLPACK_FLAG_BITMASK_READ_ONLY;
  refused(&host, "read-only");
  counted_init(&host, memory, kDLCUDA);
  refused(&host, "only host memory");
  counted_init(&host, (char *)memory + 2, kDLCPU);
  refused(&host, "aligned");
  counted_init(&host, memory, kDLCPU);
  host.shape[0] = INT64_C(1) << 55;
  refused(&host, "more than one buffer");
}
END_TEST

START_TEST(wrap_refuses_a_second_live_buffer_in_one_range) {
  setup();
  counted host, inside, behind;
  DLManagedTensorVersioned *wrapped = NULL, *second = NULL;
  counted_init(&host, memory, kDLCPU);
  counted_init(&inside, memory + ELEMENTS - 1, kDLCPU);
  counted_init(&behind, memory + ELEMENTS, kDLCPU);
  ck_assert_int_eq(wrap(&host, &wrapped, NULL), AB_OK);
  refused(&host, "already");
  refused(&inside, "already");
  ck_assert_int_eq(wrap(&behind, &second, NULL), AB_OK);
  second->deleter(second);
  wrapped->deleter(wrapped);
  await_death(&host);
  ck_assert_int_eq(wrap(&inside, &wrapped, NULL), AB_OK);
  wrapped->deleter(wrapped);
}
END_TEST

/* ------------------------------------------------------------------ mapping and reading */

START_TEST(map_shares_the_buffer_with_the_host) {
  setup();
  counted device;
  DLManagedTensorVersioned *host = NULL;
  counted_buffer(&device, 5);
  ck_assert_int_eq(ab__opencl_map(&device.tensor, &host, NULL), AB_OK);
  volatile cl_uint *elements = host->dl_tensor.data;
  ck_assert_int_eq(host->dl_tensor.device.device_type, kDLCPU);
  ck_assert_uint_eq(elements[ELEMENTS - 1], 5);
  fill(device.buffer, 6);
  ck_assert_uint_eq(elements[0], 6);
  host->deleter(host);
  ck_assert_int_eq(atomic_load(&device.deaths), 1);
}
END_TEST

START_TEST(maps_of_one_buffer_share_one_mapping) {
  setup();
  counted first, second;
  DLManagedTensorVersioned *one = NULL, *two = NULL;
  cl_uint maps = 0;
  counted_buffer(&first, 5);
  counted_init(&second, first.buffer, kDLOpenCL);
  ck_assert_int_eq(ab__opencl_map(&first.tensor, &one, NULL), AB_OK);
  ck_assert_int_eq(ab__opencl_map(&second.tensor, &two, NULL), AB_OK);
  ck_assert_ptr_eq(one->dl_tensor.data, two->dl_tensor.data);
  ab__cl.clGetMemObjectInfo(first.buffer, CL_MEM_MAP_COUNT, sizeof maps, &maps, NULL);
  ck_assert_uint_eq(maps, 1);
  two->deleter(two);
  ck_assert_int_eq(atomic_load(&second.deaths), 1);
  ck_assert_uint_eq(*(volatile cl_uint *)one->dl_tensor.data, 5);
  one->deleter(one);
  ck_assert_int_eq(atomic_load(&first.deaths), 1);
}
END_TEST

START_TEST(lingering_mappings_are_bounded_and_drain_gives_them_back) {
  setup();
  counted *devices = calloc(100, sizeof *devices);
  DLManagedTensorVersioned *host[100];
  counted_buffer(&devices[0], 0);
  ck_assert_int_eq(ab__opencl_map(&devices[0].tensor, &host[0], NULL), AB_OK);
  host[0]->deleter(host[0]);
  ab__opencl_drain();
  const int64_t before = ab__allocation_count();
  for (int index = 1; index < 100; index++) {
    counted_buffer(&devices[index], (cl_uint)index);
    ck_assert_int_eq(ab__opencl_map(&devices[index].tensor, &host[index], NULL), AB_OK);
  }
  for (int index = 1; index < 100; index++) {
    ck_assert_uint_eq(*(cl_uint *)host[index]->dl_tensor.data, (cl_uint)index);
    host[index]->deleter(host[index]);
  }
  ck_assert_int_le(ab__allocation_count(), before + 16);
  ab__opencl_drain();
  ck_assert_int_eq(ab__allocation_count(), before);
  free(devices);
}
END_TEST

START_TEST(map_of_wrapped_memory_is_that_memory) {
  setup();
  counted host;
  DLManagedTensorVersioned *wrapped = NULL, *mapped = NULL, *again = NULL;
  counted_init(&host, memory, kDLCPU);
  ck_assert_int_eq(wrap(&host, &wrapped, NULL), AB_OK);
  ck_assert_int_eq(ab__opencl_map(wrapped, &mapped, NULL), AB_OK);
  ck_assert_ptr_eq(mapped->dl_tensor.data, memory);
  mapped->deleter(mapped);
  await_death(&host);
  counted_init(&host, memory, kDLCPU);
  ck_assert_int_eq(wrap(&host, &again, NULL), AB_OK);
  again->deleter(again);
}
END_TEST

START_TEST(wrap_refuses_mapped_memory) {
  setup();
  counted device, host;
  DLManagedTensorVersioned *mapped = NULL;
  counted_buffer(&device, 5);
  ck_assert_int_eq(ab__opencl_map(&device.tensor, &mapped, NULL), AB_OK);
  counted_init(&host, mapped->dl_tensor.data, kDLCPU);
  refused(&host, "already");
  mapped->deleter(mapped);
}
END_TEST

START_TEST(map_refuses_a_tensor_larger_than_its_buffer) {
  setup();
  counted device;
  DLManagedTensorVersioned *host = NULL;
  counted_buffer(&device, 5);
  device.shape[0] = SIDE + 1;
  ck_assert_int_eq(ab__opencl_map(&device.tensor, &host, NULL), AB_INVALID_TENSOR);
  device.shape[0] = 0;
  ck_assert_int_eq(ab__opencl_map(&device.tensor, &host, NULL), AB_UNSUPPORTED);
  ck_assert_int_eq(atomic_load(&device.deaths), 0);
}
END_TEST

START_TEST(driver_errors_keep_their_code) {
  setup();
  counted device;
  ab_error error;
  ab_error_init(&error);
  counted_buffer(&device, 5);
  char *destination = malloc(2 * BYTES);
  ck_assert_int_eq(ab__opencl_read(&device.tensor, destination, 2 * BYTES, &error), AB_DRIVER);
  ck_assert_str_eq(error.failure.domain, "opencl");
  ck_assert_int_eq(error.failure.code, CL_INVALID_VALUE);
  ck_assert_ptr_nonnull(strstr(error.text, "CL_INVALID_VALUE (-30)"));
  ck_assert_int_eq(ab__cl_failed(NULL, -4, "x"), AB_OOM);
  ck_assert_int_eq(ab__cl_failed(NULL, -5, "x"), AB_OOM);
  ck_assert_int_eq(ab__cl_failed(NULL, -6, "x"), AB_OOM);
  ck_assert_int_eq(ab__cl_failed(NULL, -61, "x"), AB_TOO_LARGE);
  free(destination);
}
END_TEST

/* ------------------------------------------------------------------ lifetime */

START_TEST(deleter_inside_a_driver_callback_is_put_off) {
  setup();
  counted device, host;
  DLManagedTensorVersioned *mapped = NULL, *wrapped = NULL;
  counted_buffer(&device, 5);
  counted_init(&host, memory, kDLCPU);
  ck_assert_int_eq(ab__opencl_map(&device.tensor, &mapped, NULL), AB_OK);
  host.dragged = mapped;
  ck_assert_int_eq(wrap(&host, &wrapped, NULL), AB_OK);
  wrapped->deleter(wrapped);
  await_death(&host);
  ck_assert_int_eq(atomic_load(&device.deaths), 0);
  ab__opencl_drain();
  ck_assert_int_eq(atomic_load(&device.deaths), 1);
}
END_TEST

START_TEST(after_the_end_deleters_leak_on_purpose) {
  setup();
  counted device, host;
  DLManagedTensorVersioned *mapped = NULL, *wrapped = NULL;
  counted_buffer(&device, 5);
  counted_init(&host, memory, kDLCPU);
  ck_assert_int_eq(ab__opencl_map(&device.tensor, &mapped, NULL), AB_OK);
  ck_assert_int_eq(wrap(&host, &wrapped, NULL), AB_OK);
  ab__opencl_end();
  mapped->deleter(mapped);
  wrapped->deleter(wrapped);
  ck_assert_int_eq(atomic_load(&device.deaths), 0);
  ck_assert_int_eq(atomic_load(&host.deaths), 0);
}
END_TEST

/* In the child of a fork: 0 if everything is refused. */
static int forked_child(counted *device, DLManagedTensorVersioned *mapped) {
  counted host;
  DLManagedTensorVersioned *result = NULL;
  ab__opencl_limits limits;
  counted_init(&host, memory, kDLCPU);
  mapped->deleter(mapped);
  return !(ab__opencl_prepare(NULL) == AB_DRIVER && wrap(&host, &result, NULL) == AB_DRIVER &&
           ab__opencl_map(&device->tensor, &result, NULL) == AB_DRIVER &&
           ab__opencl_read(&device->tensor, memory, BYTES, NULL) == AB_DRIVER &&
           ab__opencl_sharing(framework.context, NULL, &limits, NULL) == AB_DRIVER &&
           atomic_load(&device->deaths) == 0);
}

START_TEST(forked_child_is_refused_and_leaks) {
  setup();
  counted device;
  DLManagedTensorVersioned *mapped = NULL;
  int status = -1;
  counted_buffer(&device, 5);
  ck_assert_int_eq(ab__opencl_map(&device.tensor, &mapped, NULL), AB_OK);
  const pid_t child = fork();
  if (child == 0) _exit(forked_child(&device, mapped));
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  mapped->deleter(mapped);
}
END_TEST

START_TEST(every_allocation_may_fail) {
  setup();
  counted device, host;
  DLManagedTensorVersioned *mapped = NULL, *wrapped = NULL;
  ab__opencl_limits limits;
  int firsts = 0, wraps = 0, maps = 0;
  ab_status status;
  counted_buffer(&device, 5);
  counted_init(&host, memory, kDLCPU);
  for (int nth = 1;; nth++, firsts++) {
    ab__allocation_fail_at(nth);
    status = ab__opencl_sharing(framework.context, NULL, &limits, NULL);
    ab__allocation_fail_at(-1);
    if (status == AB_OK) break;
    ck_assert_int_eq(status, AB_OOM);
  }
  for (int nth = 1;; nth++, wraps++) {
    ab__allocation_fail_at(nth);
    status = wrap(&host, &wrapped, NULL);
    ab__allocation_fail_at(-1);
    if (status == AB_OK) break;
    ck_assert_int_eq(status, AB_OOM);
    ck_assert_int_eq(atomic_load(&host.deaths), 0);
  }
  for (int nth = 1;; nth++, maps++) {
    ab__allocation_fail_at(nth);
    status = ab__opencl_map(&device.tensor, &mapped, NULL);
    ab__allocation_fail_at(-1);
    if (status == AB_OK) break;
    ck_assert_int_eq(status, AB_OOM);
    ck_assert_int_eq(atomic_load(&device.deaths), 0);
  }
  ck_assert_int_ge(firsts, 2);
  ck_assert_int_ge(wraps, 3);
  ck_assert_int_ge(maps, 3);
  mapped->deleter(mapped);
  wrapped->deleter(wrapped);
  await_death(&host);
  ab__opencl_drain();
  ck_assert_int_eq(ab__allocation_count(), 2);  // the record of the context, the list of ranges
}
END_TEST

/* ------------------------------------------------------------------ threads */

static counted shared_device;
static atomic_int wrong;

static void *convert_often(void *context) {
  cl_uint *own = context;
  for (int turn = 0; turn < 300; turn++) {
    counted host, device;
    DLManagedTensorVersioned *wrapped = NULL, *mapped = NULL, *common = NULL;
    counted_init(&host, own, kDLCPU);
    counted_init(&device, shared_device.buffer, kDLOpenCL);
    if (wrap(&host, &wrapped, NULL) != AB_OK || ab__opencl_map(&device.tensor, &common, NULL) != AB_OK ||
        ab__opencl_map(wrapped, &mapped, NULL) != AB_OK) {
      atomic_fetch_add(&wrong, 1);
      break;
    }
    if (*(cl_uint *)common->dl_tensor.data != 5 || mapped->dl_tensor.data != own) atomic_fetch_add(&wrong, 1);
    common->deleter(common);
    mapped->deleter(mapped);
    while (atomic_load(&host.deaths) == 0) sched_yield();  // the frame of `host` ends here
  }
  return NULL;
}

START_TEST(threads_share_one_buffer_and_wrap_their_own) {
  setup();
  pthread_t threads[4];
  counted_buffer(&shared_device, 5);
  for (int index = 0; index < 4; index++)
    pthread_create(&threads[index], NULL, convert_often, memory + index * ELEMENTS);
  for (int index = 0; index < 4; index++) pthread_join(threads[index], NULL);
  ck_assert_int_eq(atomic_load(&wrong), 0);
}
END_TEST

/* ------------------------------------------------------------------ */

/* Asked in a child: OpenCL does not survive the fork that Check makes for every test. */
static int device_is_missing(void) {
  fflush(stdout);
  const pid_t child = fork();
  int status = 1;
  if (child == 0) {
    const char *reason = framework_start();
    if (reason != NULL) printf("SKIP: %s\n", reason);
    fflush(stdout);
    _exit(reason != NULL);
  }
  waitpid(child, &status, 0);
  return !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

Suite *unit_suite(void) {
  if (device_is_missing()) return NULL;
  Suite *const suite = suite_create("opencl");
  TCase *const cases = unit_case(suite, "opencl", NULL, NULL);
  tcase_set_timeout(cases, 120);  // PoCL compiles the probe's kernel
  tcase_add_test(cases, prepare_opens_the_vendor_libraries_and_says_so);
  tcase_add_test(cases, prepare_leaves_a_loaded_vendor_library_alone);
  tcase_add_test(cases, prepare_without_vendors_is_unavailable);
  tcase_add_test(cases, prepare_reads_a_named_icd_file);
  tcase_add_test(cases, wrap_shares_host_memory_with_the_device);
  tcase_add_test(cases, wrapped_memory_outlives_the_tensor_while_the_driver_uses_it);
  tcase_add_test(cases, wrap_refuses_what_cannot_be_shared_and_takes_nothing);
  tcase_add_test(cases, wrap_refuses_a_second_live_buffer_in_one_range);
  tcase_add_test(cases, map_shares_the_buffer_with_the_host);
  tcase_add_test(cases, maps_of_one_buffer_share_one_mapping);
  tcase_add_test(cases, lingering_mappings_are_bounded_and_drain_gives_them_back);
  tcase_add_test(cases, map_of_wrapped_memory_is_that_memory);
  tcase_add_test(cases, wrap_refuses_mapped_memory);
  tcase_add_test(cases, map_refuses_a_tensor_larger_than_its_buffer);
  tcase_add_test(cases, driver_errors_keep_their_code);
  tcase_add_test(cases, deleter_inside_a_driver_callback_is_put_off);
  tcase_add_test(cases, after_the_end_deleters_leak_on_purpose);
  tcase_add_test(cases, forked_child_is_refused_and_leaks);
  tcase_add_test(cases, every_allocation_may_fail);
  tcase_add_test(cases, threads_share_one_buffer_and_wrap_their_own);
  return suite;
}
#endif
