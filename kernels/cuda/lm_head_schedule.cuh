// kernels/cuda/lm_head_schedule.cuh - which thread-block cluster computes what, and when.
//
// The work is a grid: pairs of vocabulary tiles by tiles of tokens, 128 each. It is put
// into one line, cut into superblocks of tiles so that what is under way at any moment
// stays in the L2 cache: within a superblock the pairs follow one another, within a pair
// its tiles. The line is dealt to the clusters in runs of `run` tiles, round after round;
// what is left after the last whole round is dealt in shorter runs. A cluster takes two
// tiles in one step wherever it has two, so runs and superblocks are of even length; single
// tiles make the shorter runs even.
//
// Within a run, the stretch that belongs to one pair is a strip. A text that goes on from
// one tile to the next keeps its running maximum in registers inside a strip. Where a
// strip's end cuts a text, its part goes to a slot in memory, and a second kernel joins
// the parts. As superblocks are no shorter than runs, a run has two strips at most.
#ifndef SP_LM_HEAD_SCHEDULE_CUH
#define SP_LM_HEAD_SCHEDULE_CUH

#include <cstdint>

namespace sp_lm {

struct Schedule {
  uint32_t n_tiles, n_pairs;
  // The first n_longer superblocks have 2 (n_short + 1) tiles, the others 2 n_short; if
  // n_tiles is odd the last has a tile less.
  uint32_t n_short, n_longer;
  uint32_t n_clusters, run, n_rounds, last_run;
  uint32_t first_cut;  // no run before this one cuts a text

  __host__ __device__ uint32_t total() const { return n_tiles * n_pairs; }
};

struct Strip {
  uint32_t pair, tile, tile_end;  // tiles tile .. tile_end-1
  uint32_t slot;                  // of its first text's part; slot + 1: of its last's
};

// The run that begins at or before place `at` of the line: its number, begin and end.
struct Run {
  uint32_t number, begin, end;
};
__host__ __device__ inline Run run_number(const Schedule &s, uint32_t number) {
  const uint32_t whole = s.n_rounds * s.n_clusters;
  uint32_t begin, end;
  if (number < whole) {
    begin = number * s.run;
    end = begin + s.run;
  } else {
    begin = whole * s.run + (number - whole) * s.last_run;
    end = begin + s.last_run;
  }
  const uint32_t total = s.total();
  return {number, begin < total ? begin : total, end < total ? end : total};
}
__host__ __device__ inline Run run_of(const Schedule &s, uint32_t at) {
  const uint32_t whole = s.n_rounds * s.n_clusters;
  if (at < whole * s.run) return run_number(s, at / s.run);
  return run_number(s, whole + (at - whole * s.run) / s.last_run);
}

// The superblock that holds tile x: its first tile and how many it has.
struct Superblock {
  uint32_t first, count;
};
__host__ __device__ inline Superblock superblock_of(const Schedule &s, uint32_t x) {
  const uint32_t longer = 2 * (s.n_short + 1), shorter = 2 * s.n_short;
  const uint32_t border = s.n_longer * longer;
  if (x < border) return {x / longer * longer, longer};
  const uint32_t first = border + (x - border) / shorter * shorter;
  return {first, shorter < s.n_tiles - first ? shorter : s.n_tiles - first};
}

// The strip of `run` that holds place `at` of the line.
__host__ __device__ inline Strip strip_at(const Schedule &s, const Run &run,
                                          uint32_t at) {
  const Superblock sb = superblock_of(s, at / s.n_pairs);
  const uint32_t base = sb.first * s.n_pairs;
  const uint32_t pair = (at - base) / sb.count;
  const uint32_t pair_begin = base + pair * sb.count;
  const uint32_t begin = run.begin > pair_begin ? run.begin : pair_begin;
  const uint32_t end = run.end < pair_begin + sb.count ? run.end : pair_begin + sb.count;
  Strip strip;
  strip.pair = pair;
  strip.tile = sb.first + (begin - pair_begin);
  strip.tile_end = sb.first + (end - pair_begin);
  strip.slot = ((run.number - s.first_cut) * 2 + (pair_begin > run.begin)) * 2;
  return strip;
}

// The strip that holds tile `tile` of `pair`.
__host__ __device__ inline Strip strip_of(const Schedule &s, uint32_t pair,
                                          uint32_t tile) {
  const Superblock sb = superblock_of(s, tile);
  const uint32_t at = sb.first * s.n_pairs + pair * sb.count + (tile - sb.first);
  return strip_at(s, run_of(s, at), at);
}

// All strips of one cluster in order.
struct Walk {
  const Schedule &s;
  uint32_t cluster, round;
  Run run;
  uint32_t at;

  __device__ Walk(const Schedule &schedule, uint32_t cluster_number)
      : s(schedule), cluster(cluster_number), round(0) {
    run = run_number(s, cluster);
    at = run.begin;
  }
  __device__ bool next(Strip *strip) {
    while (at >= run.end) {
      if (++round > s.n_rounds) return false;
      run = run_number(s, round * s.n_clusters + cluster);
      at = run.begin;
    }
    *strip = strip_at(s, run, at);
    at += strip->tile_end - strip->tile;
    return true;
  }
};

}  // namespace sp_lm
#endif
