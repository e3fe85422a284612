// kernels/cuda/copy.cu - narrowing weights, packing sparse vectors.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda_copy.h"

namespace {

constexpr int kThreads = 256;

template <typename T>
__global__ void narrow_kernel(const float *in, int cols, const float *scale, T *out,
                              int stride, uint32_t *overflow) {
  const int64_t row = blockIdx.x;
  for (int c = threadIdx.x; c < stride; c += kThreads) {
    float x = c < cols ? in[row * cols + c] : 0.f;
    if (scale && c < cols) x *= scale[c];
    const T y = sp::from_float<T>(x);
    if (isfinite(x) && !isfinite(sp::to_float(y))) *overflow = 1;
    out[row * stride + c] = y;
  }
}

// A block has one text. It finds where the text begins by adding up the texts before it:
// a few thousand numbers from L2, cheaper than a pass of its own.
__global__ void pack_kernel(const uint32_t *terms, const float *weights,
                            const uint32_t *n, uint32_t cap, uint32_t *out_terms,
                            float *out_weights, uint32_t *out_n) {
  const int b = blockIdx.x;
  __shared__ uint32_t before;
  if (threadIdx.x == 0) before = 0;
  __syncthreads();
  uint32_t sum = 0;
  for (int i = threadIdx.x; i < b; i += kThreads) sum += n[i];
  sum = __reduce_add_sync(~0u, sum);
  if (threadIdx.x % 32 == 0) atomicAdd(&before, sum);
  __syncthreads();

  const uint64_t from = uint64_t(b) * cap;
  for (uint32_t i = threadIdx.x; i < n[b]; i += kThreads) {
    out_terms[before + i] = terms[from + i];
    out_weights[before + i] = weights[from + i];
  }
  if (threadIdx.x == 0) out_n[b] = n[b];
}

}  // namespace

sp_err sp_cuda_narrow(sp_cuda_type type, const float *in, int64_t n_rows, int cols,
                      const float *scale, void *out, int stride, uint32_t *overflow,
                      cudaStream_t stream) {
  if (!in || !out || !overflow || n_rows < 0 || n_rows > INT32_MAX || cols < 1 ||
      stride < cols)
    return sp_fail(SP_EINVAL, "narrow: %lld rows of %d, stride %d", (long long)n_rows,
                   cols, stride);
  if (n_rows == 0) return SP_OK;  // an empty grid is a launch error
  if (type == SP_CUDA_F16)
    narrow_kernel<<<unsigned(n_rows), kThreads, 0, stream>>>(
        in, cols, scale, static_cast<__half *>(out), stride, overflow);
  else
    narrow_kernel<<<unsigned(n_rows), kThreads, 0, stream>>>(
        in, cols, scale, static_cast<__nv_bfloat16 *>(out), stride, overflow);
  return sp_cuda_check(cudaGetLastError(), "narrow");
}

sp_err sp_cuda_pack_sparse(const uint32_t *terms, const float *weights, const uint32_t *n,
                           int n_texts, uint32_t cap, uint32_t *out_terms,
                           float *out_weights, uint32_t *out_n, cudaStream_t stream) {
  if (!terms || !weights || !n || !out_terms || !out_weights || !out_n || n_texts < 0 ||
      n_texts > 1 << 20)
    return sp_fail(SP_EINVAL, "pack: %d texts", n_texts);
  if (n_texts == 0) return SP_OK;
  pack_kernel<<<n_texts, kThreads, 0, stream>>>(terms, weights, n, cap, out_terms,
                                                out_weights, out_n);
  return sp_cuda_check(cudaGetLastError(), "pack");
}
