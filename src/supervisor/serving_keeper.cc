#include "supervisor/serving_keeper.h"

#include "base/ip.h"
#include "base/log.h"
#include "base/strings.h"
#include "control/controller.h"
#include "json/parse.h"
#include "reactor/offload.h"
#include "reactor/scope.h"

namespace kedge::supervisor {

namespace {

constexpr auto check_interval = std::chrono::hours(6);  // dynamiclistener's, also after an error the next two
constexpr auto check_after_error = std::chrono::minutes(5);
constexpr auto settle_time = std::chrono::milliseconds(200);  // several names come together: one signature for all
constexpr int attempts_max = 5;              // each lost to another server that wrote at the same moment
constexpr std::size_t wanted_max = 512;      // as the certificate itself
constexpr std::size_t name_bytes_max = 253;  // a DNS name's
constexpr std::string_view secret_name = "k3s-serving";
constexpr std::string_view server_labels[] = {"node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/etcd"};

const api::resource_id secrets{"", "v1", "secrets"};
const api::resource_id nodes{"", "v1", "nodes"};

bool is_dns_name(std::string_view name) {
  if (name.empty() || name.size() > name_bytes_max || name.front() == '.' || name.front() == '-') return false;
  for (char c : name)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.')) return false;
  return true;
}

}  // namespace

std::vector<std::string> names_used(const net::http::request& r, const net::http::connection_info& c) {
  if (r.method == "CONNECT" || lower(r.headers.get("User-Agent")).find("mozilla") != std::string::npos) return {};
  std::vector<std::string> names;
  if (!c.local.is_unix && !c.local.address.empty()) names.push_back(c.local.address);
  if (auto sni = lower(c.sni); is_dns_name(sni)) names.push_back(std::move(sni));
  std::string_view host = r.authority;
  if (host.starts_with('[')) {
    host = host.substr(1, host.find(']') - 1);
  } else if (auto colon = host.rfind(':'); colon != std::string_view::npos) {
    host = host.substr(0, colon);
  }
  if (std::string text(host); ip_address::parse(text)) names.push_back(std::move(text));
  return names;
}

std::vector<std::string> server_node_names(const json::value& node) {
  std::vector<std::string> names;
  bool server = false;
  for (auto label : server_labels) server = server || node["metadata"]["labels"][label].as_string() == "true";
  if (!server) return names;
  auto& addresses = node["status"]["addresses"];
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    auto name = std::string(addresses[i]["address"].as_string());
    if (ip_address::parse(name) || is_dns_name(name)) names.push_back(std::move(name));
  }
  return names;
}

task<void> serving_keeper::run() {
  reactor::scope parts;
  parts.spawn(follow_nodes());
  parts.spawn(follow_secret());
  for (;;) {
    work_.reset();
    if (auto wrong = identity_.clock_problem(reactor::loop::current().wall_now())) log::error("{}", *wrong);
    auto done = co_await reconcile();
    if (!done) log::warning("the serving certificate: {}", done.error().message);
    if (co_await work_.wait_until(reactor::loop::current().now() +
                                  (done ? duration(check_interval) : duration(check_after_error))))
      co_await reactor::sleep_for(settle_time);
  }
}

void serving_keeper::asked(std::vector<std::string> names) {
  for (auto& n : names)
    if (wanted_.size() < wanted_max && wanted_.insert(std::move(n)).second) work_.set();
}

task<void> serving_keeper::follow_nodes() {
  co_await control::follow(objects_.objects_store(), objects_.prefix(nodes), [this](const store::event& e) {
    // Nodes change often, and few are servers': the label is looked for before anything is parsed.
    if (e.type == store::event_type::deleted) return;
    auto text = e.object->bytes();
    bool may_be = false;
    for (auto label : server_labels) may_be = may_be || text.find(label) != std::string_view::npos;
    if (!may_be) return;
    if (auto node = json::parse(text)) asked(server_node_names(*node));
  });
}

task<void> serving_keeper::follow_secret() {
  auto prefix = objects_.prefix(secrets, "kube-system") + std::string(secret_name);
  co_await control::follow(objects_.objects_store(), prefix, [this, prefix](const store::event& e) {
    if (e.object->key() == prefix) work_.set();
  });
}

task<result<void>> serving_keeper::reconcile() {
  for (int attempt = 0; attempt < attempts_max; ++attempt) {
    auto before = identity_.serving_identity();
    auto found = objects_.get(secrets, "kube-system", std::string(secret_name));
    if (!found && found.error().code != 404) co_return fail(errc::unavailable, found.error().message);
    json::value standing = found ? std::move(*found) : json::value();
    auto version = std::string(standing["metadata"]["resourceVersion"].as_string());
    std::vector<std::string> names(wanted_.begin(), wanted_.end());
    auto now = reactor::loop::current().wall_now();
    auto merged = co_await reactor::offload([id = identity_.shared_from_this(), names = std::move(names),
                                             standing = std::move(standing),
                                             now] { return id->merge_serving(names, standing, now); });
    if (!merged) co_return fail(std::move(merged).error());
    KEDGE_CO_CHECK(*merged);
    if (identity_.serving_identity() != before) changed_();
    if (**merged != serving_certificate::merged::grown) co_return result<void>();
    auto own = identity_.serving_secret();
    api::api_result<json::value> written;
    if (version.empty()) {
      written = co_await objects_.create(secrets, "kube-system", std::move(own));
    } else {
      own.member("metadata").set("resourceVersion", version);
      written = co_await objects_.update(secrets, "kube-system", std::move(own));
    }
    if (written) co_return result<void>();
    if (written.error().code != 409 && written.error().code != 404)
      co_return fail(errc::unavailable, written.error().message);
  }
  co_return fail(errc::conflict, "secret kube-system/k3s-serving changed each time it was to be written");
}

}  // namespace kedge::supervisor
