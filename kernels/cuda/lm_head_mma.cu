// kernels/cuda/lm_head_mma.cu - the head on the tensor cores of compute capability 8.0 and
// newer: mma.sync fed by cp.async.
//
// A thread block owns 128 terms of one text and walks the text's tokens 128 at a time.
// The terms are the rows of the product, so a term's logits lie in four neighbouring lanes
// and the maximum over the tokens is taken in registers.
#include "kernels/cuda/lm_head_parts.cuh"

namespace sp_lm {
namespace {

constexpr int kTerms = 128, kTokens = 128, kDepth = 64;
constexpr int kStages = 3;
constexpr int kThreads = 256;  // 8 warps: 4 over the terms by 2 over the tokens
constexpr int kStageBytes = (kTerms + kTokens) * kDepth * 2;
constexpr int kSharedBytes = kStages * kStageBytes;

__device__ inline uint32_t shared_address(const void *p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Byte offset of the 16-byte chunk `c` of row `r`: rows of 128 bytes, chunks permuted so
// that eight rows' same chunk lies in eight different bank groups.
__device__ inline uint32_t swizzled(int r, int c) {
  return r * 128 + ((c ^ (r & 7)) << 4);
}

__device__ inline void copy_16(uint32_t to, const void *from, bool valid) {
  const int bytes = valid ? 16 : 0;  // the rest is filled with zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from),
               "r"(bytes));
}

__device__ inline void load_matrices(uint32_t (&x)[4], uint32_t from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(x[0]), "=r"(x[1]), "=r"(x[2]), "=r"(x[3])
               : "r"(from));
}

template <typename T>
__device__ inline void multiply(float (&d)[4], const uint32_t (&a)[4], uint32_t b0,
                                uint32_t b1);
template <>
__device__ inline void multiply<__nv_bfloat16>(float (&d)[4], const uint32_t (&a)[4],
                                               uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, "
      "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
template <>
__device__ inline void multiply<__half>(float (&d)[4], const uint32_t (&a)[4],
                                        uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, "
      "{%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Queues the copy of depth k0 .. k0+63 of both operands into one stage.
__device__ inline void fetch(const Call &call, uint32_t vocab, uint32_t v0, uint32_t row,
                             uint32_t end, uint32_t k0, uint32_t stage) {
  const uint16_t *w = static_cast<const uint16_t *>(call.w);
  const uint16_t *h = static_cast<const uint16_t *>(call.h);
#pragma unroll
  for (int i = 0; i < kTerms * 8 / kThreads; i++) {
    const int id = threadIdx.x + i * kThreads, r = id / 8, c = id % 8;
    const uint32_t k = k0 + c * 8;  // rows are padded to whole chunks
    const bool ok = k < call.pitch && v0 + r < vocab;
    copy_16(stage + swizzled(r, c), ok ? w + size_t(v0 + r) * call.pitch + k : w, ok);
  }
#pragma unroll
  for (int i = 0; i < kTokens * 8 / kThreads; i++) {
    const int id = threadIdx.x + i * kThreads, r = id / 8, c = id % 8;
    const uint32_t k = k0 + c * 8;
    const bool ok = k < call.pitch && row + r < end;
    copy_16(stage + kTerms * 128 + swizzled(r, c),
            ok ? h + size_t(row + r) * call.pitch + k : h, ok);
  }
}

template <typename T>
__device__ inline void multiply_stage(uint32_t stage, int warp_m, int warp_n, int n_valid,
                                      float (&acc)[2][8][4]) {
  const int lane = threadIdx.x & 31;
  const uint32_t a_base = stage, b_base = stage + kTerms * 128;
#pragma unroll
  for (int k = 0; k < kDepth / 16; k++) {
    uint32_t a[2][4];
#pragma unroll
    for (int i = 0; i < 2; i++)
      load_matrices(a[i], a_base + swizzled(warp_m * 32 + i * 16 + (lane & 15),
                                            k * 2 + (lane >> 4)));
#pragma unroll
    for (int j = 0; j < 4; j++) {    // 16 tokens each
      if (j * 16 >= n_valid) break;  // beyond the text: the whole warp agrees
      uint32_t b[4];
      load_matrices(
          b, b_base + swizzled(warp_n * 64 + j * 16 + (lane & 7) + ((lane >> 4) << 3),
                               k * 2 + ((lane >> 3) & 1)));
#pragma unroll
      for (int i = 0; i < 2; i++) {
        multiply<T>(acc[i][2 * j], a[i], b[0], b[1]);
        multiply<T>(acc[i][2 * j + 1], a[i], b[2], b[3]);
      }
    }
  }
}

struct Best {  // of the thread's four terms: m16 tile i, row or row + 8
  float m[2][2];
  int32_t at[2][2];
};

template <bool kAt>
__device__ inline void raise(Best &best, const float (&acc)[2][8][4], uint32_t row,
                             uint32_t end) {
  const int lane = threadIdx.x & 31;
#pragma unroll
  for (int i = 0; i < 2; i++)
#pragma unroll
    for (int j = 0; j < 8; j++)
#pragma unroll
      for (int e = 0; e < 4; e++) {
        const uint32_t s = row + j * 8 + (lane & 3) * 2 + (e & 1);
        if (s >= end || !(acc[i][j][e] > best.m[i][e >> 1])) continue;
        best.m[i][e >> 1] = acc[i][j][e];
        if (kAt) best.at[i][e >> 1] = int32_t(s);
      }
}

template <typename T, Output kOutput>
__global__ void __launch_bounds__(kThreads, 2)
    mma_kernel(const Call call, const Sink sink) {
#if __CUDA_ARCH__ >= 800  // empty elsewhere, and never launched there
  extern __shared__ __align__(128) uint8_t shared[];
  constexpr bool kAt = kOutput == Output::kArgmax;
  const uint32_t base = shared_address(shared);
  const uint32_t v0 = blockIdx.x * kTerms;
  const int lane = threadIdx.x & 31, warp = threadIdx.x / 32;
  const int warp_m = warp & 3, warp_n = warp >> 2;
  const int n_depths = (call.dim + kDepth - 1) / kDepth;

  for (uint32_t text = blockIdx.y; text < call.n_texts; text += gridDim.y) {
    const uint32_t first = call.first[text], end = call.end[text];
    Best best;
    for (int i = 0; i < 4; i++)
      best.m[i / 2][i % 2] = -INFINITY, best.at[i / 2][i % 2] = -1;

    for (uint32_t row = first; row < end; row += kTokens) {
      const int n_valid = int(min(end - row, uint32_t(kTokens))) - warp_n * 64;
      float acc[2][8][4] = {};
      for (int d = 0; d < kStages - 1; d++) {
        if (d < n_depths)
          fetch(call, sink.vocab, v0, row, end, d * kDepth, base + d * kStageBytes);
        asm volatile("cp.async.commit_group;");
      }
      for (int d = 0; d < n_depths; d++) {
        asm volatile("cp.async.wait_group %0;" ::"n"(kStages - 2));
        __syncthreads();  // everyone's copies have landed; the oldest stage is free
        const int next = d + kStages - 1;
        if (next < n_depths)
          fetch(call, sink.vocab, v0, row, end, next * kDepth,
                base + next % kStages * kStageBytes);
        asm volatile("cp.async.commit_group;");
        multiply_stage<T>(base + d % kStages * kStageBytes, warp_m, warp_n, n_valid, acc);
      }
      raise<kAt>(best, acc, row + warp_n * 64, end);
      __syncthreads();  // before the stages are filled again
    }

    // Lanes of a quad, then the two warps that share the terms.
    asm volatile("cp.async.wait_all;");
    float *other_m = reinterpret_cast<float *>(shared);
    int32_t *other_at = reinterpret_cast<int32_t *>(other_m + kTerms);
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float &m = best.m[i / 2][i % 2];
      int32_t &at = best.at[i / 2][i % 2];
      for (int offset = 1; offset < 4; offset *= 2) {
        const float om = __shfl_xor_sync(0xffffffffu, m, offset);
        const int32_t oat = __shfl_xor_sync(0xffffffffu, at, offset);
        merge_at(m, at, om, oat);
      }
      const int r = warp_m * 32 + (i / 2) * 16 + (i % 2) * 8 + lane / 4;
      if (warp_n == 1 && (lane & 3) == 0) other_m[r] = m, other_at[r] = at;
    }
    __syncthreads();
    if (warp_n == 0) {
#pragma unroll
      for (int i = 0; i < 4; i++) {
        const int r = warp_m * 32 + (i / 2) * 16 + (i % 2) * 8 + lane / 4;
        float m = best.m[i / 2][i % 2];
        int32_t at = best.at[i / 2][i % 2];
        merge_at(m, at, other_m[r], other_at[r]);
        deliver<kOutput>(sink, text, v0 + r, (lane & 3) == 0, m, at,
                         bias_of(sink, v0 + r));
      }
    }
    __syncthreads();
  }
#endif
}

template <typename T, Output kOutput>
cudaError_t launch(const Call &call, const Sink &sink, cudaStream_t stream) {
  cudaError_t e = cudaFuncSetAttribute(
      mma_kernel<T, kOutput>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (e) return e;
  const dim3 grid((sink.vocab + kTerms - 1) / kTerms, min(call.n_texts, 65535u));
  mma_kernel<T, kOutput><<<grid, kThreads, kSharedBytes, stream>>>(call, sink);
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch_for(const Call &call, const Sink &sink, Output output,
                       cudaStream_t stream) {
  if (output == Output::kValues) return launch<T, Output::kValues>(call, sink, stream);
  if (output == Output::kArgmax) return launch<T, Output::kArgmax>(call, sink, stream);
  return launch<T, Output::kSparse>(call, sink, stream);
}

}  // namespace

cudaError_t run_mma(const Call &call, const Sink &sink, Output output, sp_lm_dtype type,
                    cudaStream_t stream) {
  return type == SP_LM_BF16 ? launch_for<__nv_bfloat16>(call, sink, output, stream)
                            : launch_for<__half>(call, sink, output, stream);
}

}  // namespace sp_lm
