/** A recording, done again to a copy of the image that it began from. */
import { type FileHandle, open } from "node:fs/promises";
import { openRecording } from "../capture/recording/open.js";
import type { Recording } from "../capture/recording/recording.js";
import { type Replayed, replay } from "../capture/recording/replay.js";
import { openRawImage } from "../images/raw.js";
import { UserError } from "./user-error.js";

export interface ReplayOptions {
  readonly recording: string;
  readonly image: string;
  /** The last record's number that is applied. */
  readonly until: number | undefined;
  readonly form: "auto" | "pipe";
}

export interface ReplayResult extends Replayed {
  /** What is there after the recording's last whole record, if anything. */
  readonly torn: string | undefined;
}

/** Throws UserError, ImageError. */
export async function replayOnto(options: ReplayOptions): Promise<ReplayResult> {
  const raw = openRawImage(options.image);
  const { size } = raw;
  raw.close();
  const recording = await openOrTell(options);
  if (recording.diskSize !== undefined && recording.diskSize !== size)
    throw new UserError(
      `${options.image}: has ${size} bytes, the recorded disk ${recording.diskSize}; name a copy of that disk`,
    );
  let image: FileHandle | undefined;
  try {
    image = await open(options.image, "r+");
    const done = await replay(recording.records, image, size, options.until);
    await image.sync();
    return { ...done, torn: recording.ending.torn };
  } catch (error) {
    throw told(error, options);
  } finally {
    await image?.close();
  }
}

async function openOrTell(options: ReplayOptions): Promise<Recording> {
  try {
    return await openRecording(options.recording, options.form);
  } catch (error) {
    throw told(error, options);
  }
}

function told(error: unknown, { recording, image }: ReplayOptions): unknown {
  if (error instanceof RangeError)
    return new UserError(`${recording}: ${error.message}; is it the recording that belongs to ${image}?`);
  const { code, path } = error as NodeJS.ErrnoException;
  return code === undefined ? error : new UserError(`${path ?? image}: cannot be used (${code})`);
}
