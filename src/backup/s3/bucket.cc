#include "backup/s3/bucket.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "backup/folder.h"
#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/files.h"
#include "crypto/hasher.h"
#include "net/http/proxied_network.h"
#include "reactor/offload.h"

namespace kedge::backup::s3 {

namespace {

constexpr std::size_t piece_bytes = 256 * 1024;      // of a file on its way
constexpr std::uint64_t put_bytes_max = 5ull << 30;  // what S3 takes as one object at once
constexpr int attempts = 4;
constexpr auto pause_first = std::chrono::milliseconds(300);
constexpr std::size_t list_bytes_max = 8 << 20;  // a page of 1,000 names
constexpr std::size_t items_max = 100'000;

// A file that is read or written on the pool.
struct open_file {
  explicit open_file(int f) : fd(f) {}
  open_file(const open_file&) = delete;
  open_file& operator=(const open_file&) = delete;
  ~open_file() {
    if (fd >= 0) ::close(fd);
  }
  int fd;
};

result<std::string> read_piece(int fd) {
  std::string out(piece_bytes, '\0');
  for (;;) {
    auto n = ::read(fd, out.data(), out.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(os_error(errno, "read the snapshot"));
    out.resize(static_cast<std::size_t>(n));
    return out;
  }
}

struct measured {
  std::uint64_t size = 0;
  std::string sha256;
};
result<measured> measure(const std::string& path) {
  open_file in(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (in.fd < 0) return fail(os_error(errno, "open " + path));
  measured out;
  crypto::sha256_hasher hasher;
  for (;;) {
    KEDGE_TRY(auto piece, read_piece(in.fd));
    if (piece.empty()) break;
    out.size += piece.size();
    hasher.update(piece);
  }
  out.sha256 = hasher.hex();
  return out;
}

std::string unescape(std::string_view text) {
  static constexpr std::pair<std::string_view, char> entities[] = {
      {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
  std::string out;
  while (!text.empty()) {
    auto known = std::ranges::find_if(entities, [&](auto& e) { return text.starts_with(e.first); });
    out += known == std::end(entities) ? text.front() : known->second;
    text.remove_prefix(known == std::end(entities) ? 1 : known->first.size());
  }
  return out;
}

// The text between <name> and </name>, from `at` on, which moves behind it; nullopt without one.
std::optional<std::string_view> element(std::string_view xml, std::string_view name, std::size_t& at) {
  auto open = fmt::format("<{}>", name), close = fmt::format("</{}>", name);
  auto from = xml.find(open, at);
  if (from == std::string_view::npos) return std::nullopt;
  from += open.size();
  auto to = xml.find(close, from);
  if (to == std::string_view::npos) return std::nullopt;
  at = to + close.size();
  return xml.substr(from, to - from);
}
std::string text_of(std::string_view xml, std::string_view name) {
  std::size_t at = 0;
  auto found = element(xml, name, at);
  return found ? unescape(*found) : std::string();
}

error refusal(int status, std::string_view body, const request& r) {
  auto code = text_of(body, "Code"), message = text_of(body, "Message");
  auto what = code.empty() ? std::to_string(status) : code + (message.empty() ? "" : ": " + message);
  auto kind = status == 404 ? errc::not_found : status == 403 || status == 401 ? errc::forbidden : errc::unavailable;
  return {kind, fmt::format("S3 at {} answers {} {} with {}", r.host, r.method, r.path, what)};
}

bool is_passing(const error& e) {
  return e.code == errc::refused || e.code == errc::closed || e.code == errc::timeout || e.code == errc::unavailable ||
         e.code == errc::protocol;
}

// Tries again what may go better the next time.
template <typename F>
auto persistently(F step) -> decltype(step()) {
  auto pause = duration(pause_first);
  for (int attempt = 1;; ++attempt, pause *= 2) {
    auto done = co_await step();
    if (done || attempt == attempts || !is_passing(done.error())) co_return done;
    co_await reactor::sleep_for(pause);
  }
}

// Who waits in vain is told for whom, and for how long.
template <typename T>
task<result<T>> in_time(task<result<T>> work, time_point deadline, const settings& s) {
  auto done = co_await reactor::with_deadline(std::move(work), deadline);
  if (!done && done.error().code == errc::timeout && reactor::loop::current().now() >= deadline)
    co_return fail(errc::timeout, fmt::format("S3 at {} is too slow: it was not done within {} (--etcd-s3-timeout)",
                                              s.endpoint, format_duration(s.timeout)));
  co_return done;
}

// A file that is written under another name first, and goes when it doesn't get its own.
struct half_file {
  std::string path;
  ~half_file() {
    if (!path.empty()) ::unlink(path.c_str());
  }
};

}  // namespace

result<listing> parse_listing(std::string_view xml) {
  if (xml.find("<ListBucketResult") == std::string_view::npos) return fail(errc::protocol, "S3's list is none");
  listing out;
  std::size_t at = 0;
  while (auto one = element(xml, "Contents", at)) {
    auto size = parse_uint(text_of(*one, "Size"));
    auto modified = parse_rfc3339(text_of(*one, "LastModified"));
    auto key = text_of(*one, "Key");
    if (key.empty() || !size || !modified) return fail(errc::protocol, "S3's list has an entry that is none");
    out.items.push_back({.name = std::move(key), .bytes = *size, .modified = *modified});
  }
  if (text_of(xml, "IsTruncated") == "true") out.next = text_of(xml, "NextContinuationToken");
  return out;
}

result<bucket> bucket::open(settings s) {
  KEDGE_CHECK(check(s));
  std::shared_ptr<net::tls_client_context> tls;
  if (!s.insecure) {
    net::tls_client_options options{.insecure = s.skip_verify, .chain_pem = {}, .key_pem = {}, .alpn = {"http/1.1"}};
    if (!s.ca_file.empty()) {
      auto pem = crypto::read_file(s.ca_file);
      if (!pem) return fail(std::move(pem).error().with("--etcd-s3-endpoint-ca: "));
      options.ca_pem = *std::move(pem);
    }
    KEDGE_TRY(tls, net::tls_client_context::make(options));
  }
  auto host = by_host_name(s) ? s.bucket + "." + s.endpoint : s.endpoint;
  KEDGE_TRY(auto where, net::http::parse_url((s.insecure ? "http://" : "https://") + host, std::move(tls)));
  std::shared_ptr<reactor::network> way;
  if (!s.proxy.empty()) {
    KEDGE_TRY(way,
              net::http::make_proxied_network({.url = s.proxy, .named_by = "--etcd-s3-proxy"}, reactor::os_network()));
    where.first.at.address = where.first.host;  // a name is the proxy's to look up
  }
  return bucket(std::move(s), std::move(where.first), std::move(way));
}

std::string bucket::key_of(const std::string& name) const {
  std::string key = "/";
  auto folder = std::string_view(settings_.folder);
  while (folder.starts_with('/')) folder.remove_prefix(1);
  while (folder.ends_with('/')) folder.remove_suffix(1);
  if (!folder.empty()) key += std::string(folder) + "/";
  return key + name;
}

request bucket::make(std::string method, const std::string& key) const {
  // A default port is no part of the host's name.
  auto host = to_.authority();
  if (auto port = std::string(":") + (settings_.insecure ? "80" : "443"); host.ends_with(port))
    host.resize(host.size() - port.size());
  return {.method = std::move(method),
          .host = std::move(host),
          .path = by_host_name(settings_) ? key : "/" + settings_.bucket + (key == "/" ? "" : key),
          .query = {},
          .headers = {},
          .payload_sha256 = std::string(empty_sha256)};
}

net::http::client_request bucket::sign_now(const request& r) const {
  net::http::client_request out{.to = to_, .method = r.method, .path = target_of(r), .headers = {}, .body = {}};
  out.authority = r.host;
  out.fresh = true;
  for (auto& [name, value] : sign(r, settings_.who, settings_.region, reactor::loop::current().wall_now()))
    out.headers.add(name, value);
  return out;
}

task<result<net::http::client_response>> bucket::ask(request r) {
  net::http::client client(way_.get());
  KEDGE_CO_TRY(auto answer, co_await client.fetch(sign_now(r), list_bytes_max));
  if (answer.status / 100 != 2) co_return fail(refusal(answer.status, answer.body, r));
  co_return answer;
}

task<result<void>> bucket::look() {
  auto deadline = reactor::loop::current().now() + settings_.timeout;
  auto asked = [this]() -> task<result<net::http::client_response>> { return ask(make("HEAD", "/")); };
  auto done = co_await in_time(persistently(asked), deadline, settings_);
  if (!done && done.error().code == errc::not_found)
    co_return fail(errc::not_found, fmt::format("bucket {} does not exist", settings_.bucket));
  if (!done) co_return fail(std::move(done).error());
  co_return result<void>();
}

task<result<void>> bucket::send_file(request r, std::string path, std::uint64_t size) {
  auto opened = co_await reactor::offload(
      [path] { return std::make_shared<open_file>(::open(path.c_str(), O_RDONLY | O_CLOEXEC)); });
  if (!opened) co_return fail(std::move(opened).error());
  auto in = *opened;
  if (in->fd < 0) co_return fail(os_error(errno, "open " + path));
  net::http::client client(way_.get());
  auto signed_request = sign_now(r);
  signed_request.streams = true;
  signed_request.length = size;
  KEDGE_CO_TRY(auto x, co_await client.open(std::move(signed_request)));
  for (std::uint64_t sent = 0; sent < size;) {
    auto piece = co_await reactor::offload([in] { return read_piece(in->fd); });
    if (!piece) co_return fail(std::move(piece).error());
    KEDGE_CO_CHECK(*piece);
    auto text = **std::move(piece);
    if (text.empty() || text.size() > size - sent) co_return fail(errc::conflict, path + " changed while it was sent");
    sent += text.size();
    bytes parts[] = {as_bytes(text)};
    // S3 that refuses answers before it has taken all: that answer says more than the connection's end.
    if (auto written = co_await x->write(parts); !written) break;
  }
  (void)co_await x->finish();
  KEDGE_CO_TRY(auto head, co_await x->head());
  auto status = head->status;
  KEDGE_CO_TRY(auto body, co_await x->read_all());
  if (status / 100 != 2) co_return fail(refusal(status, body, r));
  co_return result<void>();
}

task<result<void>> bucket::put(std::string path, std::string name,
                               std::vector<std::pair<std::string, std::string>> metadata) {
  auto deadline = reactor::loop::current().now() + settings_.timeout;
  auto about = co_await reactor::offload([path] { return measure(path); });
  if (!about) co_return fail(std::move(about).error());
  KEDGE_CO_CHECK(*about);
  if ((*about)->size > put_bytes_max)
    co_return fail(errc::too_large,
                   fmt::format("{} has {} bytes, and S3 takes {} at once", path, (*about)->size, put_bytes_max));
  auto r = make("PUT", key_of(name));
  r.payload_sha256 = (*about)->sha256;
  r.headers = {{"content-type", "application/octet-stream"}};
  for (auto& [key, value] : metadata) r.headers.emplace_back("x-amz-meta-" + key, value);
  auto size = (*about)->size;
  auto sent = [this, r, path, size]() -> task<result<void>> { return send_file(r, path, size); };
  co_return co_await in_time(persistently(sent), deadline, settings_);
}

task<result<void>> bucket::receive_file(request r, std::string path) {
  auto part = path + ".part";
  net::http::client client(way_.get());
  KEDGE_CO_TRY(auto x, co_await client.open(sign_now(r)));
  KEDGE_CO_TRY(auto head, co_await x->head());
  if (auto status = head->status; status / 100 != 2) {
    KEDGE_CO_TRY(auto body, co_await x->read_all());
    co_return fail(refusal(status, body, r));
  }
  ::unlink(part.c_str());
  auto out =
      std::make_shared<open_file>(::open(part.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (out->fd < 0) co_return fail(os_error(errno, "create " + part));
  half_file half{part};
  for (;;) {
    KEDGE_CO_TRY(auto piece, co_await x->read());
    auto text = std::string(as_text(piece.view()));
    if (text.empty()) break;
    auto written = co_await reactor::offload([out, text = std::move(text), part]() -> result<void> {
      for (std::string_view rest = text; !rest.empty();) {
        auto n = ::write(out->fd, rest.data(), rest.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return fail(os_error(errno, "write " + part));
        rest.remove_prefix(static_cast<std::size_t>(n));
      }
      return {};
    });
    if (!written) co_return fail(std::move(written).error());
    KEDGE_CO_CHECK(*written);
  }
  if (::rename(part.c_str(), path.c_str()) < 0) co_return fail(os_error(errno, "rename " + part));
  half.path.clear();
  co_return result<void>();
}

task<result<void>> bucket::get(std::string name, std::string path) {
  auto deadline = reactor::loop::current().now() + settings_.timeout;
  auto r = make("GET", key_of(name));
  auto got = [this, r, path]() -> task<result<void>> { return receive_file(r, path); };
  co_return co_await in_time(persistently(got), deadline, settings_);
}

task<result<std::vector<item>>> bucket::read_list(std::string prefix) {
  std::vector<item> out;
  auto begin = key_of("").substr(1);
  for (std::string next;;) {
    auto r = make("GET", "/");
    r.query = {{"list-type", "2"}, {"prefix", begin + prefix}};
    if (!next.empty()) r.query.emplace_back("continuation-token", next);
    KEDGE_CO_TRY(auto answer, co_await ask(std::move(r)));
    KEDGE_CO_TRY(auto page, parse_listing(answer.body));
    for (auto& i : page.items) {
      if (!i.name.starts_with(begin)) continue;
      i.name.erase(0, begin.size());
      if (i.name.find('/') == std::string::npos) out.push_back(std::move(i));  // K3s's metadata has a folder
    }
    next = page.next;
    if (next.empty() || out.size() > items_max) break;
  }
  std::ranges::sort(out, [](const item& a, const item& b) {
    return a.modified != b.modified ? a.modified > b.modified : a.name > b.name;
  });
  co_return out;
}

task<result<std::vector<item>>> bucket::list(std::string prefix) {
  auto deadline = reactor::loop::current().now() + settings_.timeout;
  auto read = [this, prefix]() -> task<result<std::vector<item>>> { return read_list(prefix); };
  co_return co_await in_time(persistently(read), deadline, settings_);
}

task<result<void>> bucket::remove(std::string name) {
  auto deadline = reactor::loop::current().now() + settings_.timeout;
  auto asked = [this, name]() -> task<result<net::http::client_response>> { return ask(make("DELETE", key_of(name))); };
  auto done = co_await in_time(persistently(asked), deadline, settings_);
  if (!done) co_return fail(std::move(done).error());
  co_return result<void>();
}

task<result<std::vector<std::string>>> bucket::prune(std::string prefix, std::size_t keep) {
  std::vector<std::string> gone;
  if (keep == 0) co_return gone;
  KEDGE_CO_TRY(auto all, co_await list(prefix));
  std::erase_if(all, [&](const item& i) { return !is_of(i.name, prefix); });
  for (std::size_t i = keep; i < all.size(); ++i) {
    KEDGE_CO_CHECK(co_await remove(all[i].name));
    gone.push_back(all[i].name);
  }
  co_return gone;
}

}  // namespace kedge::backup::s3
