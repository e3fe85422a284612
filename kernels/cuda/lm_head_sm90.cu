// kernels/cuda/lm_head_sm90.cu - the head on Hopper: TMA into shared memory, wgmma, and the
// maximum taken where the logits appear, in the accumulator registers.
//
// The terms are the rows of the product (64 for each of two consumer warpgroups), the
// tokens its columns, 256 at a time. A thread then holds two terms' logits of 64 tokens: the
// maximum over the tokens is 128 instructions on its own registers, and four lanes
// finish a text. Two thread blocks form a cluster: they work on neighbouring vocabulary
// tiles and the same tokens, and each fetches half of the tokens for both.
//
// One warp feeds a ring of stages; the consumer warpgroups run without a barrier between
// them, one ahead of the other, so that one's maxima overlap the other's products.
// lm_head_schedule.cuh says who works on what; LM_HEAD_LOG.md what was tried and measured.
#include "kernels/cuda/lm_head_parts.cuh"
#include "kernels/cuda/lm_head_schedule.cuh"
#include "kernels/cuda/sm90.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define SP_LM_CLUSTER __cluster_dims__(kCluster, 1, 1)
#else
#define SP_LM_CLUSTER  // the kernel is empty there
#endif

namespace sp_lm {
namespace {

using namespace sp_sm90;

constexpr int kGroups = 2;            // consumer warpgroups
constexpr int kTerms = 64 * kGroups;  // rows of a block's tile
constexpr int kCols = kWgmmaCols;     // tokens
constexpr int kDepth = 64;            // of the dimension in one stage: 128 bytes
constexpr int kStages = 4;
constexpr int kCluster = 2;
constexpr int kThreads = 128 * (kGroups + 1);
constexpr uint32_t kTermBytes = kTerms * kDepth * 2;
constexpr uint32_t kColBytes = kCols * kDepth * 2;
constexpr uint32_t kStageBytes = kTermBytes + kColBytes;
constexpr int kSharedBytes = kStages * kStageBytes + 1024 /* alignment */;

struct Partial {  // part of a text's maximum, [slot][term of the pair]
  float *m;
  int32_t *at;
};

struct Params {
  Call call;
  Sink sink;
  Schedule schedule;
  Partial partial;
};

#ifdef SP_SM90

struct Ring {  // the place in the ring of stages, and which time round
  uint32_t stage = 0, phase = 0;
  __device__ void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

struct SharedMap {
  uint32_t stages;       // address of stage 0, 1024-byte aligned
  uint32_t full, empty;  // addresses of kStages barriers each
};

// One thread of the producer: all loads of this block, in the order of the walk.
__device__ inline void produce(const Params &p, const CUtensorMap *w_map,
                               const CUtensorMap *h_map, const SharedMap &shared,
                               uint32_t rank) {
  Ring ring;
  Walk walk(p.schedule, blockIdx.x / kCluster);
  Strip strip;
  const int n_depths = (p.call.dim + kDepth - 1) / kDepth;
  while (walk.next(&strip)) {
    const int term = (strip.pair * kCluster + rank) * kTerms;
    for (uint32_t t = strip.tile; t < strip.tile_end; t++) {
      const int row = p.call.tiles[t].row + rank * (kCols / kCluster);
      for (int d = 0; d < n_depths; d++, ring.advance()) {
        const uint32_t full = shared.full + 8 * ring.stage;
        const uint32_t to = shared.stages + ring.stage * kStageBytes;
        barrier_wait(shared.empty + 8 * ring.stage, ring.phase ^ 1);
        barrier_expect(full, kStageBytes);
        tma_load(to, w_map, d * kDepth, term, full);
        tma_load_all(to + kTermBytes + rank * (kColBytes / kCluster), h_map, d * kDepth,
                     row, full, (1 << kCluster) - 1);
      }
    }
  }
}

// Logits of one column tile into `acc`, waiting for and handing back the stages.
template <typename T>
__device__ inline void multiply_tile(float (&acc)[128], int n_depths, Ring &ring,
                                     const SharedMap &shared, int group, int thread) {
  int previous = -1;
  for (int d = 0; d < n_depths; d++) {
    barrier_wait(shared.full + 8 * ring.stage, ring.phase);
    const uint32_t from = shared.stages + ring.stage * kStageBytes;
    const uint64_t a = matrix_descriptor(from + group * (64 * kDepth * 2));
    const uint64_t b = matrix_descriptor(from + kTermBytes);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kDepth / 16; k++)  // 32 bytes along the swizzled row
      multiply<T>(acc, a + 2 * k, b + 2 * k, d > 0 || k > 0);
    wgmma_commit();
    wgmma_wait<1>();  // the products before these are done: their stage is free
    if (previous >= 0 && thread < kCluster)
      barrier_arrive_at(shared.empty + 8 * previous, thread);
    previous = ring.stage;
    ring.advance();
  }
  wgmma_wait<0>();
  if (thread < kCluster) barrier_arrive_at(shared.empty + 8 * previous, thread);
}

// A thread's two terms: the running maxima, and where.
struct Best {
  float m[2];
  int32_t at[2];
};

template <bool kAt>
__device__ inline void raise(Best &best, float x0, float x1, int32_t column) {
  if (kAt) {
    best.at[0] = x0 > best.m[0] ? column : best.at[0];
    best.at[1] = x1 > best.m[1] ? column : best.at[1];
  }
  best.m[0] = fmaxf(best.m[0], x0);
  best.m[1] = fmaxf(best.m[1], x1);
}

// A thread's columns are 8 i + 2 q + e: register 4 i + e of term 0, 4 i + 2 + e of term 1.
// As registers cannot be indexed at run time, all are passed, in blocks of kBlock columns.
// Smaller blocks mask less, but every look at one costs some 40 clocks.
constexpr int kBlock = 32;

template <bool kAt>
__device__ inline void raise_block(Best &best, const float (&acc)[128], int block) {
#pragma unroll
  for (int r = 0; r < 2 && !kAt; r++) {  // as a tree: short chains
    const float *x = acc + block * (kBlock / 2) + 2 * r;
    float m = fmaxf(x[0], x[1]);
#pragma unroll
    for (int i = 1; i < kBlock / 8; i++) m = fmaxf(m, fmaxf(x[4 * i], x[4 * i + 1]));
    best.m[r] = fmaxf(best.m[r], m);
  }
#pragma unroll
  for (int i = block * (kBlock / 8); i < (block + 1) * (kBlock / 8) && kAt; i++)
#pragma unroll
    for (int e = 0; e < 2; e++)
      raise<kAt>(best, acc[4 * i + e], acc[4 * i + 2 + e], 8 * i + e);
}

// Raises `best` by the columns lo .. hi-1 of the tile, which begins at `row`. A block is
// skipped, taken whole or masked; which of the three the whole warp agrees on.
template <bool kAt>
__device__ inline void raise_columns(Best &best, const float (&acc)[128], int lo, int hi,
                                     int q, int32_t row) {
  Best in = best;
  if (kAt) in.at[0] = in.at[1] = -1;  // columns of this tile, for now
  const unsigned length = hi - lo;
  if (length == kCols) {
#pragma unroll
    for (int block = 0; block < kCols / kBlock; block++) raise_block<kAt>(in, acc, block);
  } else {
#pragma unroll
    for (int block = 0; block < kCols / kBlock; block++) {
      const int c0 = block * kBlock;
      if (hi <= c0 || lo >= c0 + kBlock) continue;
      if (lo <= c0 && hi >= c0 + kBlock) {
        raise_block<kAt>(in, acc, block);
        continue;
      }
#pragma unroll
      for (int i = c0 / 8; i < (c0 + kBlock) / 8; i++)
#pragma unroll
        for (int e = 0; e < 2; e++)
          if (unsigned(8 * i + e + 2 * q - lo) < length)
            raise<kAt>(in, acc[4 * i + e], acc[4 * i + 2 + e], 8 * i + e);
    }
  }
  if (kAt) {
#pragma unroll
    for (int r = 0; r < 2; r++)
      best.at[r] = in.at[r] >= 0 ? row + 2 * q + in.at[r] : best.at[r];
  }
  best.m[0] = in.m[0];
  best.m[1] = in.m[1];
}

// Joins the four lanes that share the two terms.
template <bool kAt>
__device__ inline void join_quad(Best &best) {
#pragma unroll
  for (int offset = 1; offset < 4; offset *= 2)
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const float m = __shfl_xor_sync(0xffffffffu, best.m[r], offset);
      if (kAt) {
        const int32_t at = __shfl_xor_sync(0xffffffffu, best.at[r], offset);
        merge_at(best.m[r], best.at[r], m, at);
      } else {
        best.m[r] = fmaxf(best.m[r], m);
      }
    }
}

__device__ inline Tile load_tile(const Params &p, uint32_t t) {
  const uint4 x = __ldg(reinterpret_cast<const uint4 *>(p.call.tiles) + t);
  return {x.x, x.y, x.z, x.w};
}

// Lanes 0 and 1 of a quad carry its two terms on: this thread's row of the block's tile.
__device__ inline int my_term(int group, int thread) {
  return group * 64 + (thread / 32) * 16 + (thread & 31) / 4 + (thread & 1) * 8;
}

// Pools one column tile: every text that ends in it goes to the sink; one that goes on
// stays in `best`, or in the strip's slots where the strip ends or began inside it.
// `range` is the tile's first text's, `bias` that of the thread's term.
template <Output kOutput>
__device__ inline void pool_tile(const Params &p, const float (&acc)[128], Best &best,
                                 const Tile &tile, uint2 range, float bias,
                                 const Strip &strip, bool last, uint32_t strip_row,
                                 uint32_t rank, int group, int thread) {
  constexpr bool kAt = kOutput == Output::kArgmax;
  const int q = thread & 3;
  const int mine = my_term(group, thread);
  const uint32_t tile_end = tile.row + tile.cols;
  for (uint32_t text = tile.text; text < tile.text_end; text++) {
    const uint32_t first = range.x, end = range.y;
    if (text + 1 < tile.text_end)
      range = make_uint2(__ldg(p.call.first + text + 1), __ldg(p.call.end + text + 1));
    if (end <= first) continue;
    if (first >= tile.row || tile.row == strip_row) {
      best.m[0] = best.m[1] = -INFINITY;
      best.at[0] = best.at[1] = -1;
    }
    const int lo = first > tile.row ? int(first - tile.row) : 0;
    const int hi = int(min(end, tile_end) - tile.row);
    raise_columns<kAt>(best, acc, lo, hi, q, int32_t(tile.row));
    const bool goes_on = end > tile_end;
    if (goes_on && !last) return;  // it is the tile's last text

    Best whole = best;
    join_quad<kAt>(whole);
    const float m = q & 1 ? whole.m[1] : whole.m[0];
    const int32_t at = q & 1 ? whole.at[1] : whole.at[0];
    if (goes_on || first < strip_row) {
      const size_t slot = size_t(strip.slot + goes_on) * (kTerms * kCluster);
      if (q < 2) {
        p.partial.m[slot + rank * kTerms + mine] = m;
        if (kAt) p.partial.at[slot + rank * kTerms + mine] = at;
      }
    } else {
      const uint32_t v = (strip.pair * kCluster + rank) * kTerms + mine;
      deliver<kOutput>(p.sink, text, v, q < 2, m, at, bias);
    }
  }
}

template <typename T, Output kOutput>
__device__ inline void consume(const Params &p, const SharedMap &shared, uint32_t rank,
                               int group, int thread) {
  float acc[128];
  Best best;
  Ring ring;
  Walk walk(p.schedule, blockIdx.x / kCluster);
  Strip strip, next_strip;
  const int n_depths = (p.call.dim + kDepth - 1) / kDepth;
  bool more = walk.next(&strip);
  if (!more) return;
  uint32_t t = strip.tile;
  Tile tile = load_tile(p, t);
  uint32_t strip_row = tile.row;
  while (more) {
    // What comes next is looked up while the tensor cores work.
    const bool last = t + 1 == strip.tile_end;
    next_strip = strip;
    if (last) more = walk.next(&next_strip);
    const uint32_t next_t = last ? next_strip.tile : t + 1;
    const Tile next_tile = more ? load_tile(p, next_t) : tile;
    const uint2 range =
        make_uint2(__ldg(p.call.first + tile.text), __ldg(p.call.end + tile.text));
    const float bias =
        bias_of(p.sink, (strip.pair * kCluster + rank) * kTerms + my_term(group, thread));
    multiply_tile<T>(acc, n_depths, ring, shared, group, thread);
    pool_tile<kOutput>(p, acc, best, tile, range, bias, strip, last, strip_row, rank,
                       group, thread);
    if (last) strip_row = next_tile.row;
    strip = next_strip;
    t = next_t;
    tile = next_tile;
  }
}

#endif  // SP_SM90

template <typename T, Output kOutput>
__global__ void SP_LM_CLUSTER __launch_bounds__(kThreads, 1)
    sm90_kernel(const __grid_constant__ Params p,
                const __grid_constant__ CUtensorMap w_map,
                const __grid_constant__ CUtensorMap h_map) {
#ifdef SP_SM90
  extern __shared__ uint8_t raw[];
  __shared__ __align__(8) uint64_t barriers[2 * kStages];
  SharedMap shared;
  shared.stages = (shared_address(raw) + 1023) & ~1023u;
  shared.full = shared_address(barriers);
  shared.empty = shared.full + 8 * kStages;
  const uint32_t rank = cluster_rank();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      barrier_init(shared.full + 8 * i, 1);
      barrier_init(shared.empty + 8 * i, kGroups * kCluster);
    }
    barrier_init_fence();
  }
  cluster_sync();

  const int group = threadIdx.x / 128;
  if (group == kGroups) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
    if (threadIdx.x == kGroups * 128) produce(p, &w_map, &h_map, shared, rank);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    consume<T, kOutput>(p, shared, rank, group, threadIdx.x % 128);
  }
  cluster_sync();  // nobody leaves while the other may still write or signal here
#endif
}

// Joins the parts of texts that strips have cut. A block looks at one pair and at one
// border between two column tiles: it works if a text crosses that border first of all.
template <Output kOutput>
__global__ void __launch_bounds__(kTerms *kCluster) join_kernel(const Params p) {
  const Schedule &s = p.schedule;
  const uint32_t pair = blockIdx.x;
  for (uint32_t t = blockIdx.y; t + 1 < s.n_tiles; t += gridDim.y) {
    const Tile tile = p.call.tiles[t];
    const uint32_t text = tile.text_end - 1;
    const uint32_t end = p.call.end[text];
    if (end <= tile.row + tile.cols) continue;
    if (p.call.first[text] < tile.row) continue;
    Strip strip = strip_of(s, pair, t);
    // Does the strip reach the text's end?
    const Tile last = p.call.tiles[strip.tile_end - 1];
    if (end <= last.row + last.cols) continue;
    float best = -INFINITY;
    int32_t at = -1;
    for (;;) {
      const Tile tail = p.call.tiles[strip.tile_end - 1];
      const bool goes_on = end > tail.row + tail.cols;
      const size_t i = size_t(strip.slot + goes_on) * (kTerms * kCluster) + threadIdx.x;
      const float m = p.partial.m[i];
      if (m > best) {
        best = m;
        if (kOutput == Output::kArgmax) at = p.partial.at[i];
      }
      if (!goes_on) break;
      strip = strip_of(s, pair, strip.tile_end);
    }
    const uint32_t v = pair * (kTerms * kCluster) + threadIdx.x;
    deliver<kOutput>(p.sink, text, v, true, best, at, bias_of(p.sink, v));
  }
}

template <typename T, Output kOutput>
cudaError_t launch(const Params &p, const CUtensorMap &w_map, const CUtensorMap &h_map,
                   cudaStream_t stream) {
  cudaError_t e = cudaFuncSetAttribute(
      sm90_kernel<T, kOutput>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (e) return e;
  sm90_kernel<T, kOutput>
      <<<p.schedule.n_clusters * kCluster, kThreads, kSharedBytes, stream>>>(p, w_map,
                                                                             h_map);
  e = cudaGetLastError();
  if (e || !p.call.straddles) return e;
  const dim3 grid(p.schedule.n_pairs, min(p.schedule.n_tiles - 1, 65535u));
  join_kernel<kOutput><<<grid, kTerms * kCluster, 0, stream>>>(p);
  return cudaGetLastError();
}

template <typename T>
cudaError_t launch_for(const Params &p, const CUtensorMap &w_map,
                       const CUtensorMap &h_map, Output output, cudaStream_t stream) {
  if (output == Output::kValues)
    return launch<T, Output::kValues>(p, w_map, h_map, stream);
  if (output == Output::kArgmax)
    return launch<T, Output::kArgmax>(p, w_map, h_map, stream);
  return launch<T, Output::kSparse>(p, w_map, h_map, stream);
}

// The line of work stays in the L2 cache if a superblock's tokens take no more than this.
constexpr size_t kSuperblockBytes = 16 << 20;
// Runs as short as balance wants, as long as their slots' memory allows.
constexpr uint32_t kMaxRuns = 1024;

Schedule make_schedule(const Call &call, uint32_t vocab, int n_clusters) {
  Schedule s;
  s.n_tiles = call.n_tiles;
  s.n_pairs = (vocab + kTerms * kCluster - 1) / (kTerms * kCluster);
  s.n_clusters = n_clusters;
  const uint64_t total = uint64_t(s.n_tiles) * s.n_pairs;
  // A few tiles of one pair in a row keep its W in the cache; of a large one, too little.
  s.run = min(4u, max(1u, 3072 / call.dim));
  if (total < 16ull * s.run * n_clusters) s.run = 1;
  if (call.straddles) s.run = max(s.run, uint32_t((total + kMaxRuns - 1) / kMaxRuns));
  if (s.run > s.n_tiles) s.run = s.n_tiles;
  uint64_t per_superblock = kSuperblockBytes / (size_t(kCols) * call.pitch * 2);
  if (per_superblock < s.run) per_superblock = s.run;
  uint32_t n_superblocks = uint32_t(s.n_tiles / per_superblock);
  if (n_superblocks == 0) n_superblocks = 1;
  s.n_short = s.n_tiles / n_superblocks;
  s.n_longer = s.n_tiles % n_superblocks;
  s.n_rounds = uint32_t(total / (uint64_t(s.run) * n_clusters));
  const uint64_t rest = total - uint64_t(s.n_rounds) * s.run * n_clusters;
  s.last_run = uint32_t((rest + n_clusters - 1) / n_clusters);
  if (s.last_run == 0) s.last_run = 1;
  return s;
}

// Two strips a run, two slots a strip. A run is never longer than a pair's tiles.
size_t max_slots(uint32_t vocab, int n_clusters) {
  const uint32_t n_pairs = (vocab + kTerms * kCluster - 1) / (kTerms * kCluster);
  return (size_t(max(n_pairs, kMaxRuns)) + n_clusters) * 4;
}

}  // namespace

size_t wgmma_partial_bytes(uint32_t vocab, int n_clusters) {
  return max_slots(vocab, n_clusters) * (kTerms * kCluster) *
         (sizeof(float) + sizeof(int));
}

cudaError_t wgmma_count_clusters(int *n_clusters) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {kCluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(kCluster);
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kSharedBytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  const auto kernel = sm90_kernel<__nv_bfloat16, Output::kValues>;
  // In a build without sm_90a code the kernel is empty: it shows by its registers.
  cudaFuncAttributes compiled;
  cudaError_t e = cudaFuncGetAttributes(&compiled, kernel);
  if (e) return e;
  *n_clusters = 0;
  if (compiled.numRegs < 100) return cudaSuccess;
  e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           kSharedBytes);
  return e ? e : cudaOccupancyMaxActiveClusters(n_clusters, kernel, &config);
}

sp_err run_wgmma(const Call &call, const Sink &sink, Output output, sp_lm_dtype type,
                 void *partials, int n_clusters, cudaStream_t stream) {
  Params p;
  p.call = call;
  p.sink = sink;
  p.schedule = make_schedule(call, sink.vocab, n_clusters);
  if (uint64_t(p.schedule.n_tiles) * p.schedule.n_pairs >= 1u << 31)
    return sp_fail(SP_EINVAL, "lm_head: %u tokens by %u terms are too much for one call",
                   call.n_tokens, sink.vocab);
  p.partial.m = static_cast<float *>(partials);
  p.partial.at = reinterpret_cast<int32_t *>(
      p.partial.m + max_slots(sink.vocab, n_clusters) * (kTerms * kCluster));
  CUtensorMap w_map, h_map;
  const CUtensorMapDataType map_type = type == SP_LM_BF16
                                           ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                           : CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
  sp_err err =
      make_tensor_map(&w_map, call.w, map_type, call.dim, call.pitch, sink.vocab, kTerms);
  if (!err)
    err = make_tensor_map(&h_map, call.h, map_type, call.dim, call.pitch, call.n_tokens,
                          kCols / kCluster);
  if (err) return err;
  const cudaError_t e = type == SP_LM_BF16
                            ? launch_for<__nv_bfloat16>(p, w_map, h_map, output, stream)
                            : launch_for<__half>(p, w_map, h_map, output, stream);
  return e ? sp_fail(SP_ECUDA, "lm_head: %s", cudaGetErrorString(e)) : SP_OK;
}

}  // namespace sp_lm
