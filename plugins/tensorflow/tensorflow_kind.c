/* SPDX-License-Identifier: MIT
 * Which objects are TensorFlow's, and which of them have elements. */
#include "tensorflow_plugin.h"

typedef struct kind_row {
  const char *module;
  const char *type;     ///< dotted
  const char *only_if;  ///< a module that must be imported, too; NULL: none
  const char *why_not;  ///< NULL: has elements
} kind_row;

// Subclasses after their bases' special cases: EagerTensor is a tf.Tensor, and the first row that fits counts.
static const kind_row rows[TF_KIND_COUNT] = {
    [TF_EAGER] = {"tensorflow.python.framework.ops", "EagerTensor", NULL, NULL},
    [TF_VARIABLE] = {"tensorflow", "Variable", NULL, NULL},
    [TF_KERAS_VARIABLE] = {"keras.src.backend.tensorflow.core", "Variable", NULL, NULL},
    [TF_SYMBOLIC] = {"tensorflow", "Tensor", NULL,
                     "a symbolic tensor of a tf.function has no value yet; convert outside of the function, or wrap "
                     "the code in tf.py_function"},
    [TF_KERAS_TENSOR] = {"keras.src.backend.common.keras_tensor", "KerasTensor", "keras.src.backend.tensorflow",
                         "a KerasTensor describes a model's input and has no value; call the model first"},
    [TF_SPARSE] = {"tensorflow", "SparseTensor", NULL, "a sparse tensor has no strides; use tf.sparse.to_dense(x)"},
    [TF_RAGGED] = {"tensorflow", "RaggedTensor", NULL,
                   "a ragged tensor has rows of different lengths; use x.to_tensor()"},
    [TF_SLICES] = {"tensorflow", "IndexedSlices", NULL,
                   "IndexedSlices hold some rows of a tensor; use tf.convert_to_tensor(x)"},
};

static PyTypeObject *types[TF_KIND_COUNT];

/// The type of a kind if its module is imported. Borrowed: a type that was found is kept for ever.
static PyTypeObject *type_of(tf_kind kind) {
  if (types[kind] != NULL) return types[kind];
  const kind_row *row = &rows[kind];
  if (row->only_if != NULL && abpy_imported(row->only_if) == NULL) return NULL;
  return types[kind] = abpy_type(row->module, row->type);
}

int ab_tf_is_eager(PyObject *object) {
  PyTypeObject *eager = type_of(TF_EAGER);
  return eager != NULL && Py_TYPE(object) == eager;
}

tf_kind ab_tf_kind(PyObject *object) {
  if (ab_tf_is_eager(object)) return TF_EAGER;
  // Without TensorFlow in the process nothing can be its object, and the look-ups below are saved.
  if (types[TF_EAGER] == NULL) return TF_FOREIGN;
  PyTypeObject *type = Py_TYPE(object);
  for (int kind = TF_VARIABLE; kind < TF_KIND_COUNT; kind++) {
    PyTypeObject *base = type_of((tf_kind)kind);
    if (base != NULL && PyType_IsSubtype(type, base)) return (tf_kind)kind;
  }
  return TF_FOREIGN;
}

const char *ab_tf_kind_why_not(tf_kind kind) {
  return kind < TF_KIND_COUNT ? rows[kind].why_not : "not an object of TensorFlow";
}

int32_t ab_tf_recognizes(void *self, void *object, int32_t *holds_for_type) {
  (void)self;
  const tf_kind kind = ab_tf_kind(object);
  if (kind == TF_EAGER) *holds_for_type = 1;
  return kind != TF_FOREIGN;
}
