"""Pods of odd kinds: what a kubelet makes of each is recorded (record_pods.py) and compared (compare_pods.py).

A case is a pod, when it has come to rest ("until"), and what is done to it meanwhile ("then"). Statuses, events and logs are told without
what is another each time: times, addresses, ids.
"""

import json
import re

from harness import Failed, eventually
from runtime import BUSYBOX

WEB = "docker.io/library/web:test"  # busybox that runs as the user "web"
OBJECTS = [
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "settings"}, "data": {"plain": "one", "a.b": "two", "1st": "three", "lines": "x=1\ny=2\n"},
     "binaryData": {"bytes": "AAEC"}},
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"}, "stringData": {"user": "u", "password": "p"}},
]


def container(command, name="main", **more):
    return {"name": name, "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", command], **more}


def pod(command="true", until="Succeeded", then=None, spec=None, meta=None, **more):
    """A pod of one container: `more` are its members, `spec` the pod's."""
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, **(spec or {})}
    if command is not None:
        spec.setdefault("containers", []).insert(0, container(command, **more))
    return {"pod": {"apiVersion": "v1", "kind": "Pod", "metadata": meta or {}, "spec": spec}, "until": until, "then": then}


def volume(name, **source):
    return {"name": name, **source}


def mount(name, path, **more):
    return {"name": name, "mountPath": path, **more}


def field(path):
    return {"valueFrom": {"fieldRef": {"fieldPath": path}}}


def rules(action, operator, *codes):
    return [{"action": action, "exitCodes": {"operator": operator, "values": list(codes)}}]


SEEN = {"volumes": [volume("state", emptyDir={})]}
STATE = {"volumeMounts": [mount("state", "/state")]}
SLEEP = "exec sleep 1000"


def once(first, second):
    """What a container does at its first start, and at the next."""
    return f"if [ -e /state/x ]; then {second}; else touch /state/x; {first}; fi"


CASES = {
    # --- how containers end, and begin again
    "restart-rule": pod(once("exit 42", "exit 0"), spec=SEEN, restartPolicy="Never", restartPolicyRules=rules("Restart", "In", 42), **STATE),
    "restart-rule-other-code": pod("exit 41", "Failed", restartPolicy="Never", restartPolicyRules=rules("Restart", "In", 42)),
    "restart-rule-not-in": pod(once("exit 7", "exit 1"), "Failed", spec=SEEN, restartPolicy="Never", restartPolicyRules=rules("Restart", "NotIn", 0, 1), **STATE),
    "container-on-failure": pod(once("exit 3", "exit 0"), spec=SEEN, restartPolicy="OnFailure", **STATE),
    "container-never-in-always": pod("exit 3", "Failed", spec={"restartPolicy": "Always"}, restartPolicy="Never"),
    "on-failure": pod(once("exit 3", "exit 0"), spec={**SEEN, "restartPolicy": "OnFailure"}, **STATE),
    "crash-loop": pod("echo gone; exit 9", "CrashLoopBackOff", spec={"restartPolicy": "Always"}),
    "ends-well-in-a-loop": pod("exit 0", "CrashLoopBackOff", spec={"restartPolicy": "Always"}),
    "killed": pod("kill -9 $$", "Failed"),
    "two-containers-one-fails": pod("exit 0", "Failed", spec={"containers": [container("exit 5", "other")]}),
    "no-such-command": pod(None, "Failed", spec={"containers": [{"name": "main", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["/no/such"]}]}),
    "deadline": pod(SLEEP, "Failed", spec={"activeDeadlineSeconds": 3}),
    # --- messages
    "message-file": pod("printf said > /dev/termination-log"),
    "message-file-elsewhere": pod("printf said > /tmp/word; exit 2", "Failed", terminationMessagePath="/tmp/word"),
    "message-of-log": pod("echo one; echo two; exit 2", "Failed", terminationMessagePolicy="FallbackToLogsOnError"),
    "message-of-log-unused": pod("echo one", terminationMessagePolicy="FallbackToLogsOnError"),
    "message-file-wins": pod("echo one; printf said > /dev/termination-log; exit 2", "Failed", terminationMessagePolicy="FallbackToLogsOnError"),
    "message-too-long": pod("yes word | head -c 9000 > /dev/termination-log; exit 2", "Failed"),
    "message-of-long-log": pod("yes word | head -n 3000; exit 2", "Failed", terminationMessagePolicy="FallbackToLogsOnError"),
    # --- init containers and sidecars
    "init-fails": pod("true", "Failed", spec={"initContainers": [container("exit 4", "first"), container("true", "second")]}),
    "init-crash-loop": pod("true", "CrashLoopBackOff", spec={"restartPolicy": "Always", "initContainers": [container("exit 4", "first")]}),
    "init-in-turn": pod("cat /state/said", spec={**SEEN, "initContainers": [container("echo one >> /state/said", "first", **STATE),
                                                                            container("echo two >> /state/said", "second", **STATE)]}, **STATE),
    "sidecar": pod("true", spec={"initContainers": [container("trap 'exit 0' TERM; while :; do sleep 0.1; done", "side", restartPolicy="Always")]}),
    "sidecar-with-startup-probe": pod("true", spec={"initContainers": [container(
        "trap 'exit 7' TERM; touch /tmp/up; while :; do sleep 0.1; done", "side", restartPolicy="Always",
        startupProbe={"exec": {"command": ["cat", "/tmp/up"]}, "periodSeconds": 1})]}),
    "init-restart-rule": pod("true", spec={**SEEN, "initContainers": [container(once("exit 42", "exit 0"), "first", restartPolicy="Never",
                                                                                restartPolicyRules=rules("Restart", "In", 42), **STATE)]}),
    # --- hooks and signals
    "stop-signal": pod(SLEEP, "Ready", spec={"os": {"name": "linux"}}, lifecycle={"stopSignal": "SIGUSR1"}),
    "post-start": pod(SLEEP, "Ready", lifecycle={"postStart": {"exec": {"command": ["sh", "-c", "echo hooked > /proc/1/fd/1"]}}}),
    "post-start-fails": pod(SLEEP, "Failed", lifecycle={"postStart": {"exec": {"command": ["sh", "-c", "echo bad; exit 6"]}}}),
    "post-start-sleeps": pod(SLEEP, "Ready", lifecycle={"postStart": {"sleep": {"seconds": 1}}}),
    # --- probes and gates
    "startup-fails": pod("trap 'exit 0' TERM; while :; do sleep 0.1; done", "Succeeded",
                         startupProbe={"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1}),
    "liveness-fails": pod("trap 'exit 3' TERM; while :; do sleep 0.1; done", "Failed",
                          livenessProbe={"exec": {"command": ["sh", "-c", "echo not well; exit 1"]}, "periodSeconds": 1, "failureThreshold": 1}),
    "readiness-http-fails": pod(SLEEP, "event Unhealthy", readinessProbe={"httpGet": {"port": 81, "path": "/x"}, "periodSeconds": 1}),
    "readiness-tcp-fails": pod(SLEEP, "event Unhealthy", readinessProbe={"tcpSocket": {"port": 81}, "periodSeconds": 1}),
    "readiness-gate": pod(SLEEP, "ContainersReady", spec={"readinessGates": [{"conditionType": "example.com/fit"}]}),
    # --- environment
    "expansion": pod("env | grep -E '^(A|B|C|D)=' | sort", env=[{"name": "A", "value": "a"}, {"name": "B", "value": "$(A) $$(A) $(NO)"},
                                                                 {"name": "C", "value": "$(D)"}, {"name": "D", "value": "$(B)!"}]),
    "fields": pod("echo $A $B $C $D $E $F", meta={"labels": {"l": "v"}, "annotations": {"n": "w"}}, env=[
        {"name": "A", **field("metadata.name")}, {"name": "B", **field("metadata.labels['l']")}, {"name": "C", **field("metadata.annotations['n']")},
        {"name": "D", **field("spec.serviceAccountName")}, {"name": "E", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "F", "valueFrom": {"resourceFieldRef": {"resource": "requests.cpu", "divisor": "1m"}}}],
        resources={"limits": {"memory": "30Mi"}, "requests": {"cpu": "10m"}}),
    "env-from": pod("env | grep -E '^(plain|a.b|1st|P_)' | sort", envFrom=[{"configMapRef": {"name": "settings"}}, {"prefix": "P_", "secretRef": {"name": "keys"}},
                                                                          {"configMapRef": {"name": "none", "optional": True}}]),
    "env-key-missing": pod("true", "CreateContainerConfigError", env=[{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no"}}}]),
    "env-map-missing": pod("true", "CreateContainerConfigError", envFrom=[{"configMapRef": {"name": "none"}}]),
    "env-secret-missing": pod("true", "CreateContainerConfigError", env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]),
    "env-optional": pod("echo \"[$A]\"", env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k", "optional": True}}}]),
    "env-of-file": pod("echo $A", spec={**SEEN, "initContainers": [container("echo \"A='of a file'\" > /state/env", "first", **STATE)]},
                       env=[{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "state", "path": "env", "key": "A"}}}]),
    "env-of-file-missing": pod("echo $A", "CreateContainerConfigError", spec={**SEEN, "initContainers": [container("true", "first", **STATE)]},
                               env=[{"name": "A", "valueFrom": {"fileKeyRef": {"volumeName": "state", "path": "env", "key": "A"}}}]),
    # --- volumes
    "projected": pod("cd /p; stat -c '%n %a %u %g' $(ls); cat plain password labels; wc -c < token | grep -c '[0-9]'", meta={"labels": {"a": "b"}},
                     spec={"securityContext": {"fsGroup": 2000}, "volumes": [volume("p", projected={"defaultMode": 288, "sources": [
                         {"configMap": {"name": "settings", "items": [{"key": "plain", "path": "plain", "mode": 256}]}}, {"secret": {"name": "keys"}},
                         {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
                         {"serviceAccountToken": {"path": "token", "expirationSeconds": 600}}]})]}, volumeMounts=[mount("p", "/p")]),
    "config-map": pod("cd /c; for f in $(ls); do echo $f; stat -Lc '%a %u' $f; done; readlink plain", spec={
        "volumes": [volume("c", configMap={"name": "settings", "defaultMode": 420})]}, volumeMounts=[mount("c", "/c")]),
    "config-map-missing": pod("true", "event FailedMount", spec={"volumes": [volume("c", configMap={"name": "none"})]}, volumeMounts=[mount("c", "/c")]),
    "config-map-key-missing": pod("true", "event FailedMount", spec={"volumes": [volume("c", configMap={"name": "settings", "items": [
        {"key": "no", "path": "x"}]})]}, volumeMounts=[mount("c", "/c")]),
    "downward-volume": pod("cat /d/*", meta={"labels": {"a": "b", "c": "d"}, "annotations": {"x": "two\nlines"}}, spec={"volumes": [volume("d", downwardAPI={"items": [
        {"path": "annotations", "fieldRef": {"fieldPath": "metadata.annotations"}},
        {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}},
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]})]}, resources={"limits": {"cpu": "250m"}}, volumeMounts=[mount("d", "/d")]),
    "sub-path-expr": pod("cat /m/x", spec={**SEEN, "initContainers": [container("mkdir -p /state/of-sub-path-expr; echo yes > /state/of-sub-path-expr/x", "first", **STATE)]},
                         env=[{"name": "ME", **field("metadata.name")}], volumeMounts=[mount("state", "/m", subPathExpr="of-$(ME)")]),
    "sub-path-expr-missing": pod("true", "CreateContainerConfigError", spec=SEEN, volumeMounts=[mount("state", "/m", subPathExpr="of-$(NOBODY)")]),
    "sub-path-file": pod("cat /x; stat -c %a /x", spec={"volumes": [volume("c", configMap={"name": "settings"})]},
                         volumeMounts=[mount("c", "/x", subPath="plain")]),
    "memory": pod("grep ' /m ' /proc/mounts | sed 's/inode64//'",
                  spec={"volumes": [volume("m", emptyDir={"medium": "Memory", "sizeLimit": "1Mi"})]}, volumeMounts=[mount("m", "/m")]),
    "host-path-type": pod("true", "event FailedMount", spec={"volumes": [volume("h", hostPath={"path": "/no/such/path", "type": "Directory"})]}, volumeMounts=[mount("h", "/h")]),
    "host-path-file": pod("true", "event FailedMount", spec={"volumes": [volume("h", hostPath={"path": "/etc", "type": "File"})]}, volumeMounts=[mount("h", "/h")]),
    # --- names and addresses
    "host-aliases": pod("tail -n 3 /etc/hosts", spec={"hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a.example", "b.example"]}, {"ip": "2001:db8::1", "hostnames": ["c.example"]}]}),
    "dns-none": pod("cat /etc/resolv.conf", spec={"dnsPolicy": "None", "dnsConfig": {"nameservers": ["192.0.2.53"], "searches": ["a.example", "b.example"],
                                                                                  "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}}),
    "dns-config": pod("grep -v '^nameserver' /etc/resolv.conf", spec={"dnsConfig": {"searches": ["a.example"], "options": [{"name": "ndots", "value": "2"}]}}),
    "hostname": pod("hostname; grep -c sub /etc/hosts", spec={"hostname": "me", "subdomain": "sub"}),
    "hostname-fqdn": pod("hostname", spec={"hostname": "me", "subdomain": "sub", "setHostnameAsFQDN": True}),
    # --- who runs
    "user-of-image-non-root": pod("true", "CreateContainerConfigError", image=WEB, securityContext={"runAsNonRoot": True}),
    "root-non-root": pod("true", "CreateContainerConfigError", securityContext={"runAsNonRoot": True}),
    "user-zero-non-root": pod("true", "CreateContainerConfigError", securityContext={"runAsNonRoot": True, "runAsUser": 0}),
    "user-of-image": pod("id", image=WEB),
    "groups": pod("id", spec={"securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "supplementalGroups": [4000, 5000], "fsGroup": 2000}}),
    "groups-strict": pod("id", spec={"securityContext": {"runAsUser": 1000, "supplementalGroups": [4000], "supplementalGroupsPolicy": "Merge"}}),
    "capabilities": pod("grep Cap /proc/self/status", securityContext={"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}}),
    "read-only-root": pod("touch /x; touch /proc/sys/x; true", securityContext={"readOnlyRootFilesystem": True}),
    "no-new-privileges": pod("grep NoNewPrivs /proc/self/status", securityContext={"allowPrivilegeEscalation": False}),
    "sysctls": pod("cat /proc/sys/net/ipv4/ip_local_port_range", spec={"securityContext": {"sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "2000 3000"}]}}),
    "shared-processes": pod("ps | grep -c 'sleep 99[9]'; true", spec={"shareProcessNamespace": True, "containers": [container("sleep 1; true", "other")]}),
    # --- what isn't let in
    "selector": pod("true", "Failed", spec={"nodeSelector": {"no": "where"}}),
    "unsafe-sysctl": pod("true", "Failed", spec={"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "65536"}]}}),
    "too-many-cpus": pod("true", "Failed", resources={"requests": {"cpu": "1000"}}),
    "host-users": pod("true", "event FailedCreatePodSandBox", spec={"hostUsers": False}),
    # --- images
    "image-never": pod("true", "ErrImageNeverPull", image="docker.io/library/none:test"),
    "image-name": pod("true", "InvalidImageName", image="NO/such:::name"),
    # --- while it runs
    "ephemeral": pod(SLEEP, "ephemeral ended", then=["ephemeral", {"name": "look", "image": BUSYBOX, "imagePullPolicy": "Never", "command": ["sh", "-c", "echo looked; exit 3"]}]),
    "resize": pod(SLEEP, "resized", spec={"restartPolicy": "Always"}, resources={"requests": {"cpu": "20m"}, "limits": {"cpu": "50m"}},
                  then=["resize", {"requests": {"cpu": "30m"}, "limits": {"cpu": "60m"}}]),
    "resize-restarts": pod(SLEEP, "resized", spec={"restartPolicy": "Always"}, resizePolicy=[{"resourceName": "memory", "restartPolicy": "RestartContainer"}],
                           resources={"requests": {"memory": "20Mi"}, "limits": {"memory": "40Mi"}},
                           then=["resize", {"requests": {"memory": "30Mi"}, "limits": {"memory": "60Mi"}}]),
    "resize-pod": pod(SLEEP, "pod resized", spec={"resources": {"requests": {"cpu": "30m", "memory": "20Mi"}, "limits": {"cpu": "60m", "memory": "40Mi"}}},
                      then=["resize pod", {"requests": {"cpu": "40m", "memory": "30Mi"}, "limits": {"cpu": "80m", "memory": "60Mi"}}]),
    "resize-init": pod(SLEEP, "resized", spec={"initContainers": [container("true", "first", resources={"requests": {"cpu": "20m"}})]}, resources={"requests": {"cpu": "20m"}},
                       then=["resize", {"requests": {"cpu": "30m"}}, {"requests": {"cpu": "25m"}}]),
    "restart-all": pod(once("sleep 2; exit 42", SLEEP), "all restarted", restartPolicy="Never", restartPolicyRules=rules("RestartAllContainers", "In", 42), **STATE,
                       spec={**SEEN, "initContainers": [container("true", "first")], "containers": [container(SLEEP, "other")]}),
    "pod-resources": pod(SLEEP, "Ready", spec={"resources": {"requests": {"cpu": "30m", "memory": "20Mi"}, "limits": {"cpu": "60m", "memory": "40Mi"}}}),
}


def condition(pod, type):
    return next((c for c in pod.get("status", {}).get("conditions", []) if c["type"] == type), {})


def statuses(pod):
    s = pod.get("status", {})
    return [c for name in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses") for c in s.get(name, [])]


def has_come(case, pod, events):
    """Whether the pod is where its case is looked at."""
    until, status = case["until"], pod.get("status", {})
    if until in ("Succeeded", "Failed"):
        return status.get("phase") == until
    if until in ("Ready", "ContainersReady"):
        return condition(pod, until).get("status") == "True"
    if until.startswith("event "):
        return any(e["reason"] == until[6:] for e in events)
    if until == "all restarted":
        return condition(pod, "Ready").get("status") == "True" and all(c.get("restartCount") == 1 for c in statuses(pod))
    if until == "ephemeral ended":
        return any("terminated" in c["state"] for c in status.get("ephemeralContainerStatuses", []))
    if until in ("resized", "pod resized"):
        wanted, whole = case["then"][1], until == "pod resized"
        return condition(pod, "Ready").get("status") == "True" and any(s.get("resources") == wanted for s in ([status] if whole else status.get("containerStatuses", []))) \
            and not any(condition(pod, t) for t in ("PodResizePending", "PodResizeInProgress"))
    return any(c.get("state", {}).get("waiting", {}).get("reason") == until for c in statuses(pod))


def plain(text, pod):
    """A text without what is another each time."""
    for word, what in ((pod["metadata"].get("uid"), "UID"), (pod["status"].get("podIP"), "POD-IP"), (pod["status"].get("hostIP"), "HOST-IP"),
                       (pod["spec"].get("nodeName"), "NODE")):
        if word:
            text = re.sub(rf"(?<![\w-]){re.escape(word)}(?![\w-])", what, text)
    text = re.sub(r"\b[0-9a-f]{64}\b", "ID", text)
    text = re.sub(r"/[^ \"':]*/(kubelet|agent/kubelet)/pods/", "PODS/", text)
    text = re.sub(r"used: \d+, capacity: \d+", "used: N, capacity: N", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME", text)
    return re.sub(r"\b\d+(\.\d+)?(ms|s|µs)\b", "TIME", text)


def without(value, names):
    if isinstance(value, dict):
        return {k: without(v, names) for k, v in value.items() if k not in names}
    return [without(v, names) for v in value] if isinstance(value, list) else value


TIMED = ("lastProbeTime", "lastTransitionTime", "startTime", "startedAt", "finishedAt", "containerID", "imageID", "observedGeneration", "podIP", "podIPs", "hostIP", "hostIPs")


def told(pod, logs):
    """What was made of a pod, as it is kept."""
    status = without(pod["status"], TIMED)
    for c in statuses({"status": status}):
        # A loop may have gone round once more, and be anywhere in it.
        if c.get("restartCount", 0) > 1 or "CrashLoopBackOff" in json.dumps(c["state"]):
            c |= {"restartCount": "several", "state": "of a loop", "started": "now and then"}
        c.get("volumeMounts", []).sort(key=lambda m: m["mountPath"])
        for m in c.get("volumeMounts", []):
            m["name"] = re.sub(r"^kube-api-access-.*", "kube-api-access", m["name"])
    status.get("conditions", []).sort(key=lambda c: c["type"])
    # cgroup v1's greatest limit, which a kubelet takes for one when it looks at the right moment: unlimited.
    if (status.get("resources", {}).get("limits") or {}).get("memory") == "9007199254740988Ki":
        del status["resources"]["limits"]["memory"]
        if not status["resources"]["limits"]:
            del status["resources"]["limits"]
    return {"status": json.loads(plain(json.dumps(status), pod)), "logs": {n: plain(t, pod) for n, t in sorted(logs.items()) if t}}


def events_of(server, pod):
    """A pod's events, each once."""
    all = server.get("events", "--field-selector", f"involvedObject.kind=Pod,involvedObject.name={pod['metadata']['name']}")["items"]
    return sorted(map(list, {(e["type"], e["reason"], plain(e.get("message", ""), pod)) for e in all}))


def play(server, node, leave_out=(), timeout=120):
    """Makes the pods of all cases, or all but some, on a node, and waits until each has come to rest."""
    for o in OBJECTS:
        server.kubectl("create", "-f", "-", input=json.dumps(o))
    cases = {name: case for name, case in CASES.items() if name not in leave_out}
    pods = []
    for name, case in cases.items():
        pods.append(json.loads(json.dumps(case["pod"])))
        pods[-1]["metadata"]["name"] = name
        pods[-1]["spec"]["nodeName"] = node
    server.kubectl("create", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
    rested, done = set(), set()

    def look():
        events = {}
        for e in server.get("events")["items"]:
            events.setdefault(e["involvedObject"]["name"], []).append(e)
        for p in server.get("pods")["items"]:
            name = p["metadata"]["name"]
            case = cases[name]
            if name in rested:
                continue
            if case["then"] and name not in done:
                if condition(p, "Ready").get("status") == "True":
                    done.add(name)
                    act(server, name, *case["then"])
            elif has_come(case, p, events.get(name, [])):
                rested.add(name)
        return rested == cases.keys()
    try:
        eventually("all pods have come to rest", look, timeout=timeout, every=0.5)
    except Failed as e:
        raise Failed(f"these haven't come to rest: {sorted(cases.keys() - rested)}; {e}") from None


def answers(server, logs_of, names):
    """Of these pods what is made of them by now. `logs_of(pod, container)` reads what a container has said."""
    out = {}
    for p in server.get("pods")["items"]:
        if (name := p["metadata"]["name"]) in names:
            loops = CASES[name]["until"] == "CrashLoopBackOff"
            logs = {c["name"]: logs_of(p, c["name"]) for c in statuses(p) if c.get("containerID") and "waiting" not in c["state"] and not loops}
            out[name] = {**told(p, logs), "events": events_of(server, p)}
    return out


def act(server, name, what, change, of_first=None):
    if what == "ephemeral":
        patch = {"spec": {"ephemeralContainers": [change]}}
        server.kubectl("patch", "pod", name, "--subresource=ephemeralcontainers", "--type=strategic", "-p", json.dumps(patch))
    else:
        patch = {"spec": {"resources": change} if what == "resize pod" else {"containers": [{"name": "main", "resources": change}]}}
        if of_first:
            patch["spec"]["initContainers"] = [{"name": "first", "resources": of_first}]
        server.kubectl("patch", "pod", name, "--subresource=resize", "--type=strategic", "-p", json.dumps(patch))
