/** What lies between an image and the raw disk in it: nbdkit, which has its bytes, and a format that qemu-nbd reads. */
import { compressionOf } from "../images/formats.js";
import type { Log } from "../images/image.js";
import { formatOf, formatWithin, type ImageName } from "./image-name.js";
import { nbdkitWords } from "./nbdkit.js";

export interface ImageLayers {
  /** What nbdkit is to be told; undefined: it is not needed. */
  readonly nbdkit: readonly string[] | undefined;
  /** Of what nbdkit offers, or of the image itself. */
  readonly format: string;
}

/** Throws ImageError for a name that makes no sense. `log`: as formatOf has it. */
export function layersOf(name: ImageName, log: Log): ImageLayers {
  const format = formatOf(name, log);
  const nbdkit = nbdkitWords(name.path, format);
  return { nbdkit, format: compressionOf(format) === undefined ? format : formatWithin(name.path) };
}
