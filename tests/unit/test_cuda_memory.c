/* SPDX-License-Identifier: MIT
 * Memory of CUDA devices on the simulated driver: coming, going, copies, registration, and what an address is. */
#include "simulated_cuda.h"

enum { BYTES = 4096 };

static CUcontext context;
static CUstream side;
static unsigned char host[BYTES], back[BYTES];

static void setup_memory(void) {
  setup();
  context = use(0);
  side = new_stream(context, CU_STREAM_NON_BLOCKING);
  for (int i = 0; i < BYTES; i++) host[i] = (unsigned char)(i * 7 + i / 256);
}

static void expect(ab_status status, ab_status wanted) {
  ck_assert_msg(status == wanted, "status %d, wanted %d: %s", (int)status, (int)wanted, error.text);
}

/* ------------------------------------------------------------------ coming and going */

START_TEST(memory_comes_and_goes) {
  const ab_stream stream = stream_of(side, 0);
  const uint64_t used = sim_used(0);
  ab_memory plain = device_memory(0, 0, BYTES), pooled = plain;
  expect(cuda->allocate(on(NULL), &plain), AB_OK);
  expect(cuda->allocate(on(&stream), &pooled), AB_OK);
  ck_assert_ptr_nonnull(plain.handle);
  ck_assert_ptr_ne(plain.handle, pooled.handle);
  ck_assert_uint_eq(sim_waits(), 0);
  expect(cuda->deallocate(on(&stream), &pooled), AB_OK);
  ck_assert_uint_eq(sim_waits(), 0);
  expect(cuda->deallocate(on(&stream), &plain), AB_OK);  // the host waits: cuMemFree does not promise to
  sim_run_all();
  ck_assert_uint_eq(sim_used(0), used);
}
END_TEST

START_TEST(memory_of_the_pool_may_go_without_a_stream) {
  const ab_stream stream = stream_of(side, 0);
  const uint64_t used = sim_used(0);
  ab_memory pooled = device_memory(0, 0, BYTES);
  expect(cuda->allocate(on(&stream), &pooled), AB_OK);
  expect(cuda->stream_finish(on(&stream)), AB_OK);
  expect(cuda->deallocate(on(NULL), &pooled), AB_OK);
  sim_run_all();
  ck_assert_uint_eq(sim_used(0), used);
}
END_TEST

static void touch(void *unused) { (void)unused; }

static void enqueue(const ab_memory *memory) {
  const CUdeviceptr address = (CUdeviceptr)(uintptr_t)memory->handle;
  CUcontext popped;
  OK(cuCtxPushCurrent(context));
  OK(sim_launch(side, touch, NULL, &address, 1));
  OK(cuCtxPopCurrent(&popped));
}

/* Freeing what a kernel is about to touch is a fault of the simulated driver's, see teardown(). */
START_TEST(memory_goes_after_the_work_on_its_stream) {
  const ab_stream stream = stream_of(side, 0);
  ab_memory plain = device_memory(0, 0, BYTES), pooled = plain, pinned = memory_at(kDLCUDAHost, 0, NULL, BYTES),
            registered = pinned;
  void *const pages = aligned_alloc(4096, BYTES);
  const ab_memory pageable = memory_at(kDLCPU, 0, pages, BYTES);
  expect(cuda->allocate(on(NULL), &plain), AB_OK);
  enqueue(&plain);
  expect(cuda->deallocate(on(&stream), &plain), AB_OK);
  expect(cuda->allocate(on(&stream), &pooled), AB_OK);
  enqueue(&pooled);
  expect(cuda->deallocate(on(&stream), &pooled), AB_OK);
  expect(cuda->allocate(on(NULL), &pinned), AB_OK);
  enqueue(&pinned);
  expect(cuda->deallocate(on(&stream), &pinned), AB_OK);
  expect(cuda->wrap(on(NULL), &pageable, &registered), AB_OK);
  enqueue(&registered);
  expect(cuda->unwrap(on(&stream), &registered), AB_OK);
  free(pages);
}
END_TEST

START_TEST(nothing_is_allocated_for_nothing) {
  ab_memory none = device_memory(0, 5, 0);
  expect(cuda->allocate(on(NULL), &none), AB_OK);
  ck_assert_ptr_null(none.handle);
  expect(cuda->deallocate(on(NULL), &none), AB_OK);
  expect(cuda->copy(on(NULL), &none, &none), AB_OK);
}
END_TEST

START_TEST(a_full_device_is_out_of_memory) {
  const ab_stream stream = stream_of(side, 0);
  ab_memory memory = device_memory(0, 0, 2 * (uint64_t)DEVICE_BYTES);
  expect(cuda->allocate(on(NULL), &memory), AB_OOM);
  ck_assert_msg(strstr(error.text, "134217728 bytes on cuda:0") != NULL, "%s", error.text);
  ck_assert_int_eq(error.failure.code, CUDA_ERROR_OUT_OF_MEMORY);
  expect(cuda->allocate(on(&stream), &memory), AB_OOM);
  ck_assert_ptr_null(memory.handle);
  memory.bytes = BYTES;
  expect(cuda->allocate(on(NULL), &memory), AB_OK);
  expect(cuda->deallocate(on(NULL), &memory), AB_OK);
}
END_TEST

START_TEST(pinned_memory_has_a_limit) {
  ab_memory pinned = memory_at(kDLCUDAHost, 0, NULL, BYTES);
  pinned.flags = AB_MEMORY_PINNED;
  expect(cuda->allocate(on(NULL), &pinned), AB_OK);
  memcpy(pinned.handle, host, BYTES);
  int is_pinned = 0;
  expect(ab__cuda_pinned((char *)pinned.handle + 8, BYTES - 8, &is_pinned, NULL), AB_OK);
  ck_assert_int_eq(is_pinned, 1);
  expect(ab__cuda_pinned((char *)pinned.handle + 8, BYTES, &is_pinned, NULL), AB_OK);
  ck_assert_int_eq(is_pinned, 0);
  expect(ab__cuda_pinned(host, BYTES, &is_pinned, NULL), AB_OK);
  ck_assert_int_eq(is_pinned, 0);
  sim_pinned_limit(BYTES);
  ab_memory more = pinned;
  expect(cuda->allocate(on(NULL), &more), AB_OOM);
  expect(cuda->deallocate(on(NULL), &pinned), AB_OK);
  ck_assert_uint_eq(sim_pinned(), 0);
}
END_TEST

START_TEST(allocating_wakes_a_sleeping_device) {
  ab_memory memory = device_memory(1, 0, BYTES);
  expect(cuda->allocate(on(NULL), &memory), AB_OK);
  ck_assert_int_eq(sim_retained(1), 1);
  ck_assert_int_eq(sim_current_device(), -1);
  expect(cuda->deallocate(on(NULL), &memory), AB_OK);
}
END_TEST

START_TEST(what_is_not_ours_is_not_allocated) {
  const ab_stream stream = stream_of(side, 0);
  use(1);
  ab_memory memory = memory_at(kDLCPU, 0, NULL, BYTES);
  expect(cuda->allocate(on(NULL), &memory), AB_UNSUPPORTED);
  expect(cuda->deallocate(on(NULL), &memory), AB_UNSUPPORTED);
  memory = memory_at(kDLCUDAManaged, 0, NULL, BYTES);
  expect(cuda->allocate(on(NULL), &memory), AB_UNSUPPORTED);
  memory = device_memory(1, 0, BYTES);
  expect(cuda->allocate(on(&stream), &memory), AB_STREAM);
  memory = device_memory(0, 0, BYTES);
  memory.native_context = &memory;
  expect(cuda->allocate(on(NULL), &memory), AB_UNSUPPORTED);
}
END_TEST

/* ------------------------------------------------------------------ copies */

START_TEST(bytes_go_there_and_back) {
  ab_memory there = device_memory(0, new_memory(context, 2 * BYTES), 2 * BYTES);
  there.offset = 64;
  const ab_memory from = memory_at(kDLCPU, 0, host, BYTES), to = memory_at(kDLCPU, 0, back, BYTES);
  expect(cuda->copy(on(NULL), &there, &from), AB_OK);
  ck_assert_uint_eq(report.flags, AB_REPORT_BLOCKED_HOST);
  ck_assert_int_eq(sim_idle(), 1);
  ab_memory elsewhere = device_memory(0, new_memory(context, BYTES), BYTES), part = there;
  part.bytes = BYTES;
  expect(cuda->copy(on(NULL), &elsewhere, &part), AB_OK);
  expect(cuda->copy(on(NULL), &to, &elsewhere), AB_OK);
  ck_assert_mem_eq(back, host, BYTES);
}
END_TEST

START_TEST(a_copy_is_ordered_on_its_stream) {
  const ab_stream stream = stream_of(side, 0);
  ab_memory pinned = memory_at(kDLCUDAHost, 0, NULL, BYTES), result = pinned;
  expect(cuda->allocate(on(NULL), &pinned), AB_OK);
  expect(cuda->allocate(on(NULL), &result), AB_OK);
  memcpy(pinned.handle, host, BYTES);
  const ab_memory there = device_memory(0, new_memory(context, BYTES), BYTES);
  OK(sim_hold(side));
  expect(cuda->copy(on(&stream), &there, &pinned), AB_OK);
  expect(cuda->copy(on(&stream), &result, &there), AB_OK);
  ck_assert_uint_eq(report.flags, 0);
  ck_assert_int_eq(sim_idle(), 0);
  ck_assert_uint_eq(sim_waits(), 0);
  OK(sim_let_go(side));
  expect(cuda->stream_finish(on(&stream)), AB_OK);
  ck_assert_mem_eq(result.handle, host, BYTES);
  expect(cuda->deallocate(on(NULL), &pinned), AB_OK);
  expect(cuda->deallocate(on(NULL), &result), AB_OK);
}
END_TEST

/* From device 0 to device 1 and to the host. */
static void expect_peer_copy(const ab_stream *stream) {
  const ab_memory from = memory_at(kDLCPU, 0, host, BYTES), to = memory_at(kDLCPU, 0, back, BYTES);
  const ab_memory here = device_memory(0, new_memory(context, BYTES), BYTES);
  const ab_memory there = device_memory(1, new_memory(use(1), BYTES), BYTES);
  memset(back, 0, BYTES);
  expect(cuda->copy(on(NULL), &here, &from), AB_OK);
  expect(cuda->copy(on(stream), &there, &here), AB_OK);
  if (stream != NULL) expect(cuda->stream_finish(on(stream)), AB_OK);
  expect(cuda->copy(on(NULL), &to, &there), AB_OK);
  ck_assert_mem_eq(back, host, BYTES);
}

START_TEST(devices_that_cannot_talk_are_copied_between_all_the_same) {
  const ab_stream stream = stream_of(side, 0);
  expect_peer_copy(NULL);
  expect_peer_copy(&stream);
  ck_assert_uint_eq(sim_calls("cuCtxEnablePeerAccess"), 0);
}
END_TEST

START_TEST(peer_access_is_asked_for_once) {
  sim_peer(0, 1, 1);
  sim_peer(1, 0, 1);
  for (int i = 0; i < 3; i++) expect_peer_copy(NULL);
  ck_assert_uint_eq(sim_calls("cuDeviceCanAccessPeer"), 1);
  ck_assert_uint_eq(sim_calls("cuCtxEnablePeerAccess"), 1);
}
END_TEST

START_TEST(peer_access_that_a_framework_has_enabled_is_no_error) {
  sim_peer(1, 0, 1);
  const CUcontext there = use(1);
  CUcontext popped;
  OK(cuCtxPushCurrent(there));
  OK(cuCtxEnablePeerAccess(context, 0));
  OK(cuCtxPopCurrent(&popped));
  expect_peer_copy(NULL);
  ck_assert_uint_eq(sim_calls("cuCtxEnablePeerAccess"), 2);
}
END_TEST

START_TEST(memory_in_a_foreign_context_is_copied_out_of_it) {
  CUcontext foreign = NULL;
  OK(cuCtxCreate(&foreign, NULL, 0, 0));
  OK(cuCtxPopCurrent(&foreign));
  const CUdeviceptr address = new_memory(foreign, BYTES);
  ck_assert_int_eq(sim_write(address, host, BYTES), 1);
  ab_memory from = device_memory(0, address, BYTES), to = memory_at(kDLCPU, 0, back, BYTES),
            ours = device_memory(0, new_memory(context, BYTES), BYTES);
  from.native_context = foreign;
  expect(cuda->copy(on(NULL), &to, &from), AB_OK);
  ck_assert_mem_eq(back, host, BYTES);
  expect(cuda->copy(on(NULL), &ours, &from), AB_OK);
  unsigned char seen[BYTES];
  ck_assert_int_eq(sim_read((CUdeviceptr)(uintptr_t)ours.handle, seen, BYTES), 1);
  ck_assert_mem_eq(seen, host, BYTES);
  OK(cuCtxDestroy(foreign));
}
END_TEST

START_TEST(copies_that_make_no_sense_are_refused) {
  const CUstream far = new_stream(use(1), CU_STREAM_NON_BLOCKING);
  const ab_stream stream = stream_of(far, 1);
  const ab_memory one = memory_at(kDLCPU, 0, host, BYTES), two = memory_at(kDLCPU, 0, back, BYTES / 2);
  const ab_memory there = device_memory(0, new_memory(context, BYTES), BYTES);
  ab_memory object = there;
  object.flags = AB_MEMORY_HANDLE;
  expect(cuda->copy(on(NULL), &one, &two), AB_UNSUPPORTED);
  expect(cuda->copy(on(NULL), &two, &there), AB_INVALID_ARGUMENT);
  expect(cuda->copy(on(NULL), &one, &object), AB_UNSUPPORTED);
  expect(cuda->copy(on(&stream), &one, &there), AB_STREAM);
  const ab_memory opencl = memory_at(kDLOpenCL, 0, host, BYTES);
  expect(cuda->copy(on(NULL), &there, &opencl), AB_UNSUPPORTED);
}
END_TEST

/* ------------------------------------------------------------------ registering */

START_TEST(registered_memory_is_pinned_until_it_is_unwrapped) {
  void *const pages = aligned_alloc(4096, 2 * BYTES);
  const ab_memory pageable = memory_at(kDLCPU, 0, pages, 2 * BYTES);
  ab_memory pinned = memory_at(kDLCUDAHost, 0, NULL, 0), again = pinned;
  int is_pinned = 0;
  expect(cuda->wrap(on(NULL), &pageable, &pinned), AB_OK);
  ck_assert_ptr_eq(pinned.handle, pages);
  ck_assert_uint_eq(pinned.bytes, 2 * BYTES);
  expect(ab__cuda_pinned(pages, 2 * BYTES, &is_pinned, NULL), AB_OK);
  ck_assert_int_eq(is_pinned, 1);
  expect(ab__cuda_check_pointer(pages, BYTES, (DLDevice){kDLCUDAHost, 0}, NULL, fresh_error()), AB_OK);
  expect(cuda->wrap(on(NULL), &pageable, &again), AB_UNSUPPORTED);
  const ab_stream stream = stream_of(side, 0);
  expect(cuda->unwrap(on(&stream), &pinned), AB_OK);
  expect(ab__cuda_pinned(pages, 2 * BYTES, &is_pinned, NULL), AB_OK);
  ck_assert_int_eq(is_pinned, 0);
  ck_assert_uint_eq(sim_pinned(), 0);
  free(pages);
}
END_TEST

/* ------------------------------------------------------------------ what an address is */

static const DLDevice gpu0 = {kDLCUDA, 0}, gpu1 = {kDLCUDA, 1}, managed0 = {kDLCUDAManaged, 0};

static const void *address_of(CUdeviceptr address) { return (const void *)(uintptr_t)address; }

START_TEST(a_tensor_is_where_it_says_it_is) {
  const CUdeviceptr block = new_memory(context, BYTES);
  expect(ab__cuda_check_pointer(address_of(block), BYTES, gpu0, NULL, fresh_error()), AB_OK);
  expect(ab__cuda_check_pointer(address_of(block + 100), BYTES - 100, gpu0, NULL, fresh_error()), AB_OK);
  CUdeviceptr managed = 0;
  CUcontext popped;
  OK(cuCtxPushCurrent(context));
  OK(cuMemAllocManaged(&managed, BYTES, CU_MEM_ATTACH_GLOBAL));
  OK(cuCtxPopCurrent(&popped));
  expect(ab__cuda_check_pointer(address_of(managed), BYTES, managed0, NULL, fresh_error()), AB_OK);
  expect(ab__cuda_check_pointer(address_of(managed), BYTES, gpu0, NULL, fresh_error()), AB_OK);
  expect(ab__cuda_check_pointer(address_of(block), BYTES, managed0, NULL, fresh_error()), AB_INVALID_TENSOR);
}
END_TEST

START_TEST(a_tensor_that_lies_is_found_out) {
  use(1);
  const CUdeviceptr block = new_memory(context, BYTES);
  expect(ab__cuda_check_pointer(address_of(block + 1), BYTES, gpu0, NULL, fresh_error()), AB_INVALID_TENSOR);
  ck_assert_ptr_nonnull(strstr(error.text, "reach out"));
  expect(ab__cuda_check_pointer(address_of(block), UINT64_MAX, gpu0, NULL, fresh_error()), AB_INVALID_TENSOR);
  expect(ab__cuda_check_pointer(address_of(block), BYTES, gpu1, NULL, fresh_error()), AB_INVALID_TENSOR);
  ck_assert_ptr_nonnull(strstr(error.text, "its memory is on cuda:0"));
  expect(ab__cuda_check_pointer(host, BYTES, gpu0, NULL, fresh_error()), AB_INVALID_TENSOR);
  ck_assert_ptr_nonnull(strstr(error.text, "no memory that CUDA knows"));
  expect(ab__cuda_check_pointer(NULL, 1, gpu0, NULL, fresh_error()), AB_INVALID_TENSOR);
  expect(ab__cuda_check_pointer(address_of(block), BYTES, (DLDevice){kDLCUDAHost, 0}, NULL, fresh_error()),
         AB_INVALID_TENSOR);
  expect(ab__cuda_check_pointer(address_of(block), BYTES, (DLDevice){kDLCPU, 0}, NULL, fresh_error()), AB_UNSUPPORTED);
}
END_TEST

START_TEST(memory_of_a_foreign_context_is_not_shared) {
  CUcontext foreign = NULL;
  OK(cuCtxCreate(&foreign, NULL, 0, 0));
  OK(cuCtxPopCurrent(&foreign));
  const CUdeviceptr block = new_memory(foreign, BYTES);
  expect(ab__cuda_check_pointer(address_of(block), BYTES, gpu0, NULL, fresh_error()), AB_UNSUPPORTED);
  ck_assert_ptr_nonnull(strstr(error.text, "context of its own"));
  OK(cuCtxDestroy(foreign));
}
END_TEST

START_TEST(pool_memory_is_checked_as_well) {
  const ab_stream stream = stream_of(side, 0);
  ab_memory pooled = device_memory(0, 0, BYTES);
  expect(cuda->allocate(on(&stream), &pooled), AB_OK);
  expect(cuda->stream_finish(on(&stream)), AB_OK);
  expect(ab__cuda_check_pointer(pooled.handle, BYTES, gpu0, NULL, fresh_error()), AB_OK);
  expect(cuda->deallocate(on(&stream), &pooled), AB_OK);
}
END_TEST

START_TEST(memory_info_is_the_drivers_own) {
  uint64_t left = 0, total = 0;
  new_memory(context, 1 << 20);
  expect(ab__cuda_memory_info(gpu0, &left, &total, fresh_error()), AB_OK);
  ck_assert_uint_eq(total, DEVICE_BYTES);
  ck_assert_uint_eq(left, total - sim_used(0));
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("cuda_memory");
  TCase *const tests = unit_case(suite, "cuda_memory", setup_memory, teardown);
  tcase_add_test(tests, memory_comes_and_goes);
  tcase_add_test(tests, memory_of_the_pool_may_go_without_a_stream);
  tcase_add_test(tests, memory_goes_after_the_work_on_its_stream);
  tcase_add_test(tests, nothing_is_allocated_for_nothing);
  tcase_add_test(tests, a_full_device_is_out_of_memory);
  tcase_add_test(tests, pinned_memory_has_a_limit);
  tcase_add_test(tests, allocating_wakes_a_sleeping_device);
  tcase_add_test(tests, what_is_not_ours_is_not_allocated);
  tcase_add_test(tests, bytes_go_there_and_back);
  tcase_add_test(tests, a_copy_is_ordered_on_its_stream);
  tcase_add_test(tests, devices_that_cannot_talk_are_copied_between_all_the_same);
  tcase_add_test(tests, peer_access_is_asked_for_once);
  tcase_add_test(tests, peer_access_that_a_framework_has_enabled_is_no_error);
  tcase_add_test(tests, memory_in_a_foreign_context_is_copied_out_of_it);
  tcase_add_test(tests, copies_that_make_no_sense_are_refused);
  tcase_add_test(tests, registered_memory_is_pinned_until_it_is_unwrapped);
  tcase_add_test(tests, a_tensor_is_where_it_says_it_is);
  tcase_add_test(tests, a_tensor_that_lies_is_found_out);
  tcase_add_test(tests, memory_of_a_foreign_context_is_not_shared);
  tcase_add_test(tests, pool_memory_is_checked_as_well);
  tcase_add_test(tests, memory_info_is_the_drivers_own);
  return suite;
}
