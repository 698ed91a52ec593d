/**
 * The formats of the images that an image of another format lies on (its backing files). An image that does not say which
 * format its backing file has makes QEMU guess by that file's content; if it is a guest's raw disk, it is the guest who
 * decides then. So such a file's format is decided as that of an image that a user names.
 */
import { ImageError } from "../images/image-error.js";
import { believedFormat } from "./image-name.js";

/** Images that lie on each other: real chains have a few. */
const LONGEST_CHAIN = 100;

/** What `qemu-img info --output=json` says, as far as it is used. */
interface Info {
  readonly "full-backing-filename"?: string;
  readonly "backing-filename"?: string;
  readonly "backing-filename-format"?: string;
}

/**
 * Decides them. Generates the arguments of a `qemu-img` to be run, is given what that printed ("" if it failed: whoever
 * opens the image tells why), and returns options for QEMU's block layer: `backing.driver=raw`. Throws ImageError.
 */
export function* backingFormats(
  image: string,
  imageFormat: string,
  log: (line: string) => void,
): Generator<string[], string[], string> {
  const options: string[] = [];
  let path = image;
  let format = imageFormat;
  for (let level = "backing"; format !== "raw"; level += ".backing") {
    if (level.length > LONGEST_CHAIN * ".backing".length)
      throw new ImageError(image, `it lies on more than ${LONGEST_CHAIN} images, or on itself`);
    const printed = yield ["info", "--output=json", "--force-share", `--format=${format}`, "--", path];
    const info = parseInfo(printed);
    const backing = info?.["full-backing-filename"] ?? info?.["backing-filename"];
    if (backing === undefined) break;
    const stated = info?.["backing-filename-format"];
    if (stated === undefined) {
      const { believed, found } = backing.startsWith("/")
        ? believedFormat(backing)
        : { believed: "raw", found: "raw" };
      if (found !== believed)
        log(
          `${path}: does not say the format of its backing file ${backing}, which begins like a ${found} disk, but any guest can write that: it is read as raw; if it is one: qemu-img rebase -u -F ${found} -b ${backing} ${path}`,
        );
      options.push(`${level}.driver=${believed}`);
      format = believed;
    } else format = stated;
    // Of what is no file, what lies below that is for QEMU to find.
    if (!backing.startsWith("/")) break;
    path = backing;
  }
  return options;
}

function parseInfo(printed: string): Info | undefined {
  try {
    return JSON.parse(printed) as Info;
  } catch {
    return undefined;
  }
}
