/** The `log` capture with a whole guest: an unmodified QEMU logs what the guest writes to an export that stores nothing. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import type { Tapping } from "../src/daemon/tapping.js";
import type { WriteRecord } from "../src/queue/write-record.js";
import { guestImage, Machine, pressReset } from "./support/guest-machine.js";
import { cleanUp, workFolder } from "./support/images-mount.js";

const folder = workFolder("log-guest");

afterAll(cleanUp);

/** The built one: a thread needs a file that Node can run. */
const { Tapping: Built } = (await import(new URL("../dist/daemon/tapping.js", import.meta.url).href)) as {
  Tapping: typeof Tapping;
};

/** A disk whose writes are logged at an export, as -drive takes it. */
const logged = (image: string, socket: string, name: string) =>
  [
    `driver=blklogwrites,file.driver=raw,file.file.driver=file,file.file.filename=${image}`,
    `log.driver=nbd,log.server.type=unix,log.server.path=${socket},log.export=${name}`,
  ].join(",");

test("a guest whose QEMU logs boots, writes, is reset and started again: what was logged gives its disk", async () => {
  const place = join(folder, "guest");
  mkdirSync(place);
  const image = await guestImage(place);
  const model = readFileSync(image);
  const kinds = new Map<string, number>();
  const lines: string[] = [];
  const tapping = new Built({
    log: (line) => lines.push(line),
    onDeath: (why) => lines.push(why.message),
    consume: (_disk, records: readonly WriteRecord[]) => {
      for (const { kind, offset, length, data } of records) {
        kinds.set(kind, (kinds.get(kind) ?? 0) + 1);
        if (kind === "write") data!.copy(model, offset);
        if (kind === "zeroes") model.fill(0, offset, offset + length);
      }
    },
  });
  const socket = join(place, "tap.sock");
  await tapping.listen({ path: socket });
  await tapping.add({ name: "g.log", kind: "log", size: model.length, sectorSize: 512 });
  const monitor = join(place, "monitor");
  const start = async () => {
    const machine = await Machine.pc([logged(image, socket, "g.log")], [monitor]);
    await machine.started();
    return machine;
  };
  let machine = await start();
  await machine.does("lines 10");
  await machine.does("work first");
  await machine.does("copytruncate");
  machine.tell("busy");
  await machine.does("lines 5");
  await pressReset(monitor);
  await machine.started();
  await machine.does("work second");
  machine.tell("off");
  await machine.ended();
  // Another QEMU begins its log anew.
  machine = await start();
  await machine.does("lines 5");
  await machine.does("work third");
  machine.tell("off");
  await machine.ended();
  const counters = await tapping.stop();
  expect(counters.get("g.log")).toMatchObject({ droppedWrites: 0 });
  expect(lines).toEqual([]);
  expect(kinds.get("gap")).toBeUndefined();
  expect(kinds.get("flush")).toBeGreaterThan(10);
  expect(kinds.get("write")).toBeGreaterThan(100);
  expect(model.equals(readFileSync(image))).toBe(true);
}, 300_000);
