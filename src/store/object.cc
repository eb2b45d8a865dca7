#include "store/object.h"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <new>

#include "base/assert.h"
#include "store/settled.h"
#include "store/text.h"

namespace kedge::store {

namespace {

constexpr std::string_view version_member = "\"resourceVersion\":\"";
constexpr std::string_view metadata_open = "\"metadata\":{";
// Of a lease's seconds, which are fewer: the object lies in a chunk (settled.h).
constexpr std::uint32_t settled_bit = std::uint32_t(1) << 31;

char* payload(const object& o) noexcept { return reinterpret_cast<char*>(const_cast<object*>(&o) + 1); }

std::string_view revision_text(revision r, char (&buffer)[20]) {
  auto end = std::to_chars(buffer, buffer + sizeof buffer, r).ptr;
  return {buffer, static_cast<std::size_t>(end - buffer)};
}

}  // namespace

std::string_view object::key() const noexcept { return {payload(*this), key_size_}; }
std::string_view object::bytes() const noexcept { return {payload(*this) + key_size_, bytes_size_}; }
revision object::mod() const noexcept { return mod_; }
revision object::created() const noexcept { return created_; }
std::uint32_t object::lease_seconds() const noexcept { return lease_ & ~settled_bit; }
std::string_view object::labels_text() const noexcept { return bytes().substr(labels_at_, labels_size_); }
std::string_view object::item_tail() const noexcept { return bytes().substr(tail_at_); }

object_ref::object_ref(const object_ref& o) noexcept : object_(o.object_) {
  // Whoever copies holds one already, so the count can't reach zero meanwhile: no order is needed.
  if (object_) object_->references_.fetch_add(1, std::memory_order_relaxed);
}

object_ref::~object_ref() {
  // Release: what this core read of the object came before; acquire: whoever frees it sees that all others have ended.
  if (object_ && object_->references_.fetch_sub(1, std::memory_order_acq_rel) == 1) object_access::destroy(object_);
}

object_ref object_access::ref(const object& o) noexcept {
  o.references_.fetch_add(1, std::memory_order_relaxed);
  object_ref r;
  r.object_ = &o;
  return r;
}

void object_access::destroy(const object* o) noexcept {
  if (is_settled(*o)) return release_settled(*o);
  o->~object();
  std::free(const_cast<object*>(o));
}

std::size_t object_access::size_of(const object& o) noexcept { return sizeof(object) + o.key_size_ + o.bytes_size_; }

bool object_access::is_settled(const object& o) noexcept { return o.lease_ & settled_bit; }

object_ref object_access::copy_to(void* memory, const object& o) {
  auto* to = new (memory) object();
  to->mod_ = o.mod_;
  to->created_ = o.created_;
  to->lease_ = o.lease_ | settled_bit;
  to->key_size_ = o.key_size_;
  to->bytes_size_ = o.bytes_size_;
  to->labels_at_ = o.labels_at_;
  to->labels_size_ = o.labels_size_;
  to->tail_at_ = o.tail_at_;
  std::memcpy(payload(*to), payload(o), std::size_t(o.key_size_) + o.bytes_size_);
  object_ref r;
  r.object_ = to;
  return r;
}

object_ref object_access::make(std::string_view key, std::string_view text, revision mod, revision created,
                               std::uint32_t lease) {
  return make(key, text, key.starts_with("/registry/") ? find_layout(text) : std::nullopt, mod, created, lease);
}

object_ref object_access::make(std::string_view key, std::string_view text, const std::optional<text_layout>& at,
                               revision mod, revision created, std::uint32_t lease) {
  char digits[20];
  auto number = revision_text(mod, digits);
  std::size_t added = at ? version_member.size() + number.size() + 1 + (at->has_members ? 1 : 0) : 0;

  void* memory = std::malloc(sizeof(object) + key.size() + text.size() + added);
  kedge_assert(memory != nullptr);
  auto* o = new (memory) object();
  o->mod_ = mod;
  o->created_ = created;
  kedge_assert(lease < settled_bit);
  o->lease_ = lease;
  o->key_size_ = static_cast<std::uint32_t>(key.size());
  o->bytes_size_ = static_cast<std::uint32_t>(text.size() + added);
  char* out = payload(*o);
  auto put = [&out](std::string_view s) {
    if (!s.empty()) std::memcpy(out, s.data(), s.size());
    out += s.size();
  };
  put(key);
  if (at) {
    o->tail_at_ = static_cast<std::uint32_t>(at->tail);
    if (at->labels_size) {
      o->labels_at_ = static_cast<std::uint32_t>(at->labels + added);
      o->labels_size_ = static_cast<std::uint32_t>(at->labels_size);
    }
    put(text.substr(0, at->members));
    put(version_member);
    put(number);
    put(at->has_members ? "\"," : "\"");
    put(text.substr(at->members));
  } else {
    put(text);
  }
  object_ref r;
  r.object_ = o;
  return r;
}

std::string object_access::logged_text(const object& o) {
  std::string text(o.bytes());
  if (o.tail_at_ == 0) return text;
  auto at = o.tail_at_ + metadata_open.size();
  auto end = text.find('"', at + version_member.size()) + 1;
  if (text[end] == ',') ++end;
  text.erase(at, end - at);
  return text;
}

object_ref object_access::with_revision(const object& o, revision at) {
  return make(o.key(), logged_text(o), at, o.created(), o.lease_seconds());
}

object_ref with_revision(const object& o, revision shown) { return object_access::with_revision(o, shown); }
object_ref with_text(const object& o, std::string_view text) {
  return object_access::make(o.key(), text, o.mod(), o.created(), o.lease_seconds());
}

}  // namespace kedge::store
