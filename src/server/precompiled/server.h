// api.h, for the files that put a server together.
#pragma once

#include "api/precompiled/api.h"

#include "server/shared.h"
