#!/usr/bin/env python3
"""What CoreDNS answers with what users configure (ConfigMaps coredns-custom and coredns), to tests/answers/dns/custom.txt.

COREDNS=… tests/answers/record_dns.py: a CoreDNS with the plugins errors, log, cache, rewrite, template, hosts and forward. Each case is what
the ConfigMap would have; it is asked for names of all sorts, and beside it stands a resolver (answer() below, and the same in
tests/unit/node/network/dns_answers_test.cc) that knows an address for every name.

    = <key>                  the text of that key follows, up to a line "."; "Corefile" is ConfigMap coredns', the others coredns-custom's
    ! away | ! back          from here on the resolver says SERVFAIL, or answers again
    + <seconds>              so much time passes
    ? <name> <type> <code> <answers> <owner type ttl data>…      what was asked, and what was said: its code, how many records, and
                                                               those that are addresses and aliases
"""

import itertools
import os
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

away = False  # the resolver says SERVFAIL
TYPES = {"A": 1, "CNAME": 5, "PTR": 12, "TXT": 16, "AAAA": 28}

CASES = [
    {"a.override": "hosts {\n 192.0.2.7 nas.lan NAS\n 192.0.2.8 nas.lan\n fd00::7 nas.lan\n 192.0.2.9 printer.lan\n fallthrough\n}\n"},
    {"a.override": "hosts {\n 192.0.2.7 nas.lan\n fd00::9 six.lan\n ttl 77\n no_reverse\n fallthrough\n}\n"},
    {"a.override": "rewrite name old.lan nas.lan\nrewrite name exact printer.lan. web.corp\nrewrite name exact tv.lan other.test\n"},
    {"a.override": "rewrite stop name suffix .corp .lan answer auto\nrewrite name prefix dev- prod- answer auto\nrewrite name substring stage live answer auto\n"},
    {"a.override": "rewrite continue name prefix dev- stage- answer auto\nrewrite name substring stage live answer auto\nrewrite name suffix .lan .corp answer auto\n"},
    {"a.override": "hosts {\n 192.0.2.7 nas.lan\n fallthrough\n}\nrewrite name nas.corp nas.lan\nrewrite name suffix .home .lan answer auto\n"},
    {"b.server": "lan:53 {\n hosts {\n  192.0.2.7 nas.lan\n  fd00::7 six.lan\n }\n}\ncorp:53 {\n errors\n forward . %STUB%\n}\n"},
    {"b.server": "lan {\n hosts {\n  192.0.2.7 nas.lan\n  fallthrough\n }\n forward . %STUB%\n}\nx.lan, home {\n hosts {\n  192.0.2.8 nas.x.lan web.home\n }\n}\n"},
    {"b.server": "corp {\n rewrite name exact nas.corp nas.lan\n forward corp %STUB%\n}\nhome {\n forward . %STUB% {\n  except nas.home x.home\n  policy sequential\n }\n}\n"},
    {"a.override": "rewrite name regex ^(.*)[.]corp[.]$ {1}.lan answer auto\nrewrite stop {\n name regex (.*)-web\\.home {1}.stage.test\n answer name (.*)\\.stage\\.test {1}-web.home\n}\n"},
    {"a.override": "template IN A lan {\n match ^(?P<a>[a-z]+)-(?P<b>[a-z]+)[.]lan[.]$\n answer \"{{ .Name }} 60 IN A 192.0.2.1\"\n fallthrough\n}\n"
                   "template IN AAAA corp home {\n answer \"{{ .Name }} IN AAAA fd00::{{ index .Match 0 | len }}\"\n}\n".replace("{{ index .Match 0 | len }}", "5")
                   + "template ANY ANY test {\n rcode NXDOMAIN\n}\n"},
    {"a.override": "template IN A lan {\n match ^x\n answer \"{{ .Name }} 60 IN A 192.0.2.1\"\n answer \"{{ .Name }} 60 {{ .Class }} {{ .Type }} 192.0.2.2\"\n}\n"
                   "hosts {\n fd00::7 nas.lan\n fallthrough\n}\n"},
    {"b.server": "corp {\n forward . tls://%TLS% {\n  tls_servername dns.test\n }\n}\nhome {\n forward . tls://%TLS% {\n  expire 1s\n  max_fails 0\n  tls\n }\n}\n"},
    {"b.server": "lan {\n forward . tls://%TLS% {\n  tls_servername other.test\n }\n}\n", "_ask": [("nas.lan", "A"), ("nas.corp", "A")]},
    {"b.server": "corp {\n cache 10\n forward . %STUB%\n}\nhome {\n cache 3600 {\n  success 100 20\n  denial 100 7\n  disable success nas.home\n }\n forward . %STUB%\n}\n"
                 "lan {\n cache 12 x.lan\n forward . %STUB%\n}\ntest {\n cache {\n  success 10 40 35\n }\n forward . %STUB% {\n  force_tcp\n  policy round_robin\n }\n}\n"},
    {"b.server": "corp {\n cache 1 {\n  serve_stale 1h immediate\n }\n forward . %STUB%\n}\nhome {\n cache 1 {\n  serve_stale\n }\n forward . %STUB%\n}\n"
                 "lan {\n cache 1 {\n  serve_stale 1h verify\n }\n forward . %STUB%\n}\n",
     "_ask": [("a.corp", "A"), ("x.home", "A"), ("nas.lan", "A"), ("nas.lan", "AAAA"), ("!", "away"), ("+", "2"),
              ("a.corp", "A"), ("x.home", "A"), ("nas.lan", "A"), ("nas.lan", "AAAA"), ("none.lan", "A"), ("!", "back"), ("nas.lan", "A")]},
    {"Corefile": ".:53 {\n    errors\n    hosts /etc/coredns/custom/nas.hosts lan {\n      ttl 60\n      192.0.2.44 tv.lan\n      fallthrough\n    }\n    cache 20\n"
                 "    import /etc/coredns/custom/*.override\n"
                 "    forward . %STUB% {\n       policy random\n       max_concurrent 1000\n       health_check 5s no_rec domain example.org\n    }\n}\n"
                 "corp:53, home:53 {\n    hosts {\n      192.0.2.50 nas.corp web.home\n      fallthrough home\n    }\n"
                 "    forward . dns://%STUB% {\n       prefer_udp\n       except x.home\n    }\n}\n"
                 "import /etc/coredns/custom/*.server\n",
     "nas.hosts": "# mine\n192.0.2.7 nas.lan NAS # and a word\n\nfd00::7\tsix.lan\nnonsense\n192.0.2.9\n",
     "a.override": "rewrite name old.lan nas.lan\n", "b.server": "x.lan {\n hosts {\n  192.0.2.8 nas.x.lan\n }\n}\n"},
    {"a.override": "log\nerrors\nrewrite name nas.lan printer.lan\n", "b.server": "2.0.192.in-addr.arpa {\n hosts {\n  192.0.2.7 nas.lan\n }\n}\nempty.lan {\n errors\n}\n"},
]


def names():
    hosts = ["nas", "NAS", "printer", "tv", "old", "web", "six", "dev-web", "stage", "dev-stage", "x", "a.x", "nas.x", "none", "stagestage", "prod-stage-1"]
    zones = ["lan", "corp", "home", "test", "x.lan", "empty.lan"]
    yield from (f"{h}.{z}" for h, z in itertools.product(hosts, zones))
    yield from ["nas", "lan", "corp", "home", "old.lan.corp", "nas.lan.home", "notlan", "xlan"]


def questions():
    for name in names():
        for t in ("A", "AAAA"):
            yield name, t
    for name in ("nas.lan", "old.lan", "none.corp", "web.home"):
        yield name, "TXT"
    for reverse in ("7.2.0.192", "8.2.0.192", "9.2.0.192"):
        yield reverse + ".in-addr.arpa", "PTR"


def wire(name):
    return b"".join(bytes([len(l)]) + l.encode() for l in name.split(".") if l) + b"\0"


def read_name(message, at):
    labels, end = [], None
    while True:
        n = message[at]
        if n & 0xC0:
            end = end or at + 2
            at = (n & 0x3F) << 8 | message[at + 1]
        elif n == 0:
            return ".".join(labels), end or at + 1
        else:
            labels.append(message[at + 1:at + 1 + n].decode())
            at += n + 1


def answer(question):
    """A resolver that has an IPv4 address for each name: its letters' sum."""
    if away:
        return question[:2] + struct.pack("!HHHHH", 0x8182, 1, 0, 0, 0) + question[12:read_name(question, 12)[1] + 4]
    name, at = read_name(question, 12)
    type, = struct.unpack("!H", question[at:at + 2])
    total = sum(name.lower().encode())
    records = [b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 30, 4) + bytes([10, 0, total >> 8, total & 255])] if type == 1 else []
    return question[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0) + question[12:at + 4] + b"".join(records)


def serve(sock):
    while True:
        question, client = sock.recvfrom(4096)
        sock.sendto(answer(question), client)


def talk(connection, context):
    try:
        connection = context.wrap_socket(connection, server_side=True) if context else connection
        with connection, connection.makefile("rb") as incoming:
            while size := incoming.read(2):
                said = answer(incoming.read(struct.unpack("!H", size)[0]))
                connection.sendall(struct.pack("!H", len(said)) + said)
    except OSError:
        pass  # who doesn't believe the certificate hangs up


def serve_streams(sock, context=None):
    sock.listen()
    while True:
        threading.Thread(target=talk, args=(sock.accept()[0], context), daemon=True).start()


def make_authority(folder):
    """A certificate for dns.test and 127.0.0.1 that is its own authority."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=dns.test",
                    "-addext", "subjectAltName=DNS:dns.test,IP:127.0.0.1", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    return context


def ask(port, name, type):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(15)  # CoreDNS asks again and again for five seconds
    s.sendto(struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + wire(name) + struct.pack("!HH", TYPES[type], 1), ("127.0.0.1", port))
    message = s.recv(65535)
    s.close()
    flags, _, count = struct.unpack("!HHH", message[2:8])
    _, at = read_name(message, 12)
    at += 4
    out = []
    for _ in range(count):
        owner, at = read_name(message, at)
        t, _, ttl, length = struct.unpack("!HHIH", message[at:at + 10])
        at += 10
        if t in (1, 28):
            out.append(f"{owner.lower()} {'A' if t == 1 else 'AAAA'} {ttl} {socket.inet_ntop(socket.AF_INET if t == 1 else socket.AF_INET6, message[at:at + length])}")
        at += length
    return f"{flags & 15} {count} " + " ".join(sorted(out))


def listening(kind, port=0):
    s = socket.socket(socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", port))
    return s, s.getsockname()[1]


def on_port(text, port):
    return "\n".join(line[:-1].rstrip().replace(":53", "").replace(",", f":{port},") + f":{port} {{" if line and not line[0].isspace() and line.endswith("{") else line
                     for line in text.splitlines()) + "\n"


def main():
    global away
    folder = tempfile.TemporaryDirectory()
    stub, stub_port = listening(socket.SOCK_DGRAM)
    streams, _ = listening(socket.SOCK_STREAM, stub_port)
    sealed, sealed_port = listening(socket.SOCK_STREAM)
    threading.Thread(target=serve, args=(stub,), daemon=True).start()
    threading.Thread(target=serve_streams, args=(streams,), daemon=True).start()
    threading.Thread(target=serve_streams, args=(sealed, make_authority(folder.name)), daemon=True).start()
    lines = []
    for number, case in enumerate(CASES):
        free, port = listening(socket.SOCK_DGRAM)
        free.close()
        texts = {key: text for key, text in case.items() if key != "_ask"}
        custom = os.path.join(folder.name, str(number), "custom")
        os.makedirs(custom)

        def real(text):
            return text.replace("%STUB%", f"127.0.0.1:{stub_port}").replace("%TLS%", f"127.0.0.1:{sealed_port}").replace("/etc/coredns/custom", custom)

        for key, text in texts.items():
            with open(os.path.join(custom, key), "w") as f:
                f.write(on_port(real(text), port) if key.endswith(".server") else real(text))
        corefile = texts.get("Corefile", f".:53 {{\nimport {custom}/*.override\nforward . %STUB%\n}}\nimport {custom}/*.server\n")
        name = os.path.join(folder.name, str(number), "Corefile")
        with open(name, "w") as f:
            f.write(on_port(real(corefile), port))
        process = subprocess.Popen([os.environ["COREDNS"], "-conf", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env=os.environ | {"SSL_CERT_FILE": f"{folder.name}/cert.pem"})
        try:
            for _ in range(100):
                try:
                    ask(port, "ready.test", "A")
                    break
                except OSError:
                    time.sleep(0.1)
                    if process.poll() is not None:
                        raise SystemExit(f"CoreDNS doesn't take:\n{open(name).read()}")
            for key, text in texts.items():
                lines += [f"= {key}", text.rstrip("\n"), "."]
            for name, type in case.get("_ask") or questions():
                if name == "!":
                    away = type == "away"
                elif name == "+":
                    time.sleep(float(type))
                lines.append(f"{name} {type}" if name in "!+" else f"? {name} {type} {ask(port, name, type)}".rstrip())
        finally:
            process.terminate()
            process.wait()
    with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "dns/custom.txt"), "w") as f:
        f.write("\n".join(lines) + "\n")
    print(f"{sum(l.startswith('?') for l in lines)} answers")


if __name__ == "__main__":
    main()
