// A guest that is busy: `node look-writer.mjs reuse|rename FOLDER TIMES`.
import { execFileSync } from "node:child_process";
import { closeSync, fsyncSync, openSync, readdirSync, renameSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";

const [mode, folder, times] = process.argv.slice(2);
const directory = openSync(folder, "r");

/** Files of one pattern each, deleted as soon as they are on the disk; there is room for little more than one. */
function reuse(size) {
  for (let round = 1; round <= Number(times); round++) {
    for (const name of ["a", "b"]) {
      const bytes = Buffer.alloc(size, `${name}${String(round).padStart(7, "0")}`);
      for (let left = size; left > 0; ) {
        const file = openSync(join(folder, name), "w");
        try {
          left = size - writeSync(file, bytes, 0, size, 0);
          fsyncSync(file);
        } catch {
          left = size;
        }
        closeSync(file);
        // The blocks of the one before are free only when its deletion is on the disk.
        if (left > 0) fsyncSync(directory);
      }
      rmSync(join(folder, name));
      if (round % 2 === 0) fsyncSync(directory);
    }
  }
}

/** Names that change, in a directory of many blocks. */
function rename() {
  const names = readdirSync(folder).sort((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
  let random = 1;
  for (let round = 0; round < Number(times); round++) {
    random = (Math.imul(random, 1103515245) + 12345) >>> 0;
    const at = (random >>> 8) % names.length;
    const name = `${at}-${round}-`.padEnd(100 + ((random >>> 16) % 100), "y");
    renameSync(join(folder, names[at]), join(folder, name));
    names[at] = name;
    if (round % 3 === 0) fsyncSync(directory);
    if (round % 40 === 0) execFileSync("sync", ["-f", folder]);
  }
}

if (mode === "reuse") reuse(256 << 10);
else rename();
