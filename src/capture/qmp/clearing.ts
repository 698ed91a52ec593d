/** Takes away what slashcloud made in a QEMU: afterwards it is as it was before. */
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { GuardedGuest } from "./attachment.js";
import { NoMonitorError, namesOf, QmpClient, QmpError } from "./qmp-client.js";

/** ms that a job or an export may take to end, and how often it is looked. */
const LIMIT = 5000;
const STEP = 10;

/**
 * Takes away all jobs, exports and nodes whose names are `mine`, and then the NBD server if it is not used by others.
 * Throws QmpError.
 */
export async function clearNames(
  client: QmpClient,
  exportSocket: string,
  mine: (name: string) => boolean,
): Promise<void> {
  await clearJobs(client, mine);
  const hadExports = await clearExports(client, mine);
  for (const node of (await nodesOf(client)).filter(mine))
    await client.execute("blockdev-del", { "node-name": node });
  await stopServer(client, exportSocket, hadExports);
}

/** Ends jobs whose names are `mine`. Throws QmpError. */
export async function clearJobs(client: QmpClient, mine: (name: string) => boolean): Promise<void> {
  const jobs = async () => (await namesOf(client, "query-jobs", "id")).filter(mine);
  for (const device of await jobs()) {
    // One that is about to end by itself refuses.
    await client.execute("block-job-cancel", { device, force: true }).catch(() => {});
  }
  await gone(client, jobs);
}

/** Ends exports whose names are `mine`. Returns whether there were any. Throws QmpError. */
export async function clearExports(client: QmpClient, mine: (name: string) => boolean): Promise<boolean> {
  const exports = async () => (await namesOf(client, "query-block-exports", "id")).filter(mine);
  const before = await exports();
  for (const id of before) await client.execute("block-export-del", { id, mode: "hard" }).catch(() => {});
  await gone(client, exports);
  return before.length > 0;
}

/** Names of all nodes of the block layer. Throws QmpError. */
export function nodesOf(client: QmpClient): Promise<string[]> {
  return namesOf(client, "query-named-block-nodes", "node-name", { flat: true });
}

/**
 * Takes away, over a connection of its own, what is `mine` in a guest; done also if the guest has ended. Throws QmpError,
 * if another program holds the monitor, for one.
 */
export async function clearGuest(
  { socket, exportSocket }: GuardedGuest,
  mine: (name: string) => boolean,
): Promise<void> {
  let client: QmpClient;
  try {
    client = await QmpClient.connect(socket);
  } catch (error) {
    if (error instanceof NoMonitorError) return;
    throw error;
  }
  try {
    await clearNames(client, exportSocket, mine);
  } finally {
    client.close();
  }
}

/** Stops QEMU's NBD server, if it is slashcloud's: QEMU does not tell where one listens, nor whether there is one. */
async function stopServer(client: QmpClient, exportSocket: string, hadExports: boolean): Promise<void> {
  if ((await namesOf(client, "query-block-exports", "type")).includes("nbd")) return;
  if (!hadExports && !(await isListening(exportSocket))) return;
  await client.execute("nbd-server-stop").catch(() => {});
}

/** Whether somebody listens at a unix socket. */
function isListening(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function gone(client: QmpClient, names: () => Promise<string[]>): Promise<void> {
  const until = performance.now() + LIMIT;
  for (let left = await names(); left.length > 0; left = await names()) {
    if (performance.now() > until) throw new QmpError(client.path, `${left[0]} does not end`);
    await sleep(STEP);
  }
}
