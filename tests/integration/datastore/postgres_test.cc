#include "postgres_server.h"
