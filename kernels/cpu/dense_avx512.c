/* kernels/cpu/dense_avx512.c - kernels/cpu/dense.h compiled for this level. */
#define SP_DENSE_OPS_NAME sp_dense_ops_avx512
#include "kernels/cpu/dense_body.h"
