/** The kernel driver, as users and their tools see it: a tree in memory, mounted by a process of its own. */
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Opcode } from "../src/fuse/kernel/protocol.js";
import { BIG_SIZE, GIB, NAMES, PATTERN, patternHash, sampleTree } from "./support/fuse-sample.js";
import { FuseTests, type Served } from "./support/fuse-served.js";
import { AS_USER, eventually, expectedWalk, output, python, run, walk } from "./support/fuse-tools.js";

const tests = new FuseTests();
const expected = sampleTree(1000);
let served: Served;
let root: string;

beforeAll(async () => {
  served = await tests.serve();
  root = served.path;
}, 120_000);

afterAll(() => tests.end());

/** How many requests of an opcode come while `work` runs. */
async function requests(opcode: number, work: () => void): Promise<number> {
  const before = await served.order<number[]>({ order: "requests" });
  work();
  const after = await served.order<number[]>({ order: "requests" });
  return (after[opcode] as number) - (before[opcode] as number);
}

describe("a mounted tree", () => {
  test("shows as fuse.slashcloud, read-only, without devices, set-uid and programs", () => {
    const [line] = output("findmnt", "-rno", "FSTYPE,SOURCE,OPTIONS", root).split("\n");
    expect(line).toMatch(/^fuse\.slashcloud slashcloud ro,nosuid,nodev,noexec,noatime,/);
    expect(line).toContain("default_permissions,allow_other");
  });

  test("lists the same files with the same attributes, to the nanosecond", () => {
    expect(walk(root)).toEqual(expectedWalk(expected));
  }, 120_000);

  test("lists a directory of 20,000 entries whole, each entry once", () => {
    const names = output("find", `${root}/many`, "-type", "f", "-printf", "%f\n").trimEnd().split("\n");
    expect(names).toHaveLength(20_000);
    expect(new Set(names)).toEqual(new Set(expected.at("many").children.keys()));
    expect(output("ls", `${root}/five`)).toBe("a\nb\nc\nd\ne\n");
  });

  test("keeps names that are not UTF-8, have line ends, or are 255 bytes long", () => {
    expect(output("find", `${root}/names`, "-type", "f", "-printf", "%f\\0").split("\0").sort()).toEqual(
      ["", ...NAMES].sort(),
    );
    const contents = python<string[]>(
      `import os,sys,json
d = os.fsencode(sys.argv[1])
print(json.dumps([open(d + b'/' + n.encode('latin1')).read() for n in json.loads(sys.argv[2])]))`,
      `${root}/names`,
      JSON.stringify(NAMES),
    );
    expect(contents).toEqual(NAMES.map((name) => `named ${name.length}\n`));
  });

  test("reads a large file as it is, whole and in pieces", () => {
    expect(output("sha256sum", `${root}/big`).slice(0, 64)).toBe(patternHash(BIG_SIZE));
    const fd = openSync(`${root}/big`, "r");
    try {
      for (const [position, length] of [
        [0, 1],
        [4095, 2],
        [PATTERN.length - 5, 10],
        [7_654_321, 100_000],
        [BIG_SIZE - 10, 100],
        [BIG_SIZE, 10],
        [BIG_SIZE + 4096, 10],
      ] as const) {
        const bytes = Buffer.alloc(length);
        const count = readSync(fd, bytes, 0, length, position);
        expect(count).toBe(Math.max(0, Math.min(length, BIG_SIZE - position)));
        const at = position % PATTERN.length;
        const wanted = Buffer.concat([PATTERN.subarray(at), PATTERN]).subarray(0, count);
        expect(bytes.subarray(0, count).equals(wanted)).toBe(true);
      }
    } finally {
      closeSync(fd);
    }
  });

  test("serves four readers at once", () => {
    const sums = output("sh", "-c", `for i in 1 2 3 4; do sha256sum "$1/big" & done; wait`, "sh", root);
    expect(
      sums
        .trimEnd()
        .split("\n")
        .map((line) => line.slice(0, 64)),
    ).toEqual(Array.from({ length: 4 }, () => patternHash(BIG_SIZE)));
  });

  test("maps files into memory", () => {
    const [size, digest] = python<[number, string]>(
      `import mmap,sys,json,hashlib
with open(sys.argv[1],'rb') as f:
    m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)
    print(json.dumps([len(m), hashlib.sha256(m).hexdigest()]))`,
      `${root}/big`,
    );
    expect([size, digest]).toEqual([BIG_SIZE, patternHash(BIG_SIZE)]);
  });

  test("tells where a sparse file of 16 GiB has data, and reads its holes as zeros", () => {
    const [places, hole, data] = python<[number[], string, string]>(
      `import os,sys,json
f = os.open(sys.argv[1], os.O_RDONLY)
def seek(position, whence):
    try: return os.lseek(f, position, whence)
    except OSError as e: return -e.errno
places, at = [], 0
while at >= 0:
    at = seek(at, os.SEEK_DATA)
    places.append(at)
    if at >= 0:
        at = seek(at, os.SEEK_HOLE)
        places.append(at)
places.append(seek(1 << 34, os.SEEK_HOLE))
print(json.dumps([places, os.pread(f, 64, 5 << 30).hex(), os.pread(f, 64, 10 << 30).hex()]))`,
      `${root}/sparse`,
    );
    expect(places).toEqual([4096, 8192, 10 * GIB, 10 * GIB + 8192, -6, -6]);
    expect(hole).toBe("00".repeat(64));
    expect(data).toBe(PATTERN.subarray(0, 64).toString("hex"));
  });

  test("shows targets of links byte for byte", () => {
    expect(output("readlink", `${root}/links/near`)).toBe("../five/a\n");
    expect(output("cat", `${root}/links/near`)).toBe("I am a\n");
    expect(output("readlink", `${root}/links/nowhere`)).toBe("/no/such\xe9/place\n");
    expect(output("readlink", `${root}/links/long`)).toBe(`${"x".repeat(4095)}\n`);
    expect(run("readlink", "-v", `${root}/links/too-long`).errors).toContain("File name too long");
  });

  test("tells a file's birth time where there is one", () => {
    const born = output("stat", "-c", "%n %.9W", `${root}/times/born`, `${root}/times/year-2446`);
    expect(born).toContain("born 1234567890.987654321");
    expect(born).toContain("year-2446 15032385534.000000123");
    expect(output("stat", "-c", "%w", `${root}/times/before-1970`)).toBe("-\n");
  });

  test("tells df the numbers of the directory that is asked about", () => {
    const [blocks, files] = output("stat", "-f", "-c", "%b %c %S %f %a %d", `${root}/five`).split(" ");
    expect([blocks, files]).toEqual(["5000000000", "5"]);
    expect(output("stat", "-f", "-c", "%b %c %S %f %a %d %l", `${root}/thousand`)).toBe(
      "5000000000 1000 1024 4900000000 4800000000 7 255\n",
    );
  });
});

describe("extended attributes", () => {
  test("are listed and read as they are", () => {
    expect(output("getfattr", "-d", "-m", "-", "--absolute-names", `${root}/attributes/some`)).toBe(
      [
        `# file: ${root}/attributes/some`,
        "user.bytes=0sAP8KPQ==",
        'user.empty=""',
        'user.gr\xc3\xb6\xc3\x9fe="9"',
        'user.guest.security.selinux="system_u:object_r:etc_t:s0"',
        'user.text="value"',
        "",
        "",
      ].join("\n"),
    );
    expect(output("getfattr", "-n", "user.größe", "--only-values", `${root}/attributes/some`)).toBe("9");
    const large = output("getfattr", "-n", "user.large", "--only-values", `${root}/attributes/large`);
    expect(Buffer.from(large, "latin1").equals(PATTERN.subarray(0, 65_536))).toBe(true);
    expect(output("getfattr", "-d", "-m", "-", `${root}/attributes/none`)).toBe("");
  });

  test("say why when there is none, it is too large, or it is of another kind", () => {
    const errors = python<number[]>(
      `import os,sys,json
def errno(name, file):
    try: os.getxattr(sys.argv[1] + '/' + file, name)
    except OSError as e: return e.errno
print(json.dumps([errno('user.no', 'some'), errno('user.too-large', 'too-large'),
  errno('security.selinux', 'some'), errno('trusted.x', 'some')]))`,
      `${root}/attributes`,
    );
    expect(errors).toEqual([61, 7, 95, 95]);
  });

  test("are not asked for file by file when ls -l lists 1,000 files", async () => {
    const asked = await requests(Opcode.GETXATTR, () => output("ls", "-l", `${root}/thousand`));
    expect(asked).toBeLessThan(10);
  });
});

describe("what costs a round trip", () => {
  test("find -size over 1,000 files just listed looks up no file by itself", async () => {
    const looked = await requests(Opcode.LOOKUP, () => output("find", `${root}/thousand`, "-size", "+1k"));
    expect(looked).toBeLessThan(5);
  });

  test("a file of 48 MiB is read in requests of up to 1 MiB", async () => {
    const reads = await requests(Opcode.READ, () => output("dd", `if=${root}/big`, "of=/dev/null", "bs=1M"));
    expect(reads).toBeGreaterThanOrEqual(49);
    expect(reads).toBeLessThan(70);
  });
});

describe("changing anything", () => {
  const attempts = (path: string): string[][] => [
    ["touch", `${path}/five/a`],
    ["touch", `${path}/five/new`],
    ["rm", "-f", `${path}/five/a`],
    ["mkdir", `${path}/new`],
    ["rmdir", `${path}/five`],
    ["mv", `${path}/five/a`, `${path}/five/z`],
    ["ln", `${path}/five/a`, `${path}/five/z`],
    ["ln", "-s", "a", `${path}/five/z`],
    ["mkfifo", `${path}/five/z`],
    ["chmod", "777", `${path}/five/a`],
    ["chown", "1", `${path}/five/a`],
    ["truncate", "-s", "0", `${path}/five/a`],
    ["setfattr", "-n", "user.x", "-v", "y", `${path}/five/a`],
    ["setfattr", "-x", "user.text", `${path}/attributes/some`],
    ["dd", "if=/dev/null", `of=${path}/five/a`, "conv=notrunc"],
    ["fallocate", "-l", "1M", `${path}/five/a`],
  ];

  test("is refused as on any read-only file system", () => {
    for (const [command, ...args] of attempts(root)) {
      const { status, errors } = run(command as string, ...args);
      expect([command, status, errors]).toEqual([
        command,
        expect.not.stringMatching(/^0$/),
        expect.stringMatching(/Read-only file system/),
      ]);
      expect(status).not.toBe(0);
    }
  });

  test("is refused also after the mount was made writable", async () => {
    const other = await tests.serve();
    output("mount", "-i", "-o", "remount,rw", other.path);
    for (const [command, ...args] of attempts(other.path)) {
      const { status, errors } = run(command as string, ...args);
      expect([command, errors]).toEqual([command, expect.stringMatching(/Read-only file system/)]);
      expect(status).not.toBe(0);
    }
    expect(output("cat", `${other.path}/five/a`)).toBe("I am a\n");
    expect(await other.stop()).toBe(0);
  }, 120_000);

  test("locks of files work all the same", () => {
    expect(output("flock", `${root}/five/a`, "echo", "locked")).toBe("locked\n");
  });
});

describe("permissions", () => {
  test("are the files' own for an ordinary user", () => {
    const [command, ...args] = AS_USER;
    expect(output(command as string, ...args, "cat", `${root}/five/a`)).toBe("I am a\n");
    const { status, errors } = run(command as string, ...args, "cat", `${root}/kinds/secret`);
    expect([status, errors]).toEqual([1, expect.stringContaining("Permission denied")]);
  });
});

describe("damage", () => {
  test("in one file is an I/O error for that file, and the others are there", () => {
    const names = output("ls", "-U", `${root}/broken`).trimEnd().split("\n");
    expect(names.sort()).toEqual([...expected.at("broken").children.keys()].sort());
    expect(output("cat", `${root}/broken/good`)).toBe("fine\n");
    for (const name of ["damaged", "fault", "disk", "odd-errno"]) {
      const { status, errors } = run("cat", `${root}/broken/${name}`);
      expect([name, status, errors]).toEqual([name, 1, expect.stringContaining("Input/output error")]);
    }
  });

  test("in the middle of a directory leaves what lies before it", () => {
    const { status, output: names, errors } = run("ls", `${root}/broken/half`);
    expect(status).not.toBe(0);
    expect(errors).toContain("Input/output error");
    expect(names.trimEnd().split("\n")).toHaveLength(40);
  });

  test("a name that no path can hold is left out, the directory's others are listed", () => {
    const names = output("ls", "-U", `${root}/broken/impossible-names`);
    expect(names).toBe("first\nlast\n");
  });

  test("of the same kind is one line in the log, however often it is met", async () => {
    for (let i = 0; i < 50; i++) run("stat", `${root}/broken/fault`);
    await eventually(() => /RangeError/.test(served.log()), true);
    expect(served.log().match(/^request 1: RangeError: offset is out of range$/gm)).toHaveLength(1);
    expect(served.log()).toMatch(/^request 1: Error: EIO: i\/o error, read$/m);
  }, 120_000);
});

const HANDLES = `
import ctypes, json, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
root, order = sys.argv[1], json.loads(sys.argv[2])
def handle_of(path):
    buffer = ctypes.create_string_buffer(8 + 128)
    struct.pack_into('Ii', buffer, 0, 128, 0)
    mount = ctypes.c_int()
    if libc.name_to_handle_at(-100, os.fsencode(path), buffer, ctypes.byref(mount), 0) != 0:
        raise OSError(ctypes.get_errno(), path)
    size = struct.unpack_from('I', buffer)[0]
    return buffer.raw[:8 + size].hex()
def content_of(handle):
    top = os.open(root, os.O_RDONLY)
    fd = libc.open_by_handle_at(top, ctypes.create_string_buffer(bytes.fromhex(handle)), os.O_RDONLY)
    os.close(top)
    if fd < 0: return -ctypes.get_errno()
    text = ' '.join(os.listdir(fd)) if os.fstat(fd).st_mode & 0o40000 else os.read(fd, 100).decode()
    return [text, os.readlink('/proc/self/fd/%d' % fd)]
print(json.dumps([handle_of(root + '/' + p) if k == 'of' else content_of(p) for k, p in order]))
`;

describe("file handles, as an NFS server keeps them", () => {
  type Opened = number | [string, string];

  test("open the same files after the caches were dropped, and after a restart", async () => {
    const first = await tests.serve({ timeout: 3_600_000 });
    const paths = ["five/a", "five", "names/two\nlines", "thousand/t999"];
    const order = paths.map((path) => ["of", path]);
    const handles = python<string[]>(HANDLES, first.path, JSON.stringify(order));
    const wanted: Opened[] = [
      ["I am a\n", `${first.path}/five/a`],
      ["a b c d e", `${first.path}/five`],
      ["named 9\n", `${first.path}/names/two\nlines`],
      ["999\n", `${first.path}/thousand/t999`],
    ];
    const open = JSON.stringify(handles.map((handle) => ["open", handle]));
    const anyPath = (opened: Opened[]): unknown =>
      opened.map((one) => (typeof one === "number" ? one : one[0]));

    writeFileSync("/proc/sys/vm/drop_caches", "2");
    expect(anyPath(python<Opened[]>(HANDLES, first.path, open))).toEqual(anyPath(wanted));
    expect(await first.stop()).toBe(0);
    const second = await tests.serve({ path: first.path, timeout: 3_600_000 });
    expect(anyPath(python<Opened[]>(HANDLES, second.path, open))).toEqual(anyPath(wanted));
    // With the names looked up, a handle leads to the same path again.
    output("stat", ...paths.map((path) => `${second.path}/${path}`));
    expect(python<Opened[]>(HANDLES, second.path, open)).toEqual(wanted);

    // The last word of the handle is the generation: with another one, it is another file.
    const file = Buffer.from(handles[0] as string, "hex");
    file.writeUInt32LE(file.readUInt32LE(8 + 8) + 1, 8 + 8);
    const stale = JSON.stringify([["open", file.toString("hex")]]);
    expect(python<Opened[]>(HANDLES, second.path, stale)).toEqual([-116]);
    await second.order({ order: "change", change: { kind: "remove", directory: "five", name: "a" } });
    writeFileSync("/proc/sys/vm/drop_caches", "2");
    const gone = JSON.stringify([["open", handles[0]]]);
    expect(python<Opened[]>(HANDLES, second.path, gone)).toEqual([-116]);
    expect(await second.stop()).toBe(0);
  }, 120_000);
});

describe("a tree that changes", () => {
  test("with short time-outs, is seen changed after they have passed, also in a file that is held open", async () => {
    const log = `${root}/live/log`;
    const fd = openSync(log, "r");
    try {
      const held = (): string => {
        const bytes = Buffer.alloc(100);
        return bytes.toString("utf8", 0, readSync(fd, bytes, 0, 100, 0));
      };
      expect(held()).toBe("first line\n");
      const text = "first line\nsecond line\n";
      await served.order({ order: "change", change: { kind: "content", path: "live/log", text } });
      expect(await eventually(() => readFileSync(log, "utf8"), text)).toBe(text);
      expect(await eventually(held, text)).toBe(text);
      const change = { kind: "create", directory: "live", name: "new", text: "x" } as const;
      await served.order({ order: "change", change });
      expect(readFileSync(`${root}/live/new`, "utf8")).toBe("x");
      expect(output("ls", `${root}/live`)).toBe("log\nnew\n");
    } finally {
      closeSync(fd);
    }
  }, 120_000);

  test("with long time-outs, is seen changed as soon as the kernel is notified, and not before", async () => {
    const live = await tests.serve({ timeout: 3_600_000, longTimeouts: true });
    const tree = sampleTree(0);
    const directory = tree.at("live");
    const file = tree.at("live/log");
    const path = `${live.path}/live/log`;
    const list = (): string => output("ls", `${live.path}/live`);
    expect([list(), readFileSync(path, "utf8")]).toEqual(["log\n", "first line\n"]);

    // The same size and times: nothing but the notification tells.
    const text = "FIRST LINE\n";
    const overwrite = { kind: "content", path: "live/log", text, keepTimes: true } as const;
    await live.order({ order: "change", change: overwrite });
    expect(readFileSync(path, "utf8")).toBe("first line\n");
    expect(await live.order({ order: "inode", high: file.high, low: file.low })).toBe(true);
    expect(readFileSync(path, "utf8")).toBe(text);

    const grown = "FIRST LINE\nsecond\n";
    await live.order({ order: "change", change: { kind: "content", path: "live/log", text: grown } });
    expect(output("stat", "-c", "%s", path)).toBe("11\n");
    await live.order({ order: "inode", high: file.high, low: file.low });
    expect(readFileSync(path, "utf8")).toBe(grown);

    const create = { kind: "create", directory: "live", name: "new", text: "x" } as const;
    await live.order({ order: "change", change: create });
    expect(list()).toBe("log\n");
    await live.order({ order: "inode", high: directory.high, low: directory.low });
    expect(list()).toBe("log\nnew\n");

    await live.order({ order: "change", change: { kind: "remove", directory: "live", name: "log" } });
    expect(output("stat", "-c", "%s", path)).toBe("18\n");
    await live.order({ order: "inode", high: directory.high, low: directory.low });
    const { high, low } = directory;
    const name = "log";
    const gone = { order: "delete", high, low, childHigh: file.high, childLow: file.low, name } as const;
    expect(await live.order(gone)).toBe(true);
    expect(run("stat", path).errors).toContain("No such file");
    expect(list()).toBe("new\n");
    expect(await live.stop()).toBe(0);
  }, 120_000);

  test("with long time-outs, a file whose own time-out is short is seen changed without a notification", async () => {
    const live = await tests.serve({ timeout: 100, longTimeouts: true });
    const path = `${live.path}/live/log`;
    const fd = openSync(path, "r");
    try {
      const held = (): string => {
        const bytes = Buffer.alloc(100);
        return bytes.toString("utf8", 0, readSync(fd, bytes, 0, 100, 0));
      };
      expect([held(), readFileSync(path, "utf8")]).toEqual(["first line\n", "first line\n"]);
      for (const text of ["FIRST LINE\n", "FIRST LINE\nsecond\n", "short\n"]) {
        await live.order({ order: "change", change: { kind: "content", path: "live/log", text } });
        expect(await eventually(held, text)).toBe(text);
        expect(await eventually(() => readFileSync(path, "utf8"), text)).toBe(text);
      }
      const change = { kind: "create", directory: "live", name: "new", text: "x" } as const;
      const list = (): string => output("ls", `${live.path}/live`);
      expect(list()).toBe("log\n");
      await live.order({ order: "change", change });
      expect(await eventually(list, "log\nnew\n")).toBe("log\nnew\n");
    } finally {
      closeSync(fd);
    }
    expect(await live.stop()).toBe(0);
  }, 120_000);

  test("the kernel may be notified of names and files that it has never heard of", async () => {
    const node = expected.at("five");
    expect(await served.order({ order: "inode", high: 1, low: 77 })).toBe(false);
    expect(await served.order({ order: "entry", high: node.high, low: node.low, name: "no" })).toBe(false);
    output("stat", `${root}/five/b`);
    expect(await served.order({ order: "entry", high: node.high, low: node.low, name: "b" })).toBe(true);
    expect(typeof (await served.order({ order: "epoch" }))).toBe("boolean");
    expect(output("cat", `${root}/five/b`)).toBe("I am b\n");
  });

  test("it is known which nodes the kernel has, to the last one", async () => {
    const live = await tests.serve({ timeout: 3_600_000, longTimeouts: true });
    const fd = openSync(`${live.path}/live/log`, "r");
    try {
      // One by one, all of a directory, the same again, some that are looked up twice, and what is not there.
      run("find", live.path, "-xdev", "-size", "+0");
      output("ls", "-f", `${live.path}/many`);
      output("stat", `${live.path}/five/a`, `${live.path}/five/b`);
      await live.order({ order: "epoch" });
      output("stat", `${live.path}/five/a`, `${live.path}/live`);
      run("stat", `${live.path}/five/none`);
      expect(await live.order<number>({ order: "held" })).toBeGreaterThan(21_000);
      // It lets go of all that is not in use (reconfigure_super): left are the file that is open, and its directory.
      output("mount", "-i", "-o", "remount,ro", live.path);
      const held = async (): Promise<number> => {
        output("stat", live.path);
        return live.order<number>({ order: "held" });
      };
      await expect.poll(held, { timeout: 10_000 }).toBe(2);
    } finally {
      closeSync(fd);
    }
    expect(await live.stop()).toBe(0);
  }, 120_000);

  test("with long time-outs, opening and listing again ask nothing", async () => {
    const live = await tests.serve({ timeout: 3_600_000, longTimeouts: true });
    const work = (): void => {
      output("ls", "-lR", `${live.path}/thousand`);
      output("cat", `${live.path}/thousand/t5`);
    };
    work();
    const count = async (): Promise<number> =>
      (await live.order<number[]>({ order: "requests" })).reduce((sum, one) => sum + one, 0);
    const before = await count();
    work();
    // Each ls asks a few times for attributes that no tree has.
    expect((await count()) - before).toBeLessThan(8);
    expect(await live.stop()).toBe(0);
  }, 120_000);
});
