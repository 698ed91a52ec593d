/** The libfuse driver, as an ordinary user sees it who has no right to mount. */
import { chmodSync, chownSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { nameToString, unescapeName } from "../src/fuse/libfuse/names.js";
import { mountAt } from "../src/fuse/mountpoint.js";
import { BIG_SIZE, GIB, PATTERN, patternHash, sampleTree } from "./support/fuse-sample.js";
import { FuseTests, type RunOptions, type Served } from "./support/fuse-served.js";
import { AS_USER, eventually, expectedWalk, output, run, type Told, walk } from "./support/fuse-tools.js";

const tests = new FuseTests();
const expected = sampleTree(1000);
const [SETPRIV, ...USER] = AS_USER as [string, ...string[]];
const NOBODY = 65534;
let deviceMode = 0;
let served: Served;
let root: string;

/** A mount point of the user's own. */
function userPoint(): string {
  const path = tests.mountPoint();
  chownSync(path, NOBODY, NOBODY);
  return path;
}

const asUser = (...command: string[]): string => output(SETPRIV, ...USER, ...command);
const tryAsUser = (...command: string[]) => run(SETPRIV, ...USER, ...command);
const start = (options: RunOptions = {}) =>
  tests.start({ driver: "libfuse", prefix: AS_USER, path: userPoint(), ...options });

beforeAll(async () => {
  // As Debian's udev rules leave it; where no udev runs it is root's alone.
  deviceMode = statSync("/dev/fuse").mode & 0o7777;
  chmodSync("/dev/fuse", 0o666);
  const started = await start();
  if (typeof started === "number") throw new Error(tests.lastLog);
  served = started;
  root = served.path;
}, 120_000);

afterAll(() => {
  tests.end();
  chmodSync("/dev/fuse", deviceMode);
});

describe("a tree that an ordinary user mounted", () => {
  test("shows as fuse.slashcloud, read-only, the user's own", () => {
    const line = output("findmnt", "-rno", "FSTYPE,SOURCE,OPTIONS", root);
    expect(line).toMatch(/^fuse\.slashcloud slashcloud ro,nosuid,nodev,noexec,noatime,user_id=65534/);
  });

  test("lists the same files with the same attributes, to the millisecond from 1970 on", () => {
    const milliseconds = (time: string): string =>
      String(BigInt(time) < 0n ? 0n : (BigInt(time) / 1_000_000n) * 1_000_000n);
    const told = (all: Record<string, Told>): Record<string, unknown> =>
      Object.fromEntries(
        Object.entries(all).map(([path, one]) => {
          const { ino, blksize, ...rest } = one;
          const times = { atime: milliseconds(one.atime), mtime: milliseconds(one.mtime) };
          const name = nameToString(Buffer.from(path, "latin1"));
          return [
            Buffer.from(name, "utf8").toString("latin1"),
            { ...rest, ...times, ctime: milliseconds(one.ctime) },
          ];
        }),
      );
    const wanted = told(expectedWalk(expected));
    const found = told(walk(root, AS_USER));
    expect(Object.keys(found).sort()).toEqual(Object.keys(wanted).sort());
    expect(found).toEqual(wanted);
  }, 120_000);

  test("lists a directory of 20,000 entries whole", () => {
    const names = asUser("find", `${root}/many`, "-type", "f", "-printf", "%f\n").trimEnd().split("\n");
    expect(new Set(names)).toEqual(new Set(expected.at("many").children.keys()));
    expect(names).toHaveLength(20_000);
  }, 120_000);

  test("shows names that are not UTF-8 with escapes, and opens them by these", () => {
    expect(asUser("cat", `${root}/names/caf\\xE9`)).toBe("named 4\n");
    expect(asUser("cat", `${root}/names/\\xFF\\xFE`)).toBe("named 2\n");
    expect(asUser("cat", `${root}/names/two\nlines`)).toBe("named 9\n");
    // The literal name comes first.
    expect(asUser("cat", `${root}/names/\\xE9`)).toBe("named 4\n");
    expect(tryAsUser("cat", `${root}/names/caf\\xEA`).errors).toContain("No such file");
  });

  test("reads large and sparse files as they are", () => {
    expect(asUser("sha256sum", `${root}/big`).slice(0, 64)).toBe(patternHash(BIG_SIZE));
    const piece = asUser("dd", `if=${root}/sparse`, "bs=4096", "count=1", `skip=${(10 * GIB) / 4096}`);
    expect(Buffer.from(piece, "latin1").equals(PATTERN.subarray(0, 4096))).toBe(true);
  }, 120_000);

  test("shows all files to the user, whatever their modes, and none to others", () => {
    expect(asUser("cat", `${root}/kinds/secret`)).toBe("only root\n");
    expect(run("ls", root).errors).toContain("Permission denied");
  });

  test("shows links and attributes", () => {
    expect(asUser("readlink", `${root}/links/near`)).toBe("../five/a\n");
    expect(asUser("cat", `${root}/links/near`)).toBe("I am a\n");
    const all = asUser("getfattr", "-d", "-m", "-", "--absolute-names", `${root}/attributes/some`);
    expect(all).toContain('user.text="value"');
    expect(all).toContain('user.guest.security.selinux="system_u:object_r:etc_t:s0"');
    expect(all).toContain("user.bytes=0sAP8KPQ==");
    expect(all).toContain('user.gr\xc3\xb6\xc3\x9fe="9"');
    expect(asUser("getfattr", "-n", "user.größe", "--only-values", `${root}/attributes/some`)).toBe("9");
    expect(asUser("getfattr", "-n", "user.large", "--only-values", `${root}/attributes/large`)).toHaveLength(
      65_536,
    );
  });

  test("refuses a buffer that is too small for an attribute, and goes on", () => {
    const program = `import ctypes,os,sys
libc = ctypes.CDLL(None, use_errno=True)
path = os.fsencode(sys.argv[1])
for call in (lambda: libc.getxattr(path + b'/large', b'user.large', ctypes.create_string_buffer(8), 8),
             lambda: libc.listxattr(path + b'/some', ctypes.create_string_buffer(8), 8),
             lambda: libc.getxattr(path + b'/some', b'user.no', None, 0),
             lambda: libc.getxattr(path + b'/some', b'security.no', None, 0)):
    print(call(), ctypes.get_errno())`;
    const told = asUser("/usr/bin/python3", "-c", program, `${root}/attributes`);
    expect(told).toBe("-1 34\n-1 34\n-1 61\n-1 95\n");
  });

  test("tells df its numbers, also those beyond 32 bits", () => {
    const [blocks, size, free] = asUser("stat", "-f", "-c", "%b %S %f", root)
      .trimEnd()
      .split(" ")
      .map(Number);
    expect((blocks as number) * (size as number)).toBe(5_000_000_000 * 1024);
    expect((free as number) * (size as number)).toBe(4_900_000_000 * 1024);
  });

  test("refuses every change", () => {
    for (const command of [
      ["touch", `${root}/new`],
      ["rm", "-f", `${root}/five/a`],
      ["mkdir", `${root}/new`],
      ["mv", `${root}/five/a`, `${root}/five/z`],
      ["truncate", "-s", "0", `${root}/five/a`],
    ]) {
      expect(tryAsUser(...command).errors).toContain("Read-only file system");
    }
  });

  test("shows damage as I/O errors of the files that are damaged, and logs it once", async () => {
    for (const name of ["damaged", "fault", "disk", "fault"]) {
      expect(tryAsUser("cat", `${root}/broken/${name}`).errors).toContain("Input/output error");
    }
    expect(asUser("cat", `${root}/broken/good`)).toBe("fine\n");
    expect(asUser("ls", "-U", `${root}/broken/impossible-names`)).toBe("first\nlast\n");
    expect(tryAsUser("ls", `${root}/broken/half`).output.trimEnd().split("\n")).toHaveLength(40);
    await eventually(() => served.log().includes("in part"), true);
    expect(served.log().match(/^getattr: RangeError: offset is out of range$/gm)).toHaveLength(1);
    expect(served.log()).toMatch(/^directory ".*half" is listed in part: .*errno 5$/m);
  });

  test("is unmounted at the end", async () => {
    expect(await served.order({ order: "unmount", busy: "detach" })).toBe("unmounted");
    expect(mountAt(root)).toBeUndefined();
    expect(await served.ended).toBe(0);
  }, 120_000);
});

test("names as strings lead back to the same bytes", () => {
  for (const bytes of ["caf\xe9", "\xff\xfe", "gr\xc3\xbc\xc3\x9fe \xe9", "a\\xZZ\xe9"]) {
    const name = nameToString(Buffer.from(bytes, "latin1"));
    expect(name).not.toMatch(/[\x80-\xff\ufffd]/);
    expect(unescapeName(name)?.toString("latin1")).toBe(bytes);
  }
  expect(nameToString(Buffer.from("grüße"))).toBe("grüße");
  expect(unescapeName("grüße")).toBeUndefined();
});

describe("mounting through libfuse", () => {
  test("as root is for everyone, with the files' own permissions", async () => {
    const mounted = await tests.serve({ driver: "libfuse" });
    expect(asUser("cat", `${mounted.path}/five/a`)).toBe("I am a\n");
    expect(tryAsUser("cat", `${mounted.path}/kinds/secret`).errors).toContain("Permission denied");
    expect(await mounted.order({ order: "unmount", busy: "detach" })).toBe("unmounted");
    expect(await mounted.ended).toBe(0);
  }, 120_000);

  test("replaces a mount that a killed process left dead", async () => {
    const killed = (await start()) as Served;
    await killed.kill();
    expect(tryAsUser("ls", killed.path).errors).toContain("Transport endpoint is not connected");
    const next = (await start({ path: killed.path })) as Served;
    expect(asUser("cat", `${next.path}/five/a`)).toBe("I am a\n");
    expect(await next.order({ order: "unmount", busy: "detach" })).toBe("unmounted");
    expect(await next.ended).toBe(0);
  }, 120_000);

  test("says in one line what is missing", async () => {
    const says = async (options: RunOptions): Promise<string> => {
      expect(await start(options)).toBe(1);
      return tests.lastLog;
    };
    expect(await says({ env: { PATH: "/nowhere" }, prefix: ["/usr/bin/setpriv", ...USER] })).toBe(
      "fusermount is missing: install fuse (apt install fuse3)\n",
    );
    const hide = (path: string): string[] => [
      ...["unshare", "-m", "sh", "-c", `mount --bind /dev/null "$(readlink -f ${path})" && exec "$@"`, "sh"],
      ...AS_USER,
    ];
    const library = output("sh", "-c", "ldconfig -p | sed -n 's/.*libfuse.so.2 .*=> //p' | head -1").trim();
    expect(await says({ prefix: hide(library) })).toMatch(
      /^libfuse 2 cannot be loaded \(.*libfuse\.so\.2.*\): apt install libfuse2\n$/,
    );
    const closed = ["unshare", "-m", "sh", "-c"];
    const device =
      "cp -a /dev/fuse /tmp/fuse.$$ && chmod 600 /tmp/fuse.$$ && mount --bind /tmp/fuse.$$ /dev/fuse";
    expect(
      await says({ prefix: [...closed, `${device} && rm -f /tmp/fuse.$$; exec "$@"`, "sh", ...AS_USER] }),
    ).toBe("no permission to open /dev/fuse: let users use it (chmod 666 /dev/fuse)\n");
    const missing = join(tests.directory, "missing");
    expect(await says({ path: missing })).toBe(
      `mount point ${missing} does not exist: make it first (mkdir -p ${missing})\n`,
    );
  }, 120_000);

  test("says that the npm package is missing when it is", async () => {
    expect(await start({ withoutPackages: true })).toBe(1);
    expect(tests.lastLog).toBe("the npm package fuse-native is missing: npm install fuse-native\n");
  }, 120_000);
});
