/**
 * Debian's kernel for virtual machines under QEMU, with modules that the host's kernel may lack: runs a script on images,
 * on a root of busybox and Python. What the script leaves in /out is handed back.
 */
import { execFile, execFileSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { cloudKernel } from "./guest-machine.js";
import { onEnd, run } from "./images-mount.js";

/** Debian's, whatever else is first in PATH. */
const PYTHON = "/usr/bin/python3";
/** ms. */
const LIMIT = 300_000;

/** A module of that kernel's, from the package that it is in; kept beside the kernel. */
async function moduleOf(kernel: string, path: string): Promise<string> {
  const file = `${kernel}-${path.replaceAll("/", "-")}`;
  if (existsSync(file)) return file;
  const work = mkdtempSync(join(dirname(kernel), "part-"));
  const done = onEnd(() => rmSync(work, { recursive: true, force: true }));
  const name = kernel.slice(kernel.lastIndexOf("/") + 1);
  await run("sh", ["-c", 'cd "$1" && apt-get download -q "$2"', "sh", work, name]);
  const pattern = `./lib/modules/*/kernel/${path}`;
  await run("sh", [
    "-c",
    'cd "$1" && dpkg-deb --fsys-tarfile *.deb | tar -xO --wildcards "$2" > module',
    "sh",
    work,
    pattern,
  ]);
  renameSync(join(work, "module"), file);
  done();
  return file;
}

/** What the scripts import; and the files that Python has loaded then. */
const IMPORTS =
  "argparse, array, ctypes, encodings.idna, errno, fcntl, hashlib, json, locale, os, random, resource, stat, struct, sys";

function pythonModules(): string[] {
  const program = `import ${IMPORTS}
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", None) or "")`;
  const found = execFileSync(PYTHON, ["-c", program], { encoding: "utf8" }).split("\n");
  return [...new Set(found)].filter((file) => file.startsWith("/"));
}

function addFile(root: string, file: string): void {
  mkdirSync(join(root, dirname(file)), { recursive: true });
  if (!existsSync(join(root, file))) copyFileSync(file, join(root, file));
}

/** Copies a program with the libraries that it needs. */
function addProgram(root: string, program: string): void {
  const libraries = execFileSync("ldd", [program], { encoding: "utf8" });
  for (const file of [program, ...(libraries.match(/\/\S+/g) ?? [])]) addFile(root, file);
}

/**
 * Runs a shell script; `images` are its /dev/nvme1n1, /dev/nvme2n1, ..., `files` are at hand in /files. Returns the folder
 * with what it left in /out. Throws, with what was printed, unless all of it succeeds.
 */
export async function inQemu(
  folder: string,
  modules: readonly string[],
  images: readonly string[],
  files: readonly string[],
  script: string,
): Promise<string> {
  const kernel = await cloudKernel();
  const root = join(folder, "qemu-root");
  for (const name of ["bin", "dev", "proc", "sys", "mnt", "out", "files", "usr/lib"])
    mkdirSync(join(root, name), { recursive: true });
  copyFileSync("/bin/busybox", join(root, "bin/busybox"));
  for (const applet of ["sh", "mount", "umount", "insmod", "poweroff", "mkdir", "sync", "cat"])
    symlinkSync("busybox", join(root, "bin", applet));
  addProgram(root, PYTHON);
  for (const module of pythonModules())
    if (module.endsWith(".so")) addProgram(root, module);
    else addFile(root, module);
  for (const file of files) copyFileSync(file, join(root, "files", file.slice(file.lastIndexOf("/") + 1)));
  const insmod: string[] = [];
  for (const path of modules) {
    const file = await moduleOf(kernel, path);
    const name = path.slice(path.lastIndexOf("/") + 1);
    copyFileSync(file, join(root, name));
    insmod.push(`insmod /${name}`);
  }
  const init = [
    "#!/bin/sh",
    "export PATH=/bin:/usr/bin",
    "mount -t proc proc /proc",
    "mount -t devtmpfs dev /dev",
    "mount -o remount,rw /",
    ...insmod,
    `(\nset -e\n${script}\necho "qemu: done"\n)`,
    "sync",
    "mount -o remount,ro /",
    "poweroff -f",
  ];
  writeFileSync(join(root, "init"), `${init.join("\n")}\n`, { mode: 0o755 });
  const disk = join(folder, "qemu-root.img");
  await run("truncate", ["-s", "200M", disk]);
  await run("mke2fs", ["-q", "-F", "-t", "ext4", "-O", "^metadata_csum", "-d", root, disk]);
  rmSync(root, { recursive: true });
  const drives = [disk, ...images].flatMap((image, n) => [
    ...["-drive", `file=${image},format=raw,cache=unsafe,if=none,id=disk${n}`],
    ...["-device", `nvme,drive=disk${n},serial=disk${n}`],
  ]);
  const output = await new Promise<string>((resolve) => {
    execFile(
      "qemu-system-x86_64",
      [
        ...[
          "-machine",
          "q35",
          "-accel",
          "tcg",
          "-m",
          "256",
          "-nodefaults",
          "-display",
          "none",
          "-serial",
          "stdio",
        ],
        ...drives,
        ...[
          "-kernel",
          kernel,
          "-append",
          "root=/dev/nvme0n1 init=/init console=ttyS0 quiet panic=-1",
          "-no-reboot",
        ],
      ],
      { maxBuffer: 1 << 28, timeout: LIMIT, killSignal: "SIGKILL" },
      (_, stdout, stderr) => resolve(stdout + stderr),
    ).stdin?.end();
  });
  if (!output.includes("qemu: done"))
    throw new Error(`the script failed under QEMU:\n${output.slice(-8000)}`);
  const out = join(folder, "qemu-out");
  mkdirSync(out);
  await run("debugfs", ["-R", `rdump /out ${out}`, disk]);
  rmSync(disk);
  return join(out, "out");
}
