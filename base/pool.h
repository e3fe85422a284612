/* base/pool.h - a few threads that share the pieces of one job at a time. */
#ifndef SP_POOL_H
#define SP_POOL_H

#include <stddef.h>

#include "base/err.h"

typedef struct sp_pool sp_pool;

/* One piece of a job. `worker` is 0 .. n_threads-1 and tells the worker's scratch apart.
 * A failure ends the job early: pieces not yet begun are skipped. */
typedef sp_err (*sp_piece)(void *job, size_t piece, unsigned worker);

/* n_threads 0: one for each processor this process may use. The calling thread works too,
 * as worker 0, so a pool of one starts no thread. Errors: ENOMEM, EIO. */
sp_err sp_pool_new(unsigned n_threads, sp_pool **out);
void sp_pool_free(sp_pool *p); /* NULL is fine */
unsigned sp_pool_n_threads(const sp_pool *p);

/* Runs pieces 0 .. n_pieces-1, in that order of beginning, and returns when all have
 * ended: SP_OK, or the failure of the lowest failed piece, with its sentence in this
 * thread. One job at a time: never call it from inside a piece, or from two threads at
 * once. */
sp_err sp_pool_run(sp_pool *p, size_t n_pieces, sp_piece run, void *job);

unsigned sp_cpu_count(void); /* processors this process may use; at least 1 */

#endif
