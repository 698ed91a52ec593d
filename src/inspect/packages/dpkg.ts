/** dpkg's database: paragraphs of fields (deb822(5)), in one file and, where there is no dpkg itself, in one a package. */
import type { Reader } from "../reader.js";
import { MOST_PACKAGES, type Package } from "./package.js";

export const STATUS = "/var/lib/dpkg/status";
export const STATUS_DIRECTORY = "/var/lib/dpkg/status.d";
const MOST_BYTES = 128 << 20;
const MOST_BYTES_OF_ONE = 1 << 20;
/** States of packages of which nothing is there but, perhaps, configuration. */
const GONE = new Set(["not-installed", "config-files"]);

/** Undefined if there is no such file. Throws what GuestFiles throws. */
export async function dpkgPackages(reader: Reader): Promise<Package[] | undefined> {
  const text = await reader.text(STATUS, MOST_BYTES);
  return text === undefined ? undefined : packagesIn(text);
}

/** The same of the directory that images without dpkg have; `note` is told of files that cannot be read. */
export async function dpkgDirectoryPackages(
  reader: Reader,
  note: (line: string) => void,
): Promise<Package[] | undefined> {
  const names = reader.list(STATUS_DIRECTORY);
  if (names === undefined) return undefined;
  const found: Package[] = [];
  for (const name of names) {
    if (name.endsWith(".md5sums")) continue;
    try {
      found.push(...packagesIn((await reader.text(`${STATUS_DIRECTORY}/${name}`, MOST_BYTES_OF_ONE)) ?? ""));
    } catch (error) {
      note((error as Error).message);
    }
    if (found.length >= MOST_PACKAGES) break;
  }
  return found;
}

function packagesIn(text: string): Package[] {
  const found: Package[] = [];
  let [name, version, architecture, state] = ["", "", "", ""];
  const take = (): void => {
    if (name !== "" && version !== "" && !GONE.has(state)) found.push({ name, version, architecture });
    [name, version, architecture, state] = ["", "", "", ""];
  };
  for (let at = 0; at < text.length && found.length < MOST_PACKAGES; ) {
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    const line = text.slice(at, end);
    at = end + 1;
    if (line.trim() === "") take();
    else if (line.startsWith("Package:")) name = line.slice(8).trim();
    else if (line.startsWith("Version:")) version = line.slice(8).trim();
    else if (line.startsWith("Architecture:")) architecture = line.slice(13).trim();
    // "want, flag, state": install ok installed.
    else if (line.startsWith("Status:")) state = line.slice(7).trim().split(/\s+/)[2] ?? "";
  }
  take();
  return found;
}
