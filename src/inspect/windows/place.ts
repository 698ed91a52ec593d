/** Where a Windows guest keeps its registry. Windows tells no upper case from lower case in names; a file system may. */
import type { Reader } from "../reader.js";

/** Where Windows is, and where Windows 2000 and NT are. */
const FOLDERS = ["Windows", "WINNT"];
const CONFIG = ["System32", "config"];

/** Paths of hives; "" for one that is not there. */
export interface RegistryPlace {
  readonly software: string;
  readonly system: string;
}

/** Undefined where there is no Windows. Throws what GuestFiles throws. */
export function registryPlace(reader: Reader): RegistryPlace | undefined {
  for (const folder of FOLDERS) {
    const directory = [folder, ...CONFIG].reduce<string | undefined>(
      (place, name) => (place === undefined ? undefined : named(reader, place, name)),
      "",
    );
    const software = directory && named(reader, directory, "SOFTWARE");
    if (directory && software) return { software, system: named(reader, directory, "SYSTEM") ?? "" };
  }
  return undefined;
}

/** The path of what has a name in a directory: with just that name, or else with one that differs in case. */
function named(reader: Reader, directory: string, name: string): string | undefined {
  const names = reader.list(directory === "" ? "/" : directory) ?? [];
  const lower = name.toLowerCase();
  const found = names.includes(name) ? name : names.find((each) => each.toLowerCase() === lower);
  return found === undefined ? undefined : `${directory}/${found}`;
}
