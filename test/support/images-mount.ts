/** Mounts, loop devices and work folders for tests with real images: whatever happens, all are taken away again. */
import { type ChildProcess, execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** What has to be undone, newest first. Synchronous, so that it can run when the process ends. */
const undo: Array<() => void> = [];

/** Registers what takes a thing away; returns a function that does so now (once). */
export function onEnd(action: () => void): () => void {
  undo.push(action);
  return () => {
    const at = undo.indexOf(action);
    if (at < 0) return;
    undo.splice(at, 1);
    action();
  };
}

/** Takes everything away that is still there. Never throws: one failure must not keep the rest. */
export function cleanUp(): void {
  for (let action = undo.pop(); action; action = undo.pop()) {
    try {
      action();
    } catch (error) {
      process.stderr.write(`clean-up: ${error}\n`);
    }
  }
}

process.on("exit", cleanUp);
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.once(signal, () => {
    cleanUp();
    process.exit(1);
  });
}

/** Runs a program to its end and returns what it printed. Throws with its error output when it fails. */
export function run(
  program: string,
  args: readonly string[],
  options: { accept?: number[] } = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { maxBuffer: 1 << 30, encoding: "utf8" }, (error, stdout, stderr) => {
      const code = error ? (typeof error.code === "number" ? error.code : -1) : 0;
      if (code === 0 || options.accept?.includes(code)) resolve(stdout);
      else reject(new Error(`${program} ${args.join(" ")}: ${stderr || stdout || error?.message}`));
    });
  });
}

/** A new folder for a test's images and mounts; removed at the end. */
export function workFolder(name: string, parent = process.env.SLASHCLOUD_TEST_FOLDER ?? tmpdir()): string {
  const folder = mkdtempSync(join(parent, `slashcloud-${name}-`));
  onEnd(() => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }));
  return folder;
}

/** Whatever is mounted at the folder, taken away even if it is busy. */
export function unmountNow(folder: string): void {
  try {
    execFileSync("umount", [folder], { stdio: "pipe" });
  } catch {
    execFileSync("umount", ["-l", folder], { stdio: "pipe" });
  }
}

/** Mounts `what` at `folder` (made if need be); the function returned unmounts it. */
export async function mount(what: string, folder: string, options: string): Promise<() => void> {
  mkdirSync(folder, { recursive: true });
  await run("mount", ["-o", options, what, folder]);
  return onEnd(() => unmountNow(folder));
}

/** The files that loop devices are over. */
function loopFiles(): string[] {
  return readdirSync("/sys/block").flatMap((name) => {
    if (!name.startsWith("loop")) return [];
    try {
      return [readFileSync(`/sys/block/${name}/loop/backing_file`, "utf8").trim()];
    } catch {
      // Nothing is behind this one.
      return [];
    }
  });
}

/**
 * Sees to it that no loop device is over a file whose file system was mounted, remounted read-only and unmounted: where
 * another program has begun a mount namespace of its own meanwhile, it stays mounted there. Then the file becomes a copy of
 * itself, as the kernel mounts nothing twice in different ways.
 */
export async function letGo(file: string): Promise<void> {
  if (!loopFiles().includes(realpathSync(file))) return;
  await run("cp", ["--sparse=always", file, `${file}.copy`]);
  renameSync(`${file}.copy`, file);
}

/** A loop device over a file; the function returned frees it. */
export async function loopDevice(
  file: string,
  options: readonly string[] = [],
): Promise<{ device: string; free: () => void }> {
  const device = (await run("losetup", ["--find", "--show", ...options, file])).trim();
  return { device, free: onEnd(() => execFileSync("losetup", ["-d", device], { stdio: "pipe" })) };
}

/** Sees to it that a child process does not outlive the tests. */
export function endWithTests(child: ChildProcess, signal: NodeJS.Signals = "SIGKILL"): () => void {
  return onEnd(() => {
    if (child.exitCode === null && child.signalCode === null) child.kill(signal);
  });
}
