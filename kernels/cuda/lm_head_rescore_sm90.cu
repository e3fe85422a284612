// kernels/cuda/lm_head_rescore_sm90.cu - the second pass of sparse output on Hopper: a text's
// logits of a list of terms.
//
// A piece is 128 terms of a text. Two warpgroups multiply 64 of them each by up to 256 tokens
// at a time, with the instructions of lm_head_sm90.cu, so that the logits are the same to the
// last bit. A third one feeds them: rows of W from all over the vocabulary by cp.async, the
// text's tokens by TMA.
#include "kernels/cuda/lm_head_parts.cuh"
#include "kernels/cuda/sm90.cuh"

namespace sp_lm {
namespace {

using namespace sp_sm90;

constexpr int kGroups = 2;  // consumer warpgroups
constexpr uint32_t kTerms = kPieceTerms;
static_assert(kTerms == 64 * kGroups, "a warpgroup multiplies 64");
constexpr uint32_t kBox = 128;  // tokens that one load brings
constexpr int kDepth = 64;      // of the dimension in one stage: 128 bytes
constexpr int kStages = 4;
constexpr int kThreads = 128 * (kGroups + 1);
constexpr uint32_t kTermBytes = kTerms * kDepth * 2;
constexpr uint32_t kBoxBytes = kBox * kDepth * 2;
constexpr uint32_t kStageBytes = kTermBytes + 2 * kBoxBytes;
constexpr int kSharedBytes = kStages * kStageBytes + 1024 /* alignment */;

#ifdef SP_SM90

constexpr uint32_t kTokens = 2 * kBox;  // of a step
constexpr int kInFlight = 2;            // stages whose rows of W are still being copied

using Ring = StageRing<kStages>;

// How many terms of `text` are to be scored.
__device__ inline uint32_t count_scored(const Sink &sink, uint32_t text) {
  const uint32_t n = sink.screen.texts[text].n_candidates;
  return n > sink.screen.cap ? sink.vocab : n;
}

struct SharedMap {       // addresses
  uint32_t stages;       // 1024-byte aligned
  uint32_t full, empty;  // kStages barriers each
};

struct Piece {
  uint32_t text, n;       // n: terms
  const uint32_t *terms;  // NULL: from `from` on
  uint32_t from;
  __device__ uint32_t term(uint32_t i) const { return terms ? terms[i] : from + i; }
};

// All pieces of this block: the lowest terms of every text come first, as those lie close
// together in W.
struct Pieces {
  const Call &call;
  const Sink &sink;
  uint32_t at, n;

  __device__ bool next(Piece *piece) {
    for (; at < n; at += gridDim.x) {
      const uint32_t text = at % call.n_texts, from = at / call.n_texts * kTerms;
      const uint32_t count = count_scored(sink, text);
      if (count <= from) continue;
      const bool all = count == sink.vocab;
      *piece = {
          text, min(count - from, kTerms),
          all ? nullptr : sink.screen.candidates + size_t(text) * sink.screen.cap + from,
          from};
      at += gridDim.x;
      return true;
    }
    return false;
  }
};

__device__ inline void copy_16(uint32_t to, const void *from, bool valid) {
  const int bytes = valid ? 16 : 0;  // the rest is filled with zeros
  asm volatile("cp.async.cg.shared.global.L2::256B [%0], [%1], 16, %2;" ::"r"(to),
               "l"(from), "r"(bytes)
               : "memory");
}
template <int kPending>
__device__ inline void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// The producer warpgroup. What its threads have copied is told kInFlight stages later.
__device__ inline void produce(const Call &call, const CUtensorMap *h_map,
                               const SharedMap &shared, Pieces pieces, uint32_t thread) {
  const uint32_t chunk = thread % 8, first = thread / 8;  // of the rows: every 16th
  const uint32_t place = first * 128 + ((chunk ^ (first & 7)) << 4);
  const uint16_t *const w = static_cast<const uint16_t *>(call.w);
  Ring ring, copied;
  uint32_t in_flight = 0;
  Piece piece;
  while (pieces.next(&piece)) {
    const uint16_t *rows[kTerms / 16];
#pragma unroll
    for (uint32_t i = 0; i < kTerms / 16; i++) {
      const uint32_t r = first + 16 * i;
      rows[i] = r < piece.n ? w + size_t(piece.term(r)) * call.pitch : nullptr;
    }
    const uint32_t end = call.end[piece.text];
    for (uint32_t row = call.first[piece.text]; row < end; row += kTokens)
      for (uint32_t k = 0; k < call.dim; k += kDepth, ring.advance()) {
        const uint32_t full = shared.full + 8 * ring.stage;
        const uint32_t to = shared.stages + ring.stage * kStageBytes;
        barrier_wait(shared.empty + 8 * ring.stage, ring.phase ^ 1);
        if (thread == 0) {
          const bool two = end - row > kBox;
          barrier_expect(full, two ? 2 * kBoxBytes : kBoxBytes);
          tma_load(to + kTermBytes, h_map, k, row, full);
          if (two) tma_load(to + kTermBytes + kBoxBytes, h_map, k, row + kBox, full);
        }
        const uint32_t mine = k + chunk * 8;
#pragma unroll
        for (uint32_t i = 0; i < kTerms / 16; i++) {
          const bool ok = rows[i] && mine < call.pitch;
          copy_16(to + place + i * 16 * 128, ok ? rows[i] + mine : w, ok);
        }
        asm volatile("cp.async.commit_group;" ::: "memory");
        if (in_flight < kInFlight) {
          in_flight++;
          continue;
        }
        copy_wait<kInFlight>();
        async_proxy_fence();
        barrier_arrive(shared.full + 8 * copied.stage);
        copied.advance();
      }
  }
  copy_wait<0>();
  async_proxy_fence();
  for (; in_flight > 0; in_flight--, copied.advance())
    barrier_arrive(shared.full + 8 * copied.stage);
}

// A consumer warpgroup. A thread holds two terms' logits of every fourth pair of tokens, as
// lm_head_pool.cuh says.
template <typename T>
struct Consumer {
  const Call &call;
  const SharedMap &shared;
  uint32_t group, thread;
  Ring ring;

  // Raises the maxima by up to kNBoxes * kBox tokens, `cols` in number.
  template <int kNBoxes>
  __device__ void step(float (&best)[2], uint32_t cols) {
    float acc[128];
    for (uint32_t k0 = 0; k0 < call.dim; k0 += kDepth, ring.advance()) {
      const uint32_t from = shared.stages + ring.stage * kStageBytes;
      const uint64_t a = matrix_descriptor(from + group * (kTermBytes / kGroups));
      const uint64_t b = matrix_descriptor(from + kTermBytes);
      barrier_wait(shared.full + 8 * ring.stage, ring.phase);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < kDepth / 16; k++) {  // 32 bytes along the swizzled row
        if constexpr (kNBoxes == 2)
          multiply<T>(acc, a + 2 * k, b + 2 * k, k0 || k);
        else
          multiply_half<T>(acc, a + 2 * k, b + 2 * k, k0 || k);
      }
      wgmma_commit();
      wgmma_wait<0>();
      if (thread == 0) barrier_arrive(shared.empty + 8 * ring.stage);
    }
    const uint32_t q = 2 * (thread % 4);
#pragma unroll
    for (uint32_t i = 0; i < kNBoxes * kBox / 2; i++)
      if (i / 4 * 8 + q + i % 2 < cols) best[i / 2 % 2] = fmaxf(best[i / 2 % 2], acc[i]);
  }

  __device__ void run(const Sink &sink, Pieces pieces) {
    Piece piece;
    while (pieces.next(&piece)) {
      float best[2] = {-INFINITY, -INFINITY};
      const uint32_t end = call.end[piece.text];
      for (uint32_t row = call.first[piece.text]; row < end; row += kTokens)
        if (end - row > kBox)
          step<2>(best, end - row);
        else
          step<1>(best, end - row);
#pragma unroll
      for (uint32_t r = 0; r < 2; r++) {
        float m = best[r];
        m = fmaxf(m, __shfl_xor_sync(~0u, m, 1));
        m = fmaxf(m, __shfl_xor_sync(~0u, m, 2));
        const uint32_t i = group * 64 + thread / 32 * 16 + thread % 32 / 4 + 8 * r;
        const uint32_t v = i < piece.n ? piece.term(i) : sink.vocab;
        deliver<Output::kSparse>(sink, piece.text, v, thread % 4 == 0, m, 0,
                                 bias_of(sink, v));
      }
    }
  }
};

#endif  // SP_SM90

// Tells the host in *share what part of all terms is scored.
template <typename T>
__global__ void __launch_bounds__(kThreads, 1)
    rescore_kernel(const __grid_constant__ Call call, const __grid_constant__ Sink sink,
                   const __grid_constant__ CUtensorMap h_map, float *share) {
#ifdef SP_SM90
  extern __shared__ uint8_t raw[];
  __shared__ __align__(8) uint64_t barriers[2 * kStages];
  __shared__ uint32_t longest;
  __shared__ float total;
  SharedMap shared;
  shared.stages = (shared_address(raw) + 1023) & ~1023u;
  shared.full = shared_address(barriers);
  shared.empty = shared.full + 8 * kStages;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      barrier_init(shared.full + 8 * i, 128 + 1);  // the producer, and its announcement
      barrier_init(shared.empty + 8 * i, kGroups);
    }
    barrier_init_fence();
    longest = 0, total = 0;
  }
  wait_for_earlier_kernels();
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < call.n_texts; i += kThreads) {
    const uint32_t n = count_scored(sink, i);
    atomicMax(&longest, n);
    if (blockIdx.x == 0) atomicAdd(&total, float(n) / float(sink.vocab));
  }
  __syncthreads();
  if (blockIdx.x == 0 && threadIdx.x == 0)
    *static_cast<volatile float *>(share) = total / float(call.n_texts);
  const Pieces pieces = {call, sink, blockIdx.x,
                         (longest + kTerms - 1) / kTerms * call.n_texts};

  const uint32_t group = uniform(threadIdx.x / 128), thread = threadIdx.x % 128;
  if (group == kGroups) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 88;");
    produce(call, &h_map, shared, pieces, thread);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 208;");
    Consumer<T>{call, shared, group, thread}.run(sink, pieces);
  }
#endif
}

template <typename T>
cudaError_t launch(const Call &call, const Sink &sink, const CUtensorMap &h_map,
                   float *share, unsigned n_blocks, cudaStream_t stream) {
  const cudaError_t e = cudaFuncSetAttribute(
      rescore_kernel<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (e) return e;
  return launch_early(true, rescore_kernel<T>, n_blocks, kThreads, kSharedBytes, stream,
                      call, sink, h_map, share);
}

}  // namespace

sp_err run_rescore(const Call &call, const Sink &sink, sp_lm_dtype type, float *share,
                   int n_clusters, cudaStream_t stream) {
  CUtensorMap h_map;
  const bool bf16 = type == SP_LM_BF16;
  const sp_err err = make_tensor_map(
      &h_map, call.h,
      bf16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT16, call.dim,
      call.pitch, call.n_tokens, kBox);
  if (err) return err;
  const unsigned n_blocks = 2 * unsigned(n_clusters);  // one an SM
  return from_cuda(bf16
                       ? launch<__nv_bfloat16>(call, sink, h_map, share, n_blocks, stream)
                       : launch<__half>(call, sink, h_map, share, n_blocks, stream),
                   "launch");
}

}  // namespace sp_lm
