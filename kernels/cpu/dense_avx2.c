/* kernels/cpu/dense_avx2.c - kernels/cpu/dense.h compiled for this level. */
#define SP_DENSE_OPS_NAME sp_dense_ops_avx2
#include "kernels/cpu/dense_body.h"
