// kernels/cuda/attention_short.cuh - attention of batches of short texts, where memory is
// what bounds it: loads of the texts to come go on while those that are there are computed.
//
// A unit is one head of one text. A block stays on its multiprocessor and takes every
// gridDim.x-th unit. Some of its warps copy the whole queries, keys and values of the next
// units into a ring of slots in shared memory, in teams that take units in turn; the others
// compute, 16 queries at a time, in turn over all units, so that no warp is idle because of a
// text's length. The results are attention.cu's to the last bit: a text's do not depend on
// which of the two kernels its batch is given to.
#ifndef SP_CUDA_ATTENTION_SHORT_CUH
#define SP_CUDA_ATTENTION_SHORT_CUH

#include <cuda_pipeline_primitives.h>

#include "kernels/cuda/attention_parts.cuh"
#include "kernels/cuda/common.cuh"
#include "kernels/cuda_attention.h"

namespace sp {

constexpr int kShortMaxLen = 256;  // two slots of as many tokens fit, for heads of 64
// Warps. One alone copies too slowly; four for each unit are late with the shortest texts.
constexpr int kConsumers = 12, kTeams = 2, kTeamWarps = 2;
constexpr int kShortThreads = 32 * (kConsumers + kTeams * kTeamWarps);
constexpr int kMaxSlots = 16;
static_assert(kConsumers % 4 == 0 && kShortThreads % 128 == 0,
              "registers go by four warps");

// Registers of a warp of either kind. With equal shares those that compute would spill a few
// into memory, which costs a fifth of the time.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define SP_SET_REGISTERS(way, n) \
  asm volatile("setmaxnreg." way ".sync.aligned.u32 %0;" ::"n"(n))
#else
#define SP_SET_REGISTERS(way, n)
#endif

struct Unit {
  int start, len, seen, head;  // seen: how many of its tokens may be attended to
};

// At the beginning of shared memory; the slots follow, each of three tiles.
struct Ring {
  uint64_t full[kMaxSlots], empty[kMaxSlots];  // mbarriers
  int4 units[kMaxSlots];
};

// A place in the ring, with the parity of how often it has come round.
struct Cursor {
  int slot, parity;

  __device__ void advance(int by, int n_slots) {
    slot += by;
    if (slot < n_slots) return;
    slot -= n_slots;
    parity ^= 1;
  }
};

// mbarriers as every architecture since sm_80 has them; sm90.cuh's are for sm_90a alone.
__device__ inline uint32_t address_of(const void *shared) {
  return uint32_t(__cvta_generic_to_shared(shared));
}
__device__ inline void init_barrier(uint64_t *bar, int count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(address_of(bar)), "r"(count)
               : "memory");
}
__device__ inline void arrive(uint64_t *bar) {
  asm volatile(
      "{\n"
      ".reg .b64 state;\n"
      "mbarrier.arrive.shared.b64 state, [%0];\n"
      "}" ::"r"(address_of(bar))
      : "memory");
}
// Arrives when all that this thread copies asynchronously so far is there.
__device__ inline void arrive_after_copies(uint64_t *bar) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(address_of(bar))
               : "memory");
}

#if __CUDA_ARCH__ >= 900  // sleeps for a while where test_wait comes back at once
#define SP_MBARRIER_WAIT "mbarrier.try_wait.parity.shared.b64"
#else
#define SP_MBARRIER_WAIT "mbarrier.test_wait.parity.shared.b64"
#endif
__device__ inline void wait(uint64_t *bar, int parity) {
  uint32_t done;
  do {
    asm volatile(
        "{\n"
        ".reg .pred p;\n" SP_MBARRIER_WAIT
        " p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n"
        "}"
        : "=r"(done)
        : "r"(address_of(bar)), "r"(parity)
        : "memory");
  } while (!done);
}
#undef SP_MBARRIER_WAIT

// A warp copies 16 rows of `in` into a tile; rows at or beyond `n_rows` become zero, so that
// nothing read here can be NaN left by someone else.
template <typename T, int D>
__device__ inline void copy_rows(T *tile, const T *in, int stride, int n_rows, int lane) {
  constexpr int kChunks = D / 8, kRows = 32 / kChunks;  // 16 bytes a lane
  const int row = lane / kChunks, column = lane % kChunks * 8;
  T *to = tile + row * kPitch<D> + column;
  const T *from = in + int64_t(row) * stride + column;
  const int64_t step = int64_t(kRows) * stride;
  if (n_rows >= 16) {
#pragma unroll
    for (int i = 0; i < 16; i += kRows, to += kRows * kPitch<D>, from += step)
      __pipeline_memcpy_async(to, from, 16);
  } else {
#pragma unroll
    for (int i = 0; i < 16; i += kRows, to += kRows * kPitch<D>, from += step) {
      const bool there = row + i < n_rows;
      __pipeline_memcpy_async(to, there ? from : in, 16, there ? 0 : 16);
    }
  }
}

// A warp's part of the 16-row groups of an array. `turn` counts down to its next group, over
// all arrays of its team's units.
template <typename T, int D>
__device__ inline void copy_groups(T *tile, const T *in, int stride, int len, int end,
                                   int *turn, int lane) {
  const int n_groups = (len + 15) / 16;
  for (; *turn < n_groups; *turn += kTeamWarps) {
    const int row = *turn * 16;
    const int from = row < end ? row : 0;
    copy_rows<T, D>(tile + row * kPitch<D>, in + int64_t(from) * stride, stride,
                    end - row, lane);
  }
  *turn -= n_groups;
}

__device__ inline Unit unit_of(const sp_cuda_attention_args &a, int u) {
  const int i = u / a.n_heads, seq = a.last_first ? a.n_seqs - 1 - i : i;
  const int start = a.starts[seq], len = a.starts[seq + 1] - start;
  return {start, len, a.key_end ? min(a.key_end[seq], len) : len, u - i * a.n_heads};
}

template <typename T, int D>
__device__ inline void produce(const sp_cuda_attention_args &a, Ring *ring, T *tiles,
                               int tile, int n_slots, int team, int member, int lane) {
  const int n_units = a.n_seqs * a.n_heads, step = kTeams * gridDim.x;
  Cursor at = {team, 0};
  int turn = member;
  // A lane looks up one of the next 32 units: one at a time would take too long.
  for (int first = blockIdx.x + team * gridDim.x; first < n_units; first += 32 * step) {
    const int own = first + lane * step;
    const Unit mine = own < n_units ? unit_of(a, own) : Unit();
    for (int i = 0; i < 32 && first + i * step < n_units; i++) {
      const int start = __shfl_sync(~0u, mine.start, i);
      const int len = __shfl_sync(~0u, mine.len, i);
      const int seen = __shfl_sync(~0u, mine.seen, i);
      const int head = __shfl_sync(~0u, mine.head, i);
      const int64_t row = int64_t(start) * a.stride;
      const int64_t kv_row = row + head / (a.n_heads / a.n_kv_heads) * D;
      const T *q = static_cast<const T *>(a.q) + row + head * D;
      const T *k = static_cast<const T *>(a.k) + kv_row;
      const T *v = static_cast<const T *>(a.v) + kv_row;

      T *to = tiles + at.slot * 3 * tile;
      uint64_t *full = &ring->full[at.slot];
      wait(&ring->empty[at.slot], at.parity ^ 1);  // passes in the first round
      if (member == 0 && lane == 0) {
        ring->units[at.slot] = make_int4(start, len, seen, head);
        arrive(full);
      }
      copy_groups<T, D>(to, q, a.stride, len, len, &turn, lane);
      copy_groups<T, D>(to + tile, k, a.stride, len, seen, &turn, lane);
      copy_groups<T, D>(to + 2 * tile, v, a.stride, len, seen, &turn, lane);
      arrive_after_copies(full);
      at.advance(kTeams, n_slots);
    }
  }
}

// Queries row .. row+15 of a unit whose tiles are q, k and v. A tile's rows end with the
// group of 16 that the text ends in, and so must the keys taken. Groups that attention.cu
// takes beyond that weigh nothing there.
template <typename T, int D>
__device__ inline void attend(const sp_cuda_attention_args &a, const Unit &unit, T *q,
                              const T *k, const T *v, int row, int lane) {
  T *own = q + row * kPitch<D>;
  uint32_t query[D / 16][4];
  load_queries<T, D>(query, own, lane);
  Softmax<T, D> softmax;
  const Sight sight = {unit.seen, a.left, a.right};
  const float scale = a.scale * kLog2e;
  const int end = a.right < 0 ? unit.seen : min(unit.seen, row + 16 + a.right);
  const int begin = a.left < 0 ? 0 : max(0, row - a.left) / kKeys * kKeys;
#pragma unroll 1
  for (int key = begin; key < end; key += kKeys) {
    const T *k_tile = k + key * kPitch<D>, *v_tile = v + key * kPitch<D>;
    const int n = end - key;
    if (n > 48)
      take_tile<T, D, 4>(softmax, query, k_tile, v_tile, row, key, sight, scale, lane);
    else if (n > 32)
      take_tile<T, D, 3>(softmax, query, k_tile, v_tile, row, key, sight, scale, lane);
    else if (n > 16)
      take_tile<T, D, 2>(softmax, query, k_tile, v_tile, row, key, sight, scale, lane);
    else
      take_tile<T, D, 1>(softmax, query, k_tile, v_tile, row, key, sight, scale, lane);
  }
  softmax.finish();
  T *out = static_cast<T *>(a.out) + int64_t(unit.start + row) * a.out_stride;
  write_out<T, D>(softmax.out, own, out + unit.head * D, a.out_stride, unit.len - row,
                  lane);
}

template <typename T, int D>
__device__ inline void consume(const sp_cuda_attention_args &a, Ring *ring, T *tiles,
                               int tile, int n_slots, int warp, int lane) {
  const int n_units = a.n_seqs * a.n_heads;
  Cursor at = {0, 0};
  int turn = warp;  // counts down to the warp's next 16 queries, over all units
  for (int u = blockIdx.x; u < n_units; u += gridDim.x) {
    wait(&ring->full[at.slot], at.parity);
    const int4 x = ring->units[at.slot];
    const Unit unit = {x.x, x.y, x.z, x.w};
    const int n_turns = (unit.len + 15) / 16;
    T *q = tiles + at.slot * 3 * tile;
    for (; turn < n_turns; turn += kConsumers)
      attend<T, D>(a, unit, q, q + tile, q + 2 * tile, turn * 16, lane);
    turn -= n_turns;
    arrive(&ring->empty[at.slot]);
    at.advance(1, n_slots);
  }
}

// Tiles have `rows` rows.
template <typename T, int D>
__global__ void __launch_bounds__(kShortThreads, 1)
    short_attention_kernel(sp_cuda_attention_args a, int n_slots, int rows) {
  extern __shared__ __align__(16) char shared[];
  Ring *ring = reinterpret_cast<Ring *>(shared);
  T *tiles = reinterpret_cast<T *>(ring + 1);
  if (threadIdx.x < n_slots) {
    init_barrier(&ring->full[threadIdx.x], 32 * kTeamWarps + 1);  // copies, and the unit
    // Every lane for itself: one for all, after __syncwarp(), would be no quicker, and
    // racecheck would not see it.
    init_barrier(&ring->empty[threadIdx.x], 32 * kConsumers);
  }
  __syncthreads();
  // The same in all lanes, as the compiler sees then.
  const int warp = __shfl_sync(~0u, threadIdx.x / 32, 0), lane = threadIdx.x % 32;
  const int tile = rows * kPitch<D>;
  if (warp < kConsumers) {
    SP_SET_REGISTERS("inc", 152);
    consume<T, D>(a, ring, tiles, tile, n_slots, warp, lane);
  } else {
    SP_SET_REGISTERS("dec", 40);
    const int producer = warp - kConsumers;
    produce<T, D>(a, ring, tiles, tile, n_slots, producer % kTeams, producer / kTeams,
                  lane);
  }
}

// Sets *launched if the batch is one for this kernel: each team needs a slot.
template <typename T, int D>
cudaError_t launch_short_attention(const sp_cuda_attention_args &a, cudaStream_t stream,
                                   bool *launched) {
  *launched = false;
  if (a.max_len > kShortMaxLen) return cudaSuccess;
  int device, n_blocks, shared_bytes;
  cudaError_t e = cudaGetDevice(&device);
  if (!e) e = cudaDeviceGetAttribute(&n_blocks, cudaDevAttrMultiProcessorCount, device);
  if (!e)
    e = cudaDeviceGetAttribute(&shared_bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin,
                               device);
  const int rows = (a.max_len + 15) / 16 * 16, slot_bytes = 3 * rows * kPitch<D> * 2;
  const int n_slots = min((shared_bytes - int(sizeof(Ring))) / slot_bytes, kMaxSlots);
  if (e || n_slots < kTeams) return e;
  shared_bytes = int(sizeof(Ring)) + n_slots * slot_bytes;
  e = cudaFuncSetAttribute(short_attention_kernel<T, D>,
                           cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (e) return e;
  short_attention_kernel<T, D>
      <<<min(n_blocks, a.n_seqs * a.n_heads), kShortThreads, shared_bytes, stream>>>(
          a, n_slots, rows);
  *launched = true;
  return cudaGetLastError();
}

#undef SP_SET_REGISTERS

}  // namespace sp

#endif
