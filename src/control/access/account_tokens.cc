// account_tokens.cc: Secrets of type kubernetes.io/service-account-token (serviceaccount-token-controller).
//
//   Secret that names an account ─▶ gets token, ca.crt and namespace │ there is no such account: it goes
//   account gone ─▶ its tokens go        token gone ─▶ its account names it no more
//
// Nobody is given such a Secret by himself any more; who wants a token without an end makes one by hand.
#include <map>
#include <set>

#include "base/log.h"
#include "base/strings.h"
#include "control/controllers.h"
#include "control/owners.h"
#include "control/resources.h"
#include "control/settings.h"
#include "crypto/jwt.h"

namespace kedge::control {

namespace {

constexpr std::string_view token_type = "kubernetes.io/service-account-token";
constexpr std::string_view account_note = "kubernetes.io/service-account.name";
constexpr std::string_view uid_note = "kubernetes.io/service-account.uid";
constexpr std::string_view account_mark = "account:", reference_mark = "reference:";

const json::value& note_of(const json::value& o, std::string_view name) { return o["metadata"]["annotations"][name]; }

bool is_token(const seen& s) {
  return s.object()->bytes().find(token_type) != std::string_view::npos && s.value()["type"].as_string() == token_type;
}

// "default/web", of the account that a token names; empty when it names none.
std::string account_of(const json::value& secret) {
  auto name = note_of(secret, account_note).as_string();
  return name.empty() ? std::string()
                      : std::string(secret["metadata"]["namespace"].as_string()) + "/" + std::string(name);
}

// Whether the token is this account's, and not that of an earlier one of the name.
bool is_of(const json::value& secret, const json::value* account) {
  auto uid = note_of(secret, uid_note).as_string();
  return account && (uid.empty() || uid == uid_of(*account));
}

class account_tokens final : public controller {
 public:
  explicit account_tokens(const settings& s) : root_ca_(base64(as_bytes(s.root_ca_pem))) {
    if (!s.service_account_key) return;
    if (auto signer = crypto::token_signer::create(*s.service_account_key))
      signer_ = *std::move(signer);
    else
      log::warning("service account tokens: {}", signer.error().message);
  }

  std::vector<source> sources() override {
    return {{secrets, [this](const seen& s, keys& k) { secret_changed(s, k); }},
            {service_accounts, [](const seen& s, keys& k) {
               if (!s.added()) k.add(std::string(account_mark) + std::string(s.name()));
             }}};
  }

  plan look(const view& cluster, const std::string& key, const moment& now) override {
    if (now.refused) return {};
    if (key.starts_with(account_mark)) return look_at_account(cluster, key.substr(account_mark.size()));
    if (key.starts_with(reference_mark)) return look_at_reference(cluster, key.substr(reference_mark.size()));
    return look_at_secret(cluster, key);
  }

 private:
  void secret_changed(const seen& s, keys& k) {
    std::string name(s.name());
    auto account = is_token(s) ? account_of(s.value()) : std::string();
    if (auto had = accounts_.find(name); had != accounts_.end() && (s.deleted() || had->second != account)) {
      auto of_it = tokens_.find(had->second);
      of_it->second.erase(name);
      if (of_it->second.empty()) tokens_.erase(of_it);
      accounts_.erase(had);
    }
    if (account.empty()) return;
    if (s.deleted()) {
      k.add(fmt::format("{}{}/{}", reference_mark, account, split_name(name).name));
      return;
    }
    tokens_[account].insert(name);
    accounts_.insert_or_assign(name, account);
    k.add(name);
  }

  plan look_at_account(const view& cluster, const std::string& name) {
    plan p;
    auto account = cluster.get(service_accounts, name);
    auto found = tokens_.find(name);
    if (found == tokens_.end()) return p;
    std::vector<change> gone;
    for (auto& token : found->second)
      if (auto secret = cluster.get(secrets, token); secret && !is_of(*secret, account))
        gone.push_back(removal_of_any_version(secrets, *secret));
    if (!gone.empty()) p.write(pace::together, std::move(gone));
    return p;
  }

  // "default/web/token-1": a token that was deleted.
  plan look_at_reference(const view& cluster, const std::string& key) {
    plan p;
    auto cut = key.rfind('/');
    auto account = cluster.get(service_accounts, key.substr(0, cut));
    auto [ns, _] = split_name(std::string_view(key).substr(0, cut));
    auto name = std::string_view(key).substr(cut + 1);
    if (!account || cluster.get(secrets, ns, name)) return p;
    json::array kept;
    auto& list = (*account)["secrets"];
    for (std::size_t i = 0; i < list.size(); ++i)
      if (list[i]["name"].as_string() != name) kept.push_back(list[i]);
    if (kept.size() == list.size()) return p;
    auto next = *account;
    if (kept.empty())
      next.erase("secrets");
    else
      next.set("secrets", std::move(kept));
    return p.write(update_of(service_accounts, std::move(next)));
  }

  plan look_at_secret(const view& cluster, const std::string& name) {
    plan p;
    auto secret = cluster.get(secrets, name);
    if (!secret || (*secret)["type"].as_string() != token_type) return p;
    auto of = account_of(*secret);
    if (of.empty()) return p;
    auto account = cluster.get(service_accounts, of);
    if (!is_of(*secret, account)) return p.write(removal_of_any_version(secrets, *secret));
    auto next = *secret;
    auto& data = next.member("data");
    if (!root_ca_.empty()) data.set("ca.crt", root_ca_);
    auto& m = (*secret)["metadata"];
    if (data["namespace"].as_string().empty()) data.set("namespace", base64(as_bytes(m["namespace"].as_string())));
    if (data["token"].as_string().empty()) {
      auto token = token_for(*account, m["name"].as_string());
      if (!token) return p;
      data.set("token", base64(as_bytes(*token)));
    }
    if (data == (*secret)["data"]) return p;
    auto& notes = next.member("metadata").member("annotations");
    notes.set(account_note, (*account)["metadata"]["name"]);
    notes.set(uid_note, (*account)["metadata"]["uid"]);
    return p.write(update_of(secrets, std::move(next)));
  }

  // In the old shape, without an end or an audience; good as long as its Secret has it.
  std::optional<std::string> token_for(const json::value& account, std::string_view secret) const {
    if (!signer_) return std::nullopt;
    auto& m = account["metadata"];
    json::value claims;
    claims.set("iss", "kubernetes/serviceaccount");
    claims.set("kubernetes.io/serviceaccount/namespace", m["namespace"]);
    claims.set("kubernetes.io/serviceaccount/secret.name", secret);
    claims.set("kubernetes.io/serviceaccount/service-account.name", m["name"]);
    claims.set("kubernetes.io/serviceaccount/service-account.uid", m["uid"]);
    claims.set("sub", fmt::format("system:serviceaccount:{}:{}", m["namespace"].as_string(), m["name"].as_string()));
    auto token = signer_->sign(claims);
    return token ? std::optional(*std::move(token)) : std::nullopt;
  }

  const std::string root_ca_;  // base64
  std::optional<crypto::token_signer> signer_;
  std::map<std::string, std::set<std::string>, std::less<>> tokens_;  // by account
  std::map<std::string, std::string, std::less<>> accounts_;          // by token
};

}  // namespace

std::unique_ptr<controller> make_account_tokens(const settings& s) { return std::make_unique<account_tokens>(s); }

}  // namespace kedge::control
