/* SPDX-License-Identifier: MIT */
#include "dtype.h"

enum { CODE_COUNT = 32, SIZE_COUNT = 5, SMALLEST_LOG2_BITS = 3 };

typedef struct dtype_row {
  const char *name;
  uint64_t safe;  // set of dtypes that hold all its values
  DLDataType dtype;
  uint8_t bytes;
  uint8_t kind;
} dtype_row;

static const dtype_row rows[AB__DTYPE_COUNT] = {
#define ROW(NAME, text, code, bits, log2_bytes, kind, safe) \
  {(text), (safe) | AB__BIT(NAME), {(uint8_t)(code), (bits), 1}, (bits) / 8, (kind)},
    AB__DTYPE_MAP(ROW)
#undef ROW
};

// index + 1, by code and log2 of the size, so that the unnamed entries say "none"
static const uint8_t places[CODE_COUNT][SIZE_COUNT] = {
#define PLACE(NAME, text, code, bits, log2_bytes, kind, safe) [code][log2_bytes] = AB__DTYPE_##NAME + 1,
    AB__DTYPE_MAP(PLACE)
#undef PLACE
};

int ab__dtype_index(DLDataType dtype) {
  const unsigned bits = dtype.bits;
  if (dtype.lanes != 1 || dtype.code >= CODE_COUNT) return -1;
  if (bits < 8 || bits > 128 || (bits & (bits - 1)) != 0) return -1;
  return places[dtype.code][__builtin_ctz(bits) - SMALLEST_LOG2_BITS] - 1;
}

DLDataType ab__dtype_at(int index) { return rows[index].dtype; }

const char *ab_dtype_name(DLDataType dtype) {
  const int index = ab__dtype_index(dtype);
  return index < 0 ? NULL : rows[index].name;
}

uint32_t ab_dtype_size(DLDataType dtype) {
  const int index = ab__dtype_index(dtype);
  return index < 0 ? 0 : rows[index].bytes;
}

ab_status ab_dtype_parse(const char *name, DLDataType *dtype, ab_error *error) {
  if (name == NULL) return ab_error_set(error, AB_INVALID_ARGUMENT, "a dtype's name is missing");
  for (int index = 0; index < AB__DTYPE_COUNT; index++) {
    if (strcmp(rows[index].name, name) != 0) continue;
    *dtype = rows[index].dtype;
    return AB_OK;
  }
  ab_error_set(error, AB_INVALID_ARGUMENT, "\"%.64s\" is not a dtype that can be carried", name);
  ab_error_hint(error,
                "use NumPy's and ml_dtypes' names: bool, uint8 … int64, float16, bfloat16, float32, float64, "
                "complex64, complex128, float8_e4m3fn, float8_e5m2 …");
  return AB_INVALID_ARGUMENT;
}

int ab_dtype_can_cast(DLDataType from, DLDataType to, ab_casting casting) {
  const int source = ab__dtype_index(from), target = ab__dtype_index(to);
  if (source < 0 || target < 0) return 0;
  if (source == target) return 1;
  const int safe = (int)(rows[source].safe >> target & 1);
  switch (casting) {
    case AB_CASTING_NO:
      return 0;
    case AB_CASTING_SAFE:
      return safe;
    case AB_CASTING_SAME_KIND:
      return safe || rows[source].kind <= rows[target].kind;
    case AB_CASTING_UNSAFE:
      return 1;
  }
  return 0;
}
