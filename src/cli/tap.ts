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

/** Serves until SIGINT or SIGTERM. Returns the exit code. Throws UserError, ImageError, ListenError. */
export async function tap(images: readonly string[], options: TapOptions): Promise<number> {
  const stopped = new Promise<void>((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => resolve());
  });
  const { urls, stop } = await serve({
    guests: parseGuests(images),
    listen: options.listen,
    isReadOnly: options.readOnly ?? false,
    record: options.record,
    flushTimeout: options.flushTimeout,
    sizeLimit: options.sizeLimit,
    outstandingWrites: options.outstandingWrites,
    pressure: options.underPressure,
    log: complain,
  });
  for (const url of urls) write(`slashcloud: serving ${url}\n`);
  await stopped;
  for (const line of await stop()) complain(line);
  return 0;
}
