// image_name.h: names of container images (github.com/distribution/reference).
#pragma once

#include <string_view>

namespace kedge::schema::defaults {

// The tag of "registry.example.com:5000/app:1": "latest" when it has neither tag nor digest; "" with a digest alone, or
// for what is no image's name.
std::string_view image_tag(std::string_view image) noexcept;

}  // namespace kedge::schema::defaults
