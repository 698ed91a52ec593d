/** `slashcloud check`: what is wrong with a configuration, or what would be served. */
import { checkConfiguration } from "../daemon/config/check.js";
import { complain, write } from "./output.js";

/** Returns the exit code: 1 if anything is wrong. */
export async function check(file: string): Promise<number> {
  const { problems, warnings, lines } = await checkConfiguration(file);
  for (const problem of problems) complain(problem);
  for (const line of lines) write(`${line}\n`);
  for (const warning of warnings) complain(`warning: ${warning}`);
  return problems.length === 0 ? 0 : 1;
}
