/** `slashcloud df`: the numbers that the kernel's statfs has of the same volumes. */
import { statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { Configured } from "./support/configured.js";
import { slashcloud } from "./support/control-socket.js";
import { cleanUp, mount, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("df");

afterAll(cleanUp);

interface Row {
  readonly guest: string;
  readonly volume: string;
  readonly mountPoints: readonly string[];
}

/** What `df --json` has of a guest; its exit code is 0. */
function rowsOf(...args: string[]): Row[] {
  const { code, output, errors } = slashcloud("df", "--json", ...args);
  expect({ code, errors }).toEqual({ code: 0, errors: "" });
  return JSON.parse(output) as Row[];
}

/** The same as the kernel's own read-only mount has it; `where` are options of mount(8). */
async function kernelsRow(image: string, guest: string, volume: string, mountPoints: string[], where = "") {
  const point = join(folder, `kernel-${guest}-${volume}`);
  const unmount = await mount(image, point, `loop,ro${where}`);
  try {
    const { bsize, blocks, bfree, bavail, files, ffree } = statfsSync(point);
    return {
      guest,
      volume,
      size: blocks * bsize,
      used: (blocks - bfree) * bsize,
      available: bavail * bsize,
      inodes: files,
      inodesUsed: files - ffree,
      inodesFree: ffree,
      mountPoints,
    };
  } finally {
    unmount();
  }
}

/** A file system that the kernel has filled a little. */
async function filled(name: string, size: string, ...mke2fs: string[]): Promise<string> {
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", size, image]);
  await run("mke2fs", ["-q", "-F", ...mke2fs, image]);
  const point = join(folder, `fill-${name}`);
  const unmount = await mount(image, point, "loop");
  for (let each = 0; each < 50; each++) writeFileSync(join(point, `file-${each}`), "x".repeat(each * 3000));
  unmount();
  return image;
}

describe("of an image", () => {
  test.each([
    ["ext4", "64M", ["-t", "ext4"]],
    ["ext4-no-reserve", "64M", ["-t", "ext4", "-m", "0"]],
    ["ext4-much-reserved", "64M", ["-t", "ext4", "-m", "30"]],
    ["ext4-bigalloc", "128M", ["-t", "ext4", "-O", "bigalloc", "-C", "16384"]],
    ["ext3-1k", "48M", ["-t", "ext3", "-b", "1024"]],
    ["ext2", "16M", ["-t", "ext2"]],
    ["meta-bg", "64M", ["-t", "ext4", "-b", "1024", "-O", "meta_bg,^resize_inode", "-g", "1024"]],
  ])("%s, numbers are the kernel's, in bytes, in units and for people", async (name, size, options) => {
    const image = await filled(name, size, ...options);
    expect(rowsOf(`web=${image}`)).toEqual([await kernelsRow(image, "web", "sda", ["/"])]);
    // df(1) of the kernel's mount is the judge of the texts, too.
    const point = join(folder, `text-${name}`);
    const unmount = await mount(image, point, "loop,ro");
    for (const [own, theirs] of [
      [[], ["-k"]],
      [["-h"], ["-h"]],
      [["-i"], ["-i"]],
    ] as const) {
      const words = (text: string) => text.trimEnd().split("\n")[1]?.split(/\s+/).slice(1, 5);
      expect(words(slashcloud("df", ...own, `web=${image}`).output)).toEqual(
        words(await run("df", [...theirs, point])),
      );
    }
    unmount();
  });

  test("with partitions, each volume has its line and says where the guest mounts it", async () => {
    const disk = join(folder, "disk.img");
    await run("truncate", ["-s", "100M", disk]);
    await run("sh", [
      "-c",
      `printf 'label: gpt\n2048,65536\n67584,65536\n133120,40960\n' | sfdisk -q ${disk}`,
    ]);
    const [root, data] = [
      await filled("root", "32M", "-t", "ext4"),
      await filled("data", "32M", "-t", "ext2"),
    ];
    const point = join(folder, "root");
    const unmount = await mount(root, point, "loop");
    await run("mkdir", ["-p", join(point, "etc"), join(point, "usr"), join(point, "srv/data")]);
    writeFileSync(
      join(point, "etc/fstab"),
      "/dev/sda1 / ext4 defaults 0 1\n/dev/sda2 /srv/data ext2 ro 0 2\n",
    );
    unmount();
    for (const [from, sector] of [
      [root, 2048],
      [data, 67584],
    ] as const)
      await run("dd", [
        `if=${from}`,
        `of=${disk}`,
        `seek=${sector}`,
        "bs=512",
        "conv=notrunc,sparse",
        "status=none",
      ]);
    const rows = [
      await kernelsRow(disk, "db", "sda1", ["/"], `,offset=${2048 * 512},sizelimit=${65536 * 512}`),
      await kernelsRow(disk, "db", "sda2", ["/srv/data"], `,offset=${67584 * 512},sizelimit=${65536 * 512}`),
    ];
    expect(rowsOf(`db=${disk}`)).toEqual(rows);
    const { output } = slashcloud("df", disk);
    expect(output).toMatch(/^VOLUME +1K-BLOCKS +USED +AVAILABLE +USE% {2}MOUNTED ON\n/);
    expect(output).toMatch(/^disk\.img:sda2 +\d+ +\d+ +\d+ +\d+% {2}\/srv\/data$/m);
    // Of several disks of one guest, and several guests.
    const other = await filled("other", "16M", "-t", "ext4");
    const both = rowsOf(`two=${data},${other}`, `db=${disk}`);
    expect(both.map(({ guest, volume }) => `${guest}:${volume}`)).toEqual([
      "two:sda",
      "two:sdb",
      "db:sda1",
      "db:sda2",
    ]);

    const served = await serve(join(folder, "cloud"), { db: disk, web: root });
    const place = ["--mount", served.mountPoint, "--state", `${served.mountPoint}-state`];
    const all = rowsOf(...place);
    expect(all.filter(({ guest }) => guest === "db")).toEqual(rows);
    expect(all.map(({ guest }) => guest)).toEqual(["db", "db", "web"]);
    expect(rowsOf("db", ...place)).toEqual(rows);
    const none = slashcloud("df", "mail", ...place);
    expect(none).toMatchObject({ code: 1, output: "" });
    expect(none.errors).toMatch(
      /^slashcloud: mail: there is no such image, and no such guest .*: db, web\n$/,
    );
    expect(await served.stop()).toBe(0);
  });

  test("that cannot be read does not keep the others from being told", async () => {
    const good = await filled("good", "16M", "-t", "ext4");
    const { code, output, errors } = slashcloud("df", join(folder, "missing.img"), good);
    expect(code).toBe(1);
    expect(errors).toMatch(/^slashcloud: .*missing\.img.*\n$/);
    expect(output).toMatch(/^good\.img:sda /m);
  });

  test("that a daemon cannot open is told, with the reason, beside the guests that it shows", async () => {
    const configured = new Configured(workFolder("df-configured"));
    const good = await filled("shown", "16M", "-t", "ext4");
    configured.write(
      `guests:\n  - {name: web, disks: ${good}}\n  - {name: gone, disks: ${join(folder, "gone.img")}}\n`,
    );
    await configured.start();
    const { mountPoint } = configured.served;
    const { code, output, errors } = slashcloud(
      "df",
      "--mount",
      mountPoint,
      "--state",
      `${mountPoint}-state`,
    );
    expect(code).toBe(1);
    expect(output).toMatch(/^web:sda +\d+ .* \/$/m);
    expect(errors).toMatch(/^slashcloud: gone: .*gone\.img: no such image.*\n$/);
    expect(await configured.stop()).toBe(0);
  });

  test("named as a guest where no daemon is, is one line", () => {
    const { code, output, errors } = slashcloud("df", "web", "--state", join(folder, "nowhere"));
    expect({ code, output }).toEqual({ code: 1, output: "" });
    expect(errors).toMatch(/^slashcloud: web: there is no such file; as a guest's name: no daemon .*\n$/);
  });
});
