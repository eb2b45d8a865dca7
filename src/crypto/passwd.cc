#include "crypto/passwd.h"

#include "base/bytes.h"
#include "base/strings.h"
#include "crypto/digest.h"
#include "crypto/limits.h"
#include "crypto/token.h"

namespace kedge::crypto {

namespace {

struct csv_reader {
  std::string_view text;
  std::size_t line = 1;

  bool at_end() const { return text.empty(); }
  char take() {
    char c = text.front();
    text.remove_prefix(1);
    if (c == '\n') ++line;
    return c;
  }

  result<std::string> quoted_field() {
    std::string out;
    auto start = line;
    take();
    while (!at_end()) {
      char c = take();
      if (c != '"') {
        out += c;
      } else if (!at_end() && text.front() == '"') {
        out += take();
      } else {
        return out;
      }
    }
    return fail(errc::invalid, "passwd line " + std::to_string(start) + ": a quoted field does not end");
  }

  result<std::string> field() {
    while (!at_end() && (text.front() == ' ' || text.front() == '\t')) take();
    if (!at_end() && text.front() == '"') return quoted_field();
    auto end = text.find_first_of(",\r\n");
    if (end != std::string_view::npos && text[end] == '\r' && text.substr(end, 2) != "\r\n")
      end = text.find_first_of(",\n", end);
    std::string out(text.substr(0, end));
    text.remove_prefix(out.size());
    if (out.find('"') != std::string::npos)
      return fail(errc::invalid, "passwd line " + std::to_string(line) + ": a quote within a field that isn't quoted");
    return out;
  }

  // The fields up to the end of the line.
  result<std::vector<std::string>> record() {
    std::vector<std::string> out;
    for (;;) {
      KEDGE_TRY(auto one, field());
      out.push_back(std::move(one));
      if (at_end()) return out;
      if (text.starts_with("\r\n")) take();
      char c = take();
      if (c == '\n') return out;
      if (c != ',') return fail(errc::invalid, "passwd line " + std::to_string(line) + ": text after a quoted field");
    }
  }
};

void write_field(std::string_view text, std::string& out) {
  bool plain =
      text.find_first_of(",\"\r\n") == std::string_view::npos && !text.starts_with(' ') && !text.starts_with('\t');
  if (plain) {
    out += text;
    return;
  }
  out += '"';
  for (char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  out += '"';
}

std::vector<std::string> split_groups(std::string_view text) {
  std::vector<std::string> out;
  for (auto group : split(text, ','))
    if (!group.empty()) out.emplace_back(group);
  return out;
}

}  // namespace

result<passwd> passwd::parse(std::string_view text) {
  if (text.size() > passwd_max_bytes) return fail(errc::too_large, "passwd is larger than 1 MiB");
  passwd out;
  csv_reader reader{text};
  while (!reader.at_end()) {
    if (reader.text.front() == '\n' || reader.text.starts_with("\r\n")) {
      if (reader.take() == '\r') reader.take();
      continue;
    }
    auto line = reader.line;
    KEDGE_TRY(auto fields, reader.record());
    if (fields.size() < 3)
      return fail(errc::invalid, "passwd line " + std::to_string(line) + ": a record needs password, user and uid");
    if (fields[1].empty())
      return fail(errc::invalid, "passwd line " + std::to_string(line) + ": the user's name is empty");
    passwd_entry entry{std::move(fields[0]), std::move(fields[1]), std::move(fields[2]), {}};
    if (fields.size() > 3) entry.groups = split_groups(fields[3]);
    std::erase_if(out.entries_, [&](const passwd_entry& e) { return e.user == entry.user; });
    out.entries_.push_back(std::move(entry));
  }
  return out;
}

std::string passwd::write() const {
  std::string out;
  for (auto& e : entries_) {
    write_field(e.password, out);
    out += ',';
    write_field(e.user, out);
    out += ',';
    write_field(e.uid, out);
    out += ',';
    write_field(join(e.groups, ","), out);
    out += '\n';
  }
  return out;
}

const passwd_entry* passwd::find(std::string_view user) const {
  for (auto& e : entries_)
    if (e.user == user) return &e;
  return nullptr;
}

bool passwd::ensure(std::string_view user, std::string_view group, std::string_view password) {
  passwd_entry wanted{
      std::string(password_of_token(password, user)), std::string(user), std::string(user), {std::string(group)}};
  for (auto& e : entries_) {
    if (e.user != user) continue;
    if (e == wanted) return false;
    e = std::move(wanted);
    return true;
  }
  entries_.push_back(std::move(wanted));
  return true;
}

const passwd_entry* passwd::verify(std::string_view user, std::string_view password) const {
  auto* entry = find(user);
  // An empty password in the table opens nothing.
  bool same = equal_by_digest(entry ? std::string_view(entry->password) : std::string_view(), password);
  return entry && !entry->password.empty() && same ? entry : nullptr;
}

}  // namespace kedge::crypto
