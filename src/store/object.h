// object.h: making objects, and the inside of references to them, for store/ only.
#pragma once

#include <optional>

#include "store/store.h"
#include "store/text.h"

namespace kedge::store {

struct object_access {
  // An object of one allocation. `text` is the value as logged; resourceVersion goes in where its layout allows it.
  static object_ref make(std::string_view key, std::string_view text, revision mod, revision created,
                         std::uint32_t lease);
  // The same with the layout that is known already.
  static object_ref make(std::string_view key, std::string_view text, const std::optional<text_layout>& layout,
                         revision mod, revision created, std::uint32_t lease);
  // The same version with another resourceVersion: what a deletion shows.
  static object_ref with_revision(const object& o, revision at);
  // The value as it was logged: without resourceVersion.
  static std::string logged_text(const object& o);
  static const object* get(const object_ref& r) noexcept { return r.object_; }
  // One more reference to an object that somebody holds.
  static object_ref ref(const object& o) noexcept;
  static std::size_t size_of(const object& o) noexcept;  // bytes of memory
  // The same version at `memory`, which has room for it and is a chunk's (settled.h).
  static object_ref copy_to(void* memory, const object& o);
  static bool is_settled(const object& o) noexcept;
  static void destroy(const object* o) noexcept;
};

}  // namespace kedge::store
