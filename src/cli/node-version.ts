/** Ends the program with one line if Node is too old for it: imported before all others, which may not even load there. */

/** The first that will do, as package.json has it in `engines`. */
const NEEDED = [20, 15] as const;

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
  process.stderr.write(
    `slashcloud: this is Node ${process.versions.node} (${process.execPath}), and Node ${NEEDED.join(".")} or later is needed: install it (https://nodejs.org), or name another one in the service's ExecStart\n`,
  );
  process.exit(2);
}
