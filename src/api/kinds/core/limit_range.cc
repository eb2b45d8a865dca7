// limit_range.cc: LimitRange.
#include <fmt/format.h>

#include <optional>
#include <set>

#include "api/kinds/core/resources.h"
#include "api/registry/kind_rules.h"
#include "schema/quantity.h"

namespace kedge::api {
namespace {

using amount = std::optional<schema::quantity>;

void check_type(causes& out, std::string_view type, const place& at) {
  auto wrong = check_qualified_name(type);
  add_problems(out, at, type, wrong);
  if (wrong.empty() && type.find('/') == type.npos && type != "Pod" && type != "Container" &&
      type != "PersistentVolumeClaim")
    out.push_back(invalid_value(at, type, "must be a standard limit type or fully qualified"));
}

// The amounts of one resource, compared.
class resource_check {
 public:
  resource_check(causes& out, const json::value& limit, std::string_view name, const place& at)
      : out_(out), name_(name), at_(at) {
    auto of = [&](const char* list) -> amount {
      auto v = limit[list].find(name);
      auto q = v ? schema::quantity::parse(v->as_string()) : result<schema::quantity>(fail(errc::invalid, ""));
      return q ? amount(*q) : std::nullopt;
    };
    const bool of_pod = limit["type"].as_string() == "Pod";
    least_ = of("min");
    most_ = of("max");
    ratio_ = of("maxLimitRequestRatio");
    if (of_pod) return;  // which has no defaults
    usual_ = of("default");
    asked_ = of("defaultRequest");
  }

  void run() {
    over("min", least_, least_, "min value", most_, "max value");
    over("defaultRequest", asked_, least_, "min value", asked_, "default request value");
    over("defaultRequest", asked_, asked_, "default request value", most_, "max value");
    over("defaultRequest", asked_, asked_, "default request value", usual_, "default limit value");
    over("default", least_, least_, "min value", usual_, "default value");
    over("default", most_, usual_, "default value", most_, "max value");
    check_ratio();
    if (!may_overcommit(name_) && usual_ && asked_ && !(*usual_ == *asked_))
      wrong("defaultRequest", *asked_,
            fmt::format("default value {} must equal to defaultRequest value {} in {}", usual_->text(), asked_->text(),
                        name_));
  }

 private:
  void wrong(const char* list, const schema::quantity& shown, const std::string& why) {
    out_.push_back(invalid_value(place::of_key(at_, list, name_), shown.text(), why));
  }

  // `low` must not be greater than `high`; told of `list`, with `shown`.
  void over(const char* list, const amount& shown, const amount& low, const char* low_name, const amount& high,
            const char* high_name) {
    if (low && high && *high < *low)
      wrong(list, *shown, fmt::format("{} {} is greater than {} {}", low_name, low->text(), high_name, high->text()));
  }

  void check_ratio() {
    if (!ratio_) return;
    if (*ratio_ < schema::quantity::of(1))
      wrong("maxLimitRequestRatio", *ratio_, fmt::format("ratio {} is less than 1", ratio_->text()));
    if (!least_ || !most_) return;
    constexpr auto milli_max = INT64_MAX / 1000;
    auto ratio = static_cast<double>(ratio_->value()),
         bound = static_cast<double>(most_->value()) / static_cast<double>(least_->value());
    if (ratio_->value() < milli_max && least_->value() < milli_max && most_->value() < milli_max) {
      ratio = static_cast<double>(ratio_->milli_value()) / 1000;
      bound = static_cast<double>(most_->milli_value()) / static_cast<double>(least_->milli_value());
    }
    if (ratio > bound)
      wrong("maxLimitRequestRatio", *ratio_,
            fmt::format("ratio {} is greater than max/min = {:f}", ratio_->text(), bound));
  }

  causes& out_;
  std::string_view name_;
  const place& at_;
  amount least_, most_, usual_, asked_, ratio_;
};

void check_limit(causes& out, const json::value& limit, const place& at) {
  auto type = limit["type"].as_string();
  std::set<std::string_view> names;
  auto check_names = [&](const char* list) {
    auto map = limit[list].object();
    if (!map) return;
    for (auto& m : *map) {
      const place here = place::of_key(at, list, m.name);
      if (type == "Pod" || type == "Container")
        check_container_resource_name(out, m.name, here);
      else
        check_resource_name(out, m.name, here);
      names.insert(m.name);
    }
  };
  check_names("max");
  check_names("min");
  for (auto list : {"default", "defaultRequest"}) {
    if (type != "Pod")
      check_names(list);
    else if (!limit[list].empty())
      out.push_back(forbidden_value(place(at, list), "may not be specified when `type` is 'Pod'"));
  }
  if (type == "PersistentVolumeClaim" && !limit["min"].find("storage") && !limit["max"].find("storage"))
    out.push_back(
        required(place(at, "limits"), "either minimum or maximum storage value is required, but neither was provided"));
  check_names("maxLimitRequestRatio");
  for (auto name : names) resource_check(out, limit, name, at).run();
}

void validate(causes& out, const json::value& o) {
  std::set<std::string_view> types;
  for (std::size_t i = 0; i < o["spec"]["limits"].size(); ++i) {
    auto& limit = o["spec"]["limits"][i];
    const place at("spec.limits"), here(at, i);
    auto type = limit["type"].as_string();
    check_type(out, type, place(here, "type"));
    if (!types.insert(type).second) out.push_back(duplicate_value(place(here, "type"), type));
    check_limit(out, limit, here);
  }
}

void prepare_create(json::value& o, const kind_context& c) {
  if (o["metadata"]["name"].as_string().empty()) o.member("metadata").set("name", c.random.uuid());
}

}  // namespace

const kind_rules kinds::limit_ranges{.group = "",
                                     .resource = "limitranges",
                                     .create_by_update = true,
                                     .prepare_create = prepare_create,
                                     .validate = validate};

}  // namespace kedge::api
