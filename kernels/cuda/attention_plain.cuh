// kernels/cuda/attention_plain.cuh - attention for head sizes that no tensor-core tile
// fits.
#ifndef SP_CUDA_ATTENTION_PLAIN_CUH
#define SP_CUDA_ATTENTION_PLAIN_CUH

#include <math.h>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda_attention.h"

namespace sp {

constexpr int kPlainMaxDim = 256;
constexpr int kPlainWarps = 4;

__device__ inline float warp_max(float x) {
#pragma unroll
  for (int i = 16; i; i >>= 1) x = fmaxf(x, __shfl_xor_sync(~0u, x, i));
  return x;
}

// A warp has one query. It takes 32 keys at a time: first a lane scores one key, then a
// lane sums the values of its elements d = lane, lane + 32 ... of the head.
template <typename T>
__global__ void plain_attention_kernel(sp_cuda_attention_args a) {
  const int start = a.starts[blockIdx.z], len = a.starts[blockIdx.z + 1] - start;
  const int i = blockIdx.y * kPlainWarps + threadIdx.x / 32, lane = threadIdx.x % 32;
  if (i >= len) return;
  const int D = a.head_dim, head = blockIdx.x;
  const int kv_head = head / (a.n_heads / a.n_kv_heads);
  const int64_t kv = int64_t(start) * a.stride + kv_head * D;
  const T *q = static_cast<const T *>(a.q) + int64_t(start + i) * a.stride + head * D;
  const T *k = static_cast<const T *>(a.k) + kv, *v = static_cast<const T *>(a.v) + kv;

  const int seen = a.key_end ? min(a.key_end[blockIdx.z], len) : len;
  const int end = a.right < 0 ? seen : min(seen, i + a.right + 1);
  const int begin = a.left < 0 ? 0 : max(0, i - a.left);

  float most = -INFINITY, total = 0.f, out[kPlainMaxDim / 32] = {};
  for (int first = begin; first < end; first += 32) {
    float s = -INFINITY;
    if (first + lane < end) {
      const T *key = k + int64_t(first + lane) * a.stride;
      s = 0.f;
      for (int d = 0; d < D; d++) s += to_float(q[d]) * to_float(key[d]);
      s *= a.scale;
    }
    const float next = fmaxf(most, warp_max(s)), fade = expf(most - next);
    const float p = expf(s - next);
    most = next;
    total = total * fade + warp_sum(p);
    const int n = min(32, end - first);
#pragma unroll
    for (int e = 0; e < kPlainMaxDim / 32; e++) out[e] *= fade;
    for (int j = 0; j < n; j++) {
      const float pj = __shfl_sync(~0u, p, j);
      const T *value = v + int64_t(first + j) * a.stride;
#pragma unroll
      for (int e = 0; e < kPlainMaxDim / 32; e++)
        if (e * 32 + lane < D) out[e] += pj * to_float(value[e * 32 + lane]);
    }
  }
  const float scale = total > 0.f ? 1.f / total : 0.f;
  T *o = static_cast<T *>(a.out) + int64_t(start + i) * a.out_stride + head * D;
#pragma unroll
  for (int e = 0; e < kPlainMaxDim / 32; e++)
    if (e * 32 + lane < D) o[e * 32 + lane] = from_float<T>(out[e] * scale);
  if (head == a.n_heads - 1 && lane < (-a.n_heads * D & 7))  // padding
    o[D + lane] = from_float<T>(0.f);
}

template <typename T>
cudaError_t launch_plain_attention(const sp_cuda_attention_args &a, cudaStream_t stream) {
  const dim3 grid(a.n_heads, (a.max_len + kPlainWarps - 1) / kPlainWarps, a.n_seqs);
  plain_attention_kernel<T><<<grid, 32 * kPlainWarps, 0, stream>>>(a);
  return cudaGetLastError();
}

}  // namespace sp

#endif
