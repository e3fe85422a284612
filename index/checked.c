/* index/checked.c - what snapshots of one opened index share: which lists were found sound. */
#include <stdlib.h>

#include "index/view.h"

sp_err sp_checked_get(sp_index *ix, uint32_t segment, uint32_t n_terms,
                      sp_checked **out) {
  *out = NULL;
  pthread_mutex_lock(&ix->lock);
  sp_checked *c = ix->checked;
  while (c && c->segment != segment) c = c->next;
  if (!c) {
    c = calloc(1, sizeof *c);
    if (c) c->lists = calloc((size_t)n_terms / 64 + 1, sizeof *c->lists);
    if (c && c->lists) {
      c->segment = segment;
      c->next = ix->checked;
      ix->checked = c;
    } else {
      free(c);
      c = NULL;
    }
  }
  if (c) c->n_refs++;
  pthread_mutex_unlock(&ix->lock);
  *out = c;
  return c ? SP_OK : sp_fail(SP_ENOMEM, "%s: out of memory", ix->store.path);
}

void sp_checked_release(sp_index *ix, sp_checked *c) {
  if (!c) return;
  pthread_mutex_lock(&ix->lock);
  if (--c->n_refs == 0) {
    sp_checked **at = &ix->checked;
    while (*at != c) at = &(*at)->next;
    *at = c->next;
    free(c->lists);
    free(c);
  }
  pthread_mutex_unlock(&ix->lock);
}
