/* SPDX-License-Identifier: MIT
 * Before anything is copied: are these slices of one stack, and of which dtype will it be? */
#include "dtype.h"
#include "route.h"
#include "stack.h"

static const ab_convert_options no_options = {.struct_size = (uint32_t)sizeof(ab_convert_options)};

/* ------------------------------------------------------------------ shared with unstack.c */

ab_status ab__stack_arguments(const ab_bridge *bridge, const ab_backend *target, const ab_stack_options *options,
                              const ab_convert_options **convert, ab_error *error) {
  if (bridge == NULL || target == NULL || options == NULL)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "a bridge, a target and options are needed");
  if (options->struct_size < sizeof *options || options->leading < 0 || options->leading > AB_MAX_NDIM)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "ab_stack_options.struct_size or .leading is out of range");
  if (options->flags & 0xffff & ~(uint32_t)(AB_STACK_LEAVE_LIVE | AB_STACK_NDIM_GIVEN))
    return ab_error_set(error, AB_UNSUPPORTED, "flags 0x%x: an option of a newer version", options->flags);
  *convert = options->convert != NULL ? options->convert : &no_options;
  if ((*convert)->struct_size < sizeof **convert)
    return ab_error_set(error, AB_INVALID_ARGUMENT, "ab_convert_options.struct_size is too small");
  return AB_OK;
}

uint32_t ab__stack_place_flags(const ab_convert_options *convert) {
  const uint32_t place = AB_CONVERT_DEVICE_GIVEN | AB_CONVERT_DEVICE_KIND | AB_CONVERT_ACCELERATOR;
  return convert->flags & (place | AB_CONVERT_LOCK_HELD | AB_CONVERT_NO_RECOVERY);
}

ab_status ab__stack_describe(const ab_array *array, ab__described *described, ab_error *error) {
  memset(&described->info, 0, sizeof described->info);
  described->info.struct_size = (uint32_t)sizeof described->info;
  const ab_status status = ab_array_describe(array, described->shape, described->strides, &described->info, error);
  if (status != AB_OK) return status;
  const ab_array_info *info = &described->info;
  if (info->flags & AB_INFO_NOT_CONVERTIBLE) return AB_OK;
  if (info->ndim >= 0 && info->ndim <= AB_MAX_NDIM && ab_dtype_size(info->dtype) != 0) return AB_OK;
  return ab_error_set(error, AB_INVALID_TENSOR, "%s described dtype code %u of %u bits in %d dimensions",
                      ab_backend_name(array->backend), info->dtype.code, info->dtype.bits, (int)info->ndim);
}

/* OpenCL buffers are mapped; all other devices are left only if somebody wants the data elsewhere. */
static int stays_on_accelerator(const ab_array_info *info, const ab_backend *target, const ab_convert_options *convert,
                                ab_error *error) {
  const int type = (int)info->device.device_type;
  if (type == kDLCPU || type == kDLCUDAHost || type == kDLROCMHost || type == kDLOpenCL || type == 0) return 0;
  if ((convert->flags & AB_CONVERT_DEVICE_GIVEN) && (int)convert->device.device_type != type) return 0;
  ab_capabilities ability = {.struct_size = (uint32_t)sizeof ability};
  const ab_status status = ab_backend_capabilities(target, info->device, AB_SLOT_FROM_DLPACK, &ability, error);
  ab_error_clear(error);
  return status == AB_OK;
}

int ab__stack_is_live(const ab_array *array, const ab_array_info *info, const ab_backend *target,
                      const ab_convert_options *convert, ab_error *error) {
  const uint32_t live = AB_INFO_GRADIENT | AB_INFO_NOT_CONVERTIBLE;
  if (array->backend == target && (info->flags & live)) return 1;
  return stays_on_accelerator(info, target, convert, error);
}

ab_status ab__stack_blame(ab_error *error, ab_status status, uint64_t index) {
  char text[AB_ERROR_TEXT];
  const char *said = error->text[0] != '\0' ? error->text : ab_status_text(status);
  snprintf(text, sizeof text, "slice %llu: %.*s", (unsigned long long)index, AB_ERROR_TEXT - 40, said);
  snprintf(error->text, sizeof error->text, "%s", text);
  error->status = status;
  return status;
}

/* ------------------------------------------------------------------ looking at the slices */

enum { SHAPE_TEXT = 160 };

static void write_shape(int32_t ndim, const int64_t *shape, char *text) {
  size_t used = (size_t)snprintf(text, SHAPE_TEXT, "(");
  for (int32_t axis = 0; axis < ndim && used < SHAPE_TEXT - 24; axis++)
    used += (size_t)snprintf(text + used, SHAPE_TEXT - used, axis > 0 ? ", %lld" : "%lld", (long long)shape[axis]);
  snprintf(text + used, SHAPE_TEXT - used, ndim == 1 ? ",)" : ")");
}

static ab_status ragged(const ab__stacking *s, uint64_t index, const ab__described *slice) {
  char here[SHAPE_TEXT], first[SHAPE_TEXT];
  write_shape(slice->info.ndim, slice->shape, here);
  write_shape(s->ndim, s->shape, first);
  ab_error_set(s->error, AB_INVALID_ARGUMENT, "slice %llu has the shape %s, slice 0 has %s", (unsigned long long)index,
               here, first);
  ab_error_hint(s->error, "slices of one stack have one shape: crop or pad them, or keep them in a list");
  return AB_INVALID_ARGUMENT;
}

static ab_status wrong_ndim(const ab__stacking *s, uint64_t index, int32_t ndim) {
  ab_error_set(s->error, AB_INVALID_ARGUMENT, "slice %llu is not a %dD array, it has %d axes",
               (unsigned long long)index, (int)s->options->slice_ndim, (int)ndim);
  ab_error_hint(s->error, "pass slice_ndim=%d if that is meant", (int)ndim);
  return AB_INVALID_ARGUMENT;
}

static void begin_with(ab__stacking *s, const ab__described *slice) {
  s->ndim = slice->info.ndim;
  s->first = slice->info.dtype;
  s->device = slice->info.device;
  memcpy(s->shape, slice->shape, (size_t)s->ndim * sizeof s->shape[0]);
}

/* The conversion itself says best why an array cannot be converted. */
static ab_status not_convertible(ab__stacking *s, uint64_t index) {
  ab__host_array *read = NULL;
  ab_status status = ab__host_read(&s->host, &s->slices[index], s->convert, &read, s->error);
  ab__host_array_release(read);
  if (status == AB_OK) status = ab_error_set(s->error, AB_UNSUPPORTED, "it cannot be converted");
  return ab__stack_blame(s->error, status, index);
}

static ab_status look_at(ab__stacking *s, uint64_t index, ab__described *slice) {
  const ab_array *array = &s->slices[index];
  ab_status status = ab__stack_describe(array, slice, s->error);
  if (status != AB_OK) return ab__stack_blame(s->error, status, index);
  const ab_array_info *info = &slice->info;
  const int leaves = (s->options->flags & AB_STACK_LEAVE_LIVE) != 0;
  if (leaves && ab__stack_is_live(array, info, s->target, s->convert, s->error))
    return ab_error_set(s->error, AB_REFUSED, "slice %llu is for its own framework to stack",
                        (unsigned long long)index);
  if (info->flags & AB_INFO_NOT_CONVERTIBLE) return not_convertible(s, index);
  if ((s->options->flags & AB_STACK_NDIM_GIVEN) && info->ndim != s->options->slice_ndim)
    return wrong_ndim(s, index, info->ndim);
  if (index == 0) begin_with(s, slice);
  if (info->ndim != s->ndim || memcmp(slice->shape, s->shape, (size_t)s->ndim * sizeof s->shape[0]) != 0)
    return ragged(s, index, slice);
  s->dtypes |= UINT64_C(1) << ab__dtype_index(info->dtype);
  return AB_OK;
}

ab_status ab__stack_look(ab__stacking *s) {
  ab__described slice;
  ab_status status = AB_OK;
  for (uint64_t index = 0; status == AB_OK && index < s->count; index++) status = look_at(s, index, &slice);
  return status;
}

/* ------------------------------------------------------------------ the dtype */

/* "Safe" is NumPy's word, which counts 64-bit integers as safe in float64; here no value may change unasked. */
static int holds_exactly(int from, int to) {
  const DLDataType a = ab__dtype_at(from), b = ab__dtype_at(to);
  const int wide_integer = (a.code == kDLInt || a.code == kDLUInt) && a.bits == 64;
  if (wide_integer && b.code != kDLInt && b.code != kDLUInt) return 0;
  return ab_dtype_can_cast(a, b, AB_CASTING_SAFE);
}

static int holds_all(uint64_t dtypes, int to) {
  for (int from = 0; from < AB__DTYPE_COUNT; from++)
    if ((dtypes >> from & 1) && !holds_exactly(from, to)) return 0;
  return 1;
}

static int all_become(uint64_t dtypes, DLDataType to) {
  for (int from = 0; from < AB__DTYPE_COUNT; from++)
    if ((dtypes >> from & 1) && !ab_dtype_can_cast(ab__dtype_at(from), to, AB_CASTING_SAME_KIND)) return 0;
  return 1;
}

/* The widest dtype that all slices may become and the target has; what it has elsewhere than on the host is not asked.
 * bits 0: none. */
static DLDataType advised(const ab__stacking *s) {
  DLDataType widest = {kDLFloat, 64, 1};
  if (!all_become(s->dtypes, widest)) widest = (DLDataType){kDLComplex, 128, 1};
  const DLDevice host = {kDLCPU, 0};
  ab__ability ability = {.stated = {.struct_size = (uint32_t)sizeof ability.stated}};
  ab_status status = ab_backend_capabilities(s->target, host, AB_SLOT_FROM_DLPACK, &ability.stated, s->error);
  if (status != AB_OK) status = ab_backend_capabilities(s->target, host, AB_SLOT_FROM_HOST, &ability.stated, s->error);
  ab_error_clear(s->error);
  if (status != AB_OK) return widest;
  const DLDataType near = ab__nearest_dtype(&ability, widest, AB_CASTING_SAME_KIND);
  return near.bits != 0 && all_become(s->dtypes, near) ? near : (DLDataType){0, 0, 0};
}

static ab_status common_dtype(ab__stacking *s) {
  s->dtype = s->first;
  if ((s->dtypes & (s->dtypes - 1)) == 0) return AB_OK;
  int best = -1;
  for (int to = 0; to < AB__DTYPE_CARRIED_ONLY; to++)
    if (holds_all(s->dtypes, to) && (best < 0 || ab__dtype_at(to).bits < ab__dtype_at(best).bits)) best = to;
  if (best >= 0) {
    s->dtype = ab__dtype_at(best);
    return AB_OK;
  }
  int other = 0;
  while (!(s->dtypes >> other & 1) || ab__dtype_at(other).code == s->first.code) other++;
  const DLDataType advice = advised(s);
  ab_error_set(s->error, AB_WOULD_CAST, "some slices are %s, others %s, and no dtype holds the values of both",
               ab_dtype_name(s->first), ab_dtype_name(ab__dtype_at(other)));
  if (advice.bits == 0) ab_error_hint(s->error, "stack into \"numpy\", with the dtype that the stack shall have");
  else
    ab_error_hint(s->error, "pass the dtype of the stack, such as dtype=\"%s\", casting=\"same_kind\"",
                  ab_dtype_name(advice));
  return AB_WOULD_CAST;
}

/* Under a dtype that was asked for, every slice's own dtype must be allowed to become it. */
static ab_status check_casts(const ab__stacking *s) {
  const DLDataType wanted = s->convert->dtype;
  if (wanted.bits == 0 || s->convert->scaling != AB_SCALING_NONE) return AB_OK;
  for (int from = 0; from < AB__DTYPE_COUNT; from++) {
    if (!(s->dtypes >> from & 1) || ab_dtype_can_cast(ab__dtype_at(from), wanted, (ab_casting)s->convert->casting))
      continue;
    ab_error_set(s->error, AB_WOULD_CAST, "%s would become %s", ab_dtype_name(ab__dtype_at(from)),
                 ab_dtype_name(wanted));
    const int same_kind = ab_dtype_can_cast(ab__dtype_at(from), wanted, AB_CASTING_SAME_KIND);
    ab_error_hint(s->error, "pass casting=\"%s\" to allow it", same_kind ? "same_kind" : "unsafe");
    return AB_WOULD_CAST;
  }
  return AB_OK;
}

/* Explicit dtypes were checked slice by slice; the whole must not be checked from a promoted one. */
ab_status ab__stack_dtype(ab__stacking *s) {
  const ab_status status = check_casts(s);
  if (status != AB_OK) return status;
  if (s->convert->dtype.bits == 0 || s->convert->scaling != AB_SCALING_NONE) return common_dtype(s);
  if (ab__dtype_index(s->convert->dtype) < 0)
    return ab_error_set(s->error, AB_INVALID_ARGUMENT, "the dtype asked for is unknown");
  s->dtype = s->convert->dtype;
  return AB_OK;
}
