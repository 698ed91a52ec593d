import { execFileSync, spawnSync } from "node:child_process";
import {
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";

const folder = workFolder("tree");

afterAll(cleanUp);

async function imageOf(name: string, fill: (root: string) => void, options: string[] = []): Promise<string> {
  const root = join(folder, `${name}-root`);
  mkdirSync(root);
  fill(root);
  const image = join(folder, `${name}.img`);
  await run("truncate", ["-s", "16M", image]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-d", root, ...options, image]);
  return image;
}

test("find and ls see what the guest sees: .volumes is there by name only", async () => {
  const image = await imageOf("plain", (root) => writeFileSync(join(root, "file"), "x"));
  const served = await serve(join(folder, "plain"), { g: image });
  expect(readdirSync(served.guest("g")).sort()).toEqual(["file", "lost+found"]);
  expect(readdirSync(join(served.guest("g"), ".volumes"))).toEqual(["sda"]);
  expect(readFileSync(join(served.volume("g"), "file"), "utf8")).toBe("x");
  expect(await served.stop()).toBe(0);
});

test("inode numbers are the guest's own, differ between volumes, and stay after a restart", async () => {
  const image = await imageOf("ids", (root) => writeFileSync(join(root, "file"), "x"));
  const numbers = async () => {
    const served = await serve(join(folder, "ids"), { a: image, b: image });
    const paths = [served.guest("a"), served.volume("a"), served.guest("b")].map((path) =>
      join(path, "file"),
    );
    const found = paths.map((path) => statSync(path, { bigint: true }).ino);
    expect(await served.stop()).toBe(0);
    return found;
  };
  const first = await numbers();
  expect(new Set(first).size).toBe(3);
  expect(new Set(first.map((ino) => ino & 0xffffffffn)).size).toBe(1);
  expect(await numbers()).toEqual(first);
});

test("a guest's disks are put together by its mount table, and a wrong line costs no more than itself", async () => {
  const data = await imageOf("data", (root) => writeFileSync(join(root, "data-file"), "d"), ["-L", "data"]);
  const root = await imageOf("root", (top) => {
    for (const name of ["etc", "bin", "proc", "mnt", "srv"]) mkdirSync(join(top, name));
    symlinkSync("/srv", join(top, "mnt/link"));
    const lines = [
      "/dev/vda / ext4 defaults 0 1",
      "LABEL=data /mnt/link ext4 defaults 0 2",
      "UUID=00000000-1111-2222-3333-444444444444 /home ext4 defaults 0 2",
      "LABEL=data /none ext4 defaults 0 2",
      "nonsense",
      "/srv /bin none bind 0 0",
    ];
    writeFileSync(join(top, "etc/fstab"), `${lines.join("\n")}\n`);
  });
  const served = await serve(join(folder, "disks"), { g: `${root},${data}` });
  expect(readFileSync(join(served.guest("g"), "srv/data-file"), "utf8")).toBe("d");
  expect(readFileSync(join(served.guest("g"), "mnt/link/data-file"), "utf8")).toBe("d");
  // What is covered is still on the volume itself.
  expect(readdirSync(join(served.volume("g", "sda"), "srv"))).toEqual([]);
  expect(readdirSync(join(served.guest("g"), "bin"))).toEqual([]);
  expect(served.log()).toMatch(/g: .*none/);
  expect(await served.stop()).toBe(0);
});

test("two volumes of which neither can be told to be the root are both in .volumes", async () => {
  const one = await imageOf("one", (root) => writeFileSync(join(root, "one"), ""));
  const two = await imageOf("two", (root) => writeFileSync(join(root, "two"), ""));
  const served = await serve(join(folder, "rootless"), { g: `${one},${two}` });
  expect(readdirSync(served.guest("g"))).toEqual([]);
  expect(readdirSync(join(served.guest("g"), ".volumes")).sort()).toEqual(["sda", "sdb"]);
  expect(readdirSync(served.volume("g", "sdb"))).toContain("two");
  expect(await served.stop()).toBe(0);
});

test("no link of a guest leads out of it", async () => {
  const up = "../".repeat(12);
  const image = await imageOf("links", (root) => {
    mkdirSync(join(root, "etc"));
    mkdirSync(join(root, "a/b/c/d"), { recursive: true });
    writeFileSync(join(root, "etc/passwd"), "the guest's");
    symlinkSync("/etc/passwd", join(root, "a/b/absolute"));
    symlinkSync(`${up}etc/passwd`, join(root, "a/b/climbing"));
    symlinkSync("a/b/c/d", join(root, "deep"));
    symlinkSync("../../deep/../../../../../../etc/passwd", join(root, "a/b/through"));
    symlinkSync("/", join(root, "a/top"));
    symlinkSync("top/../../../etc/passwd", join(root, "a/over"));
    symlinkSync("a/b/c", join(root, "harmless"));
  });
  const served = await serve(join(folder, "links"), { g: image });
  for (const link of ["a/b/absolute", "a/b/climbing", "a/b/through", "a/over"]) {
    for (const top of [served.guest("g"), served.volume("g")]) {
      expect(readFileSync(join(top, link), "utf8"), link).toBe("the guest's");
      expect(realpathSync(join(top, link))).toBe(join(top, "etc/passwd"));
    }
  }
  expect(readlinkSync(join(served.guest("g"), "harmless"))).toBe("a/b/c");
  // As long as its text, whether it was found by name or in a listing: who reads it by its length would get a part.
  const links = ["a/b/absolute", "a/b/climbing", "a/b/through", "a/top", "a/over", "deep", "harmless"];
  for (const link of links) {
    const path = join(served.guest("g"), link);
    expect(lstatSync(path).size, link).toBe(readlinkSync(path).length);
  }
  writeFileSync("/proc/sys/vm/drop_caches", "2");
  const listed = execFileSync("find", [served.guest("g"), "-type", "l", "-printf", "%s %l\n"], {
    encoding: "utf8",
  });
  for (const line of listed.trim().split("\n")) {
    const [, size, text] = /^(\d+) (.*)$/.exec(line) as unknown as [string, string, string];
    expect(Number(size), line).toBe(text.length);
  }
  expect(await served.stop()).toBe(0);
});

test("a forged '..' on the guest's disk does not lead its links out either", async () => {
  const image = await imageOf(
    "forged",
    (root) => {
      mkdirSync(join(root, "a/b/c/d/e/f"), { recursive: true });
      mkdirSync(join(root, "etc"));
      mkdirSync(join(root, "x"));
      writeFileSync(join(root, "etc/passwd"), "the guest's");
      symlinkSync("/etc/passwd", join(root, "x/l"));
    },
    ["-O", "^metadata_csum,^has_journal,^dir_index"],
  );
  const inode = /Inode: (\d+)/.exec(
    execFileSync("debugfs", ["-R", "stat a/b/c/d/e/f", image], { encoding: "utf8" }),
  )?.[1];
  for (const command of ["unlink x/..", `link <${inode}> x/..`]) {
    expect(spawnSync("debugfs", ["-w", "-R", command, image]).status).toBe(0);
  }
  const served = await serve(join(folder, "forged"), { g: image });
  const link = join(served.guest("g"), "x/l");
  expect(readlinkSync(link)).toBe("../etc/passwd");
  expect(readFileSync(link, "utf8")).toBe("the guest's");
  expect(await served.stop()).toBe(0);
});
