// cluster.h: reading single objects out of a snapshot, for authentication, authorization and admission.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "json/value.h"
#include "store/store.h"

namespace kedge::api {

// The key of an object: the directories are kube-apiserver's (nodes live under minions …), see facts of the datastore.
// `directory` is such a directory ("pods", "minions"); `ns` is empty for cluster-scoped objects.
std::string object_key(std::string_view directory, std::string_view ns, std::string_view name);
std::string directory_prefix(std::string_view directory, std::string_view ns = {});

// The parsed object; nullopt when it is not there (or unreadable, which is logged).
std::optional<json::value> read_object(const store::snapshot& cluster, const std::string& key);
std::optional<json::value> read_object(const store::object_ref& stored);

// Every object of a prefix, parsed, in key order, until `visit` returns false.
void each_object(const store::snapshot& cluster, const std::string& prefix,
                 const std::function<bool(json::value&)>& visit);

// metadata.name and so on, empty when absent.
std::string_view name_of(const json::value& object) noexcept;
std::string_view namespace_of(const json::value& object) noexcept;
std::string_view uid_of(const json::value& object) noexcept;
std::string_view annotation_of(const json::value& object, std::string_view name) noexcept;
// Whether the annotation is there at all (it may be empty).
bool has_annotation(const json::value& object, std::string_view name) noexcept;

// metav1.LabelSelector against a labels object; a null selector selects nothing, an empty one everything.
bool selects(const json::value& selector, const json::value& labels) noexcept;

// The texts of an array of strings.
std::vector<std::string> string_list(const json::value& array);

}  // namespace kedge::api
