import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  chooseRoot,
  diskName,
  MAX_MOUNT_TABLE,
  parseMountTable,
  placeVolumes,
  type VolumeIdentity,
} from "../src/cloud/mount-table.js";

function volume(name: string, more: Partial<VolumeIdentity> = {}): VolumeIdentity {
  return { name, uuid: "", label: "", partUuid: "", partLabel: "", ...more };
}

const VOLUMES = [
  volume("sda1", { uuid: "A40D-85E7", label: "EFI", partUuid: "0a1b2c3d-01" }),
  volume("sda2", { uuid: "3e6be9de-8139-11d1-9106-a43f08d823a6", label: "root" }),
  volume("sda3", { uuid: "61DB7756DB7779B3", label: "my data", partLabel: "Basic data partition" }),
  volume("sdb1", {
    uuid: "b1b1b1b1-0000-0000-0000-000000000001",
    partUuid: "6b8f3d2e-57d7-4b0c-9f01-2f6ad62d1a11",
  }),
  volume("sdb", { label: "grüße" }),
  volume("sdc"),
  volume("sdd7"),
  volume("vg0-var"),
  volume("my--group-my--volume"),
];

/** Where the volumes go, as `volume: mount point`, without the root, which is sda2. */
function placed(table: string | Buffer, log: string[] = [], volumes = VOLUMES): string[] {
  const bytes = typeof table === "string" ? Buffer.from(table) : table;
  const placements = placeVolumes(parseMountTable(bytes), volumes, "sda2", (line) => log.push(line));
  expect(placements[0]).toEqual({ volume: "sda2", mountPoint: Buffer.from("/"), names: [] });
  return placements.slice(1).map(({ volume: name, mountPoint, names }) => {
    expect(`/${names.map((part) => part.toString("latin1")).join("/")}`).toBe(mountPoint.toString("latin1"));
    return `${name}: ${mountPoint.toString("latin1")}`;
  });
}

describe("a mount table is read as the guest reads it", () => {
  it("as libmount does, with escapes, comments and odd lines", () => {
    const table = [
      "# comment",
      "   # indented comment",
      "",
      "UUID=3e6be9de-8139-11d1-9106-a43f08d823a6 / ext4 errors=remount-ro 0 1",
      "\t  LABEL=my\\040data\t\t/with\\040space\\011tab\\134end  xfs\tdefaults,noatime  0  2  ",
      "/dev/sdb1 /no-options ext4",
      "/dev/sdb1 /no-numbers ext4 ro",
      'LABEL="gr\u00fc\u00dfe" /quoted vfat defaults 0 0',
      "tmpfs /tmp tmpfs size=1G 0 0",
      "proc /proc proc",
      "server:/export /net nfs4 _netdev 0 0",
      "/dev/sdb2 none swap sw 0 0",
      "/a\\1b /short-escape ext4 ro 0 0",
      "/a\\089 /not-octal ext4 ro 0 0",
      "/dev/last /without/newline ext4 ro 0 0",
    ].join("\n");
    const dir = mkdtempSync(join(tmpdir(), "slashcloud-fstab-"));
    try {
      const path = join(dir, "fstab");
      writeFileSync(path, table);
      const columns = ["--json", "--list", "--output", "SOURCE,TARGET,FSTYPE,OPTIONS"];
      const answer = execFileSync("findmnt", ["--fstab", "--tab-file", path, ...columns], {
        encoding: "utf8",
      });
      const expected = JSON.parse(answer).filesystems as Record<string, string | null>[];
      const entries = parseMountTable(Buffer.from(table)).map(({ source, mountPoint, type, options }) => ({
        source: source.toString(),
        target: mountPoint.toString(),
        fstype: type,
        options: options.join(",") || null,
      }));
      expect(entries).toEqual(expected.map((entry) => ({ ...entry, options: entry.options ?? null })));
      expect(entries.length).toBe(12);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });

  it("without the lines that are none, whatever bytes they hold", () => {
    expect(parseMountTable(Buffer.from("one\ntwo fields\n\0\0\0\n\n\n"))).toEqual([]);
    expect(parseMountTable(Buffer.alloc(0))).toEqual([]);
    const [entry] = parseMountTable(Buffer.from("LABEL=\xff /caf\xe9 ext4", "latin1"));
    expect(entry?.mountPoint).toEqual(Buffer.from("/caf\xe9", "latin1"));
  });

  it("up to a bound", () => {
    const line = "/dev/sda1 /mnt ext4 defaults 0 0\n";
    expect(parseMountTable(Buffer.from(line.repeat(1_000_000)))).toHaveLength(1000);
    expect(parseMountTable(Buffer.alloc(MAX_MOUNT_TABLE + 1, "a b "))).toEqual([]);
    expect(parseMountTable(Buffer.alloc(16 * MAX_MOUNT_TABLE, "\n"))).toEqual([]);
    const log: string[] = [];
    expect(placed(`LABEL=${"\\040".repeat(100_000)} /mnt ext4`, log)).toEqual([]);
    expect(log[0]!.length).toBeLessThan(1000);
  });
});

describe("a volume goes where the mount table says, named by", () => {
  it.each([
    ["UUID=a40d-85e7 /boot/efi vfat umask=0077", "sda1: /boot/efi"],
    ["UUID=A40D-85E7 /boot/efi vfat umask=0077", "sda1: /boot/efi"],
    ['UUID="61db7756db7779b3" /data ntfs-3g defaults', "sda3: /data"],
    ["UUID='B1B1B1B1-0000-0000-0000-000000000001' /b ext4", "sdb1: /b"],
    ["LABEL=EFI /efi auto", "sda1: /efi"],
    ["LABEL=my\\040data /data auto", "sda3: /data"],
    ['LABEL="my\\040data" /data auto', "sda3: /data"],
    ["LABEL=grüße /g auto", "sdb: /g"],
    ["PARTUUID=0A1B2C3D-01 /p ext4", "sda1: /p"],
    ["PARTUUID=6b8f3d2e-57d7-4b0c-9f01-2f6ad62d1a11 /p ext4", "sdb1: /p"],
    ["PARTLABEL=Basic\\040data\\040partition /p ext4", "sda3: /p"],
    ["/dev/disk/by-uuid/A40D-85E7 /d vfat", "sda1: /d"],
    ["/dev/disk/by-label/my\\x20data /d vfat", "sda3: /d"],
    ["/dev/disk/by-label/my\\134x20data /d vfat", "sda3: /d"],
    ["/dev/disk/by-label/gr\\xc3\\xbc\\xc3\\x9fe /d vfat", "sdb: /d"],
    ["/dev/disk/by-partuuid/0a1b2c3d-01 /d vfat", "sda1: /d"],
    ["/dev/disk/by-partlabel/Basic\\x20data\\x20partition /d ntfs", "sda3: /d"],
    ["/dev/sda1 /d ext4", "sda1: /d"],
    ["/dev/vda1 /d ext4", "sda1: /d"],
    ["/dev/xvda1 /d ext4", "sda1: /d"],
    ["/dev/hdd7 /d ext4", "sdd7: /d"],
    ["/dev/vdb /d ext4", "sdb: /d"],
    ["/dev/nvme0n1p1 /d ext4", "sda1: /d"],
    ["/dev/nvme1n1p1 /d ext4", "sdb1: /d"],
    ["/dev/nvme0n2p1 /d ext4", "sdb1: /d"],
    ["/dev/nvme2n1 /d ext4", "sdc: /d"],
    ["/dev/mmcblk0p3 /d ext4", "sda3: /d"],
    ["/dev/mmcblk2 /d ext4", "sdc: /d"],
    ["/dev/mapper/vg0-var /var ext4", "vg0-var: /var"],
    ["/dev/vg0/var /var ext4", "vg0-var: /var"],
    ["/dev/mapper/my--group-my--volume /var ext4", "my--group-my--volume: /var"],
    ["/dev/my-group/my-volume /var ext4", "my--group-my--volume: /var"],
  ])("%s", (line, expected) => {
    const log: string[] = [];
    expect(placed(line, log)).toEqual([expected]);
    expect(log).toEqual([]);
  });

  it("a disk letter as the kernel gives it", () => {
    expect([0, 1, 25, 26, 27, 701, 702].map(diskName)).toEqual([
      "sda",
      "sdb",
      "sdz",
      "sdaa",
      "sdab",
      "sdzz",
      "sdaaa",
    ]);
    expect(placed("/dev/nvme26n1p1 /d ext4", [], [volume("sdaa1")])).toEqual(["sdaa1: /d"]);
  });
});

describe("a mount table's other entries", () => {
  it.each([
    "/dev/sdb1 none swap sw 0 0",
    "/dev/sdb1 /swap swap sw 0 0",
    "proc /proc proc defaults",
    "sysfs /sys sysfs defaults",
    "tmpfs /tmp tmpfs size=50%",
    "none /run tmpfs defaults",
    "server:/export /net nfs defaults",
    "//server/share /net cifs credentials=/etc/c",
    "/srv/data /var/data none bind",
    "/dev/sdb1 /var/data none rw,bind",
    "/dev/sdb1 /var/data none rbind",
    "overlay /merged overlay lowerdir=/a,upperdir=/b,workdir=/c",
    "/var/disk.img /mnt ext4 loop",
    "/dev/sdb1 relative/path ext4 defaults",
    "/dev/sdb1 none ext4 defaults",
    `/dev/sdb1 /${"n".repeat(256)} ext4 defaults`,
    `/dev/sdb1 ${"/n".repeat(2100)} ext4 defaults`,
    "/dev/sdb1 /with\\000nul ext4 defaults",
    "/dev/sdb1 / ext4 defaults",
    "/dev/sdb1 /.. ext4 defaults",
  ])("are passed over: %s", (line) => {
    const log: string[] = [];
    expect(placed(line, log)).toEqual([]);
    expect(log).toEqual([]);
  });

  it.each([
    ["UUID=ffff-ffff /mnt vfat", '"UUID=ffff-ffff" for "/mnt"'],
    ["UUID= /mnt vfat", '"UUID=" for "/mnt"'],
    ['LABEL="" /mnt vfat', '"LABEL=\\"\\"" for "/mnt"'],
    ["PARTLABEL= /mnt vfat", '"PARTLABEL=" for "/mnt"'],
    ["LABEL=efi /mnt vfat", '"LABEL=efi" for "/mnt"'],
    ["/dev/sr0 /media/cdrom0 udf,iso9660 user,noauto", '"/dev/sr0" for "/media/cdrom0"'],
    ["/dev/nvme0n0p1 /mnt ext4", '"/dev/nvme0n0p1" for "/mnt"'],
    ["/dev/disk/by-id/ata-x-part1 /mnt ext4", '"/dev/disk/by-id/ata-x-part1" for "/mnt"'],
    [
      "/dev/mapper/other /mnt\\012forged:\\033line ext4",
      '"/dev/mapper/other" for "/mnt\\nforged:\\u001bline"',
    ],
  ])("are logged where they name a volume that is not there: %s", (line, expected) => {
    const log: string[] = [];
    expect(placed(line, log)).toEqual([]);
    expect(log).toEqual([`mount table: there is no volume ${expected}`]);
  });

  it("that mount on demand are shown too, but not in the way of others", () => {
    expect(placed("/dev/sdb1 /backup ext4 noauto,user")).toEqual(["sdb1: /backup"]);
    expect(placed("/dev/sda3 /mnt ext4 defaults\n/dev/sdb1 /mnt ext4 noauto")).toEqual(["sda3: /mnt"]);
    expect(placed("/dev/sda3 /mnt ext4 noauto\n/dev/sdb1 /mnt ext4 noauto")).toEqual(["sdb1: /mnt"]);
  });
});

describe("mount points", () => {
  it("come with parents before children and are clean", () => {
    const table = [
      "/dev/sdb1 /var/log/audit ext4",
      "/dev/sda3 //var/./log/ ext4",
      "/dev/vg0/var /var/ xfs",
      "/dev/sdc /../../srv/../opt/x/.. xfs",
    ];
    const log: string[] = [];
    expect(placed(table.join("\n"), log)).toEqual([
      "vg0-var: /var",
      "sdc: /opt",
      "sda3: /var/log",
      "sdb1: /var/log/audit",
    ]);
    expect(log).toEqual([]);
  });

  it("keep their bytes", () => {
    expect(placed(Buffer.from("/dev/sdb1 /caf\xe9/\\377 ext4", "latin1"))).toEqual(["sdb1: /caf\xe9/\xff"]);
  });

  it("show the last of several volumes, of those that there are", () => {
    expect(placed("/dev/sda3 /mnt ext4\n/dev/sdb1 /mnt/ ext4")).toEqual(["sdb1: /mnt"]);
    expect(placed("/dev/sda3 /mnt ext4\n/dev/sdx1 /mnt ext4")).toEqual(["sda3: /mnt"]);
  });

  it("may show a volume several times, the root too", () => {
    expect(placed("/dev/sdb1 /one ext4\n/dev/sdb1 /two ext4\nLABEL=root /root-again ext4")).toEqual([
      "sdb1: /one",
      "sdb1: /two",
      "sda2: /root-again",
    ]);
  });

  it("show a volume once only for all its subvolumes", () => {
    const log: string[] = [];
    const table = [
      "LABEL=root / btrfs subvol=@",
      "LABEL=root /home btrfs compress=zstd,subvol=@home",
      "/dev/sdb1 /data btrfs subvolid=256",
      "/dev/sdb1 /data/more btrfs subvolid=257",
    ];
    expect(placed(table.join("\n"), log)).toEqual(["sdb1: /data"]);
    expect(log).toEqual([
      'mount table: the subvolume of sda2 for "/home" is shown in "/"',
      'mount table: the subvolume of sdb1 for "/data/more" is shown in "/data"',
    ]);
  });
});

describe("the root file system is", () => {
  /** A guest's volumes as paths that there are; `etc/fstab=...` has contents. */
  function chosen(files: Record<string, string[]>, volumes?: VolumeIdentity[]): string | undefined {
    return chooseRoot(volumes ?? Object.keys(files).map((name) => volume(name)), {
      exists: (name, path) => files[name]!.some((file) => file.split("=")[0] === path),
      mountTable: (name) => {
        const table = files[name]!.find((file) => file.startsWith("etc/fstab="));
        return table === undefined ? undefined : Buffer.from(table.slice("etc/fstab=".length));
      },
    });
  }
  const SYSTEM = ["etc", "etc/passwd", "usr", "bin", "lib", "sbin/init", "proc", "sys", "dev", "var"];

  it("the one whose own mount table says so", () => {
    expect(
      chosen({
        sda1: ["grub"],
        sda2: [...SYSTEM, "etc/fstab=/dev/sda3 / ext4"],
        sda3: ["etc", "etc/fstab=/dev/vda3 / ext4\n/dev/sda2 /old ext4"],
      }),
    ).toBe("sda3");
    expect(
      chosen(
        { sda1: [...SYSTEM, "etc/fstab=UUID=bbbb / ext4"], sda2: [...SYSTEM, "etc/fstab=UUID=BBBB // ext4"] },
        [volume("sda1", { uuid: "aaaa" }), volume("sda2", { uuid: "bbbb" })],
      ),
    ).toBe("sda2");
  });

  it("the first of several that say so", () => {
    const root = (name: string) => [...SYSTEM, `etc/fstab=/dev/${name} / ext4`];
    expect(chosen({ sda1: ["efi"], sda2: root("sda2"), sda3: root("sda3") })).toBe("sda2");
    // A clone with the same UUID.
    const clone = volume("sdb1", { uuid: "cccc" });
    const table = [...SYSTEM, "etc/fstab=UUID=cccc / ext4"];
    expect(chosen({ sda1: table, sdb1: table }, [volume("sda1", { uuid: "cccc" }), clone])).toBe("sda1");
  });

  it("by its mount table's last word", () => {
    const table = "etc/fstab=/dev/sda1 / ext4\n/dev/sda2 / ext4";
    expect(chosen({ sda1: ["etc", table], sda2: ["etc", table] })).toBe("sda2");
  });

  it("otherwise the one that looks like one", () => {
    expect(chosen({ sda1: ["grub", "vmlinuz"], sda2: ["user"], sda3: SYSTEM })).toBe("sda3");
    expect(
      chosen({ sda1: ["bin", "lib", "sbin", "etc", "share"], sda2: ["etc", "bin", "proc", "dev"] }),
    ).toBe("sda2");
    expect(chosen({ sda1: SYSTEM, sda2: SYSTEM })).toBe("sda1");
    expect(chosen({ sda1: ["bin"], sda2: [...SYSTEM, "etc/fstab=/dev/root / auto"] })).toBe("sda2");
    expect(chosen({ sda1: ["bin"], sda2: [...SYSTEM, "etc/fstab=/dev/sdz9 / ext4"] })).toBe("sda2");
    // A home directory's etc is none.
    expect(chosen({ sda1: ["etc"], sda2: ["home", "var"] })).toBeUndefined();
  });

  it("otherwise the first with a Windows", () => {
    const windows = ["Windows", "Windows/System32/config"];
    expect(chosen({ sda1: ["EFI"], sda2: ["Recovery"], sda3: windows, sda4: windows })).toBe("sda3");
    expect(chosen({ sda1: ["boot"], sda2: ["WINNT/system32/config"] })).toBe("sda2");
    expect(chosen({ sda1: windows, sda2: SYSTEM })).toBe("sda2");
    expect(chosen({ sda1: ["Windows"], sda2: ["Windows/System32"] })).toBeUndefined();
  });

  it("otherwise the only one, or none", () => {
    expect(chosen({ sda1: ["photos"] })).toBe("sda1");
    expect(chosen({ sda1: ["photos"], sdb1: ["music"] })).toBeUndefined();
    expect(chosen({})).toBeUndefined();
  });
});
