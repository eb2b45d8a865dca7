#include "datastore/mysql/libmariadb.h"

#include <dlfcn.h>
#include <mysql.h>

#include <string>

#include "base/assert.h"

namespace kedge::datastore::mysql {
namespace {

constexpr const char* library = "libmariadb.so.3";  // the ABI of Connector/C 3

struct loaded {
  void* handle = ::dlopen(library, RTLD_NOW | RTLD_LOCAL);
  std::string why = handle ? "" : ::dlerror();
};
const loaded& libmariadb() {
  static const loaded one;
  return one;
}

template <typename Function>
Function* find(const char* name) {
  kedge_assert(libmariadb().handle != nullptr);
  auto* f = ::dlsym(libmariadb().handle, name);
  kedge_assert(f != nullptr);  // all of them are in Connector/C 3.0
  return reinterpret_cast<Function*>(f);
}

}  // namespace

result<void> load_libmariadb() {
  if (!libmariadb().handle)
    return fail(errc::unsupported, "the datastore is MySQL, and the client library can't be loaded (" +
                                       libmariadb().why + "): install it (Debian: apt-get install libmariadb3)");
  // Not safe to happen twice at once, as it would in the first two mysql_init.
  static const int prepared = mysql_server_init(0, nullptr, nullptr);
  if (prepared != 0) return fail(errc::internal, "MariaDB's client library can't be prepared");
  return {};
}

}  // namespace kedge::datastore::mysql

#define KEDGE_LIBMARIADB(type, name, parameters, arguments)                      \
  extern "C" type STDCALL name parameters {                                      \
    static auto* const f = kedge::datastore::mysql::find<decltype(name)>(#name); \
    return f arguments;                                                          \
  }

KEDGE_LIBMARIADB(int, mysql_server_init, (int n, char** words, char** groups), (n, words, groups))
KEDGE_LIBMARIADB(MYSQL*, mysql_init, (MYSQL * c), (c))
KEDGE_LIBMARIADB(int, mysql_options, (MYSQL * c, enum mysql_option o, const void* value), (c, o, value))
KEDGE_LIBMARIADB(int, mysql_options4, (MYSQL * c, enum mysql_option o, const void* key, const void* value),
                 (c, o, key, value))
KEDGE_LIBMARIADB(int, mysql_ssl_set,
                 (MYSQL * c, const char* key, const char* certificate, const char* ca, const char* ca_path,
                  const char* cipher),
                 (c, key, certificate, ca, ca_path, cipher))
KEDGE_LIBMARIADB(MYSQL*, mysql_real_connect,
                 (MYSQL * c, const char* host, const char* user, const char* password, const char* db, unsigned port,
                  const char* socket, unsigned long flags),
                 (c, host, user, password, db, port, socket, flags))
KEDGE_LIBMARIADB(void, mysql_close, (MYSQL * c), (c))
KEDGE_LIBMARIADB(my_socket, mysql_get_socket, (MYSQL * c), (c))
KEDGE_LIBMARIADB(const char*, mysql_get_ssl_cipher, (MYSQL * c), (c))
KEDGE_LIBMARIADB(unsigned, mysql_errno, (MYSQL * c), (c))
KEDGE_LIBMARIADB(const char*, mysql_error, (MYSQL * c), (c))
KEDGE_LIBMARIADB(unsigned long, mysql_thread_id, (MYSQL * c), (c))
KEDGE_LIBMARIADB(int, mysql_real_query_start, (int* failed, MYSQL* c, const char* text, unsigned long size),
                 (failed, c, text, size))
KEDGE_LIBMARIADB(int, mysql_real_query_cont, (int* failed, MYSQL* c, int events), (failed, c, events))
KEDGE_LIBMARIADB(int, mysql_store_result_start, (MYSQL_RES * *r, MYSQL* c), (r, c))
KEDGE_LIBMARIADB(int, mysql_store_result_cont, (MYSQL_RES * *r, MYSQL* c, int events), (r, c, events))
KEDGE_LIBMARIADB(int, mysql_next_result_start, (int* failed, MYSQL* c), (failed, c))
KEDGE_LIBMARIADB(int, mysql_next_result_cont, (int* failed, MYSQL* c, int events), (failed, c, events))
KEDGE_LIBMARIADB(my_bool, mysql_more_results, (MYSQL * c), (c))
KEDGE_LIBMARIADB(unsigned, mysql_field_count, (MYSQL * c), (c))
KEDGE_LIBMARIADB(my_ulonglong, mysql_affected_rows, (MYSQL * c), (c))
KEDGE_LIBMARIADB(my_ulonglong, mysql_insert_id, (MYSQL * c), (c))
KEDGE_LIBMARIADB(unsigned, mysql_num_fields, (MYSQL_RES * r), (r))
KEDGE_LIBMARIADB(MYSQL_ROW, mysql_fetch_row, (MYSQL_RES * r), (r))
KEDGE_LIBMARIADB(unsigned long*, mysql_fetch_lengths, (MYSQL_RES * r), (r))
KEDGE_LIBMARIADB(void, mysql_free_result, (MYSQL_RES * r), (r))
