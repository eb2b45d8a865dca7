#include "store/snapshot.h"

#include "base/assert.h"
#include "store/object.h"

namespace kedge::store {

snapshot store_access::make(revision at, indexed_tree objects) {
  snapshot s;
  s.state_ = std::make_shared<const snapshot::state>(snapshot::state{at, std::move(objects)});
  return s;
}

const index_list* store_access::indexes(const snapshot& s) {
  return s.state_ ? s.state_->objects.indexes().get() : nullptr;
}

indexed_tree store_access::objects(const snapshot& s) { return s.state_ ? s.state_->objects : indexed_tree(); }

revision snapshot::at() const noexcept { return state_ ? state_->at : 0; }

object_ref snapshot::find(std::string_view key) const { return state_ ? state_->objects.get(key) : object_ref(); }

std::size_t snapshot::count(std::string_view prefix) const { return state_ ? state_->objects.count(prefix) : 0; }

std::size_t snapshot::count_from(std::string_view prefix, std::string_view start) const {
  return state_ ? state_->objects.count_from(prefix, start) : 0;
}

void snapshot::scan(std::string_view prefix, std::string_view start,
                    const std::function<bool(const object_ref&)>& visit) const {
  if (!state_) return;
  state_->objects.scan(std::max(prefix, start),
                       [&](const object_ref& o) { return o->key().starts_with(prefix) && visit(o); });
}

namespace {

const index_list::item* find_index(const indexed_tree& t, std::string_view name) noexcept {
  return t.indexes() ? t.indexes()->find(name) : nullptr;
}

}  // namespace

bool snapshot::has_index(std::string_view name) const noexcept { return state_ && find_index(state_->objects, name); }

void snapshot::scan(std::string_view index, std::string_view value, std::string_view prefix, std::string_view start,
                    const std::function<bool(const object_ref&)>& visit) const {
  auto* by = state_ ? find_index(state_->objects, index) : nullptr;
  kedge_assert(by);
  state_->objects.scan(*by, value, prefix, start, visit);
}

std::size_t snapshot::count(std::string_view index, std::string_view value) const {
  auto* by = state_ ? find_index(state_->objects, index) : nullptr;
  kedge_assert(by);
  return state_->objects.count(*by, value);
}

}  // namespace kedge::store
