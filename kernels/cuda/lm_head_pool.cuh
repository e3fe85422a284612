// kernels/cuda/lm_head_pool.cuh - the maximum over each text's tokens, and where it lies, in
// the accumulators of wgmma.
//
// A thread holds two terms' logits of every fourth pair of columns: its column 8 i + 2 q + e
// (q: the lane's place in its quad; e: 0 or 1) is register 4 i + e of term 0 and
// 4 i + 2 + e of term 1. Registers cannot be indexed at run time, so the code of all blocks
// of 16 columns lies in a row, and is gone through once: a block in which a segment ends has
// its own code there. Not to look for ends at every block, two are looked at together, and a
// unit of one segment at once.
#ifndef SP_LM_HEAD_POOL_CUH
#define SP_LM_HEAD_POOL_CUH

#include <climits>
#include <type_traits>

#include "kernels/cuda/lm_head_parts.cuh"
#include "kernels/cuda/sm90.cuh"

namespace sp_lm {

constexpr uint32_t kBatchBytes = 8 << 10;  // of Results

#ifdef SP_SM90

constexpr int kBlock = 16;

// Where a consumer leaves maxima for its finishing warp: two batches in turn, of up to
// kBatch segments' [64 terms][4 lanes] maxima, with kAt each followed by as many rows. Both
// sides know when a batch is over: when it is full, and at the end of every step.
template <bool kAt>
struct Results {
  static constexpr uint32_t kPlaneBytes = 64 * 4 * 4;
  static constexpr uint32_t kSegmentBytes = kAt ? 2 * kPlaneBytes : kPlaneBytes;
  static constexpr uint32_t kBatch = kBatchBytes / kSegmentBytes;

  uint32_t full, empty;  // addresses of two barriers each
  uint32_t batch = 0, phase = 0;
  uint32_t count = 0;  // segments of the batch, so far
  uint32_t place;      // address of the next one

  __device__ Results(uint32_t data, uint32_t full_at, uint32_t empty_at)
      : full(full_at), empty(empty_at), place(data) {}
  __device__ void wait_empty() const {
    sp_sm90::barrier_wait(empty + 8 * batch, phase ^ 1);
  }
  __device__ void wait_full() const { sp_sm90::barrier_wait(full + 8 * batch, phase); }
  // To the next segment. Was the batch's last?
  __device__ bool advance() {
    place += kSegmentBytes;
    return ++count == kBatch;
  }
  // Hands the batch to the side that waits at `barriers`. All threads of this side call it.
  __device__ void pass_on(uint32_t barriers) {
    sp_sm90::barrier_arrive(barriers + 8 * batch);
    place += (batch ? -kBatchBytes : kBatchBytes) - count * kSegmentBytes;
    batch ^= 1;
    phase ^= batch == 0;
    count = 0;
  }
};

// The logits are float, or int32 where the operands are int8.
template <typename X>
__device__ inline X lowest();
template <>
__device__ inline float lowest<float>() {
  return -INFINITY;
}
template <>
__device__ inline int32_t lowest<int32_t>() {
  return INT_MIN;
}
__device__ inline float larger(float x, float y) {
  return fmaxf(x, y);
}
__device__ inline int32_t larger(int32_t x, int32_t y) {
  return max(x, y);
}

// A thread's two terms: the running maxima, and with kAt in which block they lie, and three
// of that block's four logits. This way a logit's place costs little more than its maximum.
template <bool kAt, typename X>
struct Best {
  X m[2];
  int32_t block[2];
  X kept[2][3];

  __device__ void clear() { m[0] = m[1] = lowest<X>(); }
  // By block b's columns of term r, x[0] .. x[3] in ascending order, the largest of which is
  // y.
  __device__ void raise(int r, int b, const X (&x)[4], X y) {
    if (kAt && y > m[r]) {
      block[r] = b;
      kept[r][0] = x[0], kept[r][1] = x[1], kept[r][2] = x[2];
    }
    m[r] = larger(m[r], y);
  }
  __device__ void raise(int r, int b, const X (&x)[4]) {
    if constexpr (std::is_same_v<X, int32_t>)  // three at once, in one instruction
      m[r] = __vimax3_s32(__vimax3_s32(m[r], x[0], x[1]), x[2], x[3]);
    else
      raise(r, b, x, larger(larger(x[0], x[1]), larger(x[2], x[3])));
  }
  // By those columns only with `in`, which are the first ones.
  __device__ void raise_first(int r, int b, const X (&x)[4], const bool (&in)[4]) {
    X y = kAt ? lowest<X>() : m[r];
#pragma unroll
    for (int i = 0; i < 4; i++)
      if (in[i]) y = larger(y, x[i]);
    raise(r, b, x, y);
  }
  // Anew, by these columns.
  __device__ void restart(int r, int b, const X (&x)[4]) {
    m[r] = larger(larger(larger(x[0], x[1]), larger(x[2], x[3])), lowest<X>());
    block[r] = b;
    kept[r][0] = x[0], kept[r][1] = x[1], kept[r][2] = x[2];
  }
  // The row of a maximum. `row`: of the thread's first column.
  __device__ int32_t at(int r, int32_t row) const {
    int column = kept[r][2] == m[r] ? 8 : 9;
    if (kept[r][1] == m[r]) column = 1;
    if (kept[r][0] == m[r]) column = 0;
    return row + block[r] * kBlock + column;
  }
};

// A consumer's way through the segments.
template <bool kAt, typename X>
class Pool {
  Best<kAt, X> best;
  Results<kAt> results;
  const Call &call;
  // Of the step:
  uint32_t row;
  // A segment that ends at column `due` or before is put at the step's end. 0: none is, as the
  // stretch ends within the step, or no step has begun.
  int due = 0;
  // The current segment's end, as a column, and that of the one after it.
  int stop = 1, next_stop;
  const Segment *next;  // the one after that

  __device__ int q() const { return threadIdx.x & 3; }
  __device__ int next_column() {
    return int(min(__ldg(&(next++)->end) - row, 2 * kUnit + 1));
  }

  // Leaves the current segment's maxima, and forgets them.
  __device__ void put() {
#pragma unroll
    for (int r = 0; r < 2; r++) {
      const uint32_t to = results.place + 128 * r;
      sp_sm90::store_shared(to, bits_of(best.m[r]));
      if (kAt)
        sp_sm90::store_shared(to + results.kPlaneBytes,
                              best.at(r, int32_t(row) + 2 * q()));
    }
    if (results.advance()) {
      results.pass_on(results.full);
      results.wait_empty();
    }
    best.clear();
  }
  // Block b, in which segments end, at columns up to `last`.
  __device__ void cross(const X *acc, int b, int last) {
    X x[2][4];
#pragma unroll
    for (int r = 0; r < 2; r++)
#pragma unroll
      for (int i = 0; i < 4; i++) x[r][i] = acc[i / 2 * 4 + 2 * r + i % 2];
    do {
      const int end = stop - (b * kBlock + 2 * q());
      bool in[4];
#pragma unroll
      for (int i = 0; i < 4; i++) in[i] = i / 2 * 8 + i % 2 < end;
#pragma unroll
      for (int r = 0; r < 2; r++) best.raise_first(r, b, x[r], in);
      put();
#pragma unroll
      for (int r = 0; r < 2; r++)
#pragma unroll
        for (int i = 0; i < 4; i++)
          if (in[i]) x[r][i] = lowest<X>();
      stop = next_stop;
      next_stop = next_column();
    } while (stop <= last);
#pragma unroll
    for (int r = 0; r < 2; r++) best.restart(r, b, x[r]);
  }
  // kCount blocks from b on, in which no segment ends.
  template <int kCount>
  __device__ void inner(const X *acc, int b) {
#pragma unroll
    for (int i = 0; i < kCount; i++, acc += 8)
#pragma unroll
      for (int r = 0; r < 2; r++) {
        const X x[4] = {acc[2 * r], acc[2 * r + 1], acc[2 * r + 4], acc[2 * r + 5]};
        best.raise(r, b + i, x);
      }
  }

 public:
  __device__ Pool(const Call &c, const Results<kAt> &r) : results(r), call(c) {
    best.clear();
  }
  __device__ void wait_empty() const {
    results.wait_empty();
  }

  // Of `n_units` units, the first column of which lies in `segment`.
  __device__ void begin_step(uint32_t first_row, uint32_t n_units, uint32_t cols,
                             uint32_t segment, bool last_of_strip) {
    row = first_row;
    const int full = int(n_units * kUnit);
    due = int(cols) < full ? 0 : last_of_strip ? INT_MAX : full;
    next = call.segments + segment;
    stop = next_column();
    next_stop = next_column();
  }
  // The columns of the step's unit kAtUnit. What ends with the step's last unit is left to
  // end_step().
  template <int kAtUnit, bool kLast>
  __device__ void unit(const X (&acc)[128]) {
    constexpr int kBlocks = int(kUnit) / kBlock, kFirst = kAtUnit * kBlocks;
    if (stop > (kAtUnit + 1) * int(kUnit) - kLast) {
      inner<kBlocks>(acc + 8 * kFirst, kFirst);
      return;
    }
#pragma unroll
    for (int b = kFirst; b < kFirst + kBlocks; b += 2) {
      const int middle = (b + 1) * kBlock;
      const int last = middle + kBlock - (kLast && b + 2 == kFirst + kBlocks);
      if (stop > last) {
        inner<2>(acc + 8 * b, b);
        continue;
      }
      if (stop > middle)
        inner<1>(acc + 8 * b, b);
      else
        cross(acc + 8 * b, b, middle);
      if (stop > last)
        inner<1>(acc + 8 * b + 8, b + 1);
      else
        cross(acc + 8 * b + 8, b + 1, last);
    }
  }
  // A text that goes on stays in `best`, unless the strip ends here: its block is counted from
  // the next step's first. No accumulators are looked at any more.
  __device__ void end_step() {
    if (stop <= due)
      put();
    else if (due == 0)
      best.clear();
    else
      best.block[0] -= due / kBlock, best.block[1] -= due / kBlock;
    if (results.count) results.pass_on(results.full);
  }
};

#endif  // SP_SM90
}  // namespace sp_lm
#endif
