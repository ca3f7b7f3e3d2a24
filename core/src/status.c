/* SPDX-License-Identifier: MIT
 * Names and texts of statuses and versions: from the one list in types.h. */
#include <arraybridge/arraybridge.h>

const char *ab_version(void) { return AB_VERSION; }

const char *ab_status_name(ab_status status) {
  switch (status) {
#define NAME_OF(name, number, text) \
  case number:                      \
    return #name;
    AB_STATUS_MAP(NAME_OF)
#undef NAME_OF
    default:
      return "UNKNOWN";
  }
}

const char *ab_status_text(ab_status status) {
  switch (status) {
#define TEXT_OF(name, number, text) \
  case number:                      \
    return text;
    AB_STATUS_MAP(TEXT_OF)
#undef TEXT_OF
    default:
      return "no status of arraybridge";
  }
}
