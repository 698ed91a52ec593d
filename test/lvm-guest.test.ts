/** Thin pools and caches as a real kernel and LVM's own tools write them, while they do and afterwards. */
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, expect, test, vi } from "vitest";
import { compareWalks, parseWalk, type Walk, walkOurs } from "./oracle/compare.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";
import { LvmGuest } from "./support/lvm-guest.js";

vi.setConfig({ testTimeout: 240_000, hookTimeout: 120_000 });

const folder = workFolder("lvm-guest");
const walker = join(import.meta.dirname, "oracle/walk.py");
const populate = join(import.meta.dirname, "oracle/populate.py");
const FILL = "--block 4096 --only names contents links small attributes";

afterAll(cleanUp);

test("a guest with thin volumes, a snapshot and a cache", async () => {
  const disk = join(folder, "disk.img");
  const shared = join(folder, "shared");
  mkdirSync(shared);
  await run("truncate", ["-s", "512M", disk]);
  const guest = await LvmGuest.start(disk, shared);
  /** What the guest's own kernel shows. */
  const inGuest = async (name: string): Promise<Walk> => {
    await guest.tell(`sync; python3 ${walker} /mnt/${name} > /mnt/host/${name}.walk`);
    return parseWalk(readFileSync(join(shared, `${name}.walk`), "utf8"));
  };
  await guest.tell("lvm pvcreate /dev/ubda; lvm vgcreate -s 1m vg /dev/ubda");
  await guest.tell("lvm lvcreate -L 160m -T vg/pool --poolmetadatasize 4m");
  await guest.tell("lvm lvcreate -V 400m -T vg/pool -n one");
  await guest.tell("lvm lvcreate -L 48m -n slow vg");
  await guest.tell("lvm lvcreate --type cache-pool -L 24m -n fast vg");
  await guest.tell("lvm lvconvert --type cache --cachepool vg/fast --cachemode writeback vg/slow");
  for (const name of ["one", "slow"]) {
    await guest.tell(
      `mkfs.ext4 -q -b 4096 /dev/vg/${name}; mkdir /mnt/${name}; mount -o noatime /dev/vg/${name} /mnt/${name}`,
    );
    await guest.tell(`python3 ${populate} /mnt/${name} ${FILL}`);
  }
  // A snapshot of what it has, from which it then goes away.
  await guest.tell("sync; lvm lvcreate -s -kn -n before vg/one");
  await guest.tell("mkdir /mnt/before; mount -o ro,noload /dev/vg/before /mnt/before");
  const before = await inGuest("before");
  await guest.tell("rm -rf /mnt/one/small; dd if=/dev/urandom of=/mnt/one/large bs=1M count=20; sync");

  const served = await serve(join(folder, "cloud"), { guest: disk });
  const same = async (name: string, expected: Walk) => {
    const ours = await walkOurs(served.volume("guest", `vg-${name}`), served.guest("guest"));
    const { differences, compared } = compareWalks(expected, ours);
    expect(differences.slice(0, 10), `${name}\n${served.log()}`).toEqual([]);
    expect(compared).toBeGreaterThan(100);
  };
  await same("before", before);
  await same("one", await inGuest("one"));
  expect(served.log()).toContain(
    "vg-slow: not shown: its cache (writeback) may hold what is not on its disk yet",
  );

  // It goes on: in blocks of the pool that it shares, in new ones, and in some that it gives back.
  const log = join(served.volume("guest", "vg-one"), "log");
  for (let round = 1; round <= 3; round++) {
    await guest.tell(`dd if=/dev/urandom of=/mnt/one/new-${round} bs=1M count=12; sync`);
    await guest.tell(`for n in $(seq 200); do echo "${round} $n"; done >> /mnt/one/log; sync /mnt/one/log`);
    await guest.tell(`rm -f /mnt/one/new-${round - 1}; fstrim /mnt/one; sync`);
    const end = `${round} 200\n`;
    const read = () => run("tail", ["-n", "1", log]).catch(() => "");
    for (const begun = performance.now(); (await read()) !== end; await sleep(50))
      if (performance.now() - begun > 90_000) throw new Error(`it never came: ${end}${served.log()}`);
  }
  await sleep(500);
  await same("one", await inGuest("one"));
  await same("before", before);
  const slow = await inGuest("slow");
  expect(await served.stop()).toBe(0);
  await guest.stop();

  // What its cache held may have come to the disk meanwhile, or not: it is not shown unless it has.
  const problemOf = async (): Promise<string> => {
    const volumes = await run(process.execPath, [main, "volumes", disk, "--json"]);
    return JSON.parse(volumes).find(({ name }: { name: string }) => name === "vg-slow").problem ?? "";
  };
  expect(
    (await problemOf()).replace(/^its cache \(writeback\) may hold what is not on its disk yet.*/, ""),
  ).toBe("");
  mkdirSync(join(shared, "once-more"));
  const cleaner = await LvmGuest.start(disk, join(shared, "once-more"));
  await cleaner.tell("lvm vgchange -ay vg; lvm lvchange --cachepolicy cleaner vg/slow");
  const dirty = '[ "$(lvm lvs --noheadings -o cache_dirty_blocks vg/slow 2> /dev/null | tr -d " ")" = 0 ]';
  await cleaner.tell(`for n in $(seq 300); do ${dirty} && break; sleep 0.1; done; ${dirty}`);
  await cleaner.stop();
  expect(await problemOf()).toBe("");
  const again = await serve(join(folder, "again"), { guest: disk });
  const ours = await walkOurs(again.volume("guest", "vg-slow"), again.guest("guest"));
  const { differences, compared } = compareWalks(slow, ours);
  expect(differences.slice(0, 10)).toEqual([]);
  expect(compared).toBeGreaterThan(100);
  expect(await again.stop()).toBe(0);
});
