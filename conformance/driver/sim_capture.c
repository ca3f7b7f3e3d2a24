/* SPDX-License-Identifier: MIT
 * Stream captures: what is enqueued becomes part of a graph (which is thrown away) and does not run. */
#include <stdlib.h>

#include "sim.h"

sim_capture *sim__captures;
static char graph; /* the one handle of all graphs */

/* Whether `capture` forbids unsafe calls to a thread of this mode. */
static int forbids(const sim_capture *capture, const sim_thread *thread) {
  if (!capture->valid || capture->mode == CU_STREAM_CAPTURE_MODE_RELAXED) return 0;
  if (thread->mode == CU_STREAM_CAPTURE_MODE_RELAXED) return 0;
  if (capture->thread == thread->number) return 1;
  return capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL && thread->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
}

void sim__capture_invalidate(sim_capture *capture, const char *why) {
  capture->valid = 0;
  char name[48];
  sim__fault("capture: the capture on %s was broken: %s", sim__stream_name(capture->origin, name), why);
}

CUresult sim__capture_allows(void) {
  CUresult result = CUDA_SUCCESS;
  for (sim_capture *capture = sim__captures; capture != NULL; capture = capture->next) {
    if (!forbids(capture, sim__thread())) continue;
    sim__capture_invalidate(capture, sim__caller());
    result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  }
  return result;
}

/* The legacy stream would have to wait for a stream that captures. */
static CUresult legacy_meets_capture(const sim_stream *legacy) {
  CUresult result = CUDA_SUCCESS;
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next) {
    if (stream->context != legacy->context || stream->capture == NULL || !sim__stream_blocking(stream)) continue;
    sim__capture_invalidate(stream->capture, "work on the legacy stream");
    result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  }
  return result;
}

CUresult sim__capture_enqueue(sim_stream *stream, int *captured) {
  *captured = stream->capture != NULL;
  if (stream->kind == SIM_LEGACY) return legacy_meets_capture(stream);
  if (stream->capture == NULL) return CUDA_SUCCESS;
  if (!stream->capture->valid) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  stream->captured_unjoined = stream != stream->capture->origin;
  return CUDA_SUCCESS;
}

sim_capture *sim__capture_of(uint64_t id) {
  sim_capture *capture = sim__captures;
  while (capture != NULL && capture->id != id) capture = capture->next;
  return capture;
}

static void end_capture(sim_capture *capture) {
  for (sim_stream *stream = sim__streams; stream != NULL; stream = stream->next) {
    if (stream->capture != capture) continue;
    stream->capture = NULL;
    stream->captured_unjoined = 0;
  }
  sim_capture **at = &sim__captures;
  while (*at != capture) at = &(*at)->next;
  *at = capture->next;
  free(capture);
}

void sim__capture_forget(sim_stream *stream) {
  sim_capture *const capture = stream->capture;
  stream->capture = NULL;
  if (capture != NULL && capture->origin == stream) end_capture(capture);
}

void sim__capture_reset(void) {
  while (sim__captures != NULL) end_capture(sim__captures);
}

/* ------------------------------------------------------------------ beginning and ending */

static CUresult begin(CUstream handle, CUstreamCaptureMode mode) {
  sim_stream *stream = NULL;
  const CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (stream->kind == SIM_LEGACY) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream->capture != NULL) return CUDA_ERROR_ILLEGAL_STATE;
  sim_capture *const capture = calloc(1, sizeof *capture);
  if (capture == NULL) return CUDA_ERROR_OUT_OF_MEMORY;
  *capture = (sim_capture){sim__captures, sim__new_id(), sim__thread()->number, stream, mode, 1};
  sim__captures = capture;
  stream->capture = capture;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamBeginCapture(CUstream hStream, CUstreamCaptureMode mode) {
  SIM_CALL(cuStreamBeginCapture, SIM_CURRENT, begin(hStream, mode));
}

static int has_unjoined(const sim_capture *capture) {
  for (const sim_stream *stream = sim__streams; stream != NULL; stream = stream->next)
    if (stream->capture == capture && stream->captured_unjoined) return 1;
  return 0;
}

static CUresult end(CUstream handle, CUgraph *result_graph) {
  if (result_graph != NULL) *result_graph = NULL;
  sim_stream *stream = NULL;
  CUresult result = sim__stream(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  sim_capture *const capture = stream->capture;
  if (capture == NULL) return CUDA_ERROR_ILLEGAL_STATE;
  if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
  if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != sim__thread()->number)
    return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
  if (!capture->valid) result = CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  else if (has_unjoined(capture)) result = CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
  end_capture(capture);
  if (result == CUDA_SUCCESS && result_graph != NULL) *result_graph = (CUgraph)(void *)&graph;
  return result;
}

CUresult CUDAAPI cuStreamEndCapture(CUstream hStream, CUgraph *phGraph) {
  SIM_CALL(cuStreamEndCapture, SIM_CURRENT, end(hStream, phGraph));
}

CUresult CUDAAPI cuGraphDestroy(CUgraph hGraph) {
  SIM_CALL(cuGraphDestroy, 0, (void *)hGraph == &graph ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE);
}

SIM_API CUresult sim_begin_capture(CUstream stream, CUstreamCaptureMode mode) {
  const int inside = sim__lock();
  const CUresult result = begin(stream, mode);
  sim__unlock(inside);
  return result;
}

SIM_API CUresult sim_end_capture(CUstream stream) {
  const int inside = sim__lock();
  const CUresult result = end(stream, NULL);
  sim__unlock(inside);
  return result;
}

/* ------------------------------------------------------------------ asking */

static CUstreamCaptureStatus status_of(const sim_stream *stream) {
  if (stream->capture == NULL) return CU_STREAM_CAPTURE_STATUS_NONE;
  return stream->capture->valid ? CU_STREAM_CAPTURE_STATUS_ACTIVE : CU_STREAM_CAPTURE_STATUS_INVALIDATED;
}

/* The real driver refuses the question about the legacy stream while a blocking stream captures. */
static CUresult stream_to_ask(CUstream handle, sim_stream **stream) {
  const CUresult result = sim__stream(handle, stream);
  if (result != CUDA_SUCCESS || (*stream)->kind != SIM_LEGACY) return result;
  for (const sim_stream *other = sim__streams; other != NULL; other = other->next)
    if (other->context == (*stream)->context && other->capture != NULL && sim__stream_blocking(other))
      return CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
  return CUDA_SUCCESS;
}

static CUresult is_capturing(CUstream handle, CUstreamCaptureStatus *status) {
  sim_stream *stream = NULL;
  const CUresult result = stream_to_ask(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (status == NULL) return CUDA_ERROR_INVALID_VALUE;
  *status = status_of(stream);
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamIsCapturing(CUstream hStream, CUstreamCaptureStatus *captureStatus) {
  SIM_CALL(cuStreamIsCapturing, SIM_CURRENT, is_capturing(hStream, captureStatus));
}

static CUresult info(CUstream handle, CUstreamCaptureStatus *status, cuuint64_t *id, CUgraph *in_graph) {
  sim_stream *stream = NULL;
  const CUresult result = stream_to_ask(handle, &stream);
  if (result != CUDA_SUCCESS) return result;
  if (status == NULL) return CUDA_ERROR_INVALID_VALUE;
  *status = status_of(stream);
  if (*status != CU_STREAM_CAPTURE_STATUS_ACTIVE) return CUDA_SUCCESS;
  if (id != NULL) *id = stream->capture->id;
  if (in_graph != NULL) *in_graph = (CUgraph)(void *)&graph;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuStreamGetCaptureInfo(CUstream hStream, CUstreamCaptureStatus *captureStatus_out, cuuint64_t *id_out,
                                        CUgraph *graph_out, const CUgraphNode **dependencies_out,
                                        const CUgraphEdgeData **edgeData_out, size_t *numDependencies_out) {
  if (dependencies_out != NULL) *dependencies_out = NULL;
  if (edgeData_out != NULL) *edgeData_out = NULL;
  if (numDependencies_out != NULL) *numDependencies_out = 0;
  SIM_CALL(cuStreamGetCaptureInfo, SIM_CURRENT, info(hStream, captureStatus_out, id_out, graph_out));
}

static CUresult exchange_mode(CUstreamCaptureMode *mode) {
  if (mode == NULL || (unsigned)*mode > CU_STREAM_CAPTURE_MODE_RELAXED) return CUDA_ERROR_INVALID_VALUE;
  sim_thread *const thread = sim__thread();
  const CUstreamCaptureMode before = thread->mode;
  thread->mode = *mode;
  *mode = before;
  return CUDA_SUCCESS;
}

CUresult CUDAAPI cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode) {
  SIM_CALL(cuThreadExchangeStreamCaptureMode, 0, exchange_mode(mode));
}
