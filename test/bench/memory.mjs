// What the daemon keeps in memory of a guest with many files.
import { spawnSync } from "node:child_process";
import { atRest, residentMegabytes, serving } from "./mounts.mjs";

/**
 * Resident megabytes of a daemon that shows an image: without events, with the map of names that events need, and with
 * that after somebody has walked the whole tree.
 */
export async function memory(image) {
  const guests = [`g=${image}`];
  const measured = {};
  const without = await serving(guests, ["--no-events"]);
  try {
    await atRest(without.pid);
    measured.without = residentMegabytes(without.pid);
  } finally {
    await without.end();
  }
  const watched = await serving(guests);
  try {
    await atRest(watched.pid);
    measured.watched = residentMegabytes(watched.pid);
    spawnSync("find", [watched.path, "-size", "+1M"], { stdio: "ignore" });
    await atRest(watched.pid);
    measured.walked = residentMegabytes(watched.pid);
  } finally {
    await watched.end();
  }
  return measured;
}
