/** pacman's local database: a directory for each package, with a file of fields. */
import type { Reader } from "../reader.js";
import { MOST_PACKAGES, type Package } from "./package.js";

export const PACMAN_DATABASE = "/var/lib/pacman/local";
const MOST_BYTES = 1 << 20;

/** Undefined if there is no such directory; `note` is told of packages that cannot be read. */
export async function pacmanPackages(
  reader: Reader,
  note: (line: string) => void,
): Promise<Package[] | undefined> {
  const names = reader.list(PACMAN_DATABASE);
  if (names === undefined) return undefined;
  const found: Package[] = [];
  for (const name of names) {
    if (name === "ALPM_DB_VERSION") continue;
    try {
      const fields = fieldsOf((await reader.text(`${PACMAN_DATABASE}/${name}/desc`, MOST_BYTES)) ?? "");
      const [named, version] = [fields.get("NAME"), fields.get("VERSION")];
      if (named && version) found.push({ name: named, version, architecture: fields.get("ARCH") ?? "" });
    } catch (error) {
      note((error as Error).message);
    }
    if (found.length >= MOST_PACKAGES) break;
  }
  return found;
}

/** `%NAME%` on a line, and the value on the next. */
function fieldsOf(text: string): Map<string, string> {
  const lines = text.split("\n");
  const fields = new Map<string, string>();
  for (const [index, line] of lines.entries()) {
    const name = /^%([A-Z0-9]+)%$/.exec(line)?.[1];
    if (name !== undefined) fields.set(name, lines[index + 1] ?? "");
  }
  return fields;
}
