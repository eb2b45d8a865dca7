"""What measures, for recordings: a server behind the aggregated APIs metrics.k8s.io, custom.metrics.k8s.io and external.metrics.k8s.io.

    adapters = Adapters(folder)
    adapters.register(ask)                       # the three APIServices, and that they are available
    adapters.items["/apis/external.metrics.k8s.io/v1beta1/namespaces/x/waiting"] = [{"value": "3"}]

A path (with its query) that has no items is answered 404, a number is the code of a refusal.
"""

import http.server
import json
import ssl
import threading
import time

import hook_server

APIS = {"metrics.k8s.io": ("v1beta1", "PodMetricsList"), "custom.metrics.k8s.io": ("v1beta2", "MetricValueList"),
        "external.metrics.k8s.io": ("v1beta1", "ExternalMetricValueList")}


class Adapters:
    def __init__(self, folder):
        self.items = {}
        hook_server.make_certificates(folder, "localhost")
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(f"{folder}/hook.crt", f"{folder}/hook.key")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.server.daemon_threads = True
        self.server.socket = tls.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def handler(self):
        items = self.items

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                parts = self.path.partition("?")[0].split("/")
                group = parts[2] if len(parts) > 2 else ""
                version, kind = APIS.get(group, ("", ""))
                found = items.get(self.path)
                if len(parts) == 4 and group:
                    code, body = 200, {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": f"{group}/{version}", "resources": []}
                elif isinstance(found, list):
                    code, body = 200, {"kind": kind, "apiVersion": f"{group}/{version}", "metadata": {}, "items": found}
                else:
                    code = found or 404
                    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": f"no metrics: {code}"}
                text = json.dumps(body).encode()
                self.send_response(code)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_):
                pass

        return Handler

    def register(self, ask):
        """`ask(method, path, body)` gives a decoded answer."""
        namespace = "kube-system"
        ask("POST", f"/api/v1/namespaces/{namespace}/services", {
            "kind": "Service", "apiVersion": "v1", "metadata": {"name": "adapters"}, "spec": {"type": "ExternalName", "externalName": "localhost"}})
        for group, (version, _) in APIS.items():
            ask("POST", "/apis/apiregistration.k8s.io/v1/apiservices", {
                "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": {"name": f"{version}.{group}"},
                "spec": {"group": group, "version": version, "groupPriorityMinimum": 100, "versionPriority": 100, "insecureSkipTLSVerify": True,
                         "service": {"namespace": namespace, "name": "adapters", "port": self.server.server_address[1]}}})
        end = time.monotonic() + 60
        while True:
            all_services = ask("GET", "/apis/apiregistration.k8s.io/v1/apiservices", None)["items"]
            ready = [s["spec"].get("group") for s in all_services if any(c["type"] == "Available" and c["status"] == "True" for c in s["status"].get("conditions", []))]
            if set(APIS) <= set(ready):
                return
            if time.monotonic() > end:
                raise SystemExit(f"the adapters aren't available: {[s for s in all_services if s['spec'].get('group') in APIS]}")
            time.sleep(0.2)
