"""Images that lie on a node's disk, and registries that its owner names, with real containerd."""

import hashlib
import io
import json
import os
import shutil
import sys
import tarfile
import unittest

from harness import Server, eventually, main, run
from runtime import ARGS, BUSYBOX, PAUSE, RuntimeLab, ready_node

LATER = "x.example/later:1"
# A registry of one archive's image, for who knows the password; says on standard output what was asked for.
REGISTRY = r"""
import base64, hashlib, http.server, json, sys, tarfile
archive, repository, address, port, password = sys.argv[1:6]
tar = tarfile.open(archive)
entry = json.load(tar.extractfile("manifest.json"))[0]
blobs = {}
def blob(name, kind):
    content = tar.extractfile(name).read()
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    blobs[digest] = content
    return {"mediaType": kind, "size": len(content), "digest": digest}
manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
                       "config": blob(entry["Config"], "application/vnd.docker.container.image.v1+json"),
                       "layers": [blob(l, "application/vnd.docker.image.rootfs.diff.tar") for l in entry["Layers"]]}).encode()
own = "sha256:" + hashlib.sha256(manifest).hexdigest()
wanted = "Basic " + base64.b64encode(("edge:" + password).encode()).decode()
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        print(self.command, self.path, "with" if self.headers.get("Authorization") == wanted else "without", flush=True)
        if self.headers.get("Authorization") != wanted:
            return self.answer(401, b"", "text/plain", {"WWW-Authenticate": 'Basic realm="edge"'})
        path = self.path.split("?")[0]
        if path == "/v2/" + repository + "/manifests/test" or path == "/v2/" + repository + "/manifests/" + own:
            return self.answer(200, manifest, "application/vnd.docker.distribution.manifest.v2+json", {"Docker-Content-Digest": own})
        content = blobs.get(path.rsplit("/", 1)[1]) if "/blobs/" in path else None
        self.answer(404 if content is None else 200, content or b"", "application/octet-stream")
    do_HEAD = do_GET
    def answer(self, code, body, kind, more={}):
        self.send_response(code)
        for k, v in {"Content-Type": kind, "Content-Length": str(len(body)), **more}.items(): self.send_header(k, v)
        self.end_headers()
        if self.command == "GET": self.wfile.write(body)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer((address, int(port)), Handler).serve_forever()
"""


def oci_layout(folder, docker_archive, name):
    """The image of a docker archive as an OCI layout with an index, as `ctr images export` writes it."""
    source = tarfile.open(docker_archive)
    entry = json.load(source.extractfile("manifest.json"))[0]
    path = os.path.join(folder, "layout.tar")
    with tarfile.open(path, "w") as tar:
        def add(file, content):
            info = tarfile.TarInfo(file)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))

        def blob(content, kind, **more):
            digest = hashlib.sha256(content).hexdigest()
            add("blobs/sha256/" + digest, content)
            return {"mediaType": kind, "digest": "sha256:" + digest, "size": len(content), **more}
        config = blob(source.extractfile(entry["Config"]).read(), "application/vnd.oci.image.config.v1+json")
        layers = [blob(source.extractfile(l).read(), "application/vnd.oci.image.layer.v1.tar") for l in entry["Layers"]]
        manifest = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": layers}).encode()
        index = json.dumps({"schemaVersion": 2, "manifests": [
            blob(manifest, "application/vnd.oci.image.manifest.v1+json", annotations={"io.containerd.image.name": name})]}).encode()
        add("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        add("index.json", index)
    return path


class Images(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = RuntimeLab()
        cls.addClassCleanup(cls.lab.close)
        pause, busybox = cls.lab.archives
        cls.lab.archives = []  # the node finds them by itself
        cls.data = os.path.join(cls.lab.folder, "server")
        cls.images = os.path.join(cls.data, "agent/images")
        os.makedirs(cls.images)
        run("zstd", "-q", pause, "-o", os.path.join(cls.images, "pause.tar.zst"))
        run("sh", "-c", f"gzip -c {busybox} > {cls.images}/busybox.tar.gz")
        with open(os.path.join(cls.images, "broken.tar"), "w") as f:
            f.write("no archive" * 1000)
        os.mkfifo(os.path.join(cls.images, "pipe.tar"))
        host = cls.lab.host()
        cls.registry = cls.lab.start("registry", host.command(sys.executable, "-c", REGISTRY, busybox, "library/busybox", "127.0.0.1", "5000", "hush"))
        registries = os.path.join(cls.lab.folder, "registries.yaml")
        with open(registries, "w") as f:
            json.dump({"mirrors": {"far.example": {"endpoint": ["http://127.0.0.1:5000"]}}, "configs": {"127.0.0.1:5000": {"auth": {"username": "edge", "password": "hush"}}}}, f)
        os.makedirs(os.path.join(cls.data, "agent/etc/containerd"))
        with open(os.path.join(cls.data, "agent/etc/containerd/config.toml.tmpl"), "w") as f:
            f.write('{{ template "base" . }}\n[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.edge]\n  runtime_type = "io.containerd.runc.v2"\n')
        cls.server = cls.lab.adopt(Server(cls.lab, "server", host=host, args=[*ARGS, "--private-registry", registries]).wait_ready())
        ready_node(cls.server, "server")
        eventually("the account of pods", lambda: cls.server.get("serviceaccount", "default"))
        cls.record = os.path.join(cls.data, "agent/etc/imported-images.json")
        eventually("what lay there is imported", lambda: "pause.tar.zst" in json.load(open(cls.record))["files"])
        # What comes later, while the node runs.
        shutil.copyfile(oci_layout(cls.lab.folder, busybox, LATER), os.path.join(cls.images, "later.tar"))
        with open(os.path.join(cls.images, "list.txt"), "w") as f:
            f.write("# the edge's\nfar.example/library/busybox:test\n")

    def pod(self, name, image, policy="Never", **spec):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"terminationGracePeriodSeconds": 1, **spec, "containers": [
            {"name": "main", "image": image, "imagePullPolicy": policy, "command": ["sh", "-c", "sleep 1000"]}]}}
        self.server.kubectl("create", "-f", "-", input=json.dumps(pod))

    def running(self, name):
        return eventually(f"pod {name} runs", lambda: (lambda p: p["status"].get("phase") == "Running" and p)(self.server.get("pod", name)))

    def labels(self, name):
        for line in self.lab.ctr(self.server, "images", "list", f"name=={name}").splitlines()[1:]:
            return line.split()[-1]

    def test_what_lies_there_is_imported_and_pinned(self):
        self.pod("own", BUSYBOX)
        self.running("own")
        for name in (BUSYBOX, PAUSE):
            self.assertIn("io.cri-containerd.pinned=pinned", self.labels(name))
        log = self.server.log()
        self.assertIn("broken.tar can't be imported: it is no tar archive", log)
        self.assertNotIn("pipe.tar", log)

    def test_what_comes_later_is_imported_too(self):
        self.pod("later", LATER)
        self.running("later")
        self.assertIn("io.cri-containerd.pinned=pinned", self.labels(LATER))
        eventually("it is noted", lambda: json.load(open(self.record))["files"]["later.tar"]["images"] == [LATER])

    def test_a_mirror_with_a_password_and_a_list_of_images(self):
        eventually("it was pulled and pinned", lambda: "pinned" in (self.labels("far.example/library/busybox:test") or ""))
        asked = open(self.registry.log).read()
        self.assertIn("/v2/library/busybox/manifests/test?ns=far.example with\n", asked)
        self.pod("far", "far.example/library/busybox:test", "IfNotPresent")
        self.running("far")

    def test_runtimes_of_a_template(self):
        self.server.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": {"name": "edge"}, "handler": "edge"}))
        self.addCleanup(self.server.kubectl, "delete", "runtimeclass", "edge")
        self.pod("special", BUSYBOX, runtimeClassName="edge")
        self.running("special")
        info = json.loads(run("ctr", "-a", self.server.containerd, "-n", "k8s.io", "containers", "info", self.sandbox_of("special")))
        self.assertEqual(info["Runtime"]["Name"], "io.containerd.runc.v2")
        # Who is to be nobody on the machine isn't run as somebody.
        self.pod("nobody", BUSYBOX, hostUsers=False)
        eventually("it is refused", lambda: "does not support user namespaces" in self.server.kubectl("describe", "pod", "nobody"))

    def sandbox_of(self, name):
        uid = self.server.get("pod", name)["metadata"]["uid"]
        for line in self.lab.ctr(self.server, "containers", "list", f'labels."io.kubernetes.pod.uid"=={uid},labels."io.cri-containerd.kind"==sandbox').splitlines()[1:]:
            return line.split()[0]


if __name__ == "__main__":
    main()
