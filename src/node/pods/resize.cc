#include "node/pods/resize.h"

#include "json/parse.h"
#include "json/write.h"

namespace kedge::node {

namespace {

using json::value;

const value& resources_of(const value& container) {
  static const value none(json::object{});
  auto& r = container["resources"];
  return r.is_object() ? r : none;
}

// nullopt: it doesn't run, or says nothing of it.
std::optional<value> given_to(const pod_seen& seen, std::string_view name) {
  for (auto& c : seen.containers) {
    if (c.name != name) continue;
    if (c.state != container_state::running) return std::nullopt;
    auto note = find(c.annotations, note_resources);
    if (note.empty()) return std::nullopt;
    auto given = json::parse(note);
    return given ? std::optional(*std::move(given)) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

std::string resources_note(const value& container) { return json::write(resources_of(container)); }

std::optional<value> pod_as_given(const value& pod, const pod_seen& seen) {
  std::optional<value> out;
  for (auto* list : {"containers", "initContainers"}) {
    auto* containers = pod["spec"][list].array();
    for (std::size_t i = 0; containers && i < containers->size(); ++i) {
      auto& container = (*containers)[i];
      auto given = given_to(seen, container["name"].as_string());
      if (!given || *given == resources_of(container)) continue;
      if (!out) out = pod;
      (*out->member("spec").member(list).array())[i].set("resources", *std::move(given));
    }
  }
  return out;
}

}  // namespace kedge::node
