// proxied_links.h: links of a proxied page, made to lead through the proxy again. Sans-I/O: pieces in, pieces out.
//
//   <a href="/x"> of a pod that is seen at …/pods/web/proxy ─▶ <a href="/api/v1/namespaces/default/pods/web/proxy/x">
//
// The page's bytes pass as they are, but for the values of the attributes that hold a URL. Nothing is held back but one
// such value; memory is bounded whatever the page holds, and the work for a byte is constant.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kedge::supervisor {

// Where a page comes from, and where it is seen.
struct proxied_origin {
  std::string prefix;   // "/api/v1/namespaces/default/pods/web/proxy", without a slash at the end
  std::string target;   // the pod's or node's own authority, "10.42.0.7:80"
  std::string request;  // the authority that the client asked, "localhost:8001"
};

// What a link (or a Location) becomes; nullopt: it stays. A path that begins with a slash is the page's host's, and
// gets the prefix; other hosts' and relative ones stay.
std::optional<std::string> proxied_link(std::string_view url, const proxied_origin& from);

class link_rewriter {
 public:
  explicit link_rewriter(proxied_origin from) : from_(std::move(from)) {}
  // Appends to `out` all that is decided after this piece.
  void feed(std::string_view piece, std::string& out);
  // The page has ended: what was held back goes out as it is.
  void finish(std::string& out);

 private:
  enum class state : std::uint8_t {
    text,
    opened,      // "<"
    end_opened,  // "</"
    marked,      // "<!", "<!-"
    comment,     // up to "-->"
    bogus,       // "<!…>", "<?…>"
    tag_name,
    before_name,
    name,
    after_name,
    before_value,
    value,
    raw_text,   // in <script> and its like
    raw_end,    // "<", "</", "</scr"
    plaintext,  // to the end of the page
  };
  // Where the next byte leads; it goes out unless it is held.
  void step(char c, std::string& out);
  void step_raw_end(char c);
  void step_value(char c, std::string& out);
  void begin_value(char c);
  void end_value(std::string& out);
  void end_tag();

  proxied_origin from_;
  state state_ = state::text;
  std::string tag_, name_;   // lower-case, cut behind the longest that is known; an end tag's begins with a slash
  std::size_t matched_ = 0;  // of "<!--", "-->", "</script"
  char quote_ = 0;           // of the value; 0: none
  bool holds_ = false;       // the value may be a URL, and is kept in value_ until it ends
  std::string value_;
};

}  // namespace kedge::supervisor
