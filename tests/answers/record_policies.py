#!/usr/bin/env python3
"""Asks a real kube-apiserver what policies and rules do to requests, and writes policies/*.jsonl; run by hand, see README.md.

    KUBE_APISERVER=… ETCD=… tests/answers/record_policies.py [validating|mutating|rules …]

A file of cases (policies/*.yaml) is a list. What a case doesn't say is as below; each has a number of its own, and objects of its own, which
are called SELF in it:

    policy, binding   specs of a ValidatingAdmissionPolicy (mutates: of a MutatingAdmissionPolicy) and its binding, about ConfigMaps
                      that carry the case's label; null: there is none. more: further pairs [policy, binding]
    make              objects that must be there: [path, object]
    object, old       the ConfigMap that is sent, and what it is an update of
    ask               another request: [method, path, body]. as: by another user
    schema            of a CustomResourceDefinition of the case's own; then object and old are its objects, without kind and metadata.
                      part: status, an update of that; refused: only the definition is asked for. definition: more of its spec

A line that is recorded is a step: {"make": [[path, body]]}, or a request with its answer: {"case", "method", "path", "body", "type", "as"} and
{"code", "reason", "message", "causes", "warnings", "object"}.
"""

import copy
import json
import pathlib
import sys
import time

import yaml

from judge import Judge
from tables import compact

FOLDER = pathlib.Path(__file__).resolve().parent / "policies"
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
CONFIG_MAPS = "/api/v1/namespaces/default/configmaps"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def merged(base, more):
    """`more` laid over `base`; None takes away."""
    if not isinstance(base, dict) or not isinstance(more, dict):
        return more
    out = dict(base)
    for key, value in more.items():
        if value is None:
            out.pop(key, None)
        else:
            out[key] = merged(out.get(key), value)
    return out


class Case:
    def __init__(self, number, said):
        self.name = f"case-{number}"
        self.said = json.loads(json.dumps(said).replace("SELF", self.name))
        self.label = {"case": str(number)}
        self.number = number

    def policy(self, spec, suffix, mutates):
        kind = "MutatingAdmissionPolicy" if mutates else "ValidatingAdmissionPolicy"
        usual = {"matchConstraints": {"objectSelector": {"matchLabels": self.label}, "resourceRules": [
            {"operations": ["*"] if not mutates else ["CREATE", "UPDATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}]}}
        if mutates:
            usual["reinvocationPolicy"] = "Never"
            usual["failurePolicy"] = "Fail"
        return [f"{ADMISSION}/{kind.lower()[:-1]}ies", {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": self.name + suffix},
                "spec": merged(usual, spec)}]

    def binding(self, spec, suffix, mutates):
        kind = "MutatingAdmissionPolicyBinding" if mutates else "ValidatingAdmissionPolicyBinding"
        usual = {"policyName": self.name + suffix} | ({} if mutates else {"validationActions": ["Deny"]})
        return [f"{ADMISSION}/{kind.lower()}s", {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
                "metadata": {"name": self.name + suffix + "-bound"}, "spec": merged(usual, spec)}]

    def makes(self):
        said, out = self.said, list(copy.deepcopy(self.said.get("make", [])))
        mutates = "mutates" in said
        pairs = [] if "schema" in said else [[said.get("mutates" if mutates else "policy", {}), said.get("binding", {})]]
        for i, (policy, binding) in enumerate(pairs + said.get("more", [])):
            suffix = "" if i == 0 else f"-{i}"
            if policy is not None:
                out.append(self.policy(policy, suffix, mutates))
            if binding is not None:
                out.append(self.binding(binding, suffix, mutates))
        if "old" in said and "schema" not in said:
            out.insert(0, [CONFIG_MAPS, self.config_map(said["old"])])
        return out

    def config_map(self, more):
        return merged({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.name, "namespace": "default", "labels": self.label}}, more)

    # Of custom resources.
    def definition(self):
        version = merged({"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": self.said["schema"]}}, self.said.get("version", {}))
        return {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": f"things{self.number}.ex.io"},
                "spec": merged({"group": "ex.io", "scope": "Namespaced", "names": {"plural": f"things{self.number}", "kind": f"Thing{self.number}"},
                                "versions": [version]}, self.said.get("definition", {}))}

    @property
    def things(self):
        return f"/apis/ex.io/v1/namespaces/default/things{self.number}"

    def thing(self, more):
        metadata = {"name": self.name, "namespace": "default"} | more.get("metadata", {})
        return {"apiVersion": "ex.io/v1", "kind": f"Thing{self.number}", **more, "metadata": metadata}

    def request(self):
        """[method, path, body] of what is recorded, and whether it is an update of what is there."""
        said = self.said
        if "ask" in said:
            return [*said["ask"], None][:3], False
        collection, of = (self.things, self.thing) if "schema" in said else (CONFIG_MAPS, self.config_map)
        if said.get("refused"):
            return ["POST", CRDS, self.definition()], False
        if "old" not in said:
            return ["POST", collection, of(said.get("object", {}))], False
        part = "/" + said["part"] if "part" in said else ""
        return ["PUT", f"{collection}/{self.name}{part}", of(said.get("object", {}))], True


def answered(answer):
    out = {"code": answer.code}
    body = json.loads(answer.body)
    if answer.code >= 300:
        out |= {"reason": body.get("reason", ""), "message": body["message"]}
        if causes := body.get("details", {}).get("causes"):
            out["causes"] = [[c.get("field", ""), c.get("reason", ""), c.get("message", "")] for c in causes]
    elif body.get("kind") != "Status":
        for name in ("uid", "resourceVersion", "creationTimestamp", "managedFields", "generation"):
            body["metadata"].pop(name, None)
        out["object"] = body
    if answer.warnings:
        out["warnings"] = answer.warnings
    return out


def wait_served(judge, path):
    end = time.monotonic() + 30
    while judge.ask("GET", path).code != 200:
        if time.monotonic() > end:
            raise SystemExit(f"{path} isn't served")
        time.sleep(0.1)


def make_all(judge, all_of):
    refused = []
    for path, body in all_of:
        answer = judge.ask("POST", path, body)
        if answer.code != 201:
            refused.append(f"{body['metadata']['name']}: {answer.json['message']}")
    if refused:
        raise SystemExit("refused:\n" + "\n".join(refused))


def record(judge, name):
    cases = [Case(i, said) for i, said in enumerate(yaml.safe_load((FOLDER / f"{name}.yaml").read_text()))]
    lines, made = [], []
    for case in cases:
        if "schema" in case.said and not case.said.get("refused"):
            made.append([CRDS, case.definition()])
        made += case.makes()
    make_all(judge, made)
    for case in cases:
        if "schema" in case.said and not case.said.get("refused"):
            wait_served(judge, case.things)
    of_old = [[case.things, case.thing(case.said["old"])] for case in cases if "schema" in case.said and "old" in case.said]
    make_all(judge, of_old)
    time.sleep(4)  # policies act when the server has looked at them, which it does every second
    lines.append({"make": made})
    if of_old:
        lines.append({"make": of_old})
    for case in cases:
        if later := case.said.get("later"):  # the definition as it is by the time of the request
            crd = json.loads(judge.ask("GET", f"{CRDS}/things{case.number}.ex.io").body)
            crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = later
            if (answer := judge.ask("PUT", f"{CRDS}/things{case.number}.ex.io", crd)).code != 200:
                raise SystemExit(f"{json.dumps(later)} is refused: {answer.body.decode()}")
            lines.append({"schema": f"things{case.number}.ex.io", "later": later})
            time.sleep(2)
    for case in cases:
        (method, path, body), update = case.request()
        if update:
            held = json.loads(judge.ask("GET", path.removesuffix("/status")).body)
            body["metadata"]["resourceVersion"] = held["metadata"]["resourceVersion"]
        headers = {"Impersonate-User": case.said["as"]} if "as" in case.said else {}
        answer = judge.ask(method, path + "?dryRun=All", body, headers)
        line = {"case": case.number, "method": method, "path": path}
        if body is not None:
            line["body"] = copy.deepcopy(body)
            if update:
                del line["body"]["metadata"]["resourceVersion"]
        if "as" in case.said:
            line["as"] = case.said["as"]
        lines.append(line | answered(answer))
    for path, body in reversed(made):
        judge.ask("DELETE", f"{path}/{body['metadata']['name']}")
    (FOLDER / f"{name}.jsonl").write_text("".join(compact(line) + "\n" for line in lines))
    print(f"{name}: {len(cases)} cases")


def main(*names):
    with Judge("--runtime-config=admissionregistration.k8s.io/v1=true") as judge:
        for name in names or sorted(f.stem for f in FOLDER.glob("*.yaml")):
            record(judge, name)


if __name__ == "__main__":
    main(*sys.argv[1:])
