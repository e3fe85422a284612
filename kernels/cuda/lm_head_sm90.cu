// kernels/cuda/lm_head_sm90.cu - the head on Hopper: TMA into shared memory, wgmma, and the
// maximum taken where the logits appear, in the accumulator registers.
//
// The terms are the rows of the product (64 for each of two consumer warpgroups), the
// tokens its columns, up to 256 at a time. A thread then holds two terms' logits of 64
// tokens: the maximum over a text's tokens is taken on its own registers. Two thread blocks
// form a cluster: they work on neighbouring vocabulary tiles and the same tokens, and each
// fetches half of the tokens for both.
//
// A third warpgroup serves. One warp feeds a ring of stages, which the consumers go through
// side by side. While they pool, the tensor cores rest, so that time is kept short: they
// only take the maxima of their registers and leave the four lanes' parts in shared memory.
// A finishing warp for each consumer takes them up, joins the four, applies bias and log1p
// and writes the output.
// lm_head_schedule.cuh says who works on what; LM_HEAD_LOG.md what was tried and measured.
#include "kernels/cuda/lm_head_parts.cuh"
#include "kernels/cuda/lm_head_pool.cuh"
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
constexpr int kUnits = 2;             // of tokens in a step, at most
constexpr int kDepth = 128;           // bytes of a row in one stage
constexpr int kStages = 4;
constexpr int kCluster = 2;
constexpr int kThreads = 128 * (kGroups + 1);
constexpr uint32_t kTermBytes = kTerms * kDepth;
constexpr uint32_t kUnitBytes = kUnit * kDepth;
constexpr uint32_t kStageBytes = kTermBytes + kUnits * kUnitBytes;
constexpr uint32_t kResultBytes = 2 * kBatchBytes;  // of a consumer
constexpr int kSharedBytes =
    kStages * kStageBytes + kGroups * kResultBytes + 1024 /* alignment */;

struct Partial {  // part of a text's maximum, [slot][term of the pair]
  uint32_t *m;    // bits of a logit
  int32_t *at;
};

template <Output kOutput>
using Logit = std::conditional_t<kOutput == Output::kCandidates, int32_t, float>;
template <typename X>
__device__ inline X from_bits(uint32_t x) {
  return X(x);
}
template <>
__device__ inline float from_bits<float>(uint32_t x) {
  return __uint_as_float(x);
}

struct Params {
  Call call;
  Sink sink;
  Schedule schedule;
  Partial partial;
};

// A term, and what becomes of its maxima.
template <Output kOutput>
struct Term {
  struct Text {  // what is to be known of a text
    __device__ Text(const Sink &, uint32_t) {}
  };
  uint32_t v;
  float bias;

  __device__ Term(const Sink &sink, uint32_t term) : v(term), bias(bias_of(sink, v)) {}
  __device__ void deliver(const Sink &sink, uint32_t text, const Text &, float m,
                          int32_t at) const {
    sp_lm::deliver<kOutput>(sink, text, v, true, m, at, bias);
  }
};
template <>
struct Term<Output::kCandidates> {
  struct Text {
    uint4 scale;
    __device__ Text(const Sink &sink, uint32_t text)
        : scale(__ldg(reinterpret_cast<const uint4 *>(sink.screen.texts +
                                                      (text == kNoText ? 0 : text)))) {}
  };
  uint32_t v;
  TermScale scale;

  __device__ Term(const Sink &sink, uint32_t term)
      : v(term), scale(sink.screen.terms[min(v, sink.vocab - 1)]) {}
  __device__ void deliver(const Sink &sink, uint32_t text, const Text &t, int32_t m,
                          int32_t) const {
    mark(sink, text, v, m, scale, {t.scale.x, t.scale.y, t.scale.z, t.scale.w});
  }
};

#ifdef SP_SM90

using Ring = StageRing<kStages>;

struct SharedMap {                       // addresses
  uint32_t stages;                       // 1024-byte aligned
  uint32_t full, empty;                  // kStages barriers each
  uint32_t results;                      // [kGroups][kResultBytes]
  uint32_t results_full, results_empty;  // [kGroups][2] barriers each
};

// `offset`: of what this thread writes or reads of a segment.
template <bool kAt>
__device__ inline Results<kAt> results_of(const SharedMap &shared, int group,
                                          uint32_t offset) {
  return Results<kAt>(shared.results + group * kResultBytes + offset,
                      shared.results_full + 16 * group,
                      shared.results_empty + 16 * group);
}

// One or two units of tokens against one pair of vocabulary tiles.
struct Step {
  uint32_t pair, row, units, cols;
  uint32_t segment;  // of the first column
  bool first, last;  // of its strip
  bool carried;      // its first segment began before it
  uint32_t slot;     // of the strip
};

// All steps of this cluster in order.
struct Steps {
  const Params &p;
  Walk walk;
  Strip strip = {};
  uint32_t tile = 0;

  __device__ explicit Steps(const Params &params)
      : p(params), walk(params.schedule, blockIdx.x / kCluster) {}
  __device__ bool next(Step *step) {
    step->first = tile == strip.tile_end;
    if (step->first) {
      if (!walk.next(&strip)) return false;
      tile = strip.tile;
    }
    const uint4 t = __ldg(reinterpret_cast<const uint4 *>(p.call.tiles) + tile);
    const bool two = t.y > kUnit && tile + 1 < strip.tile_end;
    step->pair = strip.pair;
    step->row = t.x;
    step->units = two ? 2 : 1;
    step->cols = two ? t.y : min(t.y, kUnit);
    step->segment = t.z;
    step->carried = t.w;
    step->slot = strip.slot;
    tile += step->units;
    step->last = tile == strip.tile_end;
    return true;
  }
};

// Stages of a step: two at least, so that the first is never the last too. What lies beyond
// the dimension TMA brings as zeros.
template <typename T>
__device__ inline int count_depths(const Params &p) {
  constexpr int kEach = kDepth / sizeof(T);
  return max(2, int(p.call.dim + kEach - 1) / kEach);
}

// One thread of the producer: all loads of this block.
template <typename T>
__device__ inline void produce(const Params &p, const CUtensorMap *w_map,
                               const CUtensorMap *h_map, const SharedMap &shared,
                               uint32_t rank) {
  Ring ring;
  Steps steps(p);
  Step step;
  const int n_depths = count_depths<T>(p);
  constexpr int kEach = kDepth / sizeof(T);
  constexpr int kHalf = kUnit / kCluster;  // rows of a unit that this block fetches
  while (steps.next(&step)) {
    const int term = (step.pair * kCluster + rank) * kTerms;
    for (int d = 0; d < n_depths; d++, ring.advance()) {
      const uint32_t full = shared.full + 8 * ring.stage;
      const uint32_t to = shared.stages + ring.stage * kStageBytes;
      barrier_wait(shared.empty + 8 * ring.stage, ring.phase ^ 1);
      barrier_expect(full, kTermBytes + step.units * kUnitBytes);
      tma_load(to, w_map, d * kEach, term, full);
      for (uint32_t row = rank * kHalf; row < step.units * kUnit; row += kUnit)
        tma_load_all(to + kTermBytes + row * kDepth, h_map, d * kEach, step.row + row,
                     full, (1 << kCluster) - 1);
    }
  }
}

// A consumer warpgroup.
template <typename T, Output kOutput>
class Consumer {
  static constexpr bool kAt = kOutput == Output::kArgmax;
  using X = Logit<kOutput>;
  const Params &p;
  const SharedMap &shared;
  const int group, thread, n_depths;
  Ring ring;
  Pool<kAt, X> pool;

  // The products of the ring's stage are under way.
  template <int kNUnits>
  __device__ void multiply_stage(X (&acc)[128], bool add) {
    const uint32_t from = shared.stages + ring.stage * kStageBytes;
    const uint64_t a = matrix_descriptor(from + group * (64 * kDepth));
    const uint64_t b = matrix_descriptor(from + kTermBytes);
    wgmma_fence();
#pragma unroll
    for (int k = 0; k < kDepth / 32; k++) {  // 32 bytes along the swizzled row
      if constexpr (kNUnits == 2)
        multiply<T>(acc, a + 2 * k, b + 2 * k, add || k > 0);
      else
        multiply_half<T>(acc, a + 2 * k, b + 2 * k, add || k > 0);
    }
    wgmma_commit();
  }
  __device__ void wait_full() {
    barrier_wait(shared.full + 8 * ring.stage, ring.phase);
  }
  // Waits for the products of the ring's stage, hands it back, and waits for the next one.
  __device__ void finish_stage(bool more) {
    const uint32_t used = ring.stage;
    ring.advance();
    wgmma_wait<0>();
    if (thread < kCluster) barrier_arrive_at(shared.empty + 8 * used, thread);
    if (more) wait_full();
  }
  // What was left of the step before, and what comes next: while the tensor cores work.
  __device__ bool look_ahead(Steps &steps, Step *step) {
    pool.end_step();
    pool.begin_step(step->row, step->units, step->cols, step->segment, step->last);
    pool.wait_empty();
    return steps.next(step);
  }

  // A step, or as many as there are in a row of two units, the first stage of which has been
  // waited for. Is there another step after them? Its first stage has been waited for then.
  template <int kNUnits>
  __device__ bool run_steps(Steps &steps, Step *step) {
    X acc[128];
    bool more;
    do {
      multiply_stage<kNUnits>(acc, false);
      more = look_ahead(steps, step);
      finish_stage(true);
      for (int d = 1; d < n_depths; d++) {
        multiply_stage<kNUnits>(acc, true);
        finish_stage(d + 1 < n_depths || more);
      }
      pool.template unit<0, kNUnits == 1>(acc);
      if (kNUnits == 2) pool.template unit<1, true>(acc);
    } while (kNUnits == 2 && more && step->units == 2);
    return more;
  }

 public:
  __device__ Consumer(const Params &params, const SharedMap &map, int g, int t)
      : p(params),
        shared(map),
        group(g),
        thread(t),
        n_depths(count_depths<T>(params)),
        // Term 16 warp + lane / 4, then the term 8 below; four lanes a term.
        pool(params.call, results_of<kAt>(map, g, t / 32 * 256 + t % 32 * 4)) {}

  __device__ void run() {
    Steps steps(p);
    Step step;
    if (!steps.next(&step)) return;
    wait_full();
    while (step.units == 2 ? run_steps<2>(steps, &step) : run_steps<1>(steps, &step)) {
    }
    pool.end_step();
  }
};

// Joins four lanes' parts.
template <bool kAt, typename X>
__device__ inline void join_four(uint32_t from, X *m, int32_t *at) {
  const uint4 x = load_shared4(from);
  *m = larger(larger(from_bits<X>(x.x), from_bits<X>(x.y)),
              larger(from_bits<X>(x.z), from_bits<X>(x.w)));
  if constexpr (kAt) {
    const uint4 i = load_shared4(from + Results<kAt>::kPlaneBytes);
    *m = __uint_as_float(x.x);
    *at = i.x;
    merge_at(*m, *at, __uint_as_float(x.y), i.y);
    merge_at(*m, *at, __uint_as_float(x.z), i.z);
    merge_at(*m, *at, __uint_as_float(x.w), i.w);
  }
}

// A finishing warp: takes up what consumer `group` leaves, in the same order. A lane has two
// terms.
template <Output kOutput>
__device__ inline void finish(const Params &p, const SharedMap &shared, uint32_t rank,
                              int group, int lane) {
  constexpr bool kAt = kOutput == Output::kArgmax;
  Results<kAt> results = results_of<kAt>(shared, group, lane * 16);
  Steps steps(p);
  Step step;
  bool headless = false;  // the text began before the strip
  while (steps.next(&step)) {
    if (step.first) headless = step.carried;
    const uint32_t mine = rank * kTerms + group * 64 + lane;  // of the pair
    const uint32_t v = step.pair * (kCluster * kTerms) + mine;
    const Term<kOutput> term[2] = {Term<kOutput>(p.sink, v),
                                   Term<kOutput>(p.sink, v + 32)};
    uint32_t from = 0;
    for (uint32_t i = step.segment; from < step.cols; i++) {
      const uint2 s = __ldg(reinterpret_cast<const uint2 *>(p.call.segments) + i);
      const Segment segment = {s.x, s.y};
      const uint32_t end = segment.end - step.row;
      const bool goes_on = end > step.cols;
      from = min(end, step.cols);
      if (goes_on && !step.last) break;
      const bool cut = goes_on || headless;
      headless = false;
      const typename Term<kOutput>::Text text(p.sink, segment.text);
      if (results.count == 0) results.wait_full();
      Logit<kOutput> m[2];
      int32_t at[2];
      join_four<kAt>(results.place, m, at);
      join_four<kAt>(results.place + 512, m + 1, at + 1);
      if (results.advance()) results.pass_on(results.empty);
      if (segment.text == kNoText) continue;
#pragma unroll
      for (int r = 0; r < 2; r++) {
        if (cut) {
          const size_t to =
              size_t(step.slot + goes_on) * (kTerms * kCluster) + mine + 32 * r;
          p.partial.m[to] = bits_of(m[r]);
          if (kAt) p.partial.at[to] = at[r];
        } else {
          term[r].deliver(p.sink, segment.text, text, m[r], at[r]);
        }
      }
    }
    if (results.count) results.pass_on(results.empty);
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
  __shared__ __align__(8) uint64_t barriers[2 * (kStages + 2 * kGroups)];
  SharedMap shared;
  shared.stages = (shared_address(raw) + 1023) & ~1023u;
  shared.results = shared.stages + kStages * kStageBytes;
  shared.full = shared_address(barriers);
  shared.empty = shared.full + 8 * kStages;
  shared.results_full = shared.empty + 8 * kStages;
  shared.results_empty = shared.results_full + 16 * kGroups;
  const uint32_t rank = cluster_rank();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      barrier_init(shared.full + 8 * i, 1);
      barrier_init(shared.empty + 8 * i, kGroups * kCluster);
    }
    for (int i = 0; i < 2 * kGroups; i++) {
      barrier_init(shared.results_full + 8 * i, 128);  // a consumer
      barrier_init(shared.results_empty + 8 * i, 32);  // its finishing warp
    }
    barrier_init_fence();
  }
  cluster_sync();
  if (kOutput == Output::kCandidates) wait_for_earlier_kernels();
  let_next_kernel_begin();

  // Without uniform() every branch from here on is compiled for warps that part at it.
  const int group = uniform(threadIdx.x / 128), warp = uniform(threadIdx.x % 128 / 32);
  if (group == kGroups) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 56;");
    if (warp < kGroups)
      finish<kOutput>(p, shared, rank, warp, threadIdx.x % 32);
    else if (threadIdx.x % 128 == kGroups * 32)
      produce<T>(p, &w_map, &h_map, shared, rank);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 224;");
    Consumer<T, kOutput>(p, shared, group, threadIdx.x % 128).run();
  }
  cluster_sync();  // nobody leaves while the other may still write or signal here
#endif
}

// Does the text of segment `i` go on from the tile before `tile` into `tile`?
__device__ inline bool crosses(const Call &call, uint32_t tile, uint32_t i) {
  return tile < call.n_tiles && call.tiles[tile].carried && call.tiles[tile].segment == i;
}

// Joins the parts of texts that strips have cut. A block looks at the ends of one run's
// strips: it works if the text that is cut there began in that strip.
template <Output kOutput>
__global__ void __launch_bounds__(kTerms *kCluster) join_kernel(const Params p) {
  using X = Logit<kOutput>;
  wait_for_earlier_kernels();
  const Schedule &s = p.schedule;
  const Run run = run_number(s, s.first_cut + blockIdx.x);
  for (uint32_t at = run.begin; at < run.end;) {
    Strip strip = strip_at(s, run, at);
    at += strip.tile_end - strip.tile;
    if (strip.tile_end == s.n_tiles) continue;
    const uint32_t i = p.call.tiles[strip.tile_end].segment;
    if (!crosses(p.call, strip.tile_end, i) || crosses(p.call, strip.tile, i)) continue;
    const uint32_t text = p.call.segments[i].text;
    if (text == kNoText) continue;
    X best = std::is_same_v<X, float> ? X(-INFINITY) : X(INT_MIN);
    int32_t where = -1;
    for (bool goes_on = true; goes_on;) {
      goes_on = crosses(p.call, strip.tile_end, i);
      const size_t from =
          size_t(strip.slot + goes_on) * (kTerms * kCluster) + threadIdx.x;
      const X m = from_bits<X>(p.partial.m[from]);
      if (m > best) {
        best = m;
        if (kOutput == Output::kArgmax) where = p.partial.at[from];
      }
      if (goes_on) strip = strip_of(s, strip.pair, strip.tile_end);
    }
    const uint32_t v = strip.pair * (kTerms * kCluster) + threadIdx.x;
    Term<kOutput>(p.sink, v).deliver(p.sink, text, {p.sink, text}, best, where);
  }
}

template <typename T, Output kOutput>
cudaError_t launch(const Params &p, const CUtensorMap &w_map, const CUtensorMap &h_map,
                   uint32_t n_cut, cudaStream_t stream) {
  cudaError_t e = cudaFuncSetAttribute(
      sm90_kernel<T, kOutput>, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (!e)
    e = launch_early(kOutput == Output::kCandidates, sm90_kernel<T, kOutput>,
                     p.schedule.n_clusters * kCluster, kThreads, kSharedBytes, stream, p,
                     w_map, h_map);
  if (e || n_cut == 0) return e;
  return launch_early(true, join_kernel<kOutput>, n_cut, kTerms * kCluster, 0, stream, p);
}

template <typename T>
cudaError_t launch_for(const Params &p, const CUtensorMap &w_map,
                       const CUtensorMap &h_map, Output output, uint32_t n_cut,
                       cudaStream_t stream) {
  if (output == Output::kValues)
    return launch<T, Output::kValues>(p, w_map, h_map, n_cut, stream);
  if (output == Output::kArgmax)
    return launch<T, Output::kArgmax>(p, w_map, h_map, n_cut, stream);
  return launch<T, Output::kSparse>(p, w_map, h_map, n_cut, stream);
}

// The line of work stays in the L2 cache if a superblock's tokens take no more than this.
constexpr size_t kSuperblockBytes = 16 << 20;
// Runs as short as balance wants, as long as their slots' memory allows.
constexpr uint32_t kMaxRuns = 1024;

// Operands of `bytes` each.
Schedule make_schedule(const Call &call, uint32_t vocab, int n_clusters, uint32_t bytes) {
  Schedule s;
  s.n_tiles = call.n_tiles;
  s.n_pairs = (vocab + kTerms * kCluster - 1) / (kTerms * kCluster);
  s.n_clusters = n_clusters;
  const uint64_t total = uint64_t(s.n_tiles) * s.n_pairs;
  // A few tiles of one pair in a row keep its W in the cache; of a large one, too little.
  s.run = 2 * min(4u, max(1u, 6144 / (call.dim * bytes)));
  if (total < 16ull * s.run * n_clusters) s.run = 2;
  // Which runs cut texts? Whole runs end between tiles of even and odd number, if at all.
  const bool all = call.crosses[0] || (call.crosses[1] && s.n_tiles % 2);
  if (all) s.run = max(s.run, uint32_t((total + kMaxRuns - 1) / kMaxRuns + 1) / 2 * 2);
  const uint32_t doubles = (s.n_tiles + 1) / 2;
  const uint32_t per_superblock =
      max(s.run / 2 + 1,
          uint32_t(kSuperblockBytes / (size_t(2 * kUnit) * call.pitch * bytes)));
  const uint32_t n_superblocks = max(1u, doubles / per_superblock);
  s.n_short = doubles / n_superblocks;
  s.n_longer = doubles % n_superblocks;
  if (s.run > s.n_tiles) s.run = s.n_tiles;
  s.n_rounds = uint32_t(total / (uint64_t(s.run) * n_clusters));
  const uint64_t rest = total - uint64_t(s.n_rounds) * s.run * n_clusters;
  s.last_run = max(1u, uint32_t((rest + n_clusters - 1) / n_clusters));
  s.first_cut = all ? 0 : s.n_rounds * n_clusters;
  return s;
}

// How many runs, from the first that may cut a text on, there are. 0: none is cut.
uint32_t count_cut_runs(const Call &call, const Schedule &s) {
  if (s.first_cut > 0 && !(call.crosses[1] && s.last_run % 2)) return 0;
  if (!call.crosses[0] && !call.crosses[1]) return 0;
  const uint32_t whole = s.n_rounds * s.n_clusters;
  const uint32_t rest = s.total() - whole * s.run;
  return whole + (rest + s.last_run - 1) / s.last_run - s.first_cut;
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
  const void *kernel =
      reinterpret_cast<const void *>(sm90_kernel<__nv_bfloat16, Output::kValues>);
  return sp_sm90::count_clusters(kernel, kCluster, kThreads, kSharedBytes, n_clusters);
}

namespace {

// What a launch wants beside the kernel.
struct Launch {
  Params p;
  CUtensorMap w_map, h_map;
  uint32_t n_cut;
};

sp_err prepare(const Call &call, const Sink &sink, CUtensorMapDataType type,
               void *partials, int n_clusters, Launch *out) {
  Params &p = out->p;
  p.call = call;
  p.sink = sink;
  p.schedule = make_schedule(call, sink.vocab, n_clusters,
                             type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1 : 2);
  if (uint64_t(p.schedule.n_tiles) * p.schedule.n_pairs >= 1u << 31)
    return sp_fail(SP_EINVAL, "lm_head: %u tokens by %u terms are too much for one call",
                   call.n_tokens, sink.vocab);
  p.partial.m = static_cast<uint32_t *>(partials);
  p.partial.at = reinterpret_cast<int32_t *>(
      p.partial.m + max_slots(sink.vocab, n_clusters) * (kTerms * kCluster));
  out->n_cut = count_cut_runs(call, p.schedule);
  const sp_err err = make_tensor_map(&out->w_map, call.w, type, call.dim, call.pitch,
                                     sink.vocab, kTerms);
  return err ? err
             : make_tensor_map(&out->h_map, call.h, type, call.dim, call.pitch,
                               call.n_tokens, kUnit / kCluster);
}

}  // namespace

sp_err run_wgmma(const Call &call, const Sink &sink, Output output, sp_lm_dtype type,
                 void *partials, int n_clusters, cudaStream_t stream) {
  Launch l;
  const sp_err err = prepare(call, sink,
                             type == SP_LM_BF16 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16
                                                : CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
                             partials, n_clusters, &l);
  if (err) return err;
  return from_cuda(
      type == SP_LM_BF16
          ? launch_for<__nv_bfloat16>(l.p, l.w_map, l.h_map, output, l.n_cut, stream)
          : launch_for<__half>(l.p, l.w_map, l.h_map, output, l.n_cut, stream),
      "launch");
}

sp_err run_wgmma_screen(const Call &call, const Sink &sink, void *partials,
                        int n_clusters, cudaStream_t stream) {
  Call bytes = call;
  bytes.w = sink.screen.w;
  bytes.h = sink.screen.h;
  bytes.pitch = sink.screen.pitch;
  Launch l;
  const sp_err err =
      prepare(bytes, sink, CU_TENSOR_MAP_DATA_TYPE_UINT8, partials, n_clusters, &l);
  if (err) return err;
  return from_cuda(
      launch<int8_t, Output::kCandidates>(l.p, l.w_map, l.h_map, l.n_cut, stream),
      "launch");
}

}  // namespace sp_lm
