// kernels/cuda/linear_sm90.cu - a layer's products on Hopper, with what stands around them:
// bias, GELU, LayerNorm before it, and after it the residual and the next LayerNorm's sums.
//
// The features (rows of w) are the rows of the tensor cores' product, 64 for each of two
// consumer warpgroups, the tokens (rows of a) its columns, 256 at a time: a thread needs two
// biases only, and stmatrix turns the result round on its way to shared memory. Two thread
// blocks form a cluster: neighbouring features, the same tokens, each fetching half of the
// tokens for both.
//
// One warp feeds a ring of stages by TMA. A consumer rounds a finished tile to 16 bits, begins
// with the next, and sends the finished one off a slice at a time while the tensor cores
// work: what is done to it there costs no time of theirs. ENCODER_LOG.md says what was tried.
#include "kernels/cuda/linear_sm90.cuh"

#include <type_traits>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/sm90.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#define SP_LINEAR_CLUSTER __cluster_dims__(kCluster, 1, 1)
#else
#define SP_LINEAR_CLUSTER  // the kernel is empty there
#endif

namespace sp_linear {
namespace {

constexpr int kGroups = 2;               // consumer warpgroups
constexpr int kFeatures = 64 * kGroups;  // of a block's tile
constexpr int kTokens = 256;
constexpr int kDepth = 64;  // of k in one stage: 128 bytes
constexpr int kStages = 4;
constexpr int kCluster = 2;
constexpr int kThreads = 128 * (kGroups + 1);
constexpr int kSlices = 8;  // in which a finished tile leaves
constexpr int kSlice = kTokens / kSlices;
constexpr int kBuffers = 4;  // of a slice, for each warpgroup
constexpr uint32_t kFeatureBytes = kFeatures * kDepth * 2;
constexpr uint32_t kTokenBytes = kTokens * kDepth * 2;
constexpr uint32_t kStageBytes = kFeatureBytes + kTokenBytes;
constexpr uint32_t kSliceBytes = kSlice * 64 * 2;  // a warpgroup's 64 features
constexpr uint32_t kScaleBytes = kSlice * sizeof(float2);

// A block's shared memory. It begins at a multiple of 1,024, as nothing else is there.
constexpr uint32_t kOut = kStages * kStageBytes;  // [kGroups][kBuffers] slices
constexpr uint32_t kScales =
    kOut + kGroups * kBuffers * kSliceBytes;  // [kTokens], or a slice's each
constexpr uint32_t kFull =
    kScales + kGroups * kBuffers * kScaleBytes;   // barriers: [kStages]
constexpr uint32_t kEmpty = kFull + 8 * kStages;  // [kStages]
constexpr uint32_t kScalesFull = kEmpty + 8 * kStages;
constexpr uint32_t kScalesEmpty = kScalesFull + 8;
constexpr uint32_t kResidualFull = kScalesEmpty + 8;  // [kGroups][kBuffers]
constexpr uint32_t kSharedBytes = kResidualFull + 8 * kGroups * kBuffers;
static_assert(kGroups * kBuffers * kSlice == kTokens, "scales of a tile fit too");
static_assert(kSharedBytes <= 227 * 1024, "what a block can have");

// What a kernel does besides product and bias.
enum class Kind { kPlain, kGelu, kNormed, kNormedGelu, kResidual };
// GELU of a layer's inner product is computed while a tile leaves, where it costs little; of
// the one before the head, whose errors nothing averages out, in float32.
template <Kind kKind>
constexpr bool kGeluLeaving = kKind == Kind::kNormedGelu;
template <Kind kKind>
constexpr bool kIsNormed = kKind == Kind::kNormed || kKind == Kind::kNormedGelu;

struct Params {
  const void *bias;           // or NULL
  const float *scales;        // of the rows of a, or of the residual
  const float *sums;          // of the rows of w
  const float *gamma, *beta;  // of the residual; or NULL
  float2 *parts;
  int m, n, k, part_pitch;
  int n_pairs, n_tiles;  // pairs of feature tiles; clusters' tiles, pairs running fastest
  float gelu[3];
  uint32_t gelu2[3];  // the same as pairs of float16
  bool last_first;
};

// GELU is x (1 + tanh u) / 2 with u = x (c[0] + c[1] s + c[2] s^2), s = x^2, in its published
// tanh form, or with coefficients that follow the error function's within 4e-5 (fitted by a
// search of the float16 grid). From kGeluEnd on the tanh is 1, and c[2] < 0 must not win.
constexpr float kGeluErf[3] = {0.79736328f, 0.03717041f, -0.00038409233f};
constexpr float kGeluTanh[3] = {0.79788456f, 0.0356774081f, 0.f};

struct Maps {
  CUtensorMap w, a, d, residual;
};

#ifdef SP_SM90

using namespace sp_sm90;

using Ring = StageRing<kStages>;

// Which tile a cluster works on: the features of this block, and where its tokens begin.
struct Tile {
  int feature, token;
  __device__ Tile(const Params &p, int i, uint32_t rank) {
    const int tile = p.last_first ? p.n_tiles - 1 - i : i;
    feature = (tile % p.n_pairs * kCluster + rank) * kFeatures;
    token = tile / p.n_pairs * kTokens;
  }
};

// One thread of the producer: all loads of this block, tile after tile. The scales of a tile
// come last: their place is free when the consumers are done with the tile before.
template <Kind kKind>
__device__ inline void produce(const Params &p, const Maps &maps, uint32_t shared,
                               uint32_t rank) {
  Ring ring;
  uint32_t phase = 0;
  const int n_depths = (p.k + kDepth - 1) / kDepth;
  for (int i = blockIdx.x / kCluster; i < p.n_tiles; i += gridDim.x / kCluster) {
    const Tile tile(p, i, rank);
    const int token = tile.token + rank * (kTokens / kCluster);
    for (int d = 0; d < n_depths; d++, ring.advance()) {
      const uint32_t full = shared + kFull + 8 * ring.stage;
      const uint32_t to = shared + ring.stage * kStageBytes;
      barrier_wait(shared + kEmpty + 8 * ring.stage, ring.phase ^ 1);
      barrier_expect(full, kStageBytes);
      tma_load(to, &maps.w, d * kDepth, tile.feature, full);
      tma_load_all(to + kFeatureBytes + rank * (kTokenBytes / kCluster), &maps.a,
                   d * kDepth, token, full, (1 << kCluster) - 1);
    }
    if (!kIsNormed<kKind>) continue;
    barrier_wait(shared + kScalesEmpty, phase ^ 1);
    barrier_expect(shared + kScalesFull, kTokens * sizeof(float2));
    bulk_load(shared + kScales, p.scales + 2 * tile.token, kTokens * sizeof(float2),
              shared + kScalesFull);
    phase ^= 1;
  }
}

constexpr float kGeluEnd = 48.f;

__device__ inline __half2 as_half2(uint32_t x) {
  return *reinterpret_cast<const __half2 *>(&x);
}

// Of two float16 numbers, in their own arithmetic: half the instructions and none of the
// registers that float32 would take.
__device__ inline uint32_t gelu2(uint32_t packed, const Params &p) {
  const __half2 x = as_half2(packed), half = __hmul2(x, __float2half2_rn(0.5f));
  const __half2 s = __hmin2(__hmul2(x, x), __float2half2_rn(kGeluEnd));
  const __half2 slope = __hfma2(s, __hfma2(s, as_half2(p.gelu2[2]), as_half2(p.gelu2[1])),
                                as_half2(p.gelu2[0]));
  const __half2 u = __hmul2(x, slope);
  uint32_t t;
  asm("tanh.approx.f16x2 %0, %1;"
      : "=r"(t)
      : "r"(*reinterpret_cast<const uint32_t *>(&u)));
  const __half2 y = __hfma2(half, as_half2(t), half);
  return *reinterpret_cast<const uint32_t *>(&y);
}

__device__ inline float gelu(float x, const Params &p) {
  const float s = fminf(x * x, kGeluEnd);
  const float u = x * (p.gelu[0] + s * (p.gelu[1] + s * p.gelu[2]));
  return x - __fdividef(x, 1.f + __expf(2.f * u));
}

__device__ inline float2 unpack2(uint32_t x, __half) {
  return __half22float2(*reinterpret_cast<const __half2 *>(&x));
}
__device__ inline float2 unpack2(uint32_t x, __nv_bfloat16) {
  return make_float2(__uint_as_float(x << 16), __uint_as_float(x & 0xffff0000u));
}

// How two results wait for their turn to leave: as they are to be stored, or as float16 where
// they have GELU before them. From bfloat16's range the largest of float16 is cut off.
template <typename T, bool kGelu>
__device__ inline uint32_t hold(float lo, float hi) {
  if (!kGelu || std::is_same<T, __half>::value) return sp::pack2(lo, hi, T());
  uint32_t h;
  asm("cvt.rn.satfinite.f16x2.f32 %0, %1, %2;" : "=r"(h) : "f"(hi), "f"(lo));
  return h;
}
template <typename T>
__device__ inline uint32_t gelu_of_held(uint32_t held, const Params &p) {
  const uint32_t y = gelu2(held, p);
  if (std::is_same<T, __half>::value) return y;
  const float2 v = unpack2(y, __half());
  return sp::pack2(v.x, v.y, T());
}

// A finished tile of a warpgroup. A thread's elements are features f and f + 8, tokens
// 8 i + 2 q and the next: registers 2 i and 2 i + 1. A slice of them fills a buffer,
// [kSlice][64] swizzled as TMA wants it.
struct Results {
  uint32_t packed[kTokens / 4];
  int feature, token;  // where it begins
  float gamma[2];      // of the residual
};

// Where this thread and its warpgroup have their things.
struct Place {
  uint32_t out;       // the buffers
  uint32_t at;        // what stmatrix needs of this lane, from a buffer's beginning
  uint32_t scales;    // of the residual's rows in each buffer
  uint32_t residual;  // barriers of the buffers
  int group, thread;

  __device__ Place(uint32_t shared, int group_, int thread_)
      : group(group_), thread(thread_) {
    const int lane = thread % 32, j = lane % 8;
    const int piece = thread / 32 * 2 + lane / 8 % 2;  // 16 bytes of a token's 128
    out = shared + kOut + group * kBuffers * kSliceBytes;
    at = (lane / 16 * 8 + j) * 128 + ((piece ^ j) << 4);
    scales = shared + kScales + group * kBuffers * kScaleBytes;
    residual = shared + kResidualFull + group * kBuffers * 8;
  }
};

// Fetches a slice of the residual into the buffer that its results will leave by. By one
// thread; what was in the buffer has left it.
__device__ inline void load_residual(const Params &p, const Maps &maps, const Results &r,
                                     const Place &place, int slice) {
  const int b = slice % kBuffers, token = r.token + slice * kSlice;
  const uint32_t bar = place.residual + 8 * b;
  barrier_expect(bar, kSliceBytes + kScaleBytes);
  tma_load(place.out + b * kSliceBytes, &maps.residual, r.feature, token, bar);
  bulk_load(place.scales + b * kScaleBytes, p.scales + 2 * token, kScaleBytes, bar);
}

// The moments of eight tokens' 64 features, which lie at `rows` as they are to leave. A warp's
// small matrix products add them up: with ones the tokens, with themselves their squares, on
// the diagonal.
template <typename T>
__device__ inline void write_moments(const Params &p, uint32_t rows, int feature,
                                     int token, int lane) {
  const int j = lane % 8;
  uint32_t x[8];
  load_matrices(x, rows + j * 128 + ((lane / 8 ^ j) << 4));
  load_matrices(x + 4, rows + j * 128 + (((lane / 8 + 4) ^ j) << 4));
  const uint32_t one = sp::pack2(1.f, 1.f, T());
  float sum[4] = {}, squares[4] = {};
#pragma unroll
  for (int i = 0; i < 4; i++) {
    const uint32_t ones[4] = {one, 0, one, 0}, self[4] = {x[2 * i], 0, x[2 * i + 1], 0};
    sp::mma(sum, ones, x[2 * i], x[2 * i + 1], T());
    sp::mma(squares, self, x[2 * i], x[2 * i + 1], T());
  }
  // Row t of the products is at lanes 4 t and up, its columns two a lane.
  const int t = lane / 4;
  token += t;
  if (lane % 4 != t / 2 || token >= p.m || feature >= p.n) return;
  const float n = min(64, p.n - feature), total = t % 2 ? sum[1] : sum[0];
  const float mean = total / n;
  p.parts[int64_t(feature / 64) * p.part_pitch + token] =
      make_float2(mean, fmaxf((t % 2 ? squares[1] : squares[0]) - total * mean, 0.f));
}

// Adds the normalised residual, `held` as the results are, to 16 tokens: x[2 g] and x[2 g + 1]
// are two tokens of the thread's two features, g = 0, 1.
template <typename T>
__device__ inline void add_residual(uint32_t *x, const uint32_t *held, const Results &r,
                                    uint32_t scales, int lane) {
#pragma unroll
  for (int g = 0; g < 2; g++) {
    const float4 s = load_float4(scales + (8 * g + 2 * (lane % 4)) * sizeof(float2));
#pragma unroll
    for (int f = 0; f < 2; f++) {
      const float2 product = unpack2(x[2 * g + f], T());
      const float2 residual = unpack2(held[2 * g + f], T());
      x[2 * g + f] = sp::pack2(product.x + (residual.x * s.x - s.y) * r.gamma[f],
                               product.y + (residual.y * s.z - s.w) * r.gamma[f], T());
    }
  }
}

template <typename T, Kind kKind>
__device__ inline void send_slice(const Results &r, const Params &p, const Maps &maps,
                                  const Place &place, int slice) {
  constexpr int kRegisters = kTokens / 4 / kSlices;
  constexpr bool kResidual = kKind == Kind::kResidual;
  const int b = slice % kBuffers, token = r.token + slice * kSlice;
  const uint32_t buffer = place.out + b * kSliceBytes, at = buffer + place.at;
  uint32_t x[kRegisters];
#pragma unroll
  for (int i = 0; i < kRegisters; i++) x[i] = r.packed[slice * kRegisters + i];
#pragma unroll
  for (int i = 0; i < kRegisters && kGeluLeaving<kKind>; i++)
    x[i] = gelu_of_held<T>(x[i], p);
  if (kResidual) {
    barrier_wait(place.residual + 8 * b, slice / kBuffers);
#pragma unroll
    for (int i = 0; i < 2; i++) {
      uint32_t held[4];
      load_transposed(held, at + i * (16 * 128));
      add_residual<T>(x + 4 * i, held, r,
                      place.scales + b * kScaleBytes + i * 16 * sizeof(float2),
                      place.thread % 32);
    }
  }
#pragma unroll
  for (int i = 0; i < kRegisters / 4; i++)
    store_transposed(at + i * (16 * 128), x + 4 * i);
  async_proxy_fence();
  // The slice that will be written next finds its buffer left; with a residual to be
  // fetched first, so does the one after it.
  if (place.thread == 0) bulk_wait_read<kResidual ? 1 : 2>();
  group_barrier(place.group);
  if (place.thread == 0) {
    tma_store(&maps.d, r.feature, token, buffer);
    bulk_commit();
    if (kResidual && slice >= 2 && slice + 2 < kSlices)
      load_residual(p, maps, r, place, slice + 2);
  }
  if (kResidual) {
    const int warp = place.thread / 32;
    write_moments<T>(p, buffer + warp * (8 * 128), r.feature, token + 8 * warp,
                     place.thread % 32);
  }
}

// One stage's products, queued behind those of the stage before, which is handed back.
template <typename T>
__device__ inline void multiply_stage(float (&acc)[128], bool first, Ring &ring,
                                      uint32_t shared, const Place &place) {
  barrier_wait(shared + kFull + 8 * ring.stage, ring.phase);
  const uint32_t from = shared + ring.stage * kStageBytes;
  const uint64_t w = matrix_descriptor(from + place.group * (64 * kDepth * 2));
  const uint64_t a = matrix_descriptor(from + kFeatureBytes);
  wgmma_fence();
#pragma unroll
  for (int k = 0; k < kDepth / 16; k++)  // 32 bytes along the swizzled row
    multiply<T>(acc, w + 2 * k, a + 2 * k, !first || k > 0);
  wgmma_commit();
  wgmma_wait<1>();
  const int previous = (ring.stage + kStages - 1) % kStages;
  if (!first && place.thread < kCluster)
    barrier_arrive_at(shared + kEmpty + 8 * previous, place.thread);
  ring.advance();
}

// What a thread's two features need.
struct Features {
  float bias[2], sum[2], gamma[2];

  template <typename T>
  __device__ void load(const Params &p, int f, T) {
#pragma unroll
    for (int i = 0; i < 2; i++, f += 8) {
      const bool there = f < p.n;
      bias[i] = there && p.bias ? sp::to_float(static_cast<const T *>(p.bias)[f]) : 0.f;
      if (there && p.beta) bias[i] += p.beta[f];
      sum[i] = there && p.sums ? p.sums[f] : 0.f;
      gamma[i] = !there ? 0.f : p.gamma ? p.gamma[f] : 1.f;
    }
  }
};

// Sums become results that wait. With a row x of `a` still to be normalised,
// w ((x - mean) / std) = (w x) / std - (mean / std) (the sum of w's row).
template <typename T, Kind kKind>
__device__ inline void pack_results(Results &r, const Params &p, const float (&acc)[128],
                                    const Features &f, uint32_t scales, int lane) {
#pragma unroll
  for (int i = 0; i < kTokens / 8; i++) {
    const float *x = acc + 4 * i;
    float4 s = make_float4(1.f, 0.f, 1.f, 0.f);
    if (kIsNormed<kKind>)
      s = load_float4(scales + (8 * i + 2 * (lane % 4)) * sizeof(float2));
#pragma unroll
    for (int e = 0; e < 2; e++) {
      float lo = x[2 * e] * s.x + (f.bias[e] - s.y * f.sum[e]);
      float hi = x[2 * e + 1] * s.z + (f.bias[e] - s.w * f.sum[e]);
      if (kKind == Kind::kGelu) lo = gelu(lo, p), hi = gelu(hi, p);
      r.packed[2 * i + e] = hold<T, kGeluLeaving<kKind>>(lo, hi);
    }
  }
}

template <typename T, Kind kKind>
__device__ inline void consume(const Params &p, const Maps &maps, uint32_t shared,
                               uint32_t rank, int group, int thread) {
  float acc[128];
  Results results;
  Ring ring;
  const Place place(shared, group, thread);
  const int n_depths = (p.k + kDepth - 1) / kDepth;
  uint32_t phase = 0;  // of the scales
  bool pending = false;
  // The residual of a tile is on its way while the next tile's first stages are multiplied.
  constexpr int kLater = kKind == Kind::kResidual ? 2 : 0;
  for (int i = blockIdx.x / kCluster; i < p.n_tiles; i += gridDim.x / kCluster) {
#pragma unroll
    for (int s = 0; s < kSlices + kLater; s++) {
      if (s < n_depths) multiply_stage<T>(acc, s == 0, ring, shared, place);
      if (pending && s >= kLater)
        send_slice<T, kKind>(results, p, maps, place, s - kLater);
    }
    const Tile tile(p, i, rank);
    results.feature = tile.feature + group * 64;
    results.token = tile.token;
    Features f;
    f.load(p, results.feature + thread / 32 * 16 + thread % 32 / 4, T());
    for (int d = kSlices + kLater; d < n_depths; d++)
      multiply_stage<T>(acc, false, ring, shared, place);
    if (kKind == Kind::kResidual) {
      group_barrier(group);  // all have taken the last slice's moments
      if (thread == 0) {
        bulk_wait_read<0>();
        for (int b = 0; b < kBuffers; b++) load_residual(p, maps, results, place, b);
      }
    }
    if (kIsNormed<kKind>) barrier_wait(shared + kScalesFull, phase);
    wgmma_wait<0>();
    if (thread < kCluster)
      barrier_arrive_at(shared + kEmpty + 8 * ((ring.stage + kStages - 1) % kStages),
                        thread);
    pack_results<T, kKind>(results, p, acc, f, shared + kScales, thread % 32);
    if (kIsNormed<kKind>) barrier_arrive(shared + kScalesEmpty);
    results.gamma[0] = f.gamma[0];
    results.gamma[1] = f.gamma[1];
    phase ^= 1;
    pending = true;
  }
  if (pending) {
#pragma unroll
    for (int s = 0; s < kSlices; s++) send_slice<T, kKind>(results, p, maps, place, s);
  }
  if (thread == 0) bulk_wait_read<0>();  // the block's memory is needed until then
}

#endif  // SP_SM90

template <typename T, Kind kKind>
__global__ void SP_LINEAR_CLUSTER __launch_bounds__(kThreads, 1)
    linear_kernel(const __grid_constant__ Params p, const __grid_constant__ Maps maps) {
#ifdef SP_SM90
  extern __shared__ __align__(1024) uint8_t memory[];
  const uint32_t shared = shared_address(memory);
  const uint32_t rank = cluster_rank();
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; i++) {
      barrier_init(shared + kFull + 8 * i, 1);
      barrier_init(shared + kEmpty + 8 * i, kGroups * kCluster);
    }
    barrier_init(shared + kScalesFull, 1);
    barrier_init(shared + kScalesEmpty, kGroups * 128);
    for (int i = 0; i < kGroups * kBuffers; i++)
      barrier_init(shared + kResidualFull + 8 * i, 1);
    barrier_init_fence();
  }
  cluster_sync();

  const int group = uniform(threadIdx.x / 128);
  if (group == kGroups) {
    asm volatile("setmaxnreg.dec.sync.aligned.u32 24;");
    if (threadIdx.x == kGroups * 128) produce<kKind>(p, maps, shared, rank);
  } else {
    asm volatile("setmaxnreg.inc.sync.aligned.u32 240;");
    consume<T, kKind>(p, maps, shared, rank, group, threadIdx.x % 128);
  }
  cluster_sync();  // nobody leaves while the other may still write or signal here
#endif
}

using Kernel = void (*)(Params, Maps);

template <typename T>
Kernel kernel_of(Kind kind) {
  switch (kind) {
    case Kind::kGelu:
      return linear_kernel<T, Kind::kGelu>;
    case Kind::kNormed:
      return linear_kernel<T, Kind::kNormed>;
    case Kind::kNormedGelu:
      return linear_kernel<T, Kind::kNormedGelu>;
    case Kind::kResidual:
      return linear_kernel<T, Kind::kResidual>;
    case Kind::kPlain:
      break;
  }
  return linear_kernel<T, Kind::kPlain>;
}

Kind kind_of(const sp_cuda_matmul_args &x) {
  const bool gelu = x.epilogue != SP_CUDA_NO_ACT;
  if (x.residual.x) return Kind::kResidual;
  if (x.norm.scales) return gelu ? Kind::kNormedGelu : Kind::kNormed;
  return gelu ? Kind::kGelu : Kind::kPlain;
}

// The weights of a product should stay in the L2 cache while the tokens pass by.
constexpr int64_t kMaxWeightBytes = 16 << 20;

int count_pairs(int n) {
  return (n + kFeatures * kCluster - 1) / (kFeatures * kCluster);
}
int count_tiles(const sp_cuda_matmul_args &x) {
  return count_pairs(x.n) * ((x.m + kTokens - 1) / kTokens);
}

Params params_of(const sp_cuda_matmul_args &x) {
  Params p = {};
  p.bias = x.bias;
  p.scales = x.residual.x ? x.residual.scales : x.norm.scales;
  p.sums = x.norm.sums;
  p.gamma = x.residual.gamma;
  p.beta = x.residual.beta;
  p.parts = reinterpret_cast<float2 *>(x.residual.parts);
  p.m = x.m, p.n = x.n, p.k = x.k;
  p.part_pitch = SP_CUDA_SCALES(x.m);
  p.n_pairs = count_pairs(x.n);
  p.n_tiles = count_tiles(x);
  p.last_first = x.last_first;
  for (int i = 0; i < 3; i++) {
    p.gelu[i] = (x.epilogue == SP_CUDA_FUSED_GELU_TANH ? kGeluTanh : kGeluErf)[i];
    const uint32_t bits = __half_as_ushort(__float2half_rn(p.gelu[i]));
    p.gelu2[i] = bits << 16 | bits;
  }
  return p;
}

sp_err make_maps(const sp_cuda_matmul_args &x, Maps *maps) {
  const CUtensorMapDataType type = x.type == SP_CUDA_F16
                                       ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16
                                       : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  sp_err err = sp_sm90::make_tensor_map(&maps->w, x.w, type, x.k, x.ldw, x.n, kFeatures);
  if (!err)
    err = sp_sm90::make_tensor_map(&maps->a, x.a, type, x.k, x.lda, x.m,
                                   kTokens / kCluster);
  if (!err) err = sp_sm90::make_tensor_map(&maps->d, x.d, type, x.n, x.ldd, x.m, kSlice);
  if (!err && x.residual.x)
    err = sp_sm90::make_tensor_map(&maps->residual, x.residual.x, type, x.n, x.ldd, x.m,
                                   kSlice);
  return err;
}

}  // namespace

cudaError_t count_clusters(int *n_clusters) {
  const void *kernel = reinterpret_cast<const void *>(kernel_of<__half>(Kind::kPlain));
  return sp_sm90::count_clusters(kernel, kCluster, kThreads, kSharedBytes, n_clusters);
}

bool can_take(const sp_cuda_matmul_args &x) {
  return !x.accumulate && x.m <= 1 << 24 && x.n <= 1 << 20;
}

bool should_take(const sp_cuda_matmul_args &x, int n_clusters) {
  return can_take(x) && int64_t(x.n) * x.k * 2 <= kMaxWeightBytes &&
         count_tiles(x) >= 2 * n_clusters;
}

sp_err run(const sp_cuda_matmul_args &x, int n_clusters, cudaStream_t stream) {
  Maps maps;
  sp_err err = make_maps(x, &maps);
  if (err) return err;
  const Params p = params_of(x);
  const Kernel kernel = x.type == SP_CUDA_F16 ? kernel_of<__half>(kind_of(x))
                                              : kernel_of<__nv_bfloat16>(kind_of(x));
  const cudaError_t e = cudaFuncSetAttribute(
      kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (e) return sp_cuda_check(e, "matrix product");
  kernel<<<min(n_clusters, p.n_tiles) * kCluster, kThreads, kSharedBytes, stream>>>(p,
                                                                                    maps);
  return sp_cuda_check(cudaGetLastError(), "matrix product");
}

}  // namespace sp_linear
