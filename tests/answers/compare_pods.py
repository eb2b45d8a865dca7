#!/usr/bin/env python3
"""Compares what Kedge's node makes of the pods of pod_cases.py with what a kubelet made of them (node/pods.json), and prints what differs.

    KEDGE_BINARY=… tests/answers/compare_pods.py

By hand, by who changes what pods become: seventy-odd pods at once take a small machine a minute or two.
"""

import contextlib
import difflib
import json
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import pod_cases  # noqa: E402
from harness import Failed, Server, eventually  # noqa: E402
from runtime import ARGS, RuntimeLab, image, ready_node  # noqa: E402

# What becomes something else here, and why; it isn't waited for.
DEPARTURES = {
    "ephemeral": "a kubelet tells of an ephemeral container that it has no resources",
    "downward-volume": "a kubelet has annotations of its own in a pod's, kubernetes.io/config.seen and .source",
}
# Events that may come once more, or not yet have come.
PASSING = {"BackOff", "Pulled", "Created", "Started", "Unhealthy", "Scheduled"}


def settled(answer):
    return {**answer, "events": [e for e in answer["events"] if e[1] not in PASSING]}


def lines_of(answer):
    return json.dumps(answer, indent=1, sort_keys=True).splitlines()


def main():
    recorded = json.loads((pathlib.Path(__file__).parent / "node/pods.json").read_text())
    there = {name: settled(a) for name, a in recorded.items() if name not in DEPARTURES}
    assert there.keys() == pod_cases.CASES.keys() - DEPARTURES.keys(), "record anew: there are other cases"
    lab = RuntimeLab()
    try:
        lab.archives.append(image(lab.folder, pod_cases.WEB, [], ["sh"], user="web"))
        server = lab.adopt(Server(lab, "server", host=lab.host(), args=ARGS).wait_ready())
        ready_node(server, "server")
        eventually("the account of pods", lambda: server.get("serviceaccount", "default"))
        pod_cases.play(server, "server", DEPARTURES, timeout=240)
        here = {}

        def same():
            left = {name for name in there if here.get(name) != there[name]}
            now = pod_cases.answers(server, lambda p, c: server.kubectl("logs", p["metadata"]["name"], "-c", c), left)
            here.update({name: settled(a) for name, a in now.items()})
            return here == there
        with contextlib.suppress(Failed):
            eventually("all are as they were recorded", same, timeout=30, every=0.5)
    finally:
        lab.close()
    differ = [name for name in there if here.get(name) != there[name]]
    for name in differ:
        print("\n".join(difflib.unified_diff(lines_of(there[name]), lines_of(here.get(name)), f"kubelet/{name}", f"kedge/{name}", lineterm="", n=3)))
    print(f"{len(there) - len(differ)} of {len(there)} pods are as a kubelet's; {len(DEPARTURES)} known to differ aren't looked at")
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
