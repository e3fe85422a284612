/* kernels/cpu/sparse_levels.h - the implementations behind kernels/sparse.h. */
#ifndef SP_SPARSE_LEVELS_H
#define SP_SPARSE_LEVELS_H

#include "kernels/sparse.h"

extern const sp_sparse_kernels sp_sparse_portable;

/* Plain C's, which others have no better way for. */
void sp_add_postings_portable(const uint16_t *docs, const uint8_t *codes, uint32_t n,
                              float scale, float shift, float *sums);
uint32_t sp_take_sums_portable(const uint16_t *docs, uint32_t n, float least, float *sums,
                               uint16_t *found_docs, float *found_sums);
#if defined(__x86_64__)
extern const sp_sparse_kernels sp_sparse_avx2;
extern const sp_sparse_kernels sp_sparse_avx512;
#endif

#endif
