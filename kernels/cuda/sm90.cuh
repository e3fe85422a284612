// kernels/cuda/sm90.cuh - Hopper's own instructions under readable names: clusters,
// mbarriers, the bulk copy engine (TMA) and wgmma. For device code compiled for sm_90a; the
// tensor map is made on the host.
#ifndef SP_CUDA_SM90_CUH
#define SP_CUDA_SM90_CUH

#include <cuda.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "base/err.h"

namespace sp_sm90 {

// A row-major matrix of 16-bit floats, or of bytes (UINT8), for tma_load(), in boxes of 128
// bytes (swizzled as matrix_descriptor() wants) by `box_rows` <= 256 rows. Rows are `pitch`
// elements apart; past the first `dim` of each, and past the last row, zeros are read.
// data and pitch are multiples of 16 bytes. Errors: ECUDA.
inline sp_err make_tensor_map(CUtensorMap *map, const void *data,
                              CUtensorMapDataType type, uint32_t dim, uint32_t pitch,
                              uint32_t rows, uint32_t box_rows) {
  void *symbol = nullptr;
  cudaDriverEntryPointQueryResult found;
  const cudaError_t e = cudaGetDriverEntryPointByVersion(
      "cuTensorMapEncodeTiled", &symbol, 12000, cudaEnableDefault, &found);
  if (e || found != cudaDriverEntryPointSuccess)
    return sp_fail(SP_ECUDA, "the driver has no cuTensorMapEncodeTiled");
  const cuuint32_t bytes = type == CU_TENSOR_MAP_DATA_TYPE_UINT8 ? 1 : 2;
  const cuuint64_t dims[2] = {dim, rows};
  const cuuint64_t strides[1] = {cuuint64_t(pitch) * bytes};
  const cuuint32_t box[2] = {128 / bytes, box_rows}, steps[2] = {1, 1};
  const CUresult r = reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(symbol)(
      map, type, 2, const_cast<void *>(data), dims, strides, box, steps,
      CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
      CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (r != CUDA_SUCCESS)
    return sp_fail(SP_ECUDA, "tensor map of %u rows of %u: error %d", rows, dim, int(r));
  return SP_OK;
}

// How many clusters of `kernel` run at a time; 0 in a build without sm_90a code, where the
// kernel is empty: it shows by its registers.
inline cudaError_t count_clusters(const void *kernel, unsigned cluster, unsigned threads,
                                  size_t shared_bytes, int *n_clusters) {
  *n_clusters = 0;
  cudaFuncAttributes compiled;
  cudaError_t e = cudaFuncGetAttributes(&compiled, kernel);
  if (e || compiled.numRegs < 100) return e;
  e = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                           int(shared_bytes));
  if (e) return e;
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim = {cluster, 1, 1};
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(cluster);
  config.blockDim = dim3(threads);
  config.dynamicSmemBytes = shared_bytes;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaOccupancyMaxActiveClusters(n_clusters, kernel, &config);
}

// Device code below exists where the target has it (and in the host's pass over it).
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDA_ARCH__)
#define SP_SM90 1

__device__ inline uint32_t shared_address(const void *p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}
// The first lane's value: the compiler takes it for one that all lanes of a warp share.
__device__ inline uint32_t uniform(uint32_t x) {
  return __shfl_sync(0xffffffffu, x, 0);
}
__device__ inline void store_shared(uint32_t to, uint32_t x) {
  asm volatile("st.shared.b32 [%0], %1;" ::"r"(to), "r"(x) : "memory");
}
__device__ inline uint4 load_shared4(uint32_t from) {
  uint4 x;
  asm volatile("ld.shared.v4.b32 {%0, %1, %2, %3}, [%4];"
               : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
               : "r"(from)
               : "memory");
  return x;
}
__device__ inline uint32_t cluster_rank() {
  uint32_t r;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
  return r;
}
__device__ inline void cluster_sync() {
  asm volatile(
      "barrier.cluster.arrive.release.aligned;\n"
      "barrier.cluster.wait.acquire.aligned;" ::
          : "memory");
}

// mbarriers; `bar` is a shared-memory address.
__device__ inline void barrier_init(uint32_t bar, uint32_t count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(bar), "r"(count));
}
// Makes inits seen by the cluster and the copy engine: once, before cluster_sync().
__device__ inline void barrier_init_fence() {
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}
// Arrives, and announces bytes that the copy engine will bring.
__device__ inline void barrier_expect(uint32_t bar, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(bar),
               "r"(bytes)
               : "memory");
}
__device__ inline void barrier_arrive(uint32_t bar) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(bar) : "memory");
}
__device__ inline void barrier_wait(uint32_t bar, uint32_t parity) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1;\n"
      "@p bra done;\n"
      "bra again;\n"
      "done:\n"
      "}" ::"r"(bar),
      "r"(parity)
      : "memory");
}
// Arrives at the barrier of the same place in block `rank` of the cluster. Not with
// .release.cluster: that costs a membar for the whole GPU every time, and nothing was
// written that others must see.
__device__ inline void barrier_arrive_at(uint32_t bar, uint32_t rank) {
  asm volatile(
      "{\n"
      ".reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
      "}" ::"r"(bar),
      "r"(rank)
      : "memory");
}

// The place in a ring of stages, each with barriers, and which time round: their parity.
template <int kStages>
struct StageRing {
  uint32_t stage = 0, phase = 0;
  __device__ void advance() {
    if (++stage == kStages) stage = 0, phase ^= 1;
  }
};

// `bytes` from `from` to `to`, all three multiples of 16; they count at barrier `bar`.
__device__ inline void bulk_load(uint32_t to, const void *from, uint32_t bytes,
                                 uint32_t bar) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, "
      "[%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(bar)
      : "memory");
}
// The box of `map` that begins at element `k` of row `row`, asynchronously; its bytes count
// at barrier `bar`.
__device__ inline void tma_load(uint32_t to, const CUtensorMap *map, int k, int row,
                                uint32_t bar) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes "
      "[%0], [%1, {%2, %3}], [%4];" ::"r"(to),
      "l"(map), "r"(k), "r"(row), "r"(bar)
      : "memory");
}
// The same into every block of the cluster whose bit is set in `ranks`, at the same place.
__device__ inline void tma_load_all(uint32_t to, const CUtensorMap *map, int k, int row,
                                    uint32_t bar, uint16_t ranks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
      ".multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(to),
      "l"(map), "r"(k), "r"(row), "r"(bar), "h"(ranks)
      : "memory");
}

// The box of 64 elements by the map's rows that lies at `from` in shared memory, swizzled,
// goes to element `k` of row `row`, asynchronously; what falls outside the matrix is left
// out. To be committed and waited for by the same thread.
__device__ inline void tma_store(const CUtensorMap *map, int k, int row, uint32_t from) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(
          map),
      "r"(from), "r"(k), "r"(row)
      : "memory");
}
__device__ inline void bulk_commit() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
// Until all but kPending of this thread's groups have been read from shared memory.
template <int kPending>
__device__ inline void bulk_wait_read() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
// What this thread has written to shared memory is seen by the copy engine and by wgmma.
__device__ inline void async_proxy_fence() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}
// All 128 threads of warpgroup `group` meet (named barrier group + 1; 0 is __syncthreads()).
__device__ inline void group_barrier(int group) {
  asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory");
}
// Four 8 x 8 matrices of 16-bit elements, held as mma holds them, written transposed: lane
// 8 m + j gives the address of column j of matrix m, 16 bytes.
__device__ inline void store_transposed(uint32_t to, const uint32_t *r) {
  asm volatile(
      "stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to),
      "r"(r[0]), "r"(r[1]), "r"(r[2]), "r"(r[3])
      : "memory");
}

// And back; or not transposed: lane 8 m + j gives the address of row j of matrix m.
__device__ inline void load_matrices(uint32_t *r, uint32_t from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}
__device__ inline void load_transposed(uint32_t (&r)[4], uint32_t from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(from)
               : "memory");
}
__device__ inline float4 load_float4(uint32_t from) {
  float4 x;
  asm volatile("ld.shared.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(x.x), "=f"(x.y), "=f"(x.z), "=f"(x.w)
               : "r"(from)
               : "memory");
  return x;
}

// A matrix of 128-byte rows in shared memory, swizzled in groups of eight rows.
__device__ inline uint64_t matrix_descriptor(uint32_t address) {
  return uint64_t((address & 0x3ffff) >> 4) | uint64_t(1) << 16 |
         uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62;
}

// d[64 x 256] (+)= a[64 x K] b[256 x K]^T, asynchronously; K is 32 bytes, and d float for
// 16-bit floats, int32 for int8.
#define SP_ACC8(c, d, i)                                                                 \
  c(d[i]), c(d[i + 1]), c(d[i + 2]), c(d[i + 3]), c(d[i + 4]), c(d[i + 5]), c(d[i + 6]), \
      c(d[i + 7])
#define SP_ACC64(c, d)                                                      \
  SP_ACC8(c, d, 0), SP_ACC8(c, d, 8), SP_ACC8(c, d, 16), SP_ACC8(c, d, 24), \
      SP_ACC8(c, d, 32), SP_ACC8(c, d, 40), SP_ACC8(c, d, 48), SP_ACC8(c, d, 56)
#define SP_ACC128(c, d)                                                             \
  SP_ACC64(c, d), SP_ACC8(c, d, 64), SP_ACC8(c, d, 72), SP_ACC8(c, d, 80),          \
      SP_ACC8(c, d, 88), SP_ACC8(c, d, 96), SP_ACC8(c, d, 104), SP_ACC8(c, d, 112), \
      SP_ACC8(c, d, 120)
// The accumulators' names in wgmma's instruction: 64 registers, and 64 more.
#define SP_REGISTERS64                       \
  "%0, %1, %2, %3, %4, %5, %6, %7, "         \
  "%8, %9, %10, %11, %12, %13, %14, %15, "   \
  "%16, %17, %18, %19, %20, %21, %22, %23, " \
  "%24, %25, %26, %27, %28, %29, %30, %31, " \
  "%32, %33, %34, %35, %36, %37, %38, %39, " \
  "%40, %41, %42, %43, %44, %45, %46, %47, " \
  "%48, %49, %50, %51, %52, %53, %54, %55, " \
  "%56, %57, %58, %59, %60, %61, %62, %63"
#define SP_REGISTERS128                              \
  SP_REGISTERS64                                     \
  ", "                                               \
  "%64, %65, %66, %67, %68, %69, %70, %71, "         \
  "%72, %73, %74, %75, %76, %77, %78, %79, "         \
  "%80, %81, %82, %83, %84, %85, %86, %87, "         \
  "%88, %89, %90, %91, %92, %93, %94, %95, "         \
  "%96, %97, %98, %99, %100, %101, %102, %103, "     \
  "%104, %105, %106, %107, %108, %109, %110, %111, " \
  "%112, %113, %114, %115, %116, %117, %118, %119, " \
  "%120, %121, %122, %123, %124, %125, %126, %127"
#define SP_WGMMA(c, types, flags)                                       \
  asm volatile(                                                         \
      "{\n"                                                             \
      ".reg .pred p;\n"                                                 \
      "setp.ne.b32 p, %130, 0;\n"                                       \
      "wgmma.mma_async.sync.aligned.m64n256" types " {" SP_REGISTERS128 \
      "}, %128, %129, p" flags                                          \
      ";\n"                                                             \
      "}\n"                                                             \
      : SP_ACC128(c, d)                                                 \
      : "l"(a), "l"(b), "r"(add))

template <typename T>
__device__ inline void multiply(float (&d)[128], uint64_t a, uint64_t b, int add);
template <>
__device__ inline void multiply<__nv_bfloat16>(float (&d)[128], uint64_t a, uint64_t b,
                                               int add) {
  SP_WGMMA("+f", "k16.f32.bf16.bf16", ", 1, 1, 0, 0");
}
template <>
__device__ inline void multiply<__half>(float (&d)[128], uint64_t a, uint64_t b,
                                        int add) {
  SP_WGMMA("+f", "k16.f32.f16.f16", ", 1, 1, 0, 0");
}
template <typename T>
__device__ inline void multiply(int32_t (&d)[128], uint64_t a, uint64_t b, int add) {
  SP_WGMMA("+r", "k32.s32.s8.s8", "");
}

// d[64 x 128] (+)= a[64 x K] b[128 x K]^T, asynchronously, in the first half of d's registers.
#define SP_WGMMA128(c, types, flags)                                   \
  asm volatile(                                                        \
      "{\n"                                                            \
      ".reg .pred p;\n"                                                \
      "setp.ne.b32 p, %66, 0;\n"                                       \
      "wgmma.mma_async.sync.aligned.m64n128" types " {" SP_REGISTERS64 \
      "}, %64, %65, p" flags                                           \
      ";\n"                                                            \
      "}\n"                                                            \
      : SP_ACC64(c, d)                                                 \
      : "l"(a), "l"(b), "r"(add))

template <typename T>
__device__ inline void multiply_half(float (&d)[128], uint64_t a, uint64_t b, int add);
template <>
__device__ inline void multiply_half<__nv_bfloat16>(float (&d)[128], uint64_t a,
                                                    uint64_t b, int add) {
  SP_WGMMA128("+f", "k16.f32.bf16.bf16", ", 1, 1, 0, 0");
}
template <>
__device__ inline void multiply_half<__half>(float (&d)[128], uint64_t a, uint64_t b,
                                             int add) {
  SP_WGMMA128("+f", "k16.f32.f16.f16", ", 1, 1, 0, 0");
}
template <typename T>
__device__ inline void multiply_half(int32_t (&d)[128], uint64_t a, uint64_t b, int add) {
  SP_WGMMA128("+r", "k32.s32.s8.s8", "");
}
#undef SP_WGMMA128
#undef SP_ACC64
#undef SP_WGMMA
#undef SP_ACC128
#undef SP_ACC8
#undef SP_REGISTERS128
#undef SP_REGISTERS64

__device__ inline void wgmma_fence() {
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ inline void wgmma_commit() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending>
__device__ inline void wgmma_wait() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

#endif  // SP_SM90

}  // namespace sp_sm90
#endif
