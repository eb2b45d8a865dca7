// Placing pods as a real kube-scheduler's plugins do: tests/answers/scheduler has small clusters, a pod, and what they
// said.
#include <fmt/format.h>
#include <zlib.h>

#include <map>

#include "kit.h"

using namespace kedge;
using namespace kedge::control::scheduler;

namespace {

std::vector<json::value> cases() {
  auto* file = ::gzopen(KEDGE_ANSWERS "/scheduler/cases.jsonl.gz", "rb");
  REQUIRE(file);
  std::string text;
  char some[64 * 1024];
  for (int n; (n = ::gzread(file, some, sizeof some)) > 0;) text.append(some, static_cast<std::size_t>(n));
  ::gzclose(file);
  std::vector<json::value> out;
  for (std::size_t begin = 0, end; (end = text.find('\n', begin)) != text.npos; begin = end + 1) {
    auto v = json::parse(std::string_view(text).substr(begin, end - begin));
    REQUIRE(v.has_value());
    out.push_back(*std::move(v));
  }
  return out;
}

std::vector<std::string> texts(const json::value& list) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size(); ++i) out.emplace_back(list[i].as_string());
  return out;
}

// What is different, in words; empty when nothing is.
std::vector<std::string> differences(const json::value& c) {
  kit::world w;
  auto &asked = c["case"], &told = c["answer"];
  for (auto& n : *asked["namespaces"].object()) w.cluster.set_namespace(n.name, n.value);
  for (std::size_t i = 0; i < asked["nodes"].size(); ++i) w.cluster.set_node(asked["nodes"][i]);
  for (std::size_t i = 0; i < asked["pods"].size(); ++i) w.add(asked["pods"][i]);
  auto pod = w.cluster.read_pod(asked["pod"], {});
  auto& by = w.settings.profiles.front();
  auto found = place(by, *pod, w.cluster, w.random);

  std::vector<std::string> out;
  auto differ = [&](std::string what, const auto& ours, const auto& theirs) {
    out.push_back(fmt::format("{}: {} is not {}", what, ours, theirs));
  };
  const auto fitting = texts(told["fits"]);
  if ((found.node != nullptr) != !fitting.empty()) differ("fits", found.node != nullptr, !fitting.empty());
  auto message = std::string(told["message"].as_string());
  if (fitting.empty() && found.why.text() != message) differ("message", found.why.text(), message);
  std::set<std::string> blamed;
  for (auto p : found.why.plugins) blamed.emplace(p->name());
  if (auto theirs = texts(told["by"]); !std::ranges::equal(blamed, theirs))
    differ("plugins", fmt::format("{}", fmt::join(blamed, " ")), fmt::format("{}", fmt::join(theirs, " ")));
  if (found.states.of.empty()) return out;

  std::vector<const node_view*> nodes;
  for (auto& name : fitting) {
    auto node = w.cluster.find_node(name);
    nodes.push_back(node);
    auto no = fits(by, found.states, *pod, *node, w.cluster);
    if (!no.why) differ(name, fmt::format("{}", fmt::join(no.why.reasons, "; ")), "fits");
  }
  auto never = texts(told["never"]);
  if (auto why = told["why"].object())
    for (auto& n : *why) {
      auto no = fits(by, found.states, *pod, *w.cluster.find_node(n.name), w.cluster);
      // A Go map's order is another each time.
      auto theirs = texts(n.value);
      std::ranges::sort(theirs);
      std::ranges::sort(no.why.reasons);
      if (no.why.reasons != theirs)
        differ(n.name, fmt::format("{}", fmt::join(no.why.reasons, "; ")), fmt::format("{}", fmt::join(theirs, "; ")));
      const bool unresolvable = std::ranges::find(never, n.name) != never.end();
      if (!no.why && (no.why.what == verdict::kind::unresolvable) != unresolvable)
        differ(n.name + " for ever", !unresolvable, unresolvable);
    }
  if (!out.empty() || nodes.empty()) return out;
  for (auto& s : scores_of(by, *pod, nodes, w.cluster))
    for (std::size_t i = 0; i < by.scorers.size(); ++i) {
      auto plugin = std::string(by.scorers[i].of->name());
      if (auto theirs = told["scores"][s.node->name][plugin].as_integer(); s.of[i] != theirs)
        differ(s.node->name + " " + plugin, s.of[i], theirs);
    }
  return out;
}

}  // namespace

TEST_CASE("pods are placed as kube-scheduler places them") {
  auto all = cases();
  CHECK(all.size() >= 5000);
  std::size_t wrong = 0, number = 0;
  std::map<std::string, std::size_t> kinds;
  for (auto& c : all) {
    ++number;
    auto found = differences(c);
    if (found.empty()) continue;
    ++wrong;
    for (auto& f : found) ++kinds[f.substr(0, f.find(':'))];
    if (wrong <= 10) MESSAGE(fmt::format("case {}: {}", number, fmt::join(found, "\n  ")));
  }
  CHECK(wrong == 0);
}
