// kernels/cuda/matmul.cu - matrix products behind one call: which kernel takes them, and
// cuBLASLt's layouts, epilogues and algorithms for those that are left to it.
//
// cuBLASLt counts columns first, so our row-major d = a w^T is its d^T = w a^T: its m is
// our n, its n our m, and the bias runs down its columns.
#include "kernels/cuda_matmul.h"

#include <cublasLt.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/cuda/common.cuh"
#include "kernels/cuda/linear_sm90.cuh"

namespace {

constexpr size_t kWorkspaceBytes = size_t(64) << 20;
constexpr int kMaxShapes =
    4096;  // hash slots; forgotten all at once when three quarters full

struct Shape {
  int m_step, n, k, lda, ldw, ldd;
  int type, epilogue, bias, accumulate;
};

struct Slot {
  Shape shape;
  cublasLtMatmulAlgo_t algo;
  bool used;
};

uint32_t hash_of(const Shape &s) {
  const int *w = reinterpret_cast<const int *>(&s);
  uint32_t h = 2166136261u;
  for (size_t i = 0; i < sizeof s / sizeof *w; i++)
    h = (h ^ uint32_t(w[i])) * 16777619u, h ^= h >> 15;
  return h;
}

// m rounded up to an eighth of a power of two: shapes this near share an algorithm.
int step_of(int m) {
  int unit = 16;
  while (unit * 16 < m) unit *= 2;
  return (m + unit - 1) / unit * unit;
}

sp_err check(cublasStatus_t s, const char *what) {
  if (s == CUBLAS_STATUS_SUCCESS) return SP_OK;
  return sp_fail(s == CUBLAS_STATUS_ALLOC_FAILED ? SP_ENOMEM : SP_ECUDA, "%s: %s", what,
                 cublasLtGetStatusString(s));
}

// Descriptions of one product; they live on the stack, so making them costs nothing.
struct Product {
  cublasLtMatmulDescOpaque_t op;
  cublasLtMatrixLayoutOpaque_t w, a, d;
};

sp_err describe(const sp_cuda_matmul_args &x, int m, Product *p) {
  const cudaDataType_t type = x.type == SP_CUDA_F16 ? CUDA_R_16F : CUDA_R_16BF;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  if (x.epilogue != SP_CUDA_NO_ACT)
    epilogue = x.bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  else if (x.bias)
    epilogue = CUBLASLT_EPILOGUE_BIAS;

  cublasStatus_t s = cublasLtMatmulDescInit(&p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  if (!s)
    s = cublasLtMatmulDescSetAttribute(&p->op, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                       sizeof transposed);
  if (!s)
    s = cublasLtMatmulDescSetAttribute(&p->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                                       sizeof epilogue);
  if (!s && x.bias)
    s = cublasLtMatmulDescSetAttribute(&p->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &x.bias,
                                       sizeof x.bias);
  if (!s) s = cublasLtMatrixLayoutInit(&p->w, type, x.k, x.n, x.ldw);
  if (!s) s = cublasLtMatrixLayoutInit(&p->a, type, x.k, m, x.lda);
  if (!s)
    s = cublasLtMatrixLayoutInit(&p->d, x.accumulate ? CUDA_R_32F : type, x.n, m, x.ldd);
  return check(s, "matrix product");
}

}  // namespace

struct sp_cuda_matmul {
  cublasLtHandle_t lt;
  void *workspace;
  int n_clusters;  // of the kernel of our own at a time; 0: the device lacks it
  int n_used;
  Slot slots[kMaxShapes];
};

sp_err sp_cuda_matmul_create(sp_cuda_matmul **out) {
  *out = NULL;
  sp_cuda_matmul *mm = static_cast<sp_cuda_matmul *>(calloc(1, sizeof *mm));
  if (!mm) return sp_fail(SP_ENOMEM, "matrix products: %zu bytes", sizeof *mm);
  sp_err err = check(cublasLtCreate(&mm->lt), "cuBLASLt");
  if (!err)
    err =
        sp_cuda_check(cudaMalloc(&mm->workspace, kWorkspaceBytes), "cuBLASLt workspace");
  if (!err)
    err = sp_cuda_check(sp_linear::count_clusters(&mm->n_clusters), "matrix products");
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
  cudaFree(mm->workspace);
  if (mm->lt) cublasLtDestroy(mm->lt);
  free(mm);
}

// Asks the heuristics for the shape with m rounded up, and keeps the first answer.
static sp_err choose(sp_cuda_matmul *mm, const sp_cuda_matmul_args &x, const Shape &shape,
                     Slot *slot) {
  Product p;
  sp_err err = describe(x, shape.m_step, &p);
  if (err) return err;
  cublasLtMatmulPreference_t preference;
  err = check(cublasLtMatmulPreferenceCreate(&preference), "matrix product");
  if (err) return err;
  cublasLtMatmulHeuristicResult_t result;
  int n = 0;
  cublasStatus_t s = cublasLtMatmulPreferenceSetAttribute(
      preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspaceBytes,
      sizeof kWorkspaceBytes);
  if (!s)
    s = cublasLtMatmulAlgoGetHeuristic(mm->lt, &p.op, &p.w, &p.a, &p.d, &p.d, preference,
                                       1, &result, &n);
  cublasLtMatmulPreferenceDestroy(preference);
  if (s || n == 0)
    return sp_fail(SP_ECUDA,
                   "matrix product: cuBLASLt has no algorithm for %d x %d x %d: %s", x.m,
                   x.n, x.k, cublasLtGetStatusString(s));
  slot->shape = shape;
  slot->algo = result.algo;
  slot->used = true;
  mm->n_used++;
  return SP_OK;
}

static sp_err algorithm_for(sp_cuda_matmul *mm, const sp_cuda_matmul_args &x,
                            const cublasLtMatmulAlgo_t **algo) {
  const Shape shape = {step_of(x.m), x.n,    x.k,        x.lda,          x.ldw,
                       x.ldd,        x.type, x.epilogue, x.bias != NULL, x.accumulate};
  if (mm->n_used >= kMaxShapes / 4 * 3) {
    for (int i = 0; i < kMaxShapes; i++) mm->slots[i].used = false;
    mm->n_used = 0;
  }
  uint32_t at = hash_of(shape) % kMaxShapes;
  while (mm->slots[at].used && memcmp(&mm->slots[at].shape, &shape, sizeof shape) != 0)
    at = (at + 1) % kMaxShapes;
  *algo = &mm->slots[at].algo;
  return mm->slots[at].used ? SP_OK : choose(mm, x, shape, &mm->slots[at]);
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
  const cublasLtMatmulAlgo_t *algo;
  sp_err err = algorithm_for(mm, *x, &algo);
  if (err) return err;
  Product p;
  err = describe(*x, x->m, &p);
  if (err) return err;
  const float one = 1.f, zero = 0.f;
  return check(cublasLtMatmul(mm->lt, &p.op, &one, x->w, &p.w, x->a, &p.a,
                              x->accumulate ? &one : &zero, x->d, &p.d, x->d, &p.d, algo,
                              mm->workspace, kWorkspaceBytes, stream),
               "matrix product");
}
