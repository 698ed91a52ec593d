/** `slashcloud crawl`: its file against the kernel's mount and debugfs, and what reads it. */
import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { gunzipSync, gzipSync } from "node:zlib";
import { Binary, type Document, deserialize, serialize } from "bson";
import { afterAll, describe, expect, test, vi } from "vitest";
import type { GuestEvent } from "../src/events/event.js";
import { documentBytes, documents, extentsOf } from "./support/crawl-documents.js";
import { makeImage } from "./support/images.js";
import { cleanUp, mount, onEnd, run, workFolder } from "./support/images-mount.js";
import { type Recipe, recipes } from "./support/images-recipes.js";
import { main, type Served, serve } from "./support/images-serve.js";
import { imageDirectory } from "./support/journal-images.js";

vi.setConfig({ testTimeout: 120_000 });

const memory = imageDirectory();
onEnd(() => rmSync(memory, { recursive: true, force: true }));
const folder = workFolder("crawl-file", memory);

afterAll(cleanUp);

function slashcloud(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    encoding: "utf8",
    timeout: 60_000,
  });
  return { status, stdout, stderr };
}

/** Crawls to a file, which it returns. */
function crawl(image: string, name = "crawl.bson.gz"): string {
  const output = join(folder, name);
  const { status, stderr } = slashcloud("crawl", image, "-o", output);
  expect(stderr).toBe("");
  expect(status).toBe(0);
  return output;
}

/** What lstat(2), readlink(2) and listxattr(2) tell of each name of a tree; a line each, made without our code. */
const WALK = `
import os, sys
top = os.fsencode(sys.argv[1])
def tell(path):
    s = os.lstat(path)
    a = sorted(os.fsencode(n) for n in os.listxattr(path, follow_symlinks=False))
    values = b" ".join(n + b"=" + os.getxattr(path, n, follow_symlinks=False).hex().encode() for n in a)
    try: target = os.readlink(path)
    except OSError: target = b""
    numbers = [s.st_ino, s.st_mode, s.st_nlink, s.st_uid, s.st_gid, s.st_size, s.st_blocks, os.major(s.st_rdev),
        os.minor(s.st_rdev), s.st_atime_ns, s.st_mtime_ns, s.st_ctime_ns]
    sys.stdout.buffer.write(b"%s %s %s %s\\0" % (" ".join(map(str, numbers)).encode(), path[len(top):] or b"/", target, values))
tell(top)
for root, dirs, files in os.walk(top):
    for name in dirs + files: tell(os.path.join(root, name))
`;

/** The same of a file. */
function told(all: readonly Document[]): string[] {
  const names = all.filter(({ type }) => type === "name");
  const first = new Map<number, Document>();
  for (const name of names) if (!first.has(name.ino)) first.set(name.ino, name);
  const root = all.find(({ type }) => type === "volume")?.rootInode;
  const pathOf = (ino: number): string => {
    if (ino === root) return "";
    const name = first.get(ino) as Document;
    return `${pathOf(name.directory)}/${name.name.toString("latin1")}`;
  };
  const inodes = new Map(all.filter(({ type }) => type === "inode").map((one) => [one.ino, one]));
  const line = (ino: number, path: string): string => {
    const one = inodes.get(ino) as Document;
    const time = (name: string) => BigInt(one[name]) * 1_000_000_000n + BigInt(one[`${name}Nsec`]);
    const numbers = [
      one.ino,
      one.mode,
      one.nlink,
      one.uid,
      one.gid,
      one.size,
      one.blocks,
      one.major,
      one.minor,
    ];
    const nameOf = ({ name }: Document): string =>
      (typeof name === "string" ? Buffer.from(name) : name).toString("latin1");
    const values = ((one.attributes ?? []) as Document[])
      .map((attribute) => ({ name: nameOf(attribute), value: attribute.value }))
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .map(({ name, value }) => `${name}=${value?.toString("hex")}`);
    expect(one.problem).toBeUndefined();
    return `${[...numbers, time("atime"), time("mtime"), time("ctime")].join(" ")} ${path} ${
      one.target?.toString("latin1") ?? ""
    } ${values.join(" ")}`;
  };
  return [
    line(root, "/"),
    ...names.map((name) => line(name.ino, `${pathOf(name.directory)}/${name.name.toString("latin1")}`)),
  ].sort();
}

/** The kernel's, as `told` tells it: an attribute's value of more than 1 KiB is not told. */
function walk(top: string): string[] {
  const text = execFileSync("python3", ["-c", WALK, top], { encoding: "latin1", maxBuffer: 1 << 30 });
  return text
    .split("\0")
    .slice(0, -1)
    .map((line) => line.replaceAll(/=[0-9a-f]{2050,}/g, "=undefined"))
    .sort();
}

/** Logical to physical blocks as debugfs tells them, without those of the map itself. */
function blocksByDebugfs(text: string): string[] {
  const list = /(?:EXTENTS|BLOCKS):\n([\s\S]*?)(?:\nTOTAL|\n\n|$)/.exec(text)?.[1] ?? "";
  return [...list.matchAll(/\((\d+)(?:-(\d+))?(\[u\])?\):(\d+)/g)].flatMap(([, first, last, unwritten, at]) =>
    Array.from(
      { length: Number(last ?? first) - Number(first) + 1 },
      (_, n) => `${Number(first) + n}:${Number(at) + n}${unwritten ? "u" : ""}`,
    ),
  );
}

function blocksOf(extents: readonly Document[]): string[] {
  return extents.flatMap(({ logical, physical, count, flags }) =>
    Array.from({ length: count }, (_, n) => `${logical + n}:${physical + n}${flags === 1 ? "u" : ""}`),
  );
}

/** Paths of which the kernel cannot be asked at once. */
const withoutDeep = ["--without", "deep"];

const chosen: readonly Recipe[] = [
  ...recipes.filter(({ name }) => name === "a floppy's worth of ext2"),
  {
    name: "ext2 of revision 0",
    size: "128M",
    mke2fs: ["-t", "ext2", "-b", "1024", "-r", "0"],
    fill: "--block 1024 --only contents links small symlinks wide nodes gaps".split(" "),
  },
  {
    name: "ext4, 1 KiB blocks",
    size: "160M",
    mke2fs: ["-t", "ext4", "-b", "1024"],
    fill: ["--block", "1024", "--extents", ...withoutDeep],
  },
  {
    name: "ext4 with inline data and bigalloc",
    size: "160M",
    mke2fs: ["-t", "ext4", "-O", "inline_data,bigalloc"],
    fill: ["--block", "4096", "--extents", "--only", "names", "links", "small", "nodes"],
  },
  {
    name: "ext3, 2 KiB blocks",
    size: "160M",
    mke2fs: ["-t", "ext3", "-b", "2048", "-I", "256"],
    fill: ["--block", "2048", ...withoutDeep, "unwritten"],
  },
];

describe("a crawl's file has what the kernel and debugfs tell of", () => {
  test.each(chosen.map((recipe) => ({ recipe, name: recipe.name })))("$name", async ({ recipe, name }) => {
    const place = join(folder, name.replaceAll(/\W/g, "-"));
    const made = await makeImage(recipe, place);
    const inside = join(place, "kernel");
    const unmount = await mount(made.image, inside, "ro,loop");
    try {
      const expected = walk(inside);
      const all = documents(crawl(made.image));
      const ours = told(all);
      expect(ours.filter((line) => !expected.includes(line)).slice(0, 5)).toEqual([]);
      expect(expected.filter((line) => !ours.includes(line)).slice(0, 5)).toEqual([]);
      expect(ours.length).toBe(expected.length);

      const inodes = all.filter(({ type }) => type === "inode").map(({ ino }) => ino as number);
      const commands = join(place, "commands");
      writeFileSync(commands, inodes.map((ino) => `stat <${ino}>\n`).join(""));
      const stats = (await run("debugfs", ["-f", commands, made.image])).split(/^debugfs: /m).slice(1);
      expect(stats.length).toBe(inodes.length);
      let blocks = 0;
      for (const [n, ino] of inodes.entries()) {
        const text = stats[n] as string;
        // Of a link's target in the inode, or data there, debugfs tells no blocks.
        const known = blocksOf(extentsOf(all, ino));
        expect(known, text).toEqual(blocksByDebugfs(text));
        blocks += known.length;
        const flags = Number(/Flags: (0x[0-9a-f]+)/.exec(text)?.[1]);
        expect(all.find((one) => one.type === "inode" && one.ino === ino)?.flags, text).toBe(flags);
      }
      expect(blocks).toBeGreaterThan(15);
    } finally {
      unmount();
      await made.remove();
    }
  });
});

describe("a crawl's file of a disk with two volumes", async () => {
  const image = join(folder, "disk.img");
  await run("truncate", ["-s", "96M", image]);
  await run("bash", ["-c", `printf 'label: gpt\\nsize=64M\\nsize=16M, name=other\\n' | sfdisk -q ${image}`]);
  const root = join(folder, "disk-root");
  mkdirSync(join(root, "etc"), { recursive: true });
  writeFileSync(join(root, "etc/hostname"), "disk\n");
  writeFileSync(Buffer.concat([Buffer.from(join(root, "etc/")), Buffer.from([0xff, 0x41])]), "not UTF-8");
  symlinkSync("hostname", join(root, "etc/link"));
  const many = join(root, "many");
  writeFileSync(many, "");
  truncateSync(many, 4 << 20);
  // Every second block, so that each is an extent of its own.
  execFileSync("python3", [
    "-c",
    `
import os, sys
fd = os.open(sys.argv[1], os.O_WRONLY)
for n in range(600): os.pwrite(fd, b"block %d" % n, n * 2 * 1024)
`,
    many,
  ]);
  await run("mke2fs", [
    "-q",
    "-F",
    "-t",
    "ext4",
    "-b",
    "1024",
    "-d",
    root,
    "-L",
    "first",
    "-E",
    "offset=1048576",
    image,
    "64M",
  ]);
  const output = crawl(image, "disk.bson.gz");
  const all = documents(output);
  const of = (type: string) => all.filter((one) => one.type === type);

  test("begins with a header, the partitions and the volumes as sfdisk and blkid tell them, and counts at its end", async () => {
    const { partitiontable: table } = JSON.parse(await run("sfdisk", ["--json", image]));
    const [header, partitions, first, second] = all as [Document, Document, Document, Document];
    expect(header).toMatchObject({
      type: "header",
      format: "slashcloud-crawl",
      version: 1,
      image,
      imageSize: 96 << 20,
    });
    expect(Math.abs(Date.now() - header.time.getTime())).toBeLessThan(600_000);
    expect(partitions).toMatchObject({
      type: "partitions",
      table: "gpt",
      id: table.id.toLowerCase(),
      sectorSize: 512,
    });
    expect(partitions.partitions).toEqual(
      table.partitions.map((one: Record<string, string | number>, n: number) => ({
        number: n + 1,
        name: `sda${n + 1}`,
        offset: Number(one.start) * 512,
        length: Number(one.size) * 512,
        partitionType: String(one.type).toLowerCase(),
        uuid: String(one.uuid).toLowerCase(),
        label: one.name ?? "",
      })),
    );
    const uuid = (await run("blkid", ["-p", "-O", "1048576", "-s", "UUID", "-o", "value", image])).trim();
    expect(first).toMatchObject({
      volume: 0,
      name: "sda1",
      offset: 1 << 20,
      fileSystem: "ext4",
      label: "first",
      uuid,
    });
    expect(first).toMatchObject({ blockSize: 1024, rootInode: 2, transaction: null });
    expect(first.rest.length).toBe(32);
    expect(second).toMatchObject({ volume: 1, name: "sda2", fileSystem: null, problem: expect.any(String) });
    expect(of("volumeEnd")[0]).toMatchObject({
      inodes: of("inode").length,
      names: of("name").length,
      extents: of("inode")
        .concat(of("extents"))
        .flatMap(({ extents = [] }) => extents).length,
      bad: 0,
    });
    expect(all.at(-1)).toEqual({ type: "end", documents: all.length - 1 });
  });

  test("is made of documents that are, byte for byte, what the library makes of their fields", () => {
    for (const bytes of documentBytes(output)) {
      const again = serialize(deserialize(bytes, { promoteValues: false, promoteLongs: false }));
      expect(Buffer.from(again).equals(bytes), JSON.stringify(deserialize(bytes))).toBe(true);
    }
    expect(of("extents").length).toBeGreaterThan(0);
  });

  test("is gzipped only if its name says so", () => {
    const plain = documents(crawl(image, "disk.bson"));
    const but = (list: Document[]) => list.filter(({ type }) => type !== "header" && type !== "volumeEnd");
    expect(but(plain)).toEqual(but(all));
  });

  /** The example in the documentation that is in this language. */
  const example = (language: string) => {
    const text = readFileSync(join(import.meta.dirname, "../docs/crawl.md"), "utf8");
    return new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``).exec(text)?.[1] as string;
  };

  test("is read by the documentation's example in Python", async () => {
    const script = join(folder, "example.py");
    writeFileSync(script, example("python"));
    const lines = execFileSync("/usr/bin/python3", [script, output], { encoding: "latin1" }).split("\n");
    expect(lines.sort()).toEqual(["", "4194304 /many", "5 /etc/hostname", "9 /etc/\xffA"].sort());
  });

  test("is read by the documentation's example in Node", () => {
    // Beside the packages that it imports.
    const script = join(import.meta.dirname, `crawl-example-${process.pid}.mjs`);
    const remove = onEnd(() => rmSync(script, { force: true }));
    writeFileSync(script, example("js"));
    const { ino } = of("inode").find(({ size }) => size === 4 << 20) as Document;
    const lines = execFileSync(process.execPath, [script, output, String(ino)], { encoding: "utf8" });
    remove();
    const bytes = readFileSync(image);
    const ranges = lines
      .trim()
      .split("\n")
      .map((line) => line.split(" ").map(Number) as [number, number]);
    expect(ranges.length).toBe(600);
    for (const [n, [at]] of ranges.entries())
      expect(bytes.toString("latin1", at, at + 12).replaceAll("\0", "")).toBe(`block ${n}`);
  });
});

describe("slashcloud crawl", () => {
  async function filled(name: string): Promise<string> {
    const image = join(folder, name);
    await run("truncate", ["-s", "256M", image]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", "-N", "120000", image]);
    const unmount = await mount(image, `${image}.in`, "loop");
    execFileSync(
      "python3",
      [
        "-c",
        "import os\nos.mkdir('d')\nfor n in range(100000): os.close(os.open(f'd/{n}', os.O_CREAT | os.O_WRONLY))",
      ],
      { cwd: `${image}.in` },
    );
    unmount();
    return image;
  }

  test("prints what there is, as a table and as JSON, and writes nothing", async () => {
    const image = await filled("counted.img");
    const before = readdirSync(folder);
    const { status, stdout } = slashcloud("crawl", image);
    expect(status).toBe(0);
    expect(stdout.split("\n").map((line) => line.split(/ +/).slice(0, 4).join(" "))).toEqual([
      "VOLUME TYPE INODES NAMES",
      "sda ext4 100003 100002",
      "",
    ]);
    expect(JSON.parse(slashcloud("crawl", image, "--json").stdout)).toMatchObject([
      { volume: "sda", inodes: 100_003, names: 100_002, bad: 0, problem: "" },
    ]);
    expect(readdirSync(folder)).toEqual(before);
  });

  test("leaves no file, and the former one as it was, when it is interrupted", async () => {
    const image = join(folder, "counted.img");
    const place = join(folder, "interrupted");
    mkdirSync(place);
    const output = join(place, "c.bson.gz");
    writeFileSync(output, "the former one");
    const child = spawn(process.execPath, [main, "crawl", image, "-o", output], { stdio: "ignore" });
    const ended = new Promise((resolve) => child.on("close", resolve));
    // There is something to be taken away by now.
    while (!readdirSync(place).some((name) => name.endsWith(".part"))) await sleep(1);
    child.kill("SIGINT");
    expect(await ended).toBe(130);
    expect(readdirSync(place)).toEqual(["c.bson.gz"]);
    expect(readFileSync(output, "utf8")).toBe("the former one");
  });

  test("says in one line what is wrong, and leaves nothing", async () => {
    const image = join(folder, "counted.img");
    const empty = join(folder, "zeros.img");
    await run("truncate", ["-s", "1M", empty]);
    for (const [args, line] of [
      [[join(folder, "none.img")], "no such image"],
      [[image, "-o", join(folder, "none/c.bson")], "no crawl can be written to"],
      [[image, "-o", image], "this is the image itself"],
      [[image, "-o", folder], "this is no file"],
      [[image, "-o", "/dev/full"], "this is no file"],
    ] as const) {
      const { status, stderr } = slashcloud("crawl", ...args);
      expect(stderr).toContain(line);
      expect(stderr.trim().split("\n").length).toBe(1);
      expect(status).toBe(1);
    }
    expect(slashcloud("crawl", empty).status).toBe(1);
    expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([]);
  });
});

describe("up --crawl", () => {
  interface Guest {
    readonly image: string;
    readonly inside: string;
    unmount: () => void;
  }

  async function guest(name: string): Promise<Guest> {
    const image = join(folder, `${name}.img`);
    await run("truncate", ["-s", "64M", image]);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
    const inside = join(folder, `${name}-inside`);
    const unmount = await mount(image, inside, "loop");
    mkdirSync(join(inside, "d"));
    for (const file of ["one", "two", "three"]) writeFileSync(join(inside, "d", file), file);
    sync(inside);
    return { image, inside, unmount };
  }

  /** Waits until the tree has its map of names. */
  async function mapped({ mountPoint, log }: Served): Promise<void> {
    const isThere = () =>
      JSON.parse(slashcloud("status", "--state", `${mountPoint}-state`, "--json").stdout).volumes[0].hasPaths;
    await until("a map of names", isThere, log);
  }

  const sync = (top: string) => execFileSync("sync", ["-f", top]);

  const eventsOf = (tree: string) =>
    (existsSync(join(tree, ".events")) ? readFileSync(join(tree, ".events"), "utf8") : "")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as GuestEvent);

  async function until(what: string, holds: () => boolean, log: () => string): Promise<void> {
    for (const end = performance.now() + 60_000; !holds(); await sleep(20))
      if (performance.now() > end) throw new Error(`never: ${what}\n${log()}`);
  }

  /** The file with another name for a file of the guest: then one can see where paths come from. */
  function renamed(file: string, from: string, to: string): void {
    const bytes = documentBytes(file).map((one) => {
      const document = deserialize(one, { promoteBuffers: true });
      return document.type === "name" && document.name.toString() === from
        ? serialize({ ...document, name: new Binary(Buffer.from(to)) })
        : one;
    });
    writeFileSync(file, gzipSync(Buffer.concat(bytes)));
  }

  test("takes the names from the file, and tells what the guest did since the crawl", async () => {
    const { image, inside, unmount } = await guest("resumed");
    const file = crawl(image, "resumed.bson.gz");
    renamed(file, "two", "deux");
    renameSync(join(inside, "d/one"), join(inside, "d/uno"));
    appendFileSync(join(inside, "d/two"), "more");
    sync(inside);
    const served = await serve(join(folder, "resumed"), { g: image }, ["--crawl", file]);
    const told = () =>
      eventsOf(served.guest("g")).map(({ event, path, from }) => [event, path, from].join(" ").trim());
    await until("events", () => told().length >= 2, served.log);
    expect(told()).toEqual(expect.arrayContaining(["renamed /d/uno /d/one", "content /d/deux"]));
    expect(served.log()).not.toContain("crawl");
    rmSync(join(inside, "d/three"));
    sync(inside);
    await until("the deletion", () => told().includes("deleted /d/three"), served.log);
    expect(await served.stop()).toBe(0);
    unmount();
  });

  test("takes them of a guest that was switched off, and of one that has another image by name", async () => {
    const { image, inside, unmount } = await guest("rested");
    unmount();
    const file = crawl(image, "rested.bson.gz");
    renamed(file, "two", "deux");
    const moved = join(folder, "moved.img");
    renameSync(image, moved);
    const served = await serve(join(folder, "rested"), { g: moved }, ["--crawl", `g=${file}`]);
    await mapped(served);
    const again = await mount(moved, inside, "loop");
    appendFileSync(join(inside, "d/two"), "more");
    sync(inside);
    const paths = () => eventsOf(served.guest("g")).map(({ path }) => path);
    await until("an event", () => paths().includes("/d/deux"), served.log);
    expect(served.log()).not.toContain("begun with");
    expect(await served.stop()).toBe(0);
    again();
  });

  test("crawls the disk itself where the file is too old, or of another file system, and says so", async () => {
    const { image, inside, unmount } = await guest("old");
    unmount();
    const file = crawl(image, "old.bson.gz");
    renamed(file, "two", "deux");
    const again = await mount(image, inside, "loop");
    appendFileSync(join(inside, "d/two"), "more");
    again();
    const served = await serve(join(folder, "old"), { g: image }, ["--crawl", file]);
    await mapped(served);
    const third = await mount(image, inside, "loop");
    appendFileSync(join(inside, "d/two"), "more");
    sync(inside);
    const paths = () => eventsOf(served.guest("g")).map(({ path }) => path);
    await until("an event", () => paths().includes("/d/two"), served.log);
    expect(served.log()).toContain(`${file} is not begun with: the file system has been written to since`);
    expect(await served.stop()).toBe(0);
    third();
    await run("mke2fs", ["-q", "-F", "-t", "ext4", image]);
    const other = await serve(join(folder, "other"), { g: image }, ["--crawl", file]);
    expect(other.log()).toContain("it is of another file system (UUID ");
    expect(await other.stop()).toBe(0);
  });

  test("a file that is none, or is damaged, is one line, whatever its bytes", async () => {
    const { image, unmount } = await guest("hostile");
    unmount();
    const file = crawl(image, "hostile.bson.gz");
    const whole = gunzipSync(readFileSync(file));
    const bad = (name: string, bytes: Buffer) => {
      const path = join(folder, name);
      writeFileSync(path, bytes);
      return path;
    };
    const deep = Buffer.concat(
      Array.from({ length: 100_000 }, () => Buffer.from([0xff, 0xff, 0, 0, 3, 97, 0])),
    );
    deep.writeInt32LE(deep.length, 0);
    for (const path of [
      join(folder, "nowhere"),
      folder,
      "/dev/zero",
      image,
      bad("empty", Buffer.alloc(0)),
      bad("bomb.gz", gzipSync(Buffer.alloc(1 << 28))),
      bad("cut.gz", readFileSync(file).subarray(0, 40)),
      bad("deep", deep),
      bad(
        "version",
        Buffer.from(serialize({ type: "header", format: "slashcloud-crawl", version: 2, image })),
      ),
      bad("foreign", Buffer.from(serialize({ type: "header", format: "other" }))),
    ]) {
      const { status, stderr } = slashcloud(
        "up",
        "--mount",
        join(folder, "never"),
        "--crawl",
        path,
        `g=${image}`,
      );
      expect(stderr, path).toMatch(
        /^slashcloud: .*no crawl that slashcloud has written \(.*\); leave --crawl out\n$/,
      );
      expect(status, path).toBe(1);
    }
    const stranger = join(folder, "stranger.img");
    await run("cp", ["--sparse=always", image, stranger]);
    const two = slashcloud("up", "--crawl", file, `a=${stranger}`, `b=${stranger}`);
    expect(two.stderr).toMatch(/: a crawl of .*hostile\.img, which is no disk of these guests; .*\n$/);
    expect(two.status).toBe(2);
    expect(slashcloud("up", "--no-events", "--crawl", file, image).status).toBe(2);
    const ends = documentBytes(file);
    const without = (type: string) => Buffer.concat(ends.filter((one) => deserialize(one).type !== type));
    const changed = (position: number) => {
      const copy = Buffer.from(whole);
      copy.writeUInt32LE(0xffff_fff0, position);
      return copy;
    };
    const third = ends.findIndex((one) => deserialize(one).type === "inode") + 2;
    const thirdAt = ends.slice(0, third).reduce((sum, { length }) => sum + length, 0);
    for (const [name, bytes] of [
      ["cut in its middle", whole.subarray(0, whole.length - 100)],
      ["cut.gz", readFileSync(file).subarray(0, statSync(file).size - 200)],
      ["without names", without("name")],
      ["without an end", without("end")],
      ["with a long document", changed(thirdAt)],
    ] as const) {
      const path = bad(`damaged ${name}`, bytes);
      const place = join(folder, `damaged-${name.replaceAll(/\W/g, "-")}`);
      const served = await serve(place, { g: image }, ["--crawl", path]);
      await until(
        name,
        () => served.log().includes("cannot be begun with, and the disk is crawled"),
        served.log,
      );
      expect(served.log().match(/cannot be begun with/g)?.length, served.log()).toBe(1);
      expect(await served.stop()).toBe(0);
    }
  });
});
