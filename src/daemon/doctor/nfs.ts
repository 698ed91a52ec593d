/** NFS exports of the tree: the kernel's server, and NFS-Ganesha. */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { type Found, fail, ok, warn } from "./finding.js";
import { isWithin } from "./mounts.js";
import { readText } from "./processes.js";
import type { Subject } from "./subject.js";

const EXPORTS = ["/etc/exports", ...inFolder("/etc/exports.d", ".exports")];
const GANESHA = ["/etc/ganesha/ganesha.conf", "/run/slashcloud-nfs/ganesha.conf"];

export function checkNfs({ mount }: Subject): Found[] {
  return [
    ...EXPORTS.flatMap((file) => checkExports(file, readText(file) ?? "", mount)),
    ...GANESHA.flatMap((file) => checkGanesha(file, readText(file) ?? "", mount)),
  ];
}

/** exports(5): PATH CLIENT(OPTION,...) ..., a line each. */
function checkExports(file: string, text: string, mount: string): Found[] {
  const lines = text.replaceAll("\\\n", " ").split("\n");
  return lines.flatMap((line) => {
    const [, path = "", clients = ""] = /^\s*("[^"]+"|[^\s#]+)\s+(.*)$/.exec(line) ?? [];
    const exported = path.replaceAll('"', "").replace(/\\([0-7]{3})/g, octal);
    if (!exported.startsWith("/") || !concerns(exported, mount)) return [];
    const isAbove = !isWithin(exported, mount);
    if (isAbove)
      return /\bcrossmnt\b/.test(clients)
        ? [
            warn(
              `${file} exports ${exported} with what is mounted in it, ${mount} too`,
              `export ${mount} itself: slashcloud export nfs`,
            ),
          ]
        : [];
    if (!/\bfsid=/.test(clients))
      return [
        fail(
          `${file} exports ${exported} without fsid=, which the kernel refuses for FUSE`,
          "add fsid=N (slashcloud export nfs prints the line)",
        ),
      ];
    if (/[(,]rw\b/.test(clients))
      return [
        warn(`${file} exports ${exported} for writing, which the tree refuses`, "write ro instead of rw"),
      ];
    return [ok(`${file} exports ${exported}`)];
  });
}

/** Blocks of NFS-Ganesha's configuration that have a path in the tree. */
function checkGanesha(file: string, text: string, mount: string): Found[] {
  return blocks(text.replace(/#.*$/gm, ""), "EXPORT").flatMap((block) => {
    const path = settingOf(block, "Path");
    if (path === undefined || !concerns(path, mount)) return [];
    const found: Found[] = [];
    const expires = settingOf(block, "Attr_Expiration_Time");
    if (expires !== "0")
      found.push(
        warn(
          `${file}: the export of ${path} keeps attributes for ${expires ?? 60} s, so that files seem not to grow`,
          "Attr_Expiration_Time = 0 (slashcloud export nfs --ganesha prints all of it)",
        ),
      );
    if (/^(rw?|read_write)$/i.test(settingOf(block, "Delegations") ?? ""))
      found.push(warn(`${file}: the export of ${path} delegates files to clients`, "Delegations = none"));
    return found.length > 0 ? found : [ok(`${file} exports ${path} as the tree needs it`)];
  });
}

/** The text of the blocks of a name, with what is nested in them. */
function blocks(text: string, name: string): string[] {
  return [...text.matchAll(new RegExp(`\\b${name}\\s*\\{`, "gi"))].map(({ index, 0: head }) => {
    const start = index + head.length;
    let depth = 1;
    let at = start;
    for (; at < text.length && depth > 0; at++) depth += text[at] === "{" ? 1 : text[at] === "}" ? -1 : 0;
    return text.slice(start, at);
  });
}

function settingOf(block: string, key: string): string | undefined {
  return new RegExp(`\\b${key}\\s*=\\s*"?([^";]*)"?\\s*;`, "i").exec(block)?.[1]?.trim();
}

const concerns = (path: string, mount: string): boolean => isWithin(path, mount) || isWithin(mount, path);

const octal = (_: string, digits: string): string => String.fromCharCode(Number.parseInt(digits, 8));

function inFolder(folder: string, ending: string): string[] {
  try {
    return readdirSync(folder)
      .filter((name) => name.endsWith(ending))
      .map((name) => join(folder, name));
  } catch {
    return [];
  }
}
