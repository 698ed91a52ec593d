/** `slashcloud tap`: guests' disks by NBD, in the foreground. */
import { parseGuests } from "../daemon/guest-name.js";
import { tap as serve } from "../daemon/tap.js";
import { complain, write } from "./output.js";

export interface TapOptions {
  readonly listen: string[];
  readonly record?: string;
  readonly readOnly?: boolean;
  readonly flushTimeout: number;
  readonly sizeLimit: number;
  readonly outstandingWrites: number;
  readonly underPressure: "data-drop" | "block";
}

/** Serves until SIGINT or SIGTERM. Returns the exit code. Throws UserError, and other errors of one line. */
export async function tap(images: readonly string[], options: TapOptions): Promise<number> {
  const { listen, record, readOnly, flushTimeout, sizeLimit, outstandingWrites, underPressure } = options;
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => resolve());
  });
  const { urls, died, stop } = await serve({
    guests: parseGuests(images),
    listen,
    isReadOnly: readOnly ?? false,
    record,
    limits: { flushTimeout, sizeLimit, outstandingWrites, pressure: underPressure },
    log: complain,
  });
  for (const url of urls) write(`slashcloud: serving ${url}\n`);
  const why = await Promise.race([stopped, died]);
  if (why !== undefined) throw why;
  for (const line of await stop()) complain(line);
  return 0;
}
