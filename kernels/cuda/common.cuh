// kernels/cuda/common.cuh - what the encoder's kernels share: 16-bit floats eight at a
// time, sums over a warp, and a warp's matrix product.
#ifndef SP_CUDA_COMMON_CUH
#define SP_CUDA_COMMON_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "kernels/cuda_types.h"

namespace sp {

__device__ inline float to_float(__half x) {
  return __half2float(x);
}
__device__ inline float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}

template <typename T>
__device__ inline T from_float(float x);
template <>
__device__ inline __half from_float<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ inline __nv_bfloat16 from_float<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// Two floats in one register, the lower half first: what mma and 4-byte stores take.
__device__ inline uint32_t pack2(float lo, float hi, __half) {
  const __half2 h = __floats2half2_rn(lo, hi);
  return *reinterpret_cast<const uint32_t *>(&h);
}
__device__ inline uint32_t pack2(float lo, float hi, __nv_bfloat16) {
  const __nv_bfloat162 h = __floats2bfloat162_rn(lo, hi);
  return *reinterpret_cast<const uint32_t *>(&h);
}

// Eight elements, 16 bytes: the unit every row is moved in.
template <typename T>
struct alignas(16) Vec8 {
  T v[8];
};

template <typename T>
__device__ inline void load8(const T *p, float (&out)[8]) {
  const Vec8<T> x = *reinterpret_cast<const Vec8<T> *>(p);
#pragma unroll
  for (int i = 0; i < 8; i++) out[i] = to_float(x.v[i]);
}
__device__ inline void load8(const float *p, float (&out)[8]) {
  const float4 a = reinterpret_cast<const float4 *>(p)[0];
  const float4 b = reinterpret_cast<const float4 *>(p)[1];
  out[0] = a.x, out[1] = a.y, out[2] = a.z, out[3] = a.w;
  out[4] = b.x, out[5] = b.y, out[6] = b.z, out[7] = b.w;
}
template <typename T>
__device__ inline void store8(T *p, const float (&in)[8]) {
  Vec8<T> x;
#pragma unroll
  for (int i = 0; i < 8; i++) x.v[i] = from_float<T>(in[i]);
  *reinterpret_cast<Vec8<T> *>(p) = x;
}
__device__ inline void store8(float *p, const float (&in)[8]) {
  reinterpret_cast<float4 *>(p)[0] = make_float4(in[0], in[1], in[2], in[3]);
  reinterpret_cast<float4 *>(p)[1] = make_float4(in[4], in[5], in[6], in[7]);
}

__device__ inline float warp_sum(float x) {
#pragma unroll
  for (int i = 16; i; i >>= 1) x += __shfl_xor_sync(~0u, x, i);
  return x;
}

// c[16, 8] += a[16, 16] b[16, 8]
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                           uint32_t b1, __half) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, "
      "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
__device__ inline void mma(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                           uint32_t b1, __nv_bfloat16) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
      "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

inline bool aligned16(const void *p) {
  return (reinterpret_cast<uintptr_t>(p) & 15) == 0;
}

}  // namespace sp

#endif
