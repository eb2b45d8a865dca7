"""Rows that nobody has to think of: every field of an object bent in turn, as its type in schema/types.json allows.

What is there is taken away, emptied, made negative, huge, too long, of strange characters; list items are doubled; what isn't
there is added empty. A judge says what each is worth.
"""

import json
import pathlib

from tables import Gone

ROOT = pathlib.Path(__file__).resolve().parents[2]
TYPES = json.loads((ROOT / "schema/types.json").read_text())
LEAVE = {"apiVersion", "kind", "managedFields", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "uid",
         "resourceVersion", "generation", "status"}
SCALARS = {"string", "bool", "int32", "int64", "bytes", "float64"}


def fields_of(type_name):
    out = {}
    for f in TYPES["types"].get(type_name, {}).get("fields", []):
        if f.get("inline"):
            out.update(fields_of(f["type"]))
        else:
            out[f["name"]] = f
    return out


def texts(value):
    yield from ("", "Upper", "bad value!", "a/b/c", "../up", "/abs/path", "a" * 64, "a" * 254, value + ".", "-" + value, "12")


def few_texts(value):
    yield from ("", "bad value!", "a" * 254)


def numbers(value):
    yield from (n for n in (-1, 0, 1, 101, 65536, 2147483647) if n != value)


def few_numbers(value):
    yield from (n for n in (-1, 0, 65536) if n != value)


def bent(type_name, value, field, brief):
    """Other values for one that is there."""
    if field.get("enum"):
        yield from (e for e in field["enum"] if e != value)
    if type_name in ("string",):
        yield from few_texts(value) if brief else texts(value)
    elif type_name in ("int32", "int64"):
        yield from few_numbers(value) if brief else numbers(value)
    elif type_name == "bool":
        yield not value
    elif type_name == "bytes":
        yield from ("", "AAAA")
    elif type_name.endswith("Quantity"):
        yield from ("0", "-1", "1m", "100Ei", "5", "1.5")
    elif type_name.endswith("IntOrString"):
        yield from (-1, 0, 5, 65536, "", "0%", "100%", "101%", "-5%", "x", "http", "UPPER", "a" * 16)


def fresh(type_name, field):
    """Values for a field that isn't there."""
    if type_name.startswith("[]") and type_name != "bytes":
        yield []
        for item in fresh(type_name[2:], {}):
            yield [item]
    elif type_name.startswith("map["):
        yield {}
        yield {"k": next(iter(fresh(type_name.split("]", 1)[1], {})))}
        yield {"bad key!": next(iter(fresh(type_name.split("]", 1)[1], {})))}
    elif field.get("enum"):
        yield from field["enum"]
        yield "Bogus"
    elif type_name == "string":
        yield from ("", "a", "Bad value!")
    elif type_name in ("int32", "int64"):
        yield from (-1, 0, 7)
    elif type_name == "float64":
        yield 0.5
    elif type_name == "bool":
        yield from (False, True)
    elif type_name == "bytes":
        yield from ("", "AAAA")
    elif type_name.endswith("Quantity"):
        yield from ("1", "-1")
    elif type_name.endswith("IntOrString"):
        yield from (0, "a")
    elif type_name.endswith("Time"):
        yield "2026-01-02T03:04:05Z" if type_name.endswith(".Time") else "2026-01-02T03:04:05.000000Z"
    else:
        yield {}


def walk(type_name, value, at, field, brief):
    """Each gives (place, new value)."""
    if type_name.startswith("[]") and type_name != "bytes":
        yield at, Gone
        yield at, []
        if value:
            yield at + (len(value),), value[0]
            yield at + (len(value),), {} if isinstance(value[0], dict) else ""
            if len(value) > 1:
                yield at + (0,), Gone
        for i, item in enumerate(value):
            yield from walk(type_name[2:], item, at + (i,), {}, brief)
        return
    if type_name.startswith("map["):
        yield at, Gone
        for key, item in value.items():
            yield from walk(type_name.split("]", 1)[1], item, at + (key,), {}, brief)
            for odd in ("bad key!",) if brief else ("", "bad key!", "a/b/c", "UPPER", "a" * 64, "x.example.com/y", ".dot", "a.b"):
                yield at + (odd,), item
            return
        return
    fields = fields_of(type_name)
    if not isinstance(value, dict) or not fields:
        if not (at and isinstance(at[-1], int)):
            yield at, Gone
        yield from ((at, v) for v in bent(type_name, value, field, brief))
        return
    if at and not isinstance(at[-1], int):
        yield at, Gone
        yield at, {}
    for name, f in fields.items():
        if name in LEAVE and (not at or at == ("metadata",)):
            continue
        if name in value:
            yield from walk(f["type"], value[name], at + (name,), f, brief)
        else:
            yield from ((at + (name,), v) for v in fresh(f["type"], f))


def of(base, with_metadata=False, brief=False):
    """The rows of a base object: lists of one change each. Metadata is alike for all kinds: one table bends it. `brief`: of each kind of harm one, for
    large objects."""
    type_name = TYPES["kinds"][f"{base['apiVersion']}/{base['kind']}"]
    seen = set()
    for at, new in walk(type_name, base, (), {}, brief):
        key = json.dumps([at, "gone" if new is Gone else new], sort_keys=True)
        if at and (with_metadata or at[0] != "metadata") and at not in (("metadata",), ("metadata", "name"), ("metadata", "namespace")) and key not in seen:
            seen.add(key)
            yield [(at, new)]
