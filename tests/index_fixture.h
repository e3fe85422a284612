/* tests/index_fixture.h - small made-up collections and the indexes of them. */
#ifndef SP_TESTS_INDEX_FIXTURE_H
#define SP_TESTS_INDEX_FIXTURE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/vec.h"
#include "index/builder.h"

/* A directory of its own for one test, removed with all that is in it. */
int temp_dir_make(void **state); /* *state is its path */
int temp_dir_remove(void **state);

/* "dir/name", valid until the fourth call after. */
const char *path_in(const char *dir, const char *name);

/* Runs `f` in a process of its own; what it returns is the exit status. */
pid_t child_start(int (*f)(void *), void *arg);
/* Waits for it: its exit status, or 128 + the signal that ended it. */
int child_finish(pid_t pid);

/* Document i of a made-up collection: always the same vector, its weights exact in f16;
 * 0 to 60 entries below n_terms, some terms far more frequent than others. */
void fixture_vector(uint64_t i, uint32_t n_terms, sp_vec *v);

/* Adds documents first .. end - 1, under the ids "doc-I", with fields {"text": "..."}. */
sp_err fixture_add(sp_builder *b, uint64_t first, uint64_t end, uint32_t n_terms);

/* Builds documents first .. end - 1 from open to finish. */
sp_err fixture_build(const char *path, const sp_build_options *o, uint64_t first,
                     uint64_t end, uint32_t n_terms, sp_build_summary *summary);

/* Small and quick: one thread, 64 MiB. */
sp_build_options fixture_options(void);

/* Fails the test unless just the documents first .. end - 1 are there, each with its
 * vector and fields, and unless the lists of all segments hold what they should. */
void fixture_expect(const char *path, uint64_t first, uint64_t end, uint32_t n_terms);

/* Takes all of a list into a hash. */
uint64_t fixture_feed_list(const sp_list *l, uint64_t digest);

/* A hash of all that a snapshot holds, in order. */
uint64_t fixture_digest(const char *path);

#endif
