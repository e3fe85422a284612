// kernels/cuda/lm_head_parts.cuh - what the head's kernels share: the plan of a call, and
// the way a finished maximum takes to the output. Internal to kernels/cuda/lm_head_*.cu.
#ifndef SP_LM_HEAD_PARTS_CUH
#define SP_LM_HEAD_PARTS_CUH

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "kernels/lm_head.h"

namespace sp_lm {

// kCandidates: of 8-bit logits, the terms that kSparse might keep.
enum class Output { kValues, kArgmax, kSparse, kCandidates };

// W in 8 bits, and what rounding can do to a logit.
struct TermScale {
  float scale;        // element = 127 scale * int8
  float norm, error;  // |W[v]|, and of the differences to it
  float bias;         // with room for rounding
};
// The same of a text's rows of h, as bits of floats that are >= 0, so that they order as
// integers do. Zeros before they are computed.
struct TextScale {
  uint32_t peak;         // the largest |element|; element = peak / 127 * int8
  uint32_t norm, error;  // of the longest row: rounded, and of the differences to it
  uint32_t n_candidates;
};

// The 8-bit pass over a call, and what it finds. Device pointers.
struct Screen {
  const int8_t *w;         // [vocab, pitch]
  const TermScale *terms;  // [vocab]
  int8_t *h;               // [n_tokens, pitch]
  TextScale *texts;        // [n_texts]
  uint32_t *marks;         // a bit for each term: is it a candidate? [n_texts, n_words]
  uint32_t *candidates;    // terms [n_texts, cap]. More than cap: all terms are
  uint32_t pitch, n_words, cap;
  float limit;  // no logit below it passes the threshold
  float slack;  // of |h| |W[v]|, that float32 arithmetic may be off
};

// Where finished maxima go. Device pointers.
struct Sink {
  float *out;         // kValues, kArgmax: [n_texts, vocab]
  int32_t *argmax;    // kArgmax
  uint2 *staged;      // kSparse: (term, weight bits) in order of arrival [n_texts, cap]
  uint32_t *n_found;  // kSparse: [n_texts], counts on past cap
  uint32_t cap;
  float threshold;
  const float *bias;
  uint32_t vocab;
  uint32_t log1p_times;
  Screen screen;  // kCandidates
};

// The WGMMA path takes h in units of kUnit rows. Each stretch of rows without a large gap
// between its texts is cut into units, the last of which may be shorter.
struct Tile {
  uint32_t row;      // the unit's first
  uint32_t cols;     // rows of its stretch from there on, at most two units'
  uint32_t segment;  // the one that `row` lies in
  uint32_t carried;  // 1: that segment begins before `row`
};

// Segments cover a stretch without holes: a text, or the rows between two texts. Behind them
// lies one that has no end.
struct Segment {
  uint32_t end;   // row
  uint32_t text;  // or kNoText
};
constexpr uint32_t kUnit = 128;
constexpr uint32_t kNoText = 0xffffffff;

// The inputs of one call. Device pointers; h and w have rows of `pitch` elements.
struct Call {
  const void *w, *h;
  uint32_t dim, pitch, n_tokens, n_texts;
  const uint32_t *first, *end;  // [n_texts]
  uint32_t *counts;             // [n_texts], zeros: for Sink.n_found
  TextScale *scales;            // [n_texts], zeros: for the screen
  // WGMMA only:
  const Tile *tiles;
  const Segment *segments;
  uint32_t n_tiles, n_segments;
  bool crosses[2];  // a text goes on into a unit of even, of odd number
};

__device__ inline float activate(float z, uint32_t log1p_times) {
  if (!(z > 0.f)) return 0.f;  // NaN too
  const float y = log1pf(z);
  return log1p_times == 2 ? log1pf(y) : y;
}

__device__ inline float bias_of(const Sink &sink, uint32_t v) {
  return sink.bias && v < sink.vocab ? __ldg(sink.bias + v) : 0.f;
}

// Delivers the maximum logit `m` (without bias) of term v in `text`, found at row `at`.
// A whole warp calls it with one `text`; lanes with `valid` false bring nothing.
template <Output kOutput>
__device__ inline void deliver(const Sink &sink, uint32_t text, uint32_t v, bool valid,
                               float m, int32_t at, float bias) {
  valid = valid && v < sink.vocab;
  const float y = valid ? activate(m + bias, sink.log1p_times) : 0.f;
  if (kOutput == Output::kSparse) {
    // Arrival order is left to chance here; the finishing kernel sorts by term.
    const bool keep = y > 0.f && y >= sink.threshold;
    const unsigned kept = __ballot_sync(0xffffffffu, keep);
    if (kept == 0) return;
    const unsigned lane = threadIdx.x & 31;
    const int leader = __ffs(kept) - 1;
    uint32_t base = 0;
    if (int(lane) == leader) base = atomicAdd(sink.n_found + text, __popc(kept));
    base = __shfl_sync(0xffffffffu, base, leader);
    const uint32_t at_entry = base + __popc(kept & ((1u << lane) - 1));
    if (keep && at_entry < sink.cap)
      sink.staged[size_t(text) * sink.cap + at_entry] = make_uint2(v, __float_as_uint(y));
    return;
  }
  if (!valid) return;
  const size_t i = size_t(text) * sink.vocab + v;
  sink.out[i] = y;
  if (kOutput == Output::kArgmax) sink.argmax[i] = y > 0.f ? at : -1;
}

__device__ inline uint32_t bits_of(float x) {
  return __float_as_uint(x);
}
__device__ inline uint32_t bits_of(int32_t x) {
  return uint32_t(x);
}

// Marks term v of scale `t` as a candidate of `text`, of scale `x`, if m, the maximum of its
// 8-bit logits, says that one of them may reach the limit: by Cauchy and Schwarz the product
// of h = h' + dh and w = w' + dw differs from that of h' and w' by |dh| |w| + |h'| |dw| at
// most. A whole warp calls it with one text and 32 terms, the first a multiple of 32.
__device__ inline void mark(const Sink &sink, uint32_t text, uint32_t v, int32_t m,
                            const TermScale &t, const TextScale &x) {
  const Screen &s = sink.screen;
  const float norm = __uint_as_float(x.norm), error = __uint_as_float(x.error);
  const float bound =
      (error + s.slack * (norm + error)) * t.norm + norm * t.error + t.bias;
  const float logit = float(m) * (__uint_as_float(x.peak) * t.scale);
  // Not >=: what is no number is a candidate.
  const bool keep = v < sink.vocab && !(logit + bound < s.limit);
  const unsigned kept = __ballot_sync(0xffffffffu, keep);
  if (threadIdx.x % 32 == 0 && v < sink.vocab)
    s.marks[size_t(text) * s.n_words + v / 32] = kept;
}

// Takes the other maximum where it is larger, or equal and of a lower token.
__device__ inline void merge_at(float &m, int32_t &at, float other, int32_t other_at) {
  if (other > m || (other == m && other_at < at)) {
    m = other;
    at = other_at;
  }
}

__device__ inline float to_float(__nv_bfloat16 x) {
  return __bfloat162float(x);
}
__device__ inline float to_float(__half x) {
  return __half2float(x);
}

// Launchers. Each queues its kernels on `stream` and returns the launch's own error.
cudaError_t run_plain(const Call &call, const Sink &sink, Output output, sp_lm_dtype type,
                      cudaStream_t stream);
cudaError_t run_mma(const Call &call, const Sink &sink, Output output, sp_lm_dtype type,
                    cudaStream_t stream);

// A kernel that begins with this may be launched early: set up before the kernels ahead of
// it in the stream are done.
__device__ inline void wait_for_earlier_kernels() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaGridDependencySynchronize();
#endif
}

// And lets the kernel behind it be launched early.
__device__ inline void let_next_kernel_begin() {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  cudaTriggerProgrammaticLaunchCompletion();
#endif
}

// `early`: it is; only in a build with code for compute capability 9.0.
template <class... Args>
cudaError_t launch_early(bool early, void (*kernel)(Args...), unsigned grid,
                         unsigned block, size_t shared_bytes, cudaStream_t stream,
                         Args... args) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(grid);
  config.blockDim = dim3(block);
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = early;
  return cudaLaunchKernelEx(&config, kernel, args...);
}

// Orders the staged entries of every text by term, the top_k of them if top_k > 0. `early`
// as for launch_early().
cudaError_t run_finish_sparse(const Sink &sink, uint32_t n_texts, const sp_lm_sparse &out,
                              bool early, cudaStream_t stream);

// The WGMMA path. `partials` is device scratch of wgmma_partial_bytes(): the pieces of
// texts that two thread blocks share.
sp_err run_wgmma(const Call &call, const Sink &sink, Output output, sp_lm_dtype type,
                 void *partials, int n_clusters, cudaStream_t stream);
// The same over 8-bit operands, sink.screen's, for their candidates.
sp_err run_wgmma_screen(const Call &call, const Sink &sink, void *partials,
                        int n_clusters, cudaStream_t stream);
size_t wgmma_partial_bytes(uint32_t vocab, int n_clusters);
cudaError_t wgmma_count_clusters(int *n_clusters);  // that run at once on this device

constexpr uint32_t kPieceTerms = 128;  // of a text that are scored together
// Scores the candidates of sink.screen as kSparse.
sp_err run_rescore(const Call &call, const Sink &sink, sp_lm_dtype type, float *share,
                   int n_clusters, cudaStream_t stream);

// A device buffer that grows.
struct Buffer {
  void *data;
  size_t bytes;
};

}  // namespace sp_lm

struct sp_lm_head {
  sp_lm_head_config config;
  sp_lm_path path;
  int n_clusters;       // WGMMA: that run at once
  uint32_t pitch;       // elements of a row as the kernels read them
  cudaStream_t stream;  // of the last call
  sp_lm::Buffer w, h;   // padded copies, where dim asks for them
  sp_lm::Buffer plan, partials, staged, sorted;
  // The screen: W and its scales, h, and what was found.
  sp_lm::Buffer w8, scales, h8, marks, candidates;
  float *share;  // pinned: of all terms, what the last screen that has ended let through
  uint32_t resting;  // calls that still do without
  // The plan is built in pinned memory; a slot is free again when its event has passed.
  struct Upload {
    void *host;
    size_t bytes;
    cudaEvent_t copied;
  } uploads[4];
  unsigned next_upload;
};

namespace sp_lm {

sp_err from_cuda(cudaError_t e, const char *what);  // SP_OK, ENOMEM or ECUDA
sp_err grow(Buffer *b, size_t bytes);               // the old contents are lost
sp_err check_texts(const sp_lm_texts *texts, uint32_t n_tokens);
// Makes the 8-bit copy of W.
sp_err screen_prepare(sp_lm_head *head);
// How many pieces the second pass cuts a text's terms into, at most.
inline uint64_t count_pieces(uint32_t vocab) {
  return vocab / kPieceTerms + 1;
}
// Finds the sparse entries of a call in two passes, and stages them.
sp_err run_screened(sp_lm_head *head, const Call &call, Sink sink, cudaStream_t stream);
// What every call begins with: padded inputs, the plan on the device.
sp_err begin(sp_lm_head *head, const void *h, uint32_t n_tokens, const sp_lm_texts *texts,
             Call *call, cudaStream_t stream);

}  // namespace sp_lm
#endif
