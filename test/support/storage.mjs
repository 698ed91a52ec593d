/**
 * Storage that a test can stall: serves one file at a mount point, `node storage.mjs DIST FILE MOUNTPOINT`, as `disk.img`.
 * Prints "ready"; stalls while it is stopped (SIGSTOP).
 */
import { fstatSync, openSync, readSync, writeSync } from "node:fs";

const [, , dist, file, mountPoint] = process.argv;
const { mount } = await import(`${dist}/fuse/kernel/mount.js`);
const { FuseServer } = await import(`${dist}/fuse/kernel/server.js`);

const NAME = Buffer.from("disk.img");
const ROOT = 1;
const DISK = 2;
const image = openSync(file, "r");

function fill(node, out) {
  const { size, mtimeMs } = fstatSync(image);
  Object.assign(out, { high: 0, low: node, generation: 0, inoHigh: 0, timeout: 0 });
  Object.assign(out.attributes, { ino: node, generation: 0, nlink: 1, uid: 0, gid: 0, major: 0, minor: 0 });
  Object.assign(out.attributes, {
    mode: node === ROOT ? 0o040755 : 0o100644,
    size,
    blocks: 0,
    blksize: 4096,
  });
  for (const time of ["atime", "btime", "ctime", "mtime"]) {
    out.attributes[time] = Math.floor(mtimeMs / 1000);
    out.attributes[`${time}Nsec`] = Math.floor((mtimeMs % 1000) * 1e6);
  }
}

const tree = {
  refresh() {},
  holds: () => true,
  lookup(_high, _low, name, out) {
    if (!name.equals(NAME)) return false;
    fill(DISK, out);
    return true;
  },
  parent: (_high, _low, out) => fill(ROOT, out),
  stat: (_high, low, out) => fill(low, out),
  entry: (_high, low, out) => fill(low, out),
  list(_high, _low, position, visitor) {
    if (position === 0) visitor.entry(NAME, 0, NAME.length, 0, DISK, 8, 1);
  },
  read: (_high, _low, position, length, target, offset) => readSync(image, target, offset, length, position),
  seek: () => -1,
  attributeNames: () => [],
  attribute: () => undefined,
  statistics: () => {},
  told: () => {},
  forgotten: () => {},
};

const { fd } = mount(mountPoint);
writeSync(1, "ready\n");
new FuseServer({ fd, tree, log: (line) => writeSync(2, `${line}\n`) }).serve();
