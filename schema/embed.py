#!/usr/bin/env python3
"""Turns the API facts into tables.cc: constant C++ tables without pointers.

    embed.py DIRECTORY_OF_THE_FACTS OUTPUT [MORE FILES FOR THE FINGERPRINT]

Strings lie in one pool and are named by their offset; each is preceded by its length in two bytes. Lists of strings are runs of offsets. See src/schema/tables.h for the
reader, src/schema/types.h for the meaning.
"""
import hashlib
import json
import sys

NONE = 0xFFFF
SCALARS = {"string": 1, "bool": 2, "int32": 3, "int64": 4, "float64": 5, "bytes": 6}
OWN_FORM = {"Quantity": 7, "Time": 8, "MicroTime": 9, "IntOrString": 10, "RawExtension": 11, "FieldsV1": 12}
UNIONS = {"apiextensions/v1.JSON": 13, "apiextensions/v1.JSONSchemaPropsOrArray": 14,
          "apiextensions/v1.JSONSchemaPropsOrBool": 15, "apiextensions/v1.JSONSchemaPropsOrStringArray": 16}
LIST_TYPES = {None: 0, "atomic": 1, "map": 2, "set": 3}
MAP_TYPES = {None: 0, "atomic": 1, "granular": 2}
FLAGS = {"required": 1, "omitempty": 2, "pointer": 4, "inline": 8, "wrappedItems": 0x40, "omitzero": 0x80, "gated": 0x200, "gatedWithOwner": 0x400}
CATEGORY_KINDS = {
    "clusterroles": ("rbac.authorization.k8s.io/v1", "ClusterRole"),
    "clusterrolebindings": ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
    "roles": ("rbac.authorization.k8s.io/v1", "Role"),
    "rolebindings": ("rbac.authorization.k8s.io/v1", "RoleBinding"),
    "priorityclasses": ("scheduling.k8s.io/v1", "PriorityClass"),
    "flowschemas": ("flowcontrol.apiserver.k8s.io/v1", "FlowSchema"),
    "prioritylevelconfigurations": ("flowcontrol.apiserver.k8s.io/v1", "PriorityLevelConfiguration"),
    "namespaces": ("v1", "Namespace"),
    "apiservices": ("apiregistration.k8s.io/v1", "APIService"),
}


class Pool:
    """All strings, each once, behind its length."""

    def __init__(self):
        self.offsets, self.data = {}, bytearray()
        self.add("")

    def add(self, text):
        if text not in self.offsets:
            raw = text.encode()
            self.data += len(raw).to_bytes(2, "little")
            self.offsets[text] = len(self.data)
            self.data += raw
        return self.offsets[text]


class Lists:
    """Runs of string offsets, each run once."""

    def __init__(self, pool):
        self.pool, self.runs, self.items = pool, {(): (0, 0)}, []

    def add(self, strings):
        key = tuple(strings)
        if key not in self.runs:
            self.runs[key] = (len(self.items), len(key))
            self.items += [self.pool.add(s) for s in key]
        return self.runs[key]


def hash_of(name, seed):
    """The same as in types.cc."""
    h = seed * 0x9E3779B1 & 0xFFFFFFFF
    for c in name.encode():
        h = (h ^ c) * 0x01000193 & 0xFFFFFFFF
    return h ^ h >> 15


def perfect_hash(names):
    """(bits, seed, slots): a table without collisions; the smallest that a few hundred seeds give."""
    if not names:
        return 0, 0, [255]
    bits = max(1, (2 * len(names) - 1).bit_length())
    while True:
        for seed in range(1, 400):
            slots = [255] * (1 << bits)
            for i, name in enumerate(names):
                at = hash_of(name, seed) & (1 << bits) - 1
                if slots[at] != 255:
                    break
                slots[at] = i
            else:
                return bits, seed, slots
        bits += 1


def load(folder):
    facts = json.load(open(f"{folder}/types.json"))
    extra = json.load(open(f"{folder}/extra.json"))
    facts["kinds"].update(extra["kinds"])
    facts["types"].update(extra["types"])
    for path, more in extra["fields"].items():
        type_name, field_name = path.rsplit(".", 1)
        next(f for f in facts["types"][type_name]["fields"] if f["name"] == field_name).update(more)
    for names in json.load(open(f"{folder}/gated.json")).values():
        for path in names:
            type_name, field_name = path.removesuffix("?").rsplit(".", 1)
            field = next(f for f in facts["types"][type_name]["fields"] if f["name"] == field_name)
            field.update(gated=True, gatedWithOwner=path.endswith("?"))
    return facts


def shape_of(text):
    """'map[string][]string' → (3, 'string')"""
    if text.startswith("[]"):
        return 1, text[2:]
    if text.startswith("map[string][]"):
        return 3, text[13:]
    if text.startswith("map[string]"):
        return 2, text[11:]
    return 0, text


def fingerprint(folder, more):
    digest = hashlib.sha512()
    for path in [f"{folder}/{n}.json" for n in ("types", "resources", "extra", "descriptions")] + list(more):
        digest.update(open(path, "rb").read())
    return digest.hexdigest()


def main(folder, output, *more):
    facts = load(folder)
    types = facts["types"]
    names = sorted(types)
    index = {n: i for i, n in enumerate(names)}
    pool = Pool()
    lists = Lists(pool)

    def base_of(name):
        if name in SCALARS:
            return SCALARS[name], NONE
        if name in UNIONS:
            props = "apiextensions/v1.JSONSchemaProps"
            return UNIONS[name], NONE if UNIONS[name] == 13 else index[props]
        scalar = types[name].get("scalar")
        return (OWN_FORM[scalar], NONE) if scalar else (0, index[name])

    def flat_of(type_index):
        """Positions in the table of all fields that make up the type's JSON object."""
        out = []
        for position, f in zip(range(first_field[type_index], NONE), types[names[type_index]].get("fields", [])):
            out += flat_of(index[f["type"]]) if f.get("inline") else [position]
        return out

    fields, first_field, json_names = [], [], []
    for n in names:
        first_field.append(len(fields))
        if n in UNIONS:
            types[n] = {}
        for f in types[n].get("fields", []):
            json_names.append(f["name"])
            shape, element = shape_of(f["type"])
            base, type_index = base_of(element)
            flags = sum(bit for key, bit in FLAGS.items() if f.get(key))
            strategies = (f.get("patchStrategy") or "").split(",")
            flags |= 0x10 * ("merge" in strategies) | 0x20 * ("retainKeys" in strategies) | 0x100 * ("replace" in strategies)
            default = f.get("default")
            default = "" if default in (None, {}) else json.dumps(default, separators=(",", ":"))
            keys_first, keys_count = lists.add(f.get("listMapKeys", []))
            enum_first, enum_count = lists.add(f.get("enum", []))
            fields.append([pool.add(f["name"]), type_index, f.get("proto", 0), flags, base, shape,
                           LIST_TYPES[f.get("listType")], MAP_TYPES[f.get("mapType")], keys_count, enum_count, keys_first,
                           enum_first, pool.add(f.get("patchMergeKey", "")), pool.add(default)])

    flats, hashes, wires, type_rows = [], [], [], []
    for i, n in enumerate(names):
        t = types[n]
        own = t.get("fields", [])
        flat = flat_of(i)
        bits, seed, slots = perfect_hash([json_names[p] for p in flat])
        wire = sorted((p for p, f in enumerate(own) if f.get("proto")), key=lambda p: own[p]["proto"])
        base = UNIONS.get(n) or (OWN_FORM[t["scalar"]] if "scalar" in t else 0)
        type_rows.append([pool.add(n), len(hashes), first_field[i], len(own), len(flats), len(flat), seed, len(wires), len(wire),
                          bits, base, MAP_TYPES[t.get("mapType")]])
        flats += flat
        hashes += slots
        wires += wire

    kind_rows = []
    for key, type_name in facts["kinds"].items():
        api_version, kind = key.rsplit("/", 1)
        kind_rows.append((api_version, kind, index[type_name]))
    kind_rows.sort()
    kinds = [[pool.add(a), pool.add(k), t] for a, k, t in kind_rows]

    columns, subs, resource_rows = [], [], []
    resources = json.load(open(f"{folder}/resources.json"))
    stored = json.load(open(f"{folder}/stored.json"))
    resources.sort(key=lambda r: (r["group"], r["version"], r["resource"]))
    for r in resources:
        api_version = f'{r["group"]}/{r["version"]}' if r["group"] else r["version"]
        verbs, short, categories = (lists.add(r.get(k, [])) for k in ("verbs", "shortNames", "categories"))
        resource_rows.append([pool.add(r["group"]), pool.add(r["version"]), pool.add(r["resource"]), pool.add(r["singular"]),
                              pool.add(r["kind"]), index[facts["kinds"][f'{api_version}/{r["kind"]}']], verbs[0], short[0],
                              categories[0], len(columns), len(subs), verbs[1], short[1], categories[1], len(r.get("columns", [])),
                              len(r.get("subresources", [])), int(r["namespaced"]),
                              pool.add(stored.get(f'{r["group"]}/{r["resource"]}', r["version"]))])
        for c in r.get("columns", []):
            columns.append([pool.add(c["name"]), pool.add(c["type"]), pool.add(c["format"]), pool.add(c.get("description", "")),
                            c["priority"]])
        for s in r.get("subresources", []):
            own_group = not s["version"]
            first, count = lists.add(s["verbs"])
            subs.append([pool.add(s["name"]), pool.add(r["group"] if own_group else s["group"]),
                         pool.add(r["version"] if own_group else s["version"]), pool.add(s["kind"]), first, count])

    type_texts, field_texts = described(json.load(open(f"{folder}/descriptions.json")), names, types, first_field, {k[2] for k in kind_rows}, pool)
    bootstrap = json.load(open(f"{folder}/bootstrap.json"))
    with open(output, "w") as out:
        write(out, pool, lists, type_texts, field_texts, fields, type_rows, flats, hashes, wires, kinds, resource_rows, columns, subs, bootstrap,
              fingerprint(folder, more))


def described(texts, names, types, first_field, kinds, pool):
    """Rows (position in the table, text) of types and of fields. What is described must be there."""
    usual = texts.pop("*")
    for name, of in texts.items():
        unknown = set(of) - {""} - {f["name"] for f in types[name].get("fields", [])}
        if unknown:
            raise SystemExit(f"descriptions.json: {name} has no {', '.join(sorted(unknown))}")
    of_types, of_fields = [], []
    for i, name in enumerate(names):
        mine = {**(usual if i in kinds else {}), **texts.get(name, {})}
        if mine.get(""):
            of_types.append([i, pool.add(mine[""])])
        for position, f in zip(range(first_field[i], NONE), types[name].get("fields", [])):
            if not f.get("inline") and mine.get(f["name"]):
                of_fields.append([position, pool.add(mine[f["name"]])])
    return of_types, of_fields


def write(out, pool, lists, type_texts, field_texts, fields, type_rows, flats, hashes, wires, kinds, resource_rows, columns, subs, bootstrap, print_of_facts):
    def rows(declaration, table):
        out.write(f"extern constinit const {declaration} = {{\n")
        for row in table:
            out.write("{" + ",".join(map(str, row)) + "},\n")
        out.write("};\n")

    def flat(declaration, values):
        out.write(f"extern constinit const {declaration} = {{\n")
        for i in range(0, len(values), 32):
            out.write(",".join(map(str, values[i:i + 32])) + ",\n")
        out.write("};\n")

    def literal(raw):
        text = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in raw)
        return "\n".join(f'"{text[i:j]}"' for i, j in cuts(text))

    def cuts(text, width=4000):
        i = 0
        while i < len(text):
            j = min(i + width, len(text))
            while "\\" in text[j - 3:j] and j < len(text):  # not inside an escape
                j += 1
            yield i, j
            i = j

    casts = {4: "static_cast<base_type>(%s)", 5: "static_cast<schema::shape>(%s)", 6: "static_cast<schema::list_type>(%s)",
             7: "static_cast<schema::map_type>(%s)"}
    out.write("// Made by schema/embed.py from schema/*.json.\n#include \"schema/tables.h\"\n\nnamespace kedge::schema::tables {\n")
    out.write(f"extern constinit const char pool[] =\n{literal(pool.data)};\n")
    flat("std::uint32_t strings[]", lists.items)
    rows("field_info fields[]", [[casts.get(i, "%s") % v for i, v in enumerate(f)] for f in fields])
    type_casts = {10: "static_cast<base_type>(%s)", 11: "static_cast<schema::map_type>(%s)"}
    rows("type_info types[]", [[type_casts.get(i, "%s") % v for i, v in enumerate(t)] for t in type_rows])
    flat("std::uint16_t flat_fields[]", flats)
    flat("std::uint8_t hash_slots[]", hashes)
    flat("std::uint8_t wire_positions[]", wires)
    rows("kind_row kinds[]", kinds)
    rows("resource_info resources[]", resource_rows)
    rows("description_row type_descriptions[]", type_texts)
    rows("description_row field_descriptions[]", field_texts)
    rows("column_row columns[]", columns)
    rows("subresource_row subresources[]", subs)
    out.write("extern constinit const bootstrap_category bootstrap[] = {\n")
    for name, objects in bootstrap.items():
        api_version, kind = CATEGORY_KINDS[name]
        text = json.dumps(objects, separators=(",", ":"), ensure_ascii=False)
        out.write(f'{{"{name}", "{api_version}", "{kind}", \n{literal(text.encode())}}},\n')
    out.write(f'}};\nextern constinit const char fingerprint[] = "{print_of_facts}";\n')
    for name, table in (("type_count", type_rows), ("kind_count", kinds), ("resource_count", resource_rows),
                        ("type_description_count", type_texts), ("field_description_count", field_texts),
                        ("bootstrap_count", bootstrap)):
        out.write(f"extern constinit const std::size_t {name} = {len(table)};\n")
    out.write("}  // namespace kedge::schema::tables\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
