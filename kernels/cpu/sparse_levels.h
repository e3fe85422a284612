/* kernels/cpu/sparse_levels.h - the implementations behind kernels/sparse.h. */
#ifndef SP_SPARSE_LEVELS_H
#define SP_SPARSE_LEVELS_H

#include "kernels/sparse.h"

extern const sp_sparse_kernels sp_sparse_portable;
#if defined(__x86_64__)
extern const sp_sparse_kernels sp_sparse_avx2;
extern const sp_sparse_kernels sp_sparse_avx512;
#endif

#endif
