/** The end of a daemon whose place another one has taken. */
import type { ServiceManager } from "../service/service-manager.js";
import type { Successor } from "./successor.js";

/**
 * Under a service manager that one is told which process it is to watch now, and this one ends. Elsewhere whoever has
 * started this process waits for it: it stays until the other one ends, and passes signals on. Returns the exit code.
 */
export async function giveWay(successor: Successor, manager: ServiceManager | undefined): Promise<number> {
  if (manager !== undefined) {
    await manager.mainProcess(successor.pid);
    successor.goOn(false);
    return 0;
  }
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2"] as const)
    process.on(signal, () => successor.signal(signal));
  successor.goOn(true);
  return successor.dead;
}
