// kernels/cuda/attention_parts.cuh - what attention's kernels share: one warp's way from 16
// queries and a tile of keys and values in shared memory to rows of the output.
#ifndef SP_CUDA_ATTENTION_PARTS_CUH
#define SP_CUDA_ATTENTION_PARTS_CUH

#include <math.h>

#include "kernels/cuda/common.cuh"

namespace sp {

constexpr float kLog2e = 1.44269504f;
constexpr int kKeys = 64;  // of a tile: a softmax's steps, wherever the keys come from

// Rows are padded by 16 bytes: eight rows of one 16-byte column then lie in different
// banks, for every D here, so ldmatrix meets no conflict.
template <int D>
constexpr int kPitch = D + 8;

__device__ inline void ldmatrix(uint32_t (&r)[4], const void *p) {
  const uint32_t at = uint32_t(__cvta_generic_to_shared(p));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
}
__device__ inline void ldmatrix_transposed(uint32_t (&r)[4], const void *p) {
  const uint32_t at = uint32_t(__cvta_generic_to_shared(p));
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(at));
}

// The hardware's 2^x, two units in the last place; 2^-infinity is 0.
__device__ inline float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// A warp's running softmax over 16 queries. In an mma accumulator a thread has rows
// lane/4 (elements 0, 1) and lane/4 + 8 (elements 2, 3), columns lane%4 * 2 and the next.
template <typename T, int D>
struct Softmax {
  float out[D / 8][4], most[2], total[2];

  __device__ Softmax() {
#pragma unroll
    for (int n = 0; n < D / 8; n++)
#pragma unroll
      for (int e = 0; e < 4; e++) out[n][e] = 0.f;
    most[0] = most[1] = -INFINITY;
    total[0] = total[1] = 0.f;
  }

  // Turns a tile's scores into weights under the new maximum and rescales what is there.
  template <int kGroups>
  __device__ void take(float (&s)[2 * kGroups][4], float scale_log2) {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float tile_most = most[half];
#pragma unroll
      for (int n = 0; n < 2 * kGroups; n++)
        tile_most = fmaxf(tile_most, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      tile_most = fmaxf(tile_most, __shfl_xor_sync(~0u, tile_most, 1));
      tile_most = fmaxf(tile_most, __shfl_xor_sync(~0u, tile_most, 2));
      // A row that has seen no key yet: any finite maximum keeps its weights at 0.
      const float base = tile_most == -INFINITY ? 0.f : tile_most * scale_log2;
      const float fade = fast_exp2(most[half] * scale_log2 - base);
      most[half] = tile_most;
      total[half] *= fade;
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        out[n][2 * half] *= fade;
        out[n][2 * half + 1] *= fade;
      }
#pragma unroll
      for (int n = 0; n < 2 * kGroups; n++)
#pragma unroll
        for (int e = 2 * half; e < 2 * half + 2; e++) {
          s[n][e] = fast_exp2(s[n][e] * scale_log2 - base);
          total[half] += s[n][e];
        }
    }
  }

  __device__ void finish() {
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float t = total[half];
      t += __shfl_xor_sync(~0u, t, 1);
      t += __shfl_xor_sync(~0u, t, 2);
      const float scale = t > 0.f ? 1.f / t : 0.f;
#pragma unroll
      for (int n = 0; n < D / 8; n++) {
        out[n][2 * half] *= scale;
        out[n][2 * half + 1] *= scale;
      }
    }
  }
};

// The operands of a warp's 16 queries, from their rows in shared memory.
template <typename T, int D>
__device__ inline void load_queries(uint32_t (&q)[D / 16][4], const T *rows, int lane) {
#pragma unroll
  for (int d = 0; d < D / 16; d++)
    ldmatrix(q[d], rows + lane % 16 * kPitch<D> + d * 16 + lane / 16 * 8);
}

// The steps of a tile are over kGroups groups of 16 keys: texts are short, so their last tile
// counts, and keys that are not there cost nothing.

// s[16, 16 kGroups] = q k^T
template <typename T, int D, int kGroups>
__device__ inline void scores(float (&s)[2 * kGroups][4], const uint32_t (&q)[D / 16][4],
                              const T *k, int lane) {
  // Two groups of eight keys by sixteen elements a load.
  const T *at = k + (lane / 16 * 8 + lane % 8) * kPitch<D> + lane / 8 % 2 * 8;
#pragma unroll
  for (int n = 0; n < kGroups; n++) {
#pragma unroll
    for (int e = 0; e < 4; e++) s[2 * n][e] = s[2 * n + 1][e] = 0.f;
#pragma unroll
    for (int d = 0; d < D / 16; d++) {
      uint32_t b[4];
      ldmatrix(b, at + n * 16 * kPitch<D> + d * 16);
      mma(s[2 * n], q[d], b[0], b[1], T());
      mma(s[2 * n + 1], q[d], b[2], b[3], T());
    }
  }
}

// out[16, D] += p[16, 16 kGroups] v
template <typename T, int D, int kGroups>
__device__ inline void weigh(float (&out)[D / 8][4], const float (&p)[2 * kGroups][4],
                             const T *v, int lane) {
  const T *at = v + lane % 16 * kPitch<D> + lane / 16 * 8;
#pragma unroll
  for (int k = 0; k < kGroups; k++) {
    const uint32_t a[4] = {pack2(p[2 * k][0], p[2 * k][1], T()),
                           pack2(p[2 * k][2], p[2 * k][3], T()),
                           pack2(p[2 * k + 1][0], p[2 * k + 1][1], T()),
                           pack2(p[2 * k + 1][2], p[2 * k + 1][3], T())};
#pragma unroll
    for (int n = 0; n < D / 16; n++) {
      uint32_t b[4];
      ldmatrix_transposed(b, at + k * 16 * kPitch<D> + n * 16);
      mma(out[2 * n], a, b[0], b[1], T());
      mma(out[2 * n + 1], a, b[2], b[3], T());
    }
  }
}

// Which keys a query may see: j < end, i - left <= j <= i + right; -1: no bound.
struct Sight {
  int end, left, right;

  // All of keys key .. key+n-1, by all of queries query .. query+15?
  __device__ bool whole(int query, int key, int n) const {
    return key + n <= end && (left < 0 || key >= query + 15 - left) &&
           (right < 0 || key + n - 1 <= query + right);
  }
};

// Scores of keys that a query may not see become -infinity. `query` is the row of element 0,
// `key` the column of element 0 of the first group.
template <int kGroups>
__device__ inline void mask(float (&s)[2 * kGroups][4], int query, int key, Sight sight) {
#pragma unroll
  for (int n = 0; n < 2 * kGroups; n++)
#pragma unroll
    for (int e = 0; e < 4; e++) {
      const int i = query + e / 2 * 8, j = key + n * 8 + e % 2;
      if (j >= sight.end || (sight.left >= 0 && j < i - sight.left) ||
          (sight.right >= 0 && j > i + sight.right))
        s[n][e] = -INFINITY;
    }
}

// A warp's queries row .. row+15 take in the tile that begins at `key`.
template <typename T, int D, int kGroups>
__device__ inline void take_tile(Softmax<T, D> &softmax, const uint32_t (&q)[D / 16][4],
                                 const T *k, const T *v, int row, int key, Sight sight,
                                 float scale_log2, int lane) {
  float s[2 * kGroups][4];
  scores<T, D, kGroups>(s, q, k, lane);
  if (!sight.whole(row, key, 16 * kGroups))
    mask<kGroups>(s, row + lane / 4, key + lane % 4 * 2, sight);
  softmax.template take<kGroups>(s, scale_log2);
  weigh<T, D, kGroups>(softmax.out, s, v, lane);
}

// Writes the warp's 16 rows by way of shared memory, so that they leave 16 bytes a
// thread. `tile` held the warp's queries: without keys no barrier came since their reading.
template <typename T, int D>
__device__ inline void write_out(const float (&o)[D / 8][4], T *tile, T *out, int stride,
                                 int n_rows, int lane) {
  __syncwarp();
#pragma unroll
  for (int n = 0; n < D / 8; n++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      T *at = tile + (lane / 4 + half * 8) * kPitch<D> + n * 8 + lane % 4 * 2;
      *reinterpret_cast<uint32_t *>(at) = pack2(o[n][2 * half], o[n][2 * half + 1], T());
    }
  __syncwarp();
  constexpr int kChunks = D / 8;
#pragma unroll
  for (int i = 0; i < 16 * kChunks / 32; i++) {
    const int row = (i * 32 + lane) / kChunks, column = (i * 32 + lane) % kChunks * 8;
    if (row < n_rows)
      *reinterpret_cast<uint4 *>(out + int64_t(row) * stride + column) =
          *reinterpret_cast<const uint4 *>(tile + row * kPitch<D> + column);
  }
}

}  // namespace sp

#endif
