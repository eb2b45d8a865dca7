#include "node/dns/message.h"

#include <algorithm>

#include "base/strings.h"
#include "node/dns/limits.h"

namespace kedge::node::dns {

namespace {

constexpr std::uint16_t class_in = 1;
constexpr std::size_t header_bytes = 12;

// Reads forward; every step says whether there was enough.
class reader {
 public:
  explicit reader(bytes all, std::size_t at = 0) : all_(all), at_(at) {}
  std::size_t at() const noexcept { return at_; }
  bool u16(std::uint16_t& v) {
    if (all_.size() < at_ + 2) return false;
    v = load_be16(all_.data() + at_);
    at_ += 2;
    return true;
  }
  bool u32(std::uint32_t& v) {
    if (all_.size() < at_ + 4) return false;
    v = load_be32(all_.data() + at_);
    at_ += 4;
    return true;
  }
  bool skip(std::size_t n) {
    if (all_.size() - at_ < n) return false;
    at_ += n;
    return true;
  }
  // A name in text, lower-case. `pointers`: compressed names are followed, each further back than the one before, so
  // that it ends.
  bool name(std::string& text, bool pointers) {
    text.clear();
    std::size_t wire = 1, here = at_, earliest = at_;
    bool jumped = false;
    for (;;) {
      if (here >= all_.size()) return false;
      auto length = std::to_integer<std::size_t>(all_[here]);
      if ((length & 0xc0) == 0xc0) {
        if (!pointers || here + 1 >= all_.size()) return false;
        auto to = (length & 0x3f) << 8 | std::to_integer<std::size_t>(all_[here + 1]);
        if (!jumped) at_ = here + 2;
        jumped = true;
        if (to >= earliest) return false;
        here = earliest = to;
        continue;
      }
      if (length > label_bytes_max) return false;
      ++here;
      if (length == 0) break;
      wire += length + 1;
      if (wire > name_bytes_max || all_.size() - here < length) return false;
      if (!text.empty()) text += '.';
      for (auto b : all_.subspan(here, length)) {
        auto c = static_cast<char>(b);
        if (c == '.' || c == '\\') text += '\\';
        text += c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
      }
      here += length;
    }
    if (!jumped) at_ = here;
    return true;
  }

 private:
  bytes all_;
  std::size_t at_;
};

struct raw_record {
  std::string owner;
  std::uint16_t type = 0, klass = 0;
  std::uint32_t ttl = 0;
  std::size_t ttl_at = 0, data_at = 0, length = 0;
};

bool read_record(reader& r, raw_record& out, bool pointers) {
  std::uint16_t length = 0;
  if (!r.name(out.owner, pointers) || !r.u16(out.type) || !r.u16(out.klass)) return false;
  out.ttl_at = r.at();
  if (!r.u32(out.ttl) || !r.u16(length)) return false;
  out.data_at = r.at();
  out.length = length;
  return r.skip(length);
}

std::string wire_of(std::string_view text) { return name::to_wire(text).value_or(std::string(1, '\0')); }

}  // namespace

std::optional<std::string> name::to_wire(std::string_view text) {
  std::string out, label;
  auto end_label = [&] {
    if (label.empty() || label.size() > label_bytes_max) return false;
    out += static_cast<char>(label.size());
    out += label;
    label.clear();
    return true;
  };
  if (text.ends_with('.') && !text.ends_with("\\.")) text.remove_suffix(1);
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '.') {
      if (!end_label()) return std::nullopt;
    } else {
      if (text[i] == '\\' && ++i == text.size()) return std::nullopt;
      label += text[i];
    }
  }
  if (!text.empty() && !end_label()) return std::nullopt;
  out += '\0';
  if (out.size() > name_bytes_max) return std::nullopt;
  return out;
}

parsed parse_query(bytes message) {
  parsed p;
  reader r(message);
  std::uint16_t flags = 0, questions = 0, answers = 0, authorities = 0, additionals = 0;
  if (!r.u16(p.id) || !r.u16(flags) || !r.u16(questions) || !r.u16(answers) || !r.u16(authorities) ||
      !r.u16(additionals))
    return p;
  if (flags & 0x8000) return p;  // an answer: answering it could go on for ever
  p.answer_it = true;
  if ((flags >> 11 & 0xf) != 0) {
    p.error = rcode::not_implemented;
    return p;
  }
  p.error = rcode::format;
  if (questions != 1) return p;
  query q{.id = p.id, .recursion_desired = (flags & 0x0100) != 0, .checking_disabled = (flags & 0x0010) != 0};
  std::uint16_t type = 0, klass = 0;
  if (!r.name(q.asked, false) || !r.u16(type) || !r.u16(klass)) return p;
  q.type = static_cast<dns::type>(type);
  q.question = as_text(message.subspan(header_bytes, r.at() - header_bytes));
  for (unsigned left = unsigned(answers) + authorities + additionals; left > 0; --left) {
    raw_record one;
    if (!read_record(r, one, true)) return p;
    if (one.type != static_cast<std::uint16_t>(type::opt)) continue;
    if (q.edns || left > additionals || !one.owner.empty()) return p;
    q.edns = true;
    q.udp_bytes = std::clamp<std::size_t>(one.klass, plain_udp_bytes, udp_bytes_max);
    q.dnssec_ok = one.ttl & 0x8000;
  }
  if (klass != class_in) {
    p.error = rcode::refused;
    return p;
  }
  p.error = rcode::no_error;
  p.query = std::move(q);
  return p;
}

record address_record(std::string owner, const ip_address& a, std::uint32_t ttl) {
  auto* o = reinterpret_cast<const char*>(a.octets().data());
  return {std::move(owner), a.is_v4() ? type::a : type::aaaa, ttl,
          a.is_v4() ? std::string(o + 12, 4) : std::string(o, 16)};
}
record name_record(std::string owner, dns::type t, std::string_view target, std::uint32_t ttl) {
  return {std::move(owner), t, ttl, wire_of(target)};
}
record srv_record(std::string owner, std::uint16_t port, std::uint16_t weight, std::string_view target,
                  std::uint32_t ttl) {
  std::string data;
  append_be16(data, 0);
  append_be16(data, weight);
  append_be16(data, port);
  return {std::move(owner), type::srv, ttl, data + wire_of(target)};
}
record text_record(std::string_view text, std::uint32_t ttl) {
  auto part = text.substr(0, 255);
  return {{}, type::txt, ttl, static_cast<char>(part.size()) + std::string(part)};
}
record soa_record(std::string_view zone, std::uint32_t serial, std::uint32_t ttl) {
  auto data = wire_of("ns.dns." + std::string(zone)) + wire_of("hostmaster." + std::string(zone));
  for (std::uint32_t v : {serial, std::uint32_t(7200), std::uint32_t(1800), std::uint32_t(86400), ttl})
    append_be32(data, v);
  return {std::string(zone), type::soa, ttl, std::move(data)};
}

namespace {

// Header and question; the counts are filled in at the end.
std::string begin(std::uint16_t id, std::uint16_t flags, std::string_view question) {
  std::string out;
  append_be16(out, id);
  append_be16(out, flags);
  append_be16(out, question.empty() ? 0 : 1);
  for (int i = 0; i < 3; ++i) append_be16(out, 0);
  return out.append(question);
}

void store_be16(std::string& out, std::size_t at, std::uint16_t v) {
  out[at] = static_cast<char>(v >> 8);
  out[at + 1] = static_cast<char>(v);
}

}  // namespace

std::string write_answer(const query& q, const answer& a, std::size_t most) {
  auto flags =
      static_cast<std::uint16_t>(0x8000 | (a.authoritative ? 0x0400 : 0) | (q.recursion_desired ? 0x0100 : 0) | 0x0080 |
                                 (q.checking_disabled ? 0x0010 : 0) | static_cast<std::uint16_t>(a.code));
  auto out = begin(q.id, flags, q.question);
  std::string opt;
  if (q.edns) {
    opt += '\0';
    append_be16(opt, static_cast<std::uint16_t>(type::opt));
    append_be16(opt, udp_bytes_max);
    append_be32(opt, q.dnssec_ok ? 0x8000 : 0);
    append_be16(opt, 0);
  }
  most -= std::min(most, opt.size());
  std::uint16_t counts[3] = {};
  bool full = false;
  const std::vector<record>* sections[] = {&a.answers, &a.authority, &a.additional};
  for (int section = 0; section < 3 && !full; ++section)
    for (auto& r : *sections[section]) {
      std::string one;
      if (r.owner.empty())
        append_be16(one, 0xc00c);  // the question's name
      else
        one += wire_of(r.owner);
      append_be16(one, static_cast<std::uint16_t>(r.type));
      append_be16(one, class_in);
      append_be32(one, r.ttl);
      append_be16(one, static_cast<std::uint16_t>(r.data.size()));
      one += r.data;
      if (out.size() + one.size() > most) {
        // What is only said beside may be missing without a sign (RFC 2181 §9).
        if (section < 2) out[2] = static_cast<char>(out[2] | 0x02);
        full = true;
        break;
      }
      out += one;
      ++counts[section];
    }
  if (q.edns) ++counts[2];
  out += opt;
  for (int section = 0; section < 3; ++section)
    store_be16(out, 6 + 2 * static_cast<std::size_t>(section), counts[section]);
  return out;
}

std::string write_error(std::uint16_t id, rcode code) {
  return begin(id, static_cast<std::uint16_t>(0x8080 | static_cast<std::uint16_t>(code)), {});
}

std::string write_query(std::uint16_t id, std::string_view asked, dns::type t) {
  auto question = wire_of(asked);
  append_be16(question, static_cast<std::uint16_t>(t));
  append_be16(question, class_in);
  return begin(id, 0x0100, question);
}

std::optional<reply> parse_reply(bytes message, std::string_view question) {
  reader r(message);
  reply out;
  std::uint16_t flags = 0, questions = 0, counts[3] = {};
  if (!r.u16(out.id) || !r.u16(flags) || !r.u16(questions)) return std::nullopt;
  for (auto& c : counts)
    if (!r.u16(c)) return std::nullopt;
  if (!(flags & 0x8000) || questions != 1) return std::nullopt;
  out.truncated = flags & 0x0200;
  out.code = static_cast<rcode>(flags & 0xf);
  auto begin_at = r.at();
  std::string asked;
  if (!r.name(asked, false) || !r.skip(4)) return std::nullopt;
  if (!iequals(as_text(message.subspan(begin_at, r.at() - begin_at)), question)) return std::nullopt;
  std::uint32_t least = 0xffff'ffff;
  for (int section = 0; section < 3; ++section)
    for (std::uint16_t i = 0; i < counts[section]; ++i) {
      raw_record one;
      // A truncated answer may end anywhere.
      if (!read_record(r, one, true)) return out.truncated ? std::optional(std::move(out)) : std::nullopt;
      if (one.type == static_cast<std::uint16_t>(type::opt)) continue;
      if (section == 0) ++out.records;
      out.ttls.push_back(one.ttl_at);
      least = std::min(least, one.ttl);
      auto t = static_cast<dns::type>(one.type);
      auto data = message.subspan(one.data_at, one.length);
      if (t == type::soa && one.length >= 20 && counts[0] == 0)
        least = std::min(least, load_be32(data.data() + one.length - 4));
      if (section != 0 || one.klass != class_in || out.answers.size() >= records_max) continue;
      if ((t == type::a && one.length == 4) || (t == type::aaaa && one.length == 16))
        out.answers.push_back({one.owner, t, one.ttl, std::string(as_text(data))});
      if (t == type::cname) {
        reader target(message, one.data_at);
        std::string text;
        if (target.name(text, true)) out.answers.push_back(name_record(one.owner, t, text, one.ttl));
      }
    }
  out.least_ttl = least == 0xffff'ffff ? 0 : least;
  return out;
}

}  // namespace kedge::node::dns
