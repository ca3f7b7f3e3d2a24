/* SPDX-License-Identifier: MIT
 * The arrays of fake_good: host memory, any strides. A test may make one on its own stack, or ask from_host(). */
#ifndef FAKE_ARRAY_H
#define FAKE_ARRAY_H

#include <stdatomic.h>

#include <arraybridge/types.h>

#define FAKE_MAGIC UINT64_C(0xfa6ea88a7b61d6e5)

typedef struct fake_array {
  uint64_t magic; /* FAKE_MAGIC while it lives */
  atomic_int references;
  int read_only;
  void *data; /* the element at index (0, …, 0) */
  DLDataType dtype;
  int32_t ndim;
  int64_t shape[AB_MAX_NDIM];       /* elements */
  int64_t strides[AB_MAX_NDIM];     /* elements */
  DLManagedTensorVersioned *source; /* whose memory it shares; NULL: its own */
  void *own;                        /* memory from services->allocate; NULL: not its own */
} fake_array;

#endif
