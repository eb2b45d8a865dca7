"""Who asks, whether they may, and what is told of it: an issuer of tokens, webhooks and an audit policy, with kubectl."""

import base64
import http.server
import json
import os
import ssl
import subprocess
import threading
import time

from harness import BINARY, ClusterTest, Lab, Server, eventually, main, run


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Outside(http.server.ThreadingHTTPServer):
    """An OpenID Connect issuer, and the webhooks for tokens, access and audit events."""

    daemon_threads = True

    def __init__(self, folder, address):
        self.folder, self.events, self.questions, self.refuse_audit = folder, [], [], 2
        self.certificate, key = os.path.join(folder, "outside.crt"), os.path.join(folder, "outside.key")
        run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", self.certificate, "-days", "2",
            "-subj", "/CN=outside", "-addext", f"subjectAltName=IP:{address}")
        self.rotate("first")
        super().__init__((address, 0), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.certificate, key)
        self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.url = f"https://{address}:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def rotate(self, name):
        self.key, self.key_id = os.path.join(self.folder, f"{name}.pem"), name
        run("openssl", "genrsa", "-out", self.key, "2048")

    def keys(self):
        modulus = run("openssl", "rsa", "-in", self.key, "-noout", "-modulus").strip().split("=")[1]
        return {"keys": [{"kty": "RSA", "use": "sig", "alg": "RS256", "kid": self.key_id, "n": b64(bytes.fromhex(modulus)), "e": "AQAB"}]}

    def token(self, subject, **claims):
        parts = [{"alg": "RS256", "kid": self.key_id},
                 {"iss": self.url, "aud": "kubectl", "sub": subject, "exp": int(time.time()) + 600, **claims}]
        text = ".".join(b64(json.dumps(part).encode()) for part in parts)
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), capture_output=True, check=True)
        return f"{text}.{b64(signature.stdout)}"

    def kubeconfig(self, name, path):
        file = os.path.join(self.folder, name + ".yaml")
        with open(file, "w") as f:
            json.dump({"current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
                       "clusters": [{"name": "k", "cluster": {"server": self.url + path, "certificate-authority": self.certificate}}],
                       "users": [{"name": "u", "user": {"token": "for-webhooks"}}]}, f)
        return file


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, body, code=200):
        text = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_GET(self):
        if self.path == "/.well-known/openid-configuration":
            self.answer({"issuer": self.server.url, "jwks_uri": self.server.url + "/keys"})
        else:
            self.answer(self.server.keys())

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.headers["Authorization"] != "Bearer for-webhooks":
            self.answer({}, 401)
        elif self.path.startswith("/tokens"):
            good = body["spec"]["token"] == "of-the-webhook"
            self.answer({**body, "status": {"authenticated": good, "user": {"username": "hooked", "groups": ["g"]} if good else {}}})
        elif self.path.startswith("/access"):
            spec = body["spec"]
            self.server.questions.append(spec)
            asked = spec.get("resourceAttributes", {})
            self.answer({**body, "status": {"allowed": spec["user"] == "hooked" and asked.get("resource") == "secrets",
                                            "denied": spec["user"] == "oidc:mallory", "reason": "the webhook says so"}})
        elif self.server.refuse_audit > 0:
            self.server.refuse_audit -= 1
            self.answer({}, 503)
        else:
            self.server.events += body["items"]
            self.answer({})


class Identity(ClusterTest):
    @classmethod
    def setUpClass(cls):
        cls.lab = Lab()
        cls.addClassCleanup(cls.lab.close)
        cls.host = cls.lab.host()
        cls.outside = Outside(cls.lab.folder, cls.lab.gateway)
        cls.addClassCleanup(cls.outside.server_close)
        cls.addClassCleanup(cls.outside.shutdown)
        cls.authentication = cls.file("authentication", cls.authentication_with("oidc:"))
        cls.log = os.path.join(cls.lab.folder, "audit", "audit.log")
        policy = cls.file("policy", {
            "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "omitManagedFields": True,
            "rules": [{"level": "None", "userGroups": ["system:masters"], "resources": [{"group": "coordination.k8s.io"}]},
                      {"level": "RequestResponse", "resources": [{"group": "", "resources": ["configmaps"]}]},
                      {"level": "Metadata"}]})
        authorization = cls.file("authorization", {
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthorizationConfiguration",
            "authorizers": [{"type": "Node", "name": "node"},
                            {"type": "Webhook", "name": "hook",
                             "webhook": {"timeout": "3s", "authorizedTTL": "1m", "unauthorizedTTL": "1m", "subjectAccessReviewVersion": "v1",
                                         "failurePolicy": "NoOpinion", "matchConditionSubjectAccessReviewVersion": "v1",
                                         "matchConditions": [{"expression": "request.user != 'unasked'"}],
                                         "connectionInfo": {"type": "KubeConfigFile",
                                                                                          "kubeConfigFile": cls.outside.kubeconfig("access", "/access")}}},
                            {"type": "RBAC", "name": "rbac"}]})
        cls.arguments = {"authentication-config": cls.authentication, "authorization-config": authorization, "audit-policy-file": policy,
                         "audit-log-path": cls.log, "audit-webhook-config-file": cls.outside.kubeconfig("audit", "/audit"),
                         "audit-webhook-initial-backoff": "20ms", "audit-webhook-batch-max-wait": "200ms",
                         "authentication-token-webhook-config-file": cls.outside.kubeconfig("tokens", "/tokens")}
        cls.server = Server(cls.lab, host=cls.host, args=["--disable-agent", *cls.given(cls.arguments)]).wait_ready()

    @classmethod
    def file(cls, name, content):
        path = os.path.join(cls.lab.folder, name + ".json")
        with open(path + ".new", "w") as f:
            json.dump(content, f)
        os.rename(path + ".new", path)
        return path

    @classmethod
    def authentication_with(cls, prefix, **more):
        issuer = {"issuer": {"url": cls.outside.url, "audiences": ["kubectl"], "certificateAuthority": open(cls.outside.certificate).read()},
                  "claimMappings": {"username": {"claim": "sub", "prefix": prefix}, "groups": {"claim": "groups", "prefix": prefix}},
                  "claimValidationRules": [{"claim": "hd", "requiredValue": "example.com"}]}
        return {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration", "jwt": [{**issuer, **more}]}

    @staticmethod
    def given(arguments):
        return [f"--kube-apiserver-arg={name}={value}" for name, value in arguments.items()]

    def as_bearer(self, token, *args, check=True):
        """kubectl with nothing but this token."""
        config = os.path.join(self.lab.folder, "bearer.yaml")
        run("kubectl", "--kubeconfig", config, "config", "set-cluster", "c", "--server", self.server.url, "--insecure-skip-tls-verify")
        run("kubectl", "--kubeconfig", config, "config", "set-credentials", "u", "--token", token)
        run("kubectl", "--kubeconfig", config, "config", "set-context", "x", "--cluster", "c", "--user", "u")
        return run(*self.host.command("kubectl", "--kubeconfig", config, "--context", "x", *args), check=check)

    def whoami(self, token):
        return json.loads(self.as_bearer(token, "auth", "whoami", "-o", "json"))["status"]["userInfo"]

    def test_tokens_of_an_issuer_its_keys_and_a_file_that_change(self):
        self.kubectl("create", "clusterrolebinding", "readers", "--clusterrole=view", "--group=oidc:dev")
        ann = self.outside.token("ann", hd="example.com", groups=["dev"])
        who = eventually("the issuer's keys are there", lambda: self.whoami(ann), timeout=30)
        self.assertEqual((who["username"], who["groups"]), ("oidc:ann", ["oidc:dev", "system:authenticated"]))
        self.assertIn("kube-root-ca.crt", self.as_bearer(ann, "get", "configmaps", "-n", "default"))
        refused = self.as_bearer(ann, "create", "configmap", "x", check=False)
        self.assertIn('User "oidc:ann" cannot create resource "configmaps"', refused.stderr)
        for bad in (self.outside.token("ann"), self.outside.token("ann", hd="example.com", aud="other"),
                    self.outside.token("ann", hd="example.com", exp=1), ann[:-8] + "AAAAAAAA"):
            self.assertIn("Unauthorized", self.as_bearer(bad, "get", "pods", check=False).stderr)
        time.sleep(1.1)  # keys are looked for once a second at most
        self.outside.rotate("second")
        self.assertEqual(self.whoami(self.outside.token("bob", hd="example.com"))["username"], "oidc:bob")
        review = json.loads(self.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": self.outside.token("bob", hd="example.com")}})))
        self.assertEqual(review["status"]["user"]["username"], "oidc:bob")
        with open(self.authentication, "w") as f:
            f.write("{")
        eventually("the broken file is told of", lambda: "is not taken over, what it said before goes on" in self.server.log())
        self.assertEqual(self.whoami(self.outside.token("bob", hd="example.com"))["username"], "oidc:bob")
        self.file("authentication", self.authentication_with("new:"))
        eventually("the new mapping counts", lambda: self.whoami(self.outside.token("cid", hd="example.com"))["username"] == "new:cid")
        # By expressions, and not when they are none.
        self.file("authentication", self.authentication_with("", claimMappings={"username": {"expression": "claims."}}))
        eventually("the wrong expression is told of", lambda: "jwt[0].claimMappings.username.expression: Invalid value" in self.server.log())
        self.file("authentication", self.authentication_with("", claimMappings={
            "username": {"expression": "'cel:' + claims.sub"}, "groups": {"expression": "claims.?roles.orValue('').split(',')"},
            "extra": [{"key": "example.com/tenant", "valueExpression": "claims.acme__dot__tenant"}]},
            claimValidationRules=[{"expression": "claims.hd == 'example.com'"}],
            userValidationRules=[{"expression": "!user.username.endsWith('root')", "message": "not root"}]))
        who = eventually("the expressions count", lambda: [w for w in [self.whoami(self.outside.token(
            "eve", hd="example.com", roles="a,b", **{"acme.tenant": "t"}))] if w["username"] == "cel:eve"])[0]
        self.assertEqual((who["groups"], who["extra"]["example.com/tenant"]), (["a", "b", "system:authenticated"], ["t"]))
        self.assertIn("Unauthorized", self.as_bearer(self.outside.token("root", hd="example.com", **{"acme.tenant": "t"}), "get", "pods", check=False).stderr)
        self.file("authentication", self.authentication_with("oidc:"))
        eventually("the old one again", lambda: self.whoami(self.outside.token("dan", hd="example.com"))["username"] == "oidc:dan")

    def test_webhooks_for_tokens_and_access(self):
        self.assertEqual(self.whoami("of-the-webhook")["groups"], ["g", "system:authenticated"])
        self.assertIn("No resources found", self.as_bearer("of-the-webhook", "get", "secrets", check=False).stderr)
        refused = self.as_bearer("of-the-webhook", "get", "pods", check=False).stderr
        self.assertIn('User "hooked" cannot list resource "pods"', refused)
        self.assertIn("hook: the webhook says so", refused)
        asked = [q for q in self.outside.questions if q.get("resourceAttributes", {}).get("resource") == "secrets"]
        self.assertEqual((len(asked), asked[0]["groups"], asked[0]["resourceAttributes"]["namespace"]), (1, ["g", "system:authenticated"], "default"))
        # A review asks it, too, and so does who acts as somebody else.
        review = json.loads(self.kubectl("create", "-o", "json", "-f", "-", input=json.dumps(
            {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview",
             "spec": {"user": "oidc:mallory", "resourceAttributes": {"verb": "get", "resource": "pods"}}})))
        self.assertEqual((review["status"]["allowed"], review["status"]["denied"]), (False, True))
        self.assertEqual(self.kubectl("auth", "can-i", "list", "secrets", "--as=hooked").strip(), "yes")
        # What the match conditions leave out.
        self.assertEqual(self.kubectl("auth", "can-i", "list", "secrets", "--as=unasked", check=False).stdout.strip(), "no")
        self.assertFalse([q for q in self.outside.questions if q["user"] == "unasked"])

    def test_what_is_told_of_requests(self):
        self.kubectl("create", "configmap", "told", "--from-literal=k=v")
        self.kubectl("create", "secret", "generic", "kept", "--from-literal=password=stored-secret-4714")
        self.kubectl("delete", "configmap", "told")

        def by(events, verb, resource):
            return [e for e in events if e["verb"] == verb and e.get("objectRef", {}).get("resource") == resource and
                    e.get("objectRef", {}).get("name") in ("told", "kept")]
        for told in (lambda: [json.loads(line) for line in open(self.log)], lambda: self.outside.events):
            made = eventually("the events are there", lambda: by(told(), "delete", "configmaps") and by(told(), "create", "configmaps")[0])
            self.assertEqual((made["level"], made["stage"], made["requestObject"]["data"]), ("RequestResponse", "ResponseComplete", {"k": "v"}))
            self.assertEqual((made["user"]["username"], made["responseStatus"]["code"]), ("system:admin", 201))
            self.assertNotIn("managedFields", made["responseObject"]["metadata"])
            secret = by(told(), "create", "secrets")[0]
            self.assertEqual(secret["level"], "Metadata")
            self.assertNotIn("requestObject", secret)
            self.assertFalse([e for e in told() if e["stage"] == "RequestReceived"])
        self.assertNotIn("c3RvcmVkLXNlY3JldC00NzE0", open(self.log).read())

    def test_files_with_errors_end_the_start(self):
        broken = os.path.join(self.lab.folder, "broken.yaml")
        with open(broken, "w") as f:
            f.write("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Everything\n")
        for name, why in (("audit-policy-file", 'rules[0].level: Unsupported value: "Everything"'),
                          ("authentication-config", 'it is "Policy" of "audit.k8s.io/v1", not AuthenticationConfiguration'),
                          ("authorization-config", "not AuthorizationConfiguration"),
                          ("authentication-token-webhook-config-file", "current-context: Required value")):
            data = os.path.join(self.lab.folder, "never")
            ended = run(*self.host.command(BINARY, "server", "--data-dir", data, "--https-listen-port", "7443", "--disable-agent",
                                           *self.given({name: broken})), check=False)
            self.assertNotEqual(ended.returncode, 0)
            said = (ended.stderr + ended.stdout).replace('\\"', '"')
            self.assertIn(f"{name}={broken}", said)
            self.assertIn(why, said)
            self.assertFalse(os.path.exists(data + "/server/db"))

    def test_nothing_is_lost_at_a_clean_end(self):
        eventually("its webhook is quiet", lambda: self.outside.refuse_audit == 0)
        self.kubectl("create", "configmap", "last")
        code = self.server.stop()
        self.addCleanup(self.server.wait_ready)
        self.addCleanup(self.server.start)
        self.assertEqual(code, 0)
        for told in ([json.loads(line) for line in open(self.log)], self.outside.events):
            self.assertTrue([e for e in told if e["verb"] == "create" and e.get("objectRef", {}).get("name") == "last"])
        logged, sent = ({(e["auditID"], e["stage"]) for e in told} for told in
                        ([json.loads(line) for line in open(self.log)], self.outside.events))
        self.assertEqual(logged, sent)


if __name__ == "__main__":
    main()
