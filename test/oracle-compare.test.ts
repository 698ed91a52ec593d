/** The oracle itself: a tree that is the same is found the same, and whatever is changed in it is found. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compareWalks, type Walk, walkKernel } from "./oracle/compare.js";
import { copyImage, makeImage } from "./support/images.js";
import { cleanUp, mount, workFolder } from "./support/images-mount.js";

/** What each change to the copy is, and the fields that must be told of it, beside times and those of its directory. */
const changes: ReadonlyArray<{ what: string; command: string; path: string; told: readonly string[] }> = [
  {
    what: "one byte of a file, its length and modification time as before",
    command:
      't=$(stat -c %y contents/text); printf X | dd of=contents/text bs=1 seek=4095 conv=notrunc status=none; touch -d "$t" contents/text',
    path: "contents/text",
    told: ["sha", "odd"],
  },
  {
    what: "one byte of a sparse file of 16 GiB",
    command: "printf X | dd of=sparse/sparse bs=1 seek=5242881 conv=notrunc status=none",
    path: "sparse/sparse",
    told: ["sha"],
  },
  {
    what: "a hole in the place of zeros",
    command: "fallocate -d contents/zeros",
    path: "contents/zeros",
    told: ["blocks", "segments", "segmentCount"],
  },
  {
    what: "a nanosecond",
    command: "touch -d @999999999.000000002 times/t999999999.000000001",
    path: "times/t999999999.000000001",
    told: ["mtime"],
  },
  { what: "a permission", command: "chmod 4756 modes/f4755", path: "modes/f4755", told: ["mode"] },
  { what: "an owner", command: "chown 70001 owners/u70000", path: "owners/u70000", told: ["uid"] },
  {
    what: "one more name",
    command: "ln contents/random-1 names/another",
    path: "contents/random-1",
    told: ["nlink"],
  },
  {
    what: "a device number",
    command: "rm nodes/c-1-3; mknod -m 640 nodes/c-1-3 c 1 4",
    path: "nodes/c-1-3",
    told: ["rdev"],
  },
  {
    what: "a link's target of the same length",
    command: "ln -sfn a/b/c/tarGet symlinks/relative",
    path: "symlinks/relative",
    told: ["link text", "leads to"],
  },
  {
    what: "a value of an attribute",
    command: "setfattr -n user.a -v uSer attributes/namespaces",
    path: "attributes/namespaces",
    told: ["attribute user.a"],
  },
  {
    what: "an access control list",
    command: "setfacl -m u:1000:r acls/short",
    path: "acls/short",
    told: ["attribute user.guest.system.posix_acl_access"],
  },
];

const folder = workFolder("oracle-compare");
let kernel: Walk;
let same: Walk;
let changed: Walk;

/** A walk of the kernel's with attributes named as we name them. */
function asOurs(walk: Walk): Walk {
  for (const entry of walk.entries.values()) {
    if (entry.xattrs === undefined) continue;
    entry.xattrs = Object.fromEntries(
      Object.entries(entry.xattrs).map(([name, value]) => {
        const isUser = Buffer.from(name, "hex").toString("latin1").startsWith("user.");
        return [isUser ? name : Buffer.from("user.guest.").toString("hex") + name, value];
      }),
    );
  }
  return walk;
}

async function walkMounted(image: string, name: string, options: string): Promise<Walk> {
  const point = join(folder, name);
  const unmount = await mount(image, point, options);
  try {
    return await walkKernel(point);
  } finally {
    unmount();
  }
}

beforeAll(async () => {
  const { image } = await makeImage(
    {
      name: "",
      size: "256M",
      mke2fs: ["-t", "ext4", "-b", "4096"],
      fill: ["--extents", "--without", "fragments", "wide"],
    },
    join(folder, "made"),
  );
  const copy = join(folder, "copy");
  await copyImage(image, copy);
  const unmount = await mount(copy, join(folder, "changing"), "loop,noatime");
  try {
    const script = changes.map(({ command }) => command).join("\n");
    execFileSync("bash", ["-e", "-c", script], { cwd: join(folder, "changing") });
    execFileSync("rm", ["names/n".padEnd("names/".length + 255, "n")], { cwd: join(folder, "changing") });
  } finally {
    unmount();
  }
  kernel = await walkMounted(image, "kernel", "ro,loop");
  same = asOurs(await walkMounted(image, "again", "ro,loop"));
  changed = asOurs(await walkMounted(copy, "changed", "ro,loop"));
}, 120_000);

afterAll(cleanUp);

test("two mounts of one image are the same", () => {
  const { differences, compared } = compareWalks(kernel, same);
  expect(differences).toEqual([]);
  expect(compared).toBeGreaterThan(1000);
});

test.each(changes)("$what is found", ({ path, told }) => {
  const lines = compareWalks(kernel, changed, { statfs: false }).differences.filter((line) =>
    line.startsWith(`"${path}"`),
  );
  for (const field of told)
    expect(
      lines.some((line) => line.includes(`): ${field}: `)),
      field,
    ).toBe(true);
});

test("a name that is missing is found, and one that is too many", () => {
  const { differences } = compareWalks(kernel, changed, { statfs: false });
  expect(differences.some((line) => /^"names\/n+…?.*: the kernel has it/.test(line))).toBe(true);
  expect(differences.some((line) => /^"names\/another": we have it/.test(line))).toBe(true);
});

test("what was not changed is not told of", () => {
  const told = new Set(
    compareWalks(kernel, changed, { statfs: false })
      .differences.map((line) => /^"(.*?)"/.exec(line)?.[1] as string)
      .filter((path) => !path.startsWith("names/n")),
  );
  // Their directories were written to, and the link is another inode.
  const directories = ["names", "nodes", "symlinks"];
  expect([...told].sort()).toEqual(
    [...changes.map(({ path }) => path), ...directories, "names/another"].sort(),
  );
});

test("a link that leads out of its guest is found", () => {
  const leading = { statfs: same.statfs, entries: new Map(same.entries) };
  const path = Buffer.from("symlinks/host").toString("hex");
  const link = same.entries.get(path)!;
  leading.entries.set(path, { ...link, leads: { ...link.leads, outside: "/etc/passwd" } });
  expect(compareWalks(kernel, leading).differences.join("\n")).toContain("leads out of the guest");
});

test("another count of free blocks is found", () => {
  const { free } = same.statfs;
  const differences = compareWalks(kernel, {
    ...same,
    statfs: { ...same.statfs, free: free! - 1 },
  }).differences;
  expect(differences).toEqual([`statfs.free: kernel ${free}, ours ${free! - 1}`]);
});
