/**
 * What the servers' own programs say of a configuration, before it is put in place. Each returns what is wrong, in one
 * line, "" if nothing is, or undefined where the program is not there or may not be used.
 */

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { linesOf, run } from "./program.js";

export type Complaint = string | undefined;

/** testparm(1) ends with 0 also where it does not know a parameter or a value: what it says to stderr tells. */
const TESTPARM =
  /unknown parameter|invalid value|value is not|not a valid|^ERROR|badly formed|found in service section/i;

/** Samba: a file as a whole smb.conf. */
export async function checkSamba(path: string): Promise<Complaint> {
  const said = await run("testparm", ["-s", path]);
  if (said === undefined) return undefined;
  const [line] = linesOf(said.errors, TESTPARM);
  return line?.trim() ?? (said.code === 0 ? "" : lastLine(said.errors));
}

/** The shares that Samba has of a file and what it includes; none where testparm is not there. */
export async function sambaShares(path: string): Promise<string[] | undefined> {
  const said = await run("testparm", ["-s", path]);
  return said && [...said.output.matchAll(/^\[(.*)\]$/gm)].map(([, name]) => name!);
}

/**
 * exportfs(8) has no dry run. In a mount namespace of its own, with empty tables for the real ones, it changes nothing that
 * anyone sees.
 */
const EXPORTFS = `
mount -t tmpfs none /var/lib/nfs && : >/var/lib/nfs/etab && : >/var/lib/nfs/rmtab || exit 99
if [ -e /etc/exports ]; then mount --bind /dev/null /etc/exports || exit 99; fi
mount -t tmpfs none "$2" && cp -- "$1" "$2/slashcloud.exports" || exit 99
exportfs -ra
`;

/** The kernel's NFS server. A tree that is not mounted now is no fault. */
export async function checkExports(text: string): Promise<Complaint> {
  if (process.getuid?.() !== 0 || (await run("exportfs", ["-s"])) === undefined) return undefined;
  return inFile(text, "exports", async (file) => {
    const said = await privately("-m", `mkdir -p /etc/exports.d; ${EXPORTFS}`, file, "/etc/exports.d");
    if (said === undefined || said.code === 99) return undefined;
    const [line] = linesOf(said.errors, /^exportfs: (?!Failed to stat)/);
    return line?.replace(/^exportfs: (\/etc\/exports\.d\/slashcloud\.exports:? ?\[?\d*\]?: )?/, "") ?? "";
  });
}

/** NFS-Ganesha has no dry run: it is started where no network is, until it says that it serves, or what is wrong. */
const GANESHA = `
mount -t tmpfs none /var/lib/nfs || exit 99
ganesha.nfsd -F -f "$1" -L "$1.log" -p "$1.pid" &
for i in $(seq 100); do
  sleep 0.1
  if ! kill -0 $! || grep -q 'SERVER INITIALIZED' "$1.log"; then break; fi
done
kill -KILL $!
wait $!
cat "$1.log"
`;

/**
 * What it says of parameters that it does not know or take, before it goes on without. That blocks have failed follows from
 * that, or from a tree that is not mounted now, which is no fault.
 */
const GANESHA_SAYS =
  /config_errs_to_log.*:(?:WARN|CRIT) :(?:Config File \(.*?\): )?(?!.*(?:errors (?:in|found) block|Errors processing block))(.*)/;

/** NFS-Ganesha: `text` must listen on any address, as there is no other where it is started. */
export async function checkGanesha(text: string): Promise<Complaint> {
  if (process.getuid?.() !== 0 || (await run("ganesha.nfsd", ["-v"])) === undefined) return undefined;
  return inFile(text, "ganesha", async (file) => {
    const said = await privately("-mn", GANESHA, file);
    if (said === undefined || said.code === 99) return undefined;
    const [line] = linesOf(said.output, GANESHA_SAYS);
    if (line !== undefined) return GANESHA_SAYS.exec(line)![1]!.trim();
    return said.output.includes("SERVER INITIALIZED") ? "" : lastLine(said.output);
  });
}

/** Runs a script as root in namespaces of its own; what it mounts is seen by nobody else, and gone at its end. */
function privately(namespaces: string, script: string, ...args: string[]): ReturnType<typeof run> {
  return run("unshare", [namespaces, "--propagation=private", "sh", "-c", script, "sh", ...args]);
}

/** Calls with a file that has the text, in a folder that is removed afterwards. */
async function inFile(
  text: string,
  name: string,
  use: (file: string) => Promise<Complaint>,
): Promise<Complaint> {
  const folder = mkdtempSync(join(tmpdir(), "slashcloud-export-"));
  try {
    const file = join(folder, name);
    writeFileSync(file, text);
    return await use(file);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function lastLine(text: string): string {
  return text.trim().split("\n").pop()?.trim() || "it said nothing";
}
