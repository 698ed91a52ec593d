/** Sizes as users write them: 512K, 4M, 1G. */
import { InvalidArgumentError } from "commander";
import { bytesIn, LEAST_SIZE, MOST_DATA } from "../daemon/byte-count.js";

/** Bytes. Throws InvalidArgumentError. */
export function size(text: string): number {
  const bytes = bytesIn(text);
  if (!Number.isSafeInteger(bytes) || bytes < LEAST_SIZE)
    throw new InvalidArgumentError(`write a size of at least ${LEAST_SIZE} bytes, such as 512K, 4M or 1G.`);
  return bytes;
}

/** Bytes of a file's data, 0 for none. Throws InvalidArgumentError. */
export function dataSize(text: string): number {
  const bytes = bytesIn(text);
  if (!(bytes <= MOST_DATA)) throw new InvalidArgumentError("write a size of at most 64K, such as 4K or 0.");
  return bytes;
}
