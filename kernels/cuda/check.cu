// kernels/cuda/check.cu - CUDA's failures as sp_err, and whether there is a device.
#include "kernels/cuda_types.h"

sp_err sp_cuda_check(cudaError_t e, const char *what) {
  if (e == cudaSuccess) return SP_OK;
  if (e == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky: the caller goes on with a smaller batch
    return sp_fail(SP_ENOMEM, "%s: device memory is exhausted", what);
  }
  return sp_fail(SP_ECUDA, "%s: %s", what, cudaGetErrorString(e));
}

int sp_cuda_capability(void) {
  int n = 0, major = 0, minor = 0;
  if (cudaGetDeviceCount(&n) != cudaSuccess || n == 0) {
    cudaGetLastError();
    return 0;
  }
  if (cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0) ||
      cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, 0))
    return 0;
  return major * 10 + minor;
}
