"""Memory, start, and processor time when nothing happens."""

from .kit import *


def memory():
    with alone() as kedge:
        kedge.wait_ready()
        time.sleep(3)
        idle = resident_kib(kedge.process.pid)
        row("resident memory, idle server without agent", f"{idle / 1024:.1f} MiB", "", "", "≤ 25 MB")
        config_maps(kedge, 10000)
        time.sleep(2)
        each = (resident_kib(kedge.process.pid) - idle) * 1024 / 10000
        size = len(kedge.get("/api/v1/namespaces/default/configmaps/item-00000"))
        row("10,000 ConfigMaps of 1.2 KB", f"{each:,.0f} bytes each", f"JSON {size:,} bytes", f"{each / size:.2f} ×", "≤ 2.5 ×")


def start():
    ready = []
    for _ in range(5):
        with alone() as kedge:
            ready.append(kedge.wait_ready())
    row("start on an empty data dir to /readyz", f"{min(ready):.2f} s (median {sorted(ready)[2]:.2f} s)", "", "", "≤ 0.2 s")
    times = []
    for _ in range(3):
        with alone(args=()) as kedge:
            times.append(wait_node_ready(kedge))
    row("start on an empty data dir to node Ready", f"{min(times):.2f} s (median {sorted(times)[1]:.2f} s)", "", "", "≤ 2 s")


def cpu():
    with alone(args=()) as kedge:
        wait_node_ready(kedge)
        time.sleep(10)
        row("resident memory, idle server with agent", f"{resident_kib(kedge.process.pid) / 1024:.1f} MiB", "", "", "≤ 30 MB")
        before, began = cpu_seconds(kedge.process.pid), time.monotonic()
        time.sleep(60)
        share = (cpu_seconds(kedge.process.pid) - before) / (time.monotonic() - began)
        row("idle CPU, one node", f"{share * 100:.2f} % of a core", "", "", "≤ 0.2 %")


def agent():
    with alone() as kedge:
        kedge.wait_ready()
        token = open(os.path.join(kedge.data, "server/token")).read().strip()
        data = os.path.join(kedge.folder, "agent")
        # A runtime's socket that nobody serves: what is measured is the agent, and no containerd is started.
        process = subprocess.Popen(
            [KEDGE, "agent", "--server", kedge.url, "--token", token, "--data-dir", data, "--node-name", "agent", "--lb-server-port", str(free_port()),
             "--container-runtime-endpoint", f"unix://{data}/none.sock"],
            stdout=kedge.log, stderr=kedge.log, stdin=subprocess.DEVNULL, env={**os.environ, "KEDGE_NODE_PASSWORD_FOLDER": data})
        try:
            wait_for("the agent's node", lambda: node_condition(kedge, "agent", "Ready"))
            time.sleep(10)
            row("resident memory, idle agent without containerd", f"{resident_kib(process.pid) / 1024:.1f} MiB", "", "", "≤ 12 MB")
        finally:
            process.terminate()
            process.wait(30)


def node_condition(kedge, name, kind):
    """Its status; None while there is no such node or condition."""
    node = json.loads(kedge.get(f"/api/v1/nodes/{name}"))
    conditions = node.get("status", {}).get("conditions", []) if node["kind"] == "Node" else []
    return next((c["status"] for c in conditions if c["type"] == kind), None)


def wait_for(what, condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise SystemExit(f"not within {seconds} s: {what}")
        time.sleep(0.005)


def wait_node_ready(kedge):
    kedge.wait_ready()
    wait_for("the node is Ready", lambda: node_condition(kedge, "bench", "Ready") == "True")
    return time.monotonic() - kedge.began
