#!/usr/bin/env python3
"""Records values as kube-apiserver encrypts them in its datastore, by each provider, into files/sealed.json.

    KUBE_APISERVER=… ETCD=… KMS_PLUGIN=… tests/answers/record_sealed.py

KMS_PLUGIN is tests/integration/kms, built; what is encrypted with it lies open in its answer, so whoever has these values has
all that is needed to read them.
"""

import base64
import json
import os
import pathlib
import subprocess
import tempfile
import urllib.request

from judge import Judge, encoded

HERE = pathlib.Path(__file__).parent / "files"


def key(size):
    return base64.b64encode(bytes(range(size))).decode()


def configuration(socket):
    providers = {"secrets": {"aescbc": {"keys": [{"name": "key:2026-01-01T00:00:00Z", "secret": key(32)}]}},
                 "configmaps": {"aesgcm": {"keys": [{"name": "g", "secret": key(16)}]}},
                 "serviceaccounts": {"secretbox": {"keys": [{"name": "s", "secret": key(32)}]}},
                 "*.rbac.authorization.k8s.io": {"kms": {"apiVersion": "v2", "name": "k", "endpoint": f"unix://{socket}"}},
                 "*.": {"aescbc": {"keys": [{"name": "all", "secret": key(24)}]}}}
    return {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "EncryptionConfiguration",
            "resources": [{"resources": [name], "providers": [provider, {"identity": {}}]} for name, provider in providers.items()]}


MADE = [("/api/v1/namespaces/default/secrets", {"metadata": {"name": "sealed"}, "data": {"k": "dg=="}}, "/registry/secrets/default/sealed"),
        ("/api/v1/namespaces/default/configmaps", {"metadata": {"name": "sealed"}, "data": {"k": "v"}}, "/registry/configmaps/default/sealed"),
        ("/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "sealed"}}, "/registry/serviceaccounts/default/sealed"),
        ("/apis/rbac.authorization.k8s.io/v1/namespaces/default/roles", {"metadata": {"name": "sealed"}}, "/registry/roles/default/sealed"),
        ("/api/v1/namespaces/default/services", {"metadata": {"name": "sealed"}, "spec": {"ports": [{"port": 80}]}}, "/registry/services/specs/default/sealed"),
        ("/api/v1/namespaces/default/endpoints", {"metadata": {"name": "other"}}, "/registry/services/endpoints/default/other"),
        ("/apis/apps/v1/namespaces/default/controllerrevisions", {"metadata": {"name": "open"}, "revision": 1, "data": {}}, "/registry/controllerrevisions/default/open")]


def main():
    with tempfile.TemporaryDirectory() as folder:
        socket = os.path.join(folder, "kms.sock")
        plugin = subprocess.Popen([os.environ["KMS_PLUGIN"], socket, folder])
        file = pathlib.Path(folder, "encryption.json")
        file.write_text(json.dumps(configuration(socket)))
        judge = Judge(f"--encryption-provider-config={file}")
        try:
            values = {}
            for path, object, name in MADE:
                answer = judge.ask("POST", path, object)
                assert answer.code == 201, answer.body
                found = urllib.request.urlopen(f"http://127.0.0.1:{judge.etcd_port}/v3/kv/range",
                                               data=json.dumps({"key": encoded(name)}).encode()).read()
                values[name] = {"stored": json.loads(found)["kvs"][0]["value"], "uid": answer.json["metadata"]["uid"]}
        finally:
            judge.close()
            plugin.kill()
            plugin.wait()
        (HERE / "sealed.json").write_text(json.dumps({"file": configuration("SOCKET"), "values": values}, indent=1) + "\n")


if __name__ == "__main__":
    main()
