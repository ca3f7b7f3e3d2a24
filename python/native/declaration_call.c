/* SPDX-License-Identifier: MIT
 * One call of a decorated function, as long as nothing rare happens; what is rare, Python does. */
#include "containers.h"
#include "declaration.h"

int native_policies_changed;

/* Both made once and kept. */
static PyObject *interned(PyObject **kept, const char *text) {
  if (*kept == NULL) *kept = PyUnicode_InternFromString(text);
  return *kept;
}

/* ------------------------------------------------------------------ arguments */

static int is_chosen(const native_declaration *d, Py_ssize_t place, PyObject *name) {
  if (!(d->flags & NATIVE_DECLARE_NARROWED)) return 1;
  if (name == NULL) return (int)(d->places >> (place < 63 ? place : 63) & 1);
  return PySet_Contains(d->names, name) == 1;
}

/* 1 if the first argument is the object whose method this is, whatever its parameter is called. It matters only where
 * that object is a container itself. -1 with an exception. */
static int is_self(const native_declaration *d, PyObject *value) {
  if (PyTuple_CheckExact(value) || PyList_CheckExact(value) || PyDict_CheckExact(value)) return 0;
  if (!native_is_container(value)) return 0;
  PyObject *answer = PyObject_CallFunctionObjArgs(native_hook.owns, d->function, value, NULL);
  const int result = answer != NULL ? PyObject_IsTrue(answer) : -1;
  Py_XDECREF(answer);
  return result;
}

/* The place of the first argument that is looked at, -1 with an exception. */
static Py_ssize_t first_place(const native_declaration *d, PyObject *positional) {
  if (d->flags & NATIVE_DECLARE_BOUND) return 1;
  if (!(d->flags & NATIVE_DECLARE_METHOD) || PyTuple_Size(positional) == 0) return 0;
  return is_self(d, PyTuple_GetItem(positional, 0));
}

/* The first array in the order of the signature, where the order of the keywords is the caller's. */
static int look_in_order(const native_declaration *d, PyObject *named, native_search *search) {
  const int solid = native_search_is_solid(search);
  if (solid != 0) return solid < 0 ? -1 : 0;
  search->counts = 0;
  const Py_ssize_t count = PyTuple_Size(d->order);
  for (Py_ssize_t index = 0; !search->solid && index < count; index++) {
    PyObject *value = PyDict_GetItemWithError(named, PyTuple_GetItem(d->order, index)); /* borrowed */
    if (value == NULL && PyErr_Occurred()) return -1;
    if (value != NULL && native_nested_look(search, value) != 0) return -1;
  }
  return 0;
}

static int look_named(const native_declaration *d, PyObject *named, native_search *search) {
  const int several = PyDict_Size(named) > 1;
  if (several && search->first == NULL && look_in_order(d, named, search) != 0) return -1;
  search->wants_axes = !several; /* not in this order */
  PyObject *name = NULL;
  PyObject *value = NULL;
  Py_ssize_t at = 0;
  while (PyDict_Next(named, &at, &name, &value)) { /* the call's own dict: nobody else can change it */
    search->counts = is_chosen(d, 0, name);
    if (native_nested_look(search, value) != 0) return -1;
  }
  search->wants_axes = 1;
  return several && search->others ? look_in_order(d, named, search) : 0;
}

static int look_at(const native_declaration *d, PyObject *positional, PyObject *named, native_search *search) {
  const Py_ssize_t count = PyTuple_Size(positional);
  const Py_ssize_t first = first_place(d, positional);
  if (first < 0) return -1;
  for (Py_ssize_t place = first; place < count; place++) {
    search->counts = is_chosen(d, place, NULL);
    if (native_nested_look(search, PyTuple_GetItem(positional, place)) != 0) return -1;
  }
  return PyDict_Size(named) != 0 ? look_named(d, named, search) : 0;
}

static PyObject *moved_positional(const native_declaration *d, PyObject *positional, native_move *move) {
  const Py_ssize_t count = PyTuple_Size(positional);
  const Py_ssize_t first = first_place(d, positional);
  PyObject *moved = first >= 0 ? PyTuple_New(count) : NULL;
  for (Py_ssize_t place = 0; moved != NULL && place < count; place++) {
    PyObject *value = PyTuple_GetItem(positional, place);
    const int goes = place >= first && is_chosen(d, place, NULL);
    PyObject *item = goes ? native_nested_move(move, value) : Py_NewRef(value);
    if (item == NULL || PyTuple_SetItem(moved, place, item) != 0) Py_CLEAR(moved);
  }
  return moved;
}

static int move_value(const native_declaration *d, PyObject *name, native_move *move, PyObject *moved) {
  PyObject *value = PyDict_GetItemWithError(moved, name);
  if (value == NULL) return PyErr_Occurred() ? -1 : 0;
  if (!is_chosen(d, 0, name)) return 0;
  PyObject *item = native_nested_move(move, value);
  const int result = item != NULL ? PyDict_SetItem(moved, name, item) : -1;
  Py_XDECREF(item);
  return result;
}

/* In the order of the signature, so that the first array is met first; then what only **kwargs takes. */
static PyObject *moved_named(const native_declaration *d, PyObject *named, native_move *move) {
  PyObject *moved = PyDict_Copy(named);
  const Py_ssize_t count = PyTuple_Size(d->order);
  for (Py_ssize_t index = 0; moved != NULL && index < count; index++)
    if (move_value(d, PyTuple_GetItem(d->order, index), move, moved) != 0) Py_CLEAR(moved);
  PyObject *name = NULL;
  Py_ssize_t at = 0;
  while (moved != NULL && PyDict_Next(named, &at, &name, NULL)) /* what has moved already is at home now */
    if (move_value(d, name, move, moved) != 0) Py_CLEAR(moved);
  return moved;
}

int native_prefers_accelerator(int *prefers) {
  *prefers = 0;
  if (!native_policies_changed) return 0;
  PyObject *answer = PyObject_CallNoArgs(native_hook.prefers);
  if (answer == NULL) return -1;
  *prefers = answer == Py_True;
  Py_DECREF(answer);
  return 0;
}

static int move_begin(const native_declaration *d, native_move *move) {
  *move = (native_move){.target = d->input,
                        .gpu_id = d->gpu_id,
                        .device = d->device,
                        .casting = d->casting,
                        .all = (d->flags & NATIVE_DECLARE_MOVES_ALL) != 0,
                        .once = (d->flags & NATIVE_DECLARE_RECOVERS) != 0};
  return native_prefers_accelerator(&move->prefers);
}

/* Both new references, or none. */
static int move_all(const native_declaration *d, native_search *search, PyObject **positional, PyObject **named) {
  native_move move;
  if (move_begin(d, &move) != 0) return -1;
  if (search->owner == d->input) native_move_lead(&move, search->first);
  else move.watched = search->first;
  PyObject *args = moved_positional(d, *positional, &move);
  PyObject *kwargs = args == NULL ? NULL : PyDict_Size(*named) == 0 ? Py_NewRef(*named) : moved_named(d, *named, &move);
  search->stand_in = kwargs != NULL ? Py_XNewRef(move.stand_in) : NULL;
  native_move_end(&move);
  if (kwargs == NULL) {
    Py_XDECREF(args);
    return -1;
  }
  *positional = args;
  *named = kwargs;
  return 0;
}

static const void *home_type(const native_declaration *d) {
  return atomic_load_explicit(&d->home_type, memory_order_relaxed);
}

/* Finds the first array, of no dimensions only if there is no other, and whether anything is elsewhere. */
static int search_in(native_declaration *d, PyObject *positional, PyObject *named, native_search *search) {
  *search = (native_search){.home = d->input, .home_type = home_type(d), .wants_axes = 1};
  if (look_at(d, positional, named, search) != 0) {
    native_search_end(search);
    return -1;
  }
  if (search->home_type == NULL && search->first != NULL && search->owner == d->input) {
    const void *type = Py_TYPE(search->first);
    if (ab_detect_type(native_bridge(), type) == d->input)
      atomic_store_explicit(&d->home_type, type, memory_order_relaxed);
  }
  return 0;
}

/* Replaces both by new references, converted where something is to be. */
static int take_in(const native_declaration *d, PyObject **positional, PyObject **named, native_search *search) {
  if (search->foreign || (d->flags & NATIVE_DECLARE_MOVES_ALL)) return move_all(d, search, positional, named);
  Py_INCREF(*positional);
  Py_INCREF(*named);
  return 0;
}

/* ------------------------------------------------------------------ results */

static int keeps_contract(const native_declaration *d, PyObject *result) {
  if (d->contract == NULL) return 1;
  PyObject *verdict = PyObject_CallFunctionObjArgs(d->contract, result, NULL);
  const int kept = verdict != NULL ? PyObject_IsTrue(verdict) : -1;
  Py_XDECREF(verdict);
  if (kept > 0) return 1;
  PyObject *name = kept == 0 ? PyObject_GetAttrString(d->function, "__name__") : NULL;
  if (kept == 0 && name == NULL && native_no() != 0) return 0;
  if (kept == 0)
    PyErr_Format(PyExc_ValueError, "Function %S violated its output contract", name != NULL ? name : d->function);
  Py_XDECREF(name);
  return 0;
}

/* 1 if both have the same dtype as one and the same object: a framework has one for each. 0: who knows. */
static int shares_dtype(PyObject *one, PyObject *other) {
  static PyObject *kept;
  PyObject *name = interned(&kept, "dtype");
  PyObject *first = name != NULL ? PyObject_GetAttr(one, name) : NULL;
  PyObject *second = first != NULL ? PyObject_GetAttr(other, name) : NULL;
  const int same = first != NULL && first == second;
  const int failed = second == NULL && native_no() != 0;
  Py_XDECREF(first);
  Py_XDECREF(second);
  return failed ? -1 : same;
}

static int same_dtype(PyObject *reference, PyObject *image, const ab_backend *owner) {
  const ab_backend *from = native_owner_of(reference, NULL);
  if (from == NULL) return PyErr_Occurred() ? -1 : 0;
  const int shares = from == owner ? shares_dtype(reference, image) : 0;
  if (shares != 0) return shares;
  DLDataType one;
  DLDataType other;
  if (native_dtype_of(reference, from, &one) != 0 || native_dtype_of(image, owner, &other) != 0) return -1;
  return one.bits != 0 && one.bits == other.bits && one.code == other.code && one.lanes == other.lanes;
}

/* 1 if `image`, which is no array, may be an ArrayPayload of the older API: what such a container has is Python's to
 * find. -1 with an exception. */
static int may_carry(PyObject *image) {
  if ((PyType_GetFlags(Py_TYPE(image)) & Py_TPFLAGS_HEAPTYPE) == 0) return 0; /* None, numbers, lists … */
  PyObject *method = PyObject_GetAttrString((PyObject *)Py_TYPE(image), "map_array_payload");
  if (method == NULL) return native_no();
  Py_DECREF(method);
  return 1;
}

/* 1 if the image among the results has the dtype that it shall have, as far as this file knows. */
static int is_of_dtype(const native_declaration *d, PyObject *result, PyObject *reference, const native_search *found) {
  PyObject *stand_in = found->stand_in;
  if (d->flags & NATIVE_DECLARE_SETTLES) return 0;
  PyObject *image = PyTuple_Check(result) && PyTuple_Size(result) > 0 ? PyTuple_GetItem(result, 0) : result;
  const int carries = image != found->first ? may_carry(image) : 0;
  if (carries != 0) return carries < 0 ? -1 : 0;
  if (!(d->flags & NATIVE_DECLARE_PRESERVES) || reference == NULL || found->first == NULL) return 1;
  if (image == reference || image != found->first) return 1; /* no array at its place: nothing to preserve */
  if (image == stand_in) return 1;
  const int shares = stand_in != NULL ? shares_dtype(stand_in, image) : 0;
  if (shares != 0) return shares;
  return same_dtype(reference, image, found->owner);
}

static PyObject *moved_out(const native_declaration *d, PyObject *result, const ab_backend *output) {
  native_move move = {.target = output, .casting = d->casting};
  PyObject *moved = native_nested_move(&move, result);
  native_move_end(&move);
  return moved;
}

/* The result as it shall be: itself, moved, or made by settle(), which also knows what cannot be moved while a
 * framework is tracing. */
static PyObject *better(const native_declaration *d, PyObject *result, const native_search *search) {
  const ab_backend *output = d->output != NULL ? d->output : search->owner != NULL ? search->owner : d->input;
  PyObject *reference = search->first;
  native_search found = {.home = output,
                         .home_type = output == d->input ? home_type(d) : NULL,
                         .counts = 1,
                         .stand_in = Py_XNewRef(search->stand_in)};
  const int looked = native_nested_look(&found, result);
  const int good = looked == 0 ? is_of_dtype(d, result, reference, &found) : -1;
  native_search_end(&found);
  if (good < 0) return NULL;
  if (good && !found.foreign) return Py_NewRef(result);
  PyObject *moved = good ? moved_out(d, result, output) : NULL;
  if (moved != NULL) return moved;
  if (good && native_no() != 0) return NULL;
  return PyObject_CallFunctionObjArgs(d->settle, result, reference != NULL ? reference : Py_None, NULL);
}

/* Takes `result`. */
static PyObject *settled(const native_declaration *d, PyObject *result, const native_search *search) {
  PyObject *final = keeps_contract(d, result) ? better(d, result, search) : NULL;
  Py_DECREF(result);
  return final;
}

/* ------------------------------------------------------------------ recovery */

/* Takes the pending exception, with its traceback where that belongs. */
static void taken_exception(PyObject **type, PyObject **value, PyObject **trace) {
  PyErr_Fetch(type, value, trace);
  PyErr_NormalizeException(type, value, trace);
  if (*trace != NULL) PyException_SetTraceback(*value, *trace);
}

/* The pending exception goes to the caller; if it is out-of-memory it is to say who holds what. */
static void leave_with_exception(void) {
  if (!PyErr_ExceptionMatches(PyExc_Exception)) return;
  PyObject *type = NULL;
  PyObject *value = NULL;
  PyObject *trace = NULL;
  taken_exception(&type, &value, &trace);
  PyObject *told = PyObject_CallFunctionObjArgs(native_hook.leaves, value, NULL);
  Py_XDECREF(told);
  if (told != NULL || native_no() == 0) {
    PyErr_Restore(type, value, trace);
    return;
  }
  Py_XDECREF(type); /* what asks the program to stop goes on in its place */
  Py_XDECREF(value);
  Py_XDECREF(trace);
}

/* The pending exception is shown to recover(): it gives None and the exception goes on as it is, a tuple with the
 * result of a later attempt, or the exception to go on with. `args` is NULL if the arguments could not be converted. */
static PyObject *recovered(const native_declaration *d, PyObject *positional, PyObject *named, PyObject *args,
                           PyObject *kwargs) {
  PyObject *type = NULL;
  PyObject *value = NULL;
  PyObject *trace = NULL;
  taken_exception(&type, &value, &trace);
  PyObject *answer = PyObject_CallFunctionObjArgs(d->recover, value, positional, named, args != NULL ? args : Py_None,
                                                  args != NULL ? kwargs : Py_None, NULL);
  PyObject *result = NULL;
  if (answer == Py_None || (answer == NULL && native_no() == 0)) { /* no failure of ours replaces the function's */
    PyErr_Restore(type, value, trace);
    Py_XDECREF(answer);
    return NULL;
  }
  if (answer != NULL && PyTuple_Check(answer)) result = Py_NewRef(PyTuple_GetItem(answer, 0));
  else if (answer != NULL)
    PyErr_Restore(Py_NewRef((PyObject *)Py_TYPE(answer)), Py_NewRef(answer), PyException_GetTraceback(answer));
  Py_XDECREF(answer);
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
  return result;
}

/* ------------------------------------------------------------------ the calls */

static int is_given(PyObject *named, PyObject **kept, const char *control) {
  PyObject *name = interned(kept, control);
  if (name == NULL) return -1;
  return PyDict_GetItemWithError(named, name) != NULL;
}

static int has_control(const native_declaration *d, PyObject *named) {
  static PyObject *names[3];
  if ((d->flags & NATIVE_DECLARE_SLICE_BY_SLICE) && is_given(named, &names[0], "slice_by_slice") != 0) return 1;
  if ((d->flags & NATIVE_DECLARE_DTYPE_CONVERSION) && is_given(named, &names[1], "dtype_conversion") != 0) return 1;
  return (d->flags & NATIVE_DECLARE_DTYPE_CONFIG) && is_given(named, &names[2], "dtype_config") != 0;
}

static int is_rare(const native_declaration *d, PyObject *named) {
  if (d->flags & NATIVE_DECLARE_RARE) return 1;
  if (native_policies_changed && (d->flags & NATIVE_DECLARE_FOLLOWS)) return 1;
  return PyDict_Size(named) != 0 && has_control(d, named);
}

/* What the garbage collector has cleared may still be called by what dies with it. */
static int check_alive(const native_declaration *d) {
  if (d->function != NULL) return 0;
  PyErr_SetString(PyExc_RuntimeError, "this decorated function is being destroyed");
  return -1;
}

static int check_call(const native_declaration *d, PyObject *const *args, Py_ssize_t count) {
  if (check_alive(d) != 0) return -1;
  if (count == 2 && PyTuple_Check(args[0]) && PyDict_Check(args[1])) return 0;
  PyErr_SetString(PyExc_TypeError, "a tuple and a dict of arguments are needed");
  return -1;
}

static PyObject *call_rare(const native_declaration *d, PyObject *const *args) {
  PyObject *rare = PyObject_CallFunctionObjArgs(d->rare, args[0], args[1], NULL);
  if (rare == NULL) leave_with_exception();
  return rare;
}

static PyObject *call_found(const native_declaration *d, PyObject *const *args, native_search *search) {
  PyObject *positional = args[0];
  PyObject *named = args[1];
  const int taken = take_in(d, &positional, &named, search) == 0;
  PyObject *result = taken ? PyObject_Call(d->function, positional, PyDict_Size(named) != 0 ? named : NULL) : NULL;
  if (result == NULL && PyErr_ExceptionMatches(PyExc_Exception))
    result = recovered(d, args[0], args[1], taken ? positional : NULL, named);
  if (taken) {
    Py_DECREF(positional);
    Py_DECREF(named);
  }
  if (result == NULL) return NULL;
  result = settled(d, result, search);
  if (result == NULL) leave_with_exception();
  return result;
}

/* `search`: NULL for a rare call. Not inlined: where there is no accelerator nobody comes here. */
__attribute__((noinline)) static PyObject *call_in_scope(native_declaration *d, PyObject *const *args,
                                                         native_search *search) {
  ab_stream_scope *scope = NULL;
  if (native_scope_begin(d, args[0], args[1], search, &scope) != 0) {
    leave_with_exception();
    return NULL;
  }
  PyObject *result = search != NULL ? call_found(d, args, search) : call_rare(d, args);
  return scope != NULL ? native_scope_end(d, scope, result) : result;
}

PyObject *native_declaration_call(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  native_declaration *d = (native_declaration *)self;
  if (check_call(d, args, count) != 0) return NULL;
  const int never = atomic_load_explicit(&d->scopes, memory_order_relaxed) == NATIVE_SCOPES_NEVER;
  if (is_rare(d, args[1])) return never ? call_rare(d, args) : call_in_scope(d, args, NULL);
  native_search search;
  if (search_in(d, args[0], args[1], &search) != 0) {
    leave_with_exception();
    return NULL;
  }
  PyObject *result = never ? call_found(d, args, &search) : call_in_scope(d, args, &search);
  native_search_end(&search);
  return result;
}

PyObject *native_declaration_begin(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  native_declaration *d = (native_declaration *)self;
  if (check_call(d, args, count) != 0) return NULL;
  PyObject *positional = args[0];
  PyObject *named = args[1];
  native_search search;
  if (search_in(d, positional, named, &search) != 0) return NULL;
  const int taken = take_in(d, &positional, &named, &search) == 0;
  PyObject *first = search.first != NULL ? search.first : Py_None;
  PyObject *result = taken ? Py_BuildValue("(NNO)", positional, named, first) : NULL;
  native_search_end(&search);
  return result;
}

PyObject *native_declaration_finish(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  const native_declaration *d = (const native_declaration *)self;
  if (check_alive(d) != 0) return NULL;
  if (count != 2) {
    PyErr_SetString(PyExc_TypeError, "a result and a reference are needed");
    return NULL;
  }
  native_search search = {.first = args[1] != Py_None ? args[1] : NULL}; /* the caller's references */
  if (search.first != NULL) search.owner = native_owner_of(search.first, NULL);
  if (search.owner == NULL && PyErr_Occurred()) return NULL;
  return settled(d, Py_NewRef(args[0]), &search);
}

PyObject *native_declaration_take(PyObject *self, PyObject *const *args, Py_ssize_t count) {
  const native_declaration *d = (const native_declaration *)self;
  if (check_alive(d) != 0) return NULL;
  if (count < 1 || count > 2) {
    PyErr_SetString(PyExc_TypeError, "a value is needed, and whether it is an argument that is converted");
    return NULL;
  }
  const int chosen = count == 2 ? PyObject_IsTrue(args[1]) : !(d->flags & NATIVE_DECLARE_NARROWED);
  if (chosen <= 0) return chosen == 0 ? Py_NewRef(args[0]) : NULL;
  native_move move;
  if (move_begin(d, &move) != 0) return NULL;
  PyObject *moved = native_nested_move(&move, args[0]);
  native_move_end(&move);
  return moved;
}
