/** What a Windows guest is, by its registry. */
import type { Architecture } from "../facts/architecture.js";
import type { OperatingSystem } from "../facts/operating-system.js";
import type { Database } from "../packages/package.js";
import type { Reader } from "../reader.js";
import { Hive } from "../registry/hive.js";
import {
  computerName,
  controlSet,
  type Drive,
  drives,
  windowsArchitecture,
  windowsTimeZone,
} from "./machine.js";
import type { RegistryPlace } from "./place.js";
import { programs } from "./programs.js";
import { systemFacts } from "./system.js";

/** What only a Windows guest has. */
export interface Windows {
  /** `Professional`; "" if it is not told. */
  readonly edition: string;
  /** When it was installed, or last upgraded, UTC; "" if it is not told. */
  readonly installed: string;
  /** Drive letters; null: they could not be read, of which there is a note. */
  readonly drives: readonly Drive[] | null;
}

export interface WindowsFacts {
  readonly operatingSystem: OperatingSystem | null;
  readonly hostName: string | null;
  readonly architecture: Architecture | null;
  readonly timeZone: string | null;
  readonly packageDatabases: readonly Database[];
  readonly windows: Windows;
}

/** Looks for a fact: null, and a note, if it throws. */
export type Look = <T>(what: string, find: () => T | undefined | Promise<T | undefined>) => Promise<T | null>;

/** Never rejects. */
export async function windowsFacts(
  reader: Reader,
  place: RegistryPlace,
  look: Look,
  note: (line: string) => void,
): Promise<WindowsFacts> {
  const software = await look("operating system", () =>
    withHive(reader, place.software, note, async (hive) => ({
      system: await look("operating system", () => systemFacts(hive, place.software)),
      databases: programs(hive),
    })),
  );
  const machine = await look("SYSTEM", () =>
    withHive(reader, place.system, note, async (hive) => {
      const control = (await look("control set", () => controlSet(hive))) ?? undefined;
      return {
        hostName: await look("host name", () => control && computerName(hive, control)),
        architecture: await look(
          "architecture",
          () => control && windowsArchitecture(hive, control, place.system),
        ),
        timeZone: await look("time zone", () => control && windowsTimeZone(hive, control)),
        drives: await look("drives", () => drives(hive)),
      };
    }),
  );
  return {
    operatingSystem: software?.system?.operatingSystem ?? null,
    hostName: machine?.hostName ?? null,
    architecture: machine?.architecture ?? null,
    timeZone: machine?.timeZone ?? null,
    packageDatabases: software?.databases ?? [],
    windows: {
      edition: software?.system?.edition ?? "",
      installed: software?.system?.installed ?? "",
      drives: machine?.drives ?? null,
    },
  };
}

/** Undefined if there is no such file. */
async function withHive<T>(
  reader: Reader,
  path: string,
  note: (line: string) => void,
  use: (hive: Hive) => Promise<T>,
): Promise<T | undefined> {
  if (path === "") return undefined;
  return reader.withFile(path, async (file) => {
    const hive = hiveIn(path, file);
    if (hive.isBehind) note(`${path}: Windows has later changes of it in its logs, which are not read`);
    return use(hive);
  });
}

function hiveIn(path: string, file: ConstructorParameters<typeof Hive>[0]): Hive {
  try {
    return new Hive(file);
  } catch (error) {
    throw new Error(`${path}: ${(error as Error).message}`);
  }
}
