/** rpm's database, which comes in three kinds: SQLite is read. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import type { Reader } from "../reader.js";
import type { Database } from "./package.js";
import type { RpmAnswer } from "./rpm-sqlite-thread.js";
import { copyDatabase } from "./sqlite-copy.js";

const DIRECTORIES = ["/var/lib/rpm", "/usr/lib/sysimage/rpm", "/usr/share/rpm"];
const SQLITE = "rpmdb.sqlite";
const OTHERS = [
  ["Packages.db", "ndb"],
  ["Packages", "Berkeley DB"],
] as const;
/** ms that reading may take: real ones take some seconds at most. */
const PATIENCE = 60_000;
const MEMORY_MIB = 512;

/** Undefined if there is none. Never rejects: what is wrong is the database's `problem`. */
export async function rpmDatabase(reader: Reader): Promise<Database | undefined> {
  for (const directory of DIRECTORIES) {
    const path = `${directory}/${SQLITE}`;
    let found: Database | undefined;
    try {
      found = await readSqlite(reader, path);
    } catch (error) {
      found = { manager: "rpm", path, packages: undefined, problem: (error as Error).message };
    }
    if (found !== undefined) return found;
    for (const [name, kind] of OTHERS) {
      const other = `${directory}/${name}`;
      if (!(await isThere(reader, other))) continue;
      return {
        manager: "rpm",
        path: other,
        packages: undefined,
        problem: `${other}: packages are not read: of rpm's databases only those of SQLite are, and this is one of ${kind}`,
      };
    }
  }
  return undefined;
}

async function readSqlite(reader: Reader, path: string): Promise<Database | undefined> {
  if (!(await isThere(reader, path))) return undefined;
  const folder = mkdtempSync(join(tmpdir(), "slashcloud-rpm-"));
  try {
    const copy = join(folder, "database");
    if (!(await copyDatabase(reader, path, copy))) return undefined;
    const { packages, bad, problem } = await readCopy(copy);
    if (problem !== "") return { manager: "rpm", path, packages: undefined, problem: `${path}: ${problem}` };
    const told = bad === 0 ? "" : `${path}: ${bad} of its entries are damaged`;
    return { manager: "rpm", path, packages, problem: told };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Rejects if it takes too long. */
async function readCopy(copy: string): Promise<RpmAnswer> {
  const thread = new Worker(new URL("./rpm-sqlite-thread.js", import.meta.url), {
    workerData: copy,
    resourceLimits: { maxOldGenerationSizeMb: MEMORY_MIB },
  });
  let timer: NodeJS.Timeout | undefined;
  try {
    return await new Promise<RpmAnswer>((resolve, reject) => {
      timer = setTimeout(
        () => reject(new Error(`packages are not read: it took more than ${PATIENCE / 1000} s`)),
        PATIENCE,
      );
      thread.on("message", resolve).on("error", reject);
      thread.on("exit", () => reject(new Error("packages are not read: reading them failed")));
    });
  } finally {
    clearTimeout(timer);
    await thread.terminate();
  }
}

async function isThere(reader: Reader, path: string): Promise<boolean> {
  return (await reader.head(path, 0)) !== undefined;
}
