/**
 * A Linux kernel that is an ordinary program and has vfat, which the host's kernel may lack: runs a script on images, with
 * the host's own files as its root, read-only, but for one folder.
 */
import { execFile, execFileSync } from "node:child_process";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const modules = "/usr/lib/uml/modules";
/** ms. */
const LIMIT = 120_000;

/** Modules in the order in which they need each other. */
const VFAT = ["fat/fat.ko", "fat/vfat.ko", "nls/nls_cp437.ko", "nls/nls_ascii.ko", "nls/nls_utf8.ko"];

/** How the tests mount: as Debian's kernels do by default, with times taken for UTC. */
export const VFAT_OPTIONS = "tz=UTC,utf8,iocharset=ascii,umask=022";

/**
 * Runs a shell script under that kernel; `images` are its /dev/ubda, /dev/ubdb, ... Nothing but `folder` can be written
 * to. Throws, with what was printed, unless all of it succeeds.
 */
export async function inUml(folder: string, images: readonly string[], script: string): Promise<string> {
  const [version] = readdirSync(modules);
  const path = join(folder, "uml-init.sh");
  const lines = [
    "#!/bin/sh",
    "export PATH=/usr/sbin:/usr/bin:/sbin:/bin",
    "mount -t proc proc /proc",
    ...VFAT.map((file) => `busybox insmod ${join(modules, version as string, "kernel/fs", file)}`),
    "mount -t tmpfs tmpfs /mnt",
    `mount -t hostfs none ${folder} -o ${folder}`,
    `(\nset -e\n${script}\necho "uml: done"\n)`,
    "busybox poweroff -f",
  ];
  writeFileSync(path, `${lines.join("\n")}\n`, { mode: 0o755 });
  const disks = images.map((image, n) => `ubd${n}=${image}`);
  const output = await new Promise<string>((resolve) => {
    const child = execFile(
      "linux.uml",
      [
        ...disks,
        ...["root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "mem=192M", "con=null"],
        ...["con0=null,fd:1", "quiet", `uml_dir=${folder}`, `init=${path}`],
      ],
      { maxBuffer: 1 << 28, timeout: LIMIT, killSignal: "SIGKILL", env: { ...process.env, HOME: folder } },
      (_, stdout, stderr) => resolve(stdout + stderr),
    );
    child.stdin?.end();
  });
  if (!output.includes("uml: done"))
    throw new Error(`the script failed under the user-mode kernel:\n${output}`);
  return output;
}

/** What `fsck.fat` says against an image; "" if nothing. */
export function checkFat(image: string): string {
  try {
    execFileSync("fsck.fat", ["-n", image], { stdio: "pipe" });
    return "";
  } catch (error) {
    return String((error as { stdout?: Buffer }).stdout);
  }
}
