/* kernels/cpu/dense_portable.c - kernels/cpu/dense.h compiled for this level. */
#define SP_DENSE_OPS_NAME sp_dense_ops_portable
#include "kernels/cpu/dense_body.h"
