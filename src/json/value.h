// value.h: a JSON document in memory, as the API machinery works on it.
//
// An object keeps its members in document order, so that what a user wrote is what a user sees. Small objects (nearly
// all) are searched linearly; `object` keeps a hash index beside the list once it is larger than a bound, so hostile
// bodies with 100,000 keys cost no quadratic time. Integers that fit int64 stay integers, all other numbers are
// doubles, as in Kubernetes' unstructured JSON.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

namespace kedge::json {

class value;
struct member;
using array = std::vector<value>;

class object {
 public:
  object() noexcept;
  object(std::initializer_list<member> members);
  object(const object& other);
  object(object&& other) noexcept;
  object& operator=(const object& other);
  object& operator=(object&& other) noexcept;
  ~object();

  std::size_t size() const noexcept;
  bool empty() const noexcept;
  // In document order. Names must not be changed through this.
  std::vector<member>::iterator begin() noexcept;
  std::vector<member>::iterator end() noexcept;
  std::vector<member>::const_iterator begin() const noexcept;
  std::vector<member>::const_iterator end() const noexcept;

  const value* find(std::string_view name) const noexcept;
  value* find(std::string_view name) noexcept;
  // The member's value, created as null at the end when absent.
  value& operator[](std::string_view name);
  void set(std::string_view name, value v);
  // The same for a name that is known not to be there: no search.
  value& append(std::string name, value v);
  bool erase(std::string_view name);  // true when it was there; moves all behind it
  // All of which `gone` is true, in one pass: for more than a few at once.
  template <typename F>
  void erase_if(F gone) {
    if (std::erase_if(members_, std::move(gone)) > 0) index_again();
  }
  void clear() noexcept;
  void reserve(std::size_t n);

 private:
  std::size_t position(std::string_view name) const noexcept;  // size() when absent
  void index_all();
  void index_again();
  using index = std::unordered_map<std::string, std::size_t>;
  std::vector<member> members_;
  std::unique_ptr<index> index_;
};

enum class type : unsigned char { null, boolean, integer, number, string, array, object };

class value {
 public:
  value() noexcept = default;
  value(std::nullptr_t) noexcept {}
  value(bool b) noexcept : v_(b) {}
  value(int n) noexcept : v_(static_cast<std::int64_t>(n)) {}
  value(std::int64_t n) noexcept : v_(n) {}
  value(double n) noexcept : v_(n) {}
  value(std::string s) noexcept : v_(std::move(s)) {}
  value(std::string_view s) : v_(std::string(s)) {}
  value(const char* s) : v_(std::string(s)) {}
  value(array a) noexcept : v_(std::move(a)) {}
  value(object o) noexcept : v_(std::move(o)) {}

  json::type type() const noexcept { return static_cast<json::type>(v_.index()); }
  bool is_null() const noexcept { return v_.index() == 0; }
  bool is_bool() const noexcept { return type() == json::type::boolean; }
  bool is_integer() const noexcept { return type() == json::type::integer; }
  bool is_number() const noexcept { return is_integer() || type() == json::type::number; }
  bool is_string() const noexcept { return type() == json::type::string; }
  bool is_array() const noexcept { return type() == json::type::array; }
  bool is_object() const noexcept { return type() == json::type::object; }

  // The content when it is of that type, else null pointer.
  const std::string* string() const noexcept { return std::get_if<std::string>(&v_); }
  std::string* string() noexcept { return std::get_if<std::string>(&v_); }
  const json::array* array() const noexcept { return std::get_if<json::array>(&v_); }
  json::array* array() noexcept { return std::get_if<json::array>(&v_); }
  const json::object* object() const noexcept { return std::get_if<json::object>(&v_); }
  json::object* object() noexcept { return std::get_if<json::object>(&v_); }

  // The content, or what is given when it is of another type. The view lives as long as this value is unchanged.
  std::string_view as_string(std::string_view otherwise = {}) const noexcept {
    auto s = string();
    return s ? std::string_view(*s) : otherwise;
  }
  std::int64_t as_integer(std::int64_t otherwise = 0) const noexcept {
    auto n = std::get_if<std::int64_t>(&v_);
    return n ? *n : otherwise;
  }
  double as_number(double otherwise = 0) const noexcept {
    if (auto n = std::get_if<std::int64_t>(&v_)) return static_cast<double>(*n);
    auto n = std::get_if<double>(&v_);
    return n ? *n : otherwise;
  }
  bool as_bool(bool otherwise = false) const noexcept {
    auto b = std::get_if<bool>(&v_);
    return b ? *b : otherwise;
  }

  // Reading: a missing member, element or step of another type gives a null value, so paths chain:
  // v["metadata"]["labels"]["app"].as_string().
  const value& operator[](std::string_view name) const noexcept;
  const value& operator[](const char* name) const noexcept { return (*this)[std::string_view(name)]; }
  const value& operator[](std::size_t i) const noexcept;
  const value& operator[](int i) const noexcept {
    return (*this)[static_cast<std::size_t>(i)];
  }  // a literal 0 is no null pointer
  const value* find(std::string_view name) const noexcept;
  value* find(std::string_view name) noexcept;

  // Writing: anything that is not an object (array) becomes an empty one first.
  json::object& make_object();
  json::array& make_array();
  value& member(std::string_view name) { return make_object()[name]; }  // created when absent
  void set(std::string_view name, value v) { make_object().set(name, std::move(v)); }
  bool erase(std::string_view name) { return object() && object()->erase(name); }
  void push_back(value v) { make_array().push_back(std::move(v)); }

  std::size_t size() const noexcept;  // members or elements; 0 for scalars
  bool empty() const noexcept { return size() == 0; }

  // Deep equality; members in any order; 1 == 1.0.
  friend bool operator==(const value& a, const value& b) noexcept;

 private:
  std::variant<std::monostate, bool, std::int64_t, double, std::string, json::array, json::object> v_;
};

struct member {
  std::string name;
  json::value value;
};

// As Go's decoder names what it can't take: "object", "array", "string", "number", "bool", "null".
std::string_view kind_name(const value& v) noexcept;

// Equal values have equal hashes.
std::size_t hash_of(const value& v) noexcept;

// The elements of a list, to be looked up without going through it: comparing each of one list with each of another
// takes minutes when a body is 3 MB. The list must live and stay as it is.
class value_set {
 public:
  explicit value_set(const value& list);
  bool contains(const value& v) const noexcept { return all_.contains(&v); }
  // False when an equal one is in it. `v` lives as long as the set.
  bool insert(const value& v) { return all_.insert(&v).second; }

 private:
  struct hash {
    std::size_t operator()(const value* v) const noexcept { return hash_of(*v); }
  };
  struct same {
    bool operator()(const value* a, const value* b) const noexcept { return *a == *b; }
  };
  std::unordered_set<const value*, hash, same> all_;
};

}  // namespace kedge::json
