#!/usr/bin/env python3
"""Records what kube-apiserver says of the configuration files of files/cases.yaml, one after the other, into files/recorded.jsonl.

It says so before it looks for its datastore: there is none. Of a file that it takes it says nothing.
"""

import json
import os
import pathlib
import subprocess
import tempfile

import yaml

from judge import free_ports

FLAGS = {"Authentication": "authentication-config", "Authorization": "authorization-config", "Encryption": "encryption-provider-config",
         "Tracing": "tracing-config-file"}
PATIENCE = 4  # s; who refuses a file does so within half a second
HERE = pathlib.Path(__file__).parent / "files"
KUBECONFIG = {"apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [{"name": "c", "context": {"cluster": "k"}}],
              "clusters": [{"name": "k", "cluster": {"server": "https://127.0.0.1:1"}}]}


def whole(case):
    """The file that a case stands for, and the flag that takes it."""
    kind = "Authentication" if "jwt" in case else "Authorization" if "authorizers" in case else "Tracing" if "tracing" in case else "Encryption"
    file = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": f"{kind}Configuration"}
    file.update({key: value for key, value in case.items() if key not in ("name", "tracing")})
    file.update(case.get("tracing", {}))
    for one in file.get("authorizers", []):
        if one["webhook"].get("matchConditions") == "MANY":
            one["webhook"] = {**one["webhook"], "matchConditions": [{"expression": f"request.user == '{i}'"} for i in range(65)]}
    return FLAGS[kind], file


def said(folder, flag, file):
    path = os.path.join(folder, "file.json")
    pathlib.Path(path).write_text(json.dumps(file).replace("KUBECONFIG", os.path.join(folder, "kubeconfig")))
    log = os.path.join(folder, "log")
    with open(log, "wb") as to:
        server = subprocess.Popen(
            [os.environ["KUBE_APISERVER"], "--etcd-servers=http://127.0.0.1:1", f"--secure-port={free_ports(1)[0]}", "--bind-address=127.0.0.1",
             "--cert-dir=serving", "--service-account-issuer=https://k", "--service-account-key-file=sa.pub",
             "--service-account-signing-key-file=sa.key", "--service-cluster-ip-range=10.43.0.0/16", f"--{flag}={path}"],
            cwd=folder, stdout=to, stderr=to, stdin=subprocess.DEVNULL)
        try:
            server.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return ""
        finally:
            server.kill()
            server.wait()
    text = pathlib.Path(log).read_text()
    text = text[text.index('"command failed" err='):].split("=", 1)[1]
    if text.startswith("<\n"):
        lines = text[2:].split("\n >\n")[0].split("\n")
        text = "\n".join(line.removeprefix("\t") for line in lines)
    else:
        text = json.loads(text.split("\n")[0])
    return text.replace(folder, "FOLDER").replace("file.json", "FILE")


def main():
    with tempfile.TemporaryDirectory() as folder, open(HERE / "recorded.jsonl", "w") as out:
        pathlib.Path(folder, "kubeconfig").write_text(json.dumps(KUBECONFIG))
        for command in (["genrsa", "-out", "sa.key", "2048"], ["rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub"]):
            subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True)
        for case in yaml.safe_load((HERE / "cases.yaml").read_text()):
            flag, file = whole(case)
            out.write(json.dumps({"name": case["name"], "flag": flag, "file": file, "said": said(folder, flag, file)}) + "\n")


if __name__ == "__main__":
    main()
