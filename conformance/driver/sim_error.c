/* SPDX-License-Identifier: MIT
 * The names of errors. */
#include <ctype.h>
#include <string.h>

#include "sim.h"

/* clang-format off */
#define ERRORS(E) \
  E(INVALID_VALUE) E(OUT_OF_MEMORY) E(NOT_INITIALIZED) E(DEINITIALIZED) E(STUB_LIBRARY) E(DEVICE_UNAVAILABLE) \
  E(NO_DEVICE) E(INVALID_DEVICE) E(INVALID_CONTEXT) E(CONTEXT_ALREADY_CURRENT) E(ECC_UNCORRECTABLE) \
  E(PEER_ACCESS_UNSUPPORTED) E(NVLINK_UNCORRECTABLE) E(OPERATING_SYSTEM) E(INVALID_HANDLE) E(ILLEGAL_STATE) \
  E(NOT_FOUND) E(NOT_READY) E(ILLEGAL_ADDRESS) E(LAUNCH_OUT_OF_RESOURCES) E(LAUNCH_TIMEOUT) \
  E(PEER_ACCESS_ALREADY_ENABLED) E(PEER_ACCESS_NOT_ENABLED) E(PRIMARY_CONTEXT_ACTIVE) E(CONTEXT_IS_DESTROYED) \
  E(ASSERT) E(HOST_MEMORY_ALREADY_REGISTERED) E(HOST_MEMORY_NOT_REGISTERED) E(HARDWARE_STACK_ERROR) \
  E(ILLEGAL_INSTRUCTION) E(MISALIGNED_ADDRESS) E(INVALID_ADDRESS_SPACE) E(INVALID_PC) E(LAUNCH_FAILED) \
  E(NOT_PERMITTED) E(NOT_SUPPORTED) E(SYSTEM_NOT_READY) E(SYSTEM_DRIVER_MISMATCH) E(STREAM_CAPTURE_UNSUPPORTED) \
  E(STREAM_CAPTURE_INVALIDATED) E(STREAM_CAPTURE_MERGE) E(STREAM_CAPTURE_UNMATCHED) E(STREAM_CAPTURE_UNJOINED) \
  E(STREAM_CAPTURE_ISOLATION) E(STREAM_CAPTURE_IMPLICIT) E(CAPTURED_EVENT) E(STREAM_CAPTURE_WRONG_THREAD) \
  E(TIMEOUT) E(UNKNOWN)
/* clang-format on */

/// An error, its name, and its text: the name in words.
static struct error_entry {
  CUresult code;
  const char *name;
  char text[48];
} errors[] = {{CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
#define ENTRY(name) {CUDA_ERROR_##name, "CUDA_ERROR_" #name, ""},
              ERRORS(ENTRY)
#undef ENTRY
};

static struct error_entry *entry_of(CUresult code) {
  for (size_t i = 0; i < sizeof errors / sizeof *errors; ++i)
    if (errors[i].code == code) return &errors[i];
  return NULL;
}

static CUresult name_of(CUresult code, const char **name) {
  const struct error_entry *const entry = entry_of(code);
  if (name == NULL) return CUDA_ERROR_INVALID_VALUE;
  *name = entry == NULL ? NULL : entry->name;
  return entry == NULL ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult CUDAAPI cuGetErrorName(CUresult error, const char **pStr) {
  SIM_CALL(cuGetErrorName, SIM_ANYTIME, name_of(error, pStr));
}

static void put_in_words(struct error_entry *entry) {
  const char *const name = entry->name + strlen("CUDA_ERROR_");
  for (size_t i = 0; name[i] != '\0' && i + 1 < sizeof entry->text; ++i)
    entry->text[i] = (char)(name[i] == '_' ? ' ' : tolower((unsigned char)name[i]));
}

static CUresult text_of(CUresult code, const char **text) {
  struct error_entry *const entry = entry_of(code);
  if (text == NULL) return CUDA_ERROR_INVALID_VALUE;
  *text = NULL;
  if (entry == NULL) return CUDA_ERROR_INVALID_VALUE;
  if (entry->text[0] == '\0') put_in_words(entry);
  *text = entry->text;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuGetErrorString(CUresult error, const char **pStr) {
  SIM_CALL(cuGetErrorString, SIM_ANYTIME, text_of(error, pStr));
}
