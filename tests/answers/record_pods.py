#!/usr/bin/env python3
"""Records what a real kubelet makes of the pods of pod_cases.py: node/pods.json, with which compare_pods.py compares.

    KEDGE_BINARY=… KUBELET=… tests/answers/record_pods.py

An agent of Kedge lends its containerd and its network, and stands still meanwhile; the kubelet is a node of the same server.
"""

import json
import os
import pathlib
import re
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import pod_cases  # noqa: E402
from harness import Agent, Server, eventually  # noqa: E402
from record_node import GROUP, make_groups, remove_groups  # noqa: E402
from runtime import ARGS, RuntimeLab, image, ready_node  # noqa: E402

KEPT = pathlib.Path(__file__).parent / "node/pods.json"


def line_of_log(line):
    """CRI's: a time, the stream, F or P, and the text."""
    _, _, whole, text = line.split(" ", 3)
    return text + ("\n" if whole == "F" else "")


def main():
    lab = RuntimeLab()
    lab.archives.append(image(lab.folder, pod_cases.WEB, [], ["sh"], user="web"))
    try:
        make_groups()
        server = Server(lab, "server", host=lab.host(), args=["--disable-agent"]).wait_ready()
        agent = Agent(lab, "lender", lab.host(), server.url, server.token(), args=["--node-name", "lender", *ARGS])
        lab.adopt(agent)
        ready_node(server, "lender")
        os.kill(agent.process.pid, signal.SIGSTOP)
        logs = pathlib.Path(lab.folder) / "logs"
        config = {"kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "failCgroupV1": False, "failSwapOn": False,
                  "cgroupDriver": "cgroupfs", "cgroupRoot": "/" + GROUP, "port": 10350, "healthzPort": 0, "clusterDNS": ["10.43.0.10"], "clusterDomain": "cluster.local",
                  "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}}, "authorization": {"mode": "AlwaysAllow"},
                  "containerRuntimeEndpoint": "unix://" + agent.containerd, "address": "127.0.0.1", "evictionHard": {"memory.available": "1Mi"}, "podLogsDir": str(logs)}
        kubeconfig = pathlib.Path(lab.folder) / "judge.yaml"
        kubeconfig.write_text(re.sub(r"https://127.0.0.1:\d+", server.url, open(server.kubeconfig).read()))
        path = pathlib.Path(lab.folder) / "kubelet.yaml"
        path.write_text(json.dumps(config))
        lab.start("kubelet", agent.host.command(os.environ["KUBELET"], f"--config={path}", f"--root-dir={lab.folder}/kubelet", "--hostname-override=judge",
                                                f"--kubeconfig={kubeconfig}", f"--cert-dir={lab.folder}/certs", f"--node-ip={agent.host.address}"))

        def logs_of(pod, container):
            m = pod["metadata"]
            all = sorted((logs / f"default_{m['name']}_{m['uid']}" / container).glob("*.log"), key=lambda f: int(f.stem))
            return "".join(map(line_of_log, open(all[-1]).read().splitlines())) if all else ""
        try:
            ready_node(server, "judge")
            eventually("the account of pods", lambda: server.get("serviceaccount", "default"))
            pod_cases.play(server, "judge", timeout=240)
            time.sleep(10)  # for the last statuses and events
            out = pod_cases.answers(server, logs_of, pod_cases.CASES)
        except Exception:
            print(open(lab.processes[-1].log).read()[-8000:], file=sys.stderr)
            raise
        lines = (f"{json.dumps(name)}: {json.dumps(out[name], sort_keys=True)}" for name in sorted(out))
        KEPT.write_text("{" + ",\n".join(lines) + "}\n")
    finally:
        for p in lab.processes:
            if p.poll() is None:
                os.kill(p.pid, signal.SIGCONT)
        lab.close()
        try:
            remove_groups()
        except OSError as e:
            print(e, file=sys.stderr)


if __name__ == "__main__":
    main()
