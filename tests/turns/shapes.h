// shapes.h: requests that are as large as one wants in one place: for each list and map of each built-in kind, objects
// with many elements there, and what can be asked with them.
#pragma once

#include <string>
#include <vector>

#include "api/registry/registry.h"
#include "schema/types.h"
#include "world.h"

namespace kedge::turns {

// A list or map of a kind's type: the fields that lead there from the object.
struct list_place {
  const api::served* of = nullptr;
  std::vector<const schema::field_info*> path;

  std::string text() const;  // "pods spec.containers[].env"
  bool in_status() const;
  // "PodSpec.containers": the same field of the same type, wherever it stands; what a kind does of its own with it is
  // found in its own kind.
  std::string role() const;
};

// Of all kinds that are stored, or answered (reviews). Types within themselves are entered once.
std::vector<list_place> list_places();

enum class element_form : unsigned char { thin, full };  // with its keys alone; with all that one level of it may have

// The kind's sample with so many elements at the place. `from`: the number of the first: others are others.
// `backwards`: in the opposite order.
json::value object_with(const list_place& p, std::size_t elements, element_form form, std::size_t from = 0,
                        bool backwards = false);
// Elements for a text of about so many bytes.
std::size_t elements_for(const list_place& p, std::size_t bytes, element_form form);

// Ways to ask with the place.
enum class way : unsigned char {
  create,
  replace_backwards,
  replace_others,
  merge_backwards,
  strategic_others,
  apply_others,
  read_table,
  read_protobuf
};
constexpr way all_ways[] = {way::create,           way::replace_backwards, way::replace_others, way::merge_backwards,
                            way::strategic_others, way::apply_others,      way::read_table,     way::read_protobuf};
std::string_view name_of(way w);

// Asks once, after what must be there was put there; what was put goes.
measured ask(world& w, const list_place& p, way how, std::size_t elements, element_form form);

}  // namespace kedge::turns
