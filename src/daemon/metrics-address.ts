/** Where metrics are told by TCP: on this host alone, as they have guests' names in them and ask nobody who he is. */
import { once } from "node:events";
import { createServer } from "node:net";
import { isLocal, parseListenAddress } from "./listen-address.js";
import { UserError } from "./user-error.js";

export interface MetricsAddress {
  readonly host: string;
  readonly port: number;
}

/** Where metrics are told unless it is said otherwise. */
export const METRICS_ADDRESS = "127.0.0.1:9477";

/** Reads `HOST:PORT`, `[::1]:PORT` or a port. Throws UserError. */
export function metricsAddress(text: string): MetricsAddress {
  // The option's value may be left out, and then an image that follows is taken for it.
  if (/[=/]/.test(text) && !text.startsWith("unix:"))
    throw new UserError(
      `${text}: is no address for --metrics: write --metrics ${METRICS_ADDRESS} before images`,
      2,
    );
  const address = parseListenAddress(text);
  if ("path" in address)
    throw new UserError(`${text}: metrics are told by TCP, and at the control socket: write HOST:PORT`, 2);
  if (!isLocal(address))
    throw new UserError(
      `${text}: metrics are told on this host alone: write 127.0.0.1:PORT or [::1]:PORT`,
      2,
    );
  return address;
}

/** Throws UserError if nobody can listen there. */
export async function checkMetricsAddress({ host, port }: MetricsAddress): Promise<void> {
  const server = createServer();
  try {
    server.listen(port, host);
    await once(server, "listening");
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const why = code === "EADDRINUSE" ? "another program listens there" : message;
    throw new UserError(
      `metrics cannot be told at ${host}:${port}: ${why}; name another address with --metrics`,
    );
  }
  server.close();
  await once(server, "close");
}
