#include "node/logs/log_lines.h"

#include "base/strings.h"
#include "node/limits.h"

namespace kedge::node {

result<log_options> log_options::parse(std::string_view query, wall_time now) {
  log_options o;
  auto bad = [](std::string_view what) { return fail(errc::invalid, "invalid " + std::string(what)); };
  for (auto part : split(query, '&')) {
    auto equals = part.find('=');
    auto name = part.substr(0, equals);
    auto decoded =
        percent_decode(equals == std::string_view::npos ? std::string_view() : part.substr(equals + 1), true);
    if (!decoded) return fail(decoded.error());
    auto& v = *decoded;
    bool yes = v != "false" && v != "0";
    if (name == "follow")
      o.follow = yes;
    else if (name == "previous")
      o.previous = yes;
    else if (name == "timestamps")
      o.timestamps = yes;
    else if (name == "stream")
      o.stream = v;
    else if (name == "tailLines" || (name == "tail" && v != "all")) {
      o.tail_lines = parse_int(v);
      if (!o.tail_lines || *o.tail_lines < 0) return bad("tailLines");
    } else if (name == "limitBytes") {
      o.limit_bytes = parse_uint(v);
      if (!o.limit_bytes || *o.limit_bytes == 0) return bad("limitBytes");
    } else if (name == "sinceSeconds") {
      auto n = parse_int(v);
      if (!n || *n < 1) return bad("sinceSeconds");
      o.since = now - std::chrono::seconds(*n);
    } else if (name == "sinceTime") {
      auto t = parse_rfc3339(v);
      if (!t) return bad("sinceTime");
      o.since = *t;
    }
  }
  if (o.stream != "All" && o.stream != "Stdout" && o.stream != "Stderr")
    return fail(errc::invalid, "invalid stream type " + quote(o.stream));
  return o;
}

void log_reader::put(std::string_view text, std::string& out) {
  if (left_) {
    text = text.substr(0, *left_);
    *left_ -= text.size();
  }
  out += text;
}

void log_reader::line(std::string_view text, std::string& out) {
  auto first = text.find(' ');
  auto second = first == std::string_view::npos ? first : text.find(' ', first + 1);
  if (second == std::string_view::npos) return;  // nothing that a runtime writes
  auto third = text.find(' ', second + 1);
  auto tag = text.substr(second + 1, third == std::string_view::npos ? std::string_view::npos : third - second - 1);
  auto content = third == std::string_view::npos ? std::string_view() : text.substr(third + 1);
  auto stream = text.substr(first + 1, second - first - 1);
  if (stream != "stdout" && stream != "stderr") return;
  if ((options_.stream == "Stdout" && stream != "stdout") || (options_.stream == "Stderr" && stream != "stderr"))
    return;
  if (options_.since) {
    auto at = parse_rfc3339(text.substr(0, first));
    if (at && *at < *options_.since) return;
  }
  if (options_.timestamps && !partial_) {
    put(text.substr(0, first), out);
    put(" ", out);
  }
  put(content, out);
  partial_ = tag.starts_with('P');
  if (!partial_) put("\n", out);
}

void log_reader::feed(std::string_view piece, std::string& out) {
  while (!piece.empty() && !is_full()) {
    auto end = piece.find('\n');
    if (end == std::string_view::npos) {
      if (held_.size() + piece.size() > log_line_max) {
        too_long_ = true;
        held_.clear();
      }
      if (!too_long_) held_ += piece;
      return;
    }
    if (!too_long_) {
      if (held_.empty()) {
        line(piece.substr(0, end), out);
      } else {
        held_ += piece.substr(0, end);
        line(held_, out);
      }
    }
    held_.clear();
    too_long_ = false;
    piece.remove_prefix(end + 1);
  }
}

std::string end_of_log(std::string_view text, std::int64_t lines, std::size_t bytes) {
  if (auto begin = tail_bytes(text, lines)) text.remove_prefix(text.size() - *begin);
  std::string out;
  log_reader({}).feed(text, out);
  if (out.size() > bytes) out.erase(0, out.size() - bytes);
  return out;
}

std::optional<std::size_t> tail_bytes(std::string_view text, std::int64_t lines) {
  if (lines == 0) return 0;
  std::int64_t seen = 0;
  // The newline at the very end belongs to the last line.
  for (auto at = text.size(); at-- > 0;) {
    if (text[at] != '\n' || at + 1 == text.size()) continue;
    if (++seen == lines) return text.size() - at - 1;
  }
  return std::nullopt;
}

}  // namespace kedge::node
