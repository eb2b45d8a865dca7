#include "api/admission/webhook/review.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/strings.h"
#include "json/parse.h"
#include "json/write.h"

namespace kedge::api::webhook {
namespace {

// Text of a JSON object, member by member.
class writer {
 public:
  explicit writer(std::string& out) : out_(out) { out_ += '{'; }
  ~writer() { out_ += '}'; }
  writer(const writer&) = delete;
  writer& operator=(const writer&) = delete;

  std::string& name(std::string_view n) {
    if (std::exchange(more_, true)) out_ += ',';
    json::write_string(n, out_);
    out_ += ':';
    return out_;
  }
  void text(std::string_view n, std::string_view v) { json::write_string(v, name(n)); }
  void text_unless_empty(std::string_view n, std::string_view v) {
    if (!v.empty()) text(n, v);
  }
  void value(std::string_view n, const json::value* v) {
    if (v)
      json::write(*v, name(n));
    else
      name(n) += "null";
  }

 private:
  std::string& out_;
  bool more_ = false;
};

void put_kind(std::string& out, const object_kind& k) {
  writer w(out);
  w.text("group", k.group);
  w.text("version", k.version);
  w.text("kind", k.kind);
}

void put_resource(std::string& out, const served& s) {
  writer w(out);
  w.text("group", s.group);
  w.text("version", s.version);
  w.text("resource", s.resource);
}

void put_texts(std::string& out, const std::vector<std::string>& all) {
  out += '[';
  for (auto& one : all) {
    if (&one != &all.front()) out += ',';
    json::write_string(one, out);
  }
  out += ']';
}

void put_user(std::string& out, const user_info& u) {
  writer w(out);
  w.text_unless_empty("username", u.name);
  w.text_unless_empty("uid", u.uid);
  if (!u.groups.empty()) put_texts(w.name("groups"), u.groups);
  if (u.extra.empty()) return;
  writer extra(w.name("extra"));
  for (auto& [key, values] : u.extra) put_texts(extra.name(key), values);
}

// `uid` empty: without that, and without objects.
void put_request(std::string& out, const question& q, std::string_view uid) {
  writer w(out);
  auto& s = q.about;
  w.text_unless_empty("uid", uid);
  put_kind(w.name("kind"), kind_of(q.as, s.subresource));
  put_resource(w.name("resource"), q.as);
  w.text_unless_empty("subResource", s.subresource);
  put_kind(w.name("requestKind"), kind_of(*s.asked, s.subresource));
  put_resource(w.name("requestResource"), *s.asked);
  w.text_unless_empty("requestSubResource", s.subresource);
  w.text_unless_empty("name", s.name);
  w.text_unless_empty("namespace", s.ns);
  w.text("operation", operation_text(s.what));
  put_user(w.name("userInfo"), q.user);
  if (!uid.empty()) {
    w.value("object", q.object);
    w.value("oldObject", q.old);
  }
  w.name("dryRun") += q.dry_run ? "true" : "false";
  w.value("options", q.options);
}

error wrong(std::string text) { return {errc::invalid, std::move(text)}; }

// What Go's decoder says of a member of another type; empty when it is of that, or absent.
std::string type_problem(const json::value& v, bool fits, std::string_view path, std::string_view type) {
  if (fits || v.is_null()) return {};
  return fmt::format("json: cannot unmarshal {} into Go struct field AdmissionReview.response.{} of type {}",
                     json::kind_name(v), path, type);
}

std::string types_problem(const json::value& r) {
  struct {
    std::string_view name, type;
    bool fits;
  } const members[] = {{"uid", "types.UID", r["uid"].is_string()},
                       {"allowed", "bool", r["allowed"].is_bool()},
                       {"status", "v1.Status", r["status"].is_object()},
                       {"patch", "[]uint8", r["patch"].is_string()},
                       {"patchType", "v1.PatchType", r["patchType"].is_string()},
                       {"auditAnnotations", "map[string]string", r["auditAnnotations"].is_object()},
                       {"warnings", "[]string", r["warnings"].is_array()}};
  for (auto& m : members)
    if (auto text = type_problem(r[m.name], m.fits, m.name, m.type); !text.empty()) return text;
  return {};
}

// What a patch must come with, and where none may come.
std::string patch_problem(const hook& h, const json::value& r, bool strict) {
  if (!strict) return {};
  const bool patch = !r["patch"].as_string().empty(), type = r["patchType"].is_string();
  if (!h.mutates) {
    if (patch) return "validating webhook may not return response.patch";
    return type ? "validating webhook may not return response.patchType" : "";
  }
  if (patch && !type) return "webhook returned response.patch but not response.patchType";
  if (!patch && type) return "webhook returned response.patchType but not response.patch";
  if (type && r["patchType"].as_string().empty()) return "webhook returned invalid response.patchType of \"\"";
  return {};
}

constexpr int code_max = 999;  // HTTP has no others

status read_status(const json::value& given) {
  auto& details = given["details"];
  status out{.code = static_cast<int>(std::clamp<std::int64_t>(given["code"].as_integer(), 0, code_max)),
             .reason = std::string(given["reason"].as_string()),
             .message = std::string(given["message"].as_string()),
             .name = std::string(details["name"].as_string()),
             .group = std::string(details["group"].as_string()),
             .kind = std::string(details["kind"].as_string()),
             .uid = std::string(details["uid"].as_string()),
             .empty_details = details.is_object()};
  for (std::size_t i = 0; i < details["causes"].size(); ++i) {
    auto& c = details["causes"][i];
    out.causes.push_back({std::string(c["reason"].as_string()), std::string(c["message"].as_string()),
                          std::string(c["field"].as_string())});
  }
  out.retry_after_seconds = static_cast<int>(details["retryAfterSeconds"].as_integer());
  return out;
}

// A refusal is one, whatever it calls itself.
status refusal(std::string_view hook, const json::value& given) {
  auto out = read_status(given);
  auto denied = fmt::format("admission webhook {} denied the request", quote(hook));
  if (out.code < 400) out.code = 400;
  if (!out.message.empty())
    out.message = fmt::format("{}: {}", denied, out.message);
  else if (!out.reason.empty())
    out.message = fmt::format("{}: {}", denied, out.reason);
  else
    out.message = denied + " without explanation";
  return out;
}

std::string go_kind(const json::value& review) {
  auto version = review["apiVersion"].as_string();
  return fmt::format("{}{}, Kind={}", version.find('/') == version.npos ? "/" : "", version,
                     review["kind"].as_string());
}

}  // namespace

json::value request_value(const question& q) {
  std::string text;
  put_request(text, q, {});
  auto v = json::parse(text);
  return v ? *std::move(v) : json::value();
}

std::string review_text(const question& q, std::string_view uid) {
  std::string out;
  out.reserve(4096);
  {
    writer w(out);
    w.text("kind", "AdmissionReview");
    w.text("apiVersion", "admission.k8s.io/" + q.to.review);
    put_request(w.name("request"), q, uid);
  }
  out += '\n';
  return out;
}

result<verdict> read_verdict(const hook& h, std::string_view uid, const json::value& review) {
  auto& r = review["response"];
  const bool strict = h.review == "v1";
  if (auto text = type_problem(r, r.is_object(), "", "v1.AdmissionResponse"); !text.empty()) return fail(wrong(text));
  if (!r.is_object()) return fail(wrong("webhook response was absent"));
  if (auto text = types_problem(r); !text.empty()) return fail(wrong(text));
  if (strict && r["uid"].as_string() != uid)
    return fail(wrong(fmt::format("expected response.uid={}, got {}", quote(uid), quote(r["uid"].as_string()))));
  constexpr std::string_view expected = "admission.k8s.io/v1, Kind=AdmissionReview";
  if (strict && go_kind(review) != expected)
    return fail(wrong(fmt::format("expected webhook response of {}, got {}", expected, go_kind(review))));
  if (auto text = patch_problem(h, r, strict); !text.empty()) return fail(wrong(text));
  verdict out{.allowed = r["allowed"].as_bool()};
  if (h.mutates && !r["patch"].as_string().empty()) {
    auto patch = unbase64(r["patch"].as_string());
    if (!patch) return fail(wrong("illegal base64 data: " + patch.error().message));
    out.patch = *std::move(patch);
    out.patch_type = strict ? r["patchType"].as_string() : "JSONPatch";
  }
  if (auto notes = r["auditAnnotations"].object())
    for (auto& [name, text] : *notes) out.notes.emplace(name, text.as_string());
  for (std::size_t i = 0; i < r["warnings"].size(); ++i) out.warnings.emplace_back(r["warnings"][i].as_string());
  if (!out.allowed) out.refused = refusal(h.name, r["status"]);
  return out;
}

}  // namespace kedge::api::webhook
