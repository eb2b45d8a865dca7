#include "api/authentication/webhook_tokens.h"

#include <algorithm>

#include "api/authentication/limits.h"
#include "json/write.h"

namespace kedge::api {
namespace {

std::vector<std::string> texts(const json::value& list, std::size_t most) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < list.size() && out.size() < most; ++i)
    if (list[i].is_string()) out.emplace_back(list[i].as_string());
  return out;
}

}  // namespace

user_info user_of_review(const json::value& user) {
  user_info out;
  out.name = user["username"].as_string();
  out.uid = user["uid"].as_string();
  out.groups = texts(user["groups"], user_groups_max);
  if (auto extra = user["extra"].object())
    for (auto& [key, values] : *extra)
      if (out.extra.size() < user_groups_max) out.extra[key] = texts(values, user_groups_max);
  return out;
}

task<result<std::optional<token_identity>>> webhook_tokens::identify(std::string token,
                                                                     std::vector<std::string> wanted) {
  if (wanted.empty()) wanted = api_audiences_;
  json::array audiences;
  for (auto& one : wanted) audiences.emplace_back(one);
  const json::value review =
      json::object{{"kind", "TokenReview"},
                   {"apiVersion", "authentication.k8s.io/" + version_},
                   {"metadata", json::object{}},
                   {"spec", json::object{{"token", std::move(token)}, {"audiences", std::move(audiences)}}},
                   {"status", json::object{{"user", json::object{}}}}};
  auto answer = co_await to_.ask(json::write(review), {});
  if (!answer) co_return fail(std::move(answer).error().with("the authentication webhook: "));
  auto& status = (*answer)["status"];
  auto named = status["audiences"].empty() ? api_audiences_ : texts(status["audiences"], user_groups_max);
  std::vector<std::string> common;
  for (auto& one : wanted)
    if (std::ranges::find(named, one) != named.end()) common.push_back(one);
  if (common.empty()) co_return std::nullopt;
  if (!status["authenticated"].as_bool()) {
    if (auto why = status["error"].as_string(); !why.empty()) co_return fail(errc::unauthenticated, std::string(why));
    co_return std::nullopt;
  }
  co_return token_identity{user_of_review(status["user"]), std::move(common)};
}

}  // namespace kedge::api
