// kernels/cuda/norm_fold.cu - scales of rows whose LayerNorm products do; weights folded for it.
#include "kernels/cuda/common.cuh"
#include "kernels/cuda_matmul.h"
#include "kernels/cuda_norm_fold.h"

namespace {

constexpr int kThreads = 128;
constexpr int kMaxDim = 8192;

// A thread has a row, so that neighbours read neighbouring pairs. The mean comes first: then
// nothing cancels in the squares.
__global__ void __launch_bounds__(kThreads)
    scales_kernel(const float2 *parts, int dim, int n_rows, int pitch, float eps,
                  float2 *scales, uint32_t *overflow) {
  const int r = blockIdx.x * kThreads + threadIdx.x;
  if (!parts || r >= n_rows) {
    scales[r] = make_float2(1.f, 0.f);
    return;
  }
  float sum = 0.f, squares = 0.f;
#pragma unroll 12
  for (int i = 0; i < dim; i += 64)
    sum += min(64, dim - i) * parts[int64_t(i / 64) * pitch + r].x;
  const float mean = sum / dim;
#pragma unroll 12
  for (int i = 0; i < dim; i += 64) {  // from the L1 cache
    const float2 part = parts[int64_t(i / 64) * pitch + r];
    const float d = part.x - mean;
    squares += part.y + min(64, dim - i) * d * d;
  }
  const float var = squares / dim;
  if (overflow && !isfinite(var)) *overflow = 1;
  const float scale = rsqrtf(var + eps);
  scales[r] = make_float2(scale, mean * scale);
}

// A warp has a row of the weights.
template <typename T>
__global__ void __launch_bounds__(kThreads) fold_kernel(sp_cuda_norm_fold_args a) {
  const int r = blockIdx.x * (kThreads / 32) + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (r >= a.n) return;
  const T *w = static_cast<const T *>(a.w) + int64_t(r) * a.k;
  const T *folded = static_cast<const T *>(a.folded) + int64_t(r) * a.k;
  float sum = 0.f, shift = 0.f;
  for (int i = lane * 8; i < a.k; i += 32 * 8) {
    float x[8], y[8], beta[8];
    sp::load8(w + i, x);
    sp::load8(folded + i, y);
    sp::load8(a.beta + i, beta);
#pragma unroll
    for (int j = 0; j < 8; j++) sum += y[j], shift += x[j] * beta[j];
  }
  sum = sp::warp_sum(sum);
  shift = sp::warp_sum(shift);
  if (lane > 0) return;
  a.sums[r] = sum;
  if (a.bias) shift += sp::to_float(static_cast<const T *>(a.bias)[r]);
  static_cast<T *>(a.bias_out)[r] = sp::from_float<T>(shift);
}

}  // namespace

sp_err sp_cuda_norm_scales(const float *parts, int dim, int n_rows, float eps,
                           float *scales, uint32_t *overflow, cudaStream_t stream) {
  if (dim < 1 || dim > kMaxDim || n_rows < 0 || !scales)
    return sp_fail(SP_EINVAL, "norm scales: %d rows of %d", n_rows, dim);
  if (n_rows == 0) return SP_OK;  // an empty grid is a launch error
  const int pitch = SP_CUDA_SCALES(n_rows);
  scales_kernel<<<pitch / kThreads, kThreads, 0, stream>>>(
      reinterpret_cast<const float2 *>(parts), dim, n_rows, pitch, eps,
      reinterpret_cast<float2 *>(scales), overflow);
  return sp_cuda_check(cudaGetLastError(), "norm scales");
}

sp_err sp_cuda_norm_fold(const sp_cuda_norm_fold_args *a, cudaStream_t stream) {
  if (!a->w || !a->folded || !a->beta || !a->bias_out || !a->sums || a->n < 1 ||
      a->k < 8 || a->k % 8)
    return sp_fail(SP_EINVAL, "norm fold: weights of %d x %d", a->n, a->k);
  const int grid = (a->n + kThreads / 32 - 1) / (kThreads / 32);
  if (a->type == SP_CUDA_F16)
    fold_kernel<__half><<<grid, kThreads, 0, stream>>>(*a);
  else
    fold_kernel<__nv_bfloat16><<<grid, kThreads, 0, stream>>>(*a);
  return sp_cuda_check(cudaGetLastError(), "norm fold");
}
