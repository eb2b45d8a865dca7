// heap.cc: the daemon's heap is jemalloc's, where the build has it (meson's option `jemalloc`), for all that is linked
// into it.
//
// A commit ends dozens of requests at once, and each frees dozens of pieces. glibc keeps seven free pieces of a size at
// hand and merges all others with their neighbours, only to split them again for the next requests: a sixth of a
// create's processor time. jemalloc keeps a size's pieces together, hundreds of them at hand, and takes a MiB more.
#include "cli/heap.h"

#ifdef KEDGE_JEMALLOC
#include <jemalloc/jemalloc.h>

#include <cstddef>

// Read by jemalloc when it starts, before main. One arena: threads reach it only when what they keep at hand is used up
// or full, and each more would hold pages of its own for every size. Free pages go back to the system outright (no
// muzzy state, in which they still count as the process's).
extern "C" const char* malloc_conf;
const char* malloc_conf = "narenas:1,dirty_decay_ms:5000,muzzy_decay_ms:0";

void kedge::cli::release_thread_heap() noexcept { ::mallctl("thread.tcache.flush", nullptr, nullptr, nullptr, 0); }

void kedge::cli::release_free_heap() noexcept {
  static_assert(MALLCTL_ARENAS_ALL == 4096, "the number in the name below");
  release_thread_heap();
  ::mallctl("arena.4096.purge", nullptr, nullptr, nullptr, 0);
}

#else
#include <malloc.h>

void kedge::cli::release_thread_heap() noexcept {}  // glibc offers nothing for it
void kedge::cli::release_free_heap() noexcept { ::malloc_trim(0); }

#endif
