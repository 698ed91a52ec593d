/** What there is to choose from at the moment: guests that are served, and files in an image. Nothing here ever fails. */
import { statSync } from "node:fs";
import { stateDirectoryFor } from "../../daemon/state-directory.js";

/** ms that the daemon is given: somebody waits at the keyboard. */
const PATIENCE = 300;

/** The names of the guests that a daemon serves, which the command line's --mount and --state tell; none if it does not answer. */
export async function guestNames(
  options: ReadonlyMap<string, string>,
): Promise<{ host: string; guest: string }[]> {
  try {
    const { askDaemon } = await import("../../daemon/ask-daemon.js");
    const state = stateDirectoryFor(options.get("mount") ?? "/cloud", options.get("state"));
    const { host, guests } = (await askDaemon({ state, path: "/v1/status", patience: PATIENCE })) as {
      host: string;
      guests: readonly string[];
    };
    return guests.map((guest) => ({ host, guest }));
  } catch {
    return [];
  }
}

/** Files that `IMAGE:PATH` may become; undefined: no raw image is named yet, with a colon after it. */
export async function inGuest(value: string): Promise<string[] | undefined> {
  const colon = value.indexOf(":");
  const slash = value.lastIndexOf("/");
  const image = value.slice(0, Math.max(colon, 0));
  if (colon < 0 || !statSync(image, { throwIfNoEntry: false })?.isFile()) return undefined;
  const directory = slash > colon ? value.slice(colon + 1, slash + 1) : "/";
  try {
    const { formatOf } = await import("../../daemon/image-name.js");
    // A program would have to be started to read another one.
    if (formatOf({ format: undefined, path: image }, () => {}) !== "raw") return [];
    const { entriesOf } = await import("./entries.js");
    return entriesOf({ image, path: Buffer.from(directory) }).map((name) => `${image}:${directory}${name}`);
  } catch {
    return [];
  }
}
