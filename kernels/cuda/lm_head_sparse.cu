// kernels/cuda/lm_head_sparse.cu - puts the entries that the head found into order: terms
// ascending, the largest k of each text.
//
// No sort: a term occurs once in a text, so its place is the number of set bits below it
// in a bitmap of the kept terms.
#include "kernels/cuda/lm_head_parts.cuh"

namespace sp_lm {
namespace {

constexpr int kThreads = 1024;
constexpr int kWords = 2048;               // bitmap words of one window
constexpr uint32_t kWindow = kWords * 32;  // terms in it

struct Shared {
  uint32_t kept[kWords], ties[kWords], before[kWords];
  uint32_t warp_sums[32];
  uint32_t histogram[256];
  uint32_t digit, above;
};

// Exclusive sum over the thread block, and the total. Every thread takes part.
__device__ uint32_t scan(Shared &s, uint32_t x, uint32_t *total) {
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
  uint32_t sum = x;
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint32_t y = __shfl_up_sync(0xffffffffu, sum, offset);
    if (lane >= offset) sum += y;
  }
  if (lane == 31) s.warp_sums[warp] = sum;
  __syncthreads();
  uint32_t below = 0, all = 0;
  for (int i = 0; i < kThreads / 32; i++) {
    if (i < warp) below += s.warp_sums[i];
    all += s.warp_sums[i];
  }
  __syncthreads();
  *total = all;
  return below + sum - x;
}

// s.before[i] = `start` + set bits of the words below i. Returns start + all set bits.
__device__ uint32_t count_bits(Shared &s, const uint32_t *words, uint32_t start) {
  constexpr int kEach = kWords / kThreads;
  uint32_t n[kEach], sum = 0, total;
  for (int i = 0; i < kEach; i++) sum += n[i] = __popc(words[threadIdx.x * kEach + i]);
  uint32_t at = start + scan(s, sum, &total);
  for (int i = 0; i < kEach; i++) s.before[threadIdx.x * kEach + i] = at, at += n[i];
  __syncthreads();
  return start + total;
}

// The k-th largest weight's bits (weights are positive, so bits order as values do) and
// how many entries of exactly that weight belong to the k largest. Radix selection, the
// highest byte first. 0 < k < n.
__device__ uint32_t select_kth(Shared &s, const uint2 *entries, uint32_t n, uint32_t k,
                               uint32_t *n_ties) {
  uint32_t prefix = 0, mask = 0;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < 256; i += kThreads) s.histogram[i] = 0;
    __syncthreads();
    for (uint32_t i = threadIdx.x; i < n; i += kThreads)
      if ((entries[i].y & mask) == prefix)
        atomicAdd(&s.histogram[(entries[i].y >> shift) & 255], 1u);
    __syncthreads();
    if (threadIdx.x == 0) {
      uint32_t above = 0;
      int digit = 255;
      while (above + s.histogram[digit] < k) above += s.histogram[digit--];
      s.digit = digit;
      s.above = above;
    }
    __syncthreads();
    prefix |= s.digit << shift;
    mask |= 255u << shift;
    k -= s.above;
    __syncthreads();
  }
  *n_ties = k;
  return prefix;
}

// Only the lowest `n_ties` of all tied terms stay; `start` of them lie in lower windows.
__device__ uint32_t limit_ties(Shared &s, uint32_t start, uint32_t n_ties) {
  const uint32_t seen = count_bits(s, s.ties, start);
  for (int i = threadIdx.x; i < kWords; i += kThreads) {
    uint32_t word = s.ties[i];
    const uint32_t room = s.before[i] < n_ties ? n_ties - s.before[i] : 0;
    while (uint32_t(__popc(word)) > room) word &= ~(0x80000000u >> __clz(word));
    s.kept[i] |= word;
  }
  __syncthreads();
  return seen;
}

// One thread block a text.
__global__ void __launch_bounds__(kThreads)
    finish_kernel(const Sink sink, const sp_lm_sparse out, uint32_t n_texts) {
  __shared__ Shared s;
  wait_for_earlier_kernels();
  for (uint32_t text = blockIdx.x; text < n_texts; text += gridDim.x) {
    const uint32_t n = sink.n_found[text];
    const uint2 *entries = sink.staged + size_t(text) * sink.cap;
    uint32_t *terms = out.terms + size_t(text) * out.cap;
    float *weights = out.weights + size_t(text) * out.cap;
    uint32_t kept = 0, ties = 0;
    if (n <= sink.cap && n > 0) {
      uint32_t cut = 0, n_ties = 0;  // without a limit every weight is above the cut
      if (out.top_k && out.top_k < n) cut = select_kth(s, entries, n, out.top_k, &n_ties);
      for (uint32_t low = 0; low < sink.vocab; low += kWindow) {
        for (int i = threadIdx.x; i < kWords; i += kThreads) s.kept[i] = s.ties[i] = 0;
        __syncthreads();
        for (uint32_t i = threadIdx.x; i < n; i += kThreads) {
          const uint2 e = entries[i];
          const uint32_t bit = e.x - low;
          if (bit >= kWindow || e.y < cut)
            continue;  // lower terms wrap around: too large
          atomicOr(&(e.y > cut ? s.kept : s.ties)[bit / 32], 1u << (bit % 32));
        }
        __syncthreads();
        if (n_ties) ties = limit_ties(s, ties, n_ties);
        const uint32_t after = count_bits(s, s.kept, kept);
        for (uint32_t i = threadIdx.x; i < n; i += kThreads) {
          const uint2 e = entries[i];
          const uint32_t bit = e.x - low;
          if (bit >= kWindow) continue;
          const uint32_t word = s.kept[bit / 32];
          if (!(word >> (bit % 32) & 1)) continue;
          const uint32_t place =
              s.before[bit / 32] + __popc(word & ((1u << (bit % 32)) - 1));
          terms[place] = e.x;
          weights[place] = __uint_as_float(e.y);
        }
        kept = after;
        __syncthreads();
      }
    }
    if (threadIdx.x == 0) {
      out.n_kept[text] = kept;
      out.n_found[text] = n;
    }
  }
}

}  // namespace

cudaError_t run_finish_sparse(const Sink &sink, uint32_t n_texts, const sp_lm_sparse &out,
                              bool early, cudaStream_t stream) {
  return launch_early(early, finish_kernel, min(n_texts, 65535u), kThreads, 0, stream,
                      sink, out, n_texts);
}

}  // namespace sp_lm
