#include "api/answer/encode.h"

#include <fmt/format.h>

#include <deque>
#include <unordered_map>

#include "api/answer/limits.h"
#include "api/custom/codec.h"
#include "api/printers/printer.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/decode.h"
#include "schema/protobuf.h"

namespace kedge::api {
namespace {

std::string_view meta_version(bool v1beta1) { return v1beta1 ? "meta.k8s.io/v1beta1" : "meta.k8s.io/v1"; }

// A bounded map that forgets its oldest entry. One per core and kind of thing.
template <typename Value>
class recent {
 public:
  explicit recent(std::size_t capacity) : capacity_(capacity) {}
  const Value* find(const std::string& key) const {
    auto it = map_.find(key);
    return it == map_.end() ? nullptr : &it->second;
  }
  void put(std::string key, Value v) {
    if (order_.size() >= capacity_) {
      map_.erase(order_.front());
      order_.pop_front();
    }
    if (map_.emplace(key, std::move(v)).second) order_.push_back(std::move(key));
  }

 private:
  std::size_t capacity_;
  std::unordered_map<std::string, Value> map_;
  std::deque<std::string> order_;
};

struct cached_frame {
  store::object_ref object;  // keeps the address from being used again
  std::shared_ptr<const std::string> text;
};
struct cached_value {
  store::object_ref object;
  std::shared_ptr<const json::value> value;
};

recent<cached_frame>& frames() {
  thread_local recent<cached_frame> one(frame_cache_entries);
  return one;
}
recent<cached_value>& values() {
  thread_local recent<cached_value> one(parsed_cache_entries);
  return one;
}

std::string address_key(const void* p) { return std::string(reinterpret_cast<const char*>(&p), sizeof p); }

}  // namespace

api_result<include_object> parse_include_object(std::string_view text) {
  if (text.empty() || text == "Metadata") return include_object::metadata;
  if (text == "Object") return include_object::object;
  if (text == "None") return include_object::none;
  return fail(
      bad_request(fmt::format("Unable to convert to Table as requested: includeObject: Invalid value: {}: must be "
                              "'Metadata', 'Object', 'None', or empty",
                              quote(text))));
}

std::string encode_value(const json::value& v, const media& as) {
  switch (as.format) {
    case wire::yaml: return json::write_yaml(v);
    case wire::protobuf:
      if (auto bytes = schema::encode_object(v)) return *std::move(bytes);
      break;  // what has no message goes as JSON inside of no envelope: only metadata forms of newer clients come here
    case wire::json: break;
  }
  auto out = as.pretty ? json::write_indented(v, 2) : json::write(v);
  out += '\n';
  return out;
}

void to_served(const served& s, json::value& v) {
  if (s.custom) return custom::bring_to(s, v);
  if (!s.from_stored) return;
  s.from_stored(v);
  v.set("kind", s.kind);
  v.set("apiVersion", s.api_version);
  schema::normalise(s.type(), v);
}

bool is_ready(const served& s, const store::object& o) noexcept {
  return s.custom ? custom::is_ready(s, o) : s.native();
}

api_result<json::value> served_value(const served& s, const store::object& o) {
  auto v = json::parse(o.bytes());
  if (!v)
    return fail(internal_error(fmt::format("the stored object {} can't be read: {}", o.key(), v.error().message)));
  to_served(s, *v);
  return *std::move(v);
}

json::value partial_metadata(const json::value& object, bool v1beta1) {
  return json::object{
      {"kind", "PartialObjectMetadata"}, {"apiVersion", meta_version(v1beta1)}, {"metadata", object["metadata"]}};
}

json::value table_head(const served& s, bool v1beta1, bool with_columns) {
  json::object out{{"kind", "Table"}, {"apiVersion", meta_version(v1beta1)}, {"metadata", json::object{}}};
  if (with_columns) {
    json::array columns;
    for (auto& c : s.columns)
      columns.emplace_back(json::object{{"name", c.name},
                                        {"type", c.type},
                                        {"format", c.format},
                                        {"description", c.description},
                                        {"priority", c.priority}});
    out.set("columnDefinitions", std::move(columns));
  } else {
    out.set("columnDefinitions", nullptr);
  }
  out.set("rows", json::array{});
  return out;
}

json::value table_row_of(const served& s, const json::value& stored_form, const view& v, wall_time now) {
  table_row row;
  if (s.custom)
    row.cells = custom::cells(s, stored_form, now);
  else
    row = printer_of(s.stored->group, s.stored->resource)(stored_form, now);
  row.cells.resize(s.columns.size());
  json::object out{{"cells", std::move(row.cells)}};
  if (!row.conditions.empty()) out.set("conditions", std::move(row.conditions));
  switch (v.include) {
    case include_object::none: out.set("object", nullptr); break;
    case include_object::metadata: out.set("object", partial_metadata(stored_form, v.as.v1beta1)); break;
    case include_object::object: {
      auto whole = stored_form;
      to_served(s, whole);
      out.set("object", std::move(whole));
      break;
    }
  }
  return out;
}

json::value shape_object(const served& s, json::value stored_form, const view& v, wall_time now, bool with_columns) {
  switch (v.as.as) {
    case shape::whole: to_served(s, stored_form); return stored_form;
    case shape::partial:
    case shape::partial_list: return partial_metadata(stored_form, v.as.v1beta1);
    case shape::table: {
      auto table = table_head(s, v.as.v1beta1, with_columns);
      table.member("metadata").set("resourceVersion", stored_form["metadata"]["resourceVersion"]);
      table.member("rows").push_back(table_row_of(s, stored_form, v, now));
      return table;
    }
  }
  return stored_form;
}

std::string watch_frame_of(std::string_view type, const json::value& object, const media& as) {
  if (as.format == wire::protobuf) {
    auto bytes = schema::encode_object(object);
    return schema::watch_frame(type, bytes ? *bytes : std::string());
  }
  std::string out = fmt::format("{{\"type\":\"{}\",\"object\":", type);
  json::write(object, out);
  out += "}\n";
  return out;
}

namespace {

std::shared_ptr<const std::string> make_watch_frame(const served& s, std::string_view type, const store::object_ref& o,
                                                    const view& v, wall_time now, bool with_columns,
                                                    store::revision shown) {
  auto as_shown = shown ? store::with_revision(*o, shown) : o;
  if (!v.as.plain_json() || !is_ready(s, *o))
    return std::make_shared<const std::string>(
        watch_frame_of(type, shape_object(s, *parsed(as_shown), v, now, with_columns), v.as));
  std::string out;
  out.reserve(as_shown->bytes().size() + 40);
  out += "{\"type\":\"";
  out += type;
  out += "\",\"object\":";
  out += as_shown->bytes();
  out += "}\n";
  return std::make_shared<const std::string>(std::move(out));
}

}  // namespace

std::shared_ptr<const std::string> watch_frame(const served& s, std::string_view type, const store::object_ref& o,
                                               const view& v, wall_time now, bool with_columns, store::revision shown) {
  // Ages in Table cells change by the second, so such a frame is shared for a second.
  auto key = address_key(&*o);
  key += static_cast<char>(type[0]);
  key += static_cast<char>(v.as.format);
  key += static_cast<char>(v.as.as);
  key += static_cast<char>(v.include);
  key += with_columns ? '1' : '0';
  key += v.as.v1beta1 ? '1' : '0';
  key += s.api_version;
  if (s.custom) key += address_key(s.custom->owner);
  if (v.as.as == shape::table) key += std::to_string(now.time_since_epoch() / std::chrono::seconds(1));
  if (auto found = frames().find(key)) return found->text;
  auto text = make_watch_frame(s, type, o, v, now, with_columns, shown);
  frames().put(std::move(key), {o, text});
  return text;
}

std::shared_ptr<const json::value> parsed(const store::object_ref& o) {
  auto key = address_key(&*o);
  if (auto found = values().find(key)) return found->value;
  auto v = json::parse(o->bytes());
  auto shared = std::make_shared<const json::value>(v ? *std::move(v) : json::value(json::object{}));
  values().put(std::move(key), {o, shared});
  return shared;
}

}  // namespace kedge::api
