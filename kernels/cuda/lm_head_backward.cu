// kernels/cuda/lm_head_backward.cu - gradients through the head's maximum.
//
// Only the (text, term) pairs with y > 0 carry a gradient, each to one token. dw: a warp
// owns a term and adds the texts in order. dh: the pairs are sorted by token, terms
// ascending (a counting sort without chance in it), and a thread block owns a token.
#include "kernels/cuda/lm_head_parts.cuh"

namespace sp_lm {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kChunk = 2048;                    // terms that one warp sorts
constexpr int kVectors = 4;                     // of 8 elements each for a lane
constexpr uint32_t kSlice = kVectors * 8 * 32;  // of the dimension, for a warp

struct Gradients {
  const float *y, *dy;
  const int32_t *argmax;
  uint32_t vocab, log1p_times;

  __device__ float at(size_t i) const {
    const float v = y[i];
    if (!(v > 0.f)) return 0.f;
    // y = log1p(x): 1 / (1 + x) = exp(-y). Twice: u = expm1(y), and exp(-y) exp(-u).
    const float slope = expf(-v);
    return dy[i] * (log1p_times == 2 ? slope * expf(-expm1f(v)) : slope);
  }
};

// acc += g * row[0..]: a lane's vectors of one slice.
template <typename T>
__device__ inline void add_row(float (&acc)[kVectors][8], float g, const T *row,
                               uint32_t n_vectors) {
#pragma unroll
  for (int c = 0; c < kVectors; c++) {
    const uint32_t i = c * 32 + (threadIdx.x & 31);
    if (i >= n_vectors) continue;
    const uint4 raw = __ldg(reinterpret_cast<const uint4 *>(row) + i);
    const T *x = reinterpret_cast<const T *>(&raw);
#pragma unroll
    for (int e = 0; e < 8; e++) acc[c][e] += g * to_float(x[e]);
  }
}

// Grid: x covers the terms, a warp each; y the slices of the dimension.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    weights_kernel(const Call call, const Gradients grads, float *dw, float *dbias) {
  const uint32_t v = blockIdx.x * kWarps + threadIdx.x / 32;
  if (v >= grads.vocab) return;
  const uint32_t lane = threadIdx.x & 31, k0 = blockIdx.y * kSlice;
  const uint32_t n_vectors = (call.pitch - k0) / 8;
  const T *h = static_cast<const T *>(call.h) + k0;
  float acc[kVectors][8] = {}, sum = 0.f;
  for (uint32_t b0 = 0; b0 < call.n_texts; b0 += 32) {
    float g = 0.f;
    int32_t token = 0;
    if (b0 + lane < call.n_texts) {
      const size_t i = size_t(b0 + lane) * grads.vocab + v;
      g = grads.at(i);
      token = grads.argmax[i];
    }
    unsigned todo = __ballot_sync(0xffffffffu, g != 0.f);
    while (todo) {
      const int from = __ffs(todo) - 1;
      todo &= todo - 1;
      const float one = __shfl_sync(0xffffffffu, g, from);
      const uint32_t row = __shfl_sync(0xffffffffu, token, from);
      sum += one;
      if (dw) add_row(acc, one, h + size_t(row) * call.pitch, n_vectors);
    }
  }
  if (dbias && blockIdx.y == 0 && lane == 0) dbias[v] = sum;
  if (!dw) return;
#pragma unroll
  for (int c = 0; c < kVectors; c++)
#pragma unroll
    for (int e = 0; e < 8; e++) {
      const uint32_t k = k0 + (c * 32 + lane) * 8 + e;
      if (k < call.dim) dw[size_t(v) * call.dim + k] = acc[c][e];
    }
}

// The counting sort. counts[chunk][token]: how many of the chunk's terms have their
// maximum there; then, where their first one goes among the pairs of the token's text.
// Tokens are rows of h: every row belongs to one text at most.

__global__ void __launch_bounds__(32)
    count_kernel(const Call call, const Gradients grads, uint32_t *counts) {
  const uint32_t text = blockIdx.y, v0 = blockIdx.x * kChunk, lane = threadIdx.x;
  uint32_t *mine = counts + size_t(blockIdx.x) * call.n_tokens;
  for (uint32_t v = v0 + lane; v < min(v0 + kChunk, grads.vocab); v += 32) {
    const size_t i = size_t(text) * grads.vocab + v;
    if (grads.at(i) != 0.f) atomicAdd(mine + grads.argmax[i], 1u);
  }
}

// One block a text. starts[row], ends[row]: the token's pairs among its text's.
__global__ void __launch_bounds__(1024)
    place_kernel(const Call call, uint32_t n_chunks, uint32_t *counts, uint32_t *starts,
                 uint32_t *ends) {
  __shared__ uint32_t sums[1024];
  const uint32_t first = call.first[blockIdx.x], end = call.end[blockIdx.x];
  uint32_t before = 0;
  for (uint32_t row0 = first; row0 < end; row0 += 1024) {
    const uint32_t row = row0 + threadIdx.x;
    uint32_t n = 0;
    if (row < end)
      for (uint32_t c = 0; c < n_chunks; c++)
        n += counts[size_t(c) * call.n_tokens + row];
    sums[threadIdx.x] = n;
    __syncthreads();
    for (int offset = 1; offset < 1024; offset *= 2) {
      const uint32_t x = int(threadIdx.x) >= offset ? sums[threadIdx.x - offset] : 0;
      __syncthreads();
      sums[threadIdx.x] += x;
      __syncthreads();
    }
    uint32_t at = before + sums[threadIdx.x] - n;
    before += sums[1023];
    __syncthreads();
    if (row >= end) continue;
    starts[row] = at;
    ends[row] = at + n;
    for (uint32_t c = 0; c < n_chunks; c++) {
      uint32_t *place = counts + size_t(c) * call.n_tokens + row;
      const uint32_t m = *place;
      *place = at;
      at += m;
    }
  }
}

// A warp puts its chunk's pairs (term, gradient) into place, 32 terms at a time in order.
// Lanes of one token find their rank among themselves; the lowest moves the place on.
__global__ void __launch_bounds__(32)
    sort_kernel(const Call call, const Gradients grads, uint32_t *counts, uint2 *sorted) {
  const uint32_t text = blockIdx.y, v0 = blockIdx.x * kChunk, lane = threadIdx.x;
  uint32_t *places = counts + size_t(blockIdx.x) * call.n_tokens;
  uint2 *out = sorted + size_t(text) * grads.vocab;
  for (uint32_t v = v0; v < min(v0 + kChunk, grads.vocab); v += 32) {
    float g = 0.f;
    int32_t token = -1;
    if (v + lane < grads.vocab) {
      const size_t i = size_t(text) * grads.vocab + v + lane;
      g = grads.at(i);
      if (g != 0.f) token = grads.argmax[i];
    }
    const unsigned same = __match_any_sync(0xffffffffu, token);
    if (token >= 0) {
      const uint32_t rank = __popc(same & ((1u << lane) - 1));
      const uint32_t base = places[token];
      __syncwarp(same);
      if (rank == 0) places[token] = base + __popc(same);
      out[base + rank] = make_uint2(v + lane, __float_as_uint(g));
    }
    __syncwarp();
  }
}

// One block a token: its warps take every eighth pair, and are added up in order.
// Grid: x covers the texts' tokens, y the slices of the dimension.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    hidden_kernel(const Call call, const Gradients grads, const uint32_t *text_of,
                  const uint32_t *starts, const uint32_t *ends, const uint2 *sorted,
                  float *dh) {
  __shared__ float parts[kWarps][kSlice];
  const uint32_t row = blockIdx.x, k0 = blockIdx.y * kSlice;
  const uint32_t warp = threadIdx.x / 32, lane = threadIdx.x & 31;
  const uint32_t n_vectors = (call.pitch - k0) / 8;
  const T *w = static_cast<const T *>(call.w) + k0;
  const uint32_t text = text_of[row];
  float acc[kVectors][8] = {};
  if (text != 0xffffffffu) {
    const uint2 *pairs = sorted + size_t(text) * grads.vocab;
#pragma unroll 2
    for (uint32_t i = starts[row] + warp; i < ends[row]; i += kWarps) {
      const uint2 pair = pairs[i];
      add_row(acc, __uint_as_float(pair.y), w + size_t(pair.x) * call.pitch, n_vectors);
    }
  }
#pragma unroll
  for (int c = 0; c < kVectors; c++)
#pragma unroll
    for (int e = 0; e < 8; e++) parts[warp][(c * 8 + e) * 32 + lane] = acc[c][e];
  __syncthreads();
  for (uint32_t k = threadIdx.x; k < kSlice && k0 + k < call.dim; k += kThreads) {
    const uint32_t vector = k / 8, at = (vector / 32 * 8 + k % 8) * 32 + vector % 32;
    float sum = 0.f;
#pragma unroll
    for (int i = 0; i < kWarps; i++) sum += parts[i][at];
    dh[size_t(row) * call.dim + k0 + k] = sum;
  }
}

__global__ void name_texts_kernel(const Call call, uint32_t *text_of) {
  const uint32_t text = blockIdx.x;
  for (uint32_t row = call.first[text] + threadIdx.x; row < call.end[text];
       row += blockDim.x)
    text_of[row] = text;
}

template <typename T>
sp_err run_backward(sp_lm_head *head, const Call &call, const Gradients &grads,
                    const sp_lm_grads *out, cudaStream_t stream) {
  const uint32_t n_slices = (call.pitch + kSlice - 1) / kSlice;
  if (out->dw || out->dbias) {
    const dim3 grid((grads.vocab + kWarps - 1) / kWarps, out->dw ? n_slices : 1);
    weights_kernel<T><<<grid, kThreads, 0, stream>>>(call, grads, out->dw, out->dbias);
  }
  if (!out->dh || call.n_tokens == 0) return from_cuda(cudaGetLastError(), "launch");

  const uint32_t n_chunks = (grads.vocab + kChunk - 1) / kChunk;
  const size_t pair_bytes = size_t(call.n_texts) * grads.vocab * sizeof(uint2);
  const size_t count_bytes = size_t(n_chunks) * call.n_tokens * sizeof(uint32_t);
  const size_t token_bytes = size_t(call.n_tokens) * sizeof(uint32_t);
  sp_err err = grow(&head->sorted, pair_bytes + count_bytes + 3 * token_bytes);
  if (err) return err;
  uint2 *sorted = static_cast<uint2 *>(head->sorted.data);
  uint32_t *counts = reinterpret_cast<uint32_t *>(sorted + pair_bytes / sizeof(uint2));
  uint32_t *starts = counts + count_bytes / sizeof(uint32_t);
  uint32_t *ends = starts + call.n_tokens, *text_of = ends + call.n_tokens;

  cudaError_t e = cudaMemsetAsync(counts, 0, count_bytes, stream);
  if (!e) e = cudaMemsetAsync(text_of, 0xff, token_bytes, stream);
  if (e) return from_cuda(e, "clearing counts");
  const dim3 chunks(n_chunks, call.n_texts);
  name_texts_kernel<<<call.n_texts, 128, 0, stream>>>(call, text_of);
  count_kernel<<<chunks, 32, 0, stream>>>(call, grads, counts);
  place_kernel<<<call.n_texts, 1024, 0, stream>>>(call, n_chunks, counts, starts, ends);
  sort_kernel<<<chunks, 32, 0, stream>>>(call, grads, counts, sorted);
  hidden_kernel<T><<<dim3(call.n_tokens, n_slices), kThreads, 0, stream>>>(
      call, grads, text_of, starts, ends, sorted, out->dh);
  return from_cuda(cudaGetLastError(), "launch");
}

}  // namespace
}  // namespace sp_lm

using namespace sp_lm;

sp_err sp_lm_head_backward(sp_lm_head *head, const void *h, uint32_t n_tokens,
                           const sp_lm_texts *texts, const sp_lm_grads *out,
                           cudaStream_t stream) {
  sp_err err = check_texts(texts, n_tokens);
  if (err) return err;
  const sp_lm_head_config *c = &head->config;
  if (texts->n > 65535)
    return sp_fail(SP_EINVAL, "lm_head: %u texts in one backward pass", texts->n);
  if (texts->n == 0) {  // no text, no gradient
    cudaError_t e = cudaSuccess;
    if (out->dh) e = cudaMemsetAsync(out->dh, 0, size_t(n_tokens) * c->dim * 4, stream);
    if (!e && out->dw)
      e = cudaMemsetAsync(out->dw, 0, size_t(c->vocab) * c->dim * 4, stream);
    if (!e && out->dbias)
      e = cudaMemsetAsync(out->dbias, 0, size_t(c->vocab) * 4, stream);
    return from_cuda(e, "clearing gradients");
  }
  Call call;
  err = begin(head, h, n_tokens, texts, &call, stream);
  if (err) return err;
  const Gradients grads = {out->y, out->dy, out->argmax, c->vocab, c->log1p_times};
  return c->dtype == SP_LM_BF16
             ? run_backward<__nv_bfloat16>(head, call, grads, out, stream)
             : run_backward<__half>(head, call, grads, out, stream);
}
