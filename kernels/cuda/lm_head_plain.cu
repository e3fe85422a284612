// kernels/cuda/lm_head_plain.cu - the head in plain float32 arithmetic, for every device
// and as the reference on the device.
#include "kernels/cuda/lm_head_parts.cuh"

namespace sp_lm {
namespace {

constexpr int kTerms = 64;   // of a thread block
constexpr int kTokens = 64;  // in one step
constexpr int kDepth = 16;   // of the dimension in one step
constexpr int kThreads = 256;

// A block owns 64 terms of one text and walks its tokens 64 at a time; a thread owns a
// 4 x 4 patch of logits, whose maxima stay in registers until the text's end.
template <typename T, Output kOutput>
__global__ void __launch_bounds__(kThreads)
    plain_kernel(const Call call, const Sink sink) {
  __shared__ float ws[kDepth][kTerms + 4];
  __shared__ float hs[kDepth][kTokens + 4];
  const T *w = static_cast<const T *>(call.w), *h = static_cast<const T *>(call.h);
  const uint32_t v0 = blockIdx.x * kTerms;
  const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;  // terms, tokens

  for (uint32_t text = blockIdx.y; text < call.n_texts; text += gridDim.y) {
    const uint32_t first = call.first[text], end = call.end[text];
    float best[4];
    int32_t at[4];
    for (int i = 0; i < 4; i++) best[i] = -INFINITY, at[i] = -1;

    for (uint32_t row = first; row < end; row += kTokens) {
      float acc[4][4] = {};
      for (uint32_t k0 = 0; k0 < call.dim; k0 += kDepth) {
        for (int i = threadIdx.x; i < kTerms * kDepth; i += kThreads) {
          const uint32_t r = i / kDepth, k = i % kDepth;
          const bool in_depth = k0 + k < call.dim;
          ws[k][r] = in_depth && v0 + r < sink.vocab
                         ? to_float(w[size_t(v0 + r) * call.pitch + k0 + k])
                         : 0.f;
          hs[k][r] = in_depth && row + r < end
                         ? to_float(h[size_t(row + r) * call.pitch + k0 + k])
                         : 0.f;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < kDepth; k++)
#pragma unroll
          for (int i = 0; i < 4; i++)
#pragma unroll
            for (int j = 0; j < 4; j++)
              acc[i][j] += ws[k][ty * 4 + i] * hs[k][tx * 4 + j];
        __syncthreads();
      }
      for (int i = 0; i < 4; i++)
        for (int j = 0; j < 4; j++) {
          const uint32_t s = row + tx * 4 + j;
          if (s < end && acc[i][j] > best[i]) best[i] = acc[i][j], at[i] = int32_t(s);
        }
    }
    // The 16 threads of a half warp share their terms. A warp delivers 2 x 4 terms.
    for (int i = 0; i < 4; i++) {
      for (int offset = 8; offset; offset /= 2) {
        const float m = __shfl_xor_sync(0xffffffffu, best[i], offset);
        const int32_t a = __shfl_xor_sync(0xffffffffu, at[i], offset);
        merge_at(best[i], at[i], m, a);
      }
      const uint32_t v = v0 + ty * 4 + i;
      deliver<kOutput>(sink, text, v, tx == 0, best[i], at[i], bias_of(sink, v));
    }
  }
}

template <typename T>
void launch(const Call &call, const Sink &sink, Output output, cudaStream_t stream) {
  const dim3 grid((sink.vocab + kTerms - 1) / kTerms, min(call.n_texts, 65535u));
  switch (output) {
    case Output::kValues:
      plain_kernel<T, Output::kValues><<<grid, kThreads, 0, stream>>>(call, sink);
      break;
    case Output::kArgmax:
      plain_kernel<T, Output::kArgmax><<<grid, kThreads, 0, stream>>>(call, sink);
      break;
    case Output::kSparse:
      plain_kernel<T, Output::kSparse><<<grid, kThreads, 0, stream>>>(call, sink);
  }
}

}  // namespace

cudaError_t run_plain(const Call &call, const Sink &sink, Output output, sp_lm_dtype type,
                      cudaStream_t stream) {
  if (type == SP_LM_BF16)
    launch<__nv_bfloat16>(call, sink, output, stream);
  else
    launch<__half>(call, sink, output, stream);
  return cudaGetLastError();
}

}  // namespace sp_lm
