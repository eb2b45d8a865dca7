// What nearly every file includes, precompiled once a library (meson's cpp_pch): parsing it anew in each of a thousand
// files was a third of a build. No file may lean on it: each includes what it uses, and scripts/fuzz builds without it
// (-Db_pch=false), which finds who doesn't.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <chrono>
#include <coroutine>
#include <cstdint>
#include <cstring>
#include <expected>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include <fmt/format.h>

#include "base/bytes.h"
#include "base/error.h"
#include "base/precompiled_in.h"
#include "base/strings.h"
#include "base/time.h"
