/** The kernel's NFS server, which may export the tree. */

import { writeFileSync } from "node:fs";

/** Its tables of exports, and of what file system a client's handle is of (net/sunrpc/cache.c, fs/nfsd/export.c). */
const TABLES = ["nfsd.export", "nfsd.fh"];

/**
 * Has it ask rpc.mountd anew, as `exportfs -f` does. Each of its tables' entries holds the mount that it found, for half
 * an hour: it keeps the mount from going, and whoever asks after that gets errors, though the tree is mounted again.
 */
export function forgetExports(): void {
  for (const table of TABLES) {
    try {
      // Any number empties the table.
      writeFileSync(`/proc/net/rpc/${table}/flush`, `${Math.floor(Date.now() / 1000)}\n`);
    } catch {
      // This machine has no NFS server, or none that we may tell.
    }
  }
}
