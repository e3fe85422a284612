// kernels/cuda/norm.cu - LayerNorm with its residual, RMSNorm, token vectors.
//
// Bound by memory: a row is read once into registers, both passes over it (mean, then
// variance) run there, and it is written once.
#include "kernels/cuda_norm.h"

#include "kernels/cuda/row.cuh"

namespace {

template <typename T, typename X, int kTeam, int kVecs>
__global__ void __launch_bounds__(kTeam == 32 ? 128 : kTeam)
    norm_kernel(sp_cuda_norm_args a) {
  int r = sp::team_row<kTeam>();
  if (r >= a.n_rows) return;
  if (a.last_first) r = a.n_rows - 1 - r;

  const int64_t at = int64_t(r) * a.stride;
  const X *x = static_cast<const X *>(a.x) + at;
  const T *residual = a.residual ? static_cast<const T *>(a.residual) + at : nullptr;

  sp::Row<kTeam, kVecs> row(a.dim, a.stride);
  row.load([&](int group, float(&v)[8]) {
    sp::load8(x + group * 8, v);
    if (!residual) return;
    float y[8];
    sp::load8(residual + group * 8, y);
    for (int j = 0; j < 8; j++) v[j] += y[j];
  });
  const float var = row.normalise(a.rms, a.gamma, a.beta, a.eps);
  if (a.overflow && !isfinite(var) && row.rank() == 0) *a.overflow = 1;
  row.store(static_cast<T *>(a.out) + at);
}

template <typename T, typename X>
struct Launch {
  const sp_cuda_norm_args &a;
  cudaStream_t stream;
  template <int kTeam, int kVecs>
  void run(int grid, int threads) {
    norm_kernel<T, X, kTeam, kVecs><<<grid, threads, 0, stream>>>(a);
  }
};

struct token_args {
  const void *x;
  float *out;
  int n_rows, dim, stride;
  bool l2;
};

template <typename T, int kTeam, int kVecs>
__global__ void __launch_bounds__(kTeam == 32 ? 128 : kTeam) token_kernel(token_args a) {
  const int r = sp::team_row<kTeam>();
  if (r >= a.n_rows) return;

  const T *x = static_cast<const T *>(a.x) + int64_t(r) * a.stride;
  sp::Row<kTeam, kVecs> row(a.dim, a.stride);
  row.load([&](int group, float(&v)[8]) { sp::load8(x + group * 8, v); });
  float scale = 1.f;
  if (a.l2) scale /= fmaxf(sqrtf(row.sum_of_squares(0.f)), 1e-12f);
  float *out = a.out + int64_t(r) * a.dim;
#pragma unroll
  for (int i = 0; i < kVecs; i++)
#pragma unroll
    for (int j = 0; j < 8; j++)
      if (row.counts(i, j)) out[row.group(i) * 8 + j] = row.x[i][j] * scale;
}

template <typename T>
struct TokenLaunch {
  token_args a;
  cudaStream_t stream;
  template <int kTeam, int kVecs>
  void run(int grid, int threads) {
    token_kernel<T, kTeam, kVecs><<<grid, threads, 0, stream>>>(a);
  }
};

}  // namespace

sp_err sp_cuda_norm(const sp_cuda_norm_args *a, cudaStream_t stream) {
  if (!sp::row_shape_ok(a->n_rows, a->dim, a->stride))
    return sp_fail(SP_EINVAL, "norm: %d rows of %d, stride %d", a->n_rows, a->dim,
                   a->stride);
  if (!a->x || !a->gamma || !a->out || (a->residual && a->x_f32))
    return sp_fail(SP_EINVAL,
                   "norm: x, gamma and out are needed, and no residual to f32");
  if (a->n_rows == 0) return SP_OK;

  const bool f16 = a->type == SP_CUDA_F16;
  if (f16 && a->x_f32)
    sp::for_row_shape(a->n_rows, a->stride, Launch<__half, float>{*a, stream});
  else if (f16)
    sp::for_row_shape(a->n_rows, a->stride, Launch<__half, __half>{*a, stream});
  else if (a->x_f32)
    sp::for_row_shape(a->n_rows, a->stride, Launch<__nv_bfloat16, float>{*a, stream});
  else
    sp::for_row_shape(a->n_rows, a->stride,
                      Launch<__nv_bfloat16, __nv_bfloat16>{*a, stream});
  return sp_cuda_check(cudaGetLastError(), "norm");
}

sp_err sp_cuda_token_rows(sp_cuda_type type, const void *x, int stride, int n_rows,
                          int dim, bool l2, float *out, cudaStream_t stream) {
  if (!sp::row_shape_ok(n_rows, dim, stride) || !x || !out)
    return sp_fail(SP_EINVAL, "token vectors: %d rows of %d, stride %d", n_rows, dim,
                   stride);
  if (n_rows == 0) return SP_OK;

  const token_args a = {x, out, n_rows, dim, stride, l2};
  if (type == SP_CUDA_F16)
    sp::for_row_shape(n_rows, stride, TokenLaunch<__half>{a, stream});
  else
    sp::for_row_shape(n_rows, stride, TokenLaunch<__nv_bfloat16>{a, stream});
  return sp_cuda_check(cudaGetLastError(), "token vectors");
}
