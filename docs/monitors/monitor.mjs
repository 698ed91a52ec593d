#!/usr/bin/env node
// Prints the events of guests, from Redis, as slashcloud publishes them (`slashcloud up --redis URL`).
//
//   node monitor.mjs URL PATTERN             what happens from now on: PATTERN is HOST:VM:PATH, as in 'gs9671:test:/var/log/*'
//   node monitor.mjs URL HOST:VM [LAST-ID]   all that the guest's stream has after an id (or from its beginning), and what
//                                            comes then; each line begins with its id, so that one can go on from there
//
// Needs the packages ioredis and bson. For rediss:// REDIS_CA may name a file with the server's certificate.
import { readFileSync } from "node:fs";
import { deserialize } from "bson";
import { Redis } from "ioredis";

const [url, wanted, last = "0-0"] = process.argv.slice(2);
if (wanted === undefined) {
  console.error("usage: monitor.mjs URL PATTERN | monitor.mjs URL HOST:VM [LAST-ID]");
  process.exit(2);
}
const ca = process.env.REDIS_CA;
// With protocol 2 the answer to XREAD has the same form in all versions.
const redis = new Redis(url, { protocol: 2, ...(ca === undefined ? {} : { tls: { ca: readFileSync(ca) } }) });
redis.on("error", ({ message }) => console.error(`${url.replace(/\/\/.*@/, "//")}: ${message}`));

function print(id, document) {
  const { at, pathBytes: _, fromBytes: __, data, ...event } = deserialize(document, { promoteBuffers: true });
  if (data !== undefined) event.data = data.toString("latin1");
  console.log(`${id} ${at.toISOString()} ${JSON.stringify(event)}`);
}

if (wanted.split(":").length > 2) {
  redis.on("pmessageBuffer", (_pattern, channel, document) => print(channel, document));
  // What concerns the whole guest, such as a gap, has no path.
  const [host, guest] = wanted.split(":");
  await redis.psubscribe(wanted, `${host}:${guest}:`);
} else {
  let id = last;
  for (;;) {
    const [[, entries] = [undefined, []]] =
      (await redis.xreadBuffer("COUNT", 1000, "BLOCK", 5000, "STREAMS", `slashcloud:${wanted}`, id)) ?? [];
    for (const [entry, fields] of entries) {
      id = entry.toString();
      print(id, fields[fields.findIndex((name, at) => at % 2 === 0 && name.toString() === "event") + 1]);
    }
  }
}
