#include "store/snapshot.h"

#include "store/object.h"

namespace kedge::store {

snapshot store_access::make(revision at, tree objects) {
  snapshot s;
  s.state_ = std::make_shared<const snapshot::state>(snapshot::state{at, std::move(objects)});
  return s;
}

tree store_access::objects(const snapshot& s) { return s.state_ ? s.state_->objects : tree(); }

revision snapshot::at() const noexcept { return state_ ? state_->at : 0; }

object_ref snapshot::find(std::string_view key) const { return state_ ? state_->objects.get(key) : object_ref(); }

std::size_t snapshot::count(std::string_view prefix) const { return state_ ? state_->objects.count(prefix) : 0; }

void snapshot::scan(std::string_view prefix, std::string_view start,
                    const std::function<bool(const object_ref&)>& visit) const {
  if (!state_) return;
  state_->objects.scan(std::max(prefix, start),
                       [&](const object_ref& o) { return o->key().starts_with(prefix) && visit(o); });
}

}  // namespace kedge::store
