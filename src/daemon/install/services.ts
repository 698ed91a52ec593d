/** systemd's part of an installation: services that start with the host. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";

/** The service that is started with the host. */
export const SERVICE = "slashcloud.service";

/** How that went: undefined, or one line with what to do. */
type Outcome = string | undefined;

/** Whether systemd runs this host, as sd_booted(3) has it. */
export function isSystemdRunning(): boolean {
  return existsSync("/run/systemd/system");
}

/** Has the service start with the host, from the next time on. */
export function enable(root: string): Outcome {
  return systemctl(root, ["enable", "--quiet", SERVICE], root === "/" && isSystemdRunning());
}

/** Stops the services that are given, and has them not start with the host any more. */
export function disable(root: string, services: readonly string[]): Outcome {
  const isHere = root === "/" && isSystemdRunning();
  const quietly = ["disable", "--quiet", ...(isHere ? ["--now"] : [])];
  return systemctl(root, [...quietly, ...services], false);
}

/** Has systemd read its units again, where it runs. */
export function reload(root: string): void {
  if (root === "/" && isSystemdRunning()) systemctl(root, ["daemon-reload"], false);
}

function systemctl(root: string, args: readonly string[], isReloadNeeded: boolean): Outcome {
  if (isReloadNeeded) reload(root);
  const where = root === "/" ? [] : [`--root=${root}`];
  const { error, status, stderr } = spawnSync("systemctl", [...where, ...args], { encoding: "utf8" });
  if (error !== undefined) return "there is no systemctl here: have slashcloud up start in another way";
  if (status === 0) return undefined;
  return `systemctl ${args.join(" ")}: ${stderr.trim().replace(/\s*\n\s*/g, " ") || `exit code ${status}`}`;
}
