import { execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { basename, join } from "node:path";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { parseGuest } from "../src/daemon/guest-name.js";
import { cleanUp, mount, onEnd, run, unmountNow, workFolder } from "./support/images-mount.js";
import { main, serve } from "./support/images-serve.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("cli");
const image = join(folder, "web.img");
const makeSample = join(import.meta.dirname, "make-sample.sh");

function slashcloud(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], {
    encoding: "utf8",
    timeout: 20_000,
  });
  return { status, stdout, stderr };
}

beforeAll(async () => {
  await run(makeSample, [image]);
});

afterAll(cleanUp);

describe("a disk without a mount", () => {
  test("volumes tells what is on it, and where the guest mounts it", () => {
    const { status, stdout } = slashcloud("volumes", image);
    expect(status).toBe(0);
    expect(stdout.split("\n").map((line) => line.split(/ +/).slice(0, 5).join(" "))).toEqual([
      "NAME TYPE SIZE PARENT MOUNT",
      "sda1 ext4 100663296 sda /",
      expect.stringMatching(/^sda2 ext4 \d+ sda \/srv$/),
      "",
    ]);
  });

  test("volumes --json agrees with blkid", async () => {
    const rows = JSON.parse(slashcloud("volumes", image, "--json").stdout);
    const blkid = await run("blkid", ["-p", "-O", String(1 << 20), "-o", "export", image]);
    expect(blkid).toContain(`UUID=${rows[0].uuid}`);
    expect(blkid).toContain(`LABEL=${rows[0].label}`);
    expect(blkid).toContain(`TYPE=${rows[0].type}`);
  });

  test("ls -lR goes through the guest's own mounts", () => {
    const { status, stdout } = slashcloud("ls", "-lR", image);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^\/srv\/www:\n-rw-r--r-- .* index\.html$/m);
    expect(stdout).toMatch(/ release -> .*etc\/os-release$/m);
  });

  test("cat follows the guest's absolute links within the guest", () => {
    const { stdout } = slashcloud("cat", `${image}:/etc/release`, `${image}:/etc/hostname`);
    expect(stdout).toBe('PRETTY_NAME="A sample guest"\nID=sample\nweb\n');
  });

  test("stat tells of a link itself, as JSON too", () => {
    expect(slashcloud("stat", `${image}:/etc/release`).stdout).toContain("symbolic link");
    expect(JSON.parse(slashcloud("stat", "--json", `${image}:/etc/fstab`).stdout)).toMatchObject({
      type: "regular file",
      mode: "0644",
      links: 1,
    });
  });

  test("a reader that goes away ends it quietly", () => {
    const shell = `${process.execPath} ${main} cat ${image}:/var/log/nginx/access.log | head -c 10`;
    const { stdout, stderr } = spawnSync("bash", ["-c", shell], { encoding: "utf8" });
    expect({ stdout, stderr }).toEqual({ stdout: "xxxxxxxxxx", stderr: "" });
  });
});

describe("a mistake is one line that says what to do", () => {
  const file = (name: string, size: number): string => {
    const path = join(folder, name);
    writeFileSync(path, "");
    if (size > 0) truncateSync(path, size);
    return path;
  };

  test.each([
    ["no such image", ["ls", join(folder, "none.img")], 1, /none\.img: no such image/],
    ["an empty image", ["ls", file("empty.img", 0)], 1, /empty\.img: the image is empty/],
    [
      "an image of zeros",
      ["ls", file("zeros.img", 1 << 20)],
      1,
      /zeros\.img: no file system that can be shown/,
    ],
    ["a folder", ["ls", folder], 1, /directory; name the image file/],
    ["no such path", ["cat", `${image}:/etc/none`], 1, /web\.img:\/etc\/none: no such file or directory/],
    [
      "a missing mount point",
      ["up", "--mount", join(folder, "no"), image],
      1,
      /no does not exist: make it first/,
    ],
    ["a mount point that is not empty", ["up", "--mount", folder, image], 1, /is not empty: choose an empty/],
    ["a mount point that is a file", ["up", "--mount", image, image], 1, /is not a directory/],
    ["a mount point in use", ["up", "--mount", "/proc", image], 1, /already a mount point/],
    ["the same name twice", ["up", `a=${image}`, `a=${image}`], 2, /two guests are named "a"/],
    [
      "a host's name that no directory has",
      ["up", "--host", "a/b", image],
      2,
      /"a\/b" cannot be this host's name/,
    ],
    ["no image", ["volumes"], 2, /missing required argument/],
    ["an unknown command", ["frob"], 2, /unknown command/],
  ] as const)("%s", (_, args, status, message) => {
    const result = slashcloud(...args);
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toMatch(/^ +at /m);
    expect(result.status).toBe(status);
  });

  test("an image cut short is served as far as it goes", () => {
    const cut = join(folder, "cut.img");
    writeFileSync(cut, readFileSync(image).subarray(0, 40 << 20));
    const { status, stdout, stderr } = slashcloud("ls", `${cut}:/etc`);
    expect(stderr).toMatch(/sda1: .*only \d+ there: the rest cannot be read/);
    expect(stdout).toContain("fstab");
    expect(status).toBe(0);
  });

  test("a feature that is not known is named, and the other volumes are served", async () => {
    const odd = join(folder, "odd.img");
    writeFileSync(odd, readFileSync(image));
    // s_feature_incompat of the second volume, with a bit that nobody has taken; its checksum is not reached.
    const bytes = readFileSync(odd);
    const at = (97 << 20) + 1024 + 0x60;
    bytes.writeUInt32LE((bytes.readUInt32LE(at) | 0x4000_0000) >>> 0, at);
    writeFileSync(odd, bytes);
    const { stdout, stderr } = slashcloud("ls", `${odd}:/etc`);
    expect(stderr).toMatch(/sda2: cannot be shown: needs the feature 0x40000000, not known here/);
    expect(stdout).toContain("fstab");
  });

  test("an ordinary user is told what he lacks", () => {
    const point = join(folder, "point-of-user");
    chmodSync(folder, 0o755);
    mkdirSync(point, { recursive: true });
    const { status, stderr } = spawnSync(
      "setpriv",
      [
        "--reuid",
        "65534",
        "--regid",
        "65534",
        "--clear-groups",
        process.execPath,
        main,
        "up",
        "--driver",
        "kernel",
        "--mount",
        point,
        image,
      ],
      { encoding: "utf8" },
    );
    expect(status).toBe(1);
    expect(stderr).toMatch(/needs root: run as root, or use the libfuse driver/);
  });
});

describe("standard output", () => {
  const commands = [
    ["ls", image],
    ["ls", "-lR", image],
    ["ls", "-R", "--json", image],
    ["cat", `${image}:/etc/os-release`],
    ["stat", `${image}:/etc/os-release`],
    ["volumes", image],
    ["map", image],
    ["df", image],
    ["inspect", image],
    ["crawl", image],
    ["doctor"],
    ["completion", "bash"],
    ["export", "autofs"],
    ["--help"],
    ["ls", "--help"],
    ["--version"],
  ];

  test.each(commands)("that is full is one line and exit code 1: %s %s", (...words) => {
    const shell = ["-c", '"$@" > /dev/full', "sh", process.execPath, main, ...words.filter(Boolean)];
    const { status, stderr } = spawnSync("sh", shell, { encoding: "utf8", timeout: 20_000 });
    const [last, ...more] = stderr.trimEnd().split("\n").reverse();
    expect(last).toBe("slashcloud: standard output cannot be written (no space left on device)");
    // What there is to say of an image comes first.
    expect(more.filter((line) => /ENOSPC|output/.test(line))).toEqual([]);
    expect(status).toBe(1);
  });

  test.each(commands)("whose reader has gone ends it quietly: %s %s", (...words) => {
    const quoted = [
      "-c",
      '{ "$@"; echo $? >&2; } | true',
      "bash",
      process.execPath,
      main,
      ...words.filter(Boolean),
    ];
    const { stderr } = spawnSync("bash", quoted, { encoding: "utf8", timeout: 20_000 });
    expect(stderr).not.toMatch(/EPIPE|Error/);
    expect(stderr.trimEnd().split("\n").at(-1)).toMatch(/^[01]$/);
  });
});

describe("an argument NAME=IMAGE", () => {
  test.each([
    ["a:b=/srv/web.img", "a:b", ["/srv/web.img"]],
    ["a:b=qcow2:/srv/web.img", "a:b", ["qcow2:/srv/web.img"]],
    ["w=/srv/a:b,/srv/c:d", "w", ["/srv/a:b", "/srv/c:d"]],
    ["/srv/a:b.img", "a:b.img", ["/srv/a:b.img"]],
  ])("%s is a guest's, colons and all", (argument, name, images) => {
    expect(parseGuest(argument)).toMatchObject({ name, images });
  });

  test("that is an image's own name is an image", () => {
    const odd = join(folder, "c=d:e.img");
    writeFileSync(odd, "");
    const before = process.cwd();
    process.chdir(folder);
    try {
      expect(parseGuest("c=d:e.img")).toMatchObject({ name: "c=d:e.img", images: [odd] });
      expect(parseGuest("raw:c=d:e.img")).toMatchObject({ name: "c=d:e.img", images: [`raw:${odd}`] });
    } finally {
      process.chdir(before);
    }
  });

  test("a host has no colon in its name", () => {
    const { status, stderr } = slashcloud("up", "--host", "a:b", image);
    expect(stderr).toBe(
      `slashcloud: "a:b" cannot be this host's name in the tree; name another one with --host\n`,
    );
    expect(status).toBe(2);
  });
});

describe("up", () => {
  test("says when the tree answers, and unmounts at SIGTERM", async () => {
    const point = join(folder, "up");
    const served = await serve(point, { web: image });
    expect(readFileSync(join(served.guest("web"), "etc/hostname"), "utf8")).toBe("web\n");
    expect(await served.stop()).toBe(0);
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(point);
  });

  test("SIGINT does the same", async () => {
    const point = join(folder, "int");
    const served = await serve(point, { web: image });
    process.kill(served.pid, "SIGINT");
    expect(await served.stop()).toBe(0);
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(point);
  });

  test("that is killed leaves nothing mounted in the way of the next", async () => {
    const point = join(folder, "dead");
    mkdirSync(point);
    onEnd(() => {
      if (readFileSync("/proc/mounts", "utf8").includes(point)) unmountNow(point);
    });
    const killed = spawn(process.execPath, [main, "up", "--mount", point, "--host", "h", `web=${image}`]);
    await new Promise((resolve) => killed.stdout.once("data", resolve));
    killed.kill("SIGKILL");
    await new Promise((resolve) => killed.once("close", resolve));
    await vi.waitFor(() => expect(readFileSync("/proc/mounts", "utf8")).not.toContain(point), 5000);
    const served = await serve(point, { web: image });
    expect(existsSync(served.guest("web"))).toBe(true);
    expect(await served.stop()).toBe(0);
  });

  test("names a guest after its image, and takes its disks by name", async () => {
    const second = join(folder, "data.img");
    execFileSync("truncate", ["-s", "8M", second]);
    await run("mke2fs", ["-q", "-F", "-t", "ext2", "-L", "data", second]);
    const guest = join(folder, "both");
    const served = await serve(guest, { two: `${image},${second}` }, [image]);
    expect(existsSync(join(served.guest(basename(image)), "etc/fstab"))).toBe(true);
    expect(statSync(join(served.guest("two"), ".volumes/sdb/lost+found")).isDirectory()).toBe(true);
    expect(await served.stop()).toBe(0);
  });

  test("without a right to mount, libfuse serves an ordinary user", async () => {
    const mode = statSync("/dev/fuse").mode;
    chmodSync("/dev/fuse", 0o666);
    onEnd(() => chmodSync("/dev/fuse", mode & 0o777));
    const point = join(folder, "user");
    mkdirSync(point);
    chmodSync(folder, 0o755);
    execFileSync("chown", ["65534:65534", point]);
    const user = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    const child = spawn("setpriv", [
      ...user,
      process.execPath,
      main,
      "up",
      "--mount",
      point,
      "--host",
      "h",
      `web=${image}`,
    ]);
    onEnd(() => child.kill("SIGKILL"));
    let errors = "";
    child.stderr.on("data", (text) => {
      errors += text;
    });
    const line = await Promise.race([
      new Promise<string>((resolve) => child.stdout.once("data", (text) => resolve(String(text)))),
      new Promise<string>((resolve) => child.once("close", () => resolve(errors))),
    ]);
    expect(line).toBe(`slashcloud: serving ${point} (1 guest)\n`);
    const { stdout } = spawnSync("setpriv", [...user, "cat", join(point, "h/web/etc/hostname")], {
      encoding: "utf8",
    });
    expect(stdout).toBe("web\n");
    child.kill("SIGTERM");
    expect(await new Promise((resolve) => child.once("close", resolve))).toBe(0);
    expect(readFileSync("/proc/mounts", "utf8")).not.toContain(point);
  });
});

test("the sample's second file system is where its mount table puts it, with its own space", async () => {
  const served = await serve(join(folder, "df"), { web: image });
  const kernel = join(folder, "kernel");
  const unmount = await mount(image, kernel, `ro,loop,offset=${97 << 20}`);
  const numbers = (path: string) =>
    execFileSync("stat", ["-f", "-c", "%b %f %a %c %d %S", path], { encoding: "utf8" });
  expect(numbers(join(served.guest("web"), "srv/www"))).toBe(numbers(kernel));
  expect(numbers(served.guest("web"))).not.toBe(numbers(kernel));
  unmount();
  expect(await served.stop()).toBe(0);
});
