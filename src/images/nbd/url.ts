/** NBD URLs: `nbd://HOST[:PORT]/EXPORT`, `nbd+unix:///EXPORT?socket=PATH` (doc/uri.md of NetworkBlockDevice/nbd). */
import { resolve } from "node:path";
import { ImageError } from "../image-error.js";
import { DEFAULT_PORT, LONGEST_STRING } from "./protocol.js";

/** Where an NBD server listens. */
export type NbdPlace = { readonly path: string } | { readonly host: string; readonly port: number };

/** What an NBD URL names. */
export interface NbdAddress {
  readonly place: NbdPlace;
  /** The export's name. */
  readonly name: string;
  /** `#file=PATH`: a file of this host's that changes when the disk is written to. */
  readonly file?: string | undefined;
}

const FORMS = "write nbd://HOST:PORT/EXPORT or nbd+unix:///EXPORT?socket=PATH";

/** Whether an image's name is such a URL, be it a right one or not. */
export function isNbdUrl(text: string): boolean {
  return /^nbds?(\+[a-z]+)?:\/\//.test(text);
}

/** Throws ImageError for what is no NBD URL, or one of a kind that cannot be read. */
export function parseNbdUrl(text: string): NbdAddress {
  let url: URL;
  let name: string;
  let file: string | undefined;
  try {
    url = new URL(text);
    name = decodeURIComponent(url.pathname.slice(1));
    file = /^#file=(\/.*)$/.exec(decodeURIComponent(url.hash))?.[1];
  } catch {
    throw new ImageError(text, `this is no NBD URL; ${FORMS}`);
  }
  const { protocol, searchParams } = url;
  const parameters = [...searchParams.keys()];
  if (protocol.startsWith("nbds") || parameters.some((key) => key.startsWith("tls-")))
    throw new ImageError(text, "TLS is not spoken here; have the server listen on a unix socket, or tunnel");
  const unknown = parameters.find((key) => key !== "socket" || protocol !== "nbd+unix:");
  if (unknown !== undefined) throw new ImageError(text, `the parameter "${unknown}" is not known; ${FORMS}`);
  if (name.includes("\0") || Buffer.byteLength(name) > LONGEST_STRING)
    throw new ImageError(text, `an export cannot have that name; ${FORMS}`);
  if (protocol === "nbd+unix:") {
    const socket = searchParams.get("socket") ?? "";
    if (socket === "")
      throw new ImageError(text, "the socket is missing; write nbd+unix:///EXPORT?socket=PATH");
    return { place: { path: socket.startsWith("\0") ? socket : resolve(socket) }, name, file };
  }
  if (protocol !== "nbd:" || url.hostname === "") throw new ImageError(text, `this cannot be read; ${FORMS}`);
  const host = decodeURIComponent(url.hostname).replace(/^\[(.*)\]$/, "$1");
  return { place: { host, port: url.port === "" ? DEFAULT_PORT : Number(url.port) }, name, file };
}

/** The same URL from wherever it is read: with its socket's whole path. Throws ImageError as parseNbdUrl. */
export function resolveNbdUrl(text: string): string {
  const { place } = parseNbdUrl(text);
  if (!("path" in place) || place.path.startsWith("\0")) return text;
  return text.replace(/\?[^#]*/, `?socket=${encodeURIComponent(place.path).replaceAll("%2F", "/")}`);
}
