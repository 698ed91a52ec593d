/** `slashcloud install` and `uninstall`: the program, its services and its configuration in their places. */
import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { install as put, uninstall as takeAway } from "../daemon/install/install.js";
import { CONFIGURATION, layout, MOUNT, PROGRAM, programFolder } from "../daemon/install/layout.js";
import { readManifest } from "../daemon/install/manifest.js";
import { disable, enable, reload, SERVICE } from "../daemon/install/services.js";
import { UserError } from "../daemon/user-error.js";
import { complain, write } from "./output.js";
import { ownVersion } from "./own-version.js";

export interface PlaceOptions {
  /** Where programs go. */
  readonly prefix: string;
  /** The folder that the installed system is in. */
  readonly root: string;
}

export interface InstallOptions extends PlaceOptions {
  /** Whether the service is to start with the host. */
  readonly enable: boolean;
}

/** Returns the exit code. Throws UserError. */
export function install(options: InstallOptions): number {
  const { root, prefix } = placed(options);
  const program = programFolder(prefix);
  if (resolve(PROGRAM) === join(root, program))
    throw new UserError(
      `this is the program in ${program} itself: run install of the one that is to come there`,
    );
  const version = ownVersion();
  // systemd knows neither the user's PATH nor the user's Node.
  const command = `${process.execPath} ${join(program, "dist/main.js")}`;
  const { kept } = attempt(root, () =>
    put(layout({ prefix, command, mount: isUsable(join(root, MOUNT)) ? MOUNT : undefined }), {
      root,
      prefix,
      version,
    }),
  );
  const failed = options.enable ? enable(root) : undefined;
  if (!options.enable) reload(root);
  write(`slashcloud ${version} is in ${join(root, program)}\n`);
  for (const path of kept)
    complain(`${path} was changed and stays as it is; what has come is in ${path}.new`);
  if (failed !== undefined) complain(`the service does not start with the host: ${failed}`);
  const isThere = existsSync(join(root, CONFIGURATION, "slashcloud.yaml"));
  const first = isThere ? `name your guests in ${CONFIGURATION}/slashcloud.yaml, ` : "";
  write(`next: ${first}slashcloud doctor, systemctl start slashcloud\n`);
  return failed === undefined ? 0 : 1;
}

/** Returns the exit code. Throws UserError. */
export function uninstall(options: PlaceOptions): number {
  const { root, prefix } = placed(options);
  const units = (readManifest(root, prefix)?.entries ?? [])
    .filter(({ path }) => /[^@]\.service$/.test(path) && path.includes("/systemd/system/"))
    .map(({ path }) => basename(path));
  if (units.includes(SERVICE)) {
    const failed = disable(root, units);
    if (failed !== undefined) complain(failed);
  }
  const changed = attempt(root, () => takeAway(root, prefix));
  reload(root);
  for (const path of changed) complain(`${path} was changed and stays`);
  write("slashcloud is gone; what it kept of guests is in /var/lib/slashcloud\n");
  return 0;
}

function placed({ prefix, root }: PlaceOptions): PlaceOptions {
  if (!prefix.startsWith("/")) throw new UserError(`--prefix ${prefix}: is to be an absolute path`, 2);
  return { prefix: resolve(prefix), root: resolve(root) };
}

/** Whether a directory can be made there or is there: a mount of a daemon that was killed is neither. */
function isUsable(path: string): boolean {
  try {
    return !readFileSync("/proc/self/mountinfo", "utf8").includes(` ${path} `);
  } catch {
    return true;
  }
}

/** Turns what the system refuses into one line. */
function attempt<Value>(root: string, action: () => Value): Value {
  try {
    return action();
  } catch (error) {
    const { code, path, message } = error as NodeJS.ErrnoException;
    if (code === "EACCES" || code === "EPERM" || code === "EROFS")
      throw new UserError(
        `${path ?? root} cannot be written (${code}): run it as root, or choose another --prefix`,
      );
    throw code === undefined ? error : new UserError(message);
  }
}
