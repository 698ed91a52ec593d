#!/usr/bin/env python3
"""Prints the events of guests, from Redis, as slashcloud publishes them (`slashcloud up --redis URL`).

    monitor.py URL PATTERN             what happens from now on: PATTERN is HOST:VM:PATH, as in 'gs9671:test:/var/log/*'
    monitor.py URL HOST:VM [LAST-ID]   all that the guest's stream has after an id (or from its beginning), and what
                                       comes then; each line begins with its id, so that one can go on from there

Needs the packages redis and pymongo (for bson): in Debian python3-redis and python3-bson.
"""
import json
import sys
import time

import bson
import redis


def show(mark, document):
    event = bson.decode(document)
    at = event.pop("at")
    event.pop("pathBytes", None)
    event.pop("fromBytes", None)
    if "data" in event:
        event["data"] = event["data"].decode("latin-1")
    print(mark.decode(errors="replace"), at.isoformat(timespec="milliseconds") + "Z", json.dumps(event), flush=True)


def listen(server, pattern):
    listener = server.pubsub(ignore_subscribe_messages=True)
    # What concerns the whole guest, such as a gap, has no path.
    host, guest, _ = pattern.split(":", 2)
    listener.psubscribe(pattern, f"{host}:{guest}:")
    for message in listener.listen():
        show(message["channel"], message["data"])


def follow(server, guest, last):
    while True:
        try:
            answer = server.xread({f"slashcloud:{guest}": last}, count=1000, block=5000)
        except redis.ConnectionError as error:
            print(error, file=sys.stderr)
            time.sleep(1)
            continue
        for _, entries in answer:
            for last, fields in entries:
                show(last, fields[b"event"])


if len(sys.argv) not in (3, 4):
    sys.exit("usage: monitor.py URL PATTERN | monitor.py URL HOST:VM [LAST-ID]")
url, wanted = sys.argv[1:3]
connection = redis.Redis.from_url(url)
try:
    if wanted.count(":") > 1:
        listen(connection, wanted)
    else:
        follow(connection, wanted, sys.argv[3] if len(sys.argv) > 3 else "0-0")
except KeyboardInterrupt:
    pass
