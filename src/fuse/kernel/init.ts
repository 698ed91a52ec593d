import { Errno } from "../errno.js";
import { InitFlag, InitIn, InitOut, ReplyHeader, Size, Version } from "./protocol.js";
import { MAX_PAGES, type Reply, type Result } from "./reply.js";
import type { Request } from "./request.js";

/**
 * READDIRPLUS always, not READDIRPLUS_AUTO: 100,000 files in 1,000 directories, cold, took `find -size` 0.65 s and
 * `ls -lR` 0.55 s, and 1.6 and 2.2 s with READDIR alone, at the price of a plain `find` (0.39 against 0.21 s). AUTO
 * gained nothing there, and in a directory that takes several reads it falls back to single LOOKUPs. AUTO_INVAL_DATA: a
 * new size or mtime drops a file's cached pages. Not CACHE_SYMLINKS: what a link says depends on where it lies, and the
 * guest may move a directory on the way to it.
 */
const ALWAYS =
  InitFlag.ASYNC_READ |
  InitFlag.EXPORT_SUPPORT |
  InitFlag.DO_READDIRPLUS |
  InitFlag.PARALLEL_DIROPS |
  InitFlag.MAX_PAGES |
  InitFlag.AUTO_INVAL_DATA;

/** With notifications of every change: the kernel opens without asking. */
const NOTIFIED = InitFlag.NO_OPEN_SUPPORT | InitFlag.NO_OPENDIR_SUPPORT;

/** WRITE's largest payload: the smallest that there is, as none comes, so that requests are read into little. */
const MAX_WRITE = 4096;

/**
 * max_background (lower half) and congestion_threshold: without them, a dozen READs ahead that wait for an answer keep all
 * others from being asked.
 */
const BOUNDLESS_BACKGROUND = 0xffff_ffff;

/**
 * Answers INIT: agrees with the kernel on what both know. EPROTO if it speaks an older protocol than ours. `forwards`:
 * whether some requests may wait for long while others are answered.
 */
export function negotiate(request: Request, reply: Reply, longTimeouts: boolean, forwards: boolean): Result {
  const { words } = reply;
  const out = ReplyHeader.PAYLOAD;
  const major = request.word(InitIn.MAJOR);
  if (major < Version.MAJOR) return -Errno.EPROTO;
  words.fill(0, out, out + Size.INIT / 4);
  words[out + InitOut.MAJOR] = Version.MAJOR;
  words[out + InitOut.MINOR] = Math.min(request.word(InitIn.MINOR), Version.MINOR);
  // A kernel with a newer major version asks again once it knows ours.
  if (major === Version.MAJOR) {
    const wanted = ALWAYS | (longTimeouts ? NOTIFIED : 0);
    words[out + InitOut.FLAGS] = request.word(InitIn.FLAGS) & wanted;
    // The mount's read_ahead_kb is the limit; see mount.ts.
    words[out + InitOut.MAX_READAHEAD] = 0xffff_ffff;
    if (forwards) words[out + InitOut.BACKGROUND] = BOUNDLESS_BACKGROUND;
    words[out + InitOut.MAX_WRITE] = MAX_WRITE;
    words[out + InitOut.TIME_GRANULARITY] = 1;
    words[out + InitOut.MAX_PAGES] = MAX_PAGES;
  }
  return Size.INIT;
}
