// reactor.h, for the rooms whose files serve or change the API's objects.
#pragma once

#include "reactor/precompiled/reactor.h"

#include "api/registry/registry.h"
#include "json/value.h"
#include "meta/names.h"
#include "meta/selector.h"
#include "meta/status.h"
#include "store/store.h"
