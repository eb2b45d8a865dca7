#include "backup/save.h"

#include <optional>
#include <utility>
#include <vector>

#include "backup/limits.h"
#include "backup/writer.h"
#include "crypto/digest.h"
#include "datastore/log.h"
#include "reactor/offload.h"

namespace kedge::backup {

namespace {

// Rows of servers that live, the terms of leaders, and the lock of who changes keys.
constexpr std::string_view left_out_prefixes[] = {"/registry/masterleases/", "/kedge/terms/"};
constexpr std::string_view left_out_rows[] = {"/registry/health", "/kedge/secrets-encrypt", datastore::loss_name};

std::uint64_t count_of(const store::snapshot& s) {
  auto n = s.count("");
  for (auto p : left_out_prefixes) n -= s.count(p);
  for (auto r : left_out_rows) n -= s.find(r) ? 1 : 0;
  return n;
}

// The next block's objects, from `next` on, which moves; empty at the end.
std::vector<store::object_ref> take_block(const store::snapshot& s, std::optional<std::string>& next) {
  std::vector<store::object_ref> out;
  std::size_t bytes = 0, seen = 0;
  auto from = std::exchange(next, std::nullopt);
  s.scan("", *from, [&](const store::object_ref& o) {
    if (bytes >= block_bytes || out.size() == block_objects_max || ++seen > 2 * block_objects_max) {
      next = std::string(o->key());
      return false;
    }
    if (is_left_out(o->key())) return true;
    bytes += o->key().size() + o->bytes().size();
    out.push_back(o);
    return true;
  });
  return out;
}

}  // namespace

bool is_left_out(std::string_view key) {
  for (auto p : left_out_prefixes)
    if (key.starts_with(p)) return true;
  for (auto r : left_out_rows)
    if (key == r) return true;
  return false;
}

task<result<saved>> save(save_options o, store::snapshot s, std::shared_ptr<progress> told) {
  auto& loop = reactor::loop::current();
  auto key = crypto::random_bytes(loop.random(), file_key_bytes);
  o.about.created = loop.wall_now();
  o.about.revision = s.at();
  o.about.objects = count_of(s);
  KEDGE_CO_TRY(o.about.sealed_key, seal_key(key, o.password, loop.random()));
  told->of = o.about.objects;
  auto made = co_await reactor::offload([path = o.path, about = o.about, key]() -> result<std::shared_ptr<writer>> {
    KEDGE_TRY(auto w, writer::create(path, about, key));
    return std::make_shared<writer>(std::move(w));
  });
  if (!made) co_return fail(std::move(made).error());
  KEDGE_CO_CHECK(*made);
  auto out = **made;
  for (std::optional<std::string> next = ""; next;) {
    auto block = take_block(s, next);
    if (block.empty()) continue;
    auto count = block.size();
    auto added = co_await reactor::offload([out, block = std::move(block)]() mutable {
      // The pool keeps nothing of it once it has answered: a failure removes the file before it is told.
      return std::exchange(out, nullptr)->add(block);
    });
    if (!added) co_return fail(std::move(added).error());
    KEDGE_CO_CHECK(*added);
    told->objects += count;
  }
  auto whole = co_await reactor::offload([out]() mutable { return std::exchange(out, nullptr)->finish(); });
  if (!whole) co_return fail(std::move(whole).error());
  KEDGE_CO_CHECK(*whole);
  co_return saved{.bytes = **whole, .objects = told->objects, .revision = s.at()};
}

}  // namespace kedge::backup
