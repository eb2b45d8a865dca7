// parse_yaml.cc: YAML text to values through yaml-cpp's event parser.
//
// Events, not yaml-cpp's node graph: the graph costs several times the memory, and aliases in it are free until they
// are walked. Here every alias is paid for when it is copied, against one budget for the document.
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <charconv>
#include <istream>
#include <map>
#include <streambuf>

#include "base/strings.h"
#include "json/limits.h"
#include "json/parse.h"
#include "json/write.h"
#include "json/yaml_scalar.h"

namespace kedge::json {

namespace {

// What stops yaml-cpp from inside a callback; turned into a result before it leaves this file.
struct stopped {
  error why;
};

struct stopped_early {};

class view_buffer : public std::streambuf {
 public:
  explicit view_buffer(std::string_view text) {
    auto p = const_cast<char*>(text.data());  // streambuf reads through char*; nothing is written
    setg(p, p, p + text.size());
  }
};

constexpr std::string_view core_tag = "tag:yaml.org,2002:";

class builder : public YAML::EventHandler {
 public:
  builder(std::string_view text, bool first, const parse_options& options)
      : text_(text), first_(first), options_(options) {}

  bool started() const { return started_; }
  value take() { return std::move(root_); }

  // yaml-cpp takes what follows a finished root node for a new document. Only a marker may start one: without this, the
  // rest of a wrongly indented manifest would silently vanish.
  void OnDocumentStart(const YAML::Mark& mark) override {
    started_ = true;
    auto at_mark = text_.substr(std::min(static_cast<std::size_t>(mark.pos), text_.size()));
    if (!first_ && !at_mark.starts_with("---"))
      throw stopped{{errc::invalid, at(mark) + "did not find expected <document start>"}};
    if (only_check_) throw stopped_early{};
  }
  // For the document after the last one wanted: stops parsing where it starts.
  void only_check() { only_check_ = true; }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override { add(mark, value(), anchor, true); }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& text) override {
    bool plain = tag == "?";
    if (plain && text == "<<" && !stack_.empty() && stack_.back().wants_key()) {
      stack_.back().merge_key = true;
      stack_.back().have_key = true;
      return;
    }
    add(mark, scalar(mark, tag, text), anchor, true);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto it = anchors_.find(anchor);
    if (it == anchors_.end()) throw stopped{{errc::invalid, at(mark) + "alias to an anchor that contains it"}};
    pay(it->second.nodes, it->second.bytes, mark);
    add(mark, it->second.what, 0, it->second.nodes == 1);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    push(mark, anchor, array());
  }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    push(mark, anchor, object());
  }
  void OnSequenceEnd() override { pop(); }
  void OnMapEnd() override { pop(); }

 private:
  struct frame {
    YAML::Mark mark;
    YAML::anchor_t anchor = 0;
    value what;
    std::string key;
    bool have_key = false;
    bool merge_key = false;
    std::vector<value> merges;  // what `<<` brings in, applied at the end: what the map says itself wins
    bool wants_key() const { return what.is_object() && !have_key; }
  };
  struct anchored {
    value what;
    std::size_t nodes = 0, bytes = 0;
  };

  static std::string at(const YAML::Mark& mark) { return "yaml: line " + std::to_string(mark.line + 1) + ": "; }

  value scalar(const YAML::Mark& mark, const std::string& tag, const std::string& text) {
    if (tag == "!" || tag.empty()) return value(text);
    if (tag != "?" && !tag.starts_with(core_tag)) return value(text);
    auto kind = tag == "?" ? std::string_view() : std::string_view(tag).substr(core_tag.size());
    if (kind == "str") return value(text);
    if (kind == "binary") {
      auto decoded = unbase64(text);
      if (!decoded) throw stopped{{errc::invalid, at(mark) + "!!binary value contains invalid base64 data"}};
      return value(*std::move(decoded));
    }
    auto resolved = resolve_yaml_scalar(text);
    if (!resolved) throw stopped{{errc::invalid, at(mark) + "JSON has no number " + text}};
    bool fits = kind.empty() || (kind == "int" && resolved->is_integer()) ||
                (kind == "float" && resolved->is_number()) || (kind == "bool" && resolved->is_bool()) ||
                (kind == "null" && resolved->is_null()) || kind == "timestamp";
    if (!fits) throw stopped{{errc::invalid, at(mark) + "cannot decode `" + text + "` as a !!" + std::string(kind)}};
    return *std::move(resolved);
  }

  std::string key_of(const YAML::Mark& mark, value v) {
    switch (v.type()) {
      case type::string: return std::move(*v.string());
      case type::boolean: return v.as_bool() ? "true" : "false";
      case type::integer: return std::to_string(v.as_integer());
      case type::number: {
        char text[32];
        auto end = std::to_chars(text, text + sizeof text, static_cast<float>(v.as_number())).ptr;
        return std::string(text, end);
      }
      default:
        throw stopped{{errc::invalid, at(mark) + "unsupported map key: only text, numbers and booleans name a member"}};
    }
  }

  void pay(std::size_t nodes, std::size_t bytes, const YAML::Mark& mark) {
    alias_nodes_ += nodes;
    alias_bytes_ += bytes;
    if (alias_nodes_ > alias_nodes_max || alias_bytes_ > alias_bytes_max)
      throw stopped{{errc::invalid, at(mark) + "document contains excessive aliasing"}};
  }

  static void measure(const value& v, std::size_t& nodes, std::size_t& bytes) {
    ++nodes;
    bytes += v.as_string().size();
    if (auto a = v.array())
      for (auto& e : *a) measure(e, nodes, bytes);
    if (auto o = v.object())
      for (auto& m : *o) {
        bytes += m.name.size();
        measure(m.value, nodes, bytes);
      }
  }

  void push(const YAML::Mark& mark, YAML::anchor_t anchor, value empty) {
    if (stack_.size() >= options_.depth_max)
      throw stopped{{errc::invalid, at(mark) + "nested deeper than " + std::to_string(options_.depth_max) + " levels"}};
    if (!stack_.empty() && stack_.back().wants_key())
      throw stopped{{errc::invalid, at(mark) + "unsupported map key: only text, numbers and booleans name a member"}};
    stack_.push_back({mark, anchor, std::move(empty), {}, false, false, {}});
  }

  void pop() {
    auto done = std::move(stack_.back());
    stack_.pop_back();
    for (auto& m : done.merges)
      for (auto& from : *m.object())
        if (!done.what.find(from.name)) done.what.set(from.name, std::move(from.value));
    add(done.mark, std::move(done.what), done.anchor, false);
  }

  void add(const YAML::Mark& mark, value v, YAML::anchor_t anchor, bool is_scalar) {
    if (anchor) {
      anchored kept;
      measure(v, kept.nodes, kept.bytes);
      pay(is_scalar ? 0 : kept.nodes, kept.bytes, mark);  // the kept copy costs what an alias does
      kept.what = v;
      anchors_[anchor] = std::move(kept);
    }
    if (stack_.empty()) {
      root_ = std::move(v);
      return;
    }
    auto& top = stack_.back();
    if (auto a = top.what.array()) {
      a->push_back(std::move(v));
      return;
    }
    if (!top.have_key) {
      top.key = key_of(mark, std::move(v));
      top.have_key = true;
      if (options_.duplicates && options_.duplicates->size() < duplicates_named_max && top.what.find(top.key))
        options_.duplicates->push_back("line " + std::to_string(mark.line + 1) + ": key " +
                                       quote(std::string_view(top.key).substr(0, place_bytes_max)) +
                                       " already set in map");
      return;
    }
    top.have_key = false;
    if (!std::exchange(top.merge_key, false)) {
      top.what.set(top.key, std::move(v));
      return;
    }
    if (v.is_object()) {
      top.merges.push_back(std::move(v));
      return;
    }
    if (!v.is_array())
      throw stopped{{errc::invalid, at(mark) + "map merge requires map or sequence of maps as the value"}};
    for (auto& e : *v.array()) {
      if (!e.is_object())
        throw stopped{{errc::invalid, at(mark) + "map merge requires map or sequence of maps as the value"}};
      top.merges.push_back(std::move(e));
    }
  }

  std::string_view text_;
  bool first_, only_check_ = false;
  const parse_options& options_;
  value root_;
  std::vector<frame> stack_;
  std::map<YAML::anchor_t, anchored> anchors_;
  std::size_t alias_nodes_ = 0, alias_bytes_ = 0;
  bool started_ = false;
};

// Gives each document to `accept` until it says to stop.
template <typename Accept>
result<void> each_document(std::string_view text, const parse_options& options, Accept accept) {
  view_buffer buffer(text);
  std::istream stream(&buffer);
  try {
    YAML::Parser parser(stream);
    bool enough = false;
    for (std::size_t n = 0;; ++n) {
      builder b(text, n == 0, options);
      if (enough) b.only_check();
      if (!parser.HandleNextDocument(b) || !b.started()) return {};
      if (n == yaml_documents_max)
        return fail(errc::too_large, "more than " + std::to_string(n) + " documents in one YAML stream");
      enough = !accept(b.take());
    }
  } catch (const stopped_early&) { return {}; } catch (stopped& s) {
    return fail(std::move(s.why));
  } catch (const YAML::Exception& e) {
    return fail(errc::invalid, "yaml: line " + std::to_string(e.mark.line + 1) + ": " + e.msg);
  } catch (const std::exception& e) { return fail(errc::invalid, std::string("yaml: ") + e.what()); }
}

bool looks_like_json(std::string_view text) {
  auto t = trim(text);
  return !t.empty() && t.front() == '{' && t.back() == '}';
}

}  // namespace

result<value> parse_yaml(std::string_view text, const parse_options& options) {
  // Most "YAML" bodies of an apply are JSON, which is YAML already and read 50 times faster as what it is.
  if (looks_like_json(text)) {
    if (auto v = parse(text, options)) return v;
    if (options.duplicates) options.duplicates->clear();
  }
  value first;
  KEDGE_CHECK(each_document(text, options, [&](value v) {
    first = std::move(v);
    return false;
  }));
  return first;
}

result<std::vector<value>> parse_yaml_all(std::string_view text, const parse_options& options) {
  std::vector<value> all;
  KEDGE_CHECK(each_document(text, options, [&](value v) {
    if (!v.is_null()) all.push_back(std::move(v));
    return true;
  }));
  return all;
}

}  // namespace kedge::json
