/* SPDX-License-Identifier: MIT
 * Transfers between host memory and simulated devices: every value both ways, what is waited for and what is not, and
 * what becomes of it when something is refused, fails or is cancelled. Results are simulated results. */
#include <sys/syscall.h>
#include <sys/wait.h>

#include "device/device.h"
#include "host_array.h"
#include "memory.h"
#include "mutant.h"
#include "pinned_pool.h"
#include "simulated_world.h"
#include "tensor.h"
#include "transfer.h"

enum { WORD = sizeof(uint32_t), CHUNK_WORDS = AB__CHUNK_BYTES / WORD, MEMORY = 192 << 20 };

static ab__host host;

static void open_all(void) {
  open_world();
  for (int device = 0; device < DEVICES; device++) sim_capacity(device, MEMORY);
  ab__host_begin(&host, bridge);
}

static void close_all(void) {
  ck_assert_int_eq(ab_release_pools(bridge, NULL, NULL), AB_OK);
  settle_all();
  ck_assert_msg(what_is_wrong() == NULL, "%s", what_is_wrong());
  ck_assert_uint_eq(sim_pinned(), 0);
  ck_assert_int_eq(sim_context_depth(), 0);
  for (int i = 0; i < FRAMEWORKS; i++) ck_assert_int_eq(frameworks[i]->alive(), 0);
  ab__host_end(&host);
}

/* ------------------------------------------------------------------ arrays on the host */

static uint32_t value_at(uint32_t seed, size_t index) { return (uint32_t)(index + 1) * UINT32_C(2654435761) ^ seed; }

/* A host array over `memory`, one axis of every `step`-th word; nobody frees it. */
static ab_array host_array(uint32_t *memory, size_t words, int64_t step) {
  DLManagedTensorVersioned *tensor = NULL;
  ab__host_array *array = NULL;
  ck_assert_int_eq(ab__tensor_new(NULL, 1, 0, NULL, NULL, &tensor), AB_OK);
  tensor->dl_tensor.data = memory;
  tensor->dl_tensor.device = (DLDevice){kDLCPU, 0};
  tensor->dl_tensor.dtype = (DLDataType){kDLUInt, 32, 1};
  tensor->dl_tensor.shape[0] = (int64_t)words;
  tensor->dl_tensor.strides[0] = step;
  ck_assert_int_eq(ab__host_array_new(tensor, AB_MUTABLE, &array), AB_OK);
  return (ab_array){&host.backend, array};
}

static uint32_t *pattern(uint32_t seed, size_t words) {
  uint32_t *memory = malloc(words * WORD + WORD);
  ck_assert_ptr_nonnull(memory);
  for (size_t i = 0; i < words; i++) memory[i] = value_at(seed, i);
  return memory;
}

/* 0 if each word is what pattern() wrote; else the place of the first that is not, from 1 on. */
static size_t first_difference(const uint32_t *memory, uint32_t seed, size_t words) {
  for (size_t i = 0; i < words; i++)
    if (memory[i] != value_at(seed, i)) return i + 1;
  return 0;
}

static size_t difference_on_device(int framework, const ab_array *array, uint32_t seed, size_t words) {
  uint32_t *memory = malloc(words * WORD + 1);
  sim_run_all();
  if (words > 0) ck_assert(sim_read(frameworks[framework]->address(array->object), memory, words * WORD));
  const size_t at = first_difference(memory, seed, words);
  free(memory);
  return at;
}

static ab_status try_to(const ab_backend *target, const ab_array *from, const ab_convert_options *options,
                        ab_array *made, ab_error *error) {
  ab_error_init(error);
  *made = (ab_array){NULL, NULL};
  return ab_convert(bridge, from, target, options, made, error);
}

static ab_array must_to(const ab_backend *target, const ab_array *from, const ab_convert_options *options) {
  ab_error error;
  ab_array made;
  const ab_status status = try_to(target, from, options, &made, &error);
  ck_assert_msg(status == AB_OK, "%s: %s", ab_status_name(status), error.text);
  return made;
}

static ab_array to_device(int framework, uint32_t *memory, size_t words, const ab_convert_options *options) {
  ab_array source = host_array(memory, words, 1);
  const ab_array made = must_to(backends[framework], &source, options);
  ab_array_release(&source);
  return made;
}

/* To a device and back, checked on both sides. */
static void there_and_back(int framework, uint32_t seed, size_t words, const ab_convert_options *options) {
  uint32_t *memory = pattern(seed, words);
  ab_array there = to_device(framework, memory, words, options);
  memset(memory, 0, words * WORD); /* it is not read any more */
  ck_assert_uint_eq(difference_on_device(framework, &there, seed, words), 0);
  ab_array back = must_to(&host.backend, &there, options);
  const ab__host_array *array = back.object;
  ck_assert_int_eq(array->view.ndim, 1);
  ck_assert_uint_eq((size_t)array->view.shape[0], words);
  ck_assert_uint_eq(first_difference(array->view.data, seed, words), 0);
  ab_array_release(&there);
  ab_array_release(&back);
  free(memory);
}

START_TEST(every_value_arrives_both_ways) {
  open_all();
  static const size_t sizes[] = {1,
                                 AB__STAGE_FROM / WORD - 1,
                                 AB__STAGE_FROM / WORD,
                                 CHUNK_WORDS - 1,
                                 CHUNK_WORDS,
                                 CHUNK_WORDS + 1,
                                 2 * CHUNK_WORDS,
                                 9 * CHUNK_WORDS + 5,
                                 40 * CHUNK_WORDS - 3};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    for (int framework = 0; framework < ORDERED; framework++) {
      frameworks[framework]->use(0, (int)i % SIM_STREAMS);
      there_and_back(framework, (uint32_t)i, sizes[i], NULL);
    }
  }
  close_all();
}
END_TEST

START_TEST(a_few_chunks_and_threads_are_enough) {
  open_all();
  for (uint32_t threads = 1; threads <= 5; threads += 2) {
    for (uint64_t chunks = 1; chunks <= 3; chunks++) {
      const ab_convert_options options = {
          .struct_size = sizeof options, .threads = threads, .pinned_limit = chunks * AB__CHUNK_BYTES};
      frameworks[KEYED]->use(1, 2);
      there_and_back(KEYED, threads, 7 * CHUNK_WORDS + 1, &options);
      ck_assert_uint_le(sim_pinned(), chunks * AB__CHUNK_BYTES);
    }
  }
  close_all();
}
END_TEST

/* ------------------------------------------------------------------ any form */

static ab__transfer transfer_at(const ab_stream *stream, uint64_t bytes) {
  ab__transfer made = {.ops = ab__device_ops(kDLCUDA), .stream = stream};
  made.device = (ab_memory){.struct_size = sizeof made.device, .device = {kDLCUDA, 0}, .bytes = bytes};
  ab_report report = {.struct_size = sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = ab__device_call(made.ops, NULL, &report, &error);
  ck_assert_int_eq(made.ops->allocate(&call, &made.device), AB_OK);
  return made;
}

static void transfer_end(ab__transfer *transfer) {
  ab_report report = {.struct_size = sizeof report};
  ab_error error;
  ab_error_init(&error);
  const ab_call call = ab__device_call(transfer->ops, NULL, &report, &error);
  ck_assert_int_eq(transfer->ops->deallocate(&call, &transfer->device), AB_OK);
}

static ab_stream stream_here(int framework) {
  return (ab_stream){.struct_size = sizeof(ab_stream),
                     .kind = AB_STREAM_HANDLE,
                     .handle = frameworks[framework]->current(),
                     .device = {kDLCUDA, 0}};
}

/* Elements of 3 axes in memory of other strides, to the device, where they are compact. */
static void send_strided(const int64_t *shape, const int64_t *strides, const char *first, const ab_stream *stream) {
  const size_t words = (size_t)(shape[0] * shape[1] * shape[2]);
  uint32_t *arrived = malloc(words * WORD);
  ab__transfer transfer = transfer_at(stream, words * WORD);
  const ab__strided from = {.data = first, .ndim = 3, .shape = shape, .strides = strides, .itemsize = WORD};
  ab_error error;
  ab_error_init(&error);
  ck_assert_int_eq(ab__transfer_to_device(&transfer, &from, &error), AB_OK);
  sim_run_all();
  ck_assert(sim_read((CUdeviceptr)(uintptr_t)transfer.device.handle, arrived, words * WORD));
  const uint32_t *next = arrived;
  for (int64_t i = 0; i < shape[0]; i++)
    for (int64_t j = 0; j < shape[1]; j++)
      for (int64_t k = 0; k < shape[2]; k++, next++) {
        uint32_t wanted;
        memcpy(&wanted, first + i * strides[0] + j * strides[1] + k * strides[2], WORD);
        if (*next != wanted) ck_abort_msg("element %d, %d, %d", (int)i, (int)j, (int)k);
      }
  transfer_end(&transfer);
  free(arrived);
}

START_TEST(elements_of_any_strides_are_sent) {
  open_all();
  frameworks[KEYED]->use(0, 1);
  const ab_stream stream = stream_here(KEYED);
  static const int64_t shapes[][3] = {{1, 1, 1},     {2, 3, 5},       {3, 1, 700000}, {700001, 3, 1},
                                      {5, 400, 400}, {1, 2, 1100000}, {90, 90, 90}};
  for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
    const int64_t *s = shapes[i];
    uint32_t *memory = pattern(1, (size_t)(s[0] * s[1] * s[2]) * 2);
    const int64_t compact[] = {s[1] * s[2] * WORD, s[2] * WORD, WORD};
    const int64_t turned[] = {WORD, s[0] * WORD, s[0] * s[1] * WORD};
    const int64_t every_second[] = {2 * compact[0], 2 * compact[1], 2 * compact[2]};
    const int64_t backwards[] = {-compact[0], compact[1], -compact[2]};
    send_strided(s, compact, (char *)memory, &stream);
    send_strided(s, compact, (char *)memory + 2, &stream); /* aligned to nothing */
    send_strided(s, turned, (char *)memory, &stream);
    send_strided(s, every_second, (char *)memory, &stream);
    send_strided(s, backwards, (char *)memory + (s[0] - 1) * compact[0] + (s[2] - 1) * compact[2], &stream);
    free(memory);
  }
  close_all();
}
END_TEST

START_TEST(nothing_is_sent_and_fetched_for_nothing) {
  open_all();
  frameworks[KEYED]->use(0, 1);
  const ab_stream stream = stream_here(KEYED);
  ab__transfer transfer = transfer_at(&stream, 0);
  const uint64_t calls = sim_calls(NULL);
  const int64_t none = 0, step = WORD;
  const ab__strided from = {.ndim = 1, .shape = &none, .strides = &step, .itemsize = WORD};
  ck_assert_int_eq(ab__transfer_to_device(&transfer, &from, NULL), AB_OK);
  ck_assert_int_eq(ab__transfer_to_host(&transfer, NULL, NULL), AB_OK);
  ck_assert_uint_eq(sim_calls(NULL), calls);
  close_all();
}
END_TEST

/* NumPy's memory is 16 bytes past a multiple of 64; a view has strides. Neither is copied on the host first. */
START_TEST(no_form_costs_a_copy_on_the_host) {
  open_all();
  enum { WORDS = 3 * CHUNK_WORDS };
  uint32_t *memory = pattern(3, 2 * WORDS + 8);
  frameworks[KEYED]->use(0, 1);
  for (int64_t step = 1; step <= 2; step++) {
    static ab_record record;
    record.struct_size = sizeof record;
    const ab_convert_options options = {.struct_size = sizeof options, .record = &record};
    ab_array source = host_array(memory + 1, WORDS, step);
    ab_array there = must_to(backends[KEYED], &source, &options);
    const ab_step *last = &record.steps[record.step_count - 1];
    ck_assert_int_eq(last->kind, AB_STEP_FROM_HOST);
    ck_assert_uint_eq(last->bytes, WORDS * WORD);
    ck_assert_uint_eq(record.bytes_copied, WORDS * WORD);
    ck_assert(record.flags & AB_REPORT_COPIED);
    sim_run_all();
    uint32_t ends[2];
    ck_assert(sim_read(frameworks[KEYED]->address(there.object), &ends[0], WORD));
    ck_assert(sim_read(frameworks[KEYED]->address(there.object) + (WORDS - 1) * WORD, &ends[1], WORD));
    ck_assert_uint_eq(ends[0], memory[1]);
    ck_assert_uint_eq(ends[1], memory[1 + step * (WORDS - 1)]);
    static ab_record planned;
    planned.struct_size = sizeof planned;
    ck_assert_int_eq(ab_plan(bridge, &source, backends[KEYED], NULL, &planned, NULL), AB_OK);
    ck_assert_uint_eq(planned.bytes_copied, record.bytes_copied);
    ab_array_release(&source);
    ab_array_release(&there);
  }
  free(memory);
  close_all();
}
END_TEST

/* ------------------------------------------------------------------ order */

static uint32_t *filled(uint32_t value, size_t words) {
  uint32_t *memory = malloc(words * WORD);
  for (size_t i = 0; i < words; i++) memory[i] = value;
  return memory;
}

/* A device that is busy for as long as the test likes: who waits for it is found out. */
START_TEST(the_host_does_not_wait_for_what_goes_to_the_device) {
  open_all();
  enum { WORDS = 5 * CHUNK_WORDS + 7 };
  uint32_t *memory = filled(42, WORDS);
  frameworks[KEYED]->use(0, 1);
  const uint64_t waits = sim_waits();
  ck_assert_int_eq(sim_hold(frameworks[KEYED]->current()), CUDA_SUCCESS);
  ab_array there = to_device(KEYED, memory, WORDS, NULL);
  frameworks[KEYED]->expect(there.object, 42);
  ck_assert_uint_eq(sim_waits(), waits);
  memset(memory, 0, WORDS * WORD);
  ck_assert_int_eq(sim_let_go(frameworks[KEYED]->current()), CUDA_SUCCESS);
  ab_array_release(&there);
  free(memory);
  close_all();
}
END_TEST

/* A kernel of the user's, on a stream that nobody orders for it. */
typedef struct look {
  CUdeviceptr address;
  size_t words;
  uint32_t first, last;
} look;

static void run_look(void *context) {
  look *self = context;
  self->first = ((const uint32_t *)(uintptr_t)self->address)[0];
  self->last = ((const uint32_t *)(uintptr_t)self->address)[self->words - 1];
}

static void look_on(CUstream stream, look *made) {
  CUcontext context;
  ck_assert_int_eq(cuDevicePrimaryCtxRetain(&context, 0), CUDA_SUCCESS);
  ck_assert_int_eq(cuCtxPushCurrent(context), CUDA_SUCCESS);
  ck_assert_int_eq(sim_launch(stream, run_look, made, &made->address, 1), CUDA_SUCCESS);
  ck_assert_int_eq(cuCtxPopCurrent(&context), CUDA_SUCCESS);
}

/* The stream that is asked for waits, whatever the framework's own one is; and so does that one, in whose order the
 * memory goes back. */
static void ask_for_another_stream(int own) {
  enum { WORDS = 2 * CHUNK_WORDS };
  const sim_framework *f = frameworks[KEYED];
  ab_stream asked = {.struct_size = sizeof asked, .kind = AB_STREAM_HANDLE, .device = {kDLCUDA, 0}};
  f->use(0, 2);
  asked.handle = f->current();
  f->use(0, own);
  uint32_t *memory = filled(42, WORDS);
  const ab_convert_options options = {.struct_size = sizeof options, .stream = &asked};
  ab_array there = to_device(KEYED, memory, WORDS, &options);
  look seen = {.address = f->address(there.object), .words = WORDS};
  look_on(asked.handle, &seen);
  sim_run_all();
  ck_assert_uint_eq(seen.first, 42);
  ck_assert_uint_eq(seen.last, 42);
  ab_array_release(&there);
  there = to_device(KEYED, memory, WORDS, &options);
  ab_array_release(&there); /* its block is the next array's */
  ab_array next = {backends[KEYED], f->make(WORDS)};
  f->fill(next.object, 43);
  f->expect(next.object, 43);
  sim_run_all();
  seen = (look){.address = f->address(next.object), .words = WORDS};
  look_on(f->current(), &seen);
  sim_run_all();
  ck_assert_uint_eq(seen.first, 43);
  ck_assert_uint_eq(seen.last, 43);
  ab_array_release(&next);
  free(memory);
}

START_TEST(another_stream_may_be_the_one_that_waits) {
  open_all();
  ask_for_another_stream(1);
  close_all();
}
END_TEST

/* A framework on the per-thread default stream, which none of our threads may use: the simulated one is on the legacy
 * stream, and says what is as good. */
static ab_status say_per_thread(const ab_call *call, DLDevice device, ab_stream *stream) {
  (void)call;
  *stream = (ab_stream){.struct_size = sizeof *stream,
                        .kind = AB_STREAM_PER_THREAD,
                        .device = device,
                        .thread = (uint64_t)syscall(SYS_gettid)};
  return AB_OK;
}

START_TEST(a_stream_of_one_thread_is_ordered_with_one_of_ours) {
  open_all();
  enum { WORDS = 9 * CHUNK_WORDS + 1 };
  ab_backend *backend = (ab_backend *)backends[KEYED];
  backend->slots.current_stream = say_per_thread;
  const ab_convert_options options = {.struct_size = sizeof options, .threads = 3};
  uint32_t *memory = filled(42, WORDS);
  frameworks[KEYED]->use(0, 0);
  for (uint32_t seed = 1; seed <= 3; seed++) {
    ab_array before = {backends[KEYED], frameworks[KEYED]->make(WORDS)};
    frameworks[KEYED]->fill(before.object, 41);
    frameworks[KEYED]->expect(before.object, 41);
    ab_array_release(&before); /* the next array has its block, and it is still in use */
    const uint64_t waits = sim_waits();
    ab_array there = to_device(KEYED, memory, WORDS, &options);
    frameworks[KEYED]->expect(there.object, 42);
    ck_assert_uint_eq(sim_waits(), waits);
    ab_array back = must_to(&host.backend, &there, &options);
    ck_assert_uint_eq(((const uint32_t *)((ab__host_array *)back.object)->view.data)[WORDS - 1], 42);
    ab_array_release(&there);
    ab_array_release(&back);
  }
  free(memory);
  ask_for_another_stream(0);
  close_all();
}
END_TEST

START_TEST(what_the_framework_still_does_is_waited_for) {
  open_all();
  enum { WORDS = 3 * CHUNK_WORDS };
  for (int framework = 0; framework < FRAMEWORKS; framework++) {
    frameworks[framework]->use(0, 1);
    ab_array there = {backends[framework], frameworks[framework]->make(WORDS)};
    frameworks[framework]->fill(there.object, 77);
    ab_array back = must_to(&host.backend, &there, NULL);
    const uint32_t *values = ((ab__host_array *)back.object)->view.data;
    for (size_t i = 0; i < WORDS; i++) ck_assert(values[i] == 77);
    ab_array_release(&there);
    ab_array_release(&back);
    settle_all();
  }
  close_all();
}
END_TEST

/* ------------------------------------------------------------------ pinned memory */

START_TEST(pinned_memory_is_sent_as_it_is) {
  open_all();
  enum { WORDS = 6 * CHUNK_WORDS };
  uint32_t *pageable = NULL;
  void *allocated = NULL;
  ck_assert_int_eq(posix_memalign((void **)&pageable, 4096, WORDS * WORD), 0);
  frameworks[KEYED]->use(0, 1);
  there_and_back(KEYED, 1, CHUNK_WORDS, NULL); /* the driver is known from here on */
  CUcontext context;
  ck_assert_int_eq(cuDevicePrimaryCtxRetain(&context, 0), CUDA_SUCCESS);
  ck_assert_int_eq(cuCtxPushCurrent(context), CUDA_SUCCESS);
  ck_assert_int_eq(cuMemHostAlloc(&allocated, WORDS * WORD, 0), CUDA_SUCCESS);
  ck_assert_int_eq(cuMemHostRegister(pageable, WORDS * WORD, 0), CUDA_SUCCESS);
  uint32_t *const both[] = {allocated, pageable};
  for (int i = 0; i < 2; i++) {
    for (size_t word = 0; word < WORDS; word++) both[i][word] = value_at(9, word);
    const uint64_t copies = sim_calls("cuMemcpyHtoDAsync"), pinned = sim_calls("cuMemHostAlloc");
    ab_array there = to_device(KEYED, both[i], WORDS, NULL);
    memset(both[i], 0, WORDS * WORD); /* who owns it may do that now */
    ck_assert_uint_eq(sim_calls("cuMemcpyHtoDAsync"), copies + 1);
    ck_assert_uint_eq(sim_calls("cuMemHostAlloc"), pinned);
    ck_assert_uint_eq(difference_on_device(KEYED, &there, 9, WORDS), 0);
    ab_array_release(&there);
  }
  ck_assert_int_eq(cuMemHostUnregister(pageable), CUDA_SUCCESS);
  ck_assert_int_eq(cuMemFreeHost(allocated), CUDA_SUCCESS);
  ck_assert_int_eq(cuCtxPopCurrent(&context), CUDA_SUCCESS);
  free(pageable);
  close_all();
}
END_TEST

START_TEST(where_no_memory_can_be_pinned_the_driver_copies) {
  open_all();
  sim_pinned_limit(0);
  frameworks[KEYED]->use(0, 1);
  there_and_back(KEYED, 5, 5 * CHUNK_WORDS + 3, NULL);
  uint32_t *memory = pattern(6, 4 * CHUNK_WORDS);
  ab_array source = host_array(memory, 2 * CHUNK_WORDS, 2); /* this the framework does, with a copy on the host */
  ab_array there = must_to(backends[KEYED], &source, NULL);
  ab_array_release(&source);
  ab_array_release(&there);
  sim_pinned_limit(UINT64_MAX);
  const ab_convert_options none = {.struct_size = sizeof none, .pinned_limit = 1};
  there_and_back(KEYED, 7, 5 * CHUNK_WORDS + 3, &none);
  ck_assert_uint_eq(sim_calls("cuMemHostAlloc"), 3); /* those that were refused */
  free(memory);
  close_all();
}
END_TEST

START_TEST(a_little_pinned_memory_is_used_for_all) {
  open_all();
  sim_pinned_limit(2 * AB__CHUNK_BYTES);
  frameworks[KEYED]->use(0, 1);
  const ab_convert_options options = {.struct_size = sizeof options, .threads = 4};
  there_and_back(KEYED, 5, 12 * CHUNK_WORDS + 3, &options);
  ck_assert_uint_eq(sim_pinned(), 2 * AB__CHUNK_BYTES);
  close_all();
}
END_TEST

START_TEST(pools_are_given_back) {
  open_all();
  frameworks[KEYED]->use(0, 1);
  there_and_back(KEYED, 5, 12 * CHUNK_WORDS, NULL);
  const uint64_t pinned = sim_pinned();
  uint64_t bytes = 0;
  ck_assert_uint_gt(pinned, 0);
  ck_assert_uint_le(pinned, AB__PINNED_BYTES);
  ck_assert_int_eq(ab_release_pools(bridge, &bytes, NULL), AB_OK);
  ck_assert_uint_eq(bytes, pinned);
  ck_assert_uint_eq(sim_pinned(), 0);
  ck_assert_int_eq(ab_release_pools(bridge, &bytes, NULL), AB_OK);
  ck_assert_uint_eq(bytes, 0);
  ck_assert_int_eq(ab_release_pools(NULL, &bytes, NULL), AB_INVALID_ARGUMENT);
  there_and_back(KEYED, 6, 3 * CHUNK_WORDS, NULL);
  close_all();
}
END_TEST

/* ------------------------------------------------------------------ what stops it */

typedef struct listener {
  int calls, cancels_at;
  uint64_t last;
} listener;

static int listen(void *context, uint64_t done, uint64_t total) {
  listener *self = context;
  ck_assert_uint_le(done, total);
  ck_assert_uint_gt(done, 0);
  self->last = done;
  return ++self->calls == self->cancels_at;
}

START_TEST(progress_is_told_and_may_cancel) {
  open_all();
  enum { WORDS = 20 * CHUNK_WORDS };
  uint32_t *memory = filled(8, WORDS);
  frameworks[KEYED]->use(0, 1);
  for (int limit = 1; limit <= 2; limit++) { /* without chunks, and with a few */
    listener all = {.cancels_at = -1}, some = {.cancels_at = 2};
    ab_convert_options options = {.struct_size = sizeof options,
                                  .threads = 3,
                                  .progress = listen,
                                  .progress_context = &all,
                                  .pinned_limit = limit == 1 ? 1 : 4 * AB__CHUNK_BYTES};
    if (limit == 1) some.cancels_at = 1;
    const listener afresh = some;
    ab_array there = to_device(KEYED, memory, WORDS, &options);
    ck_assert_uint_eq(all.last, WORDS * WORD);
    ab_array source = host_array(memory, WORDS, 1), none;
    options.progress_context = &some;
    ab_error error;
    ck_assert_int_eq(try_to(backends[KEYED], &source, &options, &none, &error), AB_CANCELLED);
    ck_assert_int_eq(some.calls, afresh.cancels_at);
    ck_assert_uint_lt(some.last, WORDS * WORD + (limit == 1));
    some = afresh;
    ck_assert_int_eq(try_to(&host.backend, &there, &options, &none, &error), AB_CANCELLED);
    ab_array_release(&source);
    ab_array_release(&there);
    settle_all();
    ck_assert_msg(what_is_wrong() == NULL, "%s", what_is_wrong());
  }
  free(memory);
  close_all();
}
END_TEST

START_TEST(nothing_is_staged_during_a_capture) {
  open_all();
  enum { WORDS = 3 * CHUNK_WORDS };
  uint32_t *memory = filled(8, WORDS);
  frameworks[KEYED]->use(0, 1);
  ab_array there = to_device(KEYED, memory, WORDS, NULL);
  ab_array source = host_array(memory, WORDS, 1), none;
  sim_run_all();
  ab_error error;
  const CUstream captured = frameworks[KEYED]->current();
  ck_assert_int_eq(sim_begin_capture(captured, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
  const uint64_t copies = sim_calls("cuMemcpyHtoDAsync") + sim_calls("cuMemcpyDtoHAsync");
  ck_assert_int_eq(try_to(backends[KEYED], &source, NULL, &none, &error), AB_STREAM);
  assert_says(error.text, "captured");
  ck_assert_int_eq(try_to(&host.backend, &there, NULL, &none, &error), AB_STREAM);
  ck_assert_uint_eq(sim_calls("cuMemcpyHtoDAsync") + sim_calls("cuMemcpyDtoHAsync"), copies);
  ck_assert_int_eq(sim_end_capture(captured), CUDA_SUCCESS); /* it has not been broken */
  ab_array again = must_to(backends[KEYED], &source, NULL);
  ab_array_release(&again);
  ab_array_release(&source);
  ab_array_release(&there);
  free(memory);
  close_all();
}
END_TEST

/* One conversion, in which the `nth` call of the driver fails. Returns 0 if there was no such call. */
static int fail_once(uint64_t nth, const ab_backend *target, const ab_array *from, uint32_t threads) {
  const ab_convert_options options = {
      .struct_size = sizeof options, .threads = threads, .pinned_limit = 2 * AB__CHUNK_BYTES};
  const int64_t live = ab__allocation_count();
  const uint64_t before = sim_calls(NULL);
  ab_error error;
  ab_array made;
  sim_fail_at(nth, CUDA_ERROR_UNKNOWN);
  const ab_status status = try_to(target, from, &options, &made, &error);
  const uint64_t calls = sim_calls(NULL) - before;
  sim_fail_at(0, CUDA_SUCCESS);
  ck_assert_int_eq(sim_context_depth(), 0);
  if (status != AB_OK) {
    ck_assert_int_eq(status, AB_DRIVER);
    assert_says(error.text, "CUDA_ERROR_UNKNOWN");
  }
  ab_error_clear(&error);
  ab_array_release(&made);
  settle_all();
  ck_assert_int_eq(ab_release_pools(bridge, NULL, NULL), AB_OK);
  ck_assert_msg(what_is_wrong() == NULL, "call %llu: %s", (unsigned long long)nth, what_is_wrong());
  ck_assert_uint_eq(sim_pinned(), 0);
  ck_assert_int_eq(ab__allocation_count(), live);
  ck_assert_uint_lt(calls, 100000);
  return calls >= nth;
}

START_TEST(a_failing_driver_call_leaves_nothing_behind) {
  open_all();
  enum { WORDS = 4 * CHUNK_WORDS + 1 };
  const uint32_t threads = _i == 0 ? 1 : 3;
  uint32_t *memory = filled(8, WORDS);
  frameworks[KEYED]->use(0, 1);
  ab_array source = host_array(memory, WORDS, 1), there = to_device(KEYED, memory, WORDS, NULL);
  ab_array warm = to_device(KEYED, memory, WORDS, NULL), back = must_to(&host.backend, &warm, NULL);
  ab_array_release(&back);
  ab_array_release(&warm); /* what the framework allocates it has in its pool, and makes no call that may fail */
  ck_assert_int_eq(ab_release_pools(bridge, NULL, NULL), AB_OK);
  uint64_t nth = 1;
  while (fail_once(nth, backends[KEYED], &source, threads)) nth++;
  ck_assert_uint_gt(nth, 40);
  for (nth = 1; fail_once(nth, &host.backend, &there, threads);) nth++;
  ck_assert_uint_gt(nth, 40);
  ck_assert_int_eq(frameworks[KEYED]->alive(), 1);
  ab_array_release(&source);
  ab_array_release(&there);
  free(memory);
  close_all();
}
END_TEST

START_TEST(every_allocation_of_the_host_may_fail) {
  open_all();
  enum { WORDS = 4 * CHUNK_WORDS + 1 };
  uint32_t *memory = filled(8, WORDS);
  frameworks[KEYED]->use(0, 1);
  const ab_convert_options options = {.struct_size = sizeof options, .threads = 1, .flags = AB_CONVERT_NO_RECOVERY};
  ab_array source = host_array(memory, WORDS, 1), there = to_device(KEYED, memory, WORDS, NULL);
  for (int way = 0; way < 2; way++) {
    const ab_backend *target = way == 0 ? backends[KEYED] : &host.backend;
    int failures = 0;
    for (int64_t nth = 1; nth < 20; nth++) {
      ck_assert_int_eq(ab_release_pools(bridge, NULL, NULL), AB_OK);
      const int64_t live = ab__allocation_count();
      ab_error error;
      ab_array made;
      ab__allocation_fail_at(nth);
      const ab_status status = try_to(target, way == 0 ? &source : &there, &options, &made, &error);
      ab__allocation_fail_at(-1);
      failures += status != AB_OK;
      if (status != AB_OK) ck_assert_int_eq(status, AB_OOM);
      ab_array_release(&made);
      settle_all();
      ck_assert_int_eq(ab_release_pools(bridge, NULL, NULL), AB_OK);
      if (nth > 6) ck_assert_int_eq(ab__allocation_count(), live); /* events are kept */
    }
    ck_assert_int_gt(failures, 0);
  }
  ab_array_release(&source);
  ab_array_release(&there);
  free(memory);
  close_all();
}
END_TEST

/* ------------------------------------------------------------------ chance: splitmix64 */

static uint64_t chance;

static size_t below(size_t count) {
  uint64_t z = chance += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
  return (size_t)((z ^ (z >> 31)) % count);
}

/* NULL, or what went wrong. */
static const char *random_transfer(uint32_t seed) {
  chance = seed;
  sim_reseed(seed);
  sim_policy(SIM_MIXED);
  const int framework = (int)below(ORDERED), device = (int)below(DEVICES);
  frameworks[framework]->use(device, (int)below(SIM_STREAMS));
  const size_t words = AB__STAGE_FROM / WORD + below(5 * CHUNK_WORDS);
  const ab_convert_options options = {.struct_size = sizeof options,
                                      .threads = (uint32_t)(1 + below(4)),
                                      .pinned_limit = (1 + below(3)) * AB__CHUNK_BYTES};
  uint32_t *memory = pattern(seed, words);
  ab_array there = to_device(framework, memory, words, &options);
  free(memory);
  size_t at = 0;
  if (below(2)) at = difference_on_device(framework, &there, seed, words);
  ab_array back = must_to(&host.backend, &there, &options);
  if (at == 0) at = first_difference(((ab__host_array *)back.object)->view.data, seed, words);
  ab_array_release(&there);
  ab_array_release(&back);
  if (what_is_wrong() != NULL) return what_is_wrong();
  return at != 0 ? "a wrong element" : NULL;
}

START_TEST(no_random_transfer_has_a_wrong_element) {
  open_all();
  for (uint32_t seed = 1; seed <= 200; seed++) {
    const char *wrong = random_transfer(seed);
    ck_assert_msg(wrong == NULL, "seed %u: %s", seed, wrong);
  }
  close_all();
}
END_TEST

/* ------------------------------------------------------------------ mistakes on purpose */

static int status_of_child(pid_t child) {
  int status = 0;
  ck_assert_int_eq(waitpid(child, &status, 0), child);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

START_TEST(a_chunk_that_is_used_again_early_is_found_within_a_hundred_transfers) {
  fflush(NULL);
  const pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    open_all();
    ab__mutated_by = AB__MUTANT_PINNED_CHUNK_EARLY;
    for (uint32_t seed = 1; seed <= 100; seed++) {
      const char *wrong = random_transfer(seed);
      if (wrong == NULL) continue;
      printf("a pinned chunk is used again early: found by transfer %u: %s\n", seed, wrong);
      fflush(stdout);
      _exit(1);
    }
    _exit(0);
  }
  ck_assert_msg(status_of_child(child), "not found");
}
END_TEST

/* Memory that only deferred releases hold: a loan that is dropped while its borrower has much to do. */
static ab_status convert_when_all_is_owed(uint64_t *allocations) {
  enum { OWED = 4 * CHUNK_WORDS, WORDS = 6 * CHUNK_WORDS };
  open_all();
  sim_capacity(0, 8 * AB__CHUNK_BYTES);
  frameworks[CALLBACK]->use(0, 1);
  frameworks[KEYED]->use(0, 2);
  ab_array own = {backends[CALLBACK], frameworks[CALLBACK]->make(OWED)};
  ck_assert_ptr_nonnull(own.object);
  frameworks[CALLBACK]->fill(own.object, 5);
  ab_array lent = convert_to(KEYED, &own, NULL);
  for (int i = 0; i < 100; i++) frameworks[KEYED]->expect(lent.object, 5);
  ab_array_release(&own);
  ab_array_release(&lent);
  uint32_t *memory = filled(6, WORDS);
  ab_array source = host_array(memory, WORDS, 1), made;
  frameworks[KEYED]->use(0, 3);
  const uint64_t before = sim_calls("cuMemAlloc");
  ab_error error;
  const ab_status status = try_to(backends[KEYED], &source, NULL, &made, &error);
  *allocations = sim_calls("cuMemAlloc") - before;
  if (status == AB_OK) frameworks[KEYED]->expect(made.object, 6);
  ab_array_release(&made);
  ab_array_release(&source);
  free(memory);
  return status;
}

START_TEST(what_is_owed_is_enough_for_one_retry) {
  uint64_t allocations = 0;
  ck_assert_int_eq(convert_when_all_is_owed(&allocations), AB_OK);
  ck_assert_uint_eq(allocations, 2); /* one that failed, and the retry */
  close_all();
}
END_TEST

START_TEST(a_retry_without_draining_is_found) {
  fflush(NULL);
  const pid_t child = fork();
  ck_assert_int_ge(child, 0);
  if (child == 0) {
    ab__mutated_by = AB__MUTANT_OOM_WITHOUT_DRAINING;
    uint64_t allocations = 0;
    _exit(convert_when_all_is_owed(&allocations) == AB_OOM && allocations == 3);
  }
  ck_assert_msg(status_of_child(child), "not found");
}
END_TEST

Suite *unit_suite(void) {
  Suite *const suite = suite_create("simulated_transfer");
  TCase *const tests = unit_case(suite, "simulated_transfer", setup, teardown);
  tcase_add_test(tests, every_value_arrives_both_ways);
  tcase_add_test(tests, a_few_chunks_and_threads_are_enough);
  tcase_add_test(tests, elements_of_any_strides_are_sent);
  tcase_add_test(tests, nothing_is_sent_and_fetched_for_nothing);
  tcase_add_test(tests, no_form_costs_a_copy_on_the_host);
  tcase_add_test(tests, the_host_does_not_wait_for_what_goes_to_the_device);
  tcase_add_test(tests, another_stream_may_be_the_one_that_waits);
  tcase_add_test(tests, a_stream_of_one_thread_is_ordered_with_one_of_ours);
  tcase_add_test(tests, what_the_framework_still_does_is_waited_for);
  tcase_add_test(tests, pinned_memory_is_sent_as_it_is);
  tcase_add_test(tests, where_no_memory_can_be_pinned_the_driver_copies);
  tcase_add_test(tests, a_little_pinned_memory_is_used_for_all);
  tcase_add_test(tests, pools_are_given_back);
  tcase_add_test(tests, progress_is_told_and_may_cancel);
  tcase_add_test(tests, nothing_is_staged_during_a_capture);
  tcase_add_loop_test(tests, a_failing_driver_call_leaves_nothing_behind, 0, 2);
  tcase_add_test(tests, every_allocation_of_the_host_may_fail);
  tcase_add_test(tests, no_random_transfer_has_a_wrong_element);
  tcase_add_test(tests, a_chunk_that_is_used_again_early_is_found_within_a_hundred_transfers);
  tcase_add_test(tests, what_is_owed_is_enough_for_one_retry);
  tcase_add_test(tests, a_retry_without_draining_is_found);
  return suite;
}
