/**
 * What a guest is, by its files. Each fact is looked for on its own, so that whatever a guest has written, the others are
 * told: one that cannot be read is null, and there is a note why. Nothing here depends on whether the guest runs.
 */
import { type Architecture, architecture } from "./facts/architecture.js";
import { hostName } from "./facts/host-name.js";
import { type Kernel, kernels } from "./facts/kernels.js";
import { type Login, logins } from "./facts/logins.js";
import { type OperatingSystem, operatingSystem } from "./facts/operating-system.js";
import { timeZone } from "./facts/time-zone.js";
import { type User, users } from "./facts/users.js";
import type { GuestFiles } from "./guest-files.js";
import { packageDatabases } from "./packages/databases.js";
import type { Database } from "./packages/package.js";
import { Reader } from "./reader.js";
import { type Look, type Windows, windowsFacts } from "./windows/facts.js";
import { registryPlace } from "./windows/place.js";

/** Null: it is not told, or could not be read, of which there is a note. */
export interface Facts {
  readonly operatingSystem: OperatingSystem | null;
  readonly hostName: string | null;
  readonly architecture: Architecture | null;
  readonly kernels: readonly Kernel[] | null;
  readonly timeZone: string | null;
  /** Those that can log in. */
  readonly users: readonly User[] | null;
  readonly logins: readonly Login[] | null;
  readonly packageDatabases: readonly Database[];
  /** Null for other systems. */
  readonly windows: Windows | null;
  /** What could not be read, a line each. */
  readonly notes: readonly string[];
}

/** Never rejects. */
export async function inspect(files: GuestFiles): Promise<Facts> {
  const reader = new Reader(files);
  const notes: string[] = [];
  const note = (line: string): void => void notes.push(line);
  const look: Look = async (what, find) => {
    try {
      return (await find()) ?? null;
    } catch (error) {
      note(`${what}: ${(error as Error).message}`);
      return null;
    }
  };
  const system = await look("operating system", () => operatingSystem(reader));
  const registry = system === null ? await look("registry", () => registryPlace(reader)) : null;
  const facts =
    registry === null
      ? await unixFacts(reader, system, look, note)
      : { ...NOT_OF_WINDOWS, ...(await windowsFacts(reader, registry, look, note)) };
  for (const { problem } of facts.packageDatabases) if (problem !== "") note(problem);
  return { ...facts, notes };
}

/** What is not in the registry, or not looked for. */
const NOT_OF_WINDOWS = { kernels: null, users: null, logins: null };

async function unixFacts(
  reader: Reader,
  system: OperatingSystem | null,
  look: Look,
  note: (line: string) => void,
): Promise<Omit<Facts, "notes">> {
  const machine = await look("architecture", () => architecture(reader));
  const people = await look("users", () => users(reader));
  return {
    operatingSystem: system,
    hostName: await look("host name", () => hostName(reader)),
    architecture: machine,
    kernels: await look("kernels", () => kernels(reader)),
    timeZone: await look("time zone", () => timeZone(reader)),
    users: people,
    logins: await look("logins", () => logins(reader, machine ?? undefined, people ?? [])),
    packageDatabases: await packageDatabases(reader, note),
    windows: null,
  };
}
