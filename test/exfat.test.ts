/** exFAT compared with the kernel's driver. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { compareWalks, parseWalk, walkOurs, withoutListedNumbers } from "./oracle/compare.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { type Served, serve } from "./support/images-serve.js";
import { inQemu } from "./support/qemu-kernel.js";

const folder = workFolder("exfat");
afterAll(cleanUp);

const RECIPES: Readonly<Record<string, { size: string; make: readonly string[] }>> = {
  "512": { size: "8M", make: ["-c", "512", "-L", "Small"] },
  "128k": { size: "100M", make: ["-c", "128K", "-b", "1M", "-L", "\u00dcml\u00e4ut"] },
};
const names = Object.keys(RECIPES);
const image = (name: string) => join(folder, `${name}.img`);
const oracle = (file: string) => join(import.meta.dirname, "oracle", file);

let served: Served;
let walks: string;

beforeAll(async () => {
  for (const [name, { size, make }] of Object.entries(RECIPES)) {
    await run("truncate", ["-s", size, image(name)]);
    await run("mkfs.exfat", [...make, image(name)]);
  }
  const script = names.map((name, n) => {
    const device = `/dev/nvme${n + 1}n1`;
    return `
mkdir /mnt/${name}
mount -t exfat -o umask=022 ${device} /mnt/${name}
python3 /files/populate_fat.py /mnt/${name} $(cat /sys/block/nvme${n + 1}n1/size)000 exfat
umount /mnt/${name}
mount -t exfat -o ro,umask=022 ${device} /mnt/${name}
python3 /files/walk.py /mnt/${name} > /out/${name}.walk
umount /mnt/${name}`;
  });
  walks = await inQemu(
    folder,
    ["fs/exfat/exfat.ko"],
    names.map(image),
    [oracle("walk.py"), oracle("populate_fat.py")],
    `mount -t sysfs sysfs /sys\n${script.join("\n")}`,
  );
  served = await serve(join(folder, "cloud"), Object.fromEntries(names.map((name) => [name, image(name)])));
}, 400_000);

describe("what the kernel's exfat has written is shown as it shows it", () => {
  test.each(names)("%s", async (name) => {
    await run("fsck.exfat", ["-n", image(name)]);
    const kernel = withoutListedNumbers(parseWalk(readFileSync(join(walks, `${name}.walk`), "utf8")));
    const ours = await walkOurs(served.volume(name), served.guest(name));
    // The root has no times: the kernel takes those of its mount.
    for (const walk of [kernel, ours])
      for (const field of ["mtime", "ctime", "atime"] as const) delete walk.entries.get("2e")?.[field];
    const { differences, compared } = compareWalks(kernel, ours, { untold: ["ino", "dots"] });
    expect(differences.slice(0, 40)).toEqual([]);
    expect(compared).toBeGreaterThan(100);
  });
});
