/** Looking at a configuration before it is used: what is wrong, what would be served, and whether the images are there. */
import { constants } from "node:fs";
import { access, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { isRemote } from "../../images/remote.js";
import { findImages } from "../discovery/image-files.js";
import { parsePattern } from "../discovery/image-pattern.js";
import { parseImage } from "../image-name.js";
import { type Configuration, ConfigurationError, readConfiguration } from "./configuration.js";

export interface Checked {
  /** With these, it would not be used. */
  readonly problems: readonly string[];
  /** What would be served all the same, without these. */
  readonly warnings: readonly string[];
  /** What would be served. */
  readonly lines: readonly string[];
}

const MOUNT = "/cloud";

/** Images on storage that may stall are not looked at. */
export async function checkConfiguration(file: string): Promise<Checked> {
  let configuration: Configuration;
  try {
    configuration = readConfiguration(file);
  } catch (error) {
    if (error instanceof ConfigurationError) return { problems: error.problems, warnings: [], lines: [] };
    throw error;
  }
  const { guests, settings } = configuration;
  const { mount = MOUNT, host = hostname() } = settings;
  const warnings: string[] = [];
  const lines: string[] = [];
  for (const { name, disks = [], qmp, place } of guests) {
    lines.push(
      `${mount}/${host}/${name}: ${[...disks, ...(qmp === undefined ? [] : [`qmp ${qmp}`])].join(", ")}`,
    );
    for (const image of disks) {
      const problem = await imageProblem(image);
      if (problem !== undefined) warnings.push(`${place}: ${name}: ${problem}`);
    }
    const socket = qmp === undefined ? undefined : await socketProblem(qmp);
    if (socket !== undefined) warnings.push(`${place}: ${name}: ${socket}`);
  }
  const { libvirt, images } = settings.discover;
  for (const pattern of images) {
    const found = (await findImages(parsePattern(pattern), mount)).images;
    for (const { name, image } of found)
      lines.push(`${mount}/${host}/${name}: ${image} (by ${pattern.pattern})`);
    if (found.length === 0) warnings.push(`${pattern.pattern}: there is no such file now`);
  }
  if (libvirt !== undefined) lines.push(`${mount}/${host}: the guests of libvirt (${libvirt.uri})`);
  if (lines.length === 0) warnings.push("no guest is named, and none is looked for");
  return { problems: [], warnings, lines };
}

async function imageProblem(image: string): Promise<string | undefined> {
  const { path } = parseImage(image);
  if (isRemote(path)) return undefined;
  try {
    const stats = await stat(path);
    if (!stats.isFile() && !stats.isBlockDevice()) return `${path}: is no file and no block device`;
    if (stats.isFile() && stats.size === 0) return `${path}: is empty (0 bytes)`;
    await access(path, constants.R_OK);
    return undefined;
  } catch (error) {
    return `${path}: ${reasonOf(error)}`;
  }
}

async function socketProblem(path: string): Promise<string | undefined> {
  try {
    return (await stat(path)).isSocket() ? undefined : `${path}: is no socket`;
  } catch (error) {
    return `${path}: ${reasonOf(error)}; it is attached to when it is there`;
  }
}

function reasonOf(error: unknown): string {
  const { code } = error as NodeJS.ErrnoException;
  if (code === "ENOENT" || code === "ENOTDIR") return "is not there";
  return code === "EACCES" ? "cannot be read by this user" : `cannot be looked at (${code})`;
}
