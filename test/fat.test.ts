/** FAT12, FAT16 and FAT32 compared with the kernel's vfat. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import {
  compareWalks,
  parseWalk,
  show,
  type Walk,
  walkOurs,
  withoutListedNumbers,
} from "./oracle/compare.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { type Served, serve } from "./support/images-serve.js";
import { checkFat, inUml, VFAT_OPTIONS } from "./support/uml-kernel.js";

const folder = workFolder("fat");
afterAll(cleanUp);

const RECIPES: Readonly<Record<string, { size: string; make: readonly string[] }>> = {
  floppy: { size: "1440K", make: ["-F", "12", "-n", "FLOPPY"] },
  "fat12-2k": { size: "7M", make: ["-F", "12", "-s", "4", "-f", "1"] },
  "fat12-sectors": { size: "7M", make: ["-F", "12", "-S", "2048", "-s", "1"] },
  "fat16-512": { size: "16M", make: ["-F", "16", "-s", "1", "-i", "00C0FFEE"] },
  "fat16-16k": { size: "80M", make: ["-F", "16", "-s", "32", "-r", "256"] },
  "fat32-512": { size: "40M", make: ["-F", "32", "-s", "1", "-n", "BIG ONE"] },
  "fat32-few": { size: "24M", make: ["-F", "32", "-s", "8"] },
  "fat32-sectors": { size: "300M", make: ["-F", "32", "-S", "4096", "-s", "1"] },
};
const names = Object.keys(RECIPES);
const image = (name: string) => join(folder, `${name}.img`);
const walker = join(import.meta.dirname, "oracle/walk.py");
const populate = join(import.meta.dirname, "oracle/populate_fat.py");

let served: Served;

beforeAll(async () => {
  for (const [name, { size, make }] of Object.entries(RECIPES)) {
    await run("truncate", ["-s", size, image(name)]);
    await run("mkfs.vfat", [...make, image(name)]);
  }
  const script = names.map((name, n) => {
    const device = `/dev/ubd${String.fromCharCode(0x61 + n)}`;
    const bytes =
      name === "floppy"
        ? 1 << 20
        : execFileSync("stat", ["-c", "%s", image(name)])
            .toString()
            .trim();
    return `
mkdir /mnt/${name}
mount -t vfat -o ${VFAT_OPTIONS} ${device} /mnt/${name}
python3 ${populate} /mnt/${name} ${bytes} fat
umount /mnt/${name}
mount -t vfat -o ro,nfs=nostale_ro,${VFAT_OPTIONS} ${device} /mnt/${name}
python3 ${walker} /mnt/${name} > ${folder}/${name}.walk
umount /mnt/${name}`;
  });
  await inUml(folder, names.map(image), script.join("\n"));
  served = await serve(join(folder, "cloud"), Object.fromEntries(names.map((name) => [name, image(name)])));
}, 180_000);

function kernelWalk(name: string): Walk {
  return withoutListedNumbers(parseWalk(readFileSync(join(folder, `${name}.walk`), "utf8")));
}

describe("what the kernel's vfat has written is shown as it shows it", () => {
  test.each(names)("%s", async (name) => {
    expect(checkFat(image(name))).toBe("");
    const kernel = kernelWalk(name);
    const ours = await walkOurs(served.volume(name), served.guest(name));
    const { differences, compared } = compareWalks(kernel, ours, { untold: ["ino", "dots"] });
    expect(differences.slice(0, 40)).toEqual([]);
    expect(compared).toBeGreaterThan(100);
    // The number of a file is the place of its entry, as the kernel's for NFS is.
    const others = [...kernel.entries.values()].filter(
      ({ path, kind, ino }) => kind === "file" && ours.entries.get(path)?.ino !== ino,
    );
    expect(others.map(({ path }) => show(path))).toEqual([]);
  });
});
