"""What a K3s server (v1.36.3) was seen to answer to programs of K3s, and to who asks with its tokens: Kedge answers the same."""

import base64
import http.client
import json
import unittest

from harness import Api, ClusterTest, main


def basic(user, password="secret"):
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


class Answers(ClusterTest):
    server_args = ("--disable-agent", "--token", "secret")

    def ask(self, method, path, headers=(), identity=False):
        connection = http.client.HTTPSConnection(self.server.address, self.server.port, timeout=30,
                                                 context=Api.context(self.server, identity=identity))
        try:
            connection.request(method, path, headers=dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read().decode(), answer
        finally:
            connection.close()

    def test_status_and_message(self):
        someone = {"nobody": {}, "a wrong token": basic("node", "wrong"), "node": basic("node"), "server": basic("server"), "admin": None}
        forbidden, unauthorized, api = (403, "forbidden"), (401, "not authorized"), (401, "Unauthorized")
        etcd, page = (400, "etcd datastore disabled"), (404, "404 page not found\n")
        rows = [
            # Without etcd; `k3s etcd-snapshot` shows the text.
            ("GET", "/db/info", dict.fromkeys(someone, etcd)),
            ("POST", "/db/snapshot", {"nobody": forbidden, "a wrong token": unauthorized, "node": forbidden, "admin": forbidden,
                                      "server": (400, "unexpected end of JSON input")}),
            # Tokens of nodes and servers are the supervisor's: to the API they are nobody's.
            ("GET", "/readyz", {**dict.fromkeys(someone, api), "admin": (200, "ok")}),
            ("GET", "/api/v1/nodes", {k: api for k in someone if k != "admin"}),
            ("GET", "/version", {k: api for k in someone if k != "admin"}),
            # What the supervisor doesn't know is the API's.
            ("GET", "/v1-k3s/nothing", {**dict.fromkeys(someone, api), "admin": page}),
            ("GET", "/v1-k3s/readyz", {"nobody": forbidden, "a wrong token": unauthorized, "server": forbidden, "admin": forbidden}),
            ("GET", "/v1-k3s/server-bootstrap", {"nobody": forbidden, "a wrong token": unauthorized, "node": forbidden, "server": (400, "etcd disabled")}),
        ]
        for method, path, answers in rows:
            for who, (status, message) in answers.items():
                with self.subTest(path=path, who=who):
                    headers = someone[who]
                    code, body, answer = self.ask(method, path, headers or {}, identity=headers is None)
                    is_status = answer.getheader("Content-Type") == "application/json"
                    self.assertEqual((code, json.loads(body)["message"] if is_status else body), (status, message))
                    # A browser would ask for a password.
                    self.assertIsNone(answer.getheader("WWW-Authenticate"))

    def test_who_issues_tokens_says_how_to_verify_them(self):
        code, body, answer = self.ask("GET", "/.well-known/openid-configuration", identity=True)
        self.assertEqual((code, answer.getheader("Content-Type"), answer.getheader("Cache-Control")), (200, "application/json", "public, max-age=3600"))
        said = json.loads(body)
        self.assertEqual(said["issuer"], "https://kubernetes.default.svc.cluster.local")
        self.assertEqual(said["jwks_uri"], f"https://{self.server.address}:6443/openid/v1/jwks")
        code, body, answer = self.ask("GET", "/openid/v1/jwks", identity=True)
        self.assertEqual((code, answer.getheader("Content-Type")), (200, "application/jwk-set+json"))
        token = self.kubectl("create", "token", "default").strip()
        head = token.split(".")[0]
        head = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        self.assertIn((head["kid"], head["alg"]), [(k["kid"], k["alg"]) for k in json.loads(body)["keys"]])
        # Service accounts may read it; who has no credentials may not.
        bearer = {"Authorization": "Bearer " + token}
        self.assertEqual([self.ask("GET", "/openid/v1/jwks", h)[0] for h in (bearer, {})], [200, 401])


if __name__ == "__main__":
    main()
