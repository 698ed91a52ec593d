/** `slashcloud doctor`: checks the host, and says what to do. */
import { resolve } from "node:path";
import { examine } from "../daemon/doctor/checks.js";
import type { Finding } from "../daemon/doctor/finding.js";
import { subjectOf } from "../daemon/doctor/subject.js";
import { write } from "./output.js";

export interface DoctorOptions {
  readonly mount: string;
  readonly state?: string;
  readonly redis?: string;
  readonly json?: boolean;
}

/** Prints a line for each finding. Returns the exit code: 1 if something fails. Throws UserError, ImageError. */
export async function doctor(images: readonly string[], options: DoctorOptions): Promise<number> {
  const { mount, state, redis, json } = options;
  const findings = await examine(await subjectOf({ images, mount: resolve(mount), state, redis }));
  const isWell = findings.every(({ level }) => level !== "fail");
  write(json ? `${JSON.stringify({ ok: isWell, findings }, undefined, 2)}\n` : findings.map(line).join(""));
  return isWell ? 0 : 1;
}

function line({ level, check, message, advice }: Finding): string {
  const what = advice === undefined ? message : `${message}; ${advice}`;
  // A path may have anything in it.
  return `${level.padEnd(4)}  ${check.padEnd(8)}  ${what.replace(/\p{Cc}/gu, "?")}\n`;
}
