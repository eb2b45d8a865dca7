// lookup.h: reading single objects out of a snapshot, for authentication, authorization and admission.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "json/value.h"
#include "meta/object.h"
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

}  // namespace kedge::api
