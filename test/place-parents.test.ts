/** In which directory a file was shown, by this server and by the one before: a link's text depends on it. */
import { expect, test } from "vitest";
import { CloudDirectory } from "../src/cloud/directory.js";
import { Place } from "../src/cloud/place.js";
import type { FileSystem } from "../src/filesystems/filesystem.js";

const [ROOT, ABOVE, MOVED] = [2, 11, 12];

function place(): Place {
  const identity = { id: 1, eventsId: 2, guest: "g", volume: "sda" };
  const nowhere = new CloudDirectory(0, undefined, undefined);
  return new Place(identity, { rootInode: ROOT } as FileSystem, nowhere, undefined, 0);
}

test("a directory whose name the kernel is told to forget is in none, also if it was in one for an earlier server", () => {
  const shown = place();
  shown.inherit(1, ABOVE, ROOT, 0);
  shown.inherit(1, MOVED, ABOVE, 0);
  expect(shown.depth(MOVED)).toBe(2);
  // It has been found by its new name before its move is told.
  shown.noteParent(MOVED, ROOT);
  expect(shown.depth(MOVED)).toBe(1);
  shown.forgetParent(MOVED);
  expect(shown.depth(MOVED)).toBeUndefined();
  shown.noteParent(MOVED, ROOT);
  expect(shown.depth(MOVED)).toBe(1);
});
