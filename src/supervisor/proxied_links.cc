#include "supervisor/proxied_links.h"

#include <algorithm>
#include <iterator>

#include "base/strings.h"

namespace kedge::supervisor {

namespace {

// Browsers and servers take URLs of some 8 KiB; a longer value is data.
constexpr std::size_t url_max_bytes = 8 * 1024;
// "blockquote", "formaction": longer names are none of ours.
constexpr std::size_t known_name_max_bytes = 10;

// HTML's attributes that hold a URL (HTML 4's index of attributes, and HTML 5's).
struct place {
  std::string_view tag, attribute;
};
constexpr place places[] = {
    {"a", "href"},          {"applet", "codebase"},  {"area", "href"},       {"audio", "src"},
    {"base", "href"},       {"blockquote", "cite"},  {"body", "background"}, {"button", "formaction"},
    {"command", "icon"},    {"del", "cite"},         {"embed", "src"},       {"form", "action"},
    {"frame", "longdesc"},  {"frame", "src"},        {"head", "profile"},    {"html", "manifest"},
    {"iframe", "longdesc"}, {"iframe", "src"},       {"img", "longdesc"},    {"img", "src"},
    {"img", "usemap"},      {"input", "formaction"}, {"input", "src"},       {"input", "usemap"},
    {"ins", "cite"},        {"link", "href"},        {"object", "classid"},  {"object", "codebase"},
    {"object", "data"},     {"object", "usemap"},    {"q", "cite"},          {"script", "src"},
    {"source", "src"},      {"video", "poster"},     {"video", "src"}};
// What stands between these and their end tag is text, whatever it looks like. (A script that holds a commented script
// is taken to end at the first end tag: then links of its text may be rewritten.)
constexpr std::string_view raw_tags[] = {"iframe", "noembed",  "noframes", "noscript", "script",
                                         "style",  "textarea", "title",    "xmp"};

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t' || c == '\f'; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
char lower_of(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

// One more than the longest known name is kept, so that what is cut equals none.
void append_name(std::string& name, char c) {
  if (name.size() <= known_name_max_bytes) name += lower_of(c);
}

bool holds_url(std::string_view tag, std::string_view attribute) {
  return std::any_of(std::begin(places), std::end(places),
                     [&](const place& p) { return p.tag == tag && p.attribute == attribute; });
}

bool is_scheme_letter(char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '+' || c == '-' || c == '.'; }

void append_escaped(std::string& out, std::string_view text) {
  for (char c : text) {
    if (c == '&')
      out += "&amp;";
    else if (c == '"')
      out += "&#34;";
    else if (c == '\'')
      out += "&#39;";
    else if (c == '<')
      out += "&lt;";
    else if (c == '>')
      out += "&gt;";
    else
      out += c;
  }
}

// A link in three: "http:" "//host" "/path?query". The first two may be empty.
struct link_parts {
  std::string_view scheme, host, path;
};
link_parts cut(std::string_view url) {
  link_parts p;
  std::size_t n = 0;
  while (n < url.size() && is_scheme_letter(url[n])) ++n;
  if (n > 0 && is_letter(url[0]) && n < url.size() && url[n] == ':') p.scheme = url.substr(0, n + 1);
  auto rest = url.substr(p.scheme.size());
  if (rest.starts_with("//") && (!p.scheme.empty() || !rest.starts_with("///")))
    p.host = rest.substr(0, rest.find_first_of("/?#", 2));
  p.path = rest.substr(p.host.size());
  return p;
}

// The prefix that the link gets, and what of it goes.
struct change {
  std::size_t kept_before = 0, dropped = 0;  // of the link: what stays in front, and what goes behind that
};
std::optional<change> change_of(std::string_view url, const proxied_origin& from) {
  const auto p = cut(url);
  const auto host = p.host.empty() ? std::string_view() : p.host.substr(2);
  const bool asked = !host.empty() && host == from.request;
  if (!p.path.starts_with('/') || (!host.empty() && !asked && host != from.target)) return std::nullopt;
  const auto before = url.size() - p.path.size();
  return change{.kept_before = asked ? before : 0, .dropped = asked ? 0 : before};
}

bool has_prefix(std::string_view url, const change& c, const proxied_origin& from) {
  return url.substr(c.kept_before + c.dropped).starts_with(from.prefix);
}

}  // namespace

std::optional<std::string> proxied_link(std::string_view url, const proxied_origin& from) {
  const auto c = change_of(url, from);
  if (!c) return std::nullopt;
  std::string out(url.substr(0, c->kept_before));
  if (!has_prefix(url, *c, from)) out += from.prefix;
  out += url.substr(c->kept_before + c->dropped);
  return out;
}

void link_rewriter::feed(std::string_view piece, std::string& out) {
  for (char c : piece) step(c, out);
}

void link_rewriter::finish(std::string& out) {
  out += value_;
  value_.clear();
  holds_ = false;
}

void link_rewriter::end_tag() {
  if (tag_ == "plaintext")
    state_ = state::plaintext;
  else
    state_ =
        std::find(std::begin(raw_tags), std::end(raw_tags), tag_) != std::end(raw_tags) ? state::raw_text : state::text;
}

void link_rewriter::begin_value(char c) {
  state_ = state::value;
  quote_ = c == '"' || c == '\'' ? c : 0;
  holds_ = holds_url(tag_, name_);
}

void link_rewriter::end_value(std::string& out) {
  if (const auto c = holds_ ? change_of(value_, from_) : std::nullopt) {
    const std::string_view url = value_;
    out += url.substr(0, c->kept_before);
    if (!has_prefix(url, *c, from_)) append_escaped(out, from_.prefix);
    out += url.substr(c->kept_before + c->dropped);
  } else {
    out += value_;
  }
  value_.clear();
  holds_ = false;
}

void link_rewriter::step_value(char c, std::string& out) {
  if (quote_ ? c == quote_ : is_space(c) || c == '>') {
    end_value(out);
    out += c;
    if (c == '>' && !quote_) return end_tag();
    state_ = state::before_name;
    return;
  }
  if (!holds_) {
    out += c;
    return;
  }
  value_ += c;
  if (value_.size() <= url_max_bytes) return;
  out += value_;
  value_.clear();
  holds_ = false;
}

// Behind a '<' in raw text: is it the end tag? matched_ counts the slash and the letters of tag_ that fit.
void link_rewriter::step_raw_end(char c) {
  if (matched_ == 0 ? c == '/' : matched_ <= tag_.size() && lower_of(c) == tag_[matched_ - 1]) {
    ++matched_;
    return;
  }
  if (matched_ == tag_.size() + 1 && (is_space(c) || c == '/' || c == '>')) {
    tag_.insert(0, "/");
    state_ = c == '>' ? state::text : state::before_name;
    return;
  }
  matched_ = 0;
  if (c != '<') state_ = state::raw_text;
}

void link_rewriter::step(char c, std::string& out) {
  if (state_ == state::value) return step_value(c, out);
  if (state_ == state::before_value && !is_space(c) && c != '>') {
    begin_value(c);
    if (!quote_) return step_value(c, out);
    out += c;
    return;
  }
  out += c;
  switch (state_) {
    case state::text:
      if (c == '<') state_ = state::opened;
      break;
    case state::opened:
    case state::end_opened:
      if (is_letter(c)) {
        tag_ = state_ == state::end_opened ? "/" : "";
        append_name(tag_, c);
        state_ = state::tag_name;
      } else if (state_ == state::end_opened) {
        state_ = c == '>' ? state::text : state::bogus;
      } else if (c != '<') {
        matched_ = 0;
        state_ = c == '/' ? state::end_opened : c == '!' ? state::marked : c == '?' ? state::bogus : state::text;
      }
      break;
    case state::marked:
      if (c == '-' && ++matched_ == 2)
        state_ = state::comment;  // "<!-->" is a whole one: its two dashes count
      else if (c != '-')
        state_ = c == '>' ? state::text : state::bogus;
      break;
    case state::comment:
      if (c == '>' && matched_ >= 2)
        state_ = state::text;
      else
        matched_ = c == '-' ? std::min<std::size_t>(matched_ + 1, 2) : c == '!' && matched_ == 2 ? 3 : 0;
      break;
    case state::bogus:
      if (c == '>') state_ = state::text;
      break;
    case state::tag_name:
      if (c == '>')
        end_tag();
      else if (is_space(c) || c == '/')
        state_ = state::before_name;
      else
        append_name(tag_, c);
      break;
    case state::before_name:
    case state::after_name:
      if (c == '>')
        end_tag();
      else if (c == '/')
        state_ = state::before_name;
      else if (c == '=' && state_ == state::after_name)
        state_ = state::before_value;
      else if (!is_space(c)) {
        name_.clear();
        append_name(name_, c);
        state_ = state::name;
      }
      break;
    case state::name:
      if (c == '>')
        end_tag();
      else if (c == '=')
        state_ = state::before_value;
      else if (c == '/')
        state_ = state::before_name;
      else if (is_space(c))
        state_ = state::after_name;
      else
        append_name(name_, c);
      break;
    case state::before_value:
      if (c == '>') end_tag();
      break;
    case state::raw_text:
      if (c == '<') {
        matched_ = 0;
        state_ = state::raw_end;
      }
      break;
    case state::raw_end: step_raw_end(c); break;
    case state::plaintext:
    case state::value: break;
  }
}

}  // namespace kedge::supervisor
