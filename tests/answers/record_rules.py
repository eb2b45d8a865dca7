#!/usr/bin/env python3
"""Asks a real kube-apiserver what each row of rules/*.table is worth and writes rules/*.jsonl; run by hand, see README.md.

    KUBE_APISERVER=… ETCD=… tests/answers/record_rules.py [TABLE…]

A file's first line is the table: kind, path, bases. Each further line is one request:

    on      create, update, or the name of a subresource
    base, from, planted, do    the object before, and what is changed of it, as [JSON pointer, value]; no value: taken away
    code    the status
    causes  [[field, reason, message]] of a 422 whose message follows from them; any other refusal has its reason and message
    also    what else is different in the answer's object from what was sent to what the base's own answer is
            (a random uid in it is UID, the time of now TIME)
    varies  places whose value is another each time: not compared
    warnings
"""

import datetime
import http.client
import json
import re
import sys
import time

import mutations
from judge import Judge
from tables import Gone, all_tables, change, changed, compact, difference, operations, pointer

UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
RECENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
SYSTEM = ("uid", "resourceVersion", "creationTimestamp", "managedFields")


def timeless(value):
    """With TIME for each time that is now, and UID for each uid."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items()}
    if isinstance(value, list):
        return [timeless(v) for v in value]
    if isinstance(value, str) and UID.search(value):
        return UID.sub("UID", value)
    if isinstance(value, str) and RECENT.fullmatch(value):
        at = datetime.datetime.fromisoformat(value)
        if abs((datetime.datetime.now(datetime.timezone.utc) - at).total_seconds()) < 600:
            return "TIME"
    return value


def plain(answer):
    """The object of an answer without what every object has of its own."""
    out = timeless(json.loads(answer.body))
    for name in SYSTEM:
        out.get("metadata", {}).pop(name, None)
    return out


def implied(kind, group, name, causes):
    """The message that follows from the causes of a 422."""
    who = f"{kind}.{group}" if group else kind
    texts = []
    for field, _, message in causes:
        text = f"{field}: {message}"
        if text not in texts:
            texts.append(text)
    return f'{who} "{name}" is invalid: ' + (texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]")


def said(table, sent, answer):
    """What a row keeps of an answer, but for the object."""
    out = {"code": answer.code}
    if answer.code >= 300:
        status = json.loads(answer.body)
        causes = [[c.get("field", ""), c["reason"], UID.sub("UID", c["message"])] for c in status.get("details", {}).get("causes", [])]
        group = sent["apiVersion"].rpartition("/")[0]
        if answer.code == 422 and UID.sub("UID", status["message"]) == implied(table.kind, group, sent.get("metadata", {}).get("name", ""), causes):
            out["causes"] = causes
        else:
            out |= {"reason": status.get("reason", ""), "message": UID.sub("UID", status["message"])}
            if causes:
                out["causes"] = causes
    if answer.warnings:
        out["warnings"] = answer.warnings
    return out


class Recorder:
    def __init__(self, judge, table):
        self.judge, self.table = judge, table
        self.rows, self.answers = [], {}

    def of_collection(self, sent):
        return self.judge.ask("POST", self.table.path + "?dryRun=All", sent)

    def at(self, name, subresource=""):
        return f"{self.table.path}/{name}" + (f"/{subresource}" if subresource not in ("", "update") else "")

    def compare(self, row, sent, expected, ask):
        """Asks twice: what differs between the two is no rule's."""
        try:
            first = ask()
            second = ask()
            # Several causes may be told in the order of a map, which is seldom the same for long.
            for _ in range(5 if first.body.count(b'"field":') > 1 and second.body == first.body else 0):
                second = ask()
                if second.body != first.body:
                    break
        except (http.client.HTTPException, OSError):
            print("left out, it makes the judge drop the connection:", compact(row), file=sys.stderr)
            return
        row |= said(self.table, sent, first)
        again = said(self.table, sent, second)
        if again != {k: row.get(k) for k in again} or again.keys() != said(self.table, sent, first).keys():
            if sorted(map(str, again.get("causes", []))) != sorted(map(str, row.get("causes", []))):
                print("left out, another answer each time:", compact(row), file=sys.stderr)
                return
            row["order"] = "any"
        if first.code < 300 and expected is not None:
            varies = [at for at, _ in difference(plain(first), plain(second))]
            a, b = plain(first), expected
            varies += [at for at, _ in difference(b, a) if pointer(at) in self.table.chosen and at not in varies]
            for at in varies:
                for v in (a, b):
                    try:
                        change(v, at, Gone)
                    except (KeyError, IndexError, TypeError):
                        pass
            if also := operations(difference(b, a)):
                row["also"] = also
            if varies:
                row["varies"] = [pointer(at) for at in varies]
        self.rows.append(row)

    def creates(self, base, rows):
        sent = self.table.bases[base]
        answer = self.of_collection(sent)
        if answer.code >= 300:
            raise SystemExit(f"{self.table.name}: the base {base} is refused: {answer.body.decode()}")
        self.answers[base] = plain(answer)
        for changes in rows:
            try:
                body = changed(sent, changes)
                expected = changed(self.answers[base], changes)
            except (KeyError, IndexError, TypeError, AttributeError):
                body, expected = changed(sent, changes), None
            row = {"on": "create", "base": base, "do": operations(changes)}
            self.compare(row, body, expected, lambda: self.of_collection(body))

    def changes(self, group):
        base, on, before, planted = group.base, group.on, group.before, group.planted
        stored = changed(self.table.bases[base], before)
        name = stored["metadata"]["name"]
        self.put_away(name)
        if planted:
            stored = {**stored, "metadata": {**stored["metadata"], "uid": "11111111-2222-3333-4444-555555555555",
                                             "creationTimestamp": "2026-01-02T03:04:05Z"}}
            self.judge.plant(f"{self.table.key}/{name}", stored)
        else:
            answer = self.judge.ask("POST", self.table.path, stored)
            if answer.code >= 300:
                raise SystemExit(f"{self.table.name}: {compact(operations(before))} is refused: {answer.body.decode()}")
        status = stored.get("status") if not planted else None
        if status:
            held = json.loads(self.judge.ask("GET", self.at(name)).body)
            answer = self.judge.ask("PUT", self.at(name, "status"), {**held, "status": status})
            if answer.code >= 300:
                raise SystemExit(f"{self.table.name}: status of {compact(operations(before))} is refused: {answer.body.decode()}")
        self.wait_quiet(name)
        for changes in group.rows:
            held = json.loads(self.judge.ask("GET", self.at(name)).body)
            body = changed(held, changes)
            for n in SYSTEM:
                held["metadata"].pop(n, None)
            row = {"on": on, "base": base, "from": operations(before), "do": operations(changes)}
            if planted:
                row["planted"] = True
            self.compare(row, body, changed(timeless(held), changes), lambda: self.judge.ask("PUT", self.at(name, on) + "?dryRun=All", body))
        self.put_away(name)

    def wait_quiet(self, name):
        """The server's own controllers have something to say of new objects."""
        before = None
        while before != (now := self.judge.ask("GET", self.at(name)).body):
            before = now
            time.sleep(0.3)

    def put_away(self, name):
        self.judge.ask("PATCH", self.at(name), {"metadata": {"finalizers": None}}, {"Content-Type": "application/merge-patch+json"})
        self.judge.ask("DELETE", self.at(name), {"gracePeriodSeconds": 0, "propagationPolicy": "Background"})
        if self.judge.ask("GET", self.at(name)).code == 200 and self.table.key:
            self.judge.uproot(f"{self.table.key}/{name}")

    def record(self):
        for path, objects in self.table.before:
            for o in objects:
                self.judge.ask("POST", path, o)
        for base in self.table.bases:
            if base in self.table.mechanical or base in self.table.brief:
                self.creates(base, list(mutations.of(self.table.bases[base], self.table.metadata, base in self.table.brief)))
        for group in self.table.groups:
            if group.on == "create":
                self.creates(group.base, [group.before + row for row in group.rows])
            else:
                self.changes(group)

    def write(self):
        t = self.table
        head = {"kind": t.kind, "path": t.path, "key": t.key, "before": t.before, "bases": t.bases, "answers": self.answers}
        with open(t.recorded, "w") as out:
            for line in (head, *self.rows):
                out.write(compact(line) + "\n")


def main(*names):
    with Judge() as judge:
        judge.ask("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
        for table in all_tables(names):
            recorder = Recorder(judge, table)
            recorder.record()
            recorder.write()
            print(f"{table.name}: {len(recorder.rows)} rows")


if __name__ == "__main__":
    main(*sys.argv[1:])
