// rules.h: how a group says what its types fill in. Only for this folder and defaults.cc.
//
// A rule belongs to a type and is applied wherever a value of that type stands in an object, the outer before the inner
// (as the generated SetObjectDefaults_* functions of Kubernetes do). Fields whose default OpenAPI carries need no rule.
#pragma once

#include <span>
#include <string_view>

#include "json/value.h"

namespace kedge::schema::defaults {

// Notes whether anything was filled in, so that an untouched object need not be brought back to canonical form.
struct target {
  json::value& v;
  bool& changed;

  const json::value& operator[](std::string_view name) const { return v[name]; }
  // Sets what is missing. A zero ("" or 0) counts as missing, as it does in Go for a field that is no pointer.
  void fill(std::string_view name, json::value content) const {
    auto there = v.find(name);
    if (there && !there->is_null()) return;
    set(name, std::move(content));
  }
  void fill_zero(std::string_view name, json::value content) const {
    auto there = v.find(name);
    if (there && !there->is_null() && !(there->is_string() && there->as_string().empty()) &&
        !(there->is_number() && there->as_number() == 0))
      return;
    set(name, std::move(content));
  }
  void set(std::string_view name, json::value content) const {
    v.set(name, std::move(content));
    changed = true;
  }
  // A struct within, made when it is missing.
  target inside(std::string_view name) const {
    auto there = v.find(name);
    if (!there || !there->is_object()) set(name, json::object());
    return {*v.find(name), changed};
  }
  // A struct within that is there, or nothing to fill.
  bool has(std::string_view name) const {
    auto there = v.find(name);
    return there && !there->is_null();
  }
};

struct rule {
  std::string_view type;  // "core/v1.PodSpec"
  void (*apply)(const target& t);
};

std::span<const rule> core_rules();
std::span<const rule> apps_rules();
std::span<const rule> batch_rules();
std::span<const rule> autoscaling_rules();
std::span<const rule> networking_rules();  // and discovery
std::span<const rule> admission_rules();   // admissionregistration, apiextensions, apiregistration
std::span<const rule> flowcontrol_rules();
std::span<const rule> storage_rules();  // and scheduling
std::span<const rule> access_rules();   // rbac
std::span<const rule> device_rules();   // resource

}  // namespace kedge::schema::defaults
