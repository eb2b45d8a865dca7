// proxied_page_fuzz.cc: pages of hostile pods: compressed bodies and links. However a page is cut, what comes out is
// the same, and without the prefixes it is what went in.
#include <cstddef>
#include <cstdint>

#include "base/assert.h"
#include "net/http/content_coding.h"
#include "supervisor/proxied_links.h"

namespace {

using namespace kedge;

constexpr std::string_view prefix = "/P";  // in no input: a 'P' is taken out first

std::string rewritten(std::string_view page, std::size_t piece) {
  supervisor::link_rewriter links({.prefix = std::string(prefix), .target = "", .request = ""});
  std::string out;
  for (std::size_t at = 0; at < page.size(); at += piece) links.feed(page.substr(at, piece), out);
  links.finish(out);
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 2, size - 2);
  std::string page;
  for (char c : text)
    if (c != 'P') page += c;
  const auto whole = rewritten(page, page.size() + 1);
  kedge_assert(rewritten(page, 1 + data[0]) == whole);
  std::string back = whole;
  for (std::size_t at = 0; (at = back.find(prefix, at)) != back.npos;) back.erase(at, prefix.size());
  kedge_assert(back == page);

  auto decoder = net::http::content_decoder::make(data[1] % 2 ? "gzip" : "deflate");
  std::string out;
  bytes rest = as_bytes(text);
  for (int steps = 0; steps < 64; ++steps) {  // a bomb is longer; it is the reader who stops
    const auto before = out.size();
    const auto left = rest.size();
    if (!decoder->next(rest, out)) break;
    kedge_assert(out.size() - before <= 64 * 1024);
    if (rest.size() == left && out.size() == before) break;
  }
  return 0;
}
