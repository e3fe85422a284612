/* index/lmdb_check.c - a walk over LMDB's trees that believes nothing. */
#include "index/lmdb_check.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Facts of the file format; names as in mdb.c. */
enum {
  PAGE_HEADING = 16,
  P_BRANCH = 0x01,
  P_LEAF = 0x02,
  P_META = 0x08,
  F_BIGDATA = 0x01,
  F_SUBDATA = 0x02,
  F_DUPDATA = 0x04,
  MAX_DEPTH = 32,
  MIN_PAGE = 512,
  MAX_PAGE = 32768
};
#define MDB_MAGIC_NUMBER 0xBEEFC0DEu
#define P_INVALID_PAGE (~(uint64_t)0)

typedef struct page_heading {
  uint64_t number;
  uint16_t pad, flags;
  uint16_t lower, upper; /* free space within the page */
} page_heading;

typedef struct tree {
  uint32_t page_bytes; /* only in the first tree of a meta page */
  uint16_t flags, depth;
  uint64_t n_branch, n_leaf, n_overflow, n_entries, root;
} tree;

typedef struct meta {
  uint32_t magic, version;
  uint64_t address, map_bytes;
  tree free, main;
  uint64_t last_page, txn_id;
} meta;

_Static_assert(sizeof(page_heading) == PAGE_HEADING, "a page's heading");
_Static_assert(sizeof(tree) == 48, "a tree's record");
_Static_assert(sizeof(meta) == 136, "a meta page");

typedef struct walk {
  int fd;
  const char *where;
  uint32_t page_bytes;
  uint64_t file_bytes;
  uint64_t n_pages; /* page numbers are below */
  uint64_t n_seen;  /* pages walked: more than there are means a cycle */
  uint8_t *pages[MAX_DEPTH + 2];
} walk;

static sp_err read_at(int fd, void *data, size_t n, uint64_t at, const char *where) {
  for (size_t done = 0; done < n;) {
    ssize_t got = pread(fd, (char *)data + done, n - done, (off_t)(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return sp_fail_errno(errno, "%s/data.mdb", where);
    if (got == 0)
      return sp_fail(SP_EFORMAT, "%s/data.mdb is truncated: byte %llu is needed", where,
                     (unsigned long long)(at + done));
    done += (size_t)got;
  }
  return SP_OK;
}

static sp_err read_meta(int fd, uint64_t at, const char *where, meta *out) {
  uint8_t raw[PAGE_HEADING + sizeof(meta)];
  sp_err err = read_at(fd, raw, sizeof raw, at, where);
  if (err) return err;
  page_heading h;
  memcpy(&h, raw, sizeof h);
  memcpy(out, raw + PAGE_HEADING, sizeof *out);
  uint32_t size = out->free.page_bytes;
  if (!(h.flags & P_META) || out->magic != MDB_MAGIC_NUMBER)
    return sp_fail(SP_EFORMAT, "%s/data.mdb is not an LMDB file, or its head is damaged",
                   where);
  if (out->version != 1)
    return sp_fail(SP_EFORMAT, "%s/data.mdb: LMDB data version %u, 1 is known", where,
                   out->version);
  if (size < MIN_PAGE || size > MAX_PAGE || (size & (size - 1)))
    return sp_fail(SP_EFORMAT, "%s/data.mdb: pages of %u bytes", where, size);
  return SP_OK;
}

/* Both meta pages; they must agree on the page size. */
static sp_err read_metas(int fd, const char *where, uint64_t *file_bytes, meta out[2]) {
  struct stat st;
  if (fstat(fd, &st)) return sp_fail_errno(errno, "%s/data.mdb", where);
  *file_bytes = (uint64_t)st.st_size;
  sp_err err = read_meta(fd, 0, where, &out[0]);
  if (!err) err = read_meta(fd, out[0].free.page_bytes, where, &out[1]);
  if (!err && out[0].free.page_bytes != out[1].free.page_bytes)
    err = sp_fail(SP_EFORMAT, "%s/data.mdb: its two heads differ in page size", where);
  return err;
}

sp_err sp_lmdb_check_meta(int fd, const char *where) {
  meta m[2];
  uint64_t bytes = 0;
  sp_err err = read_metas(fd, where, &bytes, m);
  if (err) return err;
  const meta *newest = &m[m[1].txn_id > m[0].txn_id];
  /* The last pages of a transaction may be free and never written: some slack. */
  uint64_t n_pages = bytes / newest->free.page_bytes;
  if (newest->last_page > n_pages + 65536)
    return sp_fail(SP_EFORMAT, "%s/data.mdb is truncated: %llu of %llu pages", where,
                   (unsigned long long)n_pages,
                   (unsigned long long)newest->last_page + 1);
  return SP_OK;
}

static sp_err damaged(const walk *w, uint64_t page, const char *fault) {
  return sp_fail(SP_EFORMAT, "%s/data.mdb is damaged: page %llu: %s", w->where,
                 (unsigned long long)page, fault);
}

/* Pages first .. first + n - 1 exist and lie within the file. */
static sp_err check_extent(const walk *w, uint64_t first, uint64_t n) {
  if (first < 2 || n > w->n_pages || first > w->n_pages - n)
    return damaged(w, first, "a page number out of range");
  if ((first + n) * w->page_bytes > w->file_bytes)
    return sp_fail(SP_EFORMAT, "%s/data.mdb is truncated: %llu bytes, %llu are needed",
                   w->where, (unsigned long long)w->file_bytes,
                   (unsigned long long)((first + n) * w->page_bytes));
  return SP_OK;
}

static sp_err walk_page(walk *w, uint64_t number, unsigned depth, bool is_main,
                        bool is_free);

static sp_err walk_tree(walk *w, const tree *t, unsigned depth, bool is_main,
                        bool is_free) {
  if (t->root == P_INVALID_PAGE) return SP_OK;
  if (t->depth > MAX_DEPTH) return damaged(w, t->root, "a tree deeper than 32 pages");
  return walk_page(w, t->root, depth, is_main, is_free);
}

/* A record of the list of free pages: a count and as many page numbers. */
static sp_err check_free(walk *w, uint64_t page, const uint8_t *inline_data,
                         uint64_t overflow, uint64_t size) {
  uint64_t count;
  sp_err err = SP_OK;
  if (size < sizeof count) return damaged(w, page, "a short record of free pages");
  if (inline_data)
    memcpy(&count, inline_data, sizeof count);
  else
    err = read_at(w->fd, &count, sizeof count, overflow * w->page_bytes + PAGE_HEADING,
                  w->where);
  if (!err && count > size / 8 - 1)
    err = damaged(w, page, "a record of free pages is longer than its value");
  return err;
}

/* A node of a leaf: its value is in the page, in overflow pages, or a tree of its own. */
static sp_err walk_value(walk *w, uint64_t page, const uint8_t *node, uint32_t room,
                         unsigned depth, bool is_main, bool is_free) {
  uint16_t lo, hi, flags, key_n;
  memcpy(&lo, node, 2);
  memcpy(&hi, node + 2, 2);
  memcpy(&flags, node + 4, 2);
  memcpy(&key_n, node + 6, 2);
  uint64_t size = (uint64_t)lo | (uint64_t)hi << 16;
  const uint8_t *value = node + 8 + key_n;
  if (key_n + (uint64_t)8 > room) return damaged(w, page, "a key leaves its page");
  room -= 8 + (uint32_t)key_n;
  if (flags & F_DUPDATA) return damaged(w, page, "a record of a kind never written");
  if (flags & F_BIGDATA) {
    uint64_t first;
    if (room < sizeof first) return damaged(w, page, "a record leaves its page");
    memcpy(&first, value, sizeof first);
    sp_err err =
        check_extent(w, first, (PAGE_HEADING + size + w->page_bytes - 1) / w->page_bytes);
    if (!err && is_free) err = check_free(w, page, NULL, first, size);
    return err;
  }
  if (size > room) return damaged(w, page, "a value leaves its page");
  if (is_free) return check_free(w, page, value, 0, size);
  if (flags & F_SUBDATA) {
    tree t;
    if (!is_main || size != sizeof t) return damaged(w, page, "a tree out of place");
    memcpy(&t, value, sizeof t);
    return walk_tree(w, &t, depth + 1, false, false);
  }
  return SP_OK;
}

/* LMDB asserts that a branch has two children, except in its first two trees. */
static bool has_enough_keys(unsigned flags, uint32_t n_keys, bool own_tree) {
  if (flags & P_BRANCH) return n_keys >= (own_tree ? 1 : 2);
  return true;
}

static sp_err walk_page(walk *w, uint64_t number, unsigned depth, bool is_main,
                        bool is_free) {
  if (depth > MAX_DEPTH) return damaged(w, number, "trees deeper than 32 pages");
  if (++w->n_seen > w->n_pages) return damaged(w, number, "a page leads back to itself");
  sp_err err = check_extent(w, number, 1);
  if (err) return err;
  if (!w->pages[depth] && !(w->pages[depth] = malloc(w->page_bytes)))
    return sp_fail(SP_ENOMEM, "%s: out of memory", w->where);
  uint8_t *p = w->pages[depth];
  err = read_at(w->fd, p, w->page_bytes, number * w->page_bytes, w->where);
  if (err) return err;

  page_heading h;
  memcpy(&h, p, sizeof h);
  unsigned kind = h.flags & ~0x8010u; /* "dirty" and "keep" mean nothing on disk */
  if (h.number != number || (kind != P_BRANCH && kind != P_LEAF))
    return damaged(w, number, "not a page of a tree");
  if (h.lower < PAGE_HEADING || h.lower > h.upper || h.upper > w->page_bytes ||
      h.lower % 2)
    return damaged(w, number, "its heading makes no sense");
  uint32_t n_keys = (h.lower - PAGE_HEADING) / 2u;
  if (!has_enough_keys(kind, n_keys, is_main || is_free))
    return damaged(w, number, "a branch without children");

  for (uint32_t i = 0; i < n_keys && !err; i++) {
    uint16_t at;
    memcpy(&at, p + PAGE_HEADING + 2 * i, 2);
    if (at < h.upper || at % 2 || at + 8u > w->page_bytes)
      return damaged(w, number, "a record out of place");
    if (kind == P_LEAF) {
      err = walk_value(w, number, p + at, w->page_bytes - at, depth, is_main, is_free);
      continue;
    }
    uint16_t part[4];
    memcpy(part, p + at, sizeof part);
    if (at + 8u + part[3] > w->page_bytes)
      return damaged(w, number, "a key leaves its page");
    uint64_t child = part[0] | (uint64_t)part[1] << 16 | (uint64_t)part[2] << 32;
    err = walk_page(w, child, depth + 1, is_main, is_free);
  }
  return err;
}

sp_err sp_lmdb_check_trees(int fd, uint64_t txn_id, const char *where) {
  meta m[2];
  walk w = {.fd = fd, .where = where};
  sp_err err = read_metas(fd, where, &w.file_bytes, m);
  if (err) return err;
  const meta *mine = m[0].txn_id == txn_id ? &m[0] : &m[1];
  /* A writer that ran two commits since has replaced our head: the pages it points to
   * were written by a process that lives, and are kept as long as we read. */
  if (mine->txn_id != txn_id) return SP_OK;
  w.page_bytes = mine->free.page_bytes;
  w.n_pages = mine->last_page + 1;
  err = walk_tree(&w, &mine->main, 0, true, false);
  if (!err) err = walk_tree(&w, &mine->free, 0, false, true);
  for (int i = 0; i < MAX_DEPTH + 2; i++) free(w.pages[i]);
  return err;
}
