// kernels/cuda/attention.cu - FlashAttention-2 over packed sequences with mma.sync; batches
// of short texts go to attention_short.cuh where head sizes allow.
//
// A block of four warps has 64 queries of one head of one sequence, 16 a warp; it walks
// the keys they may see in tiles of 64, two tiles in shared memory: one is computed with
// while cp.async brings the next. Scores, softmax and the output stay in registers: the
// score fragment of one product is the operand fragment of the next.
#include <cuda_pipeline_primitives.h>

#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/attention_plain.cuh"
#include "kernels/cuda/attention_short.cuh"
#include "kernels/cuda/common.cuh"
#include "kernels/cuda_attention.h"

namespace {

using sp::kKeys;
using sp::kPitch;

constexpr int kQueries = 64, kThreads = 128;

template <int D>
constexpr int kTile = kKeys *kPitch<D>;
template <int D>
constexpr int kBlocksPerSm = D <= 64 ? 4 : 2;  // what registers allow without spilling
template <int D>
constexpr int kSharedBytes =
    5 * kTile<D> * 2;  // queries, two tiles of keys, two of values

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
  sp::load_queries<T, D>(query, own, lane);

  sp::Softmax<T, D> softmax;
  const int row = first + warp * 16;  // the warp's first query
  const sp::Sight sight = {seen, a.left, a.right};
  const float scale = a.scale * sp::kLog2e;
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
      sp::take_tile<T, D, 4>(softmax, query, k_tile, v_tile, row, key, sight, scale,
                             lane);
    else if (row < len)
      sp::take_tile<T, D, 2>(softmax, query, k_tile, v_tile, row, key, sight, scale,
                             lane);
    __pipeline_wait_prior(0);
    __syncthreads();
  }
  softmax.finish();
  T *out = static_cast<T *>(a.out) + int64_t(start + row) * a.out_stride + head * D;
  sp::write_out<T, D>(softmax.out, own, out, a.out_stride, len - row, lane);
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

template <typename T, int D>
cudaError_t launch_by_length(const sp_cuda_attention_args &a, cudaStream_t stream) {
  bool launched;
  const cudaError_t e = sp::launch_short_attention<T, D>(a, stream, &launched);
  return e || launched ? e : launch_flash<T, D>(a, stream);
}

template <typename T>
cudaError_t launch(const sp_cuda_attention_args &a, cudaStream_t stream) {
  switch (a.head_dim) {
    case 32:
      return launch_by_length<T, 32>(a, stream);
    case 64:
      return launch_by_length<T, 64>(a, stream);
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
