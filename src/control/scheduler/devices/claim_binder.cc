#include "control/scheduler/devices/claim_binder.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "reactor/loop.h"

namespace kedge::control::scheduler {
namespace {

const api::resource_id device_claims{"resource.k8s.io", "v1", "resourceclaims"};
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

json::value with_share_ids(json::value allocation) {
  auto& random = reactor::loop::current().random();
  for (auto& r : allocation.member("devices").member("results").make_array())
    if (r["shareID"].is_string()) r.set("shareID", random.uuid());
  return allocation;
}

}  // namespace

void claim_binder::assume(device_plan& plan) {
  for (auto& one : plan.claims) {
    if (one.allocation.is_null()) continue;
    one.allocation = with_share_ids(std::move(one.allocation));
    cluster_.devices().assume(with_allocation(*one.claim, one.allocation));
  }
}

void claim_binder::forget(const device_plan& plan) {
  for (auto& one : plan.claims)
    if (!one.allocation.is_null()) cluster_.devices().forget(one.claim->uid);
}

task<result<void>> claim_binder::write(pod_ref pod, device_plan plan) {
  result<void> done;
  for (auto& one : plan.claims) {
    if (!done || one.claim->is_reserved_for(pod->uid)) continue;
    done = co_await write_one(pod, one);
  }
  forget(plan);
  co_return done;
}

task<result<void>> claim_binder::write_one(pod_ref pod, device_plan::one one) {
  const auto& c = *one.claim;
  const bool gives = !one.allocation.is_null();
  std::string wrong;
  auto is_there = [&](const json::value& claim) {
    if (claim["metadata"]["uid"].as_string() == c.uid && !claim["metadata"]["deletionTimestamp"].is_string())
      return true;
    wrong = fmt::format("claim {} got deleted in the meantime", c.key());
    return false;
  };
  if (gives) {
    auto protect = [&](json::value& claim) {
      if (!is_there(claim) || has(claim["metadata"]["finalizers"], protection)) return false;
      claim.member("metadata").member("finalizers").push_back(protection);
      return true;
    };
    auto done = co_await objects_.modify(device_claims, c.ns, c.name, protect);
    if (!done)
      co_return fail(errc::conflict, fmt::format("add finalizer to claim {}: {}", c.key(), done.error().message));
    if (!wrong.empty()) co_return fail(errc::conflict, wrong);
  }
  auto reserve = [&](json::value& claim) {
    if (!is_there(claim)) return false;
    auto& has_devices = claim["status"]["allocation"];
    if (gives && has_devices.is_object()) {
      wrong = fmt::format("claim {} got allocated elsewhere in the meantime", c.key());
      return false;
    }
    if (!gives && !has_devices.is_object()) {
      wrong = fmt::format("claim {} got deallocated elsewhere in the meantime", c.key());
      return false;
    }
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
  auto done = co_await objects_.modify(device_claims, c.ns, c.name, reserve, "status");
  if (!done)
    co_return fail(errc::conflict, fmt::format("add {}reservation to claim {}: {}", gives ? "allocation and " : "",
                                               c.key(), done.error().message));
  if (!wrong.empty()) co_return fail(errc::conflict, wrong);
  cluster_.devices().set_claim(*done);
  co_return result<void>();
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

task<void> claim_binder::unreserve(pod_ref pod, device_plan plan) {
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
