// token_cleaner.cc: removes bootstrap tokens whose time has passed (token-cleaner-controller).
#include "base/strings.h"
#include "control/controllers.h"
#include "control/resources.h"

namespace kedge::control {

namespace {

constexpr std::string_view home = "kube-system";

void token_key(const seen& s, keys& k) {
  auto place = split_name(s.name());
  if (!s.deleted() && place.ns == home && place.name.starts_with("bootstrap-token-")) own_key(s, k);
}

plan look_at_token(const view& cluster, const std::string& key, const moment& now) {
  plan p;
  auto secret = cluster.get(secrets, key);
  if (!secret || (*secret)["type"].as_string() != "bootstrap.kubernetes.io/token") return p;
  auto text = unbase64((*secret)["data"]["expiration"].as_string());
  if (!text || text->empty()) return p;  // it never ends
  // What can't be read has ended: kube-controller-manager says so too.
  auto end = parse_rfc3339(*text);
  auto left = end ? *end - now.wall : wall_time::duration(0);
  if (left > duration(0)) return p.look_after(left);
  return p.write(removal_of_any_version(secrets, *secret));
}

}  // namespace

std::unique_ptr<controller> make_token_cleaner(const settings&) {
  return plain_controller({{secrets, token_key}}, look_at_token);
}

}  // namespace kedge::control
