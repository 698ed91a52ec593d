/** The state directory: logs of events, maps of names. */
import { accessSync, constants, existsSync, statfsSync } from "node:fs";
import { dirname } from "node:path";
import { type Found, fail, ok, warn } from "./finding.js";
import type { Subject } from "./subject.js";

/** MB: two segments of a log and a map of a million names for each guest, about; and what is too little for anything. */
const COMFORT = 128;
const LEAST = 64;

export function checkState({ state, images }: Subject): Found[] {
  let there = state;
  while (!existsSync(there) && there !== "/") there = dirname(there);
  try {
    accessSync(there, constants.W_OK);
  } catch (error) {
    return [
      fail(
        `${there} cannot be written: ${(error as NodeJS.ErrnoException).code}`,
        "run it as root, or name another directory (--state)",
      ),
    ];
  }
  const { bavail, bsize, ffree, files } = statfsSync(there);
  const free = (bavail * bsize) / 2 ** 20;
  const wanted = COMFORT * Math.max(images.length, 1);
  if (free < LEAST)
    return [fail(`${state} has only ${Math.round(free)} MB left: events would be lost`, "make room")];
  if (files > 0 && ffree < 1000)
    return [fail(`${state} has room for only ${ffree} more files`, "remove some there")];
  if (free < wanted)
    return [
      warn(
        `${state} has ${Math.round(free)} MB left; ${wanted} MB are a comfort for this many disks`,
        "make room, or keep fewer events (--events-size)",
      ),
    ];
  return [ok(`${state} has ${Math.round(free)} MB left`)];
}
