// kernels/cuda/lm_head_pool.cuh - the maximum over each text's tokens, and where it lies, in
// the accumulators of wgmma.
//
// A thread holds two terms' logits of every fourth pair of columns: its column 8 i + 2 q + e
// (q: the lane's place in its quad; e: 0 or 1) is register 4 i + e of term 0 and
// 4 i + 2 + e of term 1. Registers cannot be indexed at run time, so the code of all blocks
// of 16 columns lies in a row. Where one text takes all of a unit there is nothing to look
// at; elsewhere each text goes through the parts of 32 columns that it has a share in.
#ifndef SP_LM_HEAD_POOL_CUH
#define SP_LM_HEAD_POOL_CUH

#include "kernels/cuda/lm_head_parts.cuh"
#include "kernels/cuda/sm90.cuh"

namespace sp_lm {

constexpr uint32_t kBatchBytes = 8 << 10;  // of Results

#ifdef SP_SM90

constexpr int kBlock = 16, kPart = 32;

__device__ inline Segment load_segment(const Call &call, uint32_t i) {
  const uint2 x =
      __ldg(reinterpret_cast<const uint2 *>(call.segments) + min(i, call.n_segments - 1));
  return {x.x, x.y};
}

// Where a consumer leaves maxima for its finishing warp: two batches in turn, of up to
// kBatch texts' [64 terms][4 lanes] maxima, with kAt each followed by as many rows. Both
// sides know when a batch is over: when it is full, and at the end of every step.
template <bool kAt>
struct Results {
  static constexpr uint32_t kPlaneBytes = 64 * 4 * 4;
  static constexpr uint32_t kTextBytes = kAt ? 2 * kPlaneBytes : kPlaneBytes;
  static constexpr uint32_t kBatch = kBatchBytes / kTextBytes;

  uint32_t data, full, empty;  // addresses: two batches, two barriers, two barriers
  uint32_t batch = 0, phase = 0;
  uint32_t count = 0;  // texts of the batch, so far

  __device__ Results(uint32_t data_at, uint32_t full_at, uint32_t empty_at)
      : data(data_at), full(full_at), empty(empty_at) {}
  __device__ uint32_t place() const {
    return data + batch * kBatchBytes + count * kTextBytes;
  }
  __device__ void wait_empty() const {
    sp_sm90::barrier_wait(empty + 8 * batch, phase ^ 1);
  }
  __device__ void wait_full() const { sp_sm90::barrier_wait(full + 8 * batch, phase); }
  // Hands the batch to the side that waits at `barriers`. The whole warp calls it.
  __device__ void pass_on(uint32_t barriers) {
    __syncwarp();
    if (threadIdx.x % 32 == 0) sp_sm90::barrier_arrive(barriers + 8 * batch);
    batch ^= 1;
    phase ^= batch == 0;
    count = 0;
  }
};

// A thread's two terms: the running maxima, and at which rows.
template <bool kAt>
struct Best {
  float m[2];
  int32_t at[2];
  // kAt: that of a maximum raised since the last settle() is known by its block, and by
  // three of that block's four logits. This way a logit costs little more than its maximum.
  int32_t block[2];
  float x[2][3];

  __device__ void clear() {
    m[0] = m[1] = -INFINITY;
    at[0] = at[1] = block[0] = block[1] = -1;
  }
  // By a block's columns of term r, x0 .. x3 in ascending order, where `in` has a bit.
  template <bool kWhole>
  __device__ void raise(int r, int b, float x0, float x1, float x2, float x3,
                        uint32_t in) {
    if (kWhole) {
      const float y = fmaxf(fmaxf(x0, x1), fmaxf(x2, x3));
      if (kAt && y > m[r]) {
        block[r] = b;
        x[r][0] = x0, x[r][1] = x1, x[r][2] = x2;
      }
      m[r] = fmaxf(m[r], y);
    } else if (kAt) {
      const float none = -INFINITY;
      raise<true>(r, b, in & 1 ? x0 : none, in & 2 ? x1 : none, in & 4 ? x2 : none,
                  in & 8 ? x3 : none, 0);
    } else {
      if (in & 1) m[r] = fmaxf(m[r], x0);
      if (in & 2) m[r] = fmaxf(m[r], x1);
      if (in & 4) m[r] = fmaxf(m[r], x2);
      if (in & 8) m[r] = fmaxf(m[r], x3);
    }
  }
  // Rows from blocks. `row`: of the thread's first column.
  __device__ void settle(int32_t row) {
#pragma unroll
    for (int r = 0; r < 2 && kAt; r++) {
      const int column = x[r][0] == m[r]   ? 0
                         : x[r][1] == m[r] ? 1
                         : x[r][2] == m[r] ? 8
                                           : 9;
      if (block[r] >= 0) at[r] = row + block[r] * kBlock + column;
      block[r] = -1;
    }
  }
};

// A consumer's way through the texts.
template <bool kAt>
class Pool {
  Best<kAt> best;
  Results<kAt> results;
  const Call &call;
  // Of the step:
  Segment lanes;  // its segments, one a lane
  bool begun = false;
  uint32_t row, segment, i;
  int cols;
  bool last;
  // The current segment's end, as a column, and whether it is a text:
  int stop;
  bool wanted;

  __device__ int q() const { return threadIdx.x & 3; }

  __device__ void take(uint32_t n) {  // the step's segment n is the current one
    i = n;
    if (i > 0 && i % 32 == 0) lanes = load_segment(call, segment + i + threadIdx.x % 32);
    stop = int(__shfl_sync(0xffffffffu, lanes.end, i % 32) - row);
    wanted = __shfl_sync(0xffffffffu, lanes.text, i % 32) != kNoText;
  }

  // Leaves the current segment's maxima, if it is a text.
  __device__ void put() {
    if (wanted) {
      best.settle(int32_t(row) + 2 * q());
      const int thread = threadIdx.x % 128;
      // Term 16 warp + lane / 4, then the term 8 below; four lanes a term.
      const uint32_t to = results.place() + thread / 32 * 256 + thread % 32 * 4;
#pragma unroll
      for (int r = 0; r < 2; r++) {
        sp_sm90::store_shared(to + 128 * r, __float_as_uint(best.m[r]));
        if (kAt) sp_sm90::store_shared(to + results.kPlaneBytes + 128 * r, best.at[r]);
      }
      if (++results.count == results.kBatch) {
        results.pass_on(results.full);
        results.wait_empty();
      }
    }
    best.clear();
  }

  // The segment has ended: on to the next.
  __device__ void next() {
    put();
    take(i + 1);
  }
  // A thread's columns of a unit are numbered 0 .. 31: how many lie before `column`.
  __device__ int before(int column) const {
    return column / 8 * 2 + min(max(column % 8 - 2 * q(), 0), 2);
  }
  // Raises by columns of kPart from kBegin on: all, or those with a bit in `in`.
  template <int kBegin, bool kWhole>
  __device__ void raise_part(const float (&acc)[128], uint32_t in) {
#pragma unroll
    for (int b = kBegin / kBlock; b < (kBegin + kPart) / kBlock; b++)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const float *x = acc + 8 * b + 2 * r;
        best.template raise<kWhole>(r, b, x[0], x[1], x[4], x[5], in >> (4 * b % 32));
      }
  }
  // The part from kBegin on, as far as from .. to-1 share in it, and the unit's parts
  // behind it.
  template <int kBegin>
  __device__ void raise_parts(const float (&acc)[128], int from, int to, uint32_t in) {
    if (from <= kBegin && to >= kBegin + kPart)
      raise_part<kBegin, true>(acc, 0);
    else if (from < kBegin + kPart && to > kBegin)
      raise_part<kBegin, false>(acc, in);
    constexpr int kNext = kBegin + kPart;
    if constexpr (kNext % int(kUnit) != 0) raise_parts<kNext>(acc, from, to, in);
  }

 public:
  __device__ Pool(const Call &c, const Results<kAt> &r) : results(r), call(c) {
    best.clear();
  }
  __device__ void wait_empty() const {
    results.wait_empty();
  }

  // `first_lanes`: segment `at_segment` and those after it, one a lane.
  __device__ void begin_step(uint32_t first_row, uint32_t n_cols, uint32_t at_segment,
                             bool last_of_strip, Segment first_lanes) {
    begun = true;
    row = first_row;
    cols = n_cols;
    segment = at_segment;
    last = last_of_strip;
    lanes = first_lanes;
    take(0);
  }
  // The columns of the step's unit kAtUnit. What ends with the step is left to end_step().
  template <int kAtUnit>
  __device__ void unit(const float (&acc)[128]) {
    constexpr int kFirst = kAtUnit * int(kUnit), kEnd = kFirst + int(kUnit);
    if (stop >= kEnd) {
      raise_part<kFirst, true>(acc, 0);
      raise_part<kFirst + kPart, true>(acc, 0);
      raise_part<kFirst + 2 * kPart, true>(acc, 0);
      raise_part<kFirst + 3 * kPart, true>(acc, 0);
      if (stop == kEnd && stop != cols) next();
      return;
    }
    for (int from = kFirst; from < kEnd;) {
      const int to = min(stop, kEnd);
      const int low = before(from - kFirst), high = before(to - kFirst);
      raise_parts<kFirst>(acc, from, to, (high < 32 ? ~(~0u << high) : ~0u) & ~0u << low);
      if (to == cols) return;
      if (to == stop) next();
      from = to;
    }
  }
  // A text that goes on stays in `best`, unless the strip ends here. No accumulators are
  // looked at any more.
  __device__ void end_step() {
    if (!begun) return;
    begun = false;
    if (stop == cols || last)
      put();
    else
      best.settle(int32_t(row) + 2 * q());
    if (results.count) results.pass_on(results.full);
  }
};

#endif  // SP_SM90
}  // namespace sp_lm
#endif
