// The images that are measured, made once by the kernel itself and kept.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";

export const folder = process.env.SLASHCLOUD_BENCH ?? "/tmp/slashcloud-bench";

const logs = (directories) => `
import os, sys
for d in range(${directories}):
    os.mkdir("%04d" % d)
    for f in range(100):
        with open("%04d/file-%03d.log" % (d, f), "wb") as out: out.write((b"%04d %03d a line of a log file\\n" % (d, f)) * 140)
`;

const large = (mebibytes) => `
import os
block = os.urandom(1 << 20)
with open("large", "wb") as out:
    for n in range(${mebibytes}): out.write(n.to_bytes(8, "little") + block[8:])
`;

const FILL = {
  many: logs(1000),
  few: logs(100),
  wide: `
import os
os.mkdir("wide")
for f in range(250000): os.close(os.open("wide/a-name-of-some-length-%06d" % f, os.O_CREAT | os.O_WRONLY))
`,
  million: `
import os
for d in range(1000):
    os.mkdir("dir-%04d" % d)
    for f in range(1000): os.close(os.open("dir-%04d/file-%03d.log" % (d, f), os.O_CREAT | os.O_WRONLY))
`,
  large: large(4096),
  big: large(256),
};

const SIZES = { many: "2G", few: "256M", wide: "1G", million: "4G", large: "6G", big: "512M", empty: "8T" };
/** Inodes, where it is more than mkfs makes. */
const INODES = { wide: 300_000, million: 1_010_000 };

const run = (program, ...args) => execFileSync(program, args, { stdio: ["ignore", "ignore", "inherit"] });

/** How a file system is made in a file, and mounted for writing. */
const KINDS = {
  ext4: {
    make: (path, name) =>
      run("mkfs.ext4", "-q", "-F", ...(name in INODES ? ["-N", `${INODES[name]}`] : []), path),
    mount: (path, point) => run("mount", "-o", "loop,noatime", path, point),
  },
  ntfs: {
    make: (path) => execFileSync("mkntfs", ["-q", "-F", "-f", path], { stdio: "ignore" }),
    mount: (path, point) => run("ntfs-3g", path, point),
  },
};

/** Makes the image of that name if it is not there; returns its path. */
export function image(name, kind = "ext4") {
  const path = join(folder, kind === "ext4" ? `${name}.img` : `${name}.${kind}.img`);
  if (existsSync(path)) return path;
  mkdirSync(folder, { recursive: true });
  const work = `${path}.part`;
  rmSync(work, { force: true });
  run("truncate", "-s", SIZES[name], work);
  KINDS[kind].make(work, name);
  if (FILL[name] !== undefined) {
    const point = join(folder, "fill");
    mkdirSync(point, { recursive: true });
    KINDS[kind].mount(work, point);
    try {
      execFileSync("python3", ["-c", FILL[name]], { cwd: point, stdio: "inherit" });
    } finally {
      run("umount", point);
    }
  }
  renameSync(work, path);
  return path;
}
