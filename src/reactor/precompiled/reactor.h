// base.h, for the rooms whose files run on a reactor.
#pragma once

#include "base/precompiled/base.h"

#include "reactor/loop.h"
#include "reactor/scope.h"
#include "reactor/sync.h"
#include "reactor/task.h"
