// kernels/cuda/lm_head_mma.cu - the head on the tensor cores of compute capability 8.0 and
// newer. A thread block owns 128 terms and goes through the texts.
#include "kernels/cuda/lm_head_mma.cuh"

namespace sp_lm {
namespace {

using namespace mma;

template <typename T, Output kOutput>
__global__ void __launch_bounds__(kThreads, 2)
    mma_kernel(const Call call, const Sink sink) {
#if __CUDA_ARCH__ >= 800  // empty elsewhere, and never launched there
  extern __shared__ __align__(128) uint8_t shared[];
  const TermRun terms = {blockIdx.x * kTerms, sink.vocab};
  for (uint32_t text = blockIdx.y; text < call.n_texts; text += gridDim.y)
    pool_text<T, kOutput>(call, sink, text, terms, shared);
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
