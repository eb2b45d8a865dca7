"""Tables of objects just inside and just outside of a rule: what rules/*.table says, spelled out as rows.

    kind: Pod                                      # up to the line of dashes it is YAML
    path: /api/v1/namespaces/default/pods          # of the collection
    key: /registry/pods/default                    # where etcd has them
    bases: {plain: {…}, full: {…}}                 # whole objects that the server takes
    mechanical: [full]                             # bases of which every field is bent in turn; see mutations.py
    brief: [full]                                  # less thoroughly, of large ones
    before: [[/api/v1/namespaces, [{…}]]]          # what must be there
    chosen: [spec.clusterIP]                       # what the server chooses when the body doesn't: not compared then
    ---
    create plain                                   # what is done with which base (the first when it isn't said); then a row a line:
      spec.nodeName = Upper                        # what is changed
      spec.containers[1] = {name: a}; metadata.annotations[a.b/c] = ~
    update full from spec.priority = 5             # update, status, …: the object as it stands before
      spec.priority = 6
    update planted from spec.priority = -1         # put there by the database's hand: the server would refuse it today

A place is spelled as in messages. A value is YAML; `~` takes away; an index one behind the end appends; what is missing on the
way is made.
"""

import copy
import json
import pathlib
import re

import yaml

FOLDER = pathlib.Path(__file__).resolve().parent / "rules"


class Gone:
    pass


def steps_of(place):
    """spec.containers[0].x[a.b/c] → ("spec", "containers", 0, "x", "a.b/c")"""
    steps = []
    for dotted, bracket in re.findall(r"([^.\[\]]+)|\[([^\]]*)\]", place):
        steps.append(dotted if dotted else int(bracket) if re.fullmatch(r"\d+", bracket) else bracket)
    return tuple(steps)


def pointer(steps):
    return "".join("/" + str(s).replace("~", "~0").replace("/", "~1") for s in steps)


def change(value, steps, new):
    """`value` with what stands at `steps` replaced, appended, or (Gone) taken away; in place."""
    at = value
    for step, following in zip(steps[:-1], steps[1:]):
        empty = [] if isinstance(following, int) else {}
        if isinstance(step, int):
            if step == len(at):
                at.append(empty)
            at = at[step]
        else:
            if not isinstance(at.get(step), (dict, list)):
                at[step] = empty
            at = at[step]
    last = steps[-1]
    if new is Gone:
        if isinstance(last, int):
            del at[last]
        else:
            at.pop(last, None)
    elif isinstance(last, int) and last == len(at):
        at.append(copy.deepcopy(new))
    else:
        at[last] = copy.deepcopy(new)


def changed(value, changes):
    out = copy.deepcopy(value)
    for steps, new in changes:
        change(out, steps, new)
    return out


def operations(changes):
    """As they are recorded: [pointer, value], or [pointer] for what is taken away."""
    return [[pointer(steps)] if new is Gone else [pointer(steps), new] for steps, new in changes]


def difference(a, b, at=()):
    """Changes that make b of a."""
    if isinstance(a, dict) and isinstance(b, dict):
        out = []
        for k in sorted(a.keys() | b.keys()):
            if k not in b:
                out.append((at + (k,), Gone))
            elif k not in a:
                out.append((at + (k,), b[k]))
            else:
                out += difference(a[k], b[k], at + (k,))
        return out
    if isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        return [d for i, (x, y) in enumerate(zip(a, b)) for d in difference(x, y, at + (i,))]
    return [] if a == b and type(a) == type(b) else [(at, b)]


class Group:
    """Rows of one heading."""

    def __init__(self, on, base, planted, before):
        self.on, self.base, self.planted, self.before, self.rows = on, base, planted, before, []


class Table:
    def __init__(self, file):
        self.name, self.recorded = file.stem, file.with_suffix(".jsonl")
        head, _, rows = file.read_text().partition("\n---\n")
        said = yaml.safe_load(head)
        self.kind, self.path, self.key = said["kind"], said["path"], said["key"]
        self.bases, self.mechanical = said["bases"], said.get("mechanical", [])
        self.brief = said.get("brief", [])
        self.chosen = [pointer(steps_of(p)) for p in said.get("chosen", [])]
        self.before, self.metadata = said.get("before", []), said.get("metadata", False)
        self.groups = []
        for line in rows.splitlines():
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            if line[0].isspace():
                self.groups[-1].rows.append(self.changes(line))
                continue
            words, _, before = line.partition(" from ")
            on, *more = words.split()
            base = next((w for w in more if w in self.bases), next(iter(self.bases)))
            self.groups.append(Group(on, base, "planted" in more, self.changes(before)))

    @staticmethod
    def changes(text):
        out = []
        for part in filter(str.strip, text.split("; ")):
            place, _, value = part.partition(" = ")
            value = yaml.safe_load(value)
            out.append((steps_of(place.strip()), Gone if value is None else value))
        return out


def all_tables(names=()):
    return [Table(f) for f in sorted(FOLDER.glob("*.table")) if not names or f.stem in names]


def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
