"""A webhook for tests: HTTPS on an address of this machine, which answers as it is told by the path and keeps what it was asked.

    server.script["/deny"] = lambda review: {"allowed": False, "status": {"message": "no"}}

A script's dict is the response of an AdmissionReview (its uid is filled in); bytes are an answer's body as it is.
"""

import http.server
import json
import os
import ssl
import subprocess
import threading


def make_certificates(folder, *names):
    """hook.crt and hook.key for the names, signed by ca.crt; with the openssl program."""
    alternatives = ",".join(("IP:" if name.replace(".", "").isdigit() else "DNS:") + name for name in names)
    for argv in (["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=hook-ca", "-keyout", "ca.key", "-out", "ca.crt"],
                 ["req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=hook", "-keyout", "hook.key", "-out", "hook.csr",
                  "-addext", "subjectAltName=" + alternatives],
                 ["x509", "-req", "-in", "hook.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copy", "-out", "hook.crt"]):
        subprocess.run(["openssl", *argv], cwd=folder, check=True, capture_output=True)


class HookServer:
    def __init__(self, folder, address="127.0.0.1", port=0):
        self.script, self.asked = {}, []  # path → what answers; (path, query, review), in order
        self.headers = {}  # of the last of them
        self.lock = threading.Lock()
        self.ca = open(os.path.join(folder, "ca.crt"), "rb").read()
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(os.path.join(folder, "hook.crt"), os.path.join(folder, "hook.key"))
        self.server = http.server.ThreadingHTTPServer((address, port), self.handler())
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # clients that don't trust it, or go away
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        self.port = self.server.server_address[1]
        self.at = f"{address}:{self.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handler(self):
        hooks = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                review = json.loads(body)
                path, _, query = self.path.partition("?")
                with hooks.lock:
                    hooks.asked.append((path, query, review))
                    hooks.headers = dict(self.headers)
                answer = hooks.script[path](review)
                code, headers = 200, {"Content-Type": "application/json"}
                if isinstance(answer, tuple):
                    code, headers, answer = answer
                if isinstance(answer, dict):
                    if "kind" not in answer:
                        answer = {"apiVersion": review["apiVersion"], "kind": review["kind"], "response": {"uid": review["request"]["uid"], **answer}}
                    answer = json.dumps(answer).encode()
                self.send_response(code)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        return Handler

    def take(self):
        """What was asked since the last time."""
        with self.lock:
            asked, self.asked = self.asked, []
        return asked

    def close(self):
        self.server.shutdown()
        self.server.server_close()
