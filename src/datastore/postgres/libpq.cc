#include "datastore/postgres/libpq.h"

#include <dlfcn.h>
#include <libpq-fe.h>

#include "base/assert.h"

namespace kedge::datastore::postgres {
namespace {

constexpr const char* library = "libpq.so.5";  // the ABI of PostgreSQL 8.2 and later

struct loaded {
  void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  std::string why = handle ? "" : ::dlerror();
};
const loaded& libpq() {
  static const loaded one;
  return one;
}

template <typename Function>
Function* find(const char* name) {
  auto* handle = libpq().handle;
  if (!handle) return nullptr;
  auto* f = ::dlsym(handle, name);
  kedge_assert(f != nullptr);  // all of them are in PostgreSQL 14
  return reinterpret_cast<Function*>(f);
}

}  // namespace

result<void> load_libpq() {
  if (libpq().handle) return {};
  return fail(errc::unsupported, "the datastore is PostgreSQL, and its client library can't be loaded (" + libpq().why +
                                     "): install it (Debian: apt-get install libpq5)");
}

}  // namespace kedge::datastore::postgres

// Nothing can be done with what was never made: those that make something, or read a URL, may be called without the
// library, the others can't be.
#define KEDGE_LIBPQ(type, name, parameters, arguments)                              \
  extern "C" type name parameters {                                                 \
    static auto* const f = kedge::datastore::postgres::find<decltype(name)>(#name); \
    if (!f) return static_cast<type>(0);                                            \
    return f arguments;                                                             \
  }

KEDGE_LIBPQ(PQconninfoOption*, PQconninfoParse, (const char* text, char** why), (text, why))
KEDGE_LIBPQ(void, PQconninfoFree, (PQconninfoOption * o), (o))
KEDGE_LIBPQ(void, PQfreemem, (void* p), (p))
KEDGE_LIBPQ(PGconn*, PQconnectStartParams, (const char* const* k, const char* const* v, int expand), (k, v, expand))
KEDGE_LIBPQ(PostgresPollingStatusType, PQconnectPoll, (PGconn * c), (c))
KEDGE_LIBPQ(void, PQfinish, (PGconn * c), (c))
KEDGE_LIBPQ(ConnStatusType, PQstatus, (const PGconn* c), (c))
KEDGE_LIBPQ(char*, PQerrorMessage, (const PGconn* c), (c))
KEDGE_LIBPQ(const char*, PQparameterStatus, (const PGconn* c, const char* name), (c, name))
KEDGE_LIBPQ(int, PQserverVersion, (const PGconn* c), (c))
KEDGE_LIBPQ(int, PQbackendPID, (const PGconn* c), (c))
KEDGE_LIBPQ(int, PQsocket, (const PGconn* c), (c))
KEDGE_LIBPQ(int, PQsetnonblocking, (PGconn * c, int on), (c, on))
KEDGE_LIBPQ(PQnoticeReceiver, PQsetNoticeReceiver, (PGconn * c, PQnoticeReceiver r, void* arg), (c, r, arg))
KEDGE_LIBPQ(int, PQenterPipelineMode, (PGconn * c), (c))
KEDGE_LIBPQ(int, PQpipelineSync, (PGconn * c), (c))
KEDGE_LIBPQ(int, PQsendQueryParams,
            (PGconn * c, const char* sql, int n, const Oid* types, const char* const* values, const int* lengths,
             const int* formats, int format),
            (c, sql, n, types, values, lengths, formats, format))
KEDGE_LIBPQ(int, PQsendQueryPrepared,
            (PGconn * c, const char* name, int n, const char* const* values, const int* lengths, const int* formats,
             int format),
            (c, name, n, values, lengths, formats, format))
KEDGE_LIBPQ(int, PQsendPrepare, (PGconn * c, const char* name, const char* sql, int n, const Oid* types),
            (c, name, sql, n, types))
KEDGE_LIBPQ(int, PQflush, (PGconn * c), (c))
KEDGE_LIBPQ(int, PQconsumeInput, (PGconn * c), (c))
KEDGE_LIBPQ(int, PQisBusy, (PGconn * c), (c))
KEDGE_LIBPQ(PGresult*, PQgetResult, (PGconn * c), (c))
KEDGE_LIBPQ(PGnotify*, PQnotifies, (PGconn * c), (c))
KEDGE_LIBPQ(ExecStatusType, PQresultStatus, (const PGresult* r), (r))
KEDGE_LIBPQ(char*, PQresultErrorMessage, (const PGresult* r), (r))
KEDGE_LIBPQ(char*, PQresultErrorField, (const PGresult* r, int which), (r, which))
KEDGE_LIBPQ(int, PQntuples, (const PGresult* r), (r))
KEDGE_LIBPQ(int, PQgetisnull, (const PGresult* r, int row, int column), (r, row, column))
KEDGE_LIBPQ(char*, PQgetvalue, (const PGresult* r, int row, int column), (r, row, column))
KEDGE_LIBPQ(int, PQgetlength, (const PGresult* r, int row, int column), (r, row, column))
KEDGE_LIBPQ(void, PQclear, (PGresult * r), (r))
