#!/usr/bin/env python3
"""Records what a kube-apiserver says of requests that it can't make anything of: bodies, patches and options of the wrong form.

    KUBE_APISERVER=… ETCD=… tests/answers/record_serving.py      writes serving/requests.jsonl, a request and its answer a line
"""

import json
import pathlib

from judge import Judge

KEPT = pathlib.Path(__file__).parent / "serving" / "requests.jsonl"
MAPS, PODS, DEPLOYMENTS = "/api/v1/namespaces/default/configmaps", "/api/v1/namespaces/default/pods", "/apis/apps/v1/namespaces/default/deployments"
SPACE, ACCOUNT = "/api/v1/namespaces/default", "/api/v1/namespaces/default/serviceaccounts/default"
YAML, PROTOBUF, CBOR = "application/yaml", "application/vnd.kubernetes.protobuf", "application/cbor"
MERGE, STRATEGIC, PATCH = (f"application/{name}+json" for name in ("merge-patch", "strategic-merge-patch", "json-patch"))


def containers(text):
    return '{"spec":{"containers":[' + text + "]}}"


REQUESTS = [
    *(("POST", MAPS, body) for body in (
        "{", "", "[]", "null", '"x"', "1", "true", "{} {}", "{}x", '{"a"', '{"kind":1}', '{"apiVersion":1}', '{"apiVersion":[],"kind":"ConfigMap"}',
        '{"apiVersion":null,"kind":null}', '{"apiVersion":"v2"}', '{"apiVersion":"apps/v1"}', '{"apiVersion":"apps/v1","kind":"Deployment"}',
        '{"apiVersion":"v1","kind":"Secret"}', '{"apiVersion":"v1","kind":"Unknown"}', '{"kind":"Unknown"}', '{"apiVersion":"a/b/c","kind":"X"}',
        '{"apiVersion":"autoscaling/v2","kind":"HorizontalPodAutoscaler"}', '{"apiVersion":"rbac.authorization.k8s.io/v1","kind":"Role"}',
        '{"data":[]}', '{"data":1}', '{"data":{"a":1}}', '{"data":{"a":{}}}', '{"metadata":1}', '{"metadata":[]}', '{"metadata":{"name":1}}',
        '{"metadata":{"labels":{"a":1}}}', '{"metadata":{"labels":[]}}', '{"metadata":{"generation":"x"}}', '{"metadata":{"generation":1.5}}',
        '{"metadata":{"creationTimestamp":"x"}}', '{"metadata":{"ownerReferences":{}}}', '{"metadata":{"finalizers":"x"}}',
        '{"binaryData":{"a":"!"}}', '{"immutable":"yes"}')),
    *(("POST", PODS, body) for body in (
        '{"spec":1}', '{"spec":{"containers":{}}}', containers("1"), containers('{"ports":[{"containerPort":"x"}]}'), '{"spec":{"hostNetwork":"x"}}',
        containers('{"ports":[{"containerPort":3000000000}]}'), containers('{"resources":{"limits":{"cpu":"x"}}}'),
        containers('{"resources":{"limits":{"cpu":{}}}}'), '{"spec":{"activeDeadlineSeconds":1.5}}', '{"spec":{"terminationGracePeriodSeconds":"1"}}',
        containers('{"env":{}}'), containers('{"env":[{"name":[]}]}'), '{"spec":{"nodeSelector":{"a":true}}}', '{"spec":{"tolerations":[{"tolerationSeconds":"x"}]}}')),
    *(("POST", DEPLOYMENTS, body) for body in (
        '{"spec":{"replicas":"x"}}', '{"spec":{"replicas":3000000000}}', '{"spec":{"strategy":{"rollingUpdate":{"maxSurge":true}}}}',
        '{"spec":{"strategy":{"rollingUpdate":{"maxSurge":{}}}}}', '{"spec":{"template":{"metadata":[]}}}', '{"apiVersion":"apps/v1beta1","kind":"Deployment"}',
        '{"apiVersion":"apps/v1","kind":"StatefulSet"}')),
    ("POST", MAPS, "- a", YAML), ("POST", MAPS, "1", YAML), ("POST", MAPS, "", YAML), ("POST", MAPS, "kind: [x]", YAML),
    ("POST", MAPS, "x", PROTOBUF), ("POST", MAPS, "x", CBOR), ("POST", MAPS, "x", "text/plain"), ("POST", MAPS, "x", "application/"),
    *(("PATCH", SPACE, body, MERGE) for body in ("x", "[]", "1", "", "null", '{"metadata":1}', '{"metadata":{"labels":{"a":1}}}')),
    *(("PATCH", SPACE, body, PATCH) for body in ("x", "{}", "1", '[{"op":"x"}]', '[{"op":"test","path":"/a","value":1}]', '[{"op":"remove","path":"/metadata/x"}]',
                                                '[{"op":"replace","path":"/metadata/x","value":1}]', '[{"op":"add","path":"/metadata/labels/a","value":1}]')),
    *(("PATCH", SPACE, body, STRATEGIC) for body in ("x", "[]", '{"metadata":1}', '{"metadata":{"labels":{"a":1}}}')),
    ("PATCH", SPACE, "{}", "application/json"), ("PATCH", SPACE, "{}", "text/plain"),
    *(("DELETE", f"{MAPS}/none", body) for body in ("[", "x", '{"gracePeriodSeconds":"x"}', '{"preconditions":1}', '{"kind":"Status"}', '{"propagationPolicy":"x"}',
                                                   '{"orphanDependents":1}')),
    *(("GET", MAPS + query, None) for query in ("?limit=x", "?timeoutSeconds=x", "?watch=1&timeoutSeconds=x", "?labelSelector=%3D%3D", "?fieldSelector=a", "?fieldSelector=a%3Db",
                                               "?resourceVersion=x", "?continue=x", "?resourceVersionMatch=Exact", "?sendInitialEvents=true",
                                               "?watch=1&sendInitialEvents=true", "?watch=1&resourceVersionMatch=NotOlderThan", "?limit=-1")),
]


def record():
    judge = Judge()
    try:
        lines = []
        for method, path, body, *kind in REQUESTS:
            answer = judge.ask(method, path, body, {"Content-Type": kind[0]} if kind else None)
            said = answer.json if answer.body[:1] == b"{" else {}
            lines.append(json.dumps({"method": method, "path": path, "body": body, "type": kind[0] if kind else None, "code": answer.code,
                                     "reason": said.get("reason"), "message": said.get("message"),
                                     "causes": (said.get("details") or {}).get("causes")}, ensure_ascii=False))
    finally:
        judge.close()
    KEPT.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    record()
