/** Monitors (QMP) that a domain's `<qemu:commandline>` gives its QEMU beside the one that libvirt holds. */

/** Paths of the unix sockets where such monitors listen, in the order of the command line. */
export function monitorsOf(args: readonly string[]): string[] {
  const sockets = new Map<string, string>();
  const monitors: string[] = [];
  for (const [i, arg] of args.entries()) {
    const value = args[i + 1];
    if (value === undefined) break;
    switch (arg.replace(/^--?/, "-")) {
      case "-qmp":
      case "-qmp-pretty":
        if (value.startsWith("unix:")) add(monitors, listeningSocket(options(value.slice(5), "path")));
        break;
      case "-chardev": {
        const chardev = options(value, "backend");
        const path = chardev.get("backend") === "socket" ? listeningSocket(chardev) : undefined;
        if (path !== undefined) sockets.set(chardev.get("id") ?? "", path);
        break;
      }
      case "-mon": {
        const monitor = options(value, "chardev");
        if (monitor.get("mode") === "control") add(monitors, sockets.get(monitor.get("chardev") ?? ""));
      }
    }
  }
  return monitors;
}

function add(monitors: string[], path: string | undefined): void {
  if (path !== undefined) monitors.push(path);
}

/** QEMU's `first,key=value,flag`, where ",," is a comma within a value. */
function options(text: string, first: string): Map<string, string> {
  const found = new Map<string, string>();
  for (const [i, part] of text.split(/(?<!,),(?!,)/).entries()) {
    const equals = part.indexOf("=");
    const value = part.slice(equals + 1).replaceAll(",,", ",");
    if (equals >= 0) found.set(part.slice(0, equals), value);
    else found.set(i === 0 ? first : value, i === 0 ? value : "on");
  }
  return found;
}

function listeningSocket(found: ReadonlyMap<string, string>): string | undefined {
  const path = found.get("path");
  const isListening = ["on", "yes", "true", "y"].includes(found.get("server") ?? "");
  return isListening && found.get("abstract") !== "on" && path?.startsWith("/") ? path : undefined;
}
