/** `slashcloud tap`: guests' disks by NBD, in the foreground. */
import { parseGuests } from "../daemon/guest-name.js";
import type { Pressure, QueueLimits } from "../daemon/tap.js";
import { tap as serve } from "../daemon/tap.js";
import { complain, write } from "./output.js";

/** The limits of the queue that a disk's writes wait in. */
export interface QueueOptions {
  readonly flushTimeout: number;
  readonly sizeLimit: number;
  readonly outstandingWrites: number;
  readonly underPressure: Pressure;
}

export interface TapOptions extends QueueOptions {
  readonly listen: string[];
  readonly record?: string;
  readonly readOnly?: boolean;
}

export function queueLimits(options: QueueOptions): QueueLimits {
  const { flushTimeout, sizeLimit, outstandingWrites, underPressure: pressure } = options;
  return { flushTimeout, sizeLimit, outstandingWrites, pressure };
}

/** Serves until SIGINT or SIGTERM. Returns the exit code. Throws UserError, and other errors of one line. */
export async function tap(images: readonly string[], options: TapOptions): Promise<number> {
  const { listen, record, readOnly } = options;
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => resolve());
  });
  const { urls, died, stop } = await serve({
    guests: parseGuests(images),
    listen,
    isReadOnly: readOnly ?? false,
    record,
    limits: queueLimits(options),
    log: complain,
  });
  for (const url of urls) write(`slashcloud: serving ${url}\n`);
  const why = await Promise.race([stopped, died]);
  if (why !== undefined) throw why;
  for (const line of await stop()) complain(line);
  return 0;
}
