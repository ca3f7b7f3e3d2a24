/* SPDX-License-Identifier: MIT
 * The simulated driver's memory: who may touch it and when, what is given back, what a pointer is. */
#include "simulated.h"

/* ------------------------------------------------------------------ freed too early, used too early */

static CUdeviceptr async_memory(CUstream stream) {
  CUdeviceptr memory = 0;
  OK(cuMemAllocAsync(&memory, BYTES, stream));
  return memory;
}

/* A consumer's kernel on one stream, and the release on another that does not wait for it. */
static void release_early(sim_policy_kind policy) {
  static byte_kernel write;
  const CUstream owner = side_stream(), consumer = side_stream();
  const CUdeviceptr memory = async_memory(owner);
  OK(cuStreamSynchronize(owner));
  sim_policy(policy);
  write = (byte_kernel){memory, 0, 7};
  OK(launch_byte(&write, consumer));
  OK(cuMemFreeAsync(memory, owner));
  OK(cuCtxSynchronize());
}

START_TEST(use_after_free_is_found_when_it_executes) {
  release_early(SIM_CONSUMERS_FIRST);
  assert_fault("use after free: a kernel on stream ");
  ck_assert_int_eq(sim_faults(), 1);
}
END_TEST

START_TEST(a_free_goes_before_what_was_enqueued_later) {
  char list[8] = "";
  letter_kernel a = {list, 'a'};
  const CUstream owner = side_stream(), consumer = side_stream();
  const CUdeviceptr memory = async_memory(owner);
  byte_kernel write = {memory, 0, 7};
  OK(cuStreamSynchronize(owner));
  OK(launch_byte(&write, consumer));
  OK(cuMemFreeAsync(memory, owner));
  launch_letter(&a, consumer);
  OK(cuCtxSynchronize());
  assert_fault("use after free: ");
}
END_TEST

START_TEST(some_seed_finds_an_early_release) {
  int found = 0;
  sim_policy(SIM_MIXED);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    sim_reseed(seed);
    release_early(SIM_MIXED);
    found += sim_fault() != NULL;
  }
  ck_assert_int_gt(found, 5);
}
END_TEST

START_TEST(a_release_that_waits_is_right) {
  const CUstream owner = side_stream(), consumer = side_stream();
  const CUdeviceptr memory = async_memory(owner);
  const CUevent ready = new_event(), read = new_event();
  byte_kernel write = {memory, 0, 7};
  OK(cuEventRecord(ready, owner));
  OK(cuStreamWaitEvent(consumer, ready, 0));
  OK(launch_byte(&write, consumer));
  OK(cuEventRecord(read, consumer));
  OK(cuStreamWaitEvent(owner, read, 0));
  OK(cuMemFreeAsync(memory, owner));
  OK(cuCtxSynchronize());
  assert_no_fault();
}
END_TEST

START_TEST(use_before_the_allocation_executes_is_found) {
  const CUstream owner = side_stream();
  const CUdeviceptr memory = async_memory(owner);
  byte_kernel write = {memory, 0, 7};
  OK(launch_byte(&write, side_stream()));
  OK(cuCtxSynchronize());
  assert_fault("use before allocation: ");
}
END_TEST

START_TEST(memory_freed_before_a_launch_is_unknown) {
  const CUdeviceptr memory = new_memory(BYTES);
  byte_kernel write = {memory, 0, 7};
  OK(cuMemFree(memory));
  FAILS(launch_byte(&write, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_fault("unknown memory: ");
  sim_fault_clear();
  FAILS(cuMemsetD8(memory, 0, 1), CUDA_ERROR_INVALID_VALUE);
  assert_fault("unknown memory: cuMemsetD8");
}
END_TEST

START_TEST(free_while_pending_is_found_and_waits) {
  const CUdeviceptr memory = new_memory(BYTES), seen = new_memory(BYTES);
  byte_kernel write = {memory, 0, 7}, read = {seen, memory, 0};
  const CUstream stream = side_stream();
  OK(launch_byte(&write, stream));
  OK(launch_byte(&read, stream));
  OK(cuMemFree(memory));
  assert_fault("free while pending: cuMemFree of block");
  ck_assert_int_eq(byte_at(seen), 7);
}
END_TEST

START_TEST(free_may_wait_in_silence_if_told) {
  const CUdeviceptr memory = new_memory(BYTES);
  byte_kernel write = {memory, 0, 7};
  sim_free_may_wait(1);
  OK(launch_byte(&write, side_stream()));
  OK(cuMemFree(memory));
  ck_assert(sim_check());
}
END_TEST

START_TEST(double_frees_are_found) {
  const CUdeviceptr memory = new_memory(BYTES), other = new_memory(BYTES);
  OK(cuMemFree(memory));
  FAILS(cuMemFree(memory), CUDA_ERROR_INVALID_VALUE);
  assert_fault("double free: cuMemFree");
  sim_fault_clear();
  OK(cuMemFreeAsync(other, NULL));
  FAILS(cuMemFreeAsync(other, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_fault("double free: cuMemFreeAsync");
  sim_fault_clear();
  FAILS(cuMemFree(12345), CUDA_ERROR_INVALID_VALUE);
  assert_fault("free of unknown memory: ");
  sim_fault_clear();
  const CUdeviceptr inside = new_memory(BYTES);
  FAILS(cuMemFree(inside + 1), CUDA_ERROR_INVALID_VALUE);
  assert_fault("free of unknown memory: ");
}
END_TEST

START_TEST(freed_memory_is_poisoned_and_goes_to_another_stream) {
  const CUstream own = side_stream(), other = side_stream();
  const CUdeviceptr first = async_memory(own), second = async_memory(own), third = async_memory(other);
  byte_kernel write = {first, 0, 7};
  OK(launch_byte(&write, own));
  OK(cuMemFreeAsync(first, own));
  OK(cuCtxSynchronize());
  OK(cuMemFreeAsync(third, other));
  OK(cuCtxSynchronize());
  ck_assert(async_memory(other) == first);
  OK(cuStreamSynchronize(other));
  ck_assert_int_eq(byte_at(first), SIM_POISON);
  ck_assert(async_memory(own) == third);
  OK(cuMemFreeAsync(second, own));
  OK(cuCtxSynchronize());
  ck_assert(async_memory(own) == second);
  assert_no_fault();
}
END_TEST

/* ------------------------------------------------------------------ who may touch it */

START_TEST(the_host_dies_of_touching_device_memory) {
  const CUdeviceptr memory = new_memory(BYTES);
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGSEGV, SIG_DFL);
    *(volatile char *)(uintptr_t)memory = 1;
    _exit(0);
  }
  int status = 0;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}
END_TEST

START_TEST(another_context_of_the_device_is_wrong) {
  const CUdeviceptr memory = new_memory(BYTES);
  byte_kernel write = {memory, 0, 7};
  CUcontext own = NULL;
  OK(cuCtxCreate(&own, NULL, 0, 0));
  OK(launch_byte(&write, side_stream()));
  OK(cuCtxSynchronize());
  assert_fault("wrong context: a kernel");
}
END_TEST

START_TEST(another_device_is_wrong_without_peer_access) {
  const CUdeviceptr memory = new_memory(BYTES);
  byte_kernel write = {memory, 0, 7};
  CUcontext first = NULL;
  OK(cuCtxGetCurrent(&first));
  use_device(1);
  OK(launch_byte(&write, NULL));
  OK(cuCtxSynchronize());
  assert_fault("wrong device: a kernel");
  sim_fault_clear();
  FAILS(cuCtxEnablePeerAccess(first, 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
  sim_peer(1, 0, 1);
  OK(cuCtxEnablePeerAccess(first, 0));
  FAILS(cuCtxEnablePeerAccess(first, 0), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
  OK(launch_byte(&write, NULL));
  OK(cuCtxSynchronize());
  ck_assert_int_eq(byte_at(memory), 7);
  assert_no_fault();
  OK(cuCtxDisablePeerAccess(first));
  FAILS(cuCtxDisablePeerAccess(first), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
}
END_TEST

START_TEST(peer_copies_need_no_peer_access_and_the_right_contexts) {
  CUcontext first = NULL;
  OK(cuCtxGetCurrent(&first));
  const CUdeviceptr from = new_memory(BYTES);
  OK(cuMemsetD8(from, 7, BYTES));
  OK(cuCtxSynchronize());
  const CUcontext second = use_device(1);
  const CUdeviceptr to = new_memory(BYTES);
  OK(cuMemcpyPeer(to, second, from, first, BYTES));
  ck_assert_int_eq(byte_at(to), 7);
  assert_no_fault();
  FAILS(cuMemcpyPeerAsync(to, first, from, second, BYTES, NULL), CUDA_ERROR_INVALID_VALUE);
  assert_fault("wrong context: cuMemcpyPeerAsync");
}
END_TEST

START_TEST(a_stream_of_another_context_is_wrong) {
  const CUstream stream = side_stream();
  use_device(1);
  const CUdeviceptr memory = new_memory(BYTES);
  FAILS(cuMemsetD8Async(memory, 0, BYTES, stream), CUDA_ERROR_INVALID_HANDLE);
  assert_fault("wrong context: cuMemsetD8Async");
  OK(cuStreamQuery(stream));
}
END_TEST

/* ------------------------------------------------------------------ copies */

START_TEST(copies_run_in_the_order_of_their_stream) {
  char from[BYTES], to[BYTES] = "";
  memset(from, 7, sizeof from);
  const CUstream stream = side_stream();
  const CUdeviceptr a = new_memory(BYTES), b = new_memory(BYTES);
  OK(cuMemcpyHtoDAsync(a, from, BYTES, stream));
  OK(cuMemcpyDtoDAsync(b, a, BYTES, stream));
  ck_assert_int_eq(sim_waits(), 0);
  ck_assert_int_eq(byte_at(b), SIM_POISON);
  OK(cuMemcpyDtoHAsync(to, b, BYTES, stream));
  ck_assert_int_eq(sim_waits(), 1);
  ck_assert_mem_eq(to, from, BYTES);
  assert_no_fault();
}
END_TEST

START_TEST(pageable_memory_is_read_at_once_and_pinned_memory_when_the_copy_executes) {
  char pageable = 1, *pinned = NULL;
  const CUdeviceptr a = new_memory(BYTES), b = new_memory(BYTES);
  OK(cuMemHostAlloc((void **)&pinned, BYTES, 0));
  *pinned = 1;
  OK(cuMemcpyHtoDAsync(a, &pageable, 1, side_stream()));
  OK(cuMemcpyHtoDAsync(b, pinned, 1, side_stream()));
  pageable = *pinned = 2; /* what a pinned chunk suffers that is reused too early */
  OK(cuCtxSynchronize());
  ck_assert_int_eq(byte_at(a), 1);
  ck_assert_int_eq(byte_at(b), 2);
  OK(cuMemFreeHost(pinned));
}
END_TEST

START_TEST(copies_to_pinned_memory_do_not_wait) {
  char *pinned = NULL;
  const CUdeviceptr memory = new_memory(BYTES);
  const CUstream stream = side_stream();
  OK(cuMemHostAlloc((void **)&pinned, BYTES, 0));
  *pinned = 1;
  OK(cuMemsetD8Async(memory, 7, BYTES, stream));
  OK(cuMemcpyDtoHAsync(pinned, memory, BYTES, stream));
  ck_assert_int_eq(*pinned, 1);
  ck_assert_int_eq(sim_waits(), 0);
  OK(cuStreamSynchronize(stream));
  ck_assert_int_eq(*pinned, 7);
  OK(cuMemcpyDtoHAsync(pinned, memory, BYTES, stream));
  OK(cuMemFreeHost(pinned));
  assert_fault("free while pending: cuMemFreeHost");
}
END_TEST

START_TEST(copies_past_the_end_are_refused) {
  char host[2 * BYTES] = "";
  const CUdeviceptr memory = new_memory(BYTES);
  FAILS(cuMemcpyHtoD(memory, host, BYTES + 1), CUDA_ERROR_INVALID_VALUE);
  FAILS(cuMemcpyDtoD(memory + 1, memory, BYTES), CUDA_ERROR_INVALID_VALUE);
  assert_fault("unknown memory: cuMemcpyHtoD");
}
END_TEST

START_TEST(controls_read_and_write_without_an_operation) {
  char value = 7, seen = 0;
  const CUdeviceptr memory = new_memory(BYTES);
  ck_assert(sim_write(memory + BYTES - 1, &value, 1));
  ck_assert(sim_read(memory + BYTES - 1, &seen, 1));
  ck_assert_int_eq(seen, 7);
  ck_assert(!sim_read(memory + BYTES - 1, &seen, 2));
  ck_assert(!sim_write(memory + BYTES, &value, 1));
  ck_assert(sim_check());
}
END_TEST

START_TEST(fills_write_whole_values) {
  uint32_t seen[4] = {0};
  const CUdeviceptr memory = new_memory(sizeof seen);
  OK(cuMemsetD32(memory, 0x01020304, 4));
  OK(cuMemsetD16(memory, 0x0506, 2));
  OK(cuMemcpyDtoH(seen, memory, sizeof seen));
  ck_assert_uint_eq(seen[0], 0x05060506);
  ck_assert_uint_eq(seen[3], 0x01020304);
  FAILS(cuMemsetD32(memory + 1, 0, 1), CUDA_ERROR_INVALID_VALUE);
}
END_TEST

/* ------------------------------------------------------------------ how much there is */

START_TEST(capacity_is_a_limit) {
  size_t available = 0, total = 0;
  CUdeviceptr memory = 0, more = 0;
  OK(cuMemAlloc(&memory, MEMORY / 2));
  OK(cuMemGetInfo(&available, &total));
  ck_assert_uint_eq(available, MEMORY / 2);
  ck_assert_uint_eq(total, MEMORY);
  FAILS(cuMemAlloc(&more, MEMORY / 2 + 1), CUDA_ERROR_OUT_OF_MEMORY);
  FAILS(cuMemAllocAsync(&more, MEMORY, NULL), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemFreeAsync(memory, NULL));
  FAILS(cuMemAlloc(&more, MEMORY), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuCtxSynchronize());
  ck_assert_uint_eq(sim_used(0), 0);
  OK(cuMemAlloc(&more, MEMORY));
  sim_capacity(0, MEMORY / 4);
  OK(cuMemGetInfo(&available, &total));
  ck_assert_uint_eq(available, 0);
  assert_no_fault();
}
END_TEST

START_TEST(pinned_memory_has_a_limit_of_its_own) {
  void *pinned = NULL, *more = NULL;
  char registered[BYTES];
  sim_pinned_limit(2 * BYTES);
  FAILS(cuMemHostAlloc(&more, 3 * BYTES, 0), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemHostAlloc(&pinned, BYTES + 1, 0));
  FAILS(cuMemHostAlloc(&more, BYTES, 0), CUDA_ERROR_OUT_OF_MEMORY);
  FAILS(cuMemHostRegister(registered, BYTES, 0), CUDA_ERROR_OUT_OF_MEMORY);
  OK(cuMemFreeHost(pinned));
  OK(cuMemHostRegister(registered, BYTES, 0));
  FAILS(cuMemHostRegister(registered + 1, 1, 0), CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
  ck_assert_uint_eq(sim_pinned(), BYTES);
  OK(cuMemHostUnregister(registered));
  FAILS(cuMemHostUnregister(registered), CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}
END_TEST

START_TEST(leaks_are_listed) {
  char text[512];
  CUdeviceptr memory = 0;
  void *pinned = NULL;
  OK(cuMemAlloc(&memory, BYTES));
  OK(cuMemHostAlloc(&pinned, BYTES, 0));
  const CUstream stream = side_stream();
  const CUevent event = new_event();
  ck_assert_int_eq(sim_leaks(text, sizeof text), 6);
  for (const char *const *at = (const char *[]){"1000 bytes of device memory", "1000 bytes of pinned memory", "stream ",
                                                "1 events", "retained 1 times", "1 contexts pushed", NULL};
       *at != NULL; ++at)
    ck_assert_msg(strstr(text, *at) != NULL, "%s is not in %s", *at, text);
  OK(cuMemFree(memory));
  OK(cuMemFreeHost(pinned));
  OK(cuStreamDestroy(stream));
  OK(cuEventDestroy(event));
  OK(cuCtxPopCurrent(NULL));
  OK(cuDevicePrimaryCtxRelease(0));
  ck_assert_int_eq(sim_leaks(text, sizeof text), 0);
  ck_assert_str_eq(text, "");
}
END_TEST

/* ------------------------------------------------------------------ what a pointer is */

typedef struct pointer_facts {
  CUcontext context;
  unsigned type, managed;
  int device;
  CUdeviceptr start;
  size_t bytes;
} pointer_facts;

static pointer_facts facts_of(CUdeviceptr address) {
  pointer_facts facts;
  memset(&facts, 0xFF, sizeof facts);
  CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_CONTEXT,          CU_POINTER_ATTRIBUTE_MEMORY_TYPE,
                                 CU_POINTER_ATTRIBUTE_IS_MANAGED,       CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL,
                                 CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, CU_POINTER_ATTRIBUTE_RANGE_SIZE};
  void *answers[] = {&facts.context, &facts.type, &facts.managed, &facts.device, &facts.start, &facts.bytes};
  OK(cuPointerGetAttributes(6, asked, answers, address));
  return facts;
}

START_TEST(pointers_tell_what_they_are) {
  CUdeviceptr managed = 0;
  char *pinned = NULL, registered[BYTES];
  const CUcontext context = use_device(1);
  const CUdeviceptr memory = new_memory(BYTES);
  OK(cuMemAllocManaged(&managed, BYTES, CU_MEM_ATTACH_GLOBAL));
  OK(cuMemHostAlloc((void **)&pinned, BYTES, 0));
  OK(cuMemHostRegister(registered, BYTES, 0));
  pointer_facts facts = facts_of(memory + 10);
  ck_assert_ptr_eq(facts.context, context);
  ck_assert_uint_eq(facts.type, CU_MEMORYTYPE_DEVICE);
  ck_assert_uint_eq(facts.managed, 0);
  ck_assert_int_eq(facts.device, 1);
  ck_assert_uint_eq(facts.start, memory);
  ck_assert_uint_eq(facts.bytes, BYTES);
  ck_assert_uint_eq(facts_of(managed).managed, 1);
  ck_assert_uint_eq(facts_of((uintptr_t)pinned).type, CU_MEMORYTYPE_HOST);
  ck_assert_uint_eq(facts_of((uintptr_t)(registered + 5)).start, (uintptr_t)registered);
  *(char *)(uintptr_t)managed = 1; /* the host may */
  OK(cuMemHostUnregister(registered));
}
END_TEST

START_TEST(unknown_pointers_are_nothing) {
  int on_the_stack = 0;
  unsigned type = 0;
  const pointer_facts facts = facts_of((uintptr_t)&on_the_stack);
  ck_assert_ptr_null(facts.context);
  ck_assert_uint_eq(facts.type, 0);
  ck_assert_int_eq(facts.device, CU_DEVICE_INVALID);
  ck_assert_uint_eq(facts.bytes, 0);
  FAILS(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, (uintptr_t)&on_the_stack),
        CUDA_ERROR_INVALID_VALUE);
  OK(cuPointerGetAttribute(&type, CU_POINTER_ATTRIBUTE_MEMORY_TYPE, new_memory(BYTES)));
  assert_no_fault();
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("simulated driver: memory");
  TCase *const early = unit_case(suite, "too early", two_devices, NULL);
  tcase_add_test(early, use_after_free_is_found_when_it_executes);
  tcase_add_test(early, a_free_goes_before_what_was_enqueued_later);
  tcase_add_test(early, some_seed_finds_an_early_release);
  tcase_add_test(early, a_release_that_waits_is_right);
  tcase_add_test(early, use_before_the_allocation_executes_is_found);
  tcase_add_test(early, memory_freed_before_a_launch_is_unknown);
  tcase_add_test(early, free_while_pending_is_found_and_waits);
  tcase_add_test(early, free_may_wait_in_silence_if_told);
  tcase_add_test(early, double_frees_are_found);
  tcase_add_test(early, freed_memory_is_poisoned_and_goes_to_another_stream);
  TCase *const touching = unit_case(suite, "touching", two_devices, NULL);
  tcase_add_test(touching, the_host_dies_of_touching_device_memory);
  tcase_add_test(touching, another_context_of_the_device_is_wrong);
  tcase_add_test(touching, another_device_is_wrong_without_peer_access);
  tcase_add_test(touching, peer_copies_need_no_peer_access_and_the_right_contexts);
  tcase_add_test(touching, a_stream_of_another_context_is_wrong);
  TCase *const copies = unit_case(suite, "copies", two_devices, NULL);
  tcase_add_test(copies, copies_run_in_the_order_of_their_stream);
  tcase_add_test(copies, pageable_memory_is_read_at_once_and_pinned_memory_when_the_copy_executes);
  tcase_add_test(copies, copies_to_pinned_memory_do_not_wait);
  tcase_add_test(copies, copies_past_the_end_are_refused);
  tcase_add_test(copies, controls_read_and_write_without_an_operation);
  tcase_add_test(copies, fills_write_whole_values);
  TCase *const amounts = unit_case(suite, "amounts and pointers", two_devices, NULL);
  tcase_add_test(amounts, capacity_is_a_limit);
  tcase_add_test(amounts, pinned_memory_has_a_limit_of_its_own);
  tcase_add_test(amounts, leaks_are_listed);
  tcase_add_test(amounts, pointers_tell_what_they_are);
  tcase_add_test(amounts, unknown_pointers_are_nothing);
  return suite;
}
