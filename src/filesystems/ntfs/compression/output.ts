import { EIO, IoError } from "../../../images/io-error.js";

/** The error for compressed data that makes no sense. */
export function badData(what: string): IoError {
  return new IoError(EIO, `Compressed data is damaged: ${what}.`);
}

/**
 * Refuses ranges that do not lie in their buffers, so that what decompresses need not look again.
 * @throws IoError(EIO)
 */
export function checkRanges(
  source: Buffer,
  from: number,
  length: number,
  target: Buffer,
  at: number,
  room: number,
): void {
  if (!(from >= 0 && length >= 0 && from + length <= source.length)) {
    throw badData("its end is missing");
  }
  if (!(at >= 0 && room >= 0 && at + room <= target.length)) {
    throw badData("it is for a place that is not there");
  }
}

/** From this length on a copy by the runtime is faster than a loop. */
const LONG = 64;

/**
 * Repeats `length` bytes that lie `distance` bytes before `to`; they may overlap what is written. The caller has
 * checked that both are inside the output.
 */
export function copyMatch(target: Buffer, to: number, distance: number, length: number): void {
  if (length >= LONG) {
    if (distance === 1) {
      target.fill(target[to - 1]!, to, to + length);
      return;
    }
    if (distance >= length) {
      target.copyWithin(to, to - distance, to - distance + length);
      return;
    }
  }
  const end = to + length;
  for (let place = to; place < end; place++) {
    target[place] = target[place - distance]!;
  }
}
