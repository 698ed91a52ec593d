/** Programs that a Windows guest lists as installed: what "Apps & features" shows, and what it keeps to itself. */
import { type Database, MOST_PACKAGES, type Package } from "../packages/package.js";
import type { Hive } from "../registry/hive.js";
import { textOf } from "../registry/value.js";

const UNINSTALL = ["Microsoft", "Windows", "CurrentVersion", "Uninstall"];
/** Programs of 32 bits on a system of 64 see another part of the registry. */
const OF_32_BITS = ["WOW6432Node", ...UNINSTALL];
const DATE = /^(\d{4})(\d{2})(\d{2})$/;

/** One database for each part of the registry that there is. */
export function programs(hive: Hive): Database[] {
  return [...listed(hive, UNINSTALL, ""), ...listed(hive, OF_32_BITS, "x86")];
}

function listed(hive: Hive, place: readonly string[], architecture: string): Database[] {
  const path = ["HKLM", "SOFTWARE", ...place].join("\\");
  const packages: Package[] = [];
  let damaged = 0;
  let trouble = "";
  try {
    const top = hive.key(place);
    if (top === undefined) return [];
    hive.forSubkeys(
      top,
      (key) => {
        const told = new Map<string, string>();
        for (const value of hive.values(key)) {
          const text = textOf(value)?.trim();
          if (text) told.set(value.name.toLowerCase(), text);
        }
        const name = told.get("displayname");
        // The rest are updates and parts of others.
        if (name === undefined || packages.length >= MOST_PACKAGES) return;
        const [, year, month, day] = DATE.exec(told.get("installdate") ?? "") ?? [];
        packages.push({
          name,
          version: told.get("displayversion") ?? "",
          architecture,
          publisher: told.get("publisher") ?? "",
          installed: year === undefined ? "" : `${year}-${month}-${day}`,
        });
      },
      (error) => {
        damaged++;
        trouble ||= error.message;
      },
    );
  } catch (error) {
    return [
      { manager: "windows", path, packages: undefined, problem: `${path}: ${(error as Error).message}` },
    ];
  }
  const more = damaged > 1 ? ` (and ${damaged - 1} more)` : "";
  return [{ manager: "windows", path, packages, problem: damaged === 0 ? "" : `${path}: ${trouble}${more}` }];
}
