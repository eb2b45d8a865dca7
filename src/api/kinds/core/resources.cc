#include "api/kinds/core/resources.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "base/strings.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

constexpr std::string_view standard[] = {"cpu",
                                         "memory",
                                         "ephemeral-storage",
                                         "requests.cpu",
                                         "requests.memory",
                                         "requests.ephemeral-storage",
                                         "limits.cpu",
                                         "limits.memory",
                                         "limits.ephemeral-storage",
                                         "pods",
                                         "resourcequotas",
                                         "services",
                                         "replicationcontrollers",
                                         "secrets",
                                         "configmaps",
                                         "persistentvolumeclaims",
                                         "storage",
                                         "requests.storage",
                                         "services.nodeports",
                                         "services.loadbalancers"};
// Of them, those that are counted.
constexpr std::string_view counted[] = {
    "pods",       "resourcequotas",         "services",           "replicationcontrollers", "secrets",
    "configmaps", "persistentvolumeclaims", "services.nodeports", "services.loadbalancers"};

template <std::size_t N>
bool is_one_of(const std::string_view (&list)[N], std::string_view name) noexcept {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

bool counts_whole(std::string_view resource) { return is_one_of(counted, resource) || is_extended_resource(resource); }

bool is_cpu_or_memory(std::string_view resource) noexcept { return resource == "cpu" || resource == "memory"; }

schema::quantity amount_of(const json::value& v) {
  return schema::quantity::parse(v.as_string()).value_or(schema::quantity());
}

// "hugepages-2Mi" comes in multiples of 2Mi.
bool divides(std::string_view resource, const schema::quantity& q) {
  auto page = schema::quantity::parse(resource.substr(std::string_view("hugepages-").size()));
  if (!page || page->sign() <= 0 || !page->is_whole()) return false;
  return q.value() % page->value() == 0;
}

class requirement_check {
 public:
  requirement_check(causes& out, const json::value& r, const place& at, const requirement_rules& rules)
      : out_(out), r_(r), at_(at), rules_(rules) {}

  void run() {
    const place limits(at_, "limits"), requests(at_, "requests");
    if (auto list = r_["limits"].object())
      for (auto& m : *list) amount(m, place::of_key(limits, m.name));
    if (auto list = r_["requests"].object())
      for (auto& m : *list) {
        const place here = place::of_key(requests, m.name);
        name_and_amount(m, here);
        against_limit(m, requests, limits);
        pages(m, here);
      }
    if (!plain_ && paged_) out_.push_back(forbidden_value(at_, "HugePages require cpu or memory"));
    claims();
  }

 private:
  void amount(const json::member& m, const place& here) {
    name_and_amount(m, here);
    pages(m, here);
  }

  void name_and_amount(const json::member& m, const place& here) {
    if (rules_.of_pod)
      pod_resource_name(m.name, here);
    else
      check_container_resource_name(out_, m.name, here);
    check_amount(out_, m.name, m.value, here);
    plain_ = plain_ || is_cpu_or_memory(m.name);
  }

  void pod_resource_name(std::string_view name, const place& here) {
    const auto before = out_.size();
    check_resource_name(out_, name, here);
    if (out_.size() == before && !is_cpu_or_memory(name) && !is_huge_page(name))
      out_.push_back(not_supported(here, name, {"cpu", "hugepages-", "memory"}));
  }

  void pages(const json::member& m, const place& here) {
    if (!is_huge_page(m.name)) return;
    paged_ = true;
    auto q = amount_of(m.value);
    if (!rules_.indivisible_huge_pages && !divides(m.name, q))
      out_.push_back(
          invalid_value(here, q.text(), fmt::format("{} is not positive integer multiple of {}", q.text(), m.name)));
  }

  void against_limit(const json::member& request, const place& requests, const place& limits) {
    auto limit = r_["limits"].find(request.name);
    if (!limit) {
      if (!may_overcommit(request.name))
        out_.push_back(required(limits, "Limit must be set for non overcommitable resources"));
      return;
    }
    auto asked = amount_of(request.value), most = amount_of(*limit);
    if (!(asked == most) && !may_overcommit(request.name))
      out_.push_back(invalid_value(requests, asked.text(),
                                   fmt::format("must be equal to {} limit of {}", request.name, most.text())));
    else if (most < asked)
      out_.push_back(
          invalid_value(requests, asked.text(),
                        fmt::format("must be less than or equal to {} limit of {}", request.name, most.text())));
  }

  // A claim may be named whole once, or by its requests; a whole one and a request of it don't go together.
  void claims() {
    const place list(at_, "claims");
    std::unordered_set<std::string> whole, parts;
    name_set in_parts;
    for (std::size_t i = 0; i < r_["claims"].size(); ++i) {
      auto& claim = r_["claims"][i];
      const place here(list, i);
      auto name = claim["name"].as_string(), request = claim["request"].as_string();
      if (name.empty()) {
        out_.push_back(required(here));
        continue;
      }
      if (whole.contains(std::string(name))) {
        out_.push_back(duplicate_value(here, name));
      } else {
        if (!request.empty()) add_problems(out_, place(here, "request"), request, check_dns1123_label(request));
        auto key = request.empty() ? std::string(name) : fmt::format("{}/{}", name, request);
        if (!request.empty() && !parts.insert(key).second)
          out_.push_back(duplicate_value(here, key));
        else if (request.empty() && in_parts.contains(name))
          out_.push_back(duplicate_value(here, name));
        if (request.empty())
          whole.insert(key);
        else
          in_parts.insert(name);
      }
      if (!rules_.claims || !rules_.claims->contains(name)) out_.push_back(unknown_claim(here, name));
    }
  }

  cause unknown_claim(const place& here, std::string_view name) const {
    auto c = not_found_value(here, name);
    c.message += ": must be one of the names in pod.spec.resourceClaims";
    if (!rules_.claims || rules_.claims->empty()) {
      c.message += " which is empty";
    } else {
      std::vector<std::string> known(rules_.claims->begin(), rules_.claims->end());
      std::sort(known.begin(), known.end());
      c.message += ": " + join(known, ", ");
    }
    return c;
  }

  causes& out_;
  const json::value& r_;
  const place& at_;
  const requirement_rules& rules_;
  bool plain_ = false, paged_ = false;  // cpu or memory, huge pages are named
};

}  // namespace

bool is_huge_page(std::string_view resource) noexcept { return resource.starts_with("hugepages-"); }

bool is_native_resource(std::string_view resource) noexcept {
  return resource.find('/') == resource.npos || resource.find("kubernetes.io/") != resource.npos;
}

bool is_extended_resource(std::string_view resource) {
  if (is_native_resource(resource) || resource.starts_with("requests.")) return false;
  return check_qualified_name(fmt::format("requests.{}", resource)).empty();  // as a quota would name it
}

bool is_standard_resource(std::string_view resource) noexcept {
  return is_one_of(standard, resource) || is_huge_page(resource) || resource.starts_with("requests.hugepages-");
}

bool may_overcommit(std::string_view resource) noexcept {
  return is_native_resource(resource) && !is_huge_page(resource);
}

void check_resource_name(causes& out, std::string_view name, const place& at) {
  if (auto wrong = check_qualified_name(name); !wrong.empty()) return add_problems(out, at, name, wrong);
  if (name.find('/') == name.npos && !is_standard_resource(name))
    out.push_back(invalid_value(at, name, "must be a standard resource type or fully qualified"));
}

bool is_quota_resource(std::string_view name) noexcept { return is_standard_resource(name) && name != "storage"; }

void check_quota_resource_name(causes& out, std::string_view name, const place& at) {
  check_resource_name(out, name, at);
  if (name.find('/') == name.npos && !is_quota_resource(name))
    out.push_back(invalid_value(at, name, "must be a standard resource for quota"));
}

void check_container_resource_name(causes& out, std::string_view name, const place& at) {
  check_resource_name(out, name, at);
  if (name.find('/') == name.npos) {
    if (!is_cpu_or_memory(name) && name != "ephemeral-storage" && !is_huge_page(name))
      out.push_back(invalid_value(at, name, "must be a standard resource for containers"));
  } else if (!is_native_resource(name) && !is_extended_resource(name)) {
    out.push_back(invalid_value(at, name, "doesn't follow extended resource name standard"));
  }
}

void check_amount(causes& out, std::string_view resource, const json::value& quantity, const place& at) {
  auto q = amount_of(quantity);
  if (q.sign() < 0) out.push_back(invalid_value(at, q.text(), "must be greater than or equal to 0"));
  if (counts_whole(resource) && !q.is_whole()) out.push_back(invalid_value(at, q.text(), "must be an integer"));
}

void check_requirements(causes& out, const json::value& requirements, const place& at, const requirement_rules& rules) {
  if (requirements.is_object()) requirement_check(out, requirements, at, rules).run();
}

}  // namespace kedge::api
