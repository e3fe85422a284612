// kernels/cuda/linear_sm90.cuh - what matmul.cu may ask of linear_sm90.cu.
#ifndef SP_CUDA_LINEAR_SM90_CUH
#define SP_CUDA_LINEAR_SM90_CUH

#include "kernels/cuda_matmul.h"

namespace sp_linear {

// How many clusters of the kernel run at a time; 0 where the device or the build lacks it.
cudaError_t count_clusters(int *n_clusters);

// Does the kernel take this product, and is it likely to be faster than the library?
bool can_take(const sp_cuda_matmul_args &x);
bool should_take(const sp_cuda_matmul_args &x, int n_clusters);

// Queues a product that can_take(). Errors: ECUDA.
sp_err run(const sp_cuda_matmul_args &x, int n_clusters, cudaStream_t stream);

}  // namespace sp_linear

#endif
