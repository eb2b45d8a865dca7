#include "control/applied_text.h"

#include <zlib.h>

#include <algorithm>
#include <iterator>

#include "base/strings.h"
#include "control/limits.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::control {

namespace {

constexpr std::size_t text_kept = 64;  // of a string: enough to tell that it was there
constexpr int gzip_window = 15 + 16;   // zlib's largest, in gzip's frame
// By these elements of lists are told apart, so they are kept whole.
constexpr std::string_view list_keys[] = {"apiVersion", "containerPort", "devicePath", "ip",          "kind",
                                          "mountPath",  "name",          "port",       "topologyKey", "type"};

json::value shortened(const json::value& v, bool in_list);

json::array shortened_list(const json::array& list) {
  json::array out;
  out.reserve(list.size());
  for (auto& e : list) out.push_back(e.is_string() ? e : shortened(e, true));
  return out;
}

// Members sorted, as Go writes a map.
json::value shortened(const json::value& v, bool in_list) {
  if (auto* list = v.array()) return shortened_list(*list);
  auto* object = v.object();
  if (!object) return v;
  std::vector<const json::member*> members;
  for (auto& m : *object) members.push_back(&m);
  std::ranges::sort(members, {}, &json::member::name);
  json::object out;
  out.reserve(members.size());
  for (auto* m : members) {
    auto text = m->value.string();
    const bool whole = in_list && std::ranges::find(list_keys, m->name) != std::end(list_keys);
    if (text && text->size() > text_kept && !whole)
      out.append(m->name, text->substr(0, text_kept));
    else
      out.append(m->name, text ? m->value : shortened(m->value, false));
  }
  return out;
}

std::string gzipped(std::string_view text) {
  z_stream z{};
  if (deflateInit2(&z, Z_DEFAULT_COMPRESSION, Z_DEFLATED, gzip_window, 8, Z_DEFAULT_STRATEGY) != Z_OK) return {};
  std::string out(deflateBound(&z, static_cast<uLong>(text.size())), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  const bool whole = deflate(&z, Z_FINISH) == Z_STREAM_END;
  out.resize(whole ? z.total_out : 0);
  deflateEnd(&z);
  return out;
}

std::string gunzipped(std::string_view data) {
  z_stream z{};
  if (inflateInit2(&z, gzip_window) != Z_OK) return {};
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  z.avail_in = static_cast<uInt>(data.size());
  std::string out;
  int state = Z_OK;
  while (state == Z_OK && out.size() <= applied_text_max_bytes) {
    auto had = out.size();
    out.resize(had + 64 * 1024);
    z.next_out = reinterpret_cast<Bytef*>(out.data() + had);
    z.avail_out = 64 * 1024;
    state = inflate(&z, Z_NO_FLUSH);
    out.resize(out.size() - z.avail_out);
  }
  inflateEnd(&z);
  return state == Z_STREAM_END && out.size() <= applied_text_max_bytes ? out : std::string();
}

}  // namespace

std::string to_applied_text(const json::value& object) {
  return base64_unpadded(as_bytes(gzipped(json::write(shortened(object, false)))));
}

json::value from_applied_text(std::string_view text) {
  std::string plain(text);
  if (!text.empty() && text.front() != '{') {
    auto data = unbase64(text);
    plain = data ? gunzipped(*data) : std::string();
  }
  auto v = plain.empty() ? json::parse("{}") : json::parse(plain);
  return v && v->is_object() ? *std::move(v) : json::value(json::object{});
}

}  // namespace kedge::control
