#include "control/scheduler/devices/claim_binder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "reactor/loop.h"

namespace kedge::control::scheduler {
namespace {

const api::resource_id device_claims{"resource.k8s.io", "v1", "resourceclaims"}, pods{"", "v1", "pods"};
// Keeps a claim that has devices until they are given back.
constexpr std::string_view protection = "resource.kubernetes.io/delete-protection";

bool has(const json::value& list, std::string_view text) {
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i].as_string() == text) return true;
  return false;
}

bool reserves(const json::value& claim, std::string_view uid) {
  auto& list = claim["status"]["reservedFor"];
  for (std::size_t i = 0; i < list.size(); ++i)
    if (list[i]["uid"].as_string() == uid) return true;
  return false;
}

// Whether a write may have landed all the same.
bool is_in_doubt(const api::status& refused) noexcept { return refused.code == 504; }
// Until it is tried again: a database that is away comes back some time.
constexpr std::chrono::milliseconds doubt_pause{200};

// What is written of an allocation, with nothing that its write adds.
bool is_same(const json::value& allocation, json::value written) {
  written.erase("allocationTimestamp");
  return allocation == written;
}

json::value with_share_ids(json::value allocation) {
  auto& random = reactor::loop::current().random();
  for (auto& r : allocation.member("devices").member("results").make_array())
    if (r["shareID"].is_string()) r.set("shareID", random.uuid());
  return allocation;
}

}  // namespace

void claim_binder::assume(device_plan& plan) {
  auto take = [&](const device_claim& claim, json::value& allocation) {
    if (allocation.is_null()) return;
    allocation = with_share_ids(std::move(allocation));
    cluster_.devices().assume(with_allocation(claim, allocation));
  };
  for (auto& one : plan.claims) take(*one.claim, one.allocation);
  if (plan.for_resources) take(*plan.for_resources->what.claim, plan.for_resources->allocation);
}

void claim_binder::forget(const device_plan& plan) {
  for (auto& one : plan.claims)
    if (!one.allocation.is_null()) cluster_.devices().forget(one.claim->uid);
  if (plan.for_resources) cluster_.devices().forget(plan.for_resources->what.claim->uid);
}

task<result<void>> claim_binder::write(pod_ref pod, device_plan plan, device_claim_ref& made) {
  result<void> done;
  for (auto& one : plan.claims) {
    if (!done || one.claim->is_reserved_for(pod->uid)) continue;
    done = co_await write_one(pod, one);
  }
  if (done && plan.for_resources) {
    auto& more = *plan.for_resources;
    auto claim = co_await make(pod, more);
    if (claim) {
      made = *claim;
      done = co_await write_one(pod, {*claim, more.allocation});
      if (done) done = co_await tell(pod, more, made->name);
    } else {
      done = std::unexpected(claim.error());
    }
  }
  forget(plan);
  co_return done;
}

task<result<device_claim_ref>> claim_binder::make(pod_ref pod, const device_plan::made& what) {
  json::value claim = json::object{
      {"apiVersion", "resource.k8s.io/v1"},
      {"kind", "ResourceClaim"},
      {"metadata", json::object{{"generateName", pod->name + "-extended-resources-"},
                                {"namespace", pod->ns},
                                {"annotations", json::object{{std::string(extended_resource_claim), "true"}}},
                                {"ownerReferences", json::array{json::object{{"apiVersion", "v1"},
                                                                             {"kind", "Pod"},
                                                                             {"name", pod->name},
                                                                             {"uid", pod->uid},
                                                                             {"controller", true}}}}}},
      {"spec", json::object{{"devices", json::object{{"requests", what.what.requests}}}}}};
  // One that was made without our knowing has no devices, and is found by the next try.
  auto done = co_await objects_.create(device_claims, pod->ns, std::move(claim));
  measures_.claim_made(done.has_value());
  if (!done)
    co_return fail(errc::conflict,
                   fmt::format("create claim for extended resources {}: {}", pod->ns + "/", done.error().message));
  cluster_.devices().set_claim(*done);
  co_return device_claim_of(*done);
}

task<result<void>> claim_binder::tell(pod_ref pod, const device_plan::made& what, std::string name) {
  const json::value status =
      json::object{{"requestMappings", what.what.mappings}, {"resourceClaimName", std::move(name)}};
  auto change = [&](json::value& now) {
    if (now["metadata"]["uid"].as_string() != pod->uid || now["status"]["extendedResourceClaimStatus"] == status)
      return false;
    now.member("status").set("extendedResourceClaimStatus", status);
    return true;
  };
  auto done = co_await objects_.modify(pods, pod->ns, pod->name, change, "status");
  if (done) co_return result<void>();
  co_return fail(errc::conflict,
                 fmt::format("update pod {} ExtendedResourceClaimStatus: {}", pod->key(), done.error().message));
}

task<result<void>> claim_binder::write_one(pod_ref pod, device_plan::one one) {
  const auto& c = *one.claim;
  if (!one.allocation.is_null()) {
    std::string wrong;
    auto protect = [&](json::value& claim) {
      if (claim["metadata"]["uid"].as_string() != c.uid || claim["metadata"]["deletionTimestamp"].is_string())
        wrong = fmt::format("claim {} got deleted in the meantime", c.key());
      if (!wrong.empty() || has(claim["metadata"]["finalizers"], protection)) return false;
      claim.member("metadata").member("finalizers").push_back(protection);
      return true;
    };
    auto done = co_await objects_.modify(device_claims, c.ns, c.name, protect);
    if (!done)
      co_return fail(errc::conflict, fmt::format("add finalizer to claim {}: {}", c.key(), done.error().message));
    if (!wrong.empty()) co_return fail(errc::conflict, wrong);
  }
  co_return co_await reserve(std::move(pod), std::move(one));
}

task<result<void>> claim_binder::reserve(pod_ref pod, device_plan::one one) {
  const auto& c = *one.claim;
  const bool gives = !one.allocation.is_null();
  std::string wrong;
  auto change = [&](json::value& claim) {
    wrong.clear();
    if (claim["metadata"]["uid"].as_string() != c.uid || claim["metadata"]["deletionTimestamp"].is_string()) {
      wrong = fmt::format("claim {} got deleted in the meantime", c.key());
      return false;
    }
    auto& has_devices = claim["status"]["allocation"];
    // What was written without our knowing is ours.
    const bool there = gives && has_devices.is_object() && is_same(one.allocation, has_devices);
    if (there && reserves(claim, pod->uid)) return false;
    if (gives && has_devices.is_object() && !there)
      wrong = fmt::format("claim {} got allocated elsewhere in the meantime", c.key());
    else if (!gives && !has_devices.is_object())
      wrong = fmt::format("claim {} got deallocated elsewhere in the meantime", c.key());
    if (!wrong.empty()) return false;
    auto& status = claim.member("status");
    if (gives) status.set("allocation", one.allocation);
    auto& allocation = status.member("allocation");
    if (!allocation["allocationTimestamp"].is_string())
      allocation.set("allocationTimestamp", format_rfc3339(reactor::loop::current().wall_now()));
    if (!reserves(claim, pod->uid))
      status.member("reservedFor")
          .push_back(json::object{{"resource", "pods"}, {"name", pod->name}, {"uid", pod->uid}});
    return true;
  };
  for (bool doubt = false;;) {
    auto done = co_await objects_.modify(device_claims, c.ns, c.name, change, "status");
    if (done) {
      cluster_.devices().set_claim(*done);
      if (!wrong.empty()) co_return fail(errc::conflict, wrong);
      co_return result<void>();
    }
    // While it may have landed, nothing but a certain answer ends it.
    doubt |= is_in_doubt(done.error());
    if (!doubt || (done.error().code != 503 && !is_in_doubt(done.error())))
      co_return fail(errc::conflict, fmt::format("add {}reservation to claim {}: {}", gives ? "allocation and " : "",
                                                 c.key(), done.error().message));
    co_await reactor::sleep_for(doubt_pause);
  }
}

task<result<void>> claim_binder::bound(device_plan plan, std::chrono::seconds timeout) {
  const auto deadline = reactor::loop::current().now() + timeout;
  reactor::event changed;
  struct listening {
    claim_binder& owner;
    reactor::event& changed;
    ~listening() {
      std::erase_if(owner.waiting_, [&](auto& e) { return e.second == &changed; });
    }
  } until_end{*this, changed};
  for (auto& one : plan.claims) waiting_.emplace(one.claim->key(), &changed);
  for (;;) {
    bool all = true;
    for (auto& one : plan.claims) {
      auto c = cluster_.devices().find_claim(one.claim->ns, one.claim->name);
      if (!c || c->uid != one.claim->uid)
        co_return fail(errc::conflict, fmt::format("could not find ResourceClaim \"{}\"", one.claim->key()));
      auto is = is_bound(*c);
      if (!is) co_return fail(errc::conflict, is.error());
      all &= *is && c->allocated;
    }
    if (all) co_return result<void>();
    if (!co_await changed.wait_until(deadline))
      co_return fail(errc::timeout, "device binding timeout: context deadline exceeded");
  }
}

task<void> claim_binder::unreserve(pod_ref pod, device_plan plan, device_claim_ref made) {
  if (made) co_await remove(std::move(made));
  for (auto& one : plan.claims) {
    auto leave = [&](json::value& claim) {
      if (claim["metadata"]["uid"].as_string() != one.claim->uid || !reserves(claim, pod->uid)) return false;
      std::erase_if(claim.member("status").member("reservedFor").make_array(),
                    [&](auto& r) { return r["uid"].as_string() == pod->uid; });
      if (claim["status"]["reservedFor"].empty()) claim.member("status").erase("reservedFor");
      return true;
    };
    auto done = co_await objects_.modify(device_claims, one.claim->ns, one.claim->name, leave, "status");
    if (!done && done.error().code != 404)
      log::debug("scheduler: unreserving {}: {}", one.claim->key(), done.error().message);
  }
}

task<void> claim_binder::remove(device_claim_ref claim) {
  auto unprotect = [&](json::value& now) {
    if (now["metadata"]["uid"].as_string() != claim->uid || !has(now["metadata"]["finalizers"], protection))
      return false;
    std::erase_if(now.member("metadata").member("finalizers").make_array(),
                  [](auto& f) { return f.as_string() == protection; });
    return true;
  };
  api::api_result<void> gone;
  auto done = co_await objects_.modify(device_claims, claim->ns, claim->name, unprotect);
  if (done)
    gone = co_await objects_.remove(device_claims, claim->ns, claim->name, {.uid = claim->uid});
  else
    gone = std::unexpected(done.error());
  if (!gone && gone.error().code != 404) log::debug("scheduler: removing {}: {}", claim->key(), gone.error().message);
}

task<void> claim_binder::deallocate(device_claim_ref claim, pod_ref pod) {
  auto give_back = [&](json::value& now) {
    auto& users = now["status"]["reservedFor"];
    if (now["metadata"]["uid"].as_string() != claim->uid || !now["status"]["allocation"].is_object() ||
        users.size() > 1 || (users.size() == 1 && !reserves(now, pod->uid)))
      return false;
    for (auto member : {"reservedFor", "allocation", "devices"}) now.member("status").erase(member);
    return true;
  };
  auto done = co_await objects_.modify(device_claims, claim->ns, claim->name, give_back, "status");
  if (!done && done.error().code != 404)
    log::debug("scheduler: deallocating {}: {}", claim->key(), done.error().message);
}

void claim_binder::changed(std::string_view key) {
  auto [begin, end] = waiting_.equal_range(key);
  for (auto it = begin; it != end; ++it) it->second->pulse();
}

}  // namespace kedge::control::scheduler
