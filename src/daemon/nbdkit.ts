/** nbdkit, which offers disks by NBD that lie in compressed files, on web servers and elsewhere: what it is told, and says. */
import { existsSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { compressionOf } from "../images/formats.js";
import { ImageError } from "../images/image-error.js";
import { isNbdkitName, isWebUrl, NBDKIT_PREFIX } from "../images/named-elsewhere.js";

export const NBDKIT = "nbdkit";

/** Where a server is to listen, and where it puts its process's number when it does. */
export interface ServingPlace {
  readonly socket: string;
  readonly pidFile: string;
}

/** Plugins that run what they are told as a program. */
const PROGRAMS = new Set("cc eval golang lua ocaml perl python ruby rust sh tcl".split(" "));
/** Of plugins and filters: nothing that names a file. */
const NAME = /^[a-z0-9][a-z0-9-]*$/;
const FORM = `write ${NBDKIT_PREFIX}[--filter=NAME ]PLUGIN[ KEY=VALUE]..., as in "${NBDKIT_PREFIX}--filter=xz file /srv/web.img.xz"`;
/** Bytes of what is read from a web server that are kept, in a temporary file. */
const WEB_CACHE = "1G";
/** s that a web server may take for an answer. */
const WEB_PATIENCE = 60;

/**
 * What nbdkit is to be told of an image: filters, a plugin, its parameters. Undefined: it is not needed. Throws ImageError.
 * `format`: of the image, as far as it is compressed.
 */
export function nbdkitWords(path: string, format: string): string[] | undefined {
  if (isNbdkitName(path)) return namedWords(path);
  const compression = compressionOf(format);
  const filter = compression === undefined ? [] : [`--filter=${compression}`];
  if (!isWebUrl(path)) return compression === undefined ? undefined : [...filter, "file", `file=${path}`];
  const curl = ["curl", `url=${path}`, "protocols=http,https", `timeout=${WEB_PATIENCE}`];
  if (compression !== undefined) return [...filter, ...curl];
  // A request of the web for each of a file system's blocks would be slow.
  const cache = ["cache-on-read=true", "cache-min-block-size=64k", `cache-max-size=${WEB_CACHE}`];
  return ["--filter=cache", ...curl, ...cache];
}

/** The words of `nbdkit:WORDS`. Throws ImageError for what is none, or more than reading a disk. */
export function namedWords(image: string): string[] {
  const words = splitWords(image);
  const plugin = words.find((word) => !word.startsWith("-"));
  for (const word of words) {
    if (word === plugin) break;
    if (!NAME.test(word.replace(/^--filter=/, "")))
      throw new ImageError(image, `of nbdkit's options only --filter=NAME can be given; ${FORM}`);
  }
  if (plugin === undefined || !NAME.test(plugin))
    throw new ImageError(image, `the name of nbdkit's plugin is missing; ${FORM}`);
  if (words.slice(words.indexOf(plugin) + 1).some((word) => word.startsWith("-")))
    throw new ImageError(image, `an option stands after the plugin's name; ${FORM}`);
  if (PROGRAMS.has(plugin))
    throw new ImageError(
      image,
      `the plugin ${plugin} runs programs; start nbdkit yourself, and name its socket: nbd+unix:///?socket=PATH`,
    );
  return words;
}

/** Blanks are between words; quotation marks around a word, or a part of one, keep those within. Nothing else is special. */
function splitWords(image: string): string[] {
  const text = image.slice(NBDKIT_PREFIX.length);
  const words: string[] = [];
  const word = /\s*((?:[^\s"']|"[^"]*"|'[^']*')+)/y;
  for (let found = word.exec(text); found !== null; found = word.exec(text)) {
    words.push((found[1] as string).replace(/"([^"]*)"|'([^']*)'/g, (_, one, other) => one ?? other));
    if (text.slice(word.lastIndex).trim() === "") return words;
  }
  throw new ImageError(image, `a quotation mark has no other, or there is nothing; ${FORM}`);
}

/** The same name wherever the process is: files that are there are named by their whole paths. Throws ImageError. */
export function resolveNbdkitName(image: string): string {
  const words = namedWords(image).map((word) => {
    const [, key = "", value = ""] = /^([a-z][a-z0-9-]*=)?(.*)$/s.exec(word) ?? [];
    const isFile = !NAME.test(word) || key !== "";
    return isFile && !isAbsolute(value) && value !== "" && existsSync(value)
      ? `${key}${resolve(value)}`
      : word;
  });
  return NBDKIT_PREFIX + words.map(quoted).join(" ");
}

/** Whether it names the same wherever the process is. */
export function isAbsoluteNbdkitName(image: string): boolean {
  return resolveNbdkitName(image) === NBDKIT_PREFIX + namedWords(image).map(quoted).join(" ");
}

function quoted(word: string): string {
  if (word !== "" && !/[\s"']/.test(word)) return word;
  return word.includes('"') ? `'${word}'` : `"${word}"`;
}

/** All arguments with which nbdkit offers that, for reading alone, until the process that starts it ends. */
export function nbdkitArguments(words: readonly string[], { socket, pidFile }: ServingPlace): string[] {
  return [
    "--foreground",
    "--exit-with-parent",
    "--readonly",
    `--unix=${socket}`,
    `--pidfile=${pidFile}`,
    ...words,
  ];
}

/** Why nbdkit does not offer a disk. `code`: of the failure to start it; `said`: its error output. */
export function nbdkitRefusal(image: string, code: string | undefined, said: string): ImageError {
  if (code === "ENOENT")
    return new ImageError(image, `${NBDKIT} is needed to read it; install it (Debian: nbdkit)`);
  const plugin = /cannot open (plugin|filter) ["']?([\w-]+)/.exec(said);
  if (plugin !== null)
    return new ImageError(
      image,
      `${NBDKIT} has no ${plugin[1]} "${plugin[2]}"; correct the name, or install what has it (Debian: nbdkit, nbdkit-plugin-...)`,
    );
  const line = said.split("\n").findLast((text) => /error: /.test(text)) ?? said.split("\n")[0] ?? "";
  const why = line.replace(/^nbdkit: (?:\S+: )?(?:error: )?/, "").trim() || (code ?? "it ended");
  return new ImageError(image, `${NBDKIT} cannot read it (${why}); check the name and whether it is there`);
}
