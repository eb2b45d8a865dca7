#!/usr/bin/env python3
"""Plays webhook_cases.py to a real kube-apiserver and writes webhooks/cases.jsonl, a case a line; run by hand, see README.md.

    KUBE_APISERVER=… ETCD=… tests/answers/record_webhooks.py
"""

import json
import pathlib
import tempfile

from hook_server import HookServer, make_certificates
from judge import Judge
from webhook_cases import CASES, Stage


def main():
    into = pathlib.Path(__file__).parent / "webhooks" / "cases.jsonl"
    with tempfile.TemporaryDirectory() as folder, Judge() as judge:
        make_certificates(folder, "127.0.0.1")
        stage = Stage(judge.ask, HookServer(folder))
        lines = [json.dumps({"name": case["name"], "outcomes": stage.play(case)}, sort_keys=True, separators=(",", ":")) for case in CASES]
    into.write_text("\n".join(lines) + "\n")
    print(f"{len(lines)} cases")


if __name__ == "__main__":
    main()
