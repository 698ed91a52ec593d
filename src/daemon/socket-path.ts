/** The control socket's path, however long it is: a socket's address has room for 107 bytes (unix(7)). */
import { closeSync, constants, openSync } from "node:fs";
import { join } from "node:path";

const LONGEST = 107;

export interface SocketPath {
  /** What to listen on or to connect to, until `close`. */
  readonly path: string;
  close(): void;
}

/** Throws a system error if the directory cannot be opened. */
export function controlSocket(directory: string): SocketPath {
  const path = join(directory, "control.sock");
  if (Buffer.byteLength(path) <= LONGEST) return { path, close: () => {} };
  const fd = openSync(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  return { path: `/proc/self/fd/${fd}/control.sock`, close: () => closeSync(fd) };
}
