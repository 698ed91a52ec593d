/** `slashcloud replay`: a recording, done again to a copy of its image. */
import { replayOnto } from "../daemon/replay.js";
import { complain, write } from "./output.js";

export interface ReplayOptions {
  readonly onto: string;
  readonly until?: number;
  readonly form: "auto" | "pipe";
}

/** Returns the exit code: 1 if the recording has gaps. Throws UserError, ImageError. */
export async function replay(recording: string, options: ReplayOptions): Promise<number> {
  const { onto: image, until, form } = options;
  const { records, bytes, gaps, gapBytes, last, torn } = await replayOnto({ recording, image, until, form });
  if (torn !== undefined) complain(`${recording}: ends with ${torn}, which was left out`);
  if (gaps > 0)
    complain(
      `${image}: up to ${gapBytes} bytes in ${gaps} ranges are not what they were: what was written is not recorded`,
    );
  write(`slashcloud: ${records} records (${bytes} bytes), up to number ${last}, are on ${image}\n`);
  return gaps > 0 ? 1 : 0;
}
