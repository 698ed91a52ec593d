/** `slashcloud inspect`: what guests are, by their files; odd and hostile guests too. */
import { execFileSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, test, vi } from "vitest";
import { slashcloud } from "./support/control-socket.js";
import { cleanUp, run, workFolder } from "./support/images-mount.js";
import { serve } from "./support/images-serve.js";
import { buildRpms, imageOf, installRpms, makeFiles } from "./support/inspected-guest.js";

vi.setConfig({ testTimeout: 120_000 });

const folder = workFolder("inspect");

afterAll(cleanUp);

interface Told {
  readonly guest: string;
  readonly operatingSystem: { readonly id: string } | null;
  readonly packageDatabases: readonly {
    readonly manager: string;
    readonly count: number | null;
    readonly packages: readonly { name: string; version: string; architecture: string }[] | null;
  }[];
  readonly notes: readonly string[];
}

/** What `inspect --json --packages` says of one guest. */
function inspected(...args: string[]): Told {
  const { code, output, errors } = slashcloud("inspect", "--json", "--packages", ...args);
  expect({ code, errors }).toEqual({ code: 0, errors: "" });
  return (JSON.parse(output) as Told[])[0]!;
}

const OS_RELEASE = `PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
NAME='Debian GNU/Linux'
VERSION_ID="12"
VERSION_CODENAME=bookworm
ID=debian
`;
const PASSWD = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
sync:x:4:65534:sync:/bin:/bin/sync
anna:x:1000:1000:Anna,,,:/home/anna:/usr/bin/zsh
old:x:1001:1001::/home/old:
broken line
`;

/** A Debian guest with what this machine's dpkg says of itself. */
function debian(root: string): void {
  makeFiles(root, {
    "etc/os-release": OS_RELEASE,
    "etc/hostname": "# the name\nweb1.example\n",
    "etc/passwd": PASSWD,
    "boot/vmlinuz-6.1.0-9-amd64": "",
    "boot/vmlinuz-6.1.0-13-amd64": "",
    "boot/initrd.img-6.1.0-13-amd64": "",
    "lib/modules/6.1.0-13-amd64/modules.dep": "",
    "var/lib/dpkg/status": readFileSync("/var/lib/dpkg/status"),
    "usr/share/zoneinfo/Europe/Berlin": "TZif2",
    "bin/dash": readFileSync("/bin/dash"),
  });
  symlinkSync("dash", join(root, "bin/sh"));
  symlinkSync("/usr/share/zoneinfo/Europe/Berlin", join(root, "etc/localtime"));
}

describe("a Debian guest", () => {
  const root = join(folder, "debian");
  const image = join(folder, "debian.img");

  test("is told whole, and all its packages are those that dpkg tells", async () => {
    debian(root);
    mkdirSync(join(root, "var/log"), { recursive: true });
    // Records by the system's own tools.
    const wtmp = [
      "[2] [00000] [~~  ] [reboot  ] [~           ] [6.1.0               ] [0.0.0.0        ] [2026-01-30T08:00:00,000000+00:00]",
      "[7] [00100] [ts/0] [anna    ] [pts/0       ] [203.0.113.9         ] [203.0.113.9    ] [2026-01-30T09:00:00,000000+00:00]",
      "[7] [00101] [ts/1] [anna    ] [pts/1       ] [203.0.113.10        ] [203.0.113.10   ] [2026-01-31T12:10:01,000000+00:00]",
      "[8] [00101] [    ] [        ] [pts/1       ] [                    ] [0.0.0.0        ] [2026-01-31T13:00:00,000000+00:00]",
    ];
    writeFileSync(
      join(root, "var/log/wtmp"),
      execFileSync("utmpdump", ["-r"], { input: `${wtmp.join("\n")}\n`, stdio: ["pipe", "pipe", "ignore"] }),
    );
    await imageOf(root, image);
    const told = inspected(`web=${image}`);
    expect(told).toMatchObject({
      guest: "web",
      operatingSystem: {
        id: "debian",
        name: "Debian GNU/Linux",
        version: "12",
        codename: "bookworm",
        description: "Debian GNU/Linux 12 (bookworm)",
        source: "/etc/os-release",
      },
      hostName: "web1.example",
      architecture: { name: execFileSync("uname", ["-m"], { encoding: "utf8" }).trim(), source: "/bin/sh" },
      kernels: [
        { version: "6.1.0-9-amd64", image: "/boot/vmlinuz-6.1.0-9-amd64", modules: "" },
        {
          version: "6.1.0-13-amd64",
          image: "/boot/vmlinuz-6.1.0-13-amd64",
          modules: "/lib/modules/6.1.0-13-amd64",
        },
      ],
      timeZone: "Europe/Berlin",
      users: [
        { name: "root", uid: 0, gid: 0, home: "/root", shell: "/bin/bash" },
        { name: "anna", uid: 1000, gid: 1000, home: "/home/anna", shell: "/usr/bin/zsh" },
        { name: "old", uid: 1001, gid: 1001, home: "/home/old", shell: "/bin/sh" },
      ],
      logins: [{ user: "anna", time: "2026-01-31T12:10:01Z", line: "pts/1", host: "203.0.113.10" }],
      notes: [],
    });
    const dpkg = execFileSync("dpkg-query", [
      ...["--admindir", join(root, "var/lib/dpkg"), "-W"],
      `-f=${["db:Status-Status", "Package", "Version", "Architecture"].map((field) => `$\{${field}}`).join(" ")}\n`,
    ]).toString();
    const [database] = told.packageDatabases;
    expect(
      database?.packages
        ?.map(({ name, version, architecture }) => `${name} ${version} ${architecture}`)
        .sort(),
    ).toEqual(
      dpkg
        .trimEnd()
        .split("\n")
        .filter((line) => !/^(config-files|not-installed) /.test(line))
        .map((line) => line.slice(line.indexOf(" ") + 1))
        .sort(),
    );
    expect(database?.count).toBeGreaterThan(100);

    const { code, output } = slashcloud("inspect", image);
    expect(code).toBe(0);
    expect(output).toMatch(/^debian\.img\n {2}system +Debian GNU\/Linux 12 \(bookworm\)\n/);
    expect(output).toMatch(new RegExp(`^ {2}packages +dpkg: ${database?.count}$`, "m"));
    expect(output).toMatch(/^ {2}last log-ins +2026-01-31T12:10:01Z anna pts\/1 from 203\.0\.113\.10$/m);
    expect(output).not.toContain("PACKAGE");
    expect(slashcloud("inspect", "--packages", image).output).toMatch(/^libc6 +\S+ +\S+ +dpkg$/m);
  });

  test("that is served says the same by its name, but for what the policy hides", async () => {
    const policy = join(folder, "policy.yaml");
    writeFileSync(
      policy,
      "policy:\n  - {guest: less, path: /etc/passwd, access: hide}\n  - {guest: less, path: /var/lib/dpkg/status, access: metadata}\n",
    );
    const served = await serve(join(folder, "cloud"), { web: image, less: image }, ["--policy", policy]);
    const place = ["--mount", served.mountPoint, "--state", `${served.mountPoint}-state`];
    expect(inspected("web", ...place)).toEqual(inspected(`web=${image}`));
    const less = inspected("less", ...place);
    expect(less).toMatchObject({
      hostName: "web1.example",
      users: null,
      packageDatabases: [{ manager: "dpkg", count: null, packages: null }],
      notes: ["/var/lib/dpkg/status: permission denied"],
    });
    const { output } = slashcloud("inspect", "--json", ...place);
    expect((JSON.parse(output) as Told[]).map(({ guest }) => guest).sort()).toEqual(["less", "web"]);
    expect(await served.stop()).toBe(0);
  });

  test("has what lastlog(8) has written", async () => {
    writeFileSync(join(root, "var/log/lastlog"), "");
    execFileSync("lastlog", ["--root", root, "--set", "--user", "0"]);
    const expected = execFileSync("lastlog", ["--root", root, "--user", "0"], {
      encoding: "utf8",
      env: { ...process.env, LC_ALL: "C", TZ: "UTC" },
    });
    const { logins } = inspected(await imageOf(root, join(folder, "lastlog.img"))) as unknown as {
      logins: { user: string; time: string }[];
    };
    const time = logins.find(({ user }) => user === "root")?.time ?? "";
    const [, clock, year] = / (\d\d:\d\d:\d\d) \+0000 (\d{4})$/m.exec(expected) ?? [];
    expect(time).toMatch(new RegExp(`^${year}-\\d\\d-\\d\\dT${clock}Z$`));
  });
});

describe("other guests", () => {
  test("Alpine: apk's packages, the kernel by its flavour, musl's architecture", async () => {
    const root = join(folder, "alpine");
    makeFiles(root, {
      "etc/alpine-release": "3.18.4\n",
      "etc/hostname": "edge\n",
      "etc/apk/arch": "aarch64\n",
      "boot/vmlinuz-lts": "",
      "lib/modules/6.1.55-0-lts/modules.dep": "",
      "lib/apk/db/installed":
        "C:Q1abc=\nP:musl\nV:1.2.4-r2\nA:aarch64\nS:1\nF:lib\nR:ld-musl.so\n\nC:Q1def=\nP:busybox\nV:1.36.1-r5\nA:aarch64\n\n",
    });
    expect(inspected(await imageOf(root, join(folder, "alpine.img")))).toMatchObject({
      operatingSystem: { id: "alpine", version: "3.18.4", description: "Alpine Linux 3.18.4" },
      hostName: "edge",
      architecture: { name: "aarch64", source: "/etc/apk/arch" },
      kernels: [{ version: "6.1.55-0-lts", image: "/boot/vmlinuz-lts" }],
      timeZone: null,
      users: null,
      logins: null,
      packageDatabases: [
        {
          manager: "apk",
          count: 2,
          packages: [
            { name: "musl", version: "1.2.4-r2", architecture: "aarch64" },
            { name: "busybox", version: "1.36.1-r5", architecture: "aarch64" },
          ],
        },
      ],
      notes: [],
    });
  });

  test("Arch: pacman's packages; a guest without dpkg: status.d; an old one: its release file", async () => {
    const root = join(folder, "mixed");
    makeFiles(root, {
      "etc/system-release": "Example Linux release 6.10 (Final)\n",
      "etc/sysconfig/network": 'NETWORKING=yes\nHOSTNAME="old.example"\n',
      "etc/sysconfig/clock": "ZONE=America/New_York\n",
      "var/lib/wtmpdb/wtmp.db": "",
      "var/lib/pacman/local/ALPM_DB_VERSION": "9\n",
      "var/lib/pacman/local/zlib-1:1.3-2/desc": "%NAME%\nzlib\n\n%VERSION%\n1:1.3-2\n\n%ARCH%\nx86_64\n\n",
      "var/lib/dpkg/status.d/tzdata":
        "Package: tzdata\nVersion: 2024a-0\nArchitecture: all\nDescription: x\n y\n",
      "var/lib/dpkg/status.d/tzdata.md5sums": "0 /x\n",
    });
    expect(inspected(await imageOf(root, join(folder, "mixed.img")))).toMatchObject({
      operatingSystem: {
        id: "",
        name: "Example Linux",
        version: "6.10",
        codename: "Final",
        source: "/etc/system-release",
      },
      hostName: "old.example",
      timeZone: "America/New_York",
      packageDatabases: [
        { manager: "dpkg", packages: [{ name: "tzdata", version: "2024a-0", architecture: "all" }] },
        { manager: "pacman", packages: [{ name: "zlib", version: "1:1.3-2", architecture: "x86_64" }] },
      ],
      logins: null,
      notes: ["logins: they are in /var/lib/wtmpdb/wtmp.db, which is not read"],
    });
  });

  test("nothing but a file system: all is null, and the exit code 0", async () => {
    const root = join(folder, "empty");
    mkdirSync(root);
    expect(inspected(await imageOf(root, join(folder, "empty.img")))).toMatchObject({
      operatingSystem: null,
      hostName: null,
      architecture: null,
      kernels: [],
      users: null,
      packageDatabases: [],
      notes: [],
    });
  });
});

describe("rpm's database", () => {
  const built = join(folder, "rpmbuild");
  const root = join(folder, "rpm");
  const database = join(root, "var/lib/rpm/rpmdb.sqlite");

  test("made by rpm itself is read", async () => {
    await installRpms(root, await buildRpms(built, { hello: "Epoch: 4", world: "" }));
    const { packageDatabases, notes } = inspected(await imageOf(root, join(folder, "rpm.img")));
    const theirs = execFileSync("rpm", [
      ...["--root", root, "--dbpath", "/var/lib/rpm", "-qa"],
      "--qf",
      "%{NAME} %{EPOCHNUM} %{VERSION} %{RELEASE} %{ARCH}\n",
    ]).toString();
    expect(theirs.trim().split("\n").sort()).toEqual(["hello 4 1.2 3 noarch", "world 0 1.2 3 noarch"]);
    expect(packageDatabases).toEqual([
      {
        manager: "rpm",
        path: "/var/lib/rpm/rpmdb.sqlite",
        count: 2,
        packages: expect.arrayContaining([
          { name: "hello", version: "4:1.2-3", architecture: "noarch" },
          { name: "world", version: "1.2-3", architecture: "noarch" },
        ]),
      },
    ]);
    expect(notes).toEqual([]);
  });

  test("has what is in its write-ahead log alone, as after a power cut", async () => {
    const [more = ""] = await buildRpms(join(folder, "more"), { later: "" });
    const other = join(folder, "rpm-more");
    await installRpms(other, [more]);
    // What SQLite has committed stays in the log for as long as somebody has the database open.
    const script = `
import shutil, sqlite3, sys
database, other, to = sys.argv[1:]
c = sqlite3.connect(database, isolation_level=None)
c.execute("pragma journal_mode=wal")
c.execute("attach ? as other", (other,))
c.execute("insert into Packages (blob) select blob from other.Packages")
for name in (database, database + "-wal"): shutil.copy(name, to)
`;
    const cut = join(folder, "rpm-cut");
    mkdirSync(join(cut, "var/lib/rpm"), { recursive: true });
    const copy = join(folder, "rpmdb.sqlite");
    copyFileSync(database, copy);
    execFileSync("python3", [
      "-c",
      script,
      copy,
      join(other, "var/lib/rpm/rpmdb.sqlite"),
      join(cut, "var/lib/rpm"),
    ]);
    const names = (of: Told) => of.packageDatabases[0]?.packages?.map(({ name }) => name).sort();
    expect(names(inspected(await imageOf(cut, join(folder, "cut.img"))))).toEqual([
      "hello",
      "later",
      "world",
    ]);
    rmSync(join(cut, "var/lib/rpm/rpmdb.sqlite-wal"));
    expect(names(inspected(await imageOf(cut, join(folder, "cut2.img"))))).toEqual(["hello", "world"]);
  });

  test.each([
    [
      "garbage",
      (file: string) => writeFileSync(file, Buffer.alloc(100_000, "SQLite format 3")),
      /is no SQLite/,
    ],
    ["an empty file", (file: string) => writeFileSync(file, ""), /is no SQLite/],
    ["a sparse file of 2 TiB", (file: string) => truncateSync(file, 2 ** 41), /more than \d+ bytes/],
    [
      "a damaged one",
      (file: string) => {
        const bytes = readFileSync(file);
        bytes.fill(0xa5, 4096);
        writeFileSync(file, bytes);
      },
      /rpmdb\.sqlite: /,
    ],
    [
      "a view that never ends",
      (file: string) => {
        rmSync(file);
        execFileSync("python3", [
          "-c",
          `import sqlite3; c = sqlite3.connect(${JSON.stringify(file)}); c.execute("create view Packages as with recursive r(n) as (select 1 union all select n + 1 from r) select n as hnum, n as blob from r"); c.commit()`,
        ]);
      },
      /no table of packages as rpm makes it/,
    ],
    [
      "rows that are no headers",
      (file: string) => {
        execFileSync("python3", [
          "-c",
          `import sqlite3; c = sqlite3.connect(${JSON.stringify(file)}); c.execute("update Packages set blob = x'ffffffffffffffff00'"); c.commit()`,
        ]);
      },
      /2 of its entries are damaged/,
    ],
  ] as const)("that is %s is a note", async (name, spoil, expected) => {
    const bad = join(folder, `bad ${name}`);
    makeFiles(bad, { "etc/os-release": OS_RELEASE, "var/lib/rpm/rpmdb.sqlite": "" });
    copyFileSync(database, join(bad, "var/lib/rpm/rpmdb.sqlite"));
    spoil(join(bad, "var/lib/rpm/rpmdb.sqlite"));
    const told = inspected(await imageOf(bad, `${bad}.img`));
    expect(told).toMatchObject({ operatingSystem: { id: "debian" }, packageDatabases: [{ manager: "rpm" }] });
    expect(told.notes).toEqual([expect.stringMatching(expected)]);
  });

  test.each([
    ["Packages", "Berkeley DB"],
    ["Packages.db", "ndb"],
  ])("%s, of %s, is not read, and that is told", async (name, kind) => {
    const other = join(folder, kind);
    makeFiles(other, { [`usr/lib/sysimage/rpm/${name}`]: "x" });
    const { packageDatabases, notes } = inspected(await imageOf(other, `${other}.img`));
    expect(packageDatabases).toMatchObject([{ manager: "rpm", count: null, packages: null }]);
    expect(notes).toEqual([expect.stringContaining(`this is one of ${kind}`)]);
  });
});

describe("a hostile guest", () => {
  const garbage = (length: number): Buffer =>
    Buffer.from(Array.from({ length }, (_, index) => (index * 2654435761) >>> 24));

  test("holds nothing up, writes nothing into the terminal, and what is good in it is told", async () => {
    const root = join(folder, "hostile");
    debian(root);
    makeFiles(root, {
      "etc/hostname": "a\x1b]0;title\x07\u202eb\u009b31mc\n",
      "etc/passwd": garbage(300_000),
      "var/log/wtmp": garbage(500_001),
      "var/log/lastlog": garbage(1000),
      "lib/apk/db/installed": garbage(300_000),
      "var/lib/dpkg/status.d/bad": garbage(5000),
    });
    rmSync(join(root, "etc/os-release"));
    rmSync(join(root, "bin/sh"));
    // A loop, a pipe without another end, a file that is larger than the disk, a link that climbs out of the guest.
    symlinkSync("os-release", join(root, "etc/os-release"));
    execFileSync("mkfifo", [join(root, "bin/sh")]);
    truncateSync(join(root, "var/lib/dpkg/status"), 2 ** 40);
    mkdirSync(join(root, "var/lib/pacman/local/loop"), { recursive: true });
    symlinkSync("../loop/desc", join(root, "var/lib/pacman/local/loop/desc"));
    rmSync(join(root, "etc/localtime"));
    symlinkSync(`../../../../../../../..${folder}/outside`, join(root, "etc/timezone"));
    writeFileSync(join(folder, "outside"), "Outside/Host\n");
    const image = await imageOf(root, join(folder, "hostile.img"));
    const served = await serve(join(folder, "hostile-cloud"), { bad: image });
    const place = ["--mount", served.mountPoint, "--state", `${served.mountPoint}-state`];
    for (const args of [[`bad=${image}`], ["bad", ...place]]) {
      const told = inspected(...args);
      expect(told).toMatchObject({
        guest: "bad",
        operatingSystem: null,
        hostName: "a\x1b]0;title\x07\u202eb\u009b31mc",
        architecture: null,
        kernels: [{ version: "6.1.0-9-amd64" }, { version: "6.1.0-13-amd64" }],
        timeZone: null,
        users: [],
      });
      expect(told.notes).toEqual(
        expect.arrayContaining([
          expect.stringMatching(/^architecture: \/bin\/sh is no regular file/),
          expect.stringMatching(/^operating system: \/etc\/os-release: .*(links|ELOOP)/),
          expect.stringMatching(/^\/var\/lib\/dpkg\/status has more than \d+ bytes/),
          expect.stringMatching(/^\/var\/lib\/pacman\/local: .*desc/),
        ]),
      );
      for (const form of [[], ["--json", "--packages"], ["--packages"]]) {
        const { output } = slashcloud("inspect", ...form, ...args);
        expect(output.replaceAll("\n", "")).not.toMatch(/[\p{Cc}\p{Cf}]/u);
      }
    }
    expect(await served.stop()).toBe(0);
  });

  test("whose disk is damaged is told as far as it goes", async () => {
    const root = join(folder, "damaged");
    debian(root);
    const image = await imageOf(root, join(folder, "damaged.img"));
    // The blocks of the directory /etc: nothing there can be found.
    const blocks = (await run("debugfs", ["-R", "blocks /etc", image])).trim().split(/\s+/).map(Number);
    const size = Number(/Block size: +(\d+)/.exec(await run("dumpe2fs", ["-h", image]))?.[1]);
    expect(size).toBeGreaterThan(0);
    const spoilt = readFileSync(image);
    for (const block of blocks) spoilt.fill(0xff, block * size, (block + 1) * size);
    writeFileSync(image, spoilt);
    const told = inspected(image);
    expect(told).toMatchObject({ operatingSystem: null, hostName: null });
    expect(told.packageDatabases[0]?.count).toBeGreaterThan(100);
    expect(told.notes.join("\n")).toMatch(/^host name: \/etc\/hostname: /m);
  });
});
