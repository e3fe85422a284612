/* index/list.c - one term's list as bytes: written, checked, pointed into. */
#include <math.h>
#include <string.h>

#include "base/half.h"
#include "index/format.h"

uint64_t sp_list_bytes(const sp_disk_list *h) {
  return sizeof *h + 4 * ((uint64_t)h->n_runs + 1) + 2 * (uint64_t)h->n_runs +
         3 * (uint64_t)h->n_docs;
}

void sp_list_point(const uint8_t *at, sp_list *out) {
  const sp_disk_list *h = (const void *)at;
  *out = (sp_list){.n_docs = h->n_docs,
                   .n_all_docs = h->n_all_docs,
                   .n_runs = h->n_runs,
                   .step = h->max_weight / 255,
                   .max_weight = h->max_weight,
                   .max_discarded = h->max_discarded};
  out->run_start = (const void *)(at + sizeof *h);
  out->run_window = (const void *)(out->run_start + h->n_runs + 1);
  out->docs = out->run_window + h->n_runs;
  out->codes = (const void *)(out->docs + h->n_docs);
}

/* Runs are not empty, cover the list, and lie in windows that ascend. */
static bool runs_are_sound(const sp_list *l, uint32_t n_docs) {
  if (l->run_start[0] != 0 || l->run_start[l->n_runs] != l->n_docs) return false;
  for (uint32_t r = 0; r < l->n_runs; r++)
    if (l->run_start[r + 1] <= l->run_start[r] ||
        (r > 0 && l->run_window[r] <= l->run_window[r - 1]))
      return false;
  return l->n_runs == 0 ||
         l->run_window[l->n_runs - 1] * (uint64_t)SP_WINDOW_DOCS < n_docs;
}

static bool docs_ascend(const sp_list *l, uint32_t n_docs) {
  for (uint32_t r = 0; r < l->n_runs; r++) {
    uint32_t first = l->run_start[r], end = l->run_start[r + 1], bad = 0;
    for (uint32_t i = first + 1; i < end; i++) bad |= l->docs[i] <= l->docs[i - 1];
    uint64_t last = l->run_window[r] * (uint64_t)SP_WINDOW_DOCS + l->docs[end - 1];
    if (bad || last >= n_docs) return false;
  }
  return true;
}

static bool is_weight(float w) {
  return w >= 0 && isfinite(w);
}

bool sp_list_read(const uint8_t *at, uint64_t room, uint32_t term, uint32_t n_docs,
                  sp_list *out) {
  const sp_disk_list *h = (const void *)at;
  if (room < sizeof *h || h->term != term || h->bytes > room ||
      sp_list_bytes(h) != h->bytes || !is_weight(h->max_weight) ||
      !is_weight(h->max_discarded))
    return false;
  sp_list_point(at, out);
  return runs_are_sound(out, n_docs) && docs_ascend(out, n_docs);
}

static uint32_t count_runs(const uint32_t *docs, uint32_t n) {
  uint32_t n_runs = n > 0;
  for (uint32_t i = 1; i < n; i++)
    n_runs += docs[i] / SP_WINDOW_DOCS != docs[i - 1] / SP_WINDOW_DOCS;
  return n_runs;
}

/* Rounded up, so that what a search adds up is never below the truth. */
static uint8_t code_of(float weight, float step) {
  float code = ceilf(weight / step);
  return (uint8_t)(code < 1 ? 1 : code > 255 ? 255 : code);
}

sp_err sp_list_write(const sp_disk_list *list, const uint32_t *docs,
                     const uint16_t *weights, sp_buf *out) {
  sp_disk_list h = *list;
  h.n_runs = count_runs(docs, h.n_docs);
  uint64_t bytes = sp_list_bytes(&h);
  if (bytes > UINT32_MAX / 2)
    return sp_fail(SP_EINVAL, "the list of term %u is too large", h.term);
  h.bytes = (uint32_t)bytes;
  sp_err err = sp_buf_reserve(out, out->n + bytes);
  if (err) return err;
  uint8_t *to = (uint8_t *)out->data + out->n;
  memcpy(to, &h, sizeof h);
  sp_list l;
  sp_list_point(to, &l);
  uint32_t *start = (uint32_t *)l.run_start, r = 0;
  for (uint32_t i = 0; i < h.n_docs; i++) {
    uint32_t window = docs[i] / SP_WINDOW_DOCS;
    if (i == 0 || window != docs[i - 1] / SP_WINDOW_DOCS) {
      start[r] = i;
      ((uint16_t *)l.run_window)[r++] = (uint16_t)window;
    }
    ((uint16_t *)l.docs)[i] = (uint16_t)(docs[i] % SP_WINDOW_DOCS);
    ((uint8_t *)l.codes)[i] = code_of(sp_f16_to_f32(weights[i]), l.step);
  }
  start[r] = h.n_docs;
  out->n += bytes;
  return SP_OK;
}
