// data_size.h: how much Secrets and ConfigMaps hold: of what base64 stands for, not of its text.
#pragma once

#include "json/value.h"

namespace kedge::api {

// Of a map of texts, or of bytes as base64.
std::size_t text_bytes(const json::value& map) noexcept;
std::size_t decoded_bytes(const json::value& map) noexcept;

}  // namespace kedge::api
