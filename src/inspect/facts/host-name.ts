/** A guest's host name, as its files have it. */
import { assignments } from "../assignments.js";
import type { Reader } from "../reader.js";

const NAME_FILES = ["/etc/hostname", "/etc/HOSTNAME"];
const ASSIGNED: readonly (readonly [path: string, variable: string])[] = [
  ["/etc/sysconfig/network", "HOSTNAME"],
  ["/etc/conf.d/hostname", "hostname"],
];

/** Undefined if no file has it. */
export async function hostName(reader: Reader): Promise<string | undefined> {
  for (const path of NAME_FILES) {
    const lines = (await reader.text(path))?.split("\n").map((line) => line.trim()) ?? [];
    const name = lines.find((line) => line !== "" && !line.startsWith("#"));
    if (name !== undefined) return name;
  }
  for (const [path, variable] of ASSIGNED) {
    const name = assignments((await reader.text(path)) ?? "").get(variable);
    if (name) return name;
  }
  return undefined;
}
