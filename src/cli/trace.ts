/** `slashcloud trace`: which files a guest reads and writes, in the foreground. */
import { closeSync, openSync, rmSync, writeSync } from "node:fs";
import type { PlaceAccess } from "../daemon/accesses.js";
import { parseGuest } from "../daemon/guest-name.js";
import { trace as serve } from "../daemon/trace.js";
import { UserError } from "../daemon/user-error.js";
import { complain, write } from "./output.js";
import { placeFields, placeText } from "./place-text.js";

export interface TraceOptions {
  readonly listen: string[];
  readonly output?: string;
  readonly json?: boolean;
  readonly readOnly?: boolean;
}

/** Serves until SIGINT or SIGTERM. Returns the exit code. Throws UserError, and other errors of one line. */
export async function trace(
  image: string,
  { listen, output, json, readOnly }: TraceOptions,
): Promise<number> {
  const guest = parseGuest(image);
  const file = output === undefined ? undefined : created(output);
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => resolve());
  });
  let failure: Error | undefined;
  let fail: () => void = () => {};
  const failed = new Promise<void>((resolve) => {
    fail = resolve;
  });
  const put = (line: Buffer): void => {
    if (failure !== undefined) return;
    try {
      if (file === undefined) write(line);
      else for (let at = 0; at < line.length; ) at += writeSync(file, line, at);
    } catch (error) {
      failure = new UserError(`${output}: the trace cannot be written (${(error as Error).message})`);
      fail();
    }
  };
  const began = Date.now();
  const tell = (access: PlaceAccess): void => put(json ? jsonLine(access) : textLine(access, began));
  const options = { guest, listen, isReadOnly: readOnly ?? false, tell, log: complain };
  const { urls, died, stop } = await serve(options).catch((error) => {
    if (output !== undefined) rmSync(output, { force: true });
    throw error;
  });
  // Not among the lines that others read.
  for (const url of urls) complain(`serving ${url}`);
  const why = await Promise.race([stopped, failed, died]);
  if (why !== undefined) throw why;
  const lost = await stop();
  if (lost > 0) complain(`${lost} requests came too fast to be told`);
  if (file !== undefined) closeSync(file);
  if (failure !== undefined) throw failure;
  return 0;
}

function created(path: string): number {
  try {
    return openSync(path, "wx", 0o600);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new UserError(
      code === "EEXIST"
        ? `${path}: there is a file already; name another, or move it away`
        : `${path}: no trace can be written there (${code})`,
    );
  }
}

function textLine({ time, operation, place, offset, length }: PlaceAccess, began: number): Buffer {
  const seconds = ((time - began) / 1000).toFixed(3);
  return Buffer.from(`${seconds} ${operation} ${offset} ${length} ${placeText(place)}\n`, "latin1");
}

function jsonLine({ time, operation, place, offset, length }: PlaceAccess): Buffer {
  const fields = { time: new Date(time).toISOString(), operation, offset, length, ...placeFields(place) };
  return Buffer.from(`${JSON.stringify(fields)}\n`);
}
