#include "control/scheduler/extenders/extender_client.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "base/strings.h"
#include "control/scheduler/extenders/limits.h"
#include "control/scheduler/plugin.h"
#include "json/parse.h"
#include "reactor/loop.h"
#include "reactor/offload.h"
#include "reactor/scope.h"

namespace kedge::control::scheduler {
namespace {

const api::resource_id pods{"", "v1", "pods"}, nodes_resource{"", "v1", "nodes"};

// As Go tells that nobody answered.
std::string words_of(const error& e) {
  if (e.code == errc::timeout) return "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
  if (e.code == errc::closed) return "EOF";
  constexpr std::string_view connecting = "connect to ";
  auto text = std::string_view(e.message);
  auto end = text.rfind(": ");
  if (!text.starts_with(connecting) || end == text.npos) return e.message;
  return fmt::format("dial tcp {}: connect: {}", text.substr(connecting.size(), end - connecting.size()),
                     lower(text.substr(end + 2)));
}

}  // namespace

template <typename F>
bool extender_client::any_asked(const pod_view& pod, F which) const {
  if (std::ranges::none_of(all_, which)) return false;
  auto object = objects_.get(pods, pod.ns, pod.name);
  return object && std::ranges::any_of(all_, [&](auto& e) { return which(e) && e.is_asked_about(*object); });
}

bool extender_client::concerns(const pod_view& pod) const {
  return any_asked(pod, [](auto& e) { return !e.filter.empty() || !e.prioritize.empty() || !e.preempt.empty(); });
}
bool extender_client::judges_victims(const pod_view& pod) const {
  return any_asked(pod, [](auto& e) { return !e.preempt.empty(); });
}
bool extender_client::binds(const pod_view& pod) const {
  return any_asked(pod, [](auto& e) { return !e.bind.empty(); });
}

result<std::string> extender_client::text_of(const pod_view& pod) const {
  auto object = objects_.objects_store().current().find(objects_.prefix(pods, pod.ns) + pod.name);
  if (!object) return fail(errc::not_found, fmt::format("pods {} not found", quote(pod.name)));
  return std::string(object->bytes());
}

std::vector<named_text> extender_client::texts_of(const std::vector<std::string>& names) const {
  std::vector<named_text> out;
  auto now = objects_.objects_store().current();
  const auto prefix = objects_.prefix(nodes_resource);
  for (auto& name : names)
    if (auto node = now.find(prefix + name)) out.push_back({name, std::string(node->bytes())});
  return out;
}

// An answer's JSON.
task<result<json::value>> extender_client::post(const extender& to, std::string verb, std::string body) {
  const auto path = to.path + "/" + verb;
  const auto url = to.url + "/" + verb;
  if (body.size() > question_max_bytes)
    co_return fail(errc::too_large,
                   fmt::format("Post {}: the question has more than {} bytes", quote(url), question_max_bytes));
  auto text =
      co_await reactor::with_deadline(exchange(to, path, std::move(body)), reactor::loop::current().now() + to.timeout);
  if (!text && text.error().code == errc::refused)
    co_return fail(errc::refused,
                   fmt::format("failed {} with extender at URL {}, code {}", verb, url, text.error().message));
  if (!text) co_return fail(text.error().code, fmt::format("Post {}: {}", quote(url), words_of(text.error())));
  auto parse = [](std::string_view t) -> result<json::value> {
    auto v = json::parse(t);
    if (!v) return fail(errc::protocol, v.error().message);
    return v;
  };
  if (text->size() <= read_here_max_bytes) co_return parse(*text);
  auto parsed = co_await reactor::offload([parse, t = *std::move(text)] { return parse(t); });
  if (!parsed) co_return std::unexpected(parsed.error());
  co_return *std::move(parsed);
}

// errc::refused with the status: it isn't 200. A connection that was kept may have been dead all along: then once more.
task<result<std::string>> extender_client::exchange(const extender& to, std::string path, std::string body) {
  for (bool fresh : {false, true}) {
    net::http::client_request r{.to = to.to, .method = "POST", .path = path, .headers = {}, .body = body};
    r.fresh = fresh;
    r.headers.add("Content-Type", "application/json");
    r.headers.add("User-Agent", "kube-scheduler");
    KEDGE_CO_TRY(auto asked, co_await http_.open(std::move(r)));
    auto head = co_await asked->head();
    if (!head && !fresh && asked->reused()) continue;
    if (!head) co_return std::unexpected(head.error());
    if ((*head)->status != 200) co_return fail(errc::refused, std::to_string((*head)->status));
    co_return co_await asked->read_all(extender_answer_max_bytes);
  }
  co_return fail(errc::closed, "EOF");
}

task<result<extender_words>> extender_client::ask(pod_ref pod, std::vector<std::string> nodes) {
  KEDGE_CO_TRY(const auto pod_text, text_of(*pod));
  const auto object = json::parse(pod_text);
  if (!object) co_return fail(errc::internal, object.error().message);
  extender_words out;
  out.asked.insert(nodes.begin(), nodes.end());
  auto left = texts_of(nodes);
  for (auto& e : all_) {
    if (left.empty()) break;
    if (e.filter.empty() || !e.is_asked_about(*object)) continue;
    auto answer = co_await post(e, e.filter, nodes_question(pod_text, left, e.knows_nodes));
    std::expected<filter_answer, std::string> read;
    if (answer)
      read = read_filter(*answer, left, e.knows_nodes, e.url);
    else
      read = std::unexpected(answer.error().message);
    if (!read && e.ignorable) {
      log::info("scheduler: {} is left out: {}", e.url, read.error());
      continue;
    }
    if (!read) co_return fail(errc::unavailable, read.error());
    for (auto& [node, why] : read->failed) out.refused.insert_or_assign(node, extender_words::refusal{why, false});
    for (auto& [node, why] : read->unresolvable) out.refused.insert_or_assign(node, extender_words::refusal{why, true});
    const std::set<std::string, std::less<>> kept(read->nodes.begin(), read->nodes.end());
    std::erase_if(left, [&](auto& n) { return !kept.contains(n.name); });
    co_await reactor::maybe_yield();
  }
  for (auto& n : left) out.left.insert(n.name);
  // One node needs no scores.
  if (left.size() > 1) {
    reactor::scope all;
    for (auto& e : all_)
      if (!e.prioritize.empty() && e.is_asked_about(*object)) all.spawn(prioritize(e, pod_text, left, out));
    co_await all.join();
  }
  co_return std::move(out);
}

// Who doesn't answer has no say.
task<void> extender_client::prioritize(const extender& by, std::string pod, std::vector<named_text> nodes,
                                       extender_words& into) {
  auto answer = co_await post(by, by.prioritize, nodes_question(pod, nodes, by.knows_nodes));
  if (!answer) {
    log::debug("scheduler: {}", answer.error().message);
    co_return;
  }
  for (auto& [node, score] : read_scores(*answer))
    into.scores[node] += std::clamp(score, -score_told_max, score_told_max) * std::min(by.weight, extender_weight_max) *
                         (score_max / extender_score_max);
}

task<result<victims_by_node>> extender_client::ask_about(pod_ref pod, victims_by_node victims) {
  KEDGE_CO_TRY(const auto pod_text, text_of(*pod));
  const auto object = json::parse(pod_text);
  if (!object) co_return fail(errc::internal, object.error().message);
  for (auto& e : all_) {
    if (victims.empty()) break;
    if (e.preempt.empty() || !e.is_asked_about(*object)) continue;
    auto answer = co_await post(e, e.preempt, victims_question(pod_text, victims, e.knows_nodes));
    if (!answer && e.ignorable) {
      log::info("scheduler: {} is left out: {}", e.url, answer.error().message);
      continue;
    }
    if (!answer) co_return std::unexpected(answer.error());
    auto said = read_victims(*answer);
    for (auto it = said.begin(); it != said.end();) {
      if (!it->second.pods.empty()) {
        // The next one is told of them, too.
        auto had = victims.find(it->first);
        for (auto& p : it->second.pods)
          if (had != victims.end())
            if (auto same = std::ranges::find(had->second.pods, p.name, &named_text::name);
                same != had->second.pods.end())
              p.text = same->text;
        ++it;
      } else if (e.ignorable) {
        it = said.erase(it);
      } else {
        co_return fail(errc::protocol, fmt::format("expected at least one victim pod on node {}", quote(it->first)));
      }
    }
    victims = std::move(said);
  }
  co_return std::move(victims);
}

task<result<bool>> extender_client::bind(pod_ref pod, std::string node) {
  auto object = objects_.get(pods, pod->ns, pod->name);
  if (!object) co_return fail(errc::not_found, object.error().message);
  for (auto& e : all_) {
    if (e.bind.empty() || !e.is_asked_about(*object)) continue;
    auto answer = co_await post(e, e.bind, binding_question(pod->name, pod->ns, pod->uid, node));
    std::string wrong = answer ? told_error(*answer) : answer.error().message;
    if (wrong.empty()) co_return true;
    if (!e.ignorable) co_return fail(errc::unavailable, wrong);
    log::info("scheduler: {} is left out: {}", e.url, wrong);
  }
  co_return false;
}

}  // namespace kedge::control::scheduler
