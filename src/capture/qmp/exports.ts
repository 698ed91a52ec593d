/** Having QEMU serve disks for reading, by the NBD server of which it has one. */
import { type QmpClient, QmpError } from "./qmp-client.js";

/** Starts the server. Throws QmpError. */
export async function startServer(client: QmpClient, exportSocket: string): Promise<void> {
  const addr = { type: "unix", data: { path: exportSocket } };
  try {
    await client.execute("nbd-server-start", { addr, "max-connections": 0 });
  } catch (error) {
    if (!(error as Error).message.includes("already running")) throw error;
    throw new QmpError(
      client.path,
      "another program has QEMU serve disks by NBD, and there is one such server in a QEMU; end that first (nbd-server-stop)",
    );
  }
}

/** Serves a node by a name, for reading alone. As long as it does, the node can have no other size. Throws QmpError. */
export async function addExport(client: QmpClient, name: string, node: string): Promise<void> {
  const args = { type: "nbd", id: name, "node-name": node, name };
  await client.execute("block-export-add", { ...args, writable: false });
}

/** Where it can be read. `file`: see NbdAddress. */
export function exportUrl(name: string, exportSocket: string, file?: string): string {
  const url = `nbd+unix:///${name}?socket=${encodeURI(exportSocket)}`;
  return file === undefined ? url : `${url}#file=${encodeURIComponent(file).replaceAll("%2F", "/")}`;
}
