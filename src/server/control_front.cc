#include "server/control_front.h"

#include "api/local_objects.h"
#include "base/strings.h"

namespace kedge::server {

result<std::unique_ptr<control_front>> control_front::make(shared& s, store::store& objects) {
  std::unique_ptr<control_front> f(new control_front(s, objects));
  auto& arguments = s.settings.api;
  api::rule_source* rules = nullptr;
  f->may_ = api::make_authorizer(&rules);
  api::admission_settings plugins{.disable = arguments.disable_admission_plugins};
  plugins.enable.insert(plugins.enable.end(), arguments.enable_admission_plugins.begin(),
                        arguments.enable_admission_plugins.end());
  if (s.settings.files) plugins.configuration = s.settings.files->admission;
  plugins.events = s.event_limits;
  plugins.home = &s.home();
  plugins.network = s.where.network;
  KEDGE_TRY(f->admission_, api::admission_chain::create(plugins, *f->may_, *rules, &f->objects_));
  f->tables_ = std::make_unique<api::custom::tables>(f->objects_);
  f->tables_->convert_by(f->versions_);
  f->tables_->follow();
  f->webhooks_.follow();
  f->admission_->call_webhooks(f->webhooks_);
  f->admission_->obey_policies([t = f->tables_.get()] { return t->current(); }, &f->versions_, &s.measures);
  return f;
}

task<result<api::raw_answer>> control_front::post_to_node(std::string node, std::string path, std::string body) {
  api::user_info who{.name = "system:k3s-supervisor", .groups = {"system:masters", "system:authenticated"}};
  return own_api_.ask(
      std::move(who),
      {.path = "/api/v1/nodes/" + percent_encode(node) + "/proxy" + path, .method = "POST", .body = std::move(body)});
}

void control_front::run(const control::settings* controllers, const control::scheduler::configuration* scheduling,
                        store::revision began) {
  objects_.set_term(control::term_key(term), began);
  auto make_client = [this](api::user_info user, std::string manager) {
    return api::make_objects(
        objects_, *admission_, ranges_, tables_.get(), std::move(user), std::move(manager),
        [this](api::user_ref as, api::raw_request q) { return own_api_.ask(std::move(as), std::move(q)); });
  };
  if (controllers) running_.spawn(control::run_controllers(*controllers, objects_, make_client));
  if (scheduling) running_.spawn(control::run_scheduling(*scheduling, make_client, &measures_));
}

}  // namespace kedge::server
