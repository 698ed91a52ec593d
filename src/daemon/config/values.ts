/** Kinds of values that the configuration has: a message says what is expected. */
import { isAbsolute } from "node:path";
import { z } from "zod";
import { bytesIn, LEAST_SIZE, MOST_DATA } from "../byte-count.js";
import { isGuestName, isHostName } from "../guest-name.js";
import { isAbsoluteImage, resolveImage } from "../image-name.js";
import { parseListenAddress } from "../listen-address.js";
import { metricsAddress } from "../metrics-address.js";

export const flag = z.boolean("expected true or false");

/** Text that is more than nothing. */
export function text(what: string): z.ZodString {
  return z.string(`expected ${what}`).min(1, `expected ${what}`);
}

export function choice<const Words extends readonly [string, ...string[]]>(...words: Words) {
  return z.enum(words, `expected ${words.slice(0, -1).join(", ")} or ${words.at(-1)}`);
}

export const absolutePath = text("a path that begins with /").refine(
  isAbsolute,
  "expected a path that begins with /",
);

/** A name that a directory of the tree can have. */
export const treeName = text("a name").refine(
  isGuestName,
  "expected a name without /, of at most 255 bytes, and not .events",
);

/** This host's name there. */
export const hostName = treeName.refine(isHostName, "expected a name without a colon");

export function count(least: number, most = Number.MAX_SAFE_INTEGER): z.ZodNumber {
  const expected = `expected a whole number ${most === Number.MAX_SAFE_INTEGER ? `of at least ${least}` : `from ${least} to ${most}`}`;
  return z.int(expected).min(least, expected).max(most, expected);
}

/** Bytes: 4M, 512K, or a number. */
function bytes(least: number, most: number, expected: string) {
  return z
    .union([z.string(), z.number()], expected)
    .transform((value) => bytesIn(String(value)))
    .refine((size) => size >= least && size <= most, expected);
}

export const size = bytes(
  LEAST_SIZE,
  Number.MAX_SAFE_INTEGER,
  `expected a size of at least ${LEAST_SIZE} bytes, such as 512K, 4M or 1G`,
);

export const dataSize = bytes(0, MOST_DATA, "expected a size of at most 64K, such as 4K or 0");

/** What `parse` takes; what it throws tells what is wrong. */
function address(expected: string, parse: (text: string) => unknown) {
  return z
    .union([z.string(), z.number()], `expected ${expected}`)
    .transform(String)
    .superRefine((text, context) => {
      try {
        parse(text);
      } catch (error) {
        context.addIssue({ code: "custom", message: (error as Error).message });
      }
    });
}

/** As `--tap` takes it. */
export const listenAddress = address("unix:PATH, HOST:PORT, or a port", parseListenAddress);

/** As `--metrics` takes it. */
export const metricsListenAddress = address("HOST:PORT, or a port", metricsAddress);

/** An image as `up` takes it, wherever that is started. */
export const image = text("an image").superRefine((name, context) => {
  try {
    resolveImage(name);
    if (!isAbsoluteImage(name))
      context.addIssue({
        code: "custom",
        message: "expected the whole path of an image (or FORMAT:/PATH), or a URL",
      });
  } catch (error) {
    context.addIssue({ code: "custom", message: (error as Error).message });
  }
});

/** A list, or its only item by itself. */
export function oneOrMore<Item extends z.ZodType>(item: Item, expected: string) {
  return z.preprocess(
    (value) => (value === undefined || Array.isArray(value) ? value : [value]),
    z.array(item, expected).min(1, expected),
  );
}
