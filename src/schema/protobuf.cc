#include "schema/protobuf.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"
#include "base/protobuf_wire.h"
#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"
#include "schema/decode.h"
#include "schema/limits.h"
#include "schema/time_text.h"

namespace kedge::schema {

namespace {

std::unexpected<error> malformed(std::string_view what) {
  return fail(errc::invalid, "malformed protobuf in " + std::string(what));
}

// Messages of one kind of scalar: {string = 1}, {raw = 1}, {repeated items = 1}, Timestamp{seconds = 1, nanos = 2},
// IntOrString{type = 1, intVal = 2, strVal = 3}.
class message_reader {
 public:
  result<void> message(const type_info& type, std::string_view data, json::object& into, int depth) {
    if (depth > message_depth_max) return fail(errc::invalid, "protobuf message is nested too deep");
    wire::reader in(data);
    wire::field f;
    while (!in.at_end()) {
      if (!in.next(f)) return malformed(type.name());
      auto known = type.find_wire(f.id);
      if (!known) continue;
      if (known->is_inline()) {
        if (f.kind != wire::kind::bytes) return malformed(type.name());
        KEDGE_CHECK(message(*known->type(), f.data, into, depth + 1));
        continue;
      }
      if (++values_ > message_values_max) return fail(errc::too_large, "protobuf message holds too many values");
      KEDGE_CHECK(field(*known, f, into[known->name()], depth));
    }
    return {};
  }

 private:
  result<void> field(const field_info& info, const wire::field& f, json::value& v, int depth) {
    switch (info.shape()) {
      case shape::single: return element(info, f, v, depth);
      case shape::array: break;
      case shape::map:
      case shape::map_of_arrays: return entry(info, f, v, depth);
    }
    auto& a = v.make_array();
    if (info.wrapped_items()) return items(info, f, v);
    bool numbers =
        info.base() == base_type::int32 || info.base() == base_type::int64 || info.base() == base_type::boolean;
    if (numbers && f.kind == wire::kind::bytes) return packed(info, f.data, a);
    a.emplace_back();
    return element(info, f, a.back(), depth);
  }

  result<void> packed(const field_info& info, std::string_view data, json::array& a) {
    wire::reader in(data);
    while (!in.at_end()) {
      wire::field f;
      if (!in.varint(f.number)) return malformed(info.name());
      if (++values_ > message_values_max) return fail(errc::too_large, "protobuf message holds too many values");
      a.emplace_back();
      KEDGE_CHECK(element(info, f, a.back(), 0));
    }
    return {};
  }

  // {repeated string items = 1}
  result<void> items(const field_info& info, const wire::field& f, json::value& v) {
    if (f.kind != wire::kind::bytes) return malformed(info.name());
    auto& a = v.make_array();
    wire::reader in(f.data);
    wire::field item;
    while (!in.at_end()) {
      if (!in.next(item)) return malformed(info.name());
      if (item.id != 1) continue;
      if (item.kind != wire::kind::bytes) return malformed(info.name());
      if (++values_ > message_values_max) return fail(errc::too_large, "protobuf message holds too many values");
      a.emplace_back(item.data);
    }
    return {};
  }

  result<void> entry(const field_info& info, const wire::field& f, json::value& v, int depth) {
    if (f.kind != wire::kind::bytes) return malformed(info.name());
    wire::reader in(f.data);
    wire::field part;
    std::string_view key;
    wire::field content{2, wire::kind::bytes, 0, {}};
    while (!in.at_end()) {
      if (!in.next(part)) return malformed(info.name());
      if (part.id == 1) {
        if (part.kind != wire::kind::bytes) return malformed(info.name());
        key = part.data;
      } else if (part.id == 2) {
        content = part;
      }
    }
    auto& slot = v.make_object()[key];
    slot = nullptr;  // the last entry of a key wins
    return info.shape() == shape::map ? element(info, content, slot, depth) : items(info, content, slot);
  }

  result<void> element(const field_info& info, const wire::field& f, json::value& v, int depth) {
    bool number = f.kind == wire::kind::varint;
    switch (info.base()) {
      case base_type::boolean:
        if (!number) return malformed(info.name());
        v = f.number != 0;
        return {};
      case base_type::int32:
        if (!number) return malformed(info.name());
        v = static_cast<std::int64_t>(static_cast<std::int32_t>(f.number));
        return {};
      case base_type::int64:
        if (!number) return malformed(info.name());
        v = static_cast<std::int64_t>(f.number);
        return {};
      case base_type::float64:
        if (f.kind != wire::kind::fixed64) return malformed(info.name());
        v = std::bit_cast<double>(f.number);
        return {};
      default: break;
    }
    if (f.kind != wire::kind::bytes) return malformed(info.name());
    switch (info.base()) {
      case base_type::structure: return message(*info.type(), f.data, v.make_object(), depth + 1);
      case base_type::string: v = f.data; return {};
      case base_type::bytes: v = base64(as_bytes(f.data)); return {};
      case base_type::quantity: return quantity(info, f.data, v);
      case base_type::time:
      case base_type::micro_time: return time(info, f.data, v);
      case base_type::int_or_string: return int_or_string(info, f.data, v);
      case base_type::raw_extension:
      case base_type::fields_v1:
      case base_type::any_json: return raw(info, f.data, v, depth);
      case base_type::schema_or_array:
      case base_type::schema_or_bool:
      case base_type::schema_or_strings: return either(info, f.data, v, depth);
      default: return malformed(info.name());
    }
  }

  result<void> quantity(const field_info& info, std::string_view data, json::value& v) {
    wire::reader in(data);
    wire::field f;
    std::string_view text;
    while (!in.at_end()) {
      if (!in.next(f)) return malformed(info.name());
      if (f.id == 1) text = f.data;
    }
    if (text.empty()) text = "0";
    KEDGE_TRY(auto canonical, canonical_quantity(text));
    v = std::move(canonical);
    return {};
  }

  result<void> time(const field_info& info, std::string_view data, json::value& v) {
    wire::reader in(data);
    wire::field f;
    instant t;
    while (!in.at_end()) {
      if (!in.next(f)) return malformed(info.name());
      if (f.id == 1) t.seconds = static_cast<std::int64_t>(f.number);
      if (f.id == 2) t.nanos = static_cast<std::int32_t>(f.number);
    }
    // Without what the text cannot say, so that it is written back as the same time.
    const bool micro = info.base() == base_type::micro_time;
    t.nanos = micro ? std::clamp(t.nanos, 0, 999'999'999) / 1000 * 1000 : 0;
    // Go reads the empty message as "no time", and so never tells 1970-01-01T00:00:00Z from it.
    if ((t.seconds == 0 && t.nanos == 0) || is_zero(t))
      v = nullptr;
    else
      v = time_text(t, micro);
    return {};
  }

  result<void> int_or_string(const field_info& info, std::string_view data, json::value& v) {
    wire::reader in(data);
    wire::field f;
    bool is_string = false;
    std::int32_t n = 0;
    std::string_view text;
    while (!in.at_end()) {
      if (!in.next(f)) return malformed(info.name());
      if (f.id == 1) is_string = f.number == 1;
      if (f.id == 2) n = static_cast<std::int32_t>(f.number);
      if (f.id == 3) text = f.data;
    }
    if (is_string)
      v = text;
    else
      v = static_cast<std::int64_t>(n);
    return {};
  }

  result<void> raw(const field_info& info, std::string_view data, json::value& v, int depth) {
    wire::reader in(data);
    wire::field f;
    std::string_view text;
    while (!in.at_end()) {
      if (!in.next(f)) return malformed(info.name());
      if (f.id == 1) text = f.data;
    }
    v = nullptr;
    if (text.empty()) return {};
    if (is_protobuf(text)) {  // a typed client puts whole objects into a RawExtension
      if (depth > message_depth_max / 2) return fail(errc::invalid, "protobuf message is nested too deep");
      KEDGE_TRY(auto inner, open_envelope(text));
      auto type = find_kind(inner.api_version, inner.kind);
      if (!type) return fail(errc::unsupported, "no built-in kind " + quote(inner.kind));
      auto& o = v.make_object();
      o.set("kind", inner.kind);
      o.set("apiVersion", inner.api_version);
      return message(*type, inner.raw, o, depth + 2);
    }
    KEDGE_TRY(auto parsed, json::parse(text));
    v = std::move(parsed);
    return {};
  }

  // JSONSchemaPropsOrArray{schema = 1, repeated jSONSchemas = 2}, …OrBool{allows = 1, schema = 2},
  // …OrStringArray{schema = 1, repeated property = 2}.
  result<void> either(const field_info& info, std::string_view data, json::value& v, int depth) {
    wire::reader in(data);
    wire::field f;
    int schema_id = info.base() == base_type::schema_or_bool ? 2 : 1;
    json::value schema, other;
    if (info.base() == base_type::schema_or_bool) other = false;
    if (info.base() == base_type::schema_or_strings) other.make_array();
    while (!in.at_end()) {
      if (!in.next(f)) return malformed(info.name());
      if (++values_ > message_values_max) return fail(errc::too_large, "protobuf message holds too many values");
      if (f.id == schema_id) {
        if (f.kind != wire::kind::bytes) return malformed(info.name());
        KEDGE_CHECK(message(*info.type(), f.data, schema.make_object(), depth + 1));
      } else if (f.id == 1) {
        other = f.number != 0;
      } else if (f.id == 2 && info.base() == base_type::schema_or_strings) {
        other.push_back(f.data);
      } else if (f.id == 2) {
        json::value one;
        KEDGE_CHECK(message(*info.type(), f.data, one.make_object(), depth + 1));
        other.push_back(std::move(one));
      }
    }
    v = schema.is_null() ? std::move(other) : std::move(schema);
    return {};
  }

  std::size_t values_ = 0;
};

// gogo/protobuf writes a field that is no pointer always, empty or not; pointers, lists and maps only when they are
// there.
class message_writer {
 public:
  explicit message_writer(std::string& out) : out_(out) {}
  error why;

  bool message(const type_info& type, const json::value& v, int depth = 0) {
    if (!v.is_object() && !v.is_null()) return wrong(type.name());
    if (depth > message_depth_max) return wrong(type.name());
    auto all = type.fields();
    for (auto p : type.wire_order()) {
      auto& f = all[p];
      if (f.is_inline()) {
        if (!wire::put_message(f.proto(), out_, [&] { return message(*f.type(), v, depth + 1); })) return false;
      } else if (!field(f, v[f.name()], depth)) {
        return false;
      }
    }
    return true;
  }

 private:
  bool wrong(std::string_view name) {
    why = {errc::invalid, "value of " + std::string(name) + " does not fit its type"};
    return false;
  }

  bool field(const field_info& f, const json::value& v, int depth) {
    switch (f.shape()) {
      case shape::single:
        if (v.is_null() && (f.pointer() || f.base() == base_type::bytes)) return true;
        return element(f, f.proto(), v, depth);
      case shape::array: {
        if (v.is_null()) return true;
        auto a = v.array();
        if (!a) return wrong(f.name());
        if (f.wrapped_items()) return items(f, f.proto(), v);
        for (auto& e : *a)
          if (!element(f, f.proto(), e, depth)) return false;
        return true;
      }
      case shape::map:
      case shape::map_of_arrays: break;
    }
    if (v.is_null()) return true;
    auto o = v.object();
    if (!o) return wrong(f.name());
    for (auto& m : *o) {
      bool ok = wire::put_message(f.proto(), out_, [&] {
        wire::put_bytes(1, m.name, out_);
        if (f.shape() == shape::map_of_arrays) return items(f, 2, m.value);
        if (f.base() == base_type::bytes && m.value.is_null()) return true;
        return element(f, 2, m.value, depth);
      });
      if (!ok) return false;
    }
    return true;
  }

  bool items(const field_info& f, int id, const json::value& v) {
    return wire::put_message(id, out_, [&] {
      auto a = v.array();
      if (!a) return v.is_null() || wrong(f.name());
      for (auto& e : *a) wire::put_bytes(1, e.as_string(), out_);
      return true;
    });
  }

  bool element(const field_info& f, int id, const json::value& v, int depth) {
    switch (f.base()) {
      case base_type::structure: return wire::put_message(id, out_, [&] { return message(*f.type(), v, depth + 1); });
      case base_type::string:
        if (!v.is_string() && !v.is_null()) return wrong(f.name());
        wire::put_bytes(id, v.as_string(), out_);
        return true;
      case base_type::boolean:
        if (!v.is_bool() && !v.is_null()) return wrong(f.name());
        wire::put_number(id, v.as_bool(), out_);
        return true;
      case base_type::int32:
      case base_type::int64:
        if (!v.is_integer() && !v.is_null()) return wrong(f.name());
        wire::put_number(id, static_cast<std::uint64_t>(v.as_integer()), out_);
        return true;
      case base_type::float64:
        if (!v.is_number() && !v.is_null()) return wrong(f.name());
        wire::put_fixed64(id, std::bit_cast<std::uint64_t>(v.as_number()), out_);
        return true;
      case base_type::bytes: {
        auto decoded = unbase64(v.as_string());
        if (!decoded) return wrong(f.name());
        wire::put_bytes(id, *decoded, out_);
        return true;
      }
      case base_type::quantity:
        return wire::put_message(id, out_, [&] {
          wire::put_bytes(1, v.as_string("0"), out_);
          return true;
        });
      case base_type::time:
      case base_type::micro_time: return wire::put_message(id, out_, [&] { return time(f, v); });
      case base_type::int_or_string:
        return wire::put_message(id, out_, [&] {
          wire::put_number(1, v.is_string(), out_);
          wire::put_number(2, static_cast<std::uint64_t>(v.as_integer()), out_);
          wire::put_bytes(3, v.as_string(), out_);
          return true;
        });
      case base_type::raw_extension:
      case base_type::fields_v1:
      case base_type::any_json:
        return wire::put_message(id, out_, [&] {
          if (!v.is_null() || f.base() == base_type::any_json) wire::put_bytes(1, json::write(v), out_);
          return true;
        });
      case base_type::schema_or_array:
      case base_type::schema_or_bool:
      case base_type::schema_or_strings: return wire::put_message(id, out_, [&] { return either(f, v, depth); });
    }
    return wrong(f.name());
  }

  bool time(const field_info& f, const json::value& v) {
    if (v.is_null()) return true;
    auto t = parse_time_text(v.as_string(), f.base() == base_type::micro_time);
    if (!t) return wrong(f.name());
    if (is_zero(*t)) return true;
    wire::put_number(1, static_cast<std::uint64_t>(t->seconds), out_);
    wire::put_number(2, f.base() == base_type::micro_time ? static_cast<std::uint64_t>(t->nanos) : 0, out_);
    return true;
  }

  bool either(const field_info& f, const json::value& v, int depth) {
    bool with_bool = f.base() == base_type::schema_or_bool;
    if (with_bool) wire::put_number(1, v.is_bool() ? v.as_bool() : v.is_object(), out_);
    auto schema = [&](int id, const json::value& s) {
      return wire::put_message(id, out_, [&] { return message(*f.type(), s, depth + 1); });
    };
    if (v.is_object()) return schema(with_bool ? 2 : 1, v);
    if (auto a = v.array())
      for (auto& e : *a) {
        if (f.base() == base_type::schema_or_strings)
          wire::put_bytes(2, e.as_string(), out_);
        else if (!schema(2, e))
          return false;
      }
    return true;
  }

  std::string& out_;
};

result<json::value> read_object(const type_info& type, std::string_view raw, std::string_view api_version,
                                std::string_view kind) {
  json::value v;
  auto& o = v.make_object();
  if (!kind.empty()) o.set("kind", kind);
  if (!api_version.empty()) o.set("apiVersion", api_version);
  KEDGE_CHECK(message_reader().message(type, raw, o, 0));
  normalise(type, v);
  return v;
}

}  // namespace

result<envelope> open_envelope(std::string_view data) {
  if (!is_protobuf(data))
    return fail(errc::invalid,
                "provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]");
  wire::reader in(data.substr(protobuf_magic.size()));
  wire::field f;
  envelope e;
  while (!in.at_end()) {
    if (!in.next(f)) return malformed("runtime.Unknown");
    if (f.kind != wire::kind::bytes) continue;
    if (f.id == 2) e.raw = f.data;
    if (f.id == 3) e.content_encoding = f.data;
    if (f.id == 4) e.content_type = f.data;
    if (f.id != 1) continue;
    wire::reader meta(f.data);
    wire::field part;
    while (!meta.at_end()) {
      if (!meta.next(part)) return malformed("runtime.TypeMeta");
      if (part.id == 1) e.api_version = part.data;
      if (part.id == 2) e.kind = part.data;
    }
  }
  return e;
}

namespace {

// Up to where `raw_bytes` of the message follow.
std::string open_envelope(std::string_view api_version, std::string_view kind, std::size_t raw_bytes) {
  std::string out(protobuf_magic);
  wire::put_message(1, out, [&] {
    wire::put_bytes(1, api_version, out);
    wire::put_bytes(2, kind, out);
    return true;
  });
  wire::put_tag(2, wire::kind::bytes, out);
  wire::put_varint(raw_bytes, out);
  return out;
}

void close_envelope(std::string& out) {
  wire::put_bytes(3, {}, out);
  wire::put_bytes(4, {}, out);
}

}  // namespace

std::string seal_envelope(std::string_view api_version, std::string_view kind, std::string_view raw) {
  auto out = open_envelope(api_version, kind, raw.size());
  out += raw;
  close_envelope(out);
  return out;
}

result<json::value> from_protobuf(const type_info& type, std::string_view message) {
  return read_object(type, message, {}, {});
}

result<std::string> to_protobuf(const type_info& type, const json::value& v) {
  std::string out;
  message_writer w(out);
  if (!w.message(type, v)) return fail(std::move(w.why));
  return out;
}

result<json::value> decode_object(std::string_view data, const type_info* otherwise) {
  KEDGE_TRY(auto e, open_envelope(data));
  auto type = find_kind(e.api_version, e.kind);
  // Options are registered in every group version ("apps/v1, Kind=DeleteOptions"): the kind's name is what counts.
  if (!type && otherwise && (e.kind.empty() || e.kind == otherwise->go_name())) type = otherwise;
  if (!type)
    return fail(errc::unsupported, "no kind " + quote(e.kind) + " is registered for version " + quote(e.api_version));
  if (!e.content_encoding.empty()) return fail(errc::unsupported, "content encoding " + quote(e.content_encoding));
  return read_object(*type, e.raw, e.api_version, e.kind);
}

result<std::string> encode_object(const json::value& v) {
  auto api_version = v["apiVersion"].as_string(), kind = v["kind"].as_string();
  auto type = find_kind(api_version, kind);
  if (!type)
    return fail(errc::unsupported, "no kind " + quote(kind) + " is registered for version " + quote(api_version));
  KEDGE_TRY(auto raw, to_protobuf(*type, v));
  return seal_envelope(api_version, kind, raw);
}

result<void> put_list_item(const type_info& type, const json::value& v, std::string& out) {
  KEDGE_TRY(auto message, to_protobuf(type, v));
  wire::put_bytes(2, message, out);
  return {};
}

std::string list_opening(std::string_view api_version, std::string_view list_kind, const json::value& list_metadata,
                         std::size_t item_bytes) {
  std::string head;
  auto metadata = to_protobuf(*find_type("meta/v1.ListMeta"), list_metadata);
  wire::put_bytes(1, metadata ? *metadata : std::string(), head);
  return open_envelope(api_version, list_kind, head.size() + item_bytes) + head;
}

std::string list_closing() {
  std::string out;
  close_envelope(out);
  return out;
}

std::string watch_frame(std::string_view event_type, std::string_view object) {
  std::string message;
  wire::put_bytes(1, event_type, message);
  wire::put_message(2, message, [&] {
    wire::put_bytes(1, object, message);
    return true;
  });
  std::string frame;
  append_be32(frame, static_cast<std::uint32_t>(message.size()));
  return frame += message;
}

}  // namespace kedge::schema
