/** Programs that read all of the host's files, and so all of the guests'. */
import { existsSync } from "node:fs";
import { type Found, ok, warn } from "./finding.js";
import { isWithin } from "./mounts.js";
import { readText } from "./processes.js";
import { findProgram } from "./programs.js";
import type { Subject } from "./subject.js";

const UPDATEDB = "/etc/updatedb.conf";
const TYPES = /^fuse\.slashcloud$/;
/** Each has its own way to leave a directory out. */
const TOOLS: Readonly<Record<string, { readonly configuration?: string; readonly hint: string }>> = {
  aide: { configuration: "/etc/aide/aide.conf", hint: "a line !MOUNT in its configuration" },
  rkhunter: { hint: "SCAN_MODE and ALLOW... leave MOUNT out" },
  clamscan: { hint: "--exclude-dir=^MOUNT" },
  borg: { hint: "--one-file-system, or --exclude MOUNT" },
  restic: { hint: "--one-file-system, or --exclude MOUNT" },
  rsnapshot: { configuration: "/etc/rsnapshot.conf", hint: "one_fs 1, or exclude MOUNT" },
  duplicity: { hint: "--exclude MOUNT" },
  "bacula-fd": { hint: "onefs = yes in the FileSet" },
};

export function checkCrawlers({ mount }: Subject): Found[] {
  const found = [...checkUpdatedb(mount)];
  const there = Object.entries(TOOLS).filter(([name, { configuration }]) => {
    if (findProgram(name) === undefined) return false;
    return configuration === undefined || !(readText(configuration) ?? "").includes(mount);
  });
  // What they are told to read cannot be known here.
  for (const [name, { hint }] of there)
    found.push(
      ok(
        `${name} is installed: if it reads all of this host, leave the guests out: ${hint.replace("MOUNT", mount)}`,
      ),
    );
  return found.length > 0 ? found : [ok("no program was found that reads all files of this host")];
}

/** updatedb.conf(5): crawls for locate leave out what PRUNEPATHS and PRUNEFS have. */
function checkUpdatedb(mount: string): Found[] {
  if (!existsSync(UPDATEDB)) return [];
  const text = readText(UPDATEDB) ?? "";
  const words = (name: string): string[] =>
    new RegExp(`^\\s*${name}\\s*=\\s*"([^"]*)"`, "m").exec(text)?.[1]?.split(/\s+/) ?? [];
  const isPruned = words("PRUNEPATHS").some((path) => path !== "" && isWithin(mount, path));
  if (isPruned || words("PRUNEFS").some((type) => TYPES.test(type)))
    return [ok(`updatedb leaves ${mount} out`)];
  return [
    warn(
      `updatedb reads ${mount}, every guest's directories, each day`,
      `add ${mount} to PRUNEPATHS in ${UPDATEDB}`,
    ),
  ];
}
