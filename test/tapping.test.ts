/** The tap in a thread of its own, beside an owner that has much to do. */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test, vi } from "vitest";
import type { Tapping } from "../src/daemon/tapping.js";
import type { WriteRecord } from "../src/queue/write-record.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("tapping");

afterAll(cleanUp);

const MIB = 1 << 20;

/** The built one: a thread needs a file that Node can run. */
const { Tapping: Built } = (await import(new URL("../dist/daemon/tapping.js", import.meta.url).href)) as {
  Tapping: typeof Tapping;
};

const digest = (bytes: Buffer | string) =>
  createHash("sha256")
    .update(typeof bytes === "string" ? readFileSync(bytes) : bytes)
    .digest("hex");

function image(name: string, bytes: number): string {
  const path = join(folder, name);
  writeFileSync(path, "");
  truncateSync(path, bytes);
  return path;
}

const url = (path: string, disk: string) => `nbd+unix:///${disk}?socket=${path}`;

test("what clients write to several disks comes out whole, in order, disk by disk", async () => {
  const models = new Map<string, Buffer>();
  const numbers = new Map<string, number[]>();
  const tapping = new Built({
    log: (line) => expect(line).toBe(""),
    onDeath: (why) => expect(why).toBeUndefined(),
    consume: (disk, records) => {
      for (const { kind, data, offset, length, sequence } of records) {
        const model = models.get(disk)!;
        if (kind === "write") data!.copy(model, offset);
        if (kind === "zeroes") model.fill(0, offset, offset + length);
        numbers.get(disk)!.push(sequence);
      }
    },
  });
  const path = (await tapping.listen({ path: join(folder, "a.sock") })) as { path: string };
  const disk = image("a.img", 8 * MIB);
  expect(
    await tapping.add({ name: "a", kind: "image", path: disk, isReadOnly: false, isCaptured: true }),
  ).toBe(8 * MIB);
  expect(await tapping.add({ name: "b", kind: "mirror", size: 8 * MIB })).toBe(8 * MIB);
  for (const name of ["a", "b"]) {
    models.set(name, Buffer.alloc(8 * MIB));
    numbers.set(name, []);
  }
  const content = join(folder, "content.img");
  writeFileSync(content, randomBytes(8 * MIB));
  await Promise.all(["a", "b"].map((name) => run("nbdcopy", ["--flush", content, url(path.path, name)])));
  await run("qemu-io", ["-f", "raw", "-c", "write -z 1M 1M", "-c", "write -P 5 512 1k", url(path.path, "a")]);
  await expect(tapping.add({ name: "b", kind: "mirror", size: 1 })).rejects.toThrow(
    "there is a disk b already",
  );
  await expect(
    tapping.add({ name: "c", kind: "image", path: "/none", isReadOnly: true, isCaptured: true }),
  ).rejects.toThrow("no such image");
  await expect(tapping.listen({ path: join(folder, "a.sock") })).rejects.toThrow(
    "somebody listens there already",
  );
  const { droppedWrites } = (await tapping.counters("a"))!;
  expect(droppedWrites).toBe(0);
  await tapping.remove("b");
  await expect(run("nbdinfo", [url(path.path, "b")])).rejects.toThrow("No such file");
  await tapping.stop();
  expect(digest(models.get("a")!)).toBe(digest(disk));
  expect(digest(models.get("b")!)).toBe(digest(content));
  for (const list of numbers.values()) expect(list).toEqual(list.map((_, i) => i + 1));
});

test("an owner that does not come back from its work stops no guest; metadata is kept, and the rest told as lost", async () => {
  const all: WriteRecord[] = [];
  let isHanging = false;
  const hanging = new Int32Array(new SharedArrayBuffer(4));
  const tapping = new Built({
    limits: { sizeLimit: 2 * MIB, flushTimeout: 1 },
    log: () => {},
    onDeath: () => {},
    consume: (_disk, records) => {
      // The thread of the owner stands still, as in a long computation, while a guest that has been started writes on.
      if (!isHanging) Atomics.wait(hanging, 0, 0, 3000);
      isHanging = true;
      all.push(...records);
    },
  });
  const { path } = (await tapping.listen({ path: join(folder, "hang.sock") })) as { path: string };
  const disk = image("hang.img", 32 * MIB);
  await tapping.add({ name: "d", kind: "image", path: disk, isReadOnly: false, isCaptured: true });
  await tapping.setMetadata("d", new Float64Array([0, 4096, 16 * MIB, 16 * MIB + 65536]));
  const script = `
h.connect_uri(${JSON.stringify(url(path, "d"))})
for i in range(512): h.pwrite(bytes([i % 255 + 1]) * 65536, i * 65536)
`;
  await run("/usr/bin/python3", ["-m", "nbd", "-c", script]);
  const { droppedWrites, droppedMetadata } = (await tapping.counters("d"))!;
  expect(droppedWrites).toBeGreaterThan(0);
  expect(droppedMetadata).toBe(0);
  await tapping.stop();
  const bytes = readFileSync(disk);
  const model = Buffer.alloc(32 * MIB);
  for (const { kind, offset, length, data } of all) {
    if (kind === "write") data!.copy(model, offset);
    // What is told as lost is on the disk.
    if (kind === "gap") bytes.copy(model, offset, offset, offset + length);
  }
  expect(model.equals(bytes)).toBe(true);
  for (const place of [0, 16 * MIB])
    expect(all.some(({ kind, offset }) => kind === "write" && offset === place)).toBe(true);
});
