#include "node/dns/answer_template.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "base/strings.h"
#include "node/dns/limits.h"
#include "node/dns/zone_names.h"

namespace kedge::node::dns {

namespace {

constexpr std::uint32_t default_ttl = 3600;

const std::pair<std::string_view, type> types[] = {{"A", type::a},     {"AAAA", type::aaaa}, {"CNAME", type::cname},
                                                   {"PTR", type::ptr}, {"TXT", type::txt},   {"SRV", type::srv},
                                                   {"NS", type::ns},   {"SOA", type::soa}};
const std::pair<std::string_view, rcode> codes[] = {{"NOERROR", rcode::no_error},        {"FORMERR", rcode::format},
                                                    {"SERVFAIL", rcode::server_failure}, {"NXDOMAIN", rcode::no_name},
                                                    {"NOTIMP", rcode::not_implemented},  {"REFUSED", rcode::refused}};

template <typename T, std::size_t N>
const T* find_named(const std::pair<std::string_view, T> (&all)[N], std::string_view name) {
  for (auto& one : all)
    if (iequals(one.first, name)) return &one.second;
  return nullptr;
}

std::string_view name_of(type t) {
  for (auto& one : types)
    if (one.second == t) return one.first;
  return "ANY";
}

// One record as a zone's file has it: "name [ttl] [IN] TYPE data". nullopt: it is none.
std::optional<record> record_of(std::string_view text, std::string_view asked) {
  std::vector<std::string_view> words;
  for (auto w : split(text, ' '))
    if (!trim(w).empty()) words.push_back(trim(w));
  if (words.size() < 3) return std::nullopt;
  auto owner = plain_zone(words[0]);
  if (owner == asked) owner.clear();
  std::uint32_t ttl = default_ttl;
  std::size_t at = 1;
  for (; at + 1 < words.size(); ++at) {
    if (auto n = parse_uint(words[at]); n && *n <= std::numeric_limits<std::uint32_t>::max())
      ttl = static_cast<std::uint32_t>(*n);
    else if (!iequals(words[at], "IN"))
      break;
  }
  auto* t = find_named(types, words[at]);
  if (!t || at + 1 >= words.size()) return std::nullopt;
  auto data = words[at + 1];
  switch (*t) {
    case type::a:
    case type::aaaa: {
      auto address = ip_address::parse(data);
      if (!address || address->is_v4() != (*t == type::a)) return std::nullopt;
      return address_record(std::move(owner), *address, ttl);
    }
    case type::cname:
    case type::ptr:
      if (!name::to_wire(plain_zone(data))) return std::nullopt;
      return name_record(std::move(owner), *t, plain_zone(data), ttl);
    case type::txt: {
      auto rest = trim(text.substr(static_cast<std::size_t>(data.data() - text.data())));
      if (rest.size() > 1 && rest.front() == '"' && rest.back() == '"') rest = rest.substr(1, rest.size() - 2);
      auto r = text_record(rest, ttl);
      r.owner = std::move(owner);
      return r;
    }
    default: return std::nullopt;
  }
}

}  // namespace

result<pattern> compile_pattern(const std::string& text, std::size_t& left) {
  if (left == 0) return fail(errc::exhausted, fmt::format("more than {} regular expressions", custom_patterns_max));
  --left;
  re2::RE2::Options o(re2::RE2::Quiet);
  o.set_max_mem(pattern_bytes_max);
  auto p = std::make_shared<const re2::RE2>(text, o);
  if (!p->ok()) return fail(errc::invalid, fmt::format("\"{}\" is no regular expression: {}", text, p->error()));
  return p;
}

std::optional<std::vector<std::string>> groups_of(const re2::RE2& p, const std::string& name) {
  std::vector<re2::StringPiece> found(static_cast<std::size_t>(p.NumberOfCapturingGroups()) + 1);
  if (!p.Match(name, 0, name.size(), re2::RE2::UNANCHORED, found.data(), static_cast<int>(found.size())))
    return std::nullopt;
  std::vector<std::string> out;
  for (auto& f : found) out.emplace_back(f.data() ? std::string(f.data(), f.size()) : std::string());
  return out;
}

result<answer_template::record_text> answer_template::parse(std::string_view text) {
  record_text out;
  while (!text.empty()) {
    auto open = text.find("{{");
    if (open != 0) out.push_back({.is = piece::kind::text, .text = std::string(text.substr(0, open))});
    if (open == text.npos) break;
    auto close = text.find("}}", open);
    if (close == text.npos) return fail(errc::invalid, "\"{{\" without \"}}\"");
    auto inner = std::string(trim(text.substr(open + 2, close - open - 2)));
    text.remove_prefix(close + 2);
    constexpr std::string_view of_group = ".Group.", match = "index .Match ";
    auto number =
        inner.starts_with(match) ? parse_uint(trim(std::string_view(inner).substr(match.size()))) : std::nullopt;
    if (inner == ".Name")
      out.push_back({.is = piece::kind::name, .text = {}});
    else if (inner == ".Zone")
      out.push_back({.is = piece::kind::zone, .text = {}});
    else if (inner == ".Class")
      out.push_back({.is = piece::kind::klass, .text = {}});
    else if (inner == ".Type")
      out.push_back({.is = piece::kind::kind_of_type, .text = {}});
    else if (inner.starts_with(of_group))
      out.push_back({.is = piece::kind::group, .text = inner.substr(of_group.size())});
    else if (number && *number < template_groups_max)
      out.push_back({.is = piece::kind::group, .text = {}, .number = static_cast<std::size_t>(*number)});
    else
      return fail(errc::unsupported, fmt::format("{{{{ {} }}}} isn't known here", inner));
  }
  return out;
}

result<answer_template> answer_template::read(const corefile_line& line, const std::string& zone,
                                              std::size_t& patterns_left) {
  answer_template out;
  auto& w = line.words;
  if (w.size() < 3 || !(iequals(w[1], "IN") || iequals(w[1], "ANY")))
    return fail(errc::invalid, "a class (IN, ANY) and a type are wanted");
  if (!iequals(w[2], "ANY")) {
    auto* t = find_named(types, w[2]);
    if (!t) return fail(errc::unsupported, fmt::format("type {} isn't known here", w[2]));
    out.type_ = *t;
  }
  for (std::size_t i = 3; i < w.size(); ++i) out.zones_.push_back(plain_zone(w[i]));
  if (out.zones_.empty()) out.zones_.push_back(zone);
  for (auto& l : line.block) {
    if (l[0] == "match" && l.size() > 1) {
      for (std::size_t i = 1; i < l.size(); ++i) {
        KEDGE_TRY(auto p, compile_pattern(l[i], patterns_left));
        out.patterns_.push_back(std::move(p));
      }
    } else if (l[0] == "answer" && l.size() > 1) {
      for (std::size_t i = 1; i < l.size(); ++i) {
        KEDGE_TRY(auto one, parse(l[i]));
        out.answers_.push_back(std::move(one));
      }
    } else if (l[0] == "rcode" && l.size() == 2) {
      auto* code = find_named(codes, l[1]);
      if (!code) return fail(errc::unsupported, fmt::format("rcode {} isn't known here", l[1]));
      out.code_ = *code;
    } else if (l[0] == "fallthrough" && l.size() == 1) {
      out.goes_on_ = true;
    } else {
      return fail(errc::unsupported, fmt::format("{} isn't known here", join(l, " ")));
    }
  }
  if (out.patterns_.empty()) {
    KEDGE_TRY(auto all, compile_pattern(".*", patterns_left));
    out.patterns_.push_back(std::move(all));
  }
  return out;
}

answer_template::outcome answer_template::find(const query& q) const {
  auto in = std::ranges::find_if(zones_, [&](auto& z) { return is_under(q.asked, z); });
  if (in == zones_.end() || (type_ && q.type != type::any && q.type != *type_)) return {};
  auto asked = q.asked + ".";
  for (auto& p : patterns_) {
    auto groups = groups_of(*p, asked);
    if (!groups) continue;
    answer out{.code = code_};
    auto failed = answer{.code = rcode::server_failure, .authoritative = false};
    if (code_ == rcode::server_failure) return {failed, false};
    for (auto& text : answers_) {
      std::string one;
      for (auto& part : text) {
        switch (part.is) {
          case piece::kind::text: one += part.text; break;
          case piece::kind::name: one += asked; break;
          case piece::kind::zone: one += *in + "."; break;
          case piece::kind::klass: one += "IN"; break;
          case piece::kind::kind_of_type: one += name_of(q.type == type::any && type_ ? *type_ : q.type); break;
          case piece::kind::group: {
            auto n = part.number;
            if (!part.text.empty()) {
              auto named = p->NamedCapturingGroups().find(part.text);
              auto number = parse_uint(part.text);
              n = named != p->NamedCapturingGroups().end() ? static_cast<std::size_t>(named->second)
                                                           : static_cast<std::size_t>(number.value_or(groups->size()));
            }
            if (n < groups->size()) one += (*groups)[n];
          }
        }
      }
      auto r = record_of(one, q.asked);
      if (!r) return {failed, false};
      out.answers.push_back(*std::move(r));
    }
    return {std::move(out), false};
  }
  if (goes_on_) return {};
  return {answer{.code = rcode::server_failure, .authoritative = false}, false};
}

}  // namespace kedge::node::dns
