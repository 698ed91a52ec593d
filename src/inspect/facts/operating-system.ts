/** What system a guest has, by what it says of itself. */
import { assignments } from "../assignments.js";
import type { Reader } from "../reader.js";

export interface OperatingSystem {
  /** For programs: `debian`; "" if it is not told. */
  readonly id: string;
  readonly name: string;
  /** `12`; "" for one that has no versions, or does not tell. */
  readonly version: string;
  readonly codename: string;
  /** For people, in one line. */
  readonly description: string;
  /** The file that says so. */
  readonly source: string;
}

const OS_RELEASE = ["/etc/os-release", "/usr/lib/os-release"];
const LSB_RELEASE = "/etc/lsb-release";
/** Files of a line, of systems that are older than os-release or do without; and what they are the mark of. */
const RELEASE_FILES: readonly (readonly [path: string, id: string, name: string])[] = [
  ["/etc/alpine-release", "alpine", "Alpine Linux"],
  ["/etc/fedora-release", "fedora", ""],
  ["/etc/centos-release", "centos", ""],
  ["/etc/oracle-release", "ol", ""],
  ["/etc/redhat-release", "rhel", ""],
  ["/etc/SuSE-release", "suse", ""],
  ["/etc/gentoo-release", "gentoo", ""],
  ["/etc/slackware-version", "slackware", ""],
  ["/etc/arch-release", "arch", "Arch Linux"],
  ["/etc/debian_version", "debian", "Debian GNU/Linux"],
];

/** Undefined if nothing tells. Throws only if what tells cannot be read. */
export async function operatingSystem(reader: Reader): Promise<OperatingSystem | undefined> {
  return (await byOsRelease(reader)) ?? (await byLsbRelease(reader)) ?? (await byReleaseFile(reader));
}

async function byOsRelease(reader: Reader): Promise<OperatingSystem | undefined> {
  for (const source of OS_RELEASE) {
    const text = await reader.text(source);
    if (text === undefined) continue;
    const told = assignments(text);
    const get = (...names: string[]): string => names.map((name) => told.get(name)).find(Boolean) ?? "";
    if (told.size === 0) continue;
    const [name, version] = [get("NAME"), get("VERSION_ID", "BUILD_ID", "VERSION")];
    const description = get("PRETTY_NAME") || `${name} ${get("VERSION", "VERSION_ID")}`.trim();
    return {
      id: get("ID") || "linux",
      name,
      version,
      codename: get("VERSION_CODENAME"),
      description,
      source,
    };
  }
  return undefined;
}

async function byLsbRelease(reader: Reader): Promise<OperatingSystem | undefined> {
  const told = assignments((await reader.text(LSB_RELEASE)) ?? "");
  const name = told.get("DISTRIB_ID");
  if (name === undefined) return undefined;
  const version = told.get("DISTRIB_RELEASE") ?? "";
  return {
    id: name.toLowerCase(),
    name,
    version,
    codename: told.get("DISTRIB_CODENAME") ?? "",
    description: told.get("DISTRIB_DESCRIPTION") ?? `${name} ${version}`.trim(),
    source: LSB_RELEASE,
  };
}

async function byReleaseFile(reader: Reader): Promise<OperatingSystem | undefined> {
  const others = (reader.list("/etc") ?? [])
    .filter((name) => /^[\w.-]+-release$/.test(name))
    .map((name) => [`/etc/${name}`, "", ""] as const);
  for (const [source, id, name] of [...RELEASE_FILES, ...others]) {
    const text = await reader.text(source);
    if (text === undefined) continue;
    const line = text.split("\n", 1)[0]?.trim() ?? "";
    const version = /\d+(?:\.\d+)*/.exec(line)?.[0] ?? "";
    const codename = /\(([^()]*)\)\s*$/.exec(line)?.[1] ?? "";
    // Of Debian's and Alpine's the version is all that stands there.
    const description = name === "" ? line : `${name} ${line}`.trim();
    const named = name || (line.split(/ release | version |,? VERSION = |\s+\d/i)[0] ?? "");
    return {
      id,
      name: named,
      version: version || (id === "debian" ? line : ""),
      codename,
      description,
      source,
    };
  }
  return undefined;
}
