/** All package databases of a guest: some have several. */
import type { Reader } from "../reader.js";
import { APK_DATABASES, apkPackages } from "./apk.js";
import { dpkgDirectoryPackages, dpkgPackages, STATUS, STATUS_DIRECTORY } from "./dpkg.js";
import type { Database, Package } from "./package.js";
import { PACMAN_DATABASE, pacmanPackages } from "./pacman.js";
import { rpmDatabase } from "./rpm.js";

type Read = (note: (line: string) => void) => Promise<readonly Package[] | undefined>;

/** Never rejects: what is wrong is a database's `problem`, or a line for `note`. */
export async function packageDatabases(reader: Reader, note: (line: string) => void): Promise<Database[]> {
  const kinds: readonly (readonly [Database["manager"], string, Read])[] = [
    ["dpkg", STATUS, () => dpkgPackages(reader)],
    ["dpkg", STATUS_DIRECTORY, (told) => dpkgDirectoryPackages(reader, told)],
    ...APK_DATABASES.map((path) => ["apk", path, () => apkPackages(reader, path)] as const),
    ["pacman", PACMAN_DATABASE, (told) => pacmanPackages(reader, told)],
  ];
  const found: Database[] = [];
  for (const [manager, path, read] of kinds) {
    const trouble = new Trouble();
    try {
      const packages = await read((line) => trouble.add(line));
      if (packages !== undefined) found.push({ manager, path, packages, problem: trouble.text(path) });
    } catch (error) {
      found.push({ manager, path, packages: undefined, problem: (error as Error).message });
    }
  }
  try {
    const rpm = await rpmDatabase(reader);
    if (rpm !== undefined) found.push(rpm);
  } catch (error) {
    note((error as Error).message);
  }
  return withoutDoubles(found);
}

/** Where one path is a link to the other, a database is there twice: the first counts. */
function withoutDoubles(databases: readonly Database[]): Database[] {
  const seen = new Set<string>();
  return databases.filter(({ manager, packages }) => {
    if (packages === undefined || packages.length === 0) return true;
    const key = JSON.stringify([manager, packages]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
}

/** Lines of which the first is told, and how many more there are. */
class Trouble {
  #first = "";
  #more = -1;

  add(line: string): void {
    this.#first ||= line;
    this.#more++;
  }

  text(path: string): string {
    if (this.#more < 0) return "";
    return `${path}: ${this.#first}${this.#more === 0 ? "" : ` (and ${this.#more} more)`}`;
  }
}
