/** Coming to a guest's QEMU, and leaving it as it was: the same for every way to attach to it. */
import type { EnterOptions, GuestDisk } from "./attachment.js";
import { clearGuest, clearNames, nodesOf } from "./clearing.js";
import { chosenDisks, guestDisks } from "./guest-disks.js";
import { namesOf, QmpClient, QmpError } from "./qmp-client.js";
import { isOurs, livingOwner, type Session, sessionOf } from "./session.js";

/** A guest's QEMU that this process is connected to. */
export interface Entered {
  readonly client: QmpClient;
  readonly session: Session;
  /** Those that were asked for. */
  readonly disks: readonly GuestDisk[];
}

/**
 * Connects to a guest's QEMU, and has `begin` make there what it wants to; if it rejects, all that is taken back. Throws
 * QmpError, one line, and has changed nothing then.
 */
export async function enter<Result>(
  options: EnterOptions,
  begin: (entered: Entered) => Promise<Result>,
): Promise<Result> {
  const { socket, exportSocket, guard, log } = options;
  const session = sessionOf(process.pid);
  await guard.guard({ socket, exportSocket });
  let client: QmpClient | undefined;
  let hasBegun = false;
  try {
    client = await QmpClient.connect(socket);
    await clearDead(client, exportSocket);
    const disks = chosenDisks(socket, await guestDisks(client), options.disks);
    hasBegun = true;
    return await begin({ client, session, disks });
  } catch (error) {
    if (client !== undefined && hasBegun)
      await leave(client, options, session).catch(({ message }: Error) => log(message));
    else {
      client?.close();
      guard.release(socket);
    }
    throw error;
  }
}

/** Takes back what was made in QEMU, and ends the connection. Throws QmpError; the guest stays guarded then. */
export async function leave(
  client: QmpClient,
  { socket, exportSocket, guard }: EnterOptions,
  session: Session,
): Promise<void> {
  try {
    await clearNames(client, exportSocket, session.owns);
    client.close();
  } catch {
    // QEMU may have ended, or only this connection to it.
    client.close();
    await clearGuest({ socket, exportSocket }, session.owns);
  }
  guard.release(socket);
}

/** Takes away what slashclouds left that have died. Throws QmpError if there is one that lives. */
async function clearDead(client: QmpClient, exportSocket: string): Promise<void> {
  const names = [
    ...(await namesOf(client, "query-jobs", "id")),
    ...(await namesOf(client, "query-block-exports", "id")),
    ...(await nodesOf(client)),
  ].filter(isOurs);
  for (const name of names) {
    const pid = livingOwner(name);
    if (pid !== undefined)
      throw new QmpError(client.path, `slashcloud is attached already (process ${pid}); detach that first`);
  }
  await clearNames(client, exportSocket, isOurs);
}
