/* SPDX-License-Identifier: MIT
 * A second toy framework: what a numerical library might want. Rows and columns, dense, on a 64-byte boundary. */
#ifndef MATRIX_H
#define MATRIX_H

#include <stdint.h>

#include <dlpack/dlpack.h>

typedef struct matrix {
  uint32_t magic;
  int32_t references;
  float *cells;
  int64_t rows, columns;
  DLManagedTensorVersioned *memory; /* whose memory the cells are */
} matrix;

enum { MATRIX_MAGIC = 0x4d415452 };

#endif
