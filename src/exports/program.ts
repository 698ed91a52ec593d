/** Running the programs of other servers that check a configuration. */

import { execFile } from "node:child_process";

/** ms that a program may take. */
const PATIENCE = 30_000;

/** What a program said. */
export interface Said {
  /** 0: it was content. -1: it was ended. */
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs a program to its end, with messages in English; undefined if it is not installed. */
export function run(program: string, args: readonly string[]): Promise<Said | undefined> {
  const env = { ...process.env, LC_ALL: "C", PATH: `${process.env.PATH ?? ""}:/usr/sbin:/sbin` };
  return new Promise((resolve) => {
    execFile(program, args, { encoding: "utf8", timeout: PATIENCE, env }, (error, output, errors) => {
      if ((error as NodeJS.ErrnoException | null)?.code === "ENOENT") resolve(undefined);
      else
        resolve({
          code: error === null ? 0 : typeof error.code === "number" ? error.code : -1,
          output,
          errors,
        });
    });
  });
}

/** The lines that say something and match. */
export function linesOf(text: string, pattern: RegExp): string[] {
  return text.split("\n").filter((line) => pattern.test(line));
}
