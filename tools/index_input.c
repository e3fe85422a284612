/* tools/index_input.c - from files into a builder. */
#include "tools/index_input.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "index/vector_io.h"

enum { HEAD_BYTES = 1 << 16 };

/* FNV-1a: a fingerprint of a head, no defence. */
static sp_err hash_head(const char *path, uint64_t *hash) {
  FILE *f = fopen(path, "rbe");
  if (!f) return sp_fail_errno(errno, "%s", path);
  *hash = 0xcbf29ce484222325u;
  for (int i = 0, c; i < HEAD_BYTES && (c = getc(f)) != EOF; i++)
    *hash = (*hash ^ (uint64_t)c) * 0x100000001b3u;
  bool bad = ferror(f);
  fclose(f);
  return bad ? sp_fail(SP_EIO, "%s: cannot be read", path) : SP_OK;
}

sp_err sp_input_identify(char *const *paths, size_t n, sp_buf *out) {
  sp_err err = SP_OK;
  for (size_t i = 0; i < n && !err; i++) {
    struct stat st;
    uint64_t hash;
    if (stat(paths[i], &st)) return sp_fail_errno(errno, "%s", paths[i]);
    if (S_ISDIR(st.st_mode)) return sp_fail_errno(EISDIR, "%s", paths[i]);
    if (!S_ISREG(st.st_mode)) /* what is read for the hash would be missing later */
      return sp_fail(SP_EINVAL, "%s: a pipe or device cannot be read twice: name a file",
                     paths[i]);
    err = hash_head(paths[i], &hash);
    if (!err)
      err = sp_buf_printf(out, "%s %" PRIu64 " %" PRIu64 ".%09ld %016" PRIx64 "\n",
                          paths[i], (uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec,
                          (long)st.st_mtim.tv_nsec, hash);
  }
  return err;
}

static sp_err put_text(const sp_vector_record *r, sp_buf *fields) {
  sp_buf_clear(fields);
  if (!r->text) return SP_OK;
  sp_err err = sp_buf_append_str(fields, "{\"text\": ");
  if (!err) err = sp_json_put_string(fields, r->text, r->text_n);
  return err ? err : sp_buf_append_char(fields, '}');
}

static sp_err copy_vectors(sp_builder *b, sp_vector_reader *r, const char *path,
                           sp_progress *progress) {
  uint64_t skip = sp_builder_start(b)->n_docs, n = 0;
  sp_vector_record rec;
  sp_buf fields = {0};
  sp_err err;
  bool more;
  while (!(err = sp_vector_reader_next(r, &rec, &more)) && more) {
    if (n++ < skip) continue;
    err = put_text(&rec, &fields);
    if (!err)
      err = sp_builder_add(b, rec.id, rec.id_n, rec.vec, fields.n ? fields.data : NULL,
                           fields.n);
    if (err) {
      err = sp_err_at(err, "%s: record %" PRIu64, path, n);
      break;
    }
    if (n % 1024 == 0) err = sp_builder_checkpoint(b, NULL, 0);
    if (err) break;
    sp_progress_set(progress, n);
  }
  sp_buf_free(&fields);
  return err;
}

sp_err sp_input_vectors(sp_builder *b, const char *path, FILE *progress) {
  /* An index keeps terms, no tokens: numbered as they come, nobody could ask for them. */
  const sp_vector_read_options options = {.format = SP_VECTORS_AUTO,
                                          .numeric_tokens = true};
  sp_vector_reader *r;
  sp_err err = sp_vector_reader_open(path, &options, &r);
  if (err) return err;
  sp_progress p;
  sp_progress_begin(&p, progress, "vectors read", sp_builder_start(b)->n_docs,
                    sp_vector_reader_n_vectors(r));
  err = copy_vectors(b, r, path, &p);
  if (!err) sp_progress_end(&p);
  sp_vector_reader_close(r);
  return err;
}
