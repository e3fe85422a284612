/* index/build_chunks.c - the spool becomes forward index, names and stored documents,
 * 4,096 documents after the other. */
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#include "base/half.h"
#include "index/build.h"

enum {
  PIECE_DOCS = 128, /* what one thread takes at a time, at most */
  PIECE_BYTES = 1 << 20,
  /* Each document alone, with the dictionary, is 35 % (SciFact) to 46 % (short passages) of
   * its size and fetched in 1 to 4 us. Groups of four would save a twentieth to a sixth and
   * take four times as long to fetch; level 6 saves at most a twenty-fifth for three and a
   * half times the time to compress. */
  ZSTD_LEVEL = 3
};

typedef struct piece {
  uint32_t first, end; /* documents of the chunk */
  sp_buf vectors, documents;
} piece;

typedef struct chunk_job {
  sp_builder *b;
  uint64_t ordinal[SP_CHUNK_DOCS];
  uint32_t n; /* documents of the chunk */
  piece pieces[SP_CHUNK_DOCS];
  size_t first_piece;
  uint16_t n_entries[SP_CHUNK_DOCS];
  uint32_t packed[SP_CHUNK_DOCS]; /* bytes of each compressed document */
  sp_vec *vectors;                /* [n_threads] */
  ZSTD_CCtx **contexts;           /* [n_threads] */
  ZSTD_CDict *dictionary;
  sp_buf forward, ends, raws, documents; /* written so far of this chunk */
  uint32_t first_document, n_documents;  /* what `documents` holds */
} chunk_job;

/* Appends a vector as it lies on disk. Weights that f16 cannot hold: too small ones are
 * dropped, too large ones become the largest. */
static sp_err pack_vector(chunk_job *j, uint32_t i, sp_vec *v, sp_buf *out) {
  const sp_builder *b = j->b;
  uint32_t n = 0;
  for (uint32_t e = 0; e < v->n; e++) {
    uint16_t bits = sp_f32_to_f16(v->weights[e] < 65504 ? v->weights[e] : 65504);
    if (bits == 0 || bits >= 0x7c00) continue;
    v->terms[n] = v->terms[e];
    memcpy(&v->weights[n++], &bits, sizeof bits); /* the bits, in the float's place */
  }
  j->n_entries[i] = (uint16_t)n;
  size_t bytes = sp_round_up((size_t)n * (b->term_bytes + 2), 4);
  sp_err err = sp_buf_reserve(out, out->n + bytes);
  if (err || bytes == 0) return err;
  char *at = out->data + out->n;
  memset(at + bytes - 4, 0, 4);
  for (uint32_t e = 0; e < n; e++) {
    if (b->term_bytes == 2) {
      uint16_t t = (uint16_t)v->terms[e];
      memcpy(at + 2 * (size_t)e, &t, 2);
    } else {
      memcpy(at + 4 * (size_t)e, &v->terms[e], 4);
    }
    memcpy(at + (size_t)n * b->term_bytes + 2 * (size_t)e, &v->weights[e], 2);
  }
  out->n += bytes;
  return SP_OK;
}

static sp_err pack_fields(chunk_job *j, uint32_t i, const char *fields, size_t n,
                          unsigned worker, sp_buf *out) {
  j->packed[i] = 0;
  if (n == 0) return SP_OK;
  size_t bound = ZSTD_compressBound(n), before = out->n;
  sp_err err = sp_buf_reserve(out, before + bound);
  if (err) return err;
  ZSTD_CCtx *c = j->contexts[worker];
  size_t got = j->dictionary ? ZSTD_compress_usingCDict(c, out->data + before, bound,
                                                        fields, n, j->dictionary)
                             : ZSTD_compressCCtx(c, out->data + before, bound, fields, n,
                                                 ZSTD_LEVEL);
  if (ZSTD_isError(got))
    return sp_fail(SP_ENOMEM, "%s: compressing a document: %s", j->b->path,
                   ZSTD_getErrorName(got));
  out->n += got;
  j->packed[i] = (uint32_t)got;
  return SP_OK;
}

static sp_err pack_piece(void *job, size_t number, unsigned worker) {
  chunk_job *j = job;
  const sp_builder *b = j->b;
  piece *p = &j->pieces[j->first_piece + number];
  sp_vec *v = &j->vectors[worker];
  sp_err err = SP_OK;
  for (uint32_t i = p->first; i < p->end && !err; i++) {
    const sp_spool_doc *d = &b->spool.docs[j->ordinal[i]];
    sp_spool_view doc = sp_spool_read(&b->spool, j->ordinal[i]);
    if (!b->hooks.observe) /* else all were checked as they were counted */
      err = sp_spool_check(&b->spool, j->ordinal[i], (uint32_t)b->state.n_terms);
    if (!err) err = sp_vec_reserve(v, d->n_entries);
    if (err) break;
    if (d->n_entries) {
      memcpy(v->terms, doc.terms, 4 * (size_t)d->n_entries);
      memcpy(v->weights, doc.weights, 4 * (size_t)d->n_entries);
    }
    v->n = d->n_entries;
    if (b->hooks.finish) b->hooks.finish(b->hooks.arg, v);
    err = pack_vector(j, i, v, &p->vectors);
    if (!err) err = pack_fields(j, i, doc.fields, d->n_fields, worker, &p->documents);
  }
  return err;
}

/* Writes the stored documents collected so far as a chunk of their own. */
static sp_err flush_documents(chunk_job *j) {
  sp_builder *b = j->b;
  if (j->n_documents == 0) return SP_OK;
  size_t bytes = j->ends.n + j->raws.n + j->documents.n;
  uint32_t number = b->at.n_forward * SP_CHUNK_DOCS + j->first_document;
  void *value;
  sp_err err =
      sp_build_reserve(b, SP_DB_DOCUMENTS, number, SP_CHUNK_HEADING + bytes, &value);
  if (err) return err;
  char *at = (char *)value + SP_CHUNK_HEADING;
  memcpy(at, j->ends.data, j->ends.n);
  memcpy(at + j->ends.n, j->raws.data, j->raws.n);
  if (j->documents.n)
    memcpy(at + j->ends.n + j->raws.n, j->documents.data, j->documents.n);
  sp_chunk_seal(value, SP_CHUNK_DOCUMENTS, b->at.segment, number, j->n_documents, bytes);
  b->at.n_documents++;
  j->first_document += j->n_documents;
  j->n_documents = 0;
  sp_buf_clear(&j->ends);
  sp_buf_clear(&j->raws);
  sp_buf_clear(&j->documents);
  return SP_OK;
}

/* Moves what a piece made behind what the pieces before it made. */
static sp_err gather_piece(chunk_job *j, piece *p) {
  sp_builder *b = j->b;
  sp_err err =
      p->vectors.n ? sp_buf_append(&j->forward, p->vectors.data, p->vectors.n) : SP_OK;
  size_t at = 0;
  for (uint32_t i = p->first; i < p->end && !err; i++) {
    uint32_t raw = b->spool.docs[j->ordinal[i]].n_fields;
    if (j->packed[i])
      err = sp_buf_append(&j->documents, p->documents.data + at, j->packed[i]);
    uint32_t end = (uint32_t)j->documents.n;
    if (!err) err = sp_buf_append(&j->ends, &end, sizeof end);
    if (!err) err = sp_buf_append(&j->raws, &raw, sizeof raw);
    at += j->packed[i];
    j->n_documents++;
    if (!err && j->documents.n >= SP_CHUNK_BYTES) err = flush_documents(j);
  }
  sp_buf_free(&p->vectors);
  sp_buf_free(&p->documents);
  return err;
}

static uint64_t spool_bytes(const sp_builder *b, uint64_t ordinal) {
  const sp_spool_doc *d = &b->spool.docs[ordinal];
  return sp_spool_text_bytes(d) + 8 * (uint64_t)d->n_entries;
}

/* Cuts the chunk into pieces and packs them, a memory's worth at a time. */
static sp_err pack_chunk(chunk_job *j) {
  sp_builder *b = j->b;
  uint64_t wave_bytes = b->o.memory_bytes / 16;
  for (uint32_t i = 0; i < j->n;) {
    size_t n_pieces = 0;
    for (uint64_t bytes = 0; i < j->n && (bytes < wave_bytes || n_pieces == 0);) {
      piece *p = &j->pieces[n_pieces++];
      *p = (piece){.first = i};
      uint64_t mine = 0;
      while (i < j->n && i - p->first < PIECE_DOCS && mine < PIECE_BYTES)
        mine += spool_bytes(b, j->ordinal[i++]);
      p->end = i;
      bytes += mine;
    }
    sp_err err = sp_pool_run(b->pool, n_pieces, pack_piece, j);
    for (size_t k = 0; k < n_pieces; k++) {
      if (!err) err = gather_piece(j, &j->pieces[k]);
      sp_buf_free(&j->pieces[k].vectors);
      sp_buf_free(&j->pieces[k].documents);
    }
    if (err) return err;
    sp_spool_forget(&b->spool, j->ordinal[0], j->ordinal[i - 1]);
  }
  return SP_OK;
}

static sp_err write_forward(chunk_job *j) {
  sp_builder *b = j->b;
  size_t base = sp_round_up(6 * (size_t)j->n + 4, 64), bytes = base + j->forward.n;
  void *value;
  sp_err err = sp_build_reserve(b, SP_DB_FORWARD, b->at.n_forward,
                                SP_CHUNK_HEADING + bytes, &value);
  if (err) return err;
  char *payload = (char *)value + SP_CHUNK_HEADING;
  uint32_t *start = (uint32_t *)(void *)payload;
  uint16_t *n = (uint16_t *)(void *)(start + j->n + 1);
  memset(payload, 0, base);
  for (uint32_t i = 0; i < j->n; i++) {
    n[i] = j->n_entries[i];
    start[i + 1] =
        start[i] + (uint32_t)(sp_round_up((size_t)n[i] * (b->term_bytes + 2), 4) / 4);
    b->at.nnz += n[i];
  }
  if (j->forward.n) memcpy(payload + base, j->forward.data, j->forward.n);
  sp_chunk_seal(value, SP_CHUNK_FORWARD, b->at.segment, b->at.n_forward, j->n, bytes);
  return SP_OK;
}

static sp_err write_names(chunk_job *j) {
  sp_builder *b = j->b;
  size_t bytes = 4 * (size_t)j->n;
  for (uint32_t i = 0; i < j->n; i++) bytes += b->spool.docs[j->ordinal[i]].n_id;
  uint32_t number = b->at.n_forward * SP_CHUNK_DOCS, end = 0;
  void *value;
  sp_err err = sp_build_reserve(b, SP_DB_NAMES, number, SP_CHUNK_HEADING + bytes, &value);
  if (err) return err;
  char *payload = (char *)value + SP_CHUNK_HEADING;
  for (uint32_t i = 0; i < j->n; i++) {
    uint32_t n = b->spool.docs[j->ordinal[i]].n_id;
    memcpy(payload + 4 * (size_t)j->n + end, sp_spool_read(&b->spool, j->ordinal[i]).id,
           n);
    end += n;
    memcpy(payload + 4 * (size_t)i, &end, 4);
  }
  sp_chunk_seal(value, SP_CHUNK_NAMES, b->at.segment, number, j->n, bytes);
  return SP_OK;
}

/* What the chunk takes in the index at most. */
static uint64_t most_bytes(const chunk_job *j) {
  enum { TABLES = 32 }; /* a document's entries in the tables of offsets, and padding */
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < j->n; i++) {
    const sp_spool_doc *d = &j->b->spool.docs[j->ordinal[i]];
    bytes += ZSTD_compressBound(d->n_fields) + d->n_id + 8 * (uint64_t)d->n_entries;
  }
  return bytes + TABLES * (uint64_t)j->n;
}

static sp_err write_chunk(chunk_job *j) {
  sp_builder *b = j->b;
  j->first_document = 0;
  sp_buf_clear(&j->forward);
  uint64_t ordinal = sp_build_ordinal(b, b->at.n_forward * SP_CHUNK_DOCS);
  for (j->n = 0; j->n < SP_CHUNK_DOCS && ordinal < b->spool.n_docs; ordinal++)
    if (sp_build_is_live(b, ordinal)) j->ordinal[j->n++] = ordinal;
  sp_err err = sp_build_expect(b, most_bytes(j));
  if (!err) err = pack_chunk(j);
  if (!err) err = flush_documents(j);
  if (!err) err = write_names(j);
  if (!err) err = write_forward(j);
  if (j->n) sp_spool_forget(&b->spool, j->ordinal[0], j->ordinal[j->n - 1] + 1);
  b->at.n_forward++;
  return err ? err : sp_build_step(b, false);
}

static sp_err job_open(sp_builder *b, chunk_job *j) {
  unsigned n = sp_pool_n_threads(b->pool);
  j->b = b;
  j->vectors = calloc(n, sizeof *j->vectors);
  j->contexts = calloc(n, sizeof *j->contexts);
  bool ok = j->vectors && j->contexts;
  for (unsigned i = 0; i < n && ok; i++)
    ok = (j->contexts[i] = ZSTD_createCCtx()) != NULL;
  if (!ok) return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  if (b->at.dictionary == 0) return SP_OK;
  uint8_t key[14] = "dictionary";
  memcpy(key + 10, &b->at.dictionary, 4);
  const void *data;
  size_t bytes;
  MDB_txn *txn;
  sp_err err = sp_store_read(&b->store, 0, &txn);
  if (err) return err;
  err = sp_store_get_blob(&b->store, txn, SP_DB_META, (MDB_val){14, key}, &data, &bytes);
  if (!err && data) j->dictionary = ZSTD_createCDict(data, bytes, ZSTD_LEVEL);
  if (!err && !j->dictionary)
    err = sp_fail(SP_EFORMAT, "%s: dictionary %u is damaged", b->path, b->at.dictionary);
  mdb_txn_abort(txn);
  return err;
}

static void job_close(chunk_job *j, unsigned n_threads) {
  for (unsigned i = 0; i < n_threads; i++) {
    if (j->vectors) sp_vec_free(&j->vectors[i]);
    if (j->contexts) ZSTD_freeCCtx(j->contexts[i]);
  }
  free(j->vectors);
  free(j->contexts);
  ZSTD_freeCDict(j->dictionary);
  sp_buf_free(&j->forward);
  sp_buf_free(&j->ends);
  sp_buf_free(&j->raws);
  sp_buf_free(&j->documents);
  free(j);
}

sp_err sp_build_write_chunks(sp_builder *b) {
  if (b->at.n_forward == b->n_chunks) return SP_OK;
  chunk_job *j = calloc(1, sizeof *j);
  if (!j) return sp_fail(SP_ENOMEM, "%s: out of memory", b->path);
  sp_progress p;
  sp_progress_begin(&p, b->o.progress, "documents stored",
                    (uint64_t)b->at.n_forward * SP_CHUNK_DOCS, b->live.n);
  sp_err err = job_open(b, j);
  while (!err && b->at.n_forward < b->n_chunks) {
    err = write_chunk(j);
    uint64_t done = (uint64_t)b->at.n_forward * SP_CHUNK_DOCS;
    sp_progress_set(&p, done < b->live.n ? done : b->live.n);
  }
  if (!err) err = sp_build_step(b, true);
  if (!err) sp_progress_end(&p);
  job_close(j, sp_pool_n_threads(b->pool));
  return err;
}
