#include "schema/types.h"

#include <algorithm>
#include <utility>

#include "schema/tables.h"

namespace kedge::schema {

namespace {

// The same as in schema/embed.py, which chose the seed so that no two fields of the type meet.
std::uint32_t hash_of(std::string_view name, std::uint32_t seed) noexcept {
  std::uint32_t h = seed * 0x9E3779B1u;
  for (char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x01000193u;
  return h ^ h >> 15;
}

}  // namespace

std::string_view string_list::operator[](std::size_t i) const noexcept {
  return tables::text(tables::strings[first_ + i]);
}
bool string_list::contains(std::string_view text) const noexcept {
  for (auto s : *this)
    if (s == text) return true;
  return false;
}

std::string_view field_info::name() const noexcept { return tables::text(name_); }
const type_info* field_info::type() const noexcept { return type_ == 0xffff ? nullptr : &tables::types[type_]; }
std::string_view field_info::patch_merge_key() const noexcept { return tables::text(merge_key_); }
std::string_view field_info::default_json() const noexcept { return tables::text(default_); }

std::string_view type_info::name() const noexcept { return tables::text(name_); }
std::string_view type_info::go_name() const noexcept {
  auto n = name();
  return n.substr(n.rfind('.') + 1);
}
std::span<const field_info> type_info::fields() const noexcept {
  return {tables::fields + fields_first_, fields_count_};
}
const field_info& type_info::field(std::size_t i) const noexcept {
  return tables::fields[tables::flat_fields[flat_first_ + i]];
}

int type_info::position(std::string_view name) const noexcept {
  auto slot = hash_of(name, seed_) & ((1u << hash_bits_) - 1);
  auto i = tables::hash_slots[hash_first_ + slot];
  return i != 255 && field(i).name() == name ? i : -1;
}
const field_info* type_info::find(std::string_view name) const noexcept {
  auto i = position(name);
  return i < 0 ? nullptr : &field(static_cast<std::size_t>(i));
}

std::span<const std::uint8_t> type_info::wire_order() const noexcept {
  return {tables::wire_positions + wire_first_, wire_count_};
}
const field_info* type_info::find_wire(int number) const noexcept {
  auto all = fields();
  for (auto p : wire_order()) {
    if (all[p].proto() == number) return &all[p];
    if (all[p].proto() > number) break;
  }
  return nullptr;
}

std::span<const type_info> all_types() noexcept { return {tables::types, tables::type_count}; }

const type_info* find_type(std::string_view name) noexcept {
  auto all = all_types();
  auto it = std::ranges::lower_bound(all, name, {}, &type_info::name);
  return it != all.end() && it->name() == name ? &*it : nullptr;
}

std::size_t kind_count() noexcept { return tables::kind_count; }
kind_info kind_at(std::size_t i) noexcept {
  auto& k = tables::kinds[i];
  return {tables::text(k.api_version), tables::text(k.kind), &tables::types[k.type]};
}

const type_info* find_kind(std::string_view api_version, std::string_view kind) noexcept {
  std::size_t low = 0, high = tables::kind_count;
  while (low < high) {
    auto middle = (low + high) / 2;
    auto k = kind_at(middle);
    if (std::pair(k.api_version, k.kind) < std::pair(api_version, kind))
      low = middle + 1;
    else
      high = middle;
  }
  if (low == tables::kind_count) return nullptr;
  auto k = kind_at(low);
  return k.api_version == api_version && k.kind == kind ? k.type : nullptr;
}

kind_info kind_of(const type_info& type) noexcept {
  for (std::size_t i = 0; i < tables::kind_count; ++i)
    if (kind_at(i).type == &type) return kind_at(i);
  return {{}, {}, &type};
}

group_version split_api_version(std::string_view api_version) noexcept {
  auto slash = api_version.find('/');
  if (slash == std::string_view::npos) return {{}, api_version};
  return {api_version.substr(0, slash), api_version.substr(slash + 1)};
}

}  // namespace kedge::schema
