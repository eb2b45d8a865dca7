#include "crypto/x509_parts.h"

#include <arpa/inet.h>
#include <openssl/objects.h>

#include <algorithm>
#include <ctime>

namespace kedge::crypto::ossl {

namespace {

constexpr char uid_oid[] = "1.3.6.1.4.1.57683.2";  // KEP-1981's successor: the user's UID in a client certificate

std::string to_utf8(const ASN1_STRING* s) {
  unsigned char* raw = nullptr;
  int n = ASN1_STRING_to_UTF8(&raw, s);
  if (n < 0) return {};
  std::string out(reinterpret_cast<char*>(raw), static_cast<std::size_t>(n));
  OPENSSL_free(raw);
  return out;
}

std::string raw_text(const ASN1_STRING* s) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(s)), static_cast<std::size_t>(ASN1_STRING_length(s))};
}

bool has_oid(const ASN1_OBJECT* object, std::string_view oid) {
  char text[64];
  int n = OBJ_obj2txt(text, sizeof text, object, 1);
  return n > 0 && std::string_view(text) == oid;
}

// Go writes a PrintableString where the alphabet allows it, else UTF-8. The same choice here keeps names equal byte for
// byte, which Go's verifier asks of issuer and subject.
int string_type(std::string_view text) {
  bool printable = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view(" '()+,-./:=?").find(c) != std::string_view::npos;
  });
  return printable ? V_ASN1_PRINTABLESTRING : V_ASN1_UTF8STRING;
}

bool add_entry(X509_NAME* name, int nid, std::string_view text, int set) {
  return X509_NAME_add_entry_by_NID(name, nid, string_type(text), u8(as_bytes(text)), static_cast<int>(text.size()), -1,
                                    set);
}

struct packed_address {
  unsigned char octets[16];
  std::size_t size = 0;  // 4 or 16
};

std::optional<packed_address> pack_address(std::string_view text) {
  std::string z(text);
  packed_address out;
  if (inet_pton(AF_INET, z.c_str(), out.octets) == 1) {
    out.size = 4;
  } else if (inet_pton(AF_INET6, z.c_str(), out.octets) == 1) {
    out.size = 16;
  } else {
    return std::nullopt;
  }
  return out;
}

std::optional<std::string> address_text(const unsigned char* octets, std::size_t size) {
  char text[INET6_ADDRSTRLEN];
  if (size != 4 && size != 16) return std::nullopt;
  if (!inet_ntop(size == 4 ? AF_INET : AF_INET6, octets, text, sizeof text)) return std::nullopt;
  return std::string(text);
}

// Gives the name to the list; false without memory.
bool push(GENERAL_NAMES* names, int kind, ASN1_STRING* content) {
  general_name entry(GENERAL_NAME_new());
  if (!entry || !content) {
    ASN1_STRING_free(content);
    return false;
  }
  GENERAL_NAME_set0_value(entry.get(), kind, content);
  if (sk_GENERAL_NAME_push(names, entry.get()) <= 0) return false;
  entry.release();
  return true;
}

bool push_text(GENERAL_NAMES* names, int kind, int string_kind, const void* data, std::size_t size) {
  auto* s = ASN1_STRING_type_new(string_kind);
  if (s) ASN1_STRING_set(s, data, static_cast<int>(size));
  return push(names, kind, s);
}

}  // namespace

subject read_subject(const X509_NAME* name) {
  subject out;
  for (int i = 0; i < X509_NAME_entry_count(name); ++i) {
    auto* entry = X509_NAME_get_entry(name, i);
    auto* object = X509_NAME_ENTRY_get_object(entry);
    auto* data = X509_NAME_ENTRY_get_data(entry);
    switch (OBJ_obj2nid(object)) {
      case NID_commonName: out.user = to_utf8(data); break;
      case NID_organizationName: out.groups.push_back(to_utf8(data)); break;
      default:
        if (has_oid(object, uid_oid)) out.uid = to_utf8(data);
    }
  }
  return out;
}

result<x509_name> make_name(std::string_view common_name, const std::vector<std::string>& organizations) {
  x509_name name(X509_NAME_new());
  bool good = name != nullptr;
  for (std::size_t i = 0; good && i < organizations.size(); ++i)
    good = add_entry(name.get(), NID_organizationName, organizations[i], i ? -1 : 0);
  if (good && !common_name.empty()) good = add_entry(name.get(), NID_commonName, common_name, 0);
  if (!good) return fail(last_error(errc::invalid, "a subject can't hold this CN or O"));
  return name;
}

result<x509_name> standard_name(const X509_NAME* from) {
  constexpr int kept[] = {NID_countryName,  NID_organizationName,    NID_organizationalUnitName,
                          NID_localityName, NID_stateOrProvinceName, NID_streetAddress,
                          NID_postalCode,   NID_commonName,          NID_serialNumber};
  x509_name name(X509_NAME_new());
  bool good = name != nullptr;
  for (int nid : kept) {
    std::vector<std::string> values;
    for (int i = 0; i < X509_NAME_entry_count(from); ++i)
      if (auto* entry = X509_NAME_get_entry(from, i); OBJ_obj2nid(X509_NAME_ENTRY_get_object(entry)) == nid)
        values.push_back(to_utf8(X509_NAME_ENTRY_get_data(entry)));
    if (values.size() > 1 && (nid == NID_commonName || nid == NID_serialNumber))
      values.erase(values.begin(), values.end() - 1);  // the last one counts
    for (std::size_t i = 0; good && i < values.size(); ++i) good = add_entry(name.get(), nid, values[i], i ? -1 : 0);
  }
  if (!good) return fail(last_error(errc::invalid, "a certificate can't have this subject"));
  return name;
}

alternative_names read_names(const GENERAL_NAMES* names) {
  alternative_names out;
  for (int i = 0; names && i < sk_GENERAL_NAME_num(names); ++i) {
    int kind = 0;
    auto* content = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &kind);
    auto* s = static_cast<const ASN1_STRING*>(content);
    if (kind == GEN_DNS) out.dns_names.push_back(raw_text(s));
    if (kind == GEN_EMAIL) out.emails.push_back(raw_text(s));
    if (kind == GEN_URI) out.uris.push_back(raw_text(s));
    if (kind == GEN_IPADD)
      if (auto text = address_text(ASN1_STRING_get0_data(s), static_cast<std::size_t>(ASN1_STRING_length(s))))
        out.addresses.push_back(std::move(*text));
  }
  return out;
}

// An IA5String: other bytes would make a certificate that nobody can parse.
static result<void> push_names(GENERAL_NAMES* names, int kind, const std::vector<std::string>& texts,
                               std::string_view what) {
  for (auto& text : texts) {
    if (text.empty() || std::any_of(text.begin(), text.end(), [](char c) { return c <= 0x20 || c >= 0x7f; }))
      return fail(errc::invalid, std::string(what) + " of a certificate has a character that isn't allowed there");
    if (!push_text(names, kind, V_ASN1_IA5STRING, text.data(), text.size()))
      return fail(last_error(errc::internal, "add a name to a certificate"));
  }
  return {};
}

result<general_names> make_names(const alternative_names& wanted) {
  general_names names(sk_GENERAL_NAME_new_null());
  if (!names) return fail(last_error(errc::internal, "make subject alternative names"));
  KEDGE_CHECK(push_names(names.get(), GEN_DNS, wanted.dns_names, "DNS name"));
  KEDGE_CHECK(push_names(names.get(), GEN_EMAIL, wanted.emails, "email address"));
  for (auto& address : wanted.addresses) {
    auto packed = pack_address(address);
    if (!packed) return fail(errc::invalid, "invalid IP address in a certificate's names: " + address);
    if (!push_text(names.get(), GEN_IPADD, V_ASN1_OCTET_STRING, packed->octets, packed->size))
      return fail(last_error(errc::internal, "add an address"));
  }
  KEDGE_CHECK(push_names(names.get(), GEN_URI, wanted.uris, "URI"));
  return names;
}

result<wall_time> read_time(const ASN1_TIME* time) {
  std::tm parts{};
  if (!time || !ASN1_TIME_to_tm(time, &parts))
    return fail(last_error(errc::invalid, "a certificate's time can't be parsed"));
  // "No well-defined expiration" is year 9999 (RFC 5280 §4.1.2.5); nanoseconds end in 2262, so later is that.
  if (parts.tm_year + 1900 > 2260) return wall_time(std::chrono::sys_days(std::chrono::year(2260) / 1 / 1));
  if (parts.tm_year + 1900 < 1700) return wall_time(std::chrono::sys_days(std::chrono::year(1700) / 1 / 1));
  return wall_time(std::chrono::seconds(timegm(&parts)));
}

bool set_time(ASN1_TIME* time, wall_time t) {
  auto seconds = std::chrono::floor<std::chrono::seconds>(t).time_since_epoch().count();
  return ASN1_TIME_set(time, static_cast<time_t>(seconds)) != nullptr;
}

std::optional<std::string> canonical_address(std::string_view text) {
  auto packed = pack_address(text);
  if (!packed) return std::nullopt;
  return address_text(packed->octets, packed->size);
}

}  // namespace kedge::crypto::ossl
