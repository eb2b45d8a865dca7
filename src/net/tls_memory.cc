// tls_memory.cc: OpenSSL's record buffers out of a list of the thread's own.
//
// An idle connection holds no buffers (SSL_MODE_RELEASE_BUFFERS), so each request takes two of 16 KiB and gives them back:
// too large for the heap's own lists, and what it splits and joins for them costs more than the record's encryption.
#include <malloc.h>
#include <openssl/crypto.h>

#include <cstdlib>

#include "net/limits.h"

namespace kedge::net {
namespace {

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define KEDGE_PLAIN_BUFFERS 1  // so that the sanitizer sees every buffer's end
#endif
#endif

#ifndef KEDGE_PLAIN_BUFFERS
// A record with all that may stand around it, as OpenSSL rounds it; nothing else that OpenSSL takes often is of this size.
constexpr std::size_t from_bytes = tls_record_max_bytes, buffer_bytes = tls_record_max_bytes + 1024;

struct free_buffers {
  void* kept[tls_buffers_kept_max];
  std::size_t count = 0, most = tls_buffers_kept_max;
  ~free_buffers() {
    most = 0;  // OpenSSL's own end of the thread may come after
    while (count) std::free(kept[--count]);
  }
};
thread_local free_buffers buffers;

void* take(std::size_t size, const char*, int) {
  if (size <= from_bytes || size > buffer_bytes) return size ? std::malloc(size) : nullptr;
  return buffers.count ? buffers.kept[--buffers.count] : std::malloc(buffer_bytes);
}
void* take_again(void* p, std::size_t size, const char*, int) {
  if (size) return std::realloc(p, size);
  std::free(p);
  return nullptr;
}
void give_back(void* p, const char*, int) {
  if (p && buffers.count < buffers.most) {
    auto size = malloc_usable_size(p);
    if (size >= buffer_bytes && size < buffer_bytes + 64) {
      buffers.kept[buffers.count++] = p;
      return;
    }
  }
  std::free(p);
}

// Before anything of OpenSSL is used: it takes these once, or not at all, and then all is as it would be without them.
[[maybe_unused]] const int installed = CRYPTO_set_mem_functions(take, take_again, give_back);
#endif

}  // namespace

// Keeps this file in a program that is linked with the library.
void use_tls_memory() noexcept {}

}  // namespace kedge::net
