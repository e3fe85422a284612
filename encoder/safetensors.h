/* encoder/safetensors.h - the tensors of a model file, used where they lie.
 *
 * The format (Hugging Face "safetensors"): u64 little-endian length of a JSON header, the
 * header {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ...}, then the data
 * that the offsets count in. Files are mapped, nothing is copied; every length, offset,
 * dtype and shape is checked against the file before a tensor can be had. A large model
 * lies in several files ("shards") and an index that tells which tensor is in which. */
#ifndef SP_SAFETENSORS_H
#define SP_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* The dtypes that weights may have, and all others (which may lie in a file unused). */
typedef enum sp_dtype { SP_F32, SP_F16, SP_BF16, SP_NOT_A_WEIGHT } sp_dtype;

enum { SP_TENSOR_MAX_DIMS = 8 };

typedef struct sp_tensor {
  const char *name;       /* as in the file */
  const char *file;       /* path of the file it lies in, for messages */
  const char *dtype_name; /* "F32", "I64" ... */
  sp_dtype dtype;
  uint32_t n_dims;
  uint64_t shape[SP_TENSOR_MAX_DIMS];
  const void *data; /* little-endian, row-major; not aligned to more than a byte */
  size_t n_bytes;
} sp_tensor;

/* The tensors of one file or of all shards; immutable, shared by any number of threads.
 */
typedef struct sp_tensors sp_tensors;

/* Opens one file. On SP_OK the caller ends *out with sp_tensors_close(); the tensors live
 * until then. Errors: ENOTFOUND, EIO, ENOMEM, EFORMAT (the file, the tensor and the
 * fault). */
sp_err sp_tensors_open(const char *path, sp_tensors **out);

/* Opens dir/model.safetensors or, where that is missing, the shards of
 * dir/model.safetensors.index.json. Errors: as above; a directory with only a pickle
 * (pytorch_model.bin) is told so. */
sp_err sp_tensors_open_dir(const char *dir, sp_tensors **out);
void sp_tensors_close(sp_tensors *t); /* NULL is fine */

/* sp_map_forget() of every file. */
void sp_tensors_forget(const sp_tensors *t);

/* The tensor of that name, or NULL. Borrowed from `t`. */
const sp_tensor *sp_tensors_find(const sp_tensors *t, const char *name);

/* All tensors, in the order of their names within each file; i < the count. */
size_t sp_tensors_count(const sp_tensors *t);
const sp_tensor *sp_tensors_at(const sp_tensors *t, size_t i);

/* The file to name when a tensor is missing: the one file, or the index. */
const char *sp_tensors_path(const sp_tensors *t);

/* Reads a file's bytes (which must outlive *out): what sp_tensors_open() does after
 * mapping it. `where` names them in messages. */
sp_err sp_tensors_parse(const uint8_t *data, size_t n, const char *where,
                        sp_tensors **out);

#endif
