// kernels/cuda/linear_cublaslt.cuh - what matmul.cu may ask of linear_cublaslt.cu.
#ifndef SP_CUDA_LINEAR_CUBLASLT_CUH
#define SP_CUDA_LINEAR_CUBLASLT_CUH

#include "kernels/cuda_matmul.h"

namespace sp_cublaslt {

// The loaded library, its handle and workspace, and the algorithm chosen for each shape.
struct Products;

// Loads the library. On SP_OK the caller owns *out. Errors: ENOMEM; ECUDA: there is none.
sp_err open(Products **out);
void close(Products *p);  // NULL is fine

// Queues a product without norm and residual. Errors: ENOMEM, ECUDA.
sp_err run(Products *p, const sp_cuda_matmul_args &x, cudaStream_t stream);

}  // namespace sp_cublaslt

#endif
