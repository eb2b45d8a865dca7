#include "cli/flags.h"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "base/strings.h"

namespace kedge::cli {
namespace {

// Levenshtein's distance. Names are short, so the quadratic table doesn't matter.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t substituted = diagonal + (a[i - 1] != b[j - 1]);
      diagonal = row[j];
      row[j] = std::min({substituted, row[j] + 1, row[j - 1] + 1});
    }
  }
  return row[b.size()];
}

error bad_value(const flag& f, std::string_view value, std::string_view origin, std::string_view complaint) {
  const std::string shown = f.secret ? std::string("the value") : quote(value);
  return {errc::invalid, std::string(origin) + ": " + shown + ' ' + std::string(complaint)};
}

template <typename T>
struct member_traits;
template <typename C, typename T>
struct member_traits<T C::*> {
  using owner = C;
  using type = T;
};

result<port_range> parse_ports(std::string_view text) {
  const auto dash = text.find('-');
  if (dash != std::string_view::npos) {
    const auto first = parse_uint(text.substr(0, dash));
    const auto last = parse_uint(text.substr(dash + 1));
    if (first && last && *first > 0 && *first <= *last && *last <= 65535)
      return port_range{static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
  }
  return fail(errc::invalid, "is not a range of ports such as 30000-32767");
}

// Text of a kind → its value. The message of a failure is what stands after the quoted value.
template <typename T>
result<T> parse_as(std::string_view text) {
  if constexpr (std::is_same_v<T, bool>) {
    const auto value = parse_bool(text);
    if (!value) return fail(errc::invalid, "is neither true nor false");
    return *value;
  } else if constexpr (std::is_same_v<T, std::uint16_t>) {
    const auto value = parse_uint(text);
    if (!value || *value == 0 || *value > 65535) return fail(errc::invalid, "is not a port (1-65535)");
    return static_cast<std::uint16_t>(*value);
  } else if constexpr (std::is_same_v<T, unsigned>) {
    const auto value = parse_uint(text);
    if (!value || *value > std::numeric_limits<unsigned>::max()) return fail(errc::invalid, "is not a whole number");
    return static_cast<unsigned>(*value);
  } else if constexpr (std::is_same_v<T, file_mode>) {
    unsigned bits = 0;
    const bool octal = !text.empty() && text.size() <= 5 &&
                       std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '7'; });
    for (char c : octal ? text : std::string_view()) bits = bits * 8 + static_cast<unsigned>(c - '0');
    if (!octal || bits > 0777) return fail(errc::invalid, "is not a file mode in octal such as 0644");
    return file_mode{bits};
  } else if constexpr (std::is_same_v<T, port_range>) {
    return parse_ports(text);
  } else if constexpr (std::is_same_v<T, log::format>) {
    if (text == "text") return log::format::text;
    if (text == "json") return log::format::json;
    return fail(errc::invalid, "is neither text nor json");
  } else {
    return T(text);
  }
}

// A flag without a field is held to its kind all the same: a typo is an error whether or not the value is of use.
result<void> check_kind(value_kind kind, std::string_view text) {
  const auto verdict = [](auto parsed) -> result<void> {
    if (!parsed) return std::unexpected(std::move(parsed).error());
    return {};
  };
  switch (kind) {
    case value_kind::boolean: return verdict(parse_as<bool>(text));
    case value_kind::count: return verdict(parse_as<unsigned>(text));
    case value_kind::port: return verdict(parse_as<std::uint16_t>(text));
    case value_kind::ports: return verdict(parse_as<port_range>(text));
    case value_kind::mode: return verdict(parse_as<file_mode>(text));
    case value_kind::log_format: return verdict(parse_as<log::format>(text));
    case value_kind::duration:
      if (!parse_duration(text)) return fail(errc::invalid, "is not a duration such as 1h30m");
      return {};
    case value_kind::text:
    case value_kind::list: return {};
  }
  return {};
}

template <typename Member>
auto& field_of(Member member, server_options& into) {
  if constexpr (std::is_same_v<typename member_traits<Member>::owner, agent_options>)
    return into.agent.*member;
  else
    return into.*member;
}

result<void> store(const flag& f, std::string_view text, server_options& into) {
  return std::visit(
      [&](auto member) -> result<void> {
        using Member = decltype(member);
        if constexpr (std::is_same_v<Member, std::monostate>) {
          return check_kind(f.kind, text);
        } else {
          using Field = typename member_traits<Member>::type;
          if constexpr (std::is_same_v<Field, std::vector<std::string>>) {
            field_of(member, into).emplace_back(text);
          } else {
            KEDGE_TRY(field_of(member, into), parse_as<Field>(text));
          }
          return {};
        }
      },
      f.into);
}

std::vector<std::string> parts_of(const flag& f, std::string_view value) {
  if (!f.comma_separated) return {std::string(value)};
  std::vector<std::string> parts;
  for (auto part : split(value, ','))
    if (auto text = trim(part); !text.empty()) parts.emplace_back(text);
  return parts;
}

}  // namespace

bool serves(const flag& f, audience who) { return (static_cast<unsigned>(f.who) & static_cast<unsigned>(who)) != 0; }

std::string dashed(std::string_view flag_name) { return (flag_name.size() == 1 ? "-" : "--") + std::string(flag_name); }

value_kind kind_of(const flag& f) {
  return std::visit(
      [&](auto member) {
        using Member = decltype(member);
        if constexpr (std::is_same_v<Member, std::monostate>) {
          return f.kind;
        } else {
          using Field = typename member_traits<Member>::type;
          if constexpr (std::is_same_v<Field, bool>) return value_kind::boolean;
          if constexpr (std::is_same_v<Field, std::string>) return value_kind::text;
          if constexpr (std::is_same_v<Field, std::vector<std::string>>) return value_kind::list;
          if constexpr (std::is_same_v<Field, unsigned>) return value_kind::count;
          if constexpr (std::is_same_v<Field, std::uint16_t>) return value_kind::port;
          if constexpr (std::is_same_v<Field, file_mode>) return value_kind::mode;
          if constexpr (std::is_same_v<Field, port_range>) return value_kind::ports;
          if constexpr (std::is_same_v<Field, log::format>) return value_kind::log_format;
        }
      },
      f.into);
}

const flag* find_flag(std::span<const flag> table, std::string_view name, audience who) {
  for (const auto& f : table) {
    if (!serves(f, who)) continue;
    if (f.name == name || (name.size() == 1 && f.short_name == name[0])) return &f;
  }
  return nullptr;
}

std::optional<std::string_view> nearest(std::string_view name, std::span<const std::string_view> candidates) {
  // A third of the letters may differ: enough for typos and words' ends, too little for another name altogether.
  std::size_t least = name.size() / 3 + 1;
  std::optional<std::string_view> found;
  for (auto candidate : candidates) {
    if (const auto d = distance(name, candidate); d < least) {
      least = d;
      found = candidate;
    }
  }
  return found;
}

error unknown_flag(std::span<const flag> table, std::string_view name, audience who) {
  std::string message = "unknown flag " + dashed(name);
  if (const auto* elsewhere = find_flag(table, name)) {
    const bool servers = elsewhere->who == audience::server;
    message += servers ? ": it is a flag of `kedge server`, not of `kedge agent`"
                       : ": it is a flag of `kedge agent`, not of `kedge server`";
    return {errc::invalid, std::move(message)};
  }
  std::vector<std::string_view> names;
  for (const auto& f : table)
    if (serves(f, who) && !f.hidden) names.push_back(f.name);
  if (const auto meant = nearest(name, names)) message += "; did you mean " + dashed(*meant) + "?";
  return {errc::invalid, std::move(message)};
}

bool scanned::has(std::string_view name) const {
  return std::any_of(flags.begin(), flags.end(), [&](const occurrence& o) { return o.of->name == name; });
}

std::string scanned::value(std::string_view name, std::string_view fallback) const {
  for (auto o = flags.rbegin(); o != flags.rend(); ++o)
    if (o->of->name == name) return o->value;
  return std::string(fallback);
}

std::vector<std::string> scanned::values(std::string_view name) const {
  std::vector<std::string> all;
  for (const auto& o : flags)
    if (o.of->name == name)
      for (auto& part : parts_of(*o.of, o.value)) all.push_back(std::move(part));
  return all;
}

result<scanned> scan(std::span<const flag> table, audience who, std::span<const std::string> arguments,
                     std::vector<std::string>* wrong) {
  scanned found;
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string_view word = arguments[i];
    if (word == "--") {
      found.positional.insert(found.positional.end(), arguments.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                              arguments.end());
      break;
    }
    if (word.size() < 2 || word[0] != '-') {
      found.positional.emplace_back(word);
      continue;
    }
    std::string_view name = word.substr(word[1] == '-' ? 2 : 1);
    const auto equals = name.find('=');
    const bool has_value = equals != std::string_view::npos;
    const auto given = has_value ? name.substr(equals + 1) : std::string_view();
    name = name.substr(0, equals);
    if (name == "help" || name == "h") {
      found.help = true;
      return found;
    }
    const auto* f = find_flag(table, name, who);
    if (f == nullptr) {
      auto unknown = unknown_flag(table, name, who);
      if (!wrong) return fail(std::move(unknown));
      wrong->push_back(std::move(unknown.message));
      // What follows it was meant for it.
      while (!has_value && i + 1 < arguments.size() && !arguments[i + 1].starts_with('-')) ++i;
      continue;
    }
    if (has_value) {
      found.flags.push_back({f, std::string(given)});
    } else if (kind_of(*f) == value_kind::boolean) {
      found.flags.push_back({f, "true"});
    } else if (i + 1 < arguments.size()) {
      found.flags.push_back({f, arguments[++i]});
    } else if (auto text = dashed(name) + " needs a value"; wrong) {
      wrong->push_back(std::move(text));
    } else {
      return fail(errc::invalid, std::move(text));
    }
  }
  return found;
}

result<scanned> scan_flags_only(std::span<const flag> table, std::span<const std::string> arguments) {
  auto found = scan(table, audience::both, arguments);
  if (found && !found->positional.empty())
    return fail(errc::invalid, "unexpected argument " + quote(found->positional[0]));
  return found;
}

result<void> assign(const flag& f, std::string_view value, std::string_view origin, server_options& into,
                    std::vector<std::string>& warnings) {
  for (const auto& part : parts_of(f, value)) {
    // An empty text un-sets what has no value by default; only lists and numbers can't be empty.
    if (f.check != nullptr && !part.empty())
      if (const auto complaint = f.check(part)) return fail(bad_value(f, part, origin, *complaint));
    if (auto stored = store(f, part, into); !stored) return fail(bad_value(f, part, origin, stored.error().message));
  }
  // Asking for what happens anyway is not worth a word: `cluster-init: false`.
  const bool no_change = kind_of(f) == value_kind::boolean
                             ? parse_bool(value) == parse_bool(f.fallback.empty() ? "false" : f.fallback)
                             : value.empty() || value == f.fallback;
  if (f.state == support::supported || f.state == support::already || no_change) return {};
  if (f.state == support::refused) return fail(errc::unsupported, std::string(origin) + ": " + std::string(f.reason));
  warnings.push_back(std::string(origin) + " has no effect: " + std::string(f.reason));
  return {};
}

std::optional<bool> parse_bool(std::string_view text) {
  for (std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"})
    if (text == yes) return true;
  for (std::string_view no : {"0", "f", "F", "false", "FALSE", "False"})
    if (text == no) return false;
  return {};
}

}  // namespace kedge::cli
