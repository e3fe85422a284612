// kernels/cuda/activation.cu - activations, gated activations and rotary positions:
// element by element, 16 bytes a thread, bound by memory.
#include "kernels/cuda_activation.h"

#include "kernels/cuda/common.cuh"

namespace {

constexpr int kThreads = 256;

template <int kAct>
__device__ inline float act(float x) {
  if (kAct == SP_CUDA_GELU) return 0.5f * x * (1.f + erff(x * 0.70710678f));
  if (kAct == SP_CUDA_GELU_TANH)
    return 0.5f * x * (1.f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
  if (kAct == SP_CUDA_RELU) return fmaxf(x, 0.f);
  return x / (1.f + __expf(-x));
}

// Thread i has group i of the matrix; a row has `groups` of them.
template <typename T, int kAct>
__global__ void bias_act_kernel(T *x, const T *bias, int64_t n_groups, int groups) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n_groups) return;
  float v[8], b[8] = {};
  sp::load8(x + i * 8, v);
  if (bias) sp::load8(bias + i % groups * 8, b);
#pragma unroll
  for (int j = 0; j < 8; j++) v[j] = act<kAct>(v[j] + b[j]);
  sp::store8(x + i * 8, v);
}

template <typename T, int kAct>
__global__ void gated_act_kernel(const T *x, T *out, int64_t n_groups, int groups) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n_groups) return;
  const int64_t row = i / groups;
  const int64_t gate = row * 2 * groups + i % groups;
  float g[8], u[8];
  sp::load8(x + gate * 8, g);
  sp::load8(x + (gate + groups) * 8, u);
#pragma unroll
  for (int j = 0; j < 8; j++) u[j] *= act<kAct>(g[j]);
  sp::store8(out + i * 8, u);
}

__global__ void rope_table_kernel(float2 *table, int64_t n, int half, double log_theta) {
  const int64_t i = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  const double angle = double(i / half) * exp(-log_theta * double(i % half) / half);
  double s, c;
  sincos(angle, &s, &c);
  table[i] = make_float2(float(c), float(s));
}

// A thread rotates one pair; a block of the x dimension walks a token's heads.
template <typename T>
__global__ void rope_kernel(T *x, int stride, int n_pairs, int half,
                            const int32_t *positions, const float2 *table) {
  const int t = blockIdx.x;
  T *row = x + int64_t(t) * stride;
  const float2 *turn = table + int64_t(positions[t]) * half;
  for (int p = threadIdx.x; p < n_pairs; p += blockDim.x) {
    const int i = p % half;
    T *head = row + p / half * 2 * half;
    const float a = sp::to_float(head[i]), b = sp::to_float(head[i + half]);
    const float2 cs = turn[i];
    head[i] = sp::from_float<T>(a * cs.x - b * cs.y);
    head[i + half] = sp::from_float<T>(b * cs.x + a * cs.y);
  }
}

unsigned blocks_for(int64_t n) {
  return unsigned((n + kThreads - 1) / kThreads);
}

template <typename T>
void launch_bias_act(sp_cuda_act a, void *x, const void *bias, int64_t n, int groups,
                     cudaStream_t s) {
  T *p = static_cast<T *>(x);
  const T *b = static_cast<const T *>(bias);
  const unsigned grid = blocks_for(n);
  switch (a) {
    case SP_CUDA_GELU:
      bias_act_kernel<T, SP_CUDA_GELU><<<grid, kThreads, 0, s>>>(p, b, n, groups);
      break;
    case SP_CUDA_GELU_TANH:
      bias_act_kernel<T, SP_CUDA_GELU_TANH><<<grid, kThreads, 0, s>>>(p, b, n, groups);
      break;
    case SP_CUDA_RELU:
      bias_act_kernel<T, SP_CUDA_RELU><<<grid, kThreads, 0, s>>>(p, b, n, groups);
      break;
    case SP_CUDA_SILU:
      bias_act_kernel<T, SP_CUDA_SILU><<<grid, kThreads, 0, s>>>(p, b, n, groups);
      break;
  }
}

template <typename T>
void launch_gated_act(sp_cuda_act a, const void *x, void *out, int64_t n, int groups,
                      cudaStream_t s) {
  const T *p = static_cast<const T *>(x);
  T *o = static_cast<T *>(out);
  const unsigned grid = blocks_for(n);
  switch (a) {
    case SP_CUDA_GELU:
      gated_act_kernel<T, SP_CUDA_GELU><<<grid, kThreads, 0, s>>>(p, o, n, groups);
      break;
    case SP_CUDA_GELU_TANH:
      gated_act_kernel<T, SP_CUDA_GELU_TANH><<<grid, kThreads, 0, s>>>(p, o, n, groups);
      break;
    case SP_CUDA_RELU:
      gated_act_kernel<T, SP_CUDA_RELU><<<grid, kThreads, 0, s>>>(p, o, n, groups);
      break;
    case SP_CUDA_SILU:
      gated_act_kernel<T, SP_CUDA_SILU><<<grid, kThreads, 0, s>>>(p, o, n, groups);
      break;
  }
}

bool shape_ok(int n_rows, int stride) {
  return n_rows >= 0 && stride > 0 && stride % 8 == 0 &&
         int64_t(n_rows) * stride / 8 / kThreads < INT32_MAX;
}

}  // namespace

sp_err sp_cuda_bias_act(sp_cuda_type type, sp_cuda_act a, void *x, const void *bias,
                        int n_rows, int stride, cudaStream_t stream) {
  if (!shape_ok(n_rows, stride) || !x || !sp::aligned16(x) || !sp::aligned16(bias) ||
      a > SP_CUDA_SILU)
    return sp_fail(SP_EINVAL, "activation: %d rows, stride %d", n_rows, stride);
  if (n_rows == 0) return SP_OK;  // an empty grid is a launch error
  const int64_t n = int64_t(n_rows) * (stride / 8);
  if (type == SP_CUDA_F16)
    launch_bias_act<__half>(a, x, bias, n, stride / 8, stream);
  else
    launch_bias_act<__nv_bfloat16>(a, x, bias, n, stride / 8, stream);
  return sp_cuda_check(cudaGetLastError(), "activation");
}

sp_err sp_cuda_gated_act(sp_cuda_type type, sp_cuda_act a, const void *x, void *out,
                         int n_rows, int stride, cudaStream_t stream) {
  if (!shape_ok(n_rows, stride) || !x || !out || x == out || !sp::aligned16(x) ||
      !sp::aligned16(out) || a > SP_CUDA_SILU)
    return sp_fail(SP_EINVAL, "gated activation: %d rows, stride %d", n_rows, stride);
  if (n_rows == 0) return SP_OK;
  const int64_t n = int64_t(n_rows) * (stride / 8);
  if (type == SP_CUDA_F16)
    launch_gated_act<__half>(a, x, out, n, stride / 8, stream);
  else
    launch_gated_act<__nv_bfloat16>(a, x, out, n, stride / 8, stream);
  return sp_cuda_check(cudaGetLastError(), "gated activation");
}

sp_err sp_cuda_rope_table(float *table, int n_positions, int head_dim, double theta,
                          cudaStream_t stream) {
  if (!table || n_positions < 0 || head_dim < 2 || head_dim > 256 || head_dim % 2 ||
      !(theta > 0))
    return sp_fail(SP_EINVAL, "rotary table: %d positions, head_dim %d, theta %g",
                   n_positions, head_dim, theta);
  if (n_positions == 0) return SP_OK;
  const int half = head_dim / 2;
  const int64_t n = int64_t(n_positions) * half;
  rope_table_kernel<<<blocks_for(n), kThreads, 0, stream>>>(
      reinterpret_cast<float2 *>(table), n, half, log(theta));
  return sp_cuda_check(cudaGetLastError(), "rotary table");
}

sp_err sp_cuda_rope(sp_cuda_type type, void *x, int stride, int n_heads, int head_dim,
                    const int32_t *positions, const float *table, int n_tokens,
                    cudaStream_t stream) {
  if (!x || !positions || !table || n_tokens < 0 || n_heads < 1 || head_dim < 2 ||
      head_dim > 256 || head_dim % 2 || int64_t(n_heads) * head_dim > stride)
    return sp_fail(SP_EINVAL, "rotary positions: %d heads of %d in rows of %d", n_heads,
                   head_dim, stride);
  if (n_tokens == 0) return SP_OK;
  const int half = head_dim / 2, pairs = n_heads * half;
  const int threads = pairs >= 1024 ? 256 : 128;
  const float2 *cs = reinterpret_cast<const float2 *>(table);
  if (type == SP_CUDA_F16)
    rope_kernel<<<n_tokens, threads, 0, stream>>>(static_cast<__half *>(x), stride, pairs,
                                                  half, positions, cs);
  else
    rope_kernel<<<n_tokens, threads, 0, stream>>>(static_cast<__nv_bfloat16 *>(x), stride,
                                                  pairs, half, positions, cs);
  return sp_cuda_check(cudaGetLastError(), "rotary positions");
}
