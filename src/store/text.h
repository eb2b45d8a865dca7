// text.h: just enough of JSON to find an object's place for resourceVersion and its labels, without building values.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"

namespace kedge::store {

// Where things stand in `{"kind":"…","apiVersion":"…","metadata":{…},…}`.
struct text_layout {
  std::size_t tail = 0;     // the quote of "metadata"
  std::size_t members = 0;  // behind metadata's `{`
  bool has_members = false;
  std::size_t labels = 0, labels_size = 0;  // the object behind "labels":, braces included; size 0 without
};

// nullopt when `text` isn't in the canonical order, or metadata has a resourceVersion already, or it isn't JSON so far
// as was looked (up to the labels, or the end of metadata).
std::optional<text_layout> find_layout(std::string_view text);

// The text of the member at a dotted path ("spec.nodeName") of a compact object, a string with its quotes; empty
// without one. Linear in what stands before it.
std::string_view member_at(std::string_view object, std::string_view path);
// Each element of a compact array, until `visit` returns false; nothing for what is none.
void each_element(std::string_view array, const std::function<bool(std::string_view element)>& visit);
// What a string's text (with quotes) means: a view of it, or of `buffer` when it has escapes. Of other texts the text
// itself.
std::string_view string_in(std::string_view text, std::string& buffer);

// Whether brackets and strings of `text` make it one whole object. What was written by us is; a database may hold
// anything.
bool is_whole_object(std::string_view text);

// Any JSON object in the canonical form: compact, kind and apiVersion first, then metadata without resourceVersion and
// selfLink, the others in their order. errc::invalid for what is no JSON object, or has no kind, apiVersion or
// metadata.
result<std::string> canonical_text(std::string_view text);

}  // namespace kedge::store
