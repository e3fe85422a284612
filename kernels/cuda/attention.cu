// kernels/cuda/attention.cu - FlashAttention-2 over packed sequences with mma.sync.
//
// A block of four warps has 64 queries of one head of one sequence, 16 a warp; it walks
// the keys they may see in tiles of 64, two tiles in shared memory: one is computed with
// while cp.async brings the next. Scores, softmax and the output stay in registers: the
// score fragment of one product is the operand fragment of the next.
#include <cuda_pipeline_primitives.h>
#include <math.h>

#include "kernels/cuda/attention_plain.cuh"
#include "kernels/cuda/common.cuh"
#include "kernels/cuda_attention.h"

namespace {

constexpr int kQueries = 64, kKeys = 64, kThreads = 128;
constexpr float kLog2e = 1.44269504f;

// Rows are padded by 16 bytes: eight rows of one 16-byte column then lie in different
// banks, for every D here, so ldmatrix meets no conflict.
template <int D>
constexpr int kPitch = D + 8;
template <int D>
constexpr int kTile = kKeys *kPitch<D>;
template <int D>
constexpr int kBlocksPerSm = D <= 64 ? 4 : 2;  // what registers allow without spilling
template <int D>
constexpr int kSharedBytes =
    5 * kTile<D> * 2;  // queries, two tiles of keys, two of values

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

// Copies rows first .. first+63 of `in` into a tile; rows at or beyond `end` become zero,
// so that nothing read here can be NaN left by someone else.
template <typename T, int D>
__device__ inline void load_tile(T *tile, const T *in, int stride, int first, int end) {
  constexpr int kChunks = D / 8;  // of 16 bytes, in a row
#pragma unroll
  for (int i = 0; i < kKeys * kChunks / kThreads; i++) {
    const int c = i * kThreads + threadIdx.x;
    const int row = c / kChunks, column = c % kChunks * 8;
    const bool there = first + row < end;
    const T *from = in + int64_t(there ? first + row : 0) * stride + column;
    __pipeline_memcpy_async(tile + row * kPitch<D> + column, from, 16, there ? 0 : 16);
  }
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
      sp::mma(s[2 * n], q[d], b[0], b[1], T());
      sp::mma(s[2 * n + 1], q[d], b[2], b[3], T());
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
    const uint32_t a[4] = {sp::pack2(p[2 * k][0], p[2 * k][1], T()),
                           sp::pack2(p[2 * k][2], p[2 * k][3], T()),
                           sp::pack2(p[2 * k + 1][0], p[2 * k + 1][1], T()),
                           sp::pack2(p[2 * k + 1][2], p[2 * k + 1][3], T())};
#pragma unroll
    for (int n = 0; n < D / 16; n++) {
      uint32_t b[4];
      ldmatrix_transposed(b, at + k * 16 * kPitch<D> + n * 16);
      sp::mma(out[2 * n], a, b[0], b[1], T());
      sp::mma(out[2 * n + 1], a, b[2], b[3], T());
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
      *reinterpret_cast<uint32_t *>(at) =
          sp::pack2(o[n][2 * half], o[n][2 * half + 1], T());
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

// Grid: x the heads, so that blocks running together read the same rows; y the tiles of
// queries; z the sequences. Blocks beyond their sequence's end leave at once.
template <typename T, int D>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm<D>)
    flash_kernel(sp_cuda_attention_args a) {
  const int seq = a.last_first ? gridDim.z - 1 - blockIdx.z : blockIdx.z;
  const int start = a.starts[seq], len = a.starts[seq + 1] - start;
  const int first = blockIdx.y * kQueries;
  if (first >= len) return;
  const int head = blockIdx.x, kv_head = head / (a.n_heads / a.n_kv_heads);
  const T *q = static_cast<const T *>(a.q) + int64_t(start) * a.stride + head * D;
  const T *k = static_cast<const T *>(a.k) + int64_t(start) * a.stride + kv_head * D;
  const T *v = static_cast<const T *>(a.v) + int64_t(start) * a.stride + kv_head * D;

  const int seen = a.key_end ? min(a.key_end[seq], len) : len;
  const int last_query = min(first + kQueries, len) - 1;
  const int end = a.right < 0 ? seen : min(seen, last_query + a.right + 1);
  const int begin = a.left < 0 ? 0 : max(0, first - a.left) / kKeys * kKeys;
  const int n_tiles = max(0, (end - begin + kKeys - 1) / kKeys);

  extern __shared__ __align__(16) char shared[];
  T *q_tile = reinterpret_cast<T *>(shared);
  T *k_tiles = q_tile + kTile<D>, *v_tiles = k_tiles + 2 * kTile<D>;
  load_tile<T, D>(q_tile, q, a.stride, first, len);
  if (n_tiles > 0) {
    load_tile<T, D>(k_tiles, k, a.stride, begin, end);
    load_tile<T, D>(v_tiles, v, a.stride, begin, end);
  }
  __pipeline_commit();
  __pipeline_wait_prior(0);
  __syncthreads();

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  T *own = q_tile + warp * 16 * kPitch<D>;
  uint32_t query[D / 16][4];
#pragma unroll
  for (int d = 0; d < D / 16; d++)
    ldmatrix(query[d], own + lane % 16 * kPitch<D> + d * 16 + lane / 16 * 8);

  Softmax<T, D> softmax;
  const int row = first + warp * 16;  // the warp's first query
  const Sight sight = {seen, a.left, a.right};
  const float scale = a.scale * kLog2e;
  for (int t = 0; t < n_tiles; t++) {
    const int key = begin + t * kKeys;
    const int now = t % 2 * kTile<D>, next = kTile<D> - now;
    if (t + 1 < n_tiles) {  // the other pair of tiles was last read before the barrier
      load_tile<T, D>(k_tiles + next, k, a.stride, key + kKeys, end);
      load_tile<T, D>(v_tiles + next, v, a.stride, key + kKeys, end);
      __pipeline_commit();
    }
    const T *k_tile = k_tiles + now, *v_tile = v_tiles + now;
    // A warp behind the text's end only helps to load.
    if (row < len && end - key > 32)
      take_tile<T, D, 4>(softmax, query, k_tile, v_tile, row, key, sight, scale, lane);
    else if (row < len)
      take_tile<T, D, 2>(softmax, query, k_tile, v_tile, row, key, sight, scale, lane);
    __pipeline_wait_prior(0);
    __syncthreads();
  }
  softmax.finish();
  T *out = static_cast<T *>(a.out) + int64_t(start + row) * a.out_stride + head * D;
  write_out<T, D>(softmax.out, own, out, a.out_stride, len - row, lane);
}

template <typename T, int D>
cudaError_t launch_flash(const sp_cuda_attention_args &a, cudaStream_t stream) {
  const cudaError_t e = cudaFuncSetAttribute(
      flash_kernel<T, D>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes<D>);
  if (e) return e;
  const dim3 grid(a.n_heads, (a.max_len + kQueries - 1) / kQueries, a.n_seqs);
  flash_kernel<T, D><<<grid, kThreads, kSharedBytes<D>, stream>>>(a);
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch(const sp_cuda_attention_args &a, cudaStream_t stream) {
  switch (a.head_dim) {
    case 32:
      return launch_flash<T, 32>(a, stream);
    case 64:
      return launch_flash<T, 64>(a, stream);
    case 96:
      return launch_flash<T, 96>(a, stream);
    case 128:
      return launch_flash<T, 128>(a, stream);
    default:
      return sp::launch_plain_attention<T>(a, stream);
  }
}

bool aligned(const sp_cuda_attention_args *a) {
  return a->stride % 8 == 0 && a->out_stride % 8 == 0 && sp::aligned16(a->q) &&
         sp::aligned16(a->k) && sp::aligned16(a->v) && sp::aligned16(a->out);
}

}  // namespace

sp_err sp_cuda_attention(const sp_cuda_attention_args *a, cudaStream_t stream) {
  if (!a->q || !a->k || !a->v || !a->out || !a->starts || !aligned(a))
    return sp_fail(SP_EINVAL, "attention: an array is missing or unaligned");
  if (a->n_seqs < 0 || a->n_seqs > 65535 || a->max_len < 0 ||
      a->max_len > 65535 * kQueries)
    return sp_fail(SP_EINVAL, "attention: %d sequences of up to %d", a->n_seqs,
                   a->max_len);
  if (a->n_heads < 1 || a->n_kv_heads < 1 || a->n_heads % a->n_kv_heads ||
      a->head_dim < 1 || a->head_dim > sp::kPlainMaxDim ||
      int64_t(a->n_heads) * a->head_dim > a->out_stride)
    return sp_fail(SP_EINVAL, "attention: %d heads of %d over %d", a->n_heads,
                   a->head_dim, a->n_kv_heads);
  if (a->n_seqs == 0 || a->max_len == 0) return SP_OK;  // an empty grid is a launch error
  return sp_cuda_check(a->type == SP_CUDA_F16 ? launch<__half>(*a, stream)
                                              : launch<__nv_bfloat16>(*a, stream),
                       "attention");
}
