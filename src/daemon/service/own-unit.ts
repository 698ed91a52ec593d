/** What the service manager knows of the unit that this process is of, by systemctl(1). */
import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";

/** ms that an answer may take. */
const PATIENCE = 10_000;
/** The settings of Restart= with which a unit that its watchdog ends is started again (systemd.service(5), table 2). */
const AFTER_WATCHDOG = /^(always|on-failure|on-abnormal|on-watchdog)$/;

/**
 * The unit's name, by the control group; undefined: it is of none. cgroups(7): which of the hierarchies is systemd's, `0::`
 * or `name=systemd`, is its choice, and the other one may be there, too.
 */
export function ownUnit(groups = readFileSync("/proc/self/cgroup", "utf8")): string | undefined {
  const names = [...groups.matchAll(/^(?:0:|\d+:name=systemd):(.*)$/gm)].flatMap(([, path = ""]) =>
    path.split("/"),
  );
  return names.findLast((name) => name.endsWith(".service"));
}

/** Properties of a unit, as they stand. Rejects with an Error. */
export async function unitProperties<Name extends string>(
  unit: string,
  names: readonly Name[],
): Promise<Partial<Record<Name, string>>> {
  const lines = await systemctl("show", `--property=${names.join(",")}`, "--", unit);
  const found = lines.split("\n").map((line): [string, string] => {
    const at = line.indexOf("=");
    return [line.slice(0, at), line.slice(at + 1)];
  });
  return Object.fromEntries(found) as Partial<Record<Name, string>>;
}

/**
 * Whether a unit that is being stopped is to be started again at once: by a job of somebody's, or because its watchdog
 * ends it. Rejects with an Error.
 */
export async function isRestarting(unit: string): Promise<boolean> {
  const jobs = await systemctl("list-jobs", "--plain", "--no-legend", "--", unit);
  // JOB UNIT TYPE STATE
  const type = /^\s*\d+\s+\S+\s+(\S+)/m.exec(jobs)?.[1];
  if (type !== undefined) return type.endsWith("restart");
  const { SubState: state, Restart: restart = "" } = await unitProperties(unit, ["SubState", "Restart"]);
  return state === "stop-watchdog" && AFTER_WATCHDOG.test(restart);
}

function systemctl(...words: readonly string[]): Promise<string> {
  return new Promise((resolve, reject) => {
    const options = { encoding: "utf8", timeout: PATIENCE, killSignal: "SIGKILL" } as const;
    execFile("systemctl", words, options, (error, out, said) => {
      if (error === null) resolve(out);
      else reject(new Error(`systemctl ${words[0]}: ${said.trim().split("\n", 1)[0] || error.message}`));
    });
  });
}
