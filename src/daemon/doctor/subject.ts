/** What the checks look at: a host, and what slashcloud shows there or is to show. */
import { readFileSync, readlinkSync } from "node:fs";
import { extname } from "node:path";
import { parseGuests } from "../guest-name.js";
import { formatOf, parseImage } from "../image-name.js";
import { type DaemonStatus, readStatus } from "../read-status.js";
import { stateDirectoryFor } from "../state-directory.js";
import { type OpenFile, openFiles, programPath, treeOf } from "./processes.js";

/** An image as the checks know it. */
export interface SubjectImage {
  /** Absolute, or an NBD URL. */
  readonly path: string;
  /** `raw`, `qcow2`, ... */
  readonly format: string;
}

/** A daemon that runs. */
export interface Daemon {
  readonly status: DaemonStatus;
  /** The process that was started, which is the others' parent. */
  readonly supervisor: number;
  /** All its processes. */
  readonly pids: readonly number[];
}

export interface Subject {
  /** The mount point. */
  readonly mount: string;
  /** The daemon's state directory. */
  readonly state: string;
  /** Undefined: none runs. */
  readonly daemon: Daemon | undefined;
  readonly images: readonly SubjectImage[];
  /** The file; undefined: there is none. */
  readonly configuration: string | undefined;
  /** An address of Redis that is to be reached, as users write it. */
  readonly redis: string | undefined;
  /** Files that are open for other programs than the daemon's, by all processes that can be looked into. */
  readonly openFiles: readonly OpenFile[];
}

export interface SubjectOptions {
  readonly images: readonly string[];
  readonly mount: string;
  readonly state?: string | undefined;
  readonly redis?: string | undefined;
  readonly configuration?: string | undefined;
}

/** Throws UserError, ImageError for wrong names of images. */
export async function subjectOf(options: SubjectOptions): Promise<Subject> {
  const { images, mount, state, redis, configuration } = options;
  const directory = stateDirectoryFor(mount, state);
  const daemon = await daemonOf(directory);
  const own = new Set([process.pid, ...(daemon?.pids ?? [])]);
  const files = openFiles();
  const named = parseGuests(images).flatMap((guest) => guest.images.map(imageOf));
  const shown = daemon === undefined ? [] : imagesOpenIn(daemon, directory, files);
  const paths = new Set(named.map(({ path }) => path));
  return {
    mount,
    state: directory,
    daemon,
    images: [...named, ...shown.filter(({ path }) => !paths.has(path))],
    configuration,
    redis,
    openFiles: files.filter(({ pid }) => !own.has(pid)),
  };
}

async function daemonOf(state: string): Promise<Daemon | undefined> {
  let status: DaemonStatus;
  try {
    status = await readStatus(state);
  } catch {
    return undefined;
  }
  const supervisor = supervisorOf(status.pid);
  return { status, supervisor, pids: treeOf(supervisor) };
}

/** The server's parent; by the libfuse driver there is one process. */
function supervisorOf(pid: number): number {
  if (!programPath(pid).endsWith("/server.js")) return pid;
  const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return parent === undefined ? pid : Number(parent);
}

function imageOf(image: string): SubjectImage {
  const name = parseImage(image);
  return { path: name.path, format: formatOf(name, () => {}) };
}

/** What the daemon's processes have open that is no file of its own: files and block devices, for reading. */
function imagesOpenIn({ pids }: Daemon, state: string, files: readonly OpenFile[]): SubjectImage[] {
  const own = new Set(pids);
  const outputs = new Set(pids.flatMap(outputsOf));
  const paths = files.flatMap(({ pid, path, type }) => {
    const isDisk = type === "block" || (type === "file" && !/\.(js|node|json|sock|pid)$/.test(path));
    return own.has(pid) &&
      isDisk &&
      !outputs.has(path) &&
      !path.startsWith(`${state}/`) &&
      !path.startsWith("/dev/null")
      ? [path]
      : [];
  });
  return [...new Set(paths)].map((path) => {
    const served = pids.find(
      (pid) => /(^|\/)(qemu-nbd|nbdkit)$/.test(programPath(pid)) && opens(files, pid, path),
    );
    const format = served === undefined ? "raw" : extname(path).slice(1) || "converted";
    return { path, format };
  });
}

/** Where a process's standard output and error lead. */
function outputsOf(pid: number): string[] {
  return [1, 2].flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`)];
    } catch {
      // It has ended, or has none.
      return [];
    }
  });
}

const opens = (files: readonly OpenFile[], by: number, what: string): boolean =>
  files.some(({ pid, path }) => pid === by && path === what);
