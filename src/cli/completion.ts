/** `slashcloud completion`: what has a shell complete slashcloud's command line. */
import type { Command } from "commander";
import { UserError } from "../daemon/user-error.js";
import { write } from "./output.js";

/**
 * Prints a shell's script, or, where the "shell" is `words`, what the last of the words may become, for those scripts.
 * Returns the exit code. Throws UserError for a shell that is not known.
 */
export async function completion(program: Command, shell: string, words: readonly string[]): Promise<number> {
  if (shell === "words") {
    const { candidatesFor } = await import("./completion/candidates.js");
    for (const { text, meaning } of await candidatesFor(program, words)) write(`${text}\t${meaning}\n`);
    return 0;
  }
  const { SCRIPTS } = await import("./completion/scripts.js");
  const script = words.length === 0 ? SCRIPTS[shell] : undefined;
  if (script === undefined)
    throw new UserError(`completion ${[shell, ...words].join(" ")}: say bash, zsh or fish`, 2);
  write(script);
  return 0;
}
