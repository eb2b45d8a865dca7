"""Images for Kubernetes' end-to-end suite, made on the spot: no registry is asked.

The suite looks at names, exit codes, what shell commands print and what answers on port 80. So agnhost is the suite's own program over this
machine's tools, and nginx, httpd and the like are busybox under those names. Names and tags are those that the suite lists itself; what it needs
for volumes of other vendors, GPUs and other clouds is left out.
"""

import hashlib
import io
import json
import os
import subprocess
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# What agnhost's real image has beside agnhost, for tests that ask the network from inside of a pod.
TOOLS = ("bash", "curl", "dig", "getent", "ip", "ipcs", "nc", "ss")
USERS = ("root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1::/:/bin/false\nnobody:x:65534:65534::/:/bin/false\n"
         "user-defined-in-image:x:1000:1000::/home:/bin/sh\n")
GROUPS = "root:x:0:\ndaemon:x:1:\nnogroup:x:65534:\nuser-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"


class Layer:
    """Files of one layer, as a tar in memory."""

    def __init__(self):
        self.bytes, self.folders = io.BytesIO(), set()
        self.tar = tarfile.open(fileobj=self.bytes, mode="w")

    def folder(self, path):
        if path and path not in self.folders:
            self.folder(os.path.dirname(path))
            self.folders.add(path)
            info = tarfile.TarInfo(path)
            info.type, info.mode = tarfile.DIRTYPE, 0o1777 if path == "tmp" else 0o755
            self.tar.addfile(info)
        return self

    def file(self, path, content, mode=0o644):
        self.folder(os.path.dirname(path))
        content = content.encode() if isinstance(content, str) else content
        info = tarfile.TarInfo(path)
        info.size, info.mode = len(content), mode
        self.tar.addfile(info, io.BytesIO(content))
        return self

    def program(self, path, source):
        return self.file(path, open(source, "rb").read(), 0o755)

    def linked(self, path, source):
        """A program, and what it is linked against."""
        self.program(path, source)
        for library in sorted(libraries(source)):
            self.program(library.lstrip("/"), library)
        return self

    def link(self, path, target):
        self.folder(os.path.dirname(path))
        info = tarfile.TarInfo(path)
        info.type, info.linkname = tarfile.SYMTYPE, target
        self.tar.addfile(info)
        return self

    def done(self):
        self.tar.close()
        return self.bytes.getvalue()


def archive(path, reference, layers, **config):
    """A docker archive; `config` is the image's: Entrypoint, Cmd, User, WorkingDir."""
    digests = [hashlib.sha256(layer).hexdigest() for layer in layers]
    document = json.dumps({"architecture": "amd64", "os": "linux", "config": {"Env": ["PATH=" + PATH], **config},
                           "rootfs": {"type": "layers", "diff_ids": ["sha256:" + d for d in digests]}}).encode()
    name = hashlib.sha256(document).hexdigest() + ".json"
    manifest = json.dumps([{"Config": name, "RepoTags": [reference], "Layers": [d + ".tar" for d in digests]}]).encode()
    with tarfile.open(path, "w") as tar:
        for file, content in (*((d + ".tar", layer) for d, layer in zip(digests, layers)), (name, document), ("manifest.json", manifest)):
            info = tarfile.TarInfo(file)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def compiled(folder, name):
    path = os.path.join(folder, name)
    subprocess.run(["clang-19", "-Os", "-static", "-o", path, os.path.join(HERE, name + ".c")], check=True)
    return path


def libraries(program):
    """The shared objects that a program needs, by the names that its loader asks for."""
    p = subprocess.run(["ldd", program], text=True, capture_output=True)
    return {word for line in p.stdout.splitlines() for word in line.split() if word.startswith("/")} if p.returncode == 0 else set()


def userland():
    """busybox under all its names, with the users that the suite expects. Its shell is bash where that is: busybox' own drops variables whose
    names are none for a shell."""
    layer = Layer().program("bin/busybox", "/bin/busybox")
    shell = "/bin/bash-static"
    for applet in subprocess.run(["/bin/busybox", "--list"], check=True, text=True, capture_output=True).stdout.split():
        if applet != "busybox" and not (applet == "sh" and os.path.exists(shell)):
            layer.link("bin/" + applet, "busybox")
    if os.path.exists(shell):
        layer.program("bin/sh", shell)
    for folder in ("tmp", "root", "home", "var/run"):
        layer.folder(folder)
    layer.link("usr/bin/env", "../../bin/busybox")
    return layer.file("etc/passwd", USERS).file("etc/group", GROUPS).file("etc/nsswitch.conf", "hosts: files dns\n").done()


def tools():
    """This machine's programs with what they are linked against."""
    layer, needed = Layer(), {}
    for tool in TOOLS:
        found = next((f"{p}/{tool}" for p in PATH.split(":") if os.path.exists(f"{p}/{tool}")), None)
        if found:
            layer.program("usr/bin/" + tool, found)
            for library in libraries(found):
                needed[library.lstrip("/")] = library
        else:
            print(f"conformance images: this machine has no {tool}; specs that use it in a pod will fail", flush=True)
    for path, source in sorted(needed.items()):
        layer.program(path, source)
    return layer.done()


def server(program, folder, title):
    """A web server by another one's name."""
    return (Layer().file(program, f"#!/bin/sh\nexec /bin/busybox httpd -f -p 80 -h /{folder}\n", 0o755)
            .file(folder + "/index.html", f"<html><title>{title}</title><body><h1>{title}</h1></body></html>\n").done())


def certificate(folder):
    """Of localhost, signed by itself: what agnhost serves TLS with."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "3650", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-out", folder + "/localhost.crt", "-keyout", folder + "/localhost.key"],
                   check=True, capture_output=True)


def make(references, programs, out):
    """Writes an archive for each reference that is known here, and gives the paths. `programs` is the folder with agnhost, and with sample-apiserver
    where it is."""
    os.makedirs(out, exist_ok=True)
    certificate(out)
    base, more = userland(), tools()
    agnhost = (Layer().program("agnhost", os.path.join(programs, "agnhost")).link("agnhost-2", "agnhost").folder("uploads")
               .program("localhost.crt", out + "/localhost.crt").program("localhost.key", out + "/localhost.key").done())
    pause = Layer().program("pause", compiled(out, "pause")).done()
    escalates = Layer().file("effective-user", open(compiled(out, "effective_user"), "rb").read(), 0o4755).done()
    nginx = server("usr/sbin/nginx", "usr/share/nginx/html", "Welcome to nginx!")
    httpd = server("usr/local/bin/httpd-foreground", "usr/local/apache2/htdocs", "It works!")

    def picture(name):
        layer = Layer().file("data/html/data.json", json.dumps({"image": name + ".jpg"})).done()
        return [base, layer], {"Cmd": ["httpd", "-f", "-p", "80", "-h", "/data/html"]}

    known = {
        "agnhost": ([base, more, agnhost], {"Entrypoint": ["/agnhost"], "Cmd": ["pause"]}),
        "pause": ([pause], {"Entrypoint": ["/pause"]}),
        "busybox": ([base], {"Cmd": ["sh"]}),
        "perl": ([base], {"Cmd": ["sh"]}),
        "nginx": ([base, nginx], {"Cmd": ["nginx", "-g", "daemon off;"]}),
        "httpd": ([base, httpd], {"Cmd": ["httpd-foreground"], "WorkingDir": "/usr/local/apache2"}),
        "nonroot": ([base], {"Entrypoint": ["/bin/sh", "-c", "id -u"], "User": "1234"}),
        "nonewprivs": ([base, escalates], {"Entrypoint": ["/effective-user"]}),
        "nautilus": picture("nautilus"),
        "kitten": picture("kitten"),
        "ipc-utils": ([base, more], {"Cmd": ["sleep", "36000"]}),
        "glibc-dns-testing": ([base, more], {"Cmd": ["sleep", "36000"]}),
    }
    if os.path.exists(os.path.join(programs, "sample-apiserver")):
        known["sample-apiserver"] = [base, Layer().linked("sample-apiserver", os.path.join(programs, "sample-apiserver")).done()], {"Entrypoint": ["/sample-apiserver"]}
    etcd = next((p for p in ("/usr/bin/etcd", "/usr/local/bin/etcd") if os.path.exists(p)), None)
    if etcd:
        known["etcd"] = [base, Layer().linked("usr/local/bin/etcd", etcd).done()], {"Cmd": ["/usr/local/bin/etcd"]}

    made = []
    for number, reference in enumerate(sorted(set(references))):
        name = reference.rsplit("/", 1)[-1].split(":")[0]
        if name in known and not reference.startswith("invalid."):
            layers, config = known[name]
            # Two references are two images, however alike they are.
            mark = Layer().file("etc/image", reference + "\n").done()
            made.append(archive(os.path.join(out, f"{name}-{number}.tar"), reference, [*layers, mark], **config))
    return made
