/** The configuration: slashcloud.yaml, and the files of guests.d beside it. */
import { readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { z } from "zod";
import { UserError } from "../user-error.js";
import { type GuestSettings, guestSettings, type Settings, settings } from "./settings.js";
import { readYaml, type YamlFile } from "./yaml-file.js";

const GUESTS_FOLDER = "guests.d";

/** A guest that the configuration names. */
export interface ConfiguredGuest extends GuestSettings {
  /** `FILE:LINE` */
  readonly place: string;
}

export interface Configuration {
  /** Absolute. */
  readonly file: string;
  readonly settings: Settings;
  /** Those of all files. */
  readonly guests: readonly ConfiguredGuest[];
}

/** All that is wrong with a configuration: a line each. */
export class ConfigurationError extends UserError {
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(problems.join("\n"));
    this.problems = problems;
  }
}

/** Reads it. Throws ConfigurationError. */
export function readConfiguration(name: string): Configuration {
  const file = resolve(name);
  const problems: string[] = [];
  const guests: ConfiguredGuest[] = [];
  const main = attempt(file, problems, () => readYaml(file, settings));
  if (main?.value !== undefined) addGuests(file, main, main.value.guests, (index) => ["guests", index]);
  for (const path of guestFiles(dirname(file), problems)) {
    let isList = false;
    const read = attempt(path, problems, () =>
      readYaml(path, (content) => {
        isList = Array.isArray(content);
        return (isList ? z.array(guestSettings) : guestSettings) as z.ZodType<
          GuestSettings | GuestSettings[]
        >;
      }),
    );
    if (read?.value !== undefined)
      addGuests(path, read, [read.value].flat(), (index) => (isList ? [index] : []));
  }
  if (main?.value === undefined || problems.length > 0) throw new ConfigurationError(problems);
  return { file, settings: main.value, guests };

  function addGuests(
    path: string,
    read: YamlFile<unknown>,
    found: readonly GuestSettings[],
    pathOf: (index: number) => readonly PropertyKey[],
  ): void {
    for (const [index, guest] of found.entries()) {
      const place = `${path}:${read.lineOf([...pathOf(index), "name"])}`;
      const other = guests.find(({ name }) => name === guest.name);
      if (other === undefined) guests.push({ ...guest, place });
      else problems.push(`${place}: name: there is a guest ${guest.name} already, at ${other.place}`);
    }
  }
}

/** The files of guests.d, in the order of their names. */
function guestFiles(folder: string, problems: string[]): string[] {
  const path = join(folder, GUESTS_FOLDER);
  try {
    return readdirSync(path)
      .filter((name) => /\.ya?ml$/.test(name) && !name.startsWith("."))
      .sort()
      .map((name) => join(path, name));
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTDIR") problems.push(`${path}: cannot be read: ${message}`);
    return [];
  }
}

function attempt<Value>(
  file: string,
  problems: string[],
  read: () => YamlFile<Value>,
): YamlFile<Value> | undefined {
  try {
    const found = read();
    problems.push(...found.problems);
    return found;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    problems.push(`${file}: ${code === "ENOENT" ? "there is no such file" : `cannot be read: ${message}`}`);
    return undefined;
  }
}
