#!/usr/bin/env python3
"""Makes k3s_rows.h from a K3s database and `kubectl get -o json` of the same objects.

    extract_rows.py STATE.DB OBJECTS.JSON > k3s_rows.h
"""
import base64
import json
import sqlite3
import sys

KEYS = ["namespaces/shop", "configmaps/shop/settings", "secrets/shop/s1", "services/specs/shop/web", "deployments/shop/web",
        "replicasets/shop/web-7dfb9965f8", "pods/shop/web-7dfb9965f8-hnqzh", "endpointslices/shop/web-kfgx5",
        "services/endpoints/shop/web", "serviceaccounts/shop/default", "events/shop/web.18e9f64cb810a0c1"]
DIRECTORIES = {"Deployment": "deployments", "Service": "services/specs", "ConfigMap": "configmaps", "Secret": "secrets"}

database, objects = sys.argv[1:]
shown = {f'{DIRECTORIES.get(o["kind"])}/shop/{o["metadata"]["name"]}': o for o in json.load(open(objects))["items"]}
rows = dict(sqlite3.connect(database).execute("select name, value from kine order by id"))
print("// Made by extract_rows.py: rows as K3s 1.36 stored them, and what its API showed (without managedFields).")
print("#pragma once\n\nstruct k3s_row {\n  const char* key;\n  const char* base64;\n  const char* json;  // empty: not shown\n};\n")
print("inline constexpr k3s_row k3s_rows[] = {")
for key in KEYS:
    value = rows["/registry/" + key]
    text = json.dumps(shown[key], separators=(",", ":")) if key in shown else ""
    print(f'    {{"{key}",\n     "{base64.b64encode(value).decode()}",\n     R"json({text})json"}},')
print("};")
