/* base/pool.c - waiting threads and a shared counter of pieces. */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct sp_pool {
  unsigned n_threads; /* the caller's included */
  pthread_t *threads; /* [n_threads - 1] */
  unsigned n_started;

  pthread_mutex_t lock; /* guards all below */
  pthread_cond_t work;  /* a job began, or the end */
  pthread_cond_t idle;  /* a thread left the job */
  uint64_t generation;  /* counts the jobs */
  unsigned n_busy;      /* threads still in the current job */
  bool quit;

  sp_piece run; /* the current job */
  void *job;
  size_t next, n_pieces;
  sp_err err; /* of the lowest failed piece */
  size_t failed;
  char message[1024];
};

typedef struct worker {
  sp_pool *pool;
  unsigned number;
} worker;

/* Takes pieces until there are none. The lock is held on entry and on return. */
static void work_off(sp_pool *p, unsigned number) {
  while (p->next < p->n_pieces && !p->err) {
    size_t piece = p->next++;
    pthread_mutex_unlock(&p->lock);
    sp_err err = p->run(p->job, piece, number);
    pthread_mutex_lock(&p->lock);
    if (err && (!p->err || piece < p->failed)) {
      p->err = err;
      p->failed = piece;
      snprintf(p->message, sizeof p->message, "%s", sp_err_message());
    }
  }
}

static void *thread_main(void *arg) {
  worker w = *(worker *)arg;
  free(arg);
  sp_pool *p = w.pool;
  uint64_t seen = 0;
  pthread_mutex_lock(&p->lock);
  for (;;) {
    while (p->generation == seen && !p->quit) pthread_cond_wait(&p->work, &p->lock);
    if (p->quit) break;
    seen = p->generation;
    work_off(p, w.number);
    if (--p->n_busy == 0) pthread_cond_signal(&p->idle);
  }
  pthread_mutex_unlock(&p->lock);
  return NULL;
}

unsigned sp_cpu_count(void) {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set)) return 1;
  int n = CPU_COUNT(&set);
  return n > 0 ? (unsigned)n : 1;
}

sp_err sp_pool_new(unsigned n_threads, sp_pool **out) {
  *out = NULL;
  sp_pool *p = calloc(1, sizeof *p);
  if (!p) return sp_fail(SP_ENOMEM, "thread pool: out of memory");
  p->n_threads = n_threads ? n_threads : sp_cpu_count();
  pthread_mutex_init(&p->lock, NULL);
  pthread_cond_init(&p->work, NULL);
  pthread_cond_init(&p->idle, NULL);
  p->threads = calloc(p->n_threads, sizeof *p->threads);
  sp_err err = p->threads ? SP_OK : sp_fail(SP_ENOMEM, "thread pool: out of memory");
  while (!err && p->n_started < p->n_threads - 1) {
    worker *w = malloc(sizeof *w);
    if (!w) {
      err = sp_fail(SP_ENOMEM, "thread pool: out of memory");
      break;
    }
    *w = (worker){p, p->n_started + 1};
    int failed = pthread_create(&p->threads[p->n_started], NULL, thread_main, w);
    if (failed) {
      free(w);
      err = sp_fail_errno(failed, "cannot start thread %u of %u", p->n_started + 1,
                          p->n_threads);
      break;
    }
    p->n_started++;
  }
  if (err) {
    sp_pool_free(p);
    return err;
  }
  *out = p;
  return SP_OK;
}

void sp_pool_free(sp_pool *p) {
  if (!p) return;
  pthread_mutex_lock(&p->lock);
  p->quit = true;
  pthread_cond_broadcast(&p->work);
  pthread_mutex_unlock(&p->lock);
  for (unsigned i = 0; i < p->n_started; i++) pthread_join(p->threads[i], NULL);
  pthread_mutex_destroy(&p->lock);
  pthread_cond_destroy(&p->work);
  pthread_cond_destroy(&p->idle);
  free(p->threads);
  free(p);
}

unsigned sp_pool_n_threads(const sp_pool *p) {
  return p->n_threads;
}

sp_err sp_pool_run(sp_pool *p, size_t n_pieces, sp_piece run, void *job) {
  pthread_mutex_lock(&p->lock);
  p->run = run;
  p->job = job;
  p->next = 0;
  p->n_pieces = n_pieces;
  p->err = SP_OK;
  p->n_busy = p->n_started;
  p->generation++;
  pthread_cond_broadcast(&p->work);
  work_off(p, 0);
  while (p->n_busy) pthread_cond_wait(&p->idle, &p->lock);
  sp_err err = p->err;
  pthread_mutex_unlock(&p->lock);
  return err ? sp_fail(err, "%s", p->message) : SP_OK;
}
