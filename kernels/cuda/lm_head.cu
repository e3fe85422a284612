// kernels/cuda/lm_head.cu - the head's handle: checks, the plan of a call, and the choice
// of a path.
#include <cstdlib>
#include <cstring>
#include <new>

#include "kernels/cuda/lm_head_parts.cuh"

namespace sp_lm {

sp_err from_cuda(cudaError_t e, const char *what) {
  if (e == cudaSuccess) return SP_OK;
  return sp_fail(e == cudaErrorMemoryAllocation ? SP_ENOMEM : SP_ECUDA, "lm_head: %s: %s",
                 what, cudaGetErrorString(e));
}

sp_err grow(Buffer *b, size_t bytes) {
  if (b->bytes >= bytes) return SP_OK;
  cudaFree(b->data);  // waits for kernels that still use it
  *b = {};
  const cudaError_t e = cudaMalloc(&b->data, bytes);
  if (e) {
    cudaGetLastError();
    return sp_fail(SP_ENOMEM, "lm_head: %zu bytes of device memory: %s", bytes,
                   cudaGetErrorString(e));
  }
  b->bytes = bytes;
  return SP_OK;
}

sp_err check_texts(const sp_lm_texts *texts, uint32_t n_tokens) {
  uint32_t at = 0;
  for (uint32_t b = 0; b < texts->n; b++) {
    if (texts->first[b] < at || texts->end[b] < texts->first[b] ||
        texts->end[b] > n_tokens)
      return sp_fail(SP_EINVAL,
                     "lm_head: text %u covers the tokens %u to %u of %u, after %u", b,
                     texts->first[b], texts->end[b], n_tokens, at);
    at = texts->end[b];
  }
  return SP_OK;
}

namespace {

// Rows between two texts that a stretch rather covers than ends before.
constexpr uint32_t kGap = 32;

// The texts b .. stop-1 without a large gap between them, which is never empty.
struct Stretch {
  uint32_t first, stop, begin, end;  // texts, rows
};
bool next_stretch(const sp_lm_texts *texts, Stretch *s) {
  uint32_t b = s->stop;
  while (b < texts->n && texts->first[b] == texts->end[b]) b++;
  if (b == texts->n) return false;
  *s = {b, b + 1, texts->first[b], texts->end[b]};
  for (; s->stop < texts->n; s->stop++) {
    if (texts->first[s->stop] == texts->end[s->stop]) continue;
    if (texts->first[s->stop] - s->end > kGap) break;
    s->end = texts->end[s->stop];
  }
  return true;
}

// Cuts all pooled rows into segments and units, into arrays large enough.
void cut(const sp_lm_texts *texts, Segment *segments, Tile *tiles, Call *call) {
  Stretch s = {};
  while (next_stretch(texts, &s)) {
    uint32_t at = call->n_segments, begin = s.begin;
    for (uint32_t b = s.first, row = s.begin; b < s.stop; b++) {
      if (texts->first[b] == texts->end[b]) continue;
      if (texts->first[b] > row)
        segments[call->n_segments++] = {texts->first[b], kNoText};
      segments[call->n_segments++] = {row = texts->end[b], b};
    }
    segments[call->n_segments++] = {UINT32_MAX, kNoText};
    for (uint32_t row = s.begin; row < s.end; row += kUnit) {
      for (; segments[at].end <= row; at++) begin = segments[at].end;
      const uint32_t cols = s.end - row < 2 * kUnit ? s.end - row : 2 * kUnit;
      const bool carried = begin < row;
      if (carried && segments[at].text != kNoText)
        call->crosses[call->n_tiles % 2] = true;
      tiles[call->n_tiles++] = {row, cols, at, carried};
    }
  }
}

// A pinned buffer of at least `bytes`, whose last contents have been copied.
sp_err next_upload(sp_lm_head *head, size_t bytes, sp_lm_head::Upload **out) {
  sp_lm_head::Upload *up = *out = &head->uploads[head->next_upload++ % 4];
  sp_err err = from_cuda(cudaEventSynchronize(up->copied), "waiting for an upload");
  if (err || up->bytes >= bytes) return err;
  cudaFreeHost(up->host);
  up->host = nullptr;
  up->bytes = 0;
  err = from_cuda(cudaMallocHost(&up->host, bytes + bytes / 2), "pinned memory");
  if (!err) up->bytes = bytes + bytes / 2;
  return err;
}

// Writes [segments][tiles][scales][first][end][counts] to the device. The pointers in `call`
// are set.
sp_err upload_plan(sp_lm_head *head, const sp_lm_texts *texts, Call *call,
                   cudaStream_t stream) {
  const bool tiled = head->path == SP_LM_WGMMA;
  const size_t n = texts->n;
  // At most: every text a stretch of its own, or with a gap before it.
  const size_t max_tiles = tiled ? call->n_tokens / kUnit + n : 0;
  // The kernel may read one behind the last; the tiles lie at a multiple of 16 bytes.
  const size_t max_segments = tiled ? 2 * n + 2 : 0;
  const size_t bytes = max_tiles * sizeof(Tile) + max_segments * sizeof(Segment) +
                       n * sizeof(TextScale) + 3 * n * sizeof(uint32_t);
  sp_lm_head::Upload *up;
  sp_err err = next_upload(head, bytes, &up);
  if (!err) err = grow(&head->plan, bytes);
  if (err) return err;

  char *const host = static_cast<char *>(up->host);
  const char *const device = static_cast<const char *>(head->plan.data);
  const size_t tiles_at = max_segments * sizeof(Segment);
  if (tiled)
    cut(texts, reinterpret_cast<Segment *>(host),
        reinterpret_cast<Tile *>(host + tiles_at), call);
  const size_t scales_at = tiles_at + call->n_tiles * sizeof(Tile);
  memset(host + scales_at, 0, n * sizeof(TextScale));
  const size_t texts_at = scales_at + n * sizeof(TextScale);
  uint32_t *const first = reinterpret_cast<uint32_t *>(host + texts_at);
  memcpy(first, texts->first, n * sizeof(uint32_t));
  memcpy(first + n, texts->end, n * sizeof(uint32_t));
  memset(first + 2 * n, 0, n * sizeof(uint32_t));
  err = from_cuda(
      cudaMemcpyAsync(head->plan.data, host, texts_at + 3 * n * sizeof(uint32_t),
                      cudaMemcpyHostToDevice, stream),
      "copying the texts' ranges");
  if (!err) err = from_cuda(cudaEventRecord(up->copied, stream), "recording an upload");
  call->segments = reinterpret_cast<const Segment *>(device);
  call->tiles = reinterpret_cast<const Tile *>(device + tiles_at);
  call->scales =
      reinterpret_cast<TextScale *>(static_cast<char *>(head->plan.data) + scales_at);
  call->first = reinterpret_cast<const uint32_t *>(device + texts_at);
  call->end = call->first + n;
  call->counts = const_cast<uint32_t *>(call->end + n);
  return err;
}

// Gives every row `pitch` elements, zeros behind the end: TMA and 16-byte copies want it.
__global__ void pad_kernel(const uint16_t *from, uint16_t *to, uint32_t dim,
                           uint32_t pitch, size_t n) {
  for (size_t i = size_t(blockIdx.x) * blockDim.x + threadIdx.x; i < n;
       i += size_t(gridDim.x) * blockDim.x) {
    const size_t row = i / pitch, k = i % pitch;
    to[i] = k < dim ? from[row * dim + k] : 0;
  }
}

sp_err pad(const sp_lm_head *head, const void *from, uint32_t rows, Buffer *to,
           cudaStream_t stream) {
  const size_t n = size_t(rows) * head->pitch;
  sp_err err = grow(to, n * 2);
  if (err || n == 0) return err;
  const unsigned blocks = unsigned(n / 256 + 1 < 4096 ? n / 256 + 1 : 4096);
  pad_kernel<<<blocks, 256, 0, stream>>>(static_cast<const uint16_t *>(from),
                                         static_cast<uint16_t *>(to->data),
                                         head->config.dim, head->pitch, n);
  return from_cuda(cudaGetLastError(), "padding rows");
}

sp_err choose_path(sp_lm_head *head) {
  int device, major, minor;
  cudaError_t e = cudaGetDevice(&device);
  if (!e) e = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device);
  if (!e) e = cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device);
  if (e) return from_cuda(e, "no device");
  const sp_lm_path best = major == 9 && minor == 0 ? SP_LM_WGMMA
                          : major >= 8             ? SP_LM_MMA
                                                   : SP_LM_PLAIN;
  head->path = head->config.path == SP_LM_AUTO ? best : head->config.path;
  if (head->path > best)
    return sp_fail(SP_EINVAL, "lm_head: path %d needs more than compute capability %d.%d",
                   int(head->path), major, minor);
  if (head->path != SP_LM_WGMMA) return SP_OK;
  e = wgmma_count_clusters(&head->n_clusters);
  if (!e && head->n_clusters > 0) return SP_OK;
  cudaGetLastError();  // a build without sm_90a code, or a partitioned device
  if (head->config.path == SP_LM_AUTO) {
    head->path = SP_LM_MMA;
    return SP_OK;
  }
  return sp_fail(SP_ECUDA, "lm_head: the wgmma kernel does not fit this device");
}

// Below that the tensor cores are not what the first pass waits for.
constexpr uint32_t kScreenDim = 256;

sp_err prepare(sp_lm_head *head) {
  const sp_lm_head_config *c = &head->config;
  sp_err err = choose_path(head);
  if (err) return err;
  for (auto &up : head->uploads) {
    err =
        from_cuda(cudaEventCreateWithFlags(&up.copied, cudaEventDisableTiming), "event");
    if (err) return err;
  }
  head->pitch = (c->dim + 7) / 8 * 8;
  if (head->pitch != c->dim) {
    err = pad(head, c->w, c->vocab, &head->w, nullptr);
    if (!err) err = from_cuda(cudaStreamSynchronize(nullptr), "padding the weights");
    if (err) return err;
  }
  if (head->path != SP_LM_WGMMA) return SP_OK;
  err = grow(&head->partials, wgmma_partial_bytes(c->vocab, head->n_clusters));
  const bool screens = c->screen == SP_LM_SCREEN_ALWAYS ||
                       (c->screen == SP_LM_SCREEN_AUTO && c->dim >= kScreenDim);
  return err || !screens ? err : screen_prepare(head);
}

}  // namespace

sp_err begin(sp_lm_head *head, const void *h, uint32_t n_tokens, const sp_lm_texts *texts,
             Call *call, cudaStream_t stream) {
  *call = {};
  call->dim = head->config.dim;
  call->pitch = head->pitch;
  call->n_tokens = n_tokens;
  call->n_texts = texts->n;
  const bool padded = head->pitch != head->config.dim;
  if (padded) {
    sp_err err = pad(head, h, n_tokens, &head->h, stream);
    if (err) return err;
  }
  call->w = padded ? head->w.data : head->config.w;
  call->h = padded ? head->h.data : h;
  if (reinterpret_cast<uintptr_t>(call->h) % 16 ||
      reinterpret_cast<uintptr_t>(call->w) % 16)
    return sp_fail(SP_EINVAL, "lm_head: h and w must lie at multiples of 16 bytes");
  head->stream = stream;
  return upload_plan(head, texts, call, stream);
}

namespace {

sp_err run(sp_lm_head *head, const Call &call, const Sink &sink, Output output,
           cudaStream_t stream) {
  const sp_lm_dtype type = head->config.dtype;
  switch (head->path) {
    case SP_LM_WGMMA:
      if (call.n_tiles == 0) return SP_OK;
      return run_wgmma(call, sink, output, type, head->partials.data, head->n_clusters,
                       stream);
    case SP_LM_MMA:
      return from_cuda(run_mma(call, sink, output, type, stream), "launch");
    default:
      return from_cuda(run_plain(call, sink, output, type, stream), "launch");
  }
}

Sink make_sink(const sp_lm_head *head) {
  Sink sink = {};
  sink.bias = head->config.bias;
  sink.vocab = head->config.vocab;
  sink.log1p_times = head->config.log1p_times;
  return sink;
}

// The tiles of the WGMMA path never meet a text without tokens.
sp_err clear_empty(const sp_lm_texts *texts, const Sink &sink, cudaStream_t stream) {
  for (uint32_t b = 0; b < texts->n; b++) {
    if (texts->first[b] != texts->end[b]) continue;
    const size_t at = size_t(b) * sink.vocab, bytes = size_t(sink.vocab) * 4;
    cudaError_t e = cudaMemsetAsync(sink.out + at, 0, bytes, stream);
    if (!e && sink.argmax) e = cudaMemsetAsync(sink.argmax + at, 0xff, bytes, stream);
    if (e) return from_cuda(e, "clearing an empty text");
  }
  return SP_OK;
}

// Two passes have more launches than one and look at h twice before they begin: that is worth
// it from so many products on. And a piece of the second pass is a text's: none may be so long
// that the others are done before it.
constexpr double kManyProducts = 5e10;
constexpr uint32_t kLongTexts = 16;  // that make a batch, at least
// The second pass takes longer than the first one saves when it scores this share of all terms;
// then so many calls are made in one pass before the next attempt.
constexpr float kLargeShare = 0.15f;
constexpr uint32_t kRest = 256;

// Does the screen make this call shorter? What the last one found is read without waiting for
// it: the answer only decides how entries are found, not which.
bool screens(sp_lm_head *head, const Call &call, const sp_lm_texts *texts) {
  if (!head->w8.data || call.n_tiles == 0 ||
      count_pieces(head->config.vocab) * call.n_texts >= 1u << 31)
    return false;
  if (head->config.screen == SP_LM_SCREEN_ALWAYS) return true;
  uint32_t longest = 0;
  for (uint32_t b = 0; b < texts->n; b++)
    longest = max(longest, texts->end[b] - texts->first[b]);
  if (longest > call.n_tokens / kLongTexts ||
      double(call.n_tokens) * call.dim * head->config.vocab < kManyProducts)
    return false;
  volatile float *const share = head->share;
  if (*share > kLargeShare) {
    head->resting = kRest;
    *share = 0;
  }
  if (head->resting == 0) return true;
  head->resting--;
  return false;
}

}  // namespace
}  // namespace sp_lm

using namespace sp_lm;

sp_err sp_lm_head_new(const sp_lm_head_config *config, sp_lm_head **out) {
  *out = nullptr;
  if (!config->w || config->vocab < 1 || config->vocab > 1u << 24 || config->dim < 1 ||
      config->dim > 1u << 16 || config->log1p_times < 1 || config->log1p_times > 2)
    return sp_fail(SP_EINVAL, "lm_head: vocab %u, dim %u, log1p %u times", config->vocab,
                   config->dim, config->log1p_times);
  sp_lm_head *head = static_cast<sp_lm_head *>(calloc(1, sizeof *head));
  if (!head) return sp_fail(SP_ENOMEM, "lm_head: handle");
  head->config = *config;
  const sp_err err = prepare(head);
  if (err) {
    sp_lm_head_free(head);
    return err;
  }
  *out = head;
  return SP_OK;
}

void sp_lm_head_free(sp_lm_head *head) {
  if (!head) return;
  cudaStreamSynchronize(head->stream);
  for (auto &up : head->uploads) {
    if (up.copied) cudaEventDestroy(up.copied);
    cudaFreeHost(up.host);
  }
  for (Buffer *b :
       {&head->w, &head->h, &head->plan, &head->partials, &head->staged, &head->sorted,
        &head->w8, &head->scales, &head->h8, &head->marks, &head->candidates})
    cudaFree(b->data);
  cudaFreeHost(head->share);
  free(head);
}

sp_lm_path sp_lm_head_path(const sp_lm_head *head) {
  return head->path;
}

size_t sp_lm_head_scratch_bytes(const sp_lm_head *head) {
  return head->w.bytes + head->h.bytes + head->plan.bytes + head->partials.bytes +
         head->staged.bytes + head->sorted.bytes + head->w8.bytes + head->scales.bytes +
         head->h8.bytes + head->marks.bytes + head->candidates.bytes;
}

float sp_lm_head_screen_share(const sp_lm_head *head) {
  return head->share ? *static_cast<const volatile float *>(head->share) : 0;
}

sp_err sp_lm_head_dense(sp_lm_head *head, const void *h, uint32_t n_tokens,
                        const sp_lm_texts *texts, float *out, int32_t *argmax,
                        cudaStream_t stream) {
  sp_err err = check_texts(texts, n_tokens);
  if (err || texts->n == 0) return err;
  Sink sink = make_sink(head);
  sink.out = out;
  sink.argmax = argmax;
  Call call;
  err = begin(head, h, n_tokens, texts, &call, stream);
  if (!err && head->path == SP_LM_WGMMA) err = clear_empty(texts, sink, stream);
  if (err) return err;
  return run(head, call, sink, argmax ? Output::kArgmax : Output::kValues, stream);
}

sp_err sp_lm_head_sparse(sp_lm_head *head, const void *h, uint32_t n_tokens,
                         const sp_lm_texts *texts, const sp_lm_sparse *out,
                         cudaStream_t stream) {
  sp_err err = check_texts(texts, n_tokens);
  if (err || texts->n == 0) return err;
  if (out->cap == 0) return sp_fail(SP_EINVAL, "lm_head: no room for sparse entries");
  Sink sink = make_sink(head);
  sink.threshold = out->threshold;
  sink.cap = out->cap < sink.vocab ? out->cap : sink.vocab;
  err = grow(&head->staged, size_t(texts->n) * sink.cap * sizeof(uint2));
  if (err) return err;
  sink.staged = static_cast<uint2 *>(head->staged.data);
  Call call;
  err = begin(head, h, n_tokens, texts, &call, stream);
  sink.n_found = call.counts;
  if (!err)
    err = screens(head, call, texts) ? run_screened(head, call, sink, stream)
                                     : run(head, call, sink, Output::kSparse, stream);
  if (err) return err;
  return from_cuda(
      run_finish_sparse(sink, texts->n, *out, head->path == SP_LM_WGMMA, stream),
      "launch");
}
