#include <doctest/doctest.h>
#include <sys/stat.h>
#include <zlib.h>
#include <zstd.h>

#include <cstring>
#include <fstream>

#include "crypto/digest.h"
#include "node/images/archive_source.h"
#include "node/images/collector.h"
#include "node/images/tar.h"
#include "node/limits.h"
#include "support/temporary_folder.h"

using namespace kedge;
using namespace kedge::node;
using namespace std::chrono_literals;

namespace {

std::string header(std::string_view name, std::string_view content, char type = '0', std::string_view link = {}) {
  std::string b(512, '\0');
  auto put = [&](std::size_t at, std::string_view text) { std::memcpy(b.data() + at, text.data(), text.size()); };
  auto octal = [&](std::size_t at, std::size_t digits, std::uint64_t n) {
    for (auto i = digits; i-- > 0; n >>= 3) b[at + i] = static_cast<char>('0' + (n & 7));
  };
  put(0, name.substr(0, 100));
  octal(100, 7, 0644);
  octal(124, 11, content.size());
  b[156] = type;
  put(157, link.substr(0, 100));
  put(257, std::string_view("ustar\00000", 8));
  put(148, "        ");
  unsigned sum = 0;
  for (char c : b) sum += static_cast<unsigned char>(c);
  octal(148, 6, sum);
  b[154] = '\0';
  return b;
}

std::string entry(std::string_view name, std::string_view content, char type = '0', std::string_view link = {}) {
  auto out = header(name, content, type, link);
  out += content;
  out.append((512 - content.size() % 512) % 512, '\0');
  return out;
}
std::string end_of_tar() { return std::string(1024, '\0'); }

std::string digest_of(std::string_view text) { return "sha256:" + crypto::sha256_hex(as_bytes(text)); }
std::string blob_name(std::string_view text) { return "blobs/sha256/" + crypto::sha256_hex(as_bytes(text)); }

struct collected : tar_sink {
  std::vector<std::pair<tar_entry, std::string>> all;
  result<void> begin(const tar_entry& e) override { return all.emplace_back(e, ""), result<void>(); }
  result<void> data(std::string_view piece) override { return all.back().second += piece, result<void>(); }
  result<void> end() override { return {}; }
};

result<std::vector<std::pair<tar_entry, std::string>>> read_tar(std::string_view bytes, std::size_t piece) {
  collected sink;
  tar_reader r(sink);
  for (std::size_t at = 0; at < bytes.size(); at += piece) KEDGE_CHECK(r.feed(bytes.substr(at, piece)));
  KEDGE_CHECK(r.finish());
  return std::move(sink.all);
}

result<archive_files> read_all(const std::string& path) {
  KEDGE_TRY(auto source, archive_source::open(path));
  for (;;) {
    KEDGE_TRY(auto events, source->next());
    if (events.empty()) return source->files();
  }
}

std::string gzipped(std::string_view text) {
  std::string out(compressBound(text.size()) + 64, '\0');
  z_stream z{};
  REQUIRE(deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}
std::string zstd_of(std::string_view text) {
  std::string out(ZSTD_compressBound(text.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), text.data(), text.size(), 3));
  return out;
}

const std::string config = R"({"architecture":"amd64","rootfs":{"type":"layers","diff_ids":[]}})";
const std::string layer(700'000, 'l');

std::string docker_archive() {
  return entry("layer.tar", layer) + entry("config.json", config) + entry("again/layer.tar", "", '2', "../layer.tar") +
         entry(
             "manifest.json",
             R"([{"Config":"config.json","RepoTags":["busybox:1","x.example/a/b:2"],"Layers":["again/layer.tar"]}])") +
         end_of_tar();
}

archive_files files_of(const std::string& tar) {
  temporary_folder f;
  std::ofstream(f.path() + "/a.tar", std::ios::binary) << tar;
  auto files = read_all(f.path() + "/a.tar");
  REQUIRE_MESSAGE(files, files.error().message);
  return *files;
}

}  // namespace

TEST_CASE("a tar archive is read in pieces of any size, with long names of either kind") {
  std::string longname(180, 'n');
  auto pax = "200 path=" + std::string(190, 'p') + "\n";
  pax = std::to_string(pax.size()) + pax.substr(3);
  auto tar = entry("a", "content") + entry("dir/", "", '5') + entry("link", "", '2', "a") +
             entry("././@LongLink", longname + '\0', 'L') + entry("short", "long") + entry("x", pax, 'x') +
             entry("short", std::string(513, 'y')) + entry("g", "11 a=b\n", 'g') + entry("empty", "") + end_of_tar() +
             "what follows is nobody's";
  for (std::size_t piece : {1, 7, 511, 512, 513, 100'000}) {
    auto all = read_tar(tar, piece);
    REQUIRE_MESSAGE(all, all.error().message);
    REQUIRE(all->size() == 6);
    CHECK(all->at(0).first.name == "a");
    CHECK(all->at(0).second == "content");
    CHECK_FALSE(all->at(1).first.is_file);
    CHECK(all->at(2).first.link == "a");
    CHECK(all->at(3).first.name == longname);
    CHECK(all->at(3).second == "long");
    CHECK(all->at(4).first.name == std::string(190, 'p'));
    CHECK(all->at(4).second.size() == 513);
    CHECK(all->at(5).first.name == "empty");
  }
}

TEST_CASE("what is no tar archive, or not a whole one, is refused") {
  CHECK(read_tar("", 100).error().message == "it is no tar archive");
  CHECK(read_tar(std::string(2000, 'x'), 100).error().message == "it is no tar archive");
  auto tar = entry("a", std::string(2000, 'a')) + end_of_tar();
  for (std::size_t size : {100, 600, 1000, 2512, 2600})
    CHECK_FALSE(read_tar(std::string_view(tar).substr(0, size), 100));
  auto wrong = entry("a", "b") + entry("c", "d");
  wrong[1024 + 124] = '9';
  CHECK(read_tar(wrong, 100).error().message == "the archive is malformed: a header's sum is wrong");
  CHECK_FALSE(read_tar(entry("x", "99 path=a\n", 'x') + end_of_tar(), 100));
  CHECK_FALSE(read_tar(entry("x", "0 path=a\n", 'x') + end_of_tar(), 100));
  CHECK_FALSE(read_tar(entry("x", "nonsense", 'x') + end_of_tar(), 100));
}

TEST_CASE("an archive of docker's has a manifest made for it") {
  auto content = read_archive(files_of(docker_archive()));
  REQUIRE_MESSAGE(content, content.error().message);
  REQUIRE(content->images.size() == 2);
  CHECK(content->images[0].name == "docker.io/library/busybox:1");
  CHECK(content->images[1].name == "x.example/a/b:2");
  REQUIRE(content->made.size() == 1);
  auto& [digest, text] = *content->made.begin();
  CHECK(digest == digest_of(text));
  CHECK(content->images[0].target.digest == digest);
  CHECK(content->images[0].target.size == text.size());
  CHECK(
      text ==
      R"({"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":)"
      R"("application/vnd.docker.container.image.v1+json","size":)" +
          std::to_string(config.size()) + R"(,"digest":")" + digest_of(config) +
          R"("},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.diff.tar","size":700000,"digest":")" +
          digest_of(layer) + R"("}]})");
  CHECK(content->children.at(digest) == std::vector<std::string>{digest_of(config), digest_of(layer)});
}

TEST_CASE("an OCI layout's images are those of its index, as far as they are all there") {
  auto manifest = R"({"schemaVersion":2,"config":{"digest":")" + digest_of(config) + R"("},"layers":[{"digest":")" +
                  digest_of(layer) + R"("}]})";
  auto missing = R"({"schemaVersion":2,"config":{"digest":"sha256:aa"},"layers":[]})";
  auto index = R"({"manifests":[{"digest":")" + digest_of(manifest) + R"("},{"digest":"sha256:bb"}]})";
  auto top = R"({"manifests":[
    {"mediaType":"m","digest":")" +
             digest_of(manifest) + R"(","annotations":{"io.containerd.image.name":"x.example/one:1"}},
    {"mediaType":"i","digest":")" +
             digest_of(index) + R"(","annotations":{"org.opencontainers.image.ref.name":"x.example/many:1"}},
    {"mediaType":"m","digest":")" +
             digest_of(missing) + R"(","annotations":{"io.containerd.image.name":"x.example/broken:1"}},
    {"mediaType":"m","digest":")" +
             digest_of(manifest) + R"("}]})";
  auto tar = entry("oci-layout", R"({"imageLayoutVersion":"1.0.0"})") + entry(blob_name(layer), layer) +
             entry(blob_name(config), config) + entry(blob_name(manifest), manifest) +
             entry(blob_name(missing), missing) + entry(blob_name(index), index) + entry("index.json", top) +
             end_of_tar();
  auto content = read_archive(files_of(tar));
  REQUIRE_MESSAGE(content, content.error().message);
  REQUIRE(content->images.size() == 2);
  CHECK(content->images[0].name == "x.example/one:1");
  CHECK(content->images[1].target.media_type == "i");
  CHECK(content->images[1].target.size == index.size());
  CHECK(content->children.at(digest_of(index)) == std::vector<std::string>{digest_of(manifest)});
  CHECK(content->problems == std::vector<std::string>{"the image x.example/broken:1 isn't all there",
                                                      "the image " + digest_of(manifest) + " has no name"});
  // A blob under another's name is none.
  auto forged = entry(blob_name(layer), layer) + entry(blob_name(config), "{}") + entry(blob_name(manifest), manifest) +
                entry("index.json", top) + end_of_tar();
  CHECK(read_archive(files_of(forged))->images.empty());
}

TEST_CASE("names that climb and links that turn in circles lead nowhere") {
  auto climbing = entry("layer.tar", layer) + entry("config.json", config) + entry("c", "", '2', "d") +
                  entry("d", "", '2', "c") +
                  entry("manifest.json", R"([{"Config":"c","RepoTags":["a:1"],"Layers":["layer.tar"]},
                    {"Config":"../../config.json","RepoTags":["b:1"],"Layers":["/layer.tar"]},{"Config":"../../../etc/passwd","RepoTags":["c:1"],"Layers":[]}])") +
                  end_of_tar();
  auto content = read_archive(files_of(climbing));
  REQUIRE(content);
  REQUIRE(content->images.size() == 1);
  CHECK(content->images[0].name == "docker.io/library/b:1");
  CHECK(content->problems.size() == 2);
  CHECK(read_archive(files_of(entry("a", "b") + end_of_tar())).error().message ==
        "it has neither index.json nor manifest.json");
  CHECK_FALSE(read_archive(files_of(entry("manifest.json", "[]") + end_of_tar())));
  CHECK_FALSE(read_archive(files_of(entry("manifest.json", "{") + end_of_tar())));
}

TEST_CASE("archives are unpacked by their names, and what is cut short is refused") {
  temporary_folder f;
  auto tar = docker_archive();
  auto write = [&](const std::string& name, const std::string& bytes) {
    auto path = f.path() + "/" + name;
    std::ofstream(path, std::ios::binary) << bytes;
    return path;
  };
  for (auto& [name, bytes] : {std::pair<std::string, std::string>("a.tar", tar),
                              {"a.tar.gz", gzipped(tar)},
                              {"a.TGZ", gzipped(tar)},
                              {"a.tar.zst", zstd_of(tar)},
                              {"two.tar.gz", gzipped(tar.substr(0, 5000)) + gzipped(tar.substr(5000))}}) {
    auto files = read_all(write(name, bytes));
    REQUIRE_MESSAGE(files, name, ": ", files.error().message);
    CHECK(files->blobs.at("layer.tar").digest == digest_of(layer));
    CHECK(files->links.at("again/layer.tar") == "../layer.tar");
    CHECK_MESSAGE(!read_all(write("cut." + name, bytes.substr(0, bytes.size() / 2))), name);
    CHECK_MESSAGE(!read_all(write("none." + name, "")), name);
  }
  CHECK_FALSE(read_all(write("a.tar.zst", gzipped(tar))));
  CHECK_FALSE(read_all(write("a.tar.gz", tar)));
  CHECK(is_archive_name("x.tar"));
  CHECK_FALSE(is_archive_name("x.tar.txt"));
  REQUIRE(::mkfifo((f.path() + "/p.tar").c_str(), 0600) == 0);
  CHECK(read_all(f.path() + "/p.tar").error().message == "it is no plain file");
}

TEST_CASE("images have full names") {
  CHECK(full_image_name("busybox") == "docker.io/library/busybox:latest");
  CHECK(full_image_name("rancher/pause:3") == "docker.io/rancher/pause:3");
  CHECK(full_image_name("localhost/a") == "localhost/a:latest");
  CHECK(full_image_name("r:5000/a") == "r:5000/a:latest");
  CHECK(full_image_name("a@sha256:b") == "docker.io/library/a@sha256:b");
}

TEST_CASE("images go by when they were used last, and never one that is needed") {
  time_point now(1h);
  auto one = [&](const char* id, std::uint64_t size, duration used_ago, duration seen_ago = 1h) {
    return image_use{.image = {.id = id, .size_bytes = size},
                     .first_seen = now - seen_ago,
                     .last_used = used_ago == 0s ? time_point() : now - used_ago};
  };
  auto pinned = one("pinned", 100, 30min), used = one("used", 100, 30min);
  pinned.image.pinned = true;
  used.in_use = true;
  std::vector<image_use> all = {one("recent", 10, 1min), pinned, used, one("old", 10, 20min), one("new", 10, 0s, 1min),
                                one("never", 10, 0s)};
  auto ids = [&](std::uint64_t bytes) {
    std::vector<std::string> out;
    for (auto& u : images_to_remove(all, bytes, 2min, now)) out.push_back(u.image.id);
    return out;
  };
  CHECK(ids(0).empty());
  CHECK(ids(1) == std::vector<std::string>{"never"});
  CHECK(ids(11) == std::vector<std::string>{"never", "old"});
  CHECK(ids(1000) == std::vector<std::string>{"never", "old", "recent"});
}
