"""Registry hives by hivex.

add FILE    puts keys of standard input, {"path\\to\\key": [[name, type, data in hex], ...]}, into a hive
tell FILE   writes all keys and values of a hive, a line each, as JSON
"""
import json
import sys

import hivex

what, path = sys.argv[1:]

if what == "add":
    hive = hivex.Hivex(path, write=True)
    known = {"": hive.root()}

    def node(key):
        if key not in known:
            parent, _, name = key.rpartition("\\")
            above = node(parent)
            known[key] = hive.node_get_child(above, name) or hive.node_add_child(above, name)
        return known[key]

    for key, values in json.load(sys.stdin).items():
        hive.node_set_values(
            node(key), [{"key": name, "t": kind, "value": bytes.fromhex(data)} for name, kind, data in values]
        )
    hive.commit(None)
else:
    hive = hivex.Hivex(path)
    lines = []

    def take(key, name):
        lines.append(name)
        for value in hive.node_values(key):
            kind, data = hive.value_value(value)
            lines.append(f"{name}\t{hive.value_key(value)}\t{kind}\t{data.hex()}")
        for child in hive.node_children(key):
            take(child, name + "\\" + hive.node_name(child))

    take(hive.root(), "")
    print(json.dumps(lines))
