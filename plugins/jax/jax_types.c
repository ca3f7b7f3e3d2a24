/* SPDX-License-Identifier: MIT
 * The types by which JAX's objects are known, found without importing anything. */
#include "jax_plugin.h"

#include <stdatomic.h>

static _Atomic(const jax_types *) known;

static void types_free(jax_types *types) {
  Py_XDECREF((PyObject *)types->array_impl);
  Py_XDECREF((PyObject *)types->array);
  Py_XDECREF((PyObject *)types->tracer);
  jax_services->deallocate(jax_services->core, types);
}

/// Remembers `types`, which are taken, unless another thread was faster.
static const jax_types *publish(jax_types *types) {
  const jax_types *first = NULL;
  if (atomic_compare_exchange_strong(&known, &first, types)) return types;
  types_free(types);
  return first;
}

const jax_types *jax_types_find(void) {
  const jax_types *found = atomic_load_explicit(&known, memory_order_acquire);
  if (found != NULL || abpy_imported("jax") == NULL) return found;
  jax_types *types = jax_services->allocate(jax_services->core, sizeof *types);
  if (types == NULL) return NULL;
  // Not through jax.core: what is deprecated there warns when it is looked up.
  types->array_impl = abpy_type("jax._src.array", "ArrayImpl");
  types->array = abpy_type("jax", "Array");
  types->tracer = abpy_type("jax._src.core", "Tracer");
  if (types->array_impl != NULL && types->array != NULL && types->tracer != NULL) return publish(types);
  types_free(types);  // JAX is being imported at this moment
  return NULL;
}

int32_t jax_recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  const jax_types *types = jax_types_find();
  if (types == NULL) return 0;
  PyTypeObject *type = Py_TYPE((PyObject *)object);
  *holds_for_type = type == types->array_impl;
  return type == types->array_impl || PyType_IsSubtype(type, types->array) || PyType_IsSubtype(type, types->tracer);
}
