/**
 * A process that reads mutants one after the other, and tells its parent on descriptor 3, a JSON line each, which it
 * begins with, and what is wrong. The parent ends it when it does not come back.
 */
import { openSync, writeSync } from "node:fs";
import { loadImage, pickImage } from "./images.mjs";
import { groupPlaces, mutate } from "./mutate.mjs";
import { OwnTime } from "./own-time.mjs";
import { findPlaces } from "./places.mjs";
import { findFatPlaces } from "./places-fat.mjs";
import { findNtfsPlaces } from "./places-ntfs.mjs";
import { Random } from "./random.mjs";
import { loadLibrary, Reader } from "./reader.mjs";

const MEBIBYTE = 1 << 20;
/** Where the partition of the image that has one begins, bytes. */
const PARTITION = 16 * 512;
/** Each image has more than these. */
const FEWEST_ENTRIES = 30;
const {
  library: folder,
  first,
  count,
  step,
  image: only,
  milliseconds,
  mebibytes,
} = JSON.parse(process.argv[2]);

const library = await loadLibrary(folder);
const reader = new Reader(library);
/** What the process needs before it has read anything, so that what is left over from mutant to mutant counts, too. */
const resident = process.memoryUsage.rss();
const images = new Map();

function image(name) {
  let known = images.get(name);
  if (known === undefined) {
    const bytes = loadImage(name);
    const isFat = /^(ex)?fat/.test(name);
    let found;
    if (isFat) found = findFatPlaces(bytes);
    else if (name.startsWith("ntfs")) found = findNtfsPlaces(bytes);
    else found = findPlaces(bytes, name === "mbr" ? PARTITION : 0, library);
    const places = groupPlaces(found);
    if (name === "mbr") places.kinds.push([{ kind: "partition table", at: 0x1b8, length: 72 }]);
    const commits = places.list.filter(({ kind }) => kind === "journal 2").map(({ at }) => at);
    known = { bytes, places, commits, before: isFat ? bytes : undefined, target: Buffer.alloc(bytes.length) };
    // Were it not read undamaged, mutants of it would show nothing.
    reader.disk(bytes, commits, known.before);
    if (reader.entries < FEWEST_ENTRIES) throw new Error(`${name}: only ${reader.entries} entries were read`);
    images.set(name, known);
  }
  return known;
}

function tell(message) {
  writeSync(3, `${JSON.stringify(message)}\n`);
}

/** What went wrong with a mutant that threw, and where: without a trace each of the many errors that are answers is cheaper. */
function explain(error, read) {
  Error.stackTraceLimit = 30;
  try {
    read();
  } catch (again) {
    return again?.stack ?? `${again}`;
  } finally {
    Error.stackTraceLimit = 0;
  }
  return error?.stack ?? `${error}`;
}

const time = new OwnTime("self");
const clearRefs = openSync("/proc/self/clear_refs", "w");
Error.stackTraceLimit = 0;
let peak = 0;
let slowest = 0;
let slowestSeed = first;
let done = 0;

function tellFigures(end) {
  const { answered, refused } = reader;
  tell({ end, slowest, slowestSeed, peak, answered, refused });
  reader.answered = 0;
  reader.refused = 0;
}

for (let seed = first; seed < first + count; seed += step) {
  const random = new Random(seed);
  const picked = pickImage(random);
  const name = only ?? picked;
  const { bytes, places, commits, before, target } = image(name);
  const mutant = mutate(bytes, target, places, random);
  tell({ begin: seed, image: name });
  // Makes the kernel measure the peak of resident memory from now on (proc_pid_clear_refs(5)).
  writeSync(clearRefs, "5", 0);
  const began = time.now();
  let failure;
  let thrown;
  try {
    reader.disk(mutant, commits, before);
  } catch (error) {
    thrown = error;
    failure = `${error}`;
  }
  const took = time.now() - began;
  if (took > slowest) {
    slowest = took;
    slowestSeed = seed;
  }
  const reached = process.resourceUsage().maxRSS / 1024;
  const grew = reached - resident / MEBIBYTE;
  peak = Math.max(peak, reached);
  if (grew > mebibytes) failure ??= `it took ${Math.round(grew)} MB of memory`;
  if (took > milliseconds) failure ??= `it took ${Math.round(took)} ms`;
  if (thrown !== undefined) failure = explain(thrown, () => reader.disk(mutant, commits, before));
  if (failure !== undefined) tell({ failure, seed, image: name });
  // Often enough that little is lost with a process that must be ended.
  if (++done % 50 === 0) tellFigures(false);
}
tellFigures(true);
