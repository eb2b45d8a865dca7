// base.h, for the rooms whose files run on a reactor.
#pragma once

#include "precompiled/base.h"

#include "json/value.h"
#include "reactor/loop.h"
#include "reactor/scope.h"
#include "reactor/sync.h"
#include "reactor/task.h"
