/**
 * Reads the packages of a copy of rpm's database. In a thread of its own, which can be ended: a guest can write a database
 * that takes for ever to read.
 */
import { parentPort, workerData } from "node:worker_threads";
import sqlite from "node-sqlite3-wasm";
import { MOST_PACKAGES, type Package } from "./package.js";
import { rpmPackage } from "./rpm-header.js";

/** What the thread answers. */
export interface RpmAnswer {
  readonly packages: readonly Package[];
  /** Rows that are no package. */
  readonly bad: number;
  /** Why nothing was read; "" if something was. */
  readonly problem: string;
}

/** rpm's own table; a view or a column that is computed would be the guest's program. */
const TABLE =
  /^CREATE TABLE (?:'Packages'|"Packages"|Packages) \(\s*hnum INTEGER PRIMARY KEY(?: AUTOINCREMENT)?,\s*blob BLOB NOT NULL\s*\)$/i;
/** Bytes of a header: those of packages with very many files have some megabytes. */
const MOST_HEADER = 64 << 20;

function read(path: string): RpmAnswer {
  const database = new sqlite.Database(path, { readOnly: true, fileMustExist: true });
  const packages: Package[] = [];
  let bad = 0;
  try {
    database.exec("PRAGMA trusted_schema=OFF");
    const table = database.get("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'Packages'");
    const sql = (table as { sql?: unknown } | null)?.sql;
    if (typeof sql !== "string" || !TABLE.test(sql))
      return { packages: [], bad: 0, problem: "it has no table of packages as rpm makes it" };
    const rows = database.prepare(
      `SELECT CASE WHEN typeof(blob) = 'blob' AND length(blob) <= ${MOST_HEADER} THEN blob END AS header FROM Packages`,
    );
    for (const row of rows.iterate()) {
      const { header } = row as { header: unknown };
      const found =
        header instanceof Uint8Array
          ? rpmPackage(Buffer.from(header.buffer, header.byteOffset, header.length))
          : undefined;
      if (found === undefined) bad++;
      else packages.push(found);
      if (packages.length + bad >= MOST_PACKAGES) break;
    }
    rows.finalize();
  } catch (error) {
    if (packages.length === 0) return { packages, bad, problem: (error as Error).message };
    bad++;
  } finally {
    database.close();
  }
  return { packages, bad, problem: "" };
}

parentPort?.postMessage(read(workerData as string));
