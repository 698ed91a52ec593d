// The file systems that guests are given. `mke2fs`: its options; `mount`: those of the guest's kernel; `guest`: those of
// guest.py. `mkntfs`: it is NTFS, which `driver` mounts, one of ntfs-3g's. `check: false`: a reader may see several states of the guest at once (no journal).

const full = ["--extents"];

export const recipes = {
  ext4: { mke2fs: ["-t", "ext4", "-b", "4096"], guest: full },
  "ext4-1k": { mke2fs: ["-t", "ext4", "-b", "1024"], guest: full },
  ext3: { mke2fs: ["-t", "ext3", "-b", "4096"], guest: [] },
  "ext3-1k": { mke2fs: ["-t", "ext3", "-b", "1024"], guest: [] },
  "data-journal": { mke2fs: ["-t", "ext4", "-b", "4096"], mount: "data=journal", guest: full },
  "data-writeback": { mke2fs: ["-t", "ext4", "-b", "4096"], mount: "data=writeback", guest: full },
  "small-journal": { mke2fs: ["-t", "ext4", "-b", "1024", "-J", "size=1"], guest: full },
  "no-checksums": { mke2fs: ["-t", "ext4", "-b", "4096", "-O", "^metadata_csum"], guest: full },
  "fast-commit": {
    mke2fs: ["-t", "ext4", "-b", "4096", "-O", "fast_commit"],
    guest: [...full, "--only-synced"],
  },
  // Without fallocate and truncate: when fallocate turns inline data into a block, the kernel logs the block and never
  // revokes it, so that its own recovery puts the old bytes back; and zeros after a truncation are not on the disk when a
  // sync has returned.
  "inline-data": {
    mke2fs: ["-t", "ext4", "-b", "4096", "-O", "inline_data", "-I", "256"],
    guest: ["--whole"],
  },
  ext2: { mke2fs: ["-t", "ext2", "-b", "4096"], guest: ["--fsync", "0"], check: false },
  ntfs: { mkntfs: [], driver: "lowntfs-3g", mount: "big_writes", guest: ["--ntfs", "--fsync", "0"] },
  "ntfs-512": {
    mkntfs: ["-c", "512"],
    driver: "lowntfs-3g",
    mount: "big_writes",
    guest: ["--ntfs", "--fsync", "0"],
  },
  "ntfs-64k": {
    mkntfs: ["-c", "65536"],
    driver: "lowntfs-3g",
    mount: "big_writes",
    guest: ["--ntfs", "--fsync", "0"],
  },
};
