// limit_ranger.cc: a namespace's LimitRanges give containers what they don't name, and bound what they do.
#include <algorithm>

#include <fmt/format.h>

#include "api/admission/plugin.h"
#include "api/registry/lookup.h"
#include "base/strings.h"
#include "pod/amounts.h"
#include "pod/references.h"

namespace kedge::api {
namespace {

using pod::amounts;
using pod::amounts_of;
using schema::quantity;

std::vector<json::value> ranges_of(const store::snapshot& cluster, const std::string& ns) {
  std::vector<json::value> out;
  each_object(cluster, directory_prefix("limitranges", ns), [&](json::value& range) {
    out.push_back(std::move(range));
    return true;
  });
  return out;
}

// Sets what `defaults` has and the container lacks; gives the names in order.
std::vector<std::string> fill(json::value& container, std::string_view which, const json::value& defaults) {
  std::vector<std::string> set;
  auto members = defaults.object();
  if (!members) return set;
  for (auto& [name, value] : *members) {
    if (container["resources"][which].find(name)) continue;
    container.member("resources").member(which).set(name, value);
    set.push_back(name);
  }
  std::sort(set.begin(), set.end());
  return set;
}

void give_defaults(json::value& pod, const json::value& limit) {
  std::vector<std::string> notes;
  each_container(pod.member("spec"), [&](json::value& container, std::string_view list) {
    if (list == "ephemeralContainers") return;
    auto limits = fill(container, "limits", limit["default"]);
    auto requests = fill(container, "requests", limit["defaultRequest"]);
    auto whose =
        fmt::format(" for {} {}", list == "containers" ? "container" : "init container", container["name"].as_string());
    if (!requests.empty()) notes.push_back(join(requests, ", ") + " request" + whose);
    if (!limits.empty()) notes.push_back(join(limits, ", ") + " limit" + whose);
  });
  if (!notes.empty())
    pod.member("metadata")
        .member("annotations")
        .set("kubernetes.io/limit-ranger", "LimitRanger plugin set: " + join(notes, "; "));
}

api_result<void> admit(admission_request& r, plugin_context& c) {
  if (!concerns(r, "", "pods") || r.what != operation::create || !r.object) return {};
  for (auto& range : ranges_of(c.cluster, r.who.ns))
    if (auto limits = range["spec"]["limits"].array())
      for (auto& limit : *limits)
        if (limit["type"].as_string() == "Container") give_defaults(*r.object, limit);
  return {};
}

struct asked {
  const amounts &requests, &limits;
};

const quantity* find(const amounts& list, std::string_view name) {
  auto at = list.find(name);
  return at == list.end() ? nullptr : &at->second;
}

void check_min(std::vector<std::string>& wrong, std::string_view type, const amounts& bounds, const asked& a) {
  for (auto& [name, bound] : bounds) {
    auto request = find(a.requests, name), limit = find(a.limits, name);
    auto least = fmt::format("minimum {} usage per {} is {}", name, type, bound.text());
    if (!request)
      wrong.push_back(least + ".  No request is specified");
    else if (*request < bound)
      wrong.push_back(least + ", but request is " + request->text());
    else if (limit && *limit < bound)
      wrong.push_back(least + ", but limit is " + limit->text());
  }
}

void check_max(std::vector<std::string>& wrong, std::string_view type, const amounts& bounds, const asked& a) {
  for (auto& [name, bound] : bounds) {
    auto request = find(a.requests, name), limit = find(a.limits, name);
    auto most = fmt::format("maximum {} usage per {} is {}", name, type, bound.text());
    if (!limit)
      wrong.push_back(most + ".  No limit is specified");
    else if (bound < *limit)
      wrong.push_back(most + ", but limit is " + limit->text());
    else if (request && bound < *request)
      wrong.push_back(most + ", but request is " + request->text());
  }
}

void check_ratio(std::vector<std::string>& wrong, std::string_view type, const amounts& bounds, const asked& a) {
  for (auto& [name, bound] : bounds) {
    auto request = find(a.requests, name), limit = find(a.limits, name);
    auto most = fmt::format("{} max limit to request ratio per {} is {}", name, type, bound.text());
    if (!request || request->is_zero()) {
      wrong.push_back(most + ", but no request is specified or request is 0");
    } else if (!limit || limit->is_zero()) {
      wrong.push_back(most + ", but no limit is specified or limit is 0");
    } else {
      auto ratio = static_cast<double>(limit->milli_value()) / static_cast<double>(request->milli_value());
      if (ratio * 1000 > static_cast<double>(bound.milli_value()))
        wrong.push_back(fmt::format("{}, but provided ratio is {:f}", most, ratio));
    }
  }
}

void check_all(std::vector<std::string>& wrong, std::string_view type, const json::value& limit, const asked& a) {
  check_min(wrong, type, amounts_of(limit["min"]), a);
  check_max(wrong, type, amounts_of(limit["max"]), a);
  check_ratio(wrong, type, amounts_of(limit["maxLimitRequestRatio"]), a);
}

void check_pod(std::vector<std::string>& wrong, const json::value& pod, const json::value& limit) {
  auto type = limit["type"].as_string();
  if (type == "Container") {
    each_container(pod["spec"], [&](const json::value& container, std::string_view list) {
      if (list == "ephemeralContainers") return;
      auto requests = amounts_of(container["resources"]["requests"]),
           limits = amounts_of(container["resources"]["limits"]);
      check_all(wrong, type, limit, {requests, limits});
    });
  } else if (type == "Pod") {
    auto requests = pod::amounts_of_pod(pod, "requests"), limits = pod::amounts_of_pod(pod, "limits");
    check_all(wrong, type, limit, {requests, limits});
  }
}

void check_claim(std::vector<std::string>& wrong, const json::value& claim, const json::value& limit) {
  if (limit["type"].as_string() != "PersistentVolumeClaim") return;
  auto requests = amounts_of(claim["spec"]["resources"]["requests"]);
  check_min(wrong, "PersistentVolumeClaim", amounts_of(limit["min"]), {requests, amounts{}});
  for (auto& [name, bound] : amounts_of(limit["max"])) {
    auto request = find(requests, name);
    auto most = fmt::format("maximum {} usage per PersistentVolumeClaim is {}", name, bound.text());
    if (!request)
      wrong.push_back(most + ".  No request is specified");
    else if (bound < *request)
      wrong.push_back(most + ", but request is " + request->text());
  }
}

api_result<void> check(admission_request& r, plugin_context& c) {
  bool pod = concerns(r, "", "pods") && r.what == operation::create;
  bool resized = concerns(r, "", "pods", "resize") && r.what == operation::update;
  bool claim =
      concerns(r, "", "persistentvolumeclaims") && (r.what == operation::create || r.what == operation::update);
  if (!r.object || !(pod || resized || claim)) return {};
  for (auto& range : ranges_of(c.cluster, r.who.ns)) {
    std::vector<std::string> wrong;
    if (auto limits = range["spec"]["limits"].array())
      for (auto& limit : *limits) claim ? check_claim(wrong, *r.object, limit) : check_pod(wrong, *r.object, limit);
    if (wrong.size() == 1) return fail(refused(r, wrong.front()));
    if (!wrong.empty()) return fail(refused(r, '[' + join(wrong, ", ") + ']'));
  }
  return {};
}

}  // namespace

const plugin plugins::limit_ranger{
    .name = "LimitRanger", .operations = on_create | on_update, .mutate = admit, .validate = check};

}  // namespace kedge::api
