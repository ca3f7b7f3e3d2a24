/* SPDX-License-Identifier: MIT */
#include "hint.h"

#include <string.h>

/* ------------------------------------------------------------------ arrays that nobody can take */

void ab__hint_not_convertible(const ab_array_info *info, ab_error *error) {
  if (error->text[0] != '\0') {
    error->status = AB_UNSUPPORTED;
    return;
  }
  const char *why = info->why_not != NULL ? info->why_not : "the array has no elements that could be handed over";
  const char *advice = strstr(why, "; ");
  const size_t length = advice != NULL ? (size_t)(advice - why) : strlen(why);
  ab_error_set(error, AB_UNSUPPORTED, "%.*s", (int)length, why);
  if (advice != NULL) ab_error_hint(error, "%s", advice + 2);
}

/* ------------------------------------------------------------------ dtypes */

static int is_integer(DLDataType dtype) { return dtype.code == kDLInt || dtype.code == kDLUInt; }

/* What a plain cast that is not safe does to some values; `name` is that of `to`. */
static void write_loss(DLDataType from, DLDataType to, const char *name, char *text, size_t size) {
  if (to.code == kDLBool) snprintf(text, size, "every value but 0 becomes True");
  else if (from.code == kDLComplex && to.code != kDLComplex) snprintf(text, size, "imaginary parts are dropped");
  else if (is_integer(from) && is_integer(to)) snprintf(text, size, "values outside %s would wrap", name);
  else if (is_integer(to)) snprintf(text, size, "fractions are cut off, values outside %s saturate", name);
  else if (is_integer(from)) snprintf(text, size, "large values are rounded");
  else snprintf(text, size, "values are rounded, beyond %s they become infinite", name);
}

/* `scaling` is not open to every pair: bool has no range, and complex numbers become real ones exactly or not. */
static const char *gentler(DLDataType from, DLDataType to) {
  if (!is_integer(to) || from.code == kDLComplex) return "scaling=\"exact\" refuses such values";
  return is_integer(from) ? "scaling=\"clip\" saturates, scaling=\"exact\" refuses"
                          : "scaling=\"clip\" rounds and saturates, scaling=\"exact\" refuses";
}

void ab__hint_cast(DLDataType from, DLDataType to, const char *dtype, ab_error *error) {
  const int safe = ab_dtype_can_cast(from, to, AB_CASTING_SAFE);
  const char *word = safe ? "safe" : ab_dtype_can_cast(from, to, AB_CASTING_SAME_KIND) ? "same_kind" : "unsafe";
  char wanted[64] = "", loss[160] = "", text[128] = "";
  if (dtype != NULL) snprintf(wanted, sizeof wanted, "dtype=\"%s\", ", dtype);
  if (!safe) {
    write_loss(from, to, ab_dtype_name(to), text, sizeof text);
    snprintf(loss, sizeof loss, " (%s; %s)", text, gentler(from, to));
  }
  ab_error_hint(error, "pass %scasting=\"%s\"%s%s", wanted, word, dtype == NULL ? " to allow it" : "", loss);
}

/* ------------------------------------------------------------------ shapes */

void ab__hint_shape(const ab__situation *at, const ab__ability *ability, ab_error *error) {
  const ab_capabilities *can = &ability->stated;
  const int32_t ndim = at->info->ndim;
  if (!ability->supported) return;
  if (ndim > can->max_ndim) {
    ab_error_hint(error, ndim == can->max_ndim + 1 ? "convert x[i] one by one" : "convert parts of it one by one");
  } else if (at->layout.empty && !(can->flags & AB_ACCEPTS_EMPTY)) {
    ab_error_hint(error, "nothing is in it: leave it out");
  } else if (ndim == 0 && (can->min_ndim > 0 || !(can->flags & AB_ACCEPTS_ZERO_DIM))) {
    ab_error_hint(error, "pass x.reshape(1)");
  }
}

/* ------------------------------------------------------------------ devices */

const char *ab__device_word(int type) {
  switch (type) {
    case kDLCPU:
      return "cpu";
    case kDLCUDA:
      return "cuda";
    case kDLOpenCL:
      return "opencl";
    case kDLROCM:
      return "rocm";
    case kDLMetal:
      return "metal";
    case kDLExtDev:
      return "ext";
    default:
      return "device";
  }
}

typedef struct device_list {
  char text[AB_ERROR_HINT - 16];
  size_t used;
} device_list;

static int write_device(void *context, const ab_device_info *info) {
  device_list *list = context;
  if (list->used >= sizeof list->text) return 0;
  list->used +=
      (size_t)snprintf(list->text + list->used, sizeof list->text - list->used, "%s%s:%d", list->used != 0 ? ", " : "",
                       ab__device_word((int)info->device.device_type), (int)info->device.device_id);
  return 0;
}

void ab__hint_devices(const ab_backend *backend, ab_error *error) {
  if (backend->vtable->devices == NULL) return;
  ab_error local; /* a list that cannot be had takes nothing from what is being said */
  ab_error_init(&local);
  device_list list = {.text = ""};
  if (ab__backend_visit_devices(backend, write_device, &list, &local) == AB_OK && list.used != 0)
    ab_error_hint(error, "it has: %s", list.text);
  ab_error_clear(&local);
}
