/** The service of systemd's. */
import { type Found, fail, ok, warn } from "./finding.js";
import { ask } from "./programs.js";
import type { Subject } from "./subject.js";

const PROPERTIES = ["LoadState", "UnitFileState", "ActiveState", "Result", "WatchdogUSec", "NRestarts"];
/** Settings that would give the service mounts of its own, and their values that do not (systemd.exec(5)). */
const OWN_MOUNTS: Readonly<Record<string, string>> = {
  PrivateMounts: "no",
  PrivateTmp: "no",
  PrivateDevices: "no",
  PrivateNetwork: "no",
  ProtectHome: "no",
  ProtectSystem: "no",
  ProtectKernelTunables: "no",
  ProtectKernelModules: "no",
  ProtectKernelLogs: "no",
  ProtectControlGroups: "no",
  ProtectProc: "default",
  ReadOnlyPaths: "",
  ReadWritePaths: "",
  InaccessiblePaths: "",
};

export function checkService(_: Subject): Found[] {
  const wanted = [...PROPERTIES, ...Object.keys(OWN_MOUNTS)];
  const said = ask("systemctl", [
    "show",
    "slashcloud.service",
    ...wanted.map((name) => `--property=${name}`),
  ]);
  if (said === undefined || said.code !== 0) return [ok("systemd does not run this host")];
  const values = new Map(
    said.stdout
      .split("\n")
      .map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)]),
  );
  if (values.get("LoadState") !== "loaded")
    return [warn("there is no service slashcloud", "slashcloud install, so that it starts with the host")];
  const found: Found[] = [];
  const traps = Object.entries(OWN_MOUNTS).filter(([name, harmless]) => {
    const value = values.get(name);
    return value !== undefined && value !== harmless;
  });
  for (const [name] of traps)
    found.push(
      fail(
        `the service has ${name}=${values.get(name)}, which gives it mounts of its own: the host does not see the tree`,
        "take that out: systemctl edit slashcloud",
      ),
    );
  if (values.get("ActiveState") === "failed")
    found.push(
      fail(`the service has failed (${values.get("Result")})`, "journalctl -u slashcloud tells why"),
    );
  if (values.get("UnitFileState") === "disabled")
    found.push(warn("the service does not start with the host", "systemctl enable slashcloud"));
  if (/^(0|infinity)?$/.test(values.get("WatchdogUSec") ?? ""))
    found.push(
      warn("the service has no watchdog: a daemon that hangs stays so", "WatchdogSec=90s in the service"),
    );
  if (Number(values.get("NRestarts") ?? 0) > 0)
    found.push(
      warn(
        `the service was started again ${values.get("NRestarts")} times`,
        "journalctl -u slashcloud tells why",
      ),
    );
  return found.length > 0 ? found : [ok(`the service is ${values.get("ActiveState")}, and has a watchdog`)];
}
