// kernels/cuda/embed.cu - the embedding tables, added and normalised in one pass.
#include "kernels/cuda_embed.h"

#include "kernels/cuda/row.cuh"

namespace {

template <typename T, int kTeam, int kVecs>
__global__ void __launch_bounds__(kTeam == 32 ? 128 : kTeam)
    embed_kernel(sp_cuda_embed_args a) {
  const int t = sp::team_row<kTeam>();
  if (t >= a.n_tokens) return;

  const T *word = static_cast<const T *>(a.word) + int64_t(a.ids[t]) * a.stride;
  const T *position = nullptr;
  if (a.position)
    position = static_cast<const T *>(a.position) + int64_t(a.positions[t]) * a.stride;

  sp::Row<kTeam, kVecs> row(a.dim, a.stride);
  row.load([&](int group, float(&x)[8]) {
    float y[8];
    sp::load8(word + group * 8, x);
    if (position) {
      sp::load8(position + group * 8, y);
      for (int j = 0; j < 8; j++) x[j] += y[j];
    }
    if (a.token_type) {
      sp::load8(a.token_type + group * 8, y);
      for (int j = 0; j < 8; j++) x[j] += y[j];
    }
  });
  if (a.gamma) row.normalise(false, a.gamma, a.beta, a.eps);
  const int64_t at = int64_t(t) * a.stride;
  if (a.out) row.store(static_cast<T *>(a.out) + at);
  if (a.stream_out) row.store(a.stream_out + at);
}

template <typename T>
struct Launch {
  const sp_cuda_embed_args &a;
  cudaStream_t stream;
  template <int kTeam, int kVecs>
  void run(int grid, int threads) {
    embed_kernel<T, kTeam, kVecs><<<grid, threads, 0, stream>>>(a);
  }
};

}  // namespace

sp_err sp_cuda_embed(const sp_cuda_embed_args *a, cudaStream_t stream) {
  if (!sp::row_shape_ok(a->n_tokens, a->dim, a->stride))
    return sp_fail(SP_EINVAL, "embed: %d tokens of %d, stride %d", a->n_tokens, a->dim,
                   a->stride);
  if (!a->ids || !a->word || (!a->out && !a->stream_out) ||
      (a->position && !a->positions) || (a->beta && !a->gamma))
    return sp_fail(SP_EINVAL, "embed: a table or the output is missing");
  if (a->n_tokens == 0) return SP_OK;  // an empty grid is a launch error

  if (a->type == SP_CUDA_F16)
    sp::for_row_shape(a->n_tokens, a->stride, Launch<__half>{*a, stream});
  else
    sp::for_row_shape(a->n_tokens, a->stride, Launch<__nv_bfloat16>{*a, stream});
  return sp_cuda_check(cudaGetLastError(), "embed");
}
