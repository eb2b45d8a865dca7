#include "api/read/list_answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "api/answer/gzip.h"
#include "api/answer/limits.h"
#include "api/read/limits.h"
#include "base/log.h"
#include "json/parse.h"
#include "json/write.h"
#include "reactor/loop.h"
#include "schema/protobuf.h"
#include "schema/types.h"

namespace kedge::api {
namespace {

json::value list_metadata(const page& p) {
  if (p.is_made) return json::object{};
  json::object m{{"resourceVersion", std::to_string(p.revision)}};
  if (!p.continue_token.empty()) {
    m.set("continue", p.continue_token);
    if (p.remaining >= 0) m.set("remainingItemCount", p.remaining);
  }
  return m;
}

// An answer that is made piece by piece: a small one leaves whole and with its length, a large one as it grows,
// compressed where the client takes it.
class growing_answer {
 public:
  growing_answer(net::http::exchange& e, reply& r, std::string content_type)
      : exchange_(e), reply_(r), type_(std::move(content_type)) {}

  std::string& text() noexcept { return text_; }
  bool started() const noexcept { return started_; }

  // After each addition to text(). False: nobody reads on.
  task<bool> flow() {
    co_await reactor::maybe_yield();
    co_return text_.size() < list_piece_bytes || co_await send(false);
  }
  task<void> finish() {
    if (!started_) co_return co_await send_text(exchange_, reply_, 200, std::move(text_), std::move(type_));
    if (co_await send(true)) (void)co_await exchange_.finish();
  }

 private:
  task<bool> send(bool last) {
    if (!std::exchange(started_, true)) {
      auto head = head_of(reply_, 200, type_);
      reply_.code = 200;
      if (reply_.gzip) {
        head.headers.add("Content-Encoding", "gzip");
        head.headers.add("Vary", "Accept-Encoding");
        gzip_ = std::make_unique<gzip_writer>();
      }
      if (!co_await exchange_.start(head)) co_return false;
    }
    auto piece = std::exchange(text_, {});
    if (!gzip_) {
      reply_.bytes += piece.size();
      co_return bool(co_await exchange_.write(piece));
    }
    std::string out;
    for (std::size_t at = 0; at < piece.size(); at += gzip_piece_bytes) {
      auto part = std::string_view(piece).substr(at, gzip_piece_bytes);
      if (!gzip_->add(part, last && at + part.size() == piece.size(), out)) {
        exchange_.abort();
        co_return false;
      }
      co_await reactor::maybe_yield();
    }
    reply_.bytes += out.size();
    co_return out.empty() || co_await exchange_.write(out);
  }

  net::http::exchange& exchange_;
  reply& reply_;
  std::string type_, text_;
  std::unique_ptr<gzip_writer> gzip_;
  bool started_ = false;
};

// ---- ready bytes

std::string list_opening(const served& s, const page& p) {
  auto out = s.list_head + std::to_string(p.revision) + "\"";
  if (!p.continue_token.empty()) {
    out += ",\"continue\":\"" + p.continue_token + "\"";
    if (p.remaining >= 0) out += ",\"remainingItemCount\":" + std::to_string(p.remaining);
  }
  out += "},\"items\":[";
  return out;
}

constexpr std::string_view first_item = "{", next_item = ",{", list_end = "]}\n";

// Items of built-in kinds go without kind and apiVersion: an opening brace and the rest. Custom resources go whole.
struct item_form {
  bool whole = false;
  std::string_view lead(bool first) const { return whole ? (first ? "" : ",") : first ? first_item : next_item; }
  std::string_view body(const store::object& o) const { return whole ? o.bytes() : o.item_tail(); }
};

bool larger_than(const page& p, std::size_t bytes) {
  std::size_t n = 0;
  return std::any_of(p.objects.begin(), p.objects.end(), [&](auto o) { return (n += o->bytes().size() + 2) > bytes; });
}

// Adds the item at `i` as spans over the object's own bytes; gives its size.
std::size_t gather(const page& p, item_form form, std::size_t i, std::vector<bytes>& out) {
  if (auto lead = form.lead(i == 0); !lead.empty()) out.push_back(as_bytes(lead));
  out.push_back(as_bytes(form.body(*p.objects[i])));
  return out.back().size();
}

std::size_t bytes_in(const std::vector<bytes>& parts) {
  std::size_t out = 0;
  for (auto& p : parts) out += p.size();
  return out;
}

task<void> send_ready_pieces(net::http::exchange& e, reply& r, const net::http::response& head, const page& p,
                             item_form form, std::string_view opening) {
  if (!co_await e.start(head)) co_return;
  std::vector<bytes> parts{as_bytes(opening)};
  for (std::size_t i = 0; i < p.objects.size();) {
    for (std::size_t n = 0, size = 0; i < p.objects.size() && n < list_piece_items && size < list_piece_bytes; ++i, ++n)
      size += gather(p, form, i, parts);
    if (!co_await e.write(parts)) co_return;
    r.bytes += bytes_in(parts);
    parts.clear();
    co_await reactor::maybe_yield();
  }
  const bytes end[] = {as_bytes(list_end)};
  if (!co_await e.write(end)) co_return;
  (void)co_await e.finish();
}

task<void> send_ready_compressed(net::http::exchange& e, reply& r, const page& p, item_form form,
                                 std::string_view opening) {
  growing_answer out(e, r, "application/json");
  out.text() = opening;
  for (std::size_t i = 0; i < p.objects.size(); ++i) {
    out.text() += form.lead(i == 0);
    out.text() += form.body(*p.objects[i]);
    if (!co_await out.flow()) co_return;
  }
  out.text() += list_end;
  co_await out.finish();
}

task<void> send_ready(net::http::exchange& e, reply& r, const served& s, const page& p) {
  const auto opening = list_opening(s, p);
  const item_form form{s.custom != nullptr};
  if (r.gzip && larger_than(p, gzip_min_bytes)) {
    co_await send_ready_compressed(e, r, p, form, opening);
    co_return;
  }
  r.code = 200;
  const auto head = head_of(r, 200, "application/json");
  if (p.objects.size() > list_piece_items) {
    co_await send_ready_pieces(e, r, head, p, form, opening);
    co_return;
  }
  std::vector<bytes> parts;
  parts.reserve(2 * p.objects.size() + 2);
  parts.push_back(as_bytes(opening));
  for (std::size_t i = 0; i < p.objects.size(); ++i) gather(p, form, i, parts);
  parts.push_back(as_bytes(list_end));
  r.bytes = bytes_in(parts);
  (void)co_await e.respond(head, parts);
}

// ---- made of values

bool only_metadata(const reply& r) { return r.as.as.as == shape::partial || r.as.as.as == shape::partial_list; }

std::string_view meta_version(const reply& r) { return r.as.as.v1beta1 ? "meta.k8s.io/v1beta1" : "meta.k8s.io/v1"; }

// One item as a client sees it in a list.
api_result<json::value> item_value(const served& s, const reply& r, const page& p, std::size_t i, wall_time now) {
  auto v = p.is_made ? result<json::value>(p.made[i]) : json::parse(p.objects[i]->bytes());
  if (!v)
    return fail(
        internal_error(fmt::format("the stored object {} can't be read: {}", p.objects[i]->key(), v.error().message)));
  if (only_metadata(r)) return partial_metadata(*v, r.as.as.v1beta1);
  if (r.as.as.as == shape::table) return table_row_of(s, *v, r.as, now);
  to_served(s, *v);
  if (!s.custom) {
    v->erase("kind");
    v->erase("apiVersion");
  }
  return *std::move(v);
}

json::value list_head_value(const served& s, const reply& r, const page& p) {
  json::value out;
  if (r.as.as.as == shape::table) {
    out = table_head(s, r.as.as.v1beta1, true);
  } else if (only_metadata(r)) {
    out = json::object{{"kind", "PartialObjectMetadataList"}, {"apiVersion", meta_version(r)}};
  } else {
    out = json::object{{"kind", s.list_kind}, {"apiVersion", s.api_version}};
  }
  out.set("metadata", list_metadata(p));
  return out;
}

// Too late for a Status once the answer has begun: then the client sees a broken stream.
task<void> give_up(net::http::exchange& e, reply& r, const growing_answer& out, status why) {
  if (!out.started()) co_return co_await send_status(e, r, why);
  log::error("a list breaks off: {}", why.message);
  e.abort();
}

// A list as text with a place for the items: rendered once around a mark.
class list_text {
 public:
  list_text(json::value head, std::string_view member, const media& as) : as_(as) {
    head.set(member, json::array{mark});
    auto all = encode_value(head, as_);
    auto place = place_in(all, member);
    opening = all.substr(0, place.first);
    closing = all.substr(place.second);
    json::value alone = json::object{{"items", json::array{mark}}};
    auto around = encode_value(alone, as_);
    place = place_in(around, "items");
    before_ = place.first;
    behind_ = around.size() - place.second;
    if (as_.format != wire::yaml) between = as_.pretty ? ",\n    " : ",";
  }

  std::string opening, between, closing;

  std::string item(json::value v) const {
    if (between == ",") return json::write(v);
    json::array one;
    one.push_back(std::move(v));
    json::value alone = json::object{{"items", std::move(one)}};
    auto text = encode_value(alone, as_);
    return text.substr(before_, text.size() - before_ - behind_);
  }

 private:
  static constexpr std::string_view mark = "the-items";
  // Where an item begins and ends. In JSON they come last; in YAML nothing else begins a line of the first column so.
  std::pair<std::size_t, std::size_t> place_in(std::string_view text, std::string_view member) const {
    if (as_.format != wire::yaml) {
      auto at = text.rfind(fmt::format("\"{}\"", mark));
      return {at, at + mark.size() + 2};
    }
    auto line = fmt::format("{}:\n- {}\n", member, mark);
    auto at = text.starts_with(line) ? 0 : text.find("\n" + line) + 1;
    return {at + member.size() + 2, at + line.size()};
  }

  const media& as_;
  std::size_t before_ = 0, behind_ = 0;
};

task<void> send_values(net::http::exchange& e, reply& r, const served& s, const page& p) {
  auto head = list_head_value(s, r, p);
  auto member = r.as.as.as == shape::table ? "rows" : "items";
  if (p.size() == 0) {
    head.set(member, json::array{});
    co_return co_await send_value(e, r, 200, head);
  }
  const list_text form(std::move(head), member, r.as.as);
  const auto now = reactor::loop::current().wall_now();
  growing_answer out(e, r, r.as.as.content_type());
  out.text() = form.opening;
  for (std::size_t i = 0; i < p.size(); ++i) {
    auto v = item_value(s, r, p, i, now);
    if (!v) co_return co_await give_up(e, r, out, std::move(v).error());
    if (i > 0) out.text() += form.between;
    out.text() += form.item(*std::move(v));
    if (!co_await out.flow()) co_return;
  }
  out.text() += form.closing;
  co_await out.finish();
}

// What this core keeps of lists that are encoded before their client takes them.
std::size_t& encoded_ahead() noexcept {
  thread_local std::size_t bytes = 0;
  return bytes;
}

// The items of a list in protobuf. Their length stands in front of them, so all are encoded before the first leaves.
// They are kept for that while there is room for them on this core; of the others the length alone is kept, and they
// are encoded anew when their turn comes: who asks for much and reads nothing has no more than a piece of it in memory.
class protobuf_items {
 public:
  protobuf_items(const served& s, const reply& r, const page& p)
      : served_(s), reply_(r), page_(p), type_(only_metadata(r) ? *partial_type() : s.type()) {}
  protobuf_items(const protobuf_items&) = delete;
  ~protobuf_items() { encoded_ahead() -= kept_bytes_; }

  std::size_t bytes() const noexcept { return bytes_; }

  api_result<void> measure(std::size_t i) {
    std::string item;
    KEDGE_CHECK(encode(i, item));
    bytes_ += item.size();
    if (kept_.size() < i || encoded_ahead() + item.size() > lists_encoded_ahead_bytes) return {};
    kept_bytes_ += item.size();
    encoded_ahead() += item.size();
    kept_.push_back(std::move(item));
    return {};
  }
  // After all were measured; each once, in order.
  api_result<void> put(std::size_t i, std::string& out) {
    if (i >= kept_.size()) return encode(i, out);
    out += kept_[i];
    kept_bytes_ -= kept_[i].size();
    encoded_ahead() -= kept_[i].size();
    kept_[i] = {};
    return {};
  }

 private:
  static const schema::type_info* partial_type() { return schema::find_type("meta/v1.PartialObjectMetadata"); }
  api_result<void> encode(std::size_t i, std::string& out) const {
    KEDGE_TRY(auto v, item_value(served_, reply_, page_, i, now_));
    if (auto put = schema::put_list_item(type_, v, out); !put) return fail(internal_error(put.error().message));
    return {};
  }

  const served& served_;
  const reply& reply_;
  const page& page_;
  const schema::type_info& type_;
  const wall_time now_ = reactor::loop::current().wall_now();
  std::vector<std::string> kept_;  // the first ones
  std::size_t bytes_ = 0, kept_bytes_ = 0;
};

task<void> send_protobuf(net::http::exchange& e, reply& r, const served& s, const page& p) {
  protobuf_items items(s, r, p);
  growing_answer out(e, r, r.as.as.content_type());
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (auto done = items.measure(i); !done) co_return co_await give_up(e, r, out, std::move(done).error());
    co_await reactor::maybe_yield();
  }
  const bool partial = only_metadata(r);
  out.text() = schema::list_opening(partial ? meta_version(r) : s.api_version,
                                    partial ? "PartialObjectMetadataList" : std::string_view(s.list_kind),
                                    list_metadata(p), items.bytes());
  for (std::size_t i = 0; i < p.size(); ++i) {
    if (auto done = items.put(i, out.text()); !done) co_return co_await give_up(e, r, out, std::move(done).error());
    if (!co_await out.flow()) co_return;
  }
  out.text() += schema::list_closing();
  co_await out.finish();
}

// The same list as one value, for who is told of answers.
task<void> tell_page(reply& r, const served& s, const page& p) {
  auto whole = list_head_value(s, r, p);
  const auto now = reactor::loop::current().wall_now();
  json::array items;
  items.reserve(p.size());
  for (std::size_t i = 0; i < p.size(); ++i) {
    auto v = item_value(s, r, p, i, now);
    if (v) items.push_back(*std::move(v));
    co_await reactor::maybe_yield();
  }
  whole.set(r.as.as.as == shape::table ? "rows" : "items", std::move(items));
  r.witness->answered(std::move(whole));
}

}  // namespace

task<void> send_page(net::http::exchange& e, reply& r, const served& s, page p) {
  auto& as = r.as.as;
  // An empty list of values tells of itself.
  if (r.witness && r.witness->wants_objects()) co_await tell_page(r, s, p);
  if (as.as == shape::partial)
    co_await send_status(e, r,
                         not_acceptable(fmt::format(
                             "you requested PartialObjectMetadata, but the requested object is a list (*{}.{}List)",
                             s.version, s.kind)));
  else if (as.plain_json() && p.ready && !p.is_made)
    co_await send_ready(e, r, s, p);
  else if (as.format == wire::protobuf && as.as != shape::table)
    co_await send_protobuf(e, r, s, p);
  else
    co_await send_values(e, r, s, p);
}

}  // namespace kedge::api
