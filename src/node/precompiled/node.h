// reactor.h, for the node, which reads objects everywhere.
#pragma once

#include "reactor/precompiled/reactor.h"

#include "json/value.h"
