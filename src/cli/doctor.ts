/** `slashcloud doctor`: checks the host, and says what to do. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { ConfigurationError, readConfiguration } from "../daemon/config/configuration.js";
import { examine } from "../daemon/doctor/checks.js";
import type { Finding } from "../daemon/doctor/finding.js";
import { subjectOf } from "../daemon/doctor/subject.js";
import { write } from "./output.js";
import { CONFIGURATION } from "./up.js";

export interface DoctorOptions {
  readonly config?: string;
  readonly mount?: string;
  readonly state?: string;
  readonly redis?: string;
  readonly json?: boolean;
}

/** Prints a line for each finding. Returns the exit code: 1 if something fails. Throws UserError, ImageError. */
export async function doctor(images: readonly string[], options: DoctorOptions): Promise<number> {
  const { json } = options;
  const configuration = options.config ?? (existsSync(CONFIGURATION) ? CONFIGURATION : undefined);
  const settings = configuration === undefined ? {} : settingsOf(configuration);
  const { mount = "/cloud", state, redis } = { ...settings, ...options };
  const findings = await examine(
    await subjectOf({ images, mount: resolve(mount), state, redis, configuration }),
  );
  const isWell = findings.every(({ level }) => level !== "fail");
  write(json ? `${JSON.stringify({ ok: isWell, findings }, undefined, 2)}\n` : findings.map(line).join(""));
  return isWell ? 0 : 1;
}

/** What a configuration says of where the tree is; nothing if it is wrong, which is a finding. */
function settingsOf(file: string): { mount?: string; state?: string; redis?: string } {
  try {
    const { mount, state, redis } = readConfiguration(file).settings;
    return { ...(mount && { mount }), ...(state && { state }), ...(redis && { redis: redis.url }) };
  } catch (error) {
    if (error instanceof ConfigurationError) return {};
    throw error;
  }
}

function line({ level, check, message, advice }: Finding): string {
  const what = advice === undefined ? message : `${message}; ${advice}`;
  // A path may have anything in it.
  return `${level.padEnd(4)}  ${check.padEnd(8)}  ${what.replace(/\p{Cc}/gu, "?")}\n`;
}
