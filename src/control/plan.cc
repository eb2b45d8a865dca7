#include "control/plan.h"

#include <algorithm>

namespace kedge::control {

reference reference_to(const json::value& o) {
  auto& m = o["metadata"];
  return {.api_version = std::string(o["apiVersion"].as_string()),
          .kind = std::string(o["kind"].as_string()),
          .ns = std::string(m["namespace"].as_string()),
          .name = std::string(m["name"].as_string()),
          .uid = std::string(m["uid"].as_string())};
}

namespace {
change change_of(change::what kind, api::resource_id resource, const json::value& object) {
  auto& m = object["metadata"];
  return {.kind = kind,
          .resource = std::move(resource),
          .ns = std::string(m["namespace"].as_string()),
          .name = std::string(m["name"].as_string())};
}
}  // namespace

change creation(api::resource_id resource, std::string ns, json::value object) {
  auto c = change_of(change::what::create, std::move(resource), object);
  c.ns = std::move(ns);
  c.object = std::move(object);
  return c;
}

change update_of(api::resource_id resource, json::value object, std::string subresource) {
  auto c = change_of(change::what::update, std::move(resource), object);
  c.subresource = std::move(subresource);
  c.object = std::move(object);
  return c;
}

change application(api::resource_id resource, json::value object, std::string manager) {
  auto c = change_of(change::what::apply, std::move(resource), object);
  c.manager = std::move(manager);
  c.object = std::move(object);
  return c;
}

change removal_of(api::resource_id resource, const json::value& object, api::delete_options options) {
  options.resource_version = object["metadata"]["resourceVersion"].as_string();
  return removal_of_any_version(std::move(resource), object, std::move(options));
}

change removal_of_any_version(api::resource_id resource, const json::value& object, api::delete_options options) {
  auto c = change_of(change::what::remove, std::move(resource), object);
  c.options = std::move(options);
  c.options.uid = object["metadata"]["uid"].as_string();
  return c;
}

plan& plan::write(change c) {
  if (steps.empty() || steps.back().how != pace::in_order) steps.push_back({});
  steps.back().changes.push_back(std::move(c));
  return *this;
}

plan& plan::write(pace how, std::vector<change> changes) {
  if (!changes.empty()) steps.push_back({how, std::move(changes)});
  return *this;
}

plan& plan::tell(reference about, std::string reason, std::string message, bool warning) {
  notices.push_back({std::move(about), warning, std::move(reason), std::move(message)});
  return *this;
}

plan& plan::look_after(duration d) {
  again = again ? std::min(*again, d) : d;
  return *this;
}

}  // namespace kedge::control
