#include "json/value.h"

namespace kedge::json {

namespace {
constexpr std::size_t indexed_above = 32;  // members; below this a linear search is faster than hashing
const value null_value;
}  // namespace

object::object() noexcept = default;
object::object(object&& other) noexcept = default;
object& object::operator=(object&& other) noexcept = default;
object::object(std::initializer_list<member> members) {
  members_.reserve(members.size());
  for (auto& m : members) set(m.name, m.value);
}
object::object(const object& other) : members_(other.members_) {
  if (other.index_) index_ = std::make_unique<index>(*other.index_);
}
object& object::operator=(const object& other) {
  if (this != &other) *this = object(other);
  return *this;
}
object::~object() = default;

std::size_t object::size() const noexcept { return members_.size(); }
bool object::empty() const noexcept { return members_.empty(); }
std::vector<member>::iterator object::begin() noexcept { return members_.begin(); }
std::vector<member>::iterator object::end() noexcept { return members_.end(); }
std::vector<member>::const_iterator object::begin() const noexcept { return members_.begin(); }
std::vector<member>::const_iterator object::end() const noexcept { return members_.end(); }

std::size_t object::position(std::string_view name) const noexcept {
  if (index_) {
    auto it = index_->find(std::string(name));
    return it == index_->end() ? members_.size() : it->second;
  }
  std::size_t i = 0;
  while (i < members_.size() && members_[i].name != name) ++i;
  return i;
}

const value* object::find(std::string_view name) const noexcept {
  auto i = position(name);
  return i < members_.size() ? &members_[i].value : nullptr;
}
value* object::find(std::string_view name) noexcept {
  auto i = position(name);
  return i < members_.size() ? &members_[i].value : nullptr;
}

void object::index_all() {
  index_ = std::make_unique<index>();
  for (std::size_t i = 0; i < members_.size(); ++i) index_->emplace(members_[i].name, i);
}

value& object::operator[](std::string_view name) {
  auto i = position(name);
  if (i == members_.size()) {
    members_.emplace_back(std::string(name), value());
    if (index_)
      index_->emplace(members_.back().name, i);
    else if (members_.size() > indexed_above)
      index_all();
  }
  return members_[i].value;
}

void object::set(std::string_view name, value v) { (*this)[name] = std::move(v); }

value& object::append(std::string name, value v) {
  members_.emplace_back(std::move(name), std::move(v));
  if (index_)
    index_->emplace(members_.back().name, members_.size() - 1);
  else if (members_.size() > indexed_above)
    index_all();
  return members_.back().value;
}

void object::index_again() {
  if (!index_) return;
  if (members_.size() > indexed_above)
    index_all();
  else
    index_.reset();
}

bool object::erase(std::string_view name) {
  auto i = position(name);
  if (i == members_.size()) return false;
  members_.erase(members_.begin() + static_cast<std::ptrdiff_t>(i));
  index_again();
  return true;
}

void object::clear() noexcept {
  members_.clear();
  index_.reset();
}
void object::reserve(std::size_t n) { members_.reserve(n); }

const value& value::operator[](std::string_view name) const noexcept {
  auto found = find(name);
  return found ? *found : null_value;
}
const value& value::operator[](std::size_t i) const noexcept {
  auto a = array();
  return a && i < a->size() ? (*a)[i] : null_value;
}
const value* value::find(std::string_view name) const noexcept {
  auto o = object();
  return o ? o->find(name) : nullptr;
}
value* value::find(std::string_view name) noexcept {
  auto o = object();
  return o ? o->find(name) : nullptr;
}
json::object& value::make_object() {
  if (!is_object()) v_ = json::object();
  return *object();
}
json::array& value::make_array() {
  if (!is_array()) v_ = json::array();
  return *array();
}
std::size_t value::size() const noexcept {
  if (auto a = array()) return a->size();
  if (auto o = object()) return o->size();
  return 0;
}

bool operator==(const value& a, const value& b) noexcept {
  if (a.is_number() && b.is_number())
    return a.is_integer() && b.is_integer() ? a.as_integer() == b.as_integer() : a.as_number() == b.as_number();
  if (a.type() != b.type()) return false;
  if (auto x = a.object()) {
    auto y = b.object();
    if (x->size() != y->size()) return false;
    for (auto& m : *x) {
      auto other = y->find(m.name);
      if (!other || !(m.value == *other)) return false;
    }
    return true;
  }
  return a.v_ == b.v_;
}

std::string_view kind_name(const value& v) noexcept {
  switch (v.type()) {
    case type::null: return "null";
    case type::boolean: return "bool";
    case type::integer:
    case type::number: return "number";
    case type::string: return "string";
    case type::array: return "array";
    case type::object: break;
  }
  return "object";
}

std::size_t hash_of(const value& v) noexcept {
  auto mix = [](std::size_t h, std::size_t more) { return (h ^ more) * 0x9e3779b97f4a7c15u + (h >> 29); };
  switch (v.type()) {
    case type::null: return 1;
    case type::boolean: return v.as_bool() ? 2 : 3;
    case type::integer:
    case type::number: return std::hash<double>{}(v.as_number());
    case type::string: return std::hash<std::string_view>{}(v.as_string());
    case type::array: {
      std::size_t h = 4;
      for (auto& e : *v.array()) h = mix(h, hash_of(e));
      return h;
    }
    case type::object: break;
  }
  std::size_t h = 5;  // members in any order: their sum
  for (auto& m : *v.object()) h += mix(std::hash<std::string_view>{}(m.name), hash_of(m.value));
  return h;
}

value_set::value_set(const value& list) {
  auto a = list.array();
  if (!a) return;
  all_.reserve(a->size());
  for (auto& e : *a) all_.insert(&e);
}

}  // namespace kedge::json
