// kernels/cuda/linear_cublaslt.cu - products by cuBLASLt: its layouts, epilogues and
// algorithms.
//
// The library is loaded here when the first product wants it, not linked: its half a gigabyte
// costs a start of the program 0.1 s and 200 MB, and most commands, and most models on Hopper,
// never ask it for anything.
//
// cuBLASLt counts columns first, so our row-major d = a w^T is its d^T = w a^T: its m is
// our n, its n our m, and the bias runs down its columns.
#include "kernels/cuda/linear_cublaslt.cuh"

#include <cublasLt.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

namespace {

// The library's functions, as its header declares them; what it has as inline functions there
// ends in _internal here.
struct Library {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetStatusString) status_string;
  decltype(&cublasLtMatmul) matmul;
  decltype(&cublasLtMatmulAlgoGetHeuristic) get_heuristic;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set;
  decltype(&cublasLtMatmulDescInit_internal) operation_init;
  decltype(&cublasLtMatmulDescSetAttribute) operation_set;
  decltype(&cublasLtMatrixLayoutInit_internal) layout_init;
};

template <typename Function>
bool find(void *handle, const char *name, Function *out) {
  *out = reinterpret_cast<Function>(dlsym(handle, name));
  return *out != NULL;
}

// It is never closed: like the driver, it may have threads and handlers at exit.
sp_err load(Library *l) {
  char name[32];
  snprintf(name, sizeof name, "libcublasLt.so.%d", CUBLAS_VER_MAJOR);
  void *h = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (h && find(h, "cublasLtCreate", &l->create) &&
      find(h, "cublasLtDestroy", &l->destroy) &&
      find(h, "cublasLtGetStatusString", &l->status_string) &&
      find(h, "cublasLtMatmul", &l->matmul) &&
      find(h, "cublasLtMatmulAlgoGetHeuristic", &l->get_heuristic) &&
      find(h, "cublasLtMatmulPreferenceCreate", &l->preference_create) &&
      find(h, "cublasLtMatmulPreferenceDestroy", &l->preference_destroy) &&
      find(h, "cublasLtMatmulPreferenceSetAttribute", &l->preference_set) &&
      find(h, "cublasLtMatmulDescInit_internal", &l->operation_init) &&
      find(h, "cublasLtMatmulDescSetAttribute", &l->operation_set) &&
      find(h, "cublasLtMatrixLayoutInit_internal", &l->layout_init))
    return SP_OK;
  const char *why = dlerror();
  return sp_fail(SP_ECUDA, "cuBLASLt: %s", why ? why : name);
}

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

sp_err check(const Library &l, cublasStatus_t s, const char *what) {
  if (s == CUBLAS_STATUS_SUCCESS) return SP_OK;
  return sp_fail(s == CUBLAS_STATUS_ALLOC_FAILED ? SP_ENOMEM : SP_ECUDA, "%s: %s", what,
                 l.status_string(s));
}

// Descriptions of one product; they live on the stack, so making them costs nothing.
struct Product {
  cublasLtMatmulDescOpaque_t op;
  cublasLtMatrixLayoutOpaque_t w, a, d;
};

sp_err describe(const Library &l, const sp_cuda_matmul_args &x, int m, Product *p) {
  const cudaDataType_t type = x.type == SP_CUDA_F16 ? CUDA_R_16F : CUDA_R_16BF;
  const cublasOperation_t transposed = CUBLAS_OP_T;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  if (x.epilogue != SP_CUDA_NO_ACT)
    epilogue = x.bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
  else if (x.bias)
    epilogue = CUBLASLT_EPILOGUE_BIAS;

  cublasStatus_t s =
      l.operation_init(&p->op, sizeof p->op, CUBLAS_COMPUTE_32F, CUDA_R_32F);
  if (!s)
    s = l.operation_set(&p->op, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                        sizeof transposed);
  if (!s)
    s = l.operation_set(&p->op, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                        sizeof epilogue);
  if (!s && x.bias)
    s = l.operation_set(&p->op, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &x.bias,
                        sizeof x.bias);
  if (!s) s = l.layout_init(&p->w, sizeof p->w, type, x.k, x.n, x.ldw);
  if (!s) s = l.layout_init(&p->a, sizeof p->a, type, x.k, m, x.lda);
  if (!s)
    s = l.layout_init(&p->d, sizeof p->d, x.accumulate ? CUDA_R_32F : type, x.n, m,
                      x.ldd);
  return check(l, s, "matrix product");
}

}  // namespace

struct sp_cublaslt::Products {
  Library library;
  cublasLtHandle_t lt;
  void *workspace;
  int n_used;
  Slot slots[kMaxShapes];
};

sp_err sp_cublaslt::open(Products **out) {
  *out = NULL;
  Products *p = static_cast<Products *>(calloc(1, sizeof *p));
  if (!p) return sp_fail(SP_ENOMEM, "matrix products: %zu bytes", sizeof *p);
  sp_err err = load(&p->library);
  if (!err) err = check(p->library, p->library.create(&p->lt), "cuBLASLt");
  if (!err)
    err = sp_cuda_check(cudaMalloc(&p->workspace, kWorkspaceBytes), "cuBLASLt workspace");
  if (err) {
    close(p);
    return err;
  }
  *out = p;
  return SP_OK;
}

void sp_cublaslt::close(Products *p) {
  if (!p) return;
  cudaFree(p->workspace);
  if (p->lt) p->library.destroy(p->lt);
  free(p);
}

// Asks the heuristics for the shape with m rounded up, and keeps the first answer.
static sp_err choose(sp_cublaslt::Products *products, const sp_cuda_matmul_args &x,
                     const Shape &shape, Slot *slot) {
  const Library &l = products->library;
  Product p;
  sp_err err = describe(l, x, shape.m_step, &p);
  if (err) return err;
  cublasLtMatmulPreference_t preference;
  err = check(l, l.preference_create(&preference), "matrix product");
  if (err) return err;
  cublasLtMatmulHeuristicResult_t result;
  int n = 0;
  cublasStatus_t s =
      l.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                       &kWorkspaceBytes, sizeof kWorkspaceBytes);
  if (!s)
    s = l.get_heuristic(products->lt, &p.op, &p.w, &p.a, &p.d, &p.d, preference, 1,
                        &result, &n);
  l.preference_destroy(preference);
  if (s || n == 0)
    return sp_fail(SP_ECUDA,
                   "matrix product: cuBLASLt has no algorithm for %d x %d x %d: %s", x.m,
                   x.n, x.k, l.status_string(s));
  slot->shape = shape;
  slot->algo = result.algo;
  slot->used = true;
  products->n_used++;
  return SP_OK;
}

static sp_err algorithm_for(sp_cublaslt::Products *products, const sp_cuda_matmul_args &x,
                            const cublasLtMatmulAlgo_t **algo) {
  const Shape shape = {step_of(x.m), x.n,    x.k,        x.lda,          x.ldw,
                       x.ldd,        x.type, x.epilogue, x.bias != NULL, x.accumulate};
  if (products->n_used >= kMaxShapes / 4 * 3) {
    for (int i = 0; i < kMaxShapes; i++) products->slots[i].used = false;
    products->n_used = 0;
  }
  uint32_t at = hash_of(shape) % kMaxShapes;
  while (products->slots[at].used &&
         memcmp(&products->slots[at].shape, &shape, sizeof shape) != 0)
    at = (at + 1) % kMaxShapes;
  *algo = &products->slots[at].algo;
  return products->slots[at].used ? SP_OK
                                  : choose(products, x, shape, &products->slots[at]);
}

sp_err sp_cublaslt::run(Products *products, const sp_cuda_matmul_args &x,
                        cudaStream_t stream) {
  const Library &l = products->library;
  const cublasLtMatmulAlgo_t *algo;
  sp_err err = algorithm_for(products, x, &algo);
  if (err) return err;
  Product p;
  err = describe(l, x, x.m, &p);
  if (err) return err;
  const float one = 1.f, zero = 0.f;
  return check(l,
               l.matmul(products->lt, &p.op, &one, x.w, &p.w, x.a, &p.a,
                        x.accumulate ? &one : &zero, x.d, &p.d, x.d, &p.d, algo,
                        products->workspace, kWorkspaceBytes, stream),
               "matrix product");
}
