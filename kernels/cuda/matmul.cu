// kernels/cuda/matmul.cu - matrix products behind one call: which kernel takes them.
#include "kernels/cuda_matmul.h"

#include <stdlib.h>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/linear_cublaslt.cuh"
#include "kernels/cuda/linear_sm90.cuh"

struct sp_cuda_matmul {
  sp_cublaslt::Products *library;  // NULL until a product needs it
  int n_clusters;  // of the kernel of our own at a time; 0: the device lacks it
};

sp_err sp_cuda_matmul_create(sp_cuda_matmul **out) {
  *out = NULL;
  sp_cuda_matmul *mm = static_cast<sp_cuda_matmul *>(calloc(1, sizeof *mm));
  if (!mm) return sp_fail(SP_ENOMEM, "matrix products: %zu bytes", sizeof *mm);
  sp_err err =
      sp_cuda_check(sp_linear::count_clusters(&mm->n_clusters), "matrix products");
  if (err) {
    sp_cuda_matmul_free(mm);
    return err;
  }
  *out = mm;
  return SP_OK;
}

bool sp_cuda_matmul_does_norms(const sp_cuda_matmul *mm) {
  return mm->n_clusters > 0;
}

void sp_cuda_matmul_free(sp_cuda_matmul *mm) {
  if (!mm) return;
  sp_cublaslt::close(mm->library);
  free(mm);
}

static bool args_ok(const sp_cuda_matmul_args *x) {
  return x->m >= 1 && x->m <= 1 << 30 && x->n >= 8 && x->k >= 8 && x->n % 8 == 0 &&
         x->k % 8 == 0 && x->lda >= x->k && x->ldw >= x->k && x->ldd >= x->n &&
         x->lda % 8 == 0 && x->ldw % 8 == 0 && x->ldd % 8 == 0 && x->a && x->w && x->d &&
         sp::aligned16(x->a) && sp::aligned16(x->w) && sp::aligned16(x->d) &&
         sp::aligned16(x->bias) && !(x->accumulate && x->epilogue);
}

static bool norms_ok(const sp_cuda_matmul_args *x) {
  const sp_cuda_matmul_residual *r = &x->residual;
  if (r->x && x->norm.scales) return false;
  if (!r->x) return x->norm.sums && sp::aligned16(x->norm.scales);
  return r->scales && r->parts && !x->epilogue && sp::aligned16(r->x) &&
         sp::aligned16(r->scales) && r->x != x->d;
}

sp_err sp_cuda_matmul_run(sp_cuda_matmul *mm, const sp_cuda_matmul_args *x,
                          cudaStream_t stream) {
  if (!args_ok(x))
    return sp_fail(SP_EINVAL, "matrix product: %d x %d x %d, strides %d, %d, %d", x->m,
                   x->n, x->k, x->lda, x->ldw, x->ldd);
  const bool norms = x->norm.scales || x->residual.x;
  if (norms && !norms_ok(x))
    return sp_fail(SP_EINVAL, "matrix product: its LayerNorm or residual does not fit");
  const bool own = x->path == SP_CUDA_MATMUL_OWN || norms;
  if (own && !(mm->n_clusters > 0 && sp_linear::can_take(*x)))
    return sp_fail(SP_EINVAL, "matrix product: not one for the kernel of our own");
  if (own || (x->path == SP_CUDA_MATMUL_AUTO && mm->n_clusters > 0 &&
              sp_linear::should_take(*x, mm->n_clusters)))
    return sp_linear::run(*x, mm->n_clusters, stream);
  sp_err err = mm->library ? SP_OK : sp_cublaslt::open(&mm->library);
  return err ? err : sp_cublaslt::run(mm->library, *x, stream);
}
