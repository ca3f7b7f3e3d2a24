/* SPDX-License-Identifier: MIT
 * A toy framework: what a camera driver might hand out. Every n-th element of a buffer belongs to one channel. */
#ifndef SAMPLES_H
#define SAMPLES_H

#include <stdint.h>

typedef struct samples {
  uint32_t magic; /* SAMPLES_MAGIC: how the plugin knows its objects */
  int32_t references;
  float *first; /* of this channel */
  int64_t count;
  int64_t step; /* elements from one sample to the next */
} samples;

enum { SAMPLES_MAGIC = 0x53414d50 };

#endif
