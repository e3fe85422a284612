// kernels/cuda/row.cuh - a row of hidden states held in registers by a team of threads: a
// warp for rows of up to 1,024 elements, a block of 256 threads for longer ones.
#ifndef SP_CUDA_ROW_CUH
#define SP_CUDA_ROW_CUH

#include "kernels/cuda/common.cuh"

namespace sp {

constexpr int kRowMaxDim = 8192;
constexpr int kWarpsPerBlock = 4;  // when a warp is the team

// kTeam threads; each holds kVecs groups of 8 elements, group g of the row at
// thread g % kTeam, so that neighbours read neighbouring 16 bytes.
template <int kTeam, int kVecs>
struct Row {
  float x[kVecs][8];
  int dim, n_groups;  // the groups of `stride`, padding included

  __device__ Row(int row_dim, int stride) : dim(row_dim), n_groups(stride / 8) {}

  __device__ static int rank() { return threadIdx.x % kTeam; }
  __device__ static int group(int i) { return i * kTeam + rank(); }
  __device__ bool has(int i) const { return group(i) < n_groups; }
  __device__ bool counts(int i, int j) const { return group(i) * 8 + j < dim; }

  // `read(group, out)` gives 8 elements. Padding becomes zero.
  template <typename Read>
  __device__ void load(Read read) {
#pragma unroll
    for (int i = 0; i < kVecs; i++) {
      if (has(i)) read(group(i), x[i]);
#pragma unroll
      for (int j = 0; j < 8; j++)
        if (!counts(i, j)) x[i][j] = 0.f;
    }
  }

  __device__ static float team_sum(float v) {
    v = warp_sum(v);
    if (kTeam == 32) return v;
    __shared__ float partial[kTeam / 32];
    __syncthreads();  // the last sum has been read by all
    if (threadIdx.x % 32 == 0) partial[threadIdx.x / 32] = v;
    __syncthreads();
    v = 0.f;
#pragma unroll
    for (int i = 0; i < kTeam / 32; i++) v += partial[i];
    return v;
  }

  __device__ float sum() const {
    float s = 0.f;
#pragma unroll
    for (int i = 0; i < kVecs; i++)
#pragma unroll
      for (int j = 0; j < 8; j++) s += x[i][j];
    return team_sum(s);
  }

  // Sum of (x - centre)^2 over the elements that count.
  __device__ float sum_of_squares(float centre) const {
    float s = 0.f;
#pragma unroll
    for (int i = 0; i < kVecs; i++)
#pragma unroll
      for (int j = 0; j < 8; j++) {
        const float d = x[i][j] - centre;
        if (counts(i, j)) s += d * d;
      }
    return team_sum(s);
  }

  // LayerNorm, or RMSNorm; gamma and beta are padded with zeros, and so are the results.
  // Returns the variance (or the mean square): not finite when the row is not.
  __device__ float normalise(bool rms, const float *gamma, const float *beta, float eps) {
    const float mean = rms ? 0.f : sum() / dim;
    const float var = sum_of_squares(mean) / dim;
    const float scale = rsqrtf(var + eps);
#pragma unroll
    for (int i = 0; i < kVecs; i++) {
      if (!has(i)) continue;
      float g[8], b[8] = {};
      load8(gamma + group(i) * 8, g);
      if (beta) load8(beta + group(i) * 8, b);
#pragma unroll
      for (int j = 0; j < 8; j++)
        x[i][j] = counts(i, j) ? (x[i][j] - mean) * scale * g[j] + b[j] : 0.f;
    }
    return var;
  }

  template <typename T>
  __device__ void store(T *row) const {
#pragma unroll
    for (int i = 0; i < kVecs; i++)
      if (has(i)) store8(row + group(i) * 8, x[i]);
  }
};

// Which row this team has; teams beyond the last row have nothing to do.
template <int kTeam>
__device__ inline int team_row() {
  return kTeam == 32 ? blockIdx.x * kWarpsPerBlock + threadIdx.x / 32 : blockIdx.x;
}

// Calls launch.operator()<kTeam, kVecs>(grid, threads) with the smallest row that fits.
template <typename Launch>
inline void for_row_shape(int n_rows, int stride, Launch launch) {
  const int warp_grid = (n_rows + kWarpsPerBlock - 1) / kWarpsPerBlock;
  const int groups = stride / 8;
  if (groups <= 32)
    launch.template run<32, 1>(warp_grid, 32 * kWarpsPerBlock);
  else if (groups <= 64)
    launch.template run<32, 2>(warp_grid, 32 * kWarpsPerBlock);
  else if (groups <= 96)
    launch.template run<32, 3>(warp_grid, 32 * kWarpsPerBlock);
  else if (groups <= 128)
    launch.template run<32, 4>(warp_grid, 32 * kWarpsPerBlock);
  else if (groups <= 256)
    launch.template run<256, 1>(n_rows, 256);
  else if (groups <= 512)
    launch.template run<256, 2>(n_rows, 256);
  else
    launch.template run<256, 4>(n_rows, 256);
}

inline bool row_shape_ok(int n_rows, int dim, int stride) {
  return n_rows >= 0 && dim >= 1 && dim <= kRowMaxDim && stride >= dim &&
         stride % 8 == 0 && stride <= kRowMaxDim;
}

}  // namespace sp

#endif
