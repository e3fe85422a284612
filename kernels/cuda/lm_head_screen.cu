// kernels/cuda/lm_head_screen.cu - sparse output in two passes: the terms whose logits may
// pass the threshold, found in 8 bits at twice the tensor cores' rate, and then the logits of
// those alone.
//
// Symmetric int8: a row of W has a scale, a text's rows of h share one, so that the maximum
// over a text can be taken of the integers. Products of integers are exact; what the rounding
// of the operands can do is bounded (mark() in lm_head_parts.cuh). So no term is missed.
#include <cfloat>
#include <cmath>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/lm_head_parts.cuh"

namespace sp_lm {
namespace {

constexpr int kBlock = 256;
constexpr uint32_t kRows = 4;  // of h, in a row, that a warp takes

// Bits of the largest |element|. What is no number counts as larger than any.
template <typename T>
__device__ inline uint32_t peak_of(const T *row, uint32_t pitch) {
  uint32_t peak = 0;
  for (uint32_t c = threadIdx.x % 32; c * 8 < pitch; c += 32) {
    float x[8];
    sp::load8(row + c * 8, x);
#pragma unroll
    for (int i = 0; i < 8; i++) peak = max(peak, __float_as_uint(fabsf(x[i])));
  }
  for (int i = 16; i; i >>= 1) peak = max(peak, __shfl_xor_sync(~0u, peak, i));
  return peak;
}

// A warp rounds a row. Lengths: of the row, rounded, and of the difference.
struct Rounded {
  float whole, norm, error;
};
template <typename T>
__device__ inline Rounded round_row(const T *row, uint32_t pitch, float peak, int8_t *to,
                                    uint32_t to_pitch) {
  const float scale = peak / 127.f, inverse = peak > 0.f ? 127.f / peak : 0.f;
  Rounded sum = {};
  for (uint32_t c = threadIdx.x % 32; c * 8 < to_pitch; c += 32) {
    float x[8] = {};
    if (c * 8 < pitch) sp::load8(row + c * 8, x);
    uint32_t packed[2] = {};
#pragma unroll
    for (int i = 0; i < 8; i++) {
      const int q = max(-127, min(127, __float2int_rn(x[i] * inverse)));
      const float rounded = float(q) * scale, error = x[i] - rounded;
      sum.whole += x[i] * x[i];
      sum.norm += rounded * rounded;
      sum.error += error * error;
      packed[i / 4] |= uint32_t(q & 255) << (i % 4 * 8);
    }
    reinterpret_cast<uint2 *>(to)[c] = make_uint2(packed[0], packed[1]);
  }
  constexpr float kUp = 1.004f;  // these sums and their roots are off by less than that
  return {sqrtf(sp::warp_sum(sum.whole) * kUp), sqrtf(sp::warp_sum(sum.norm) * kUp),
          sqrtf(sp::warp_sum(sum.error) * kUp)};
}

template <typename T>
__global__ void __launch_bounds__(kBlock)
    round_terms_kernel(const T *w, uint32_t vocab, uint32_t pitch, const float *bias,
                       int8_t *to, uint32_t to_pitch, TermScale *scales) {
  const uint32_t v = (blockIdx.x * kBlock + threadIdx.x) / 32;
  if (v >= vocab) return;
  const T *row = w + size_t(v) * pitch;
  const float peak = __uint_as_float(peak_of(row, pitch));
  const Rounded r = round_row(row, pitch, peak, to + size_t(v) * to_pitch, to_pitch);
  if (threadIdx.x % 32) return;
  const float b = bias ? bias[v] : 0.f;
  scales[v] = {peak / (127.f * 127.f), r.whole, r.error, b + fabsf(b) * 0x1p-20f};
}

// The text that row `row` belongs to or that follows it; n_texts behind the last.
__device__ inline uint32_t text_of(const Call &call, uint32_t row) {
  uint32_t low = 0, high = call.n_texts;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (call.end[middle] > row)
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

// Calls work(text, row) for this warp's pooled rows, and finish(text) after each text's last.
template <class Work, class Finish>
__device__ inline void for_rows(const Call &call, Work work, Finish finish) {
  const uint32_t begin = (blockIdx.x * kBlock + threadIdx.x) / 32 * kRows;
  const uint32_t end = min(begin + kRows, call.n_tokens);
  uint32_t row = begin;
  for (uint32_t text = text_of(call, begin); text < call.n_texts && row < end; text++) {
    row = max(row, call.first[text]);
    const uint32_t stop = min(end, call.end[text]);
    if (row >= stop) continue;
    for (; row < stop; row++) work(text, row);
    finish(text);
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlock) peak_kernel(const Call call, const Screen s) {
  let_next_kernel_begin();
  uint32_t peak = 0;
  for_rows(
      call,
      [&](uint32_t, uint32_t row) {
        const T *from = static_cast<const T *>(call.h) + size_t(row) * call.pitch;
        peak = max(peak, peak_of(from, call.pitch));
      },
      [&](uint32_t text) {
        if (threadIdx.x % 32 == 0) atomicMax(&s.texts[text].peak, peak);
        peak = 0;
      });
}

template <typename T>
__global__ void __launch_bounds__(kBlock)
    round_tokens_kernel(const Call call, const Screen s) {
  wait_for_earlier_kernels();
  let_next_kernel_begin();
  uint32_t norm = 0, error = 0;
  for_rows(
      call,
      [&](uint32_t text, uint32_t row) {
        const T *from = static_cast<const T *>(call.h) + size_t(row) * call.pitch;
        const float peak = __uint_as_float(s.texts[text].peak);
        const Rounded r =
            round_row(from, call.pitch, peak, s.h + size_t(row) * s.pitch, s.pitch);
        norm = max(norm, __float_as_uint(r.norm));
        error = max(error, __float_as_uint(r.error));
      },
      [&](uint32_t text) {
        if (threadIdx.x % 32 == 0) {
          atomicMax(&s.texts[text].norm, norm);
          atomicMax(&s.texts[text].error, error);
        }
        norm = error = 0;
      });
}

// Lists the terms that are marked. A thread block a text.
__global__ void __launch_bounds__(kBlock) list_kernel(const Call call, const Sink sink) {
  __shared__ uint32_t sums[kBlock / 32];
  wait_for_earlier_kernels();
  let_next_kernel_begin();
  const Screen &s = sink.screen;
  const uint32_t text = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  if (call.first[text] == call.end[text]) return;  // nothing was marked, nothing cleared
  const uint32_t *marks = s.marks + size_t(text) * s.n_words;
  uint32_t *const to = s.candidates + size_t(text) * s.cap;
  const uint32_t each = (s.n_words + kBlock - 1) / kBlock;
  const uint32_t from = threadIdx.x * each, end = min(from + each, s.n_words);
  uint32_t n = 0;
  for (uint32_t i = from; i < end; i++) n += __popc(marks[i]);
  uint32_t at = n;
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint32_t below = __shfl_up_sync(~0u, at, offset);
    if (lane >= uint32_t(offset)) at += below;
  }
  if (lane == 31) sums[warp] = at;
  __syncthreads();
  for (uint32_t i = 0; i < warp; i++) at += sums[i];
  if (threadIdx.x == kBlock - 1) s.texts[text].n_candidates = at;
  at -= n;
  for (uint32_t i = from; i < end; i++)
    for (uint32_t word = marks[i]; word && at < s.cap; word &= word - 1)
      to[at++] = i * 32 + __ffs(word) - 1;
}

template <typename T>
cudaError_t round_terms(const Call &call, const Sink &sink, cudaStream_t stream,
                        int8_t *to, TermScale *scales) {
  const unsigned blocks = unsigned((size_t(sink.vocab) * 32 + kBlock - 1) / kBlock);
  round_terms_kernel<<<blocks, kBlock, 0, stream>>>(static_cast<const T *>(call.w),
                                                    sink.vocab, call.pitch, sink.bias, to,
                                                    sink.screen.pitch, scales);
  return cudaGetLastError();
}

template <typename T>
cudaError_t round_tokens(const Call &call, const Screen &s, cudaStream_t stream) {
  const unsigned blocks =
      (call.n_tokens + kRows * kBlock / 32 - 1) / (kRows * kBlock / 32);
  const cudaError_t e =
      launch_early(false, peak_kernel<T>, blocks, kBlock, 0, stream, call, s);
  return e ? e
           : launch_early(true, round_tokens_kernel<T>, blocks, kBlock, 0, stream, call,
                          s);
}

// The logit that an entry of weight `threshold` needs at least.
float limit_of(float threshold, uint32_t log1p_times) {
  if (!(threshold > 0)) return threshold == threshold ? 0.f : NAN;
  double z = threshold;
  for (uint32_t i = 0; i < log1p_times; i++) z = expm1(z);
  z -= 1e-5 * (1 + z);  // log1pf() is not exact
  return z < FLT_MAX ? float(z) : FLT_MAX;
}

// Of 8-bit rows: TMA wants them at multiples of 16 bytes.
uint32_t pitch_of(uint32_t dim) {
  return (dim + 15) / 16 * 16;
}

// Room for the candidates of a text. Of one that has more all terms are scored: so many would
// take as long.
uint32_t candidates_cap(uint32_t vocab) {
  return min(vocab, max(1024u, vocab / 5));
}

}  // namespace

sp_err screen_prepare(sp_lm_head *head) {
  const sp_lm_head_config &c = head->config;
  const uint32_t pitch = pitch_of(c.dim);
  sp_err err = grow(&head->w8, size_t(c.vocab) * pitch);
  if (!err) err = grow(&head->scales, size_t(c.vocab) * sizeof(TermScale));
  if (!err)
    err =
        from_cuda(cudaMallocHost(reinterpret_cast<void **>(&head->share), sizeof(float)),
                  "pinned memory");
  if (err) return err;
  *head->share = 0;
  Call call = {};
  call.w = head->w.data ? head->w.data : c.w;
  call.pitch = head->pitch;
  Sink sink = {};
  sink.bias = c.bias;
  sink.vocab = c.vocab;
  sink.screen.pitch = pitch;
  int8_t *const to = static_cast<int8_t *>(head->w8.data);
  TermScale *const scales = static_cast<TermScale *>(head->scales.data);
  err = from_cuda(c.dtype == SP_LM_BF16
                      ? round_terms<__nv_bfloat16>(call, sink, nullptr, to, scales)
                      : round_terms<__half>(call, sink, nullptr, to, scales),
                  "rounding the weights");
  return err ? err : from_cuda(cudaStreamSynchronize(nullptr), "rounding the weights");
}

sp_err run_screened(sp_lm_head *head, const Call &call, Sink sink, cudaStream_t stream) {
  const sp_lm_head_config &c = head->config;
  Screen &s = sink.screen;
  s.pitch = pitch_of(c.dim);
  s.n_words = (c.vocab + 31) / 32;
  s.cap = candidates_cap(c.vocab);
  sp_err err = grow(&head->h8, size_t(call.n_tokens) * s.pitch);
  if (!err) err = grow(&head->marks, size_t(call.n_texts) * s.n_words * 4);
  if (!err) err = grow(&head->candidates, size_t(call.n_texts) * s.cap * 4);
  if (err) return err;
  s.w = static_cast<const int8_t *>(head->w8.data);
  s.terms = static_cast<const TermScale *>(head->scales.data);
  s.h = static_cast<int8_t *>(head->h8.data);
  s.texts = call.scales;
  s.marks = static_cast<uint32_t *>(head->marks.data);
  s.candidates = static_cast<uint32_t *>(head->candidates.data);
  s.limit = limit_of(sink.threshold, sink.log1p_times);
  s.slack = float(c.dim / 16 + 16) * 0x1p-22f;

  const bool bf16 = c.dtype == SP_LM_BF16;
  err = from_cuda(bf16 ? round_tokens<__nv_bfloat16>(call, s, stream)
                       : round_tokens<__half>(call, s, stream),
                  "launch");
  if (!err)
    err = run_wgmma_screen(call, sink, head->partials.data, head->n_clusters, stream);
  if (!err)
    err = from_cuda(
        launch_early(true, list_kernel, call.n_texts, kBlock, 0, stream, call, sink),
        "launch");
  return err ? err
             : run_rescore(call, sink, c.dtype, head->share, head->n_clusters, stream);
}

}  // namespace sp_lm
