/** Processes of this host and the files that they have open, by /proc (proc(5)): nothing is asked of the files themselves. */
import { constants, readdirSync, readFileSync, readlinkSync } from "node:fs";

/** A file that a process has open. */
export interface OpenFile {
  readonly pid: number;
  /** The process's name. */
  readonly program: string;
  readonly path: string;
  readonly type: "file" | "block";
  readonly inode: number | undefined;
  readonly isWritable: boolean;
  /** O_DIRECT: it passes the page cache by. */
  readonly isDirect: boolean;
}

/** Paths that cannot be a disk's: those of the kernel's own, and of libraries. */
const NO_DISK =
  /^\/(proc|sys|run|usr|lib|lib64)\/|^\/dev\/(null|zero|random|urandom|tty|pts|fuse|shm|kvm|net)/;

/** All that can be seen; as another user than root, one's own. */
export function openFiles(): OpenFile[] {
  return processes().flatMap((pid) => {
    const program = (readText(`/proc/${pid}/comm`) ?? "").trim();
    return entries(`/proc/${pid}/fd`).flatMap((fd) => {
      const path = target(`/proc/${pid}/fd/${fd}`);
      if (!path?.startsWith("/") || NO_DISK.test(path) || path.endsWith(" (deleted)")) return [];
      const about = readText(`/proc/${pid}/fdinfo/${fd}`) ?? "";
      const flags = Number.parseInt(/^flags:\t([0-7]+)$/m.exec(about)?.[1] ?? "0", 8);
      const inode = /^ino:\t(\d+)$/m.exec(about)?.[1];
      return {
        pid,
        program,
        path,
        type: path.startsWith("/dev/") ? ("block" as const) : ("file" as const),
        inode: inode === undefined ? undefined : Number(inode),
        isWritable: (flags & (constants.O_WRONLY | constants.O_RDWR)) !== 0,
        isDirect: (flags & constants.O_DIRECT) !== 0,
      };
    });
  });
}

/** A process and all that it has started, and they. */
export function treeOf(root: number): number[] {
  const children = entries(`/proc/${root}/task`).flatMap((task) =>
    (readText(`/proc/${root}/task/${task}/children`) ?? "").split(" ").filter(Boolean).map(Number),
  );
  return [root, ...children.flatMap(treeOf)];
}

/** What a process runs: for a script its path, else the program's; "" if it is gone. */
export function programPath(pid: number): string {
  const words = (readText(`/proc/${pid}/cmdline`) ?? "").split("\0");
  const [program = ""] = words;
  if (!/(^|\/)(node|bash|sh|python3?)$/.test(program)) return program;
  return words.slice(1).find((word) => word !== "" && !word.startsWith("-")) ?? program;
}

/** The numbers of all processes. */
export function processes(): number[] {
  return entries("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
}

/** A file's text; undefined: there is none to be had. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function target(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}
