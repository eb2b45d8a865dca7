#include "node/status/twin_watch.h"

#include <fmt/format.h>

#include <utility>

#include "base/strings.h"

namespace kedge::node {

namespace {

// A person, or a controller, may write a Node's status once. Who does it each time is a machine.
constexpr unsigned overwritten_least = 2;

// What tells two machines apart that have everything else in common.
std::string marks_of(const json::value& node) {
  auto& status = node["status"];
  std::string addresses;
  for (std::size_t i = 0; i < status["addresses"].size(); ++i)
    if (auto& a = status["addresses"][i]; a["type"].as_string() == "InternalIP")
      addresses += (addresses.empty() ? "" : ", ") + std::string(a["address"].as_string());
  return fmt::format("{} (boot {})", addresses.empty() ? "no address" : addresses,
                     status["nodeInfo"]["bootID"].as_string());
}

}  // namespace

void twin_watch::wrote(const json::value& node) { written_ = marks_of(node); }

std::string twin_watch::look(const json::value& node) {
  auto standing = marks_of(node);
  if (written_.empty() || standing == written_) {
    overwritten_ = 0;
    return {};
  }
  if (++overwritten_ < overwritten_least || std::exchange(told_, standing) == standing) return {};
  return fmt::format(
      "another machine goes by this node's name {} and its password: {}, while this one is {}; both write the same "
      "Node, and run the same pods. Give one of them another name (--node-name or --with-node-id) and remove its node "
      "password; `kedge prepare-image` keeps machines that are made of one image apart",
      quote(node["metadata"]["name"].as_string()), standing, written_);
}

}  // namespace kedge::node
