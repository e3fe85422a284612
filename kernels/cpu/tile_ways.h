/* kernels/cpu/tile_ways.h - the two ways that tokens lie for tile_512.h and tile_256.h, which
 * include this; 1 <= m <= TILE_TOKENS, groups >= 1. */

static SP_UNCHECKED __attribute__((noinline)) void tile_rows_unchecked(
    const void *panel, const void *u, size_t m, uint32_t groups, size_t stride,
    TILE_SUM *sums, size_t ld) {
  tile_of_any(panel, u, m, groups, stride, 4, sums, ld);
}

/* A token's groups lie one behind the other, the tokens `stride` bytes apart. */
static inline void tile_rows(const void *panel, const void *u, size_t m, uint32_t groups,
                             size_t stride, TILE_SUM *sums, size_t ld) {
  const volatile char *w = panel, *x = u;
  (void)w[(size_t)128 * groups - 1];
  (void)x[(m - 1) * stride + (size_t)4 * groups - 1];
  tile_rows_unchecked(panel, u, m, groups, stride, sums, ld);
}

static inline SP_UNCHECKED void tile_columns_unchecked(const void *panel, const void *u,
                                                       size_t m, uint32_t groups,
                                                       TILE_SUM *sums, size_t ld) {
  tile_of_any(panel, u, m, groups, 4, 128, sums, ld);
}

/* Tokens lie side by side, a group of SP_PANEL tokens behind the other. */
static inline void tile_columns(const void *panel, const void *u, size_t m,
                                uint32_t groups, TILE_SUM *sums, size_t ld) {
  const volatile char *w = panel, *x = u;
  (void)w[(size_t)128 * groups - 1];
  (void)x[(size_t)128 * (groups - 1) + 4 * m - 1];
  tile_columns_unchecked(panel, u, m, groups, sums, ld);
}
