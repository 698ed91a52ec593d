/** Samba's shares of the tree: settings in effect by which clients keep what is no longer so. */
import { existsSync } from "node:fs";
import { type Found, ok, warn } from "./finding.js";
import { isWithin } from "./mounts.js";
import { ask } from "./programs.js";
import type { Subject } from "./subject.js";

/** What a parameter is to be, and what it does otherwise; testparm writes booleans as Yes and No. */
const WANTED: readonly (readonly [string, string, string])[] = [
  ["oplocks", "no", "clients keep what they have read"],
  ["level2 oplocks", "no", "clients keep what they have read"],
  ["smb2 leases", "no", "clients keep what they have read"],
  ["csc policy", "disable", "Windows keeps files for when it is offline"],
  ["getwd cache", "no", "paths of directories that were renamed are used on"],
  ["kernel share modes", "no", "files are locked in the tree, which takes no locks"],
  ["kernel change notify", "no", "changes are waited for that inotify does not tell of the tree"],
  ["read only", "yes", "clients are told they may write"],
  ["wide links", "no", "links lead out of the share"],
];
const FILES = ["/etc/samba/smb.conf", "/run/slashcloud-smb/smb.conf"];

export function checkSamba({ mount }: Subject): Found[] {
  return FILES.filter((file) => existsSync(file)).flatMap((file) => checkFile(file, mount));
}

function checkFile(file: string, mount: string): Found[] {
  const said = ask("testparm", ["-s", "-v", file]);
  if (said === undefined) return [];
  if (said.code !== 0)
    return [warn(`${file} is not right: testparm ends with ${said.code}`, `testparm -s ${file} says why`)];
  const { global, shares } = parseShares(said.stdout);
  const found: Found[] = [];
  const concerned = [...shares].filter(([, share]) => {
    const path = share.get("path") ?? "";
    return path !== "" && (isWithin(path, mount) || isWithin(mount, path));
  });
  if (concerned.length === 0) return [ok(`no share of ${file} has ${mount}`)];
  for (const unknown of said.stderr.matchAll(/^Unknown parameter encountered: "(.*)"$/gm))
    found.push(
      warn(`${file} has a parameter that Samba does not know: ${unknown[1]}`, "correct or remove it"),
    );
  for (const [name, share] of concerned) {
    for (const [parameter, wanted, effect] of WANTED) {
      const value = share.get(parameter) ?? global.get(parameter);
      if (value === undefined || value.toLowerCase() === wanted) continue;
      found.push(
        warn(
          `share ${name} of ${file}: ${parameter} = ${value.toLowerCase()}: ${effect}`,
          `${parameter} = ${wanted} (slashcloud export samba prints all of it)`,
        ),
      );
    }
  }
  return found.length > 0 ? found : [ok(`shares of ${file} are as the tree needs them`)];
}

type Parameters = Map<string, string>;

/** What testparm prints: with -v, [global] has the defaults of shares too. */
function parseShares(text: string): { global: Parameters; shares: Map<string, Parameters> } {
  const global: Parameters = new Map();
  const shares = new Map<string, Parameters>();
  let section = global;
  for (const line of text.split("\n")) {
    const [, name] = /^\[(.*)\]$/.exec(line) ?? [];
    if (name !== undefined) {
      section = name === "global" ? global : new Map();
      if (section !== global) shares.set(name, section);
    }
    const [, key, value] = /^\t([^=]+?) =\s?(.*)$/.exec(line) ?? [];
    if (key !== undefined && value !== undefined) section.set(key, value);
  }
  return { global, shares };
}
