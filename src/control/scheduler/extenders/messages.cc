#include "control/scheduler/extenders/messages.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/strings.h"
#include "control/scheduler/extenders/limits.h"
#include "json/write.h"

namespace kedge::control::scheduler {
namespace {

const json::value& member(const json::value& v, std::string_view name) {
  static const json::value none;
  if (auto exact = v.find(name)) return *exact;
  if (auto all = v.object())
    for (auto& m : *all)
      if (lower(m.name) == lower(name)) return m.value;
  return none;
}

std::string text(std::string_view s) { return json::write(json::value(s)); }

// "[a,b]" of texts.
template <typename List, typename F>
std::string list_of(const List& list, F one) {
  std::string out = "[";
  for (auto& e : list) {
    if (out.size() > 1) out += ',';
    out += one(e);
  }
  return out + "]";
}

std::map<std::string, std::string, std::less<>> reasons_of(const json::value& v) {
  std::map<std::string, std::string, std::less<>> out;
  if (auto all = v.object())
    for (auto& m : *all) out.emplace(m.name, m.value.as_string());
  return out;
}

}  // namespace

std::string nodes_question(std::string_view pod, std::span<const named_text> nodes, bool names_alone) {
  std::string whole = "null", names = "null";
  if (names_alone)
    names = list_of(nodes, [](auto& n) { return text(n.name); });
  else
    whole = R"({"metadata":{},"items":)" + list_of(nodes, [](auto& n) -> const std::string& { return n.text; }) + "}";
  return fmt::format(R"({{"Pod":{},"Nodes":{},"NodeNames":{}}})", pod, whole, names);
}

std::expected<filter_answer, std::string> read_filter(const json::value& answer, std::span<const named_text> asked,
                                                      bool names_alone, std::string_view url) {
  if (auto wrong = told_error(answer); !wrong.empty()) return std::unexpected(std::move(wrong));
  filter_answer out{.nodes = {},
                    .failed = reasons_of(member(answer, "FailedNodes")),
                    .unresolvable = reasons_of(member(answer, "FailedAndUnresolvableNodes"))};
  std::set<std::string_view> known;
  for (auto& n : asked) known.insert(n.name);
  auto& names = member(answer, "NodeNames");
  auto& items = member(member(answer, "Nodes"), "items");
  const bool by_name = names_alone && names.is_array();
  auto& list = by_name ? names : items;
  for (std::size_t i = 0; i < list.size(); ++i) {
    auto name = by_name ? list[i].as_string() : list[i]["metadata"]["name"].as_string();
    if (!known.contains(name))
      return std::unexpected(fmt::format(
          "extender {} claims a filtered node {} which is not found in the input node list", quote(url), quote(name)));
    out.nodes.emplace_back(name);
  }
  return out;
}

node_scores read_scores(const json::value& answer) {
  node_scores out;
  auto bounded = [](std::int64_t score) { return std::clamp(score, -score_told_max, score_told_max); };
  for (std::size_t i = 0; i < answer.size(); ++i) {
    auto& sum = out[std::string(member(answer[i], "Host").as_string())];
    sum = bounded(sum + bounded(member(answer[i], "Score").as_integer()));
  }
  return out;
}

std::string victims_question(std::string_view pod, const victims_by_node& victims, bool uids_alone) {
  std::string all;
  for (auto& [node, v] : victims) {
    auto pods =
        list_of(v.pods, [&](auto& p) { return uids_alone ? fmt::format(R"({{"UID":{}}})", text(p.name)) : p.text; });
    all += fmt::format(R"({}{}:{{"Pods":{},"NumPDBViolations":{}}})", all.empty() ? "" : ",", text(node), pods,
                       v.violations);
  }
  all = "{" + all + "}";
  return fmt::format(R"({{"Pod":{},"NodeNameToVictims":{},"NodeNameToMetaVictims":{}}})", pod,
                     uids_alone ? "null" : all, uids_alone ? all : "null");
}

victims_by_node read_victims(const json::value& answer) {
  victims_by_node out;
  auto all = member(answer, "NodeNameToMetaVictims").object();
  if (!all) return out;
  for (auto& m : *all) {
    auto& v = out[m.name];
    v.violations = member(m.value, "NumPDBViolations").as_integer();
    auto& list = member(m.value, "Pods");
    for (std::size_t i = 0; i < list.size(); ++i)
      v.pods.push_back({std::string(member(list[i], "UID").as_string()), {}});
  }
  return out;
}

std::string binding_question(std::string_view name, std::string_view ns, std::string_view uid, std::string_view node) {
  return fmt::format(R"({{"PodName":{},"PodNamespace":{},"PodUID":{},"Node":{}}})", text(name), text(ns), text(uid),
                     text(node));
}

std::string told_error(const json::value& answer) { return std::string(member(answer, "Error").as_string()); }

}  // namespace kedge::control::scheduler
