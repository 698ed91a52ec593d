/** The file systems that the oracle tests make: how mke2fs makes each, and what the kernel fills it with. */
import { rm, truncate, writeFile } from "node:fs/promises";
import { run } from "./images-mount.js";

/** One file system to be made, filled, read by the kernel and by us. */
export interface Recipe {
  /** What it is, as the test's name tells it. */
  readonly name: string;
  /** For truncate(1). */
  readonly size: string;
  readonly mke2fs: readonly string[];
  /** Options of populate.py. */
  readonly fill: readonly string[];
  /** Before it is filled. */
  readonly before?: (image: string) => Promise<void>;
  /** After it was filled and unmounted. */
  readonly after?: (image: string) => Promise<void>;
  /** Options of mount(8) beside `loop` and `ro`. */
  readonly mount?: string;
  /** Who fills it: the kernel, or mke2fs from a folder. */
  readonly filledBy?: "kernel" | "mke2fs";
  /** Who tells what is in it: the kernel, or debugfs where the kernel cannot mount it. */
  readonly oracle?: "kernel" | "debugfs";
  /** Turns a copy into an image with the same contents that the kernel can mount. */
  readonly forKernel?: (copy: string) => Promise<void>;
  /** The journal lies on a device of its own. */
  readonly journalDevice?: true;
}

const uuid = "5c1a5c10-d000-4000-8000-0123456789ab";

function ext(
  type: "ext2" | "ext3" | "ext4",
  block: number,
  more: readonly string[] = [],
): { mke2fs: readonly string[] } {
  return { mke2fs: ["-t", type, "-b", `${block}`, "-U", uuid, "-E", `hash_seed=${uuid}`, ...more] };
}

function fill(block: number, ...more: string[]): string[] {
  return ["--block", `${block}`, ...more];
}

/** Sections of populate.py that a file system without extents cannot hold (no fallocate). */
const blockMapped = ["--without", "unwritten"];
/** The rest, for a recipe that is about something else. */
const few = [
  "--only",
  "names",
  "deep",
  "gaps",
  "links",
  "contents",
  "small",
  "symlinks",
  "nodes",
  "attributes",
  "acls",
];

const debugfs = (image: string, ...commands: string[]) =>
  writeFile(`${image}.debugfs`, `${commands.join("\n")}\n`)
    .then(() => run("debugfs", ["-w", "-f", `${image}.debugfs`, image]))
    .then(() => rm(`${image}.debugfs`));

/** e2fsck puts right what a changed feature left behind; 1 and 2: errors corrected. */
const e2fsck = (image: string) => run("e2fsck", ["-f", "-y", image], { accept: [1, 2] });

const EXT4_INDEX_FL = 0x1000;
const EXT4_EXTENTS_FL = 0x80000;
const EXT4_VERITY_FL = 0x100000;
const EXT4_CASEFOLD_FL = 0x40000000;
/** Directories that become casefolded, by whether they have an index. */
const casefolded = {
  "/names": true,
  "/wide": true,
  "/gaps/500": true,
  "/rotated": false,
  "/small/dir-grown-9": false,
};

export const recipes: readonly Recipe[] = [
  { name: "ext2, 1 KiB blocks", size: "128M", ...ext("ext2", 1024), fill: fill(1024, ...blockMapped) },
  { name: "ext2, 4 KiB blocks", size: "256M", ...ext("ext2", 4096), fill: fill(4096, ...blockMapped) },
  {
    name: "ext2, 2 KiB blocks, no directory index, no file types in directories",
    size: "128M",
    ...ext("ext2", 2048, ["-O", "^dir_index,^filetype", "-I", "128"]),
    fill: fill(2048, ...blockMapped),
  },
  {
    name: "ext2 of revision 0",
    size: "128M",
    mke2fs: ["-t", "ext2", "-b", "1024", "-r", "0", "-U", uuid],
    fill: fill(
      1024,
      "--sparse-size",
      "2000000000",
      "--without",
      "unwritten",
      "acls",
      "attributes",
      "indirect",
    ),
  },
  {
    name: "a floppy's worth of ext2",
    size: "64K",
    ...ext("ext2", 1024, ["-N", "32"]),
    fill: fill(1024, "--only", "links", "rotated", "--hardlinks", "9"),
  },
  {
    name: "ext3, 1 KiB blocks, a file in 10,000 pieces through indirect blocks",
    size: "192M",
    ...ext("ext3", 1024),
    fill: fill(1024, ...blockMapped, "--with", "comb", "--teeth", "11500"),
  },
  {
    name: "ext3, 4 KiB blocks",
    size: "256M",
    ...ext("ext3", 4096, ["-I", "128"]),
    fill: fill(4096, ...blockMapped),
  },
  {
    name: "ext4 as mke2fs makes it, with a directory of 100,000 entries and a file of 60,000 names",
    size: "768M",
    ...ext("ext4", 4096, ["-N", "160000"]),
    fill: fill(4096, "--extents", "--wide", "100000", "--wide-name", "20", "--hardlinks", "60000"),
  },
  {
    name: "ext4, 1 KiB blocks, a file in 10,000 extents that leaves no two blocks together",
    size: "192M",
    ...ext("ext4", 1024),
    fill: fill(1024, "--extents", "--wide", "6000", "--with", "comb", "--teeth", "11500"),
  },
  { name: "ext4, 2 KiB blocks", size: "256M", ...ext("ext4", 2048), fill: fill(2048, "--extents") },
  {
    name: "ext4 without 64bit",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "^64bit"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4 without extents",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "^extent,^64bit"]),
    fill: fill(4096, ...blockMapped),
  },
  {
    name: "ext4 without flex_bg, small groups",
    size: "256M",
    ...ext("ext4", 2048, ["-O", "^flex_bg", "-g", "2048"]),
    fill: fill(2048, "--extents"),
  },
  {
    name: "ext4 with meta_bg, small groups",
    size: "256M",
    ...ext("ext4", 1024, ["-O", "meta_bg,^resize_inode", "-g", "1024"]),
    fill: fill(1024, "--extents"),
  },
  {
    name: "ext4 with meta_bg and 32-bit descriptors",
    size: "256M",
    ...ext("ext4", 1024, ["-O", "meta_bg,^resize_inode,^64bit,^flex_bg", "-g", "1024"]),
    fill: fill(1024, "--extents"),
  },
  {
    name: "ext4 with sparse_super2",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "sparse_super2,^resize_inode"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4 with a superblock copy in each group",
    size: "128M",
    ...ext("ext4", 1024, ["-O", "^sparse_super,^resize_inode"]),
    fill: fill(1024, "--extents"),
  },
  {
    name: "ext4 with uninit_bg instead of metadata_csum",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "^metadata_csum,uninit_bg"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4 without checksums",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "^metadata_csum,^uninit_bg"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4 with metadata_csum_seed and another UUID since",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "metadata_csum_seed"]),
    fill: fill(4096, "--extents"),
    after: async (image) => {
      await run("tune2fs", ["-U", "11111111-2222-4333-8444-555555555555", image]);
    },
  },
  {
    name: "ext4 without huge_file, dir_nlink and extra_isize",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "^huge_file,^dir_nlink,^extra_isize,^large_file"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4, inodes of 128 bytes",
    size: "256M",
    ...ext("ext4", 4096, ["-I", "128"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4, inodes of 512 bytes",
    size: "256M",
    ...ext("ext4", 2048, ["-I", "512"]),
    fill: fill(2048, "--extents"),
  },
  {
    name: "ext4, inodes of 1024 bytes as large as a block",
    size: "128M",
    ...ext("ext4", 1024, ["-I", "1024"]),
    fill: fill(1024, "--extents"),
  },
  {
    name: "ext4 with inline_data",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "inline_data"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4 with inline_data in inodes of 1024 bytes and 65,100 subdirectories",
    size: "160M",
    ...ext("ext4", 1024, ["-O", "inline_data", "-I", "1024", "-N", "72000"]),
    fill: fill(1024, "--extents", "--without", "fragments", "--with", "subdirectories"),
  },
  {
    name: "ext4 without a directory index",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "^dir_index"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4 with large_dir, an index of three levels",
    size: "256M",
    ...ext("ext4", 1024, ["-O", "large_dir", "-N", "70000"]),
    fill: fill(1024, "--extents", "--wide", "40000", "--wide-name", "235"),
  },
  {
    name: "ext4 with ea_inode",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "ea_inode"]),
    fill: fill(4096, "--extents", "--with", "large_attributes"),
  },
  {
    name: "ext4 with encrypted directories, read without their keys",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "encrypt"]),
    fill: fill(4096, "--extents", "--with", "encrypted"),
  },
  {
    name: "ext4 with encrypted directories and inline_data",
    size: "128M",
    ...ext("ext4", 4096, ["-O", "encrypt,inline_data"]),
    fill: fill(4096, "--extents", ...few, "--with", "encrypted"),
  },
  {
    name: "ext4 with casefold",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "^metadata_csum"]),
    fill: fill(4096, "--extents"),
    after: async (image) => {
      await run("tune2fs", ["-O", "casefold", "-E", "encoding=utf8", image]);
      await debugfs(
        image,
        ...Object.entries(casefolded).map(
          ([path, indexed]) =>
            `set_inode_field ${path} flags ${EXT4_CASEFOLD_FL | EXT4_EXTENTS_FL | (indexed ? EXT4_INDEX_FL : 0)}`,
        ),
      );
      // It hashes the names anew, as a kernel that folds them would have.
      await e2fsck(image);
    },
    // This kernel knows no casefold. The same directories without the flags list the same.
    forKernel: async (copy) => {
      await debugfs(
        copy,
        ...Object.keys(casefolded).map((path) => `set_inode_field ${path} flags ${EXT4_EXTENTS_FL}`),
        "feature -casefold",
      );
    },
  },
  {
    name: "ext4 with verity",
    size: "128M",
    ...ext("ext4", 4096, ["-O", "verity"]),
    fill: fill(4096, "--extents", ...few),
    after: (image) =>
      debugfs(image, `set_inode_field /contents/text flags ${EXT4_VERITY_FL | EXT4_EXTENTS_FL}`),
    // Without fs-verity the kernel opens no file that has it.
    forKernel: (copy) => debugfs(copy, `set_inode_field /contents/text flags ${EXT4_EXTENTS_FL}`),
  },
  {
    name: "ext4 with bigalloc, clusters of 16 KiB",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "bigalloc", "-C", "16384"]),
    fill: fill(4096, "--extents", "--cluster", "4"),
  },
  {
    name: "ext4 with bigalloc, 1 KiB blocks in clusters of 64 KiB",
    size: "256M",
    ...ext("ext4", 1024, ["-O", "bigalloc", "-C", "65536", "-N", "8192"]),
    fill: fill(1024, "--extents", "--cluster", "64"),
  },
  {
    name: "ext4 with quotas and projects",
    size: "256M",
    ...ext("ext4", 4096),
    fill: fill(4096, "--extents"),
    // The test machine's kernel mounts quotas only to read.
    after: async (image) => {
      await run("tune2fs", ["-O", "project,quota", "-Q", "usrquota,grpquota,prjquota", image]);
      await debugfs(
        image,
        "set_inode_field /contents/text projid 1000",
        "set_inode_field /deep projid 4294967294",
      );
    },
  },
  {
    name: "ext4 with orphan_file, stable_inodes and fast_commit, without resize_inode",
    size: "256M",
    ...ext("ext4", 4096, ["-O", "orphan_file,stable_inodes,fast_commit,^resize_inode"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4 with mmp and a small journal",
    size: "128M",
    ...ext("ext4", 4096, ["-O", "mmp", "-J", "size=4"]),
    fill: fill(4096, "--extents", ...few),
  },
  {
    name: "ext4 without a journal",
    size: "128M",
    ...ext("ext4", 4096, ["-O", "^has_journal"]),
    fill: fill(4096, "--extents", ...few),
  },
  {
    name: "ext4 with its journal on another device",
    size: "128M",
    ...ext("ext4", 4096),
    fill: fill(4096, "--extents", ...few),
    journalDevice: true,
  },
  {
    name: "ext4 with packed metadata and reserved blocks",
    size: "256M",
    ...ext("ext4", 4096, ["-E", "packed_meta_blocks=1", "-m", "20", "-G", "64"]),
    fill: fill(4096, "--extents"),
  },
  {
    name: "ext4 of 8 TiB",
    size: "8T",
    ...ext("ext4", 4096, ["-O", "64bit", "-i", "1048576", "-E", "lazy_itable_init=1,lazy_journal_init=1"]),
    fill: fill(4096, "--extents", ...few, "sparse", "unwritten"),
  },
  {
    name: "ext4, directories hashed by tea",
    size: "256M",
    ...ext("ext4", 1024),
    before: async (image) => {
      await run("tune2fs", ["-E", "hash_alg=tea", image]);
    },
    fill: fill(1024, "--extents", "--wide", "6000"),
  },
  {
    name: "ext4, directories hashed by the legacy function, characters unsigned",
    size: "256M",
    ...ext("ext4", 1024),
    before: async (image) => {
      await run("tune2fs", ["-E", "hash_alg=legacy", image]);
      await debugfs(image, "set_super_value flags 2");
    },
    fill: fill(1024, "--extents", "--wide", "6000"),
  },
  {
    name: "ext4, directories hashed by half_md4, characters unsigned, another seed",
    size: "256M",
    ...ext("ext4", 1024, ["-E", "hash_seed=00112233-4455-6677-8899-aabbccddeeff"]),
    before: (image) => debugfs(image, "set_super_value flags 2"),
    fill: fill(1024, "--extents", "--wide", "6000"),
  },
  {
    name: "ext4 grown by resize2fs",
    size: "128M",
    ...ext("ext4", 1024),
    fill: fill(1024, "--extents"),
    after: async (image) => {
      await e2fsck(image);
      await truncate(image, 700 * 1024 * 1024);
      await run("resize2fs", [image]);
    },
  },
  {
    name: "ext4 with times that only a debugger sets",
    size: "128M",
    ...ext("ext4", 4096),
    fill: fill(4096, "--extents", ...few, "times"),
    after: (image) =>
      debugfs(
        image,
        ...[
          [0x80000000, 0],
          [0xffffffff, 0xfffffffc],
          [0x7fffffff, (999999999 << 2) >>> 0],
          [0x80000000, 1],
          [0x7fffffff, 3],
          [0xffffffff, 2 + 4 * 5],
          [0, 0xee6b27ff],
        ].flatMap(([low, extra], i) =>
          ["ctime", "mtime", "atime", "crtime"].flatMap((field) => [
            `set_inode_field /links/${i} ${field} @${low}`,
            `set_inode_field /links/${i} ${field}_extra ${extra}`,
          ]),
        ),
        "set_inode_field /contents/text generation 4294967295",
      ),
  },
  {
    name: "ext4 filled by mke2fs -d",
    size: "256M",
    ...ext("ext4", 4096),
    fill: fill(4096, "--without", "fragments", "sparse", "flags", "deep", "acls"),
    filledBy: "mke2fs",
  },
  ...[8192, 16384, 65536].map(
    (block): Recipe => ({
      name: `ext4, blocks of ${block / 1024} KiB`,
      size: "1G",
      mke2fs: ["-t", "ext4", "-b", `${block}`, "-U", uuid],
      fill: [
        ...fill(4096, "--wide", "3000", "--only"),
        ..."wide gaps rotated links contents small symlinks nodes modes owners times unwritten attributes".split(
          " ",
        ),
      ],
      filledBy: "mke2fs",
      oracle: "debugfs",
    }),
  ),
];
