// api.h, for the files that read or carry out what the command line says.
#pragma once

#include "api/precompiled/api.h"

#include "cli/options.h"
