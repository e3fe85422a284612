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

// Rows between two texts that a column tile rather covers than begins anew after them.
constexpr uint32_t kGap = 32;

// Covers all pooled rows with column tiles. tiles NULL: only counts them.
uint32_t cut_tiles(const sp_lm_texts *texts, Tile *tiles, bool *straddles) {
  uint32_t n = 0;
  *straddles = false;
  for (uint32_t b = 0; b < texts->n;) {
    if (texts->end[b] == texts->first[b]) {
      b++;
      continue;
    }
    // A stretch of texts without a large gap.
    uint32_t stop = b + 1, end = texts->end[b];
    for (; stop < texts->n; stop++) {
      if (texts->first[stop] == texts->end[stop]) continue;
      if (texts->first[stop] - end > kGap) break;
      end = texts->end[stop];
    }
    uint32_t text = b;
    for (uint32_t row = texts->first[b]; row < end; row += kWgmmaCols, n++) {
      const uint32_t cols = end - row < kWgmmaCols ? end - row : kWgmmaCols;
      while (texts->end[text] <= row) text++;
      uint32_t text_end = text;
      while (text_end < stop && texts->first[text_end] < row + cols) text_end++;
      if (texts->end[text_end - 1] > row + cols) *straddles = true;
      if (tiles) tiles[n] = {row, cols, text, text_end};
    }
    b = stop;
  }
  return n;
}

// Writes [tiles][first][end] to the device. The pointers in `call` are set.
sp_err upload_plan(sp_lm_head *head, const sp_lm_texts *texts, Call *call,
                   cudaStream_t stream) {
  const bool tiled = head->path == SP_LM_WGMMA;
  if (tiled) call->n_tiles = cut_tiles(texts, nullptr, &call->straddles);
  const size_t tile_bytes = call->n_tiles * sizeof(Tile);
  const size_t text_bytes = size_t(texts->n) * sizeof(uint32_t);
  const size_t bytes = tile_bytes + 2 * text_bytes;

  sp_lm_head::Upload *up = &head->uploads[head->next_upload++ % 4];
  sp_err err = from_cuda(cudaEventSynchronize(up->copied), "waiting for an upload");
  if (!err) err = grow(&head->plan, bytes);
  if (err) return err;
  if (up->bytes < bytes) {
    cudaFreeHost(up->host);
    up->host = nullptr;
    up->bytes = 0;
    err = from_cuda(cudaMallocHost(&up->host, bytes + bytes / 2), "pinned memory");
    if (err) return err;
    up->bytes = bytes + bytes / 2;
  }
  char *host = static_cast<char *>(up->host);
  if (tiled) cut_tiles(texts, reinterpret_cast<Tile *>(host), &call->straddles);
  memcpy(host + tile_bytes, texts->first, text_bytes);
  memcpy(host + tile_bytes + text_bytes, texts->end, text_bytes);
  err = from_cuda(
      cudaMemcpyAsync(head->plan.data, host, bytes, cudaMemcpyHostToDevice, stream),
      "copying the texts' ranges");
  if (!err) err = from_cuda(cudaEventRecord(up->copied, stream), "recording an upload");
  const char *device = static_cast<const char *>(head->plan.data);
  call->tiles = reinterpret_cast<const Tile *>(device);
  call->first = reinterpret_cast<const uint32_t *>(device + tile_bytes);
  call->end = call->first + texts->n;
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
  if (head->path == SP_LM_WGMMA)
    return grow(&head->partials, wgmma_partial_bytes(c->vocab, head->n_clusters));
  return SP_OK;
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
       {&head->w, &head->h, &head->plan, &head->partials, &head->staged, &head->sorted})
    cudaFree(b->data);
  free(head);
}

sp_lm_path sp_lm_head_path(const sp_lm_head *head) {
  return head->path;
}

size_t sp_lm_head_scratch_bytes(const sp_lm_head *head) {
  return head->w.bytes + head->h.bytes + head->plan.bytes + head->partials.bytes +
         head->staged.bytes + head->sorted.bytes;
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
  sink.n_found = out->n_found;
  Call call;
  err = begin(head, h, n_tokens, texts, &call, stream);
  if (!err)
    err = from_cuda(cudaMemsetAsync(out->n_found, 0, texts->n * sizeof(uint32_t), stream),
                    "clearing the counts");
  if (!err) err = run(head, call, sink, Output::kSparse, stream);
  if (err) return err;
  return from_cuda(run_finish_sparse(sink, texts->n, *out, stream), "launch");
}
